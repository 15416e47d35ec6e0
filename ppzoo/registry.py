"""Registry of named components: architectures, losses, transforms, datasets.

A duplicate name raises an error; the error for an unknown name suggests the most similar one.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ppzoo.errors import UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Mapping from names to components of one `kind` ("loss", "transform"), in the order of registration."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Register `entry` as `name`; a duplicate name is a ValueError."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def register(self, entry: T) -> T:
        """Register a class or function under its `__name__`; for use as a decorator."""
        self.add(entry.__name__, entry)  # type: ignore[attr-defined]
        return entry

    def register_as(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a class or function as `name`."""

        def decorator(entry: T) -> T:
            self.add(name, entry)
            return entry

        return decorator

    def __getitem__(self, name: str) -> T:
        if not isinstance(name, str) or name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def matching(self, pattern: str) -> list[str]:
        """Return the sorted names that match a shell pattern; case is ignored."""
        return sorted(name for name in self if fnmatch.fnmatchcase(name.lower(), pattern.lower()))
