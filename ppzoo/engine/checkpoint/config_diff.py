"""The differences between the configuration of a run that resumes and that of its checkpoint, for the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_SHOWN_DIFFERENCES = 8
MAX_TEXT = 60  # characters of a value


def describe_differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Return "Global.epochs 4 -> 8, EMA.decay unset -> 0.99", or "" without differences; null means unset."""
    before, after = dict(_flatten(saved)), dict(_flatten(current))
    differences = [
        f"{path} {_format(before.get(path))} -> {_format(after.get(path))}"
        for path in dict.fromkeys([*after, *before])
        if before.get(path) != after.get(path)
    ]
    hidden = len(differences) - MAX_SHOWN_DIFFERENCES
    more = f" and {hidden} more" if hidden > 0 else ""
    return ", ".join(differences[:MAX_SHOWN_DIFFERENCES]) + more


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key path and value of every value that is not null."""
    if isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif value is not None:
        yield path, value


def _format(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= MAX_TEXT else f"{value[: MAX_TEXT - 3]}...")
    return "unset" if value is None else str(value)
