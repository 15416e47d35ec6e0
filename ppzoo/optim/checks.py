"""Checks of the options of schedules and optimizers."""

from __future__ import annotations

from ppzoo.errors import ConfigError


def require(is_valid: bool, option: str, expected: str, received: object) -> None:
    """Raise ConfigError "OPTION: expected ..., got ..." unless `is_valid`."""
    if not is_valid:
        raise ConfigError(f"{option}: expected {expected}, got {received!r}")
