"""The stack, the memo and the bounded reading behind `ppzoo.safe_pickle.reader`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from ppzoo.safe_pickle.allowlist import (
    Allowed,
    Blob,
    Budget,
    Leaf,
    PickledArray,
    PickledDtype,
    Refusal,
    expect,
    set_item,
)

MAX_OPERATIONS = 1_000_000
MAX_VALUES = 200_000
MAX_DEPTH = 64
MAX_INTEGER_BYTES = 16
LONG = 1 << 16  # bytes from which on data is left in the file
SLACK = 1 << 20  # bytes that small files may claim beyond their own size
_MODULES_OF_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Machine:
    """One pass through one pickle.

    Args:
        stream: a seekable file at the pickle's start.
        allowed: dotted names that the pickle may use.
        persistent: gives the object of a persistent id; None refuses them.
        budget: bytes that the arrays may claim; by default as many as the stream has.
    """

    def __init__(
        self,
        stream: BinaryIO,
        allowed: Mapping[str, Allowed],
        persistent: Callable[[Any], Any] | None,
        budget: Budget | None,
    ) -> None:
        self.stream = stream
        self.allowed = allowed
        self.persistent = persistent
        position = stream.tell()
        self.size = stream.seek(0, 2)
        stream.seek(position)
        self.budget = budget or Budget(self.size + SLACK)
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.visited = 0

    # Reading: nothing is allocated before it is known to be in the file.

    def take(self, count: int) -> bytes:
        """The next `count` bytes, at most `LONG`."""
        expect(0 <= count <= LONG, f"it states a length of {count} bytes")
        data = self.stream.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, encoding: str = "utf-8") -> str:
        """The next line, without its end."""
        data = self.stream.readline(LONG)
        if not data.endswith(b"\n"):
            raise EOFError
        return data[:-1].decode(encoding)

    def integer(self, length: int) -> int:
        expect(0 <= length <= MAX_INTEGER_BYTES, f"it has an integer of {length} bytes")
        return int.from_bytes(self.take(length), "little", signed=True)

    def data(self, length: int, encoding: str | None) -> bytes | str | Blob:
        """The next `length` bytes, or their text; where they are long, a note of where they are."""
        if length <= LONG:
            data = self.take(length)
            return data if encoding is None else data.decode(encoding)
        offset = self.stream.tell()
        if length > self.size - offset:
            raise EOFError
        self.stream.seek(length, 1)
        return Blob(self.stream, offset, length, utf8=encoding == "utf-8")

    # The stack.

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def pop(self, count: int) -> tuple[Any, ...]:
        """The last `count` values, in the order in which they were pushed."""
        expect(len(self.stack) >= count, "it takes values that are not there")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def update(self, pairs: list[Any] | tuple[Any, ...]) -> None:
        """Set items of the dictionary on top: keys and values in turn."""
        target = self.stack[-1]
        expect(isinstance(target, dict), "it sets items of something that is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            set_item(target, key, value)

    def extend(self, items: list[Any] | tuple[Any, ...]) -> None:
        """Append to the list on top."""
        target = self.stack[-1]
        expect(isinstance(target, list), "it appends to something that is no list")
        target.extend(items)

    # Names, calls and states.

    def find(self, module: Any, name: Any) -> Allowed:
        """What stands for a name; only the names of the allow-list do."""
        expect(isinstance(module, str) and isinstance(name, str), "it calls something without a name")
        label = f"{_MODULES_OF_PYTHON_2.get(module, module)}.{name}"
        if label not in self.allowed:
            raise Refusal(f"it wants to call {label[:200] if label.isprintable() else ascii(label[:200])}")
        return self.allowed[label]

    def call(self, function: Any, arguments: Any) -> Any:
        expect(isinstance(function, Allowed), "it calls something that is no function")
        expect(isinstance(arguments, tuple), f"it calls {function.label} without a tuple of arguments")
        return function.call(self.budget, *arguments)

    def build(self, state: Any) -> None:
        """Give the object on top its state."""
        target = self.stack[-1]
        if isinstance(target, (PickledArray, PickledDtype)):
            target.set_state(state)
        else:  # attributes of an OrderedDict, such as PyTorch's `_metadata`, are dropped
            expect(isinstance(target, dict) and isinstance(state, dict), "it sets the state of an unknown object")

    def persist(self, identifier: Any) -> Any:
        """The object of a persistent id."""
        if self.persistent is None:
            raise Refusal("it refers to objects outside of the file")
        return self.persistent(identifier)

    def resolve(self, value: Any, depth: int = 0) -> Any:
        """`value` with the finished arrays in the place of their placeholders, and nothing but values in it."""
        self.visited += 1
        expect(depth <= MAX_DEPTH, f"it is nested more than {MAX_DEPTH} deep")
        expect(self.visited <= MAX_VALUES, f"it has more than {MAX_VALUES} values")
        if isinstance(value, PickledArray):
            expect(value.value is not None, "it has an array without data")
            return value.value
        if isinstance(value, dict):
            return {key: self.resolve(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.resolve(item, depth + 1) for item in value)
        kind = value.label if isinstance(value, Allowed) else f"a {type(value).__name__}"
        expect(isinstance(value, (str, bytes, int, float, type(None), Leaf)), f"it has {kind} where a value should be")
        return value
