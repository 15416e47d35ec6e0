"""What a run that goes on does otherwise than the one that saved its checkpoint: said, for it may be meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 8


def describe_differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    """'Global.epochs 4 -> 8, EMA.decay nothing -> 0.99'; "" where nothing differs. Null counts as nothing."""
    before, now = dict(_flat(saved)), dict(_flat(present))
    found = [
        f"{path} {_word(before.get(path))} -> {_word(now.get(path))}"
        for path in dict.fromkeys([*now, *before])
        if before.get(path) != now.get(path)
    ]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its key path, without those that are null."""
    if isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif value is not None:
        yield path, value


def _word(value: Any) -> str:
    return "nothing" if value is None else f"{value!r:.40}" if isinstance(value, str) else str(value)
