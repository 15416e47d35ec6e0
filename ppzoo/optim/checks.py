"""The one way in which schedules and optimizers refuse a value."""

from __future__ import annotations

from ppzoo.errors import ConfigError


def require(holds: bool, expected: str, received: object) -> None:
    """Raise ConfigError, saying what was expected and what was received, unless the condition `holds`."""
    if not holds:
        raise ConfigError(f"expected {expected}, got {received!r}")
