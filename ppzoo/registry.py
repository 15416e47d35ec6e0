"""One class for every table of names: architectures, losses, transforms, datasets.

A name can be taken once; asking for a name that is not there answers with the nearest one.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ppzoo.errors import UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Names of one `kind` ("loss", "transform") and what they stand for, in the order of registration."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def register(self, entry: T) -> T:
        """Enrol a class or function under its own name; for use as a decorator."""
        self.add(entry.__name__, entry)  # type: ignore[attr-defined]
        return entry

    def register_as(self, name: str) -> Callable[[T], T]:
        """Enrol under another name than its own; for use as a decorator."""

        def enrol(entry: T) -> T:
            self.add(name, entry)
            return entry

        return enrol

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def matching(self, pattern: str) -> list[str]:
        """The names that match a shell pattern, upper and lower case alike, sorted."""
        return sorted(name for name in self if fnmatch.fnmatchcase(name.lower(), pattern.lower()))
