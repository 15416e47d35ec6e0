"""State of the interpreter in `ppzoo.safe_pickle.reader`: stack, memo, and reads with bounded lengths."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from ppzoo.errors import with_article
from ppzoo.safe_pickle.allowlist import (
    AllowedCall,
    DeferredBytes,
    MemoryBudget,
    OpaqueValue,
    PickledArray,
    PickledDtype,
    UnpicklingRefused,
    require,
    set_item,
)

MAX_OPERATIONS = 1_000_000
MAX_VALUES = 200_000
MAX_DEPTH = 64
MAX_INTEGER_BYTES = 16
MAX_INLINE_BYTES = 1 << 16  # longer byte strings stay in the file
SLACK = 1 << 20  # bytes that the arrays of a file can allocate beyond its size
_MODULES_OF_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class StackMachine:
    """The state of reading one pickle.

    Args:
        stream: a seekable file, positioned at the start of the pickle.
        allowed: dotted names that the pickle can use.
        persistent: returns the object of a persistent id; None: files with persistent ids are refused.
        budget: bytes that the arrays can allocate; None: the size of the stream plus `SLACK`.
    """

    def __init__(
        self,
        stream: BinaryIO,
        allowed: Mapping[str, AllowedCall],
        persistent: Callable[[Any], Any] | None,
        budget: MemoryBudget | None,
    ) -> None:
        self.stream = stream
        self.allowed = allowed
        self.persistent = persistent
        position = stream.tell()
        self.size = stream.seek(0, 2)
        stream.seek(position)
        self.budget = budget or MemoryBudget(self.size + SLACK)
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.visited = 0

    # Reading: nothing large is allocated before it is certain that the file contains it.

    def take(self, count: int) -> bytes:
        """Read the next `count` bytes, at most `MAX_INLINE_BYTES`."""
        require(0 <= count <= MAX_INLINE_BYTES, f"it contains a length of {count} bytes")
        data = self.stream.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def number(self, form: str) -> Any:
        """Read a number with a format of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, encoding: str = "utf-8") -> str:
        """Read the next line, without the line end."""
        data = self.stream.readline(MAX_INLINE_BYTES)
        if not data.endswith(b"\n"):
            raise EOFError
        return data[:-1].decode(encoding)

    def integer(self, length: int) -> int:
        """Read a signed integer of `length` bytes."""
        require(0 <= length <= MAX_INTEGER_BYTES, f"it contains an integer of {length} bytes")
        return int.from_bytes(self.take(length), "little", signed=True)

    def data(self, length: int, encoding: str | None) -> bytes | str | DeferredBytes:
        """Read the next `length` bytes or decode them to text; return `DeferredBytes` for long ones."""
        if length <= MAX_INLINE_BYTES:
            data = self.take(length)
            return data if encoding is None else data.decode(encoding)
        offset = self.stream.tell()
        if length > self.size - offset:
            raise EOFError
        self.stream.seek(length, 1)
        return DeferredBytes(self.stream, offset, length, utf8=encoding == "utf-8")

    # Stack operations.

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def pop(self, count: int) -> tuple[Any, ...]:
        """Pop the last `count` values, in the order in which they were pushed."""
        require(len(self.stack) >= count, "it pops from an empty stack")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def update(self, pairs: list[Any] | tuple[Any, ...]) -> None:
        """Set items of the dictionary on top of the stack; `pairs` alternates keys and values."""
        target = self.stack[-1]
        require(isinstance(target, dict), "it sets items of something that is not a dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            set_item(target, key, value)

    def extend(self, items: list[Any] | tuple[Any, ...]) -> None:
        """Extend the list on top of the stack."""
        target = self.stack[-1]
        require(isinstance(target, list), "it appends to something that is not a list")
        target.extend(items)

    # Names, calls and object states.

    def find(self, module: Any, name: Any) -> AllowedCall:
        """Look up a name in the allowlist."""
        require(isinstance(module, str) and isinstance(name, str), "it calls something without a name")
        label = f"{_MODULES_OF_PYTHON_2.get(module, module)}.{name}"
        if label not in self.allowed:
            raise UnpicklingRefused(f"it calls {label[:200] if label.isprintable() else ascii(label[:200])}")
        return self.allowed[label]

    def call(self, function: Any, arguments: Any) -> Any:
        require(isinstance(function, AllowedCall), "it calls something that is not a function")
        require(isinstance(arguments, tuple), f"it calls {function.label} without a tuple of arguments")
        return function.call(self.budget, *arguments)

    def build(self, state: Any) -> None:
        """Set the state of the object on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, (PickledArray, PickledDtype)):
            target.set_state(state)
        else:  # attributes of an OrderedDict, such as PyTorch's `_metadata`, are ignored
            require(isinstance(target, dict) and isinstance(state, dict), "it sets the state of an unknown object")

    def persist(self, identifier: Any) -> Any:
        """Return the object of a persistent id."""
        if self.persistent is None:
            raise UnpicklingRefused("it refers to objects outside the file")
        return self.persistent(identifier)

    def resolve(self, value: Any, depth: int = 0) -> Any:
        """Replace each `PickledArray` in `value` by its array; refuse anything but plain values and containers."""
        self.visited += 1
        require(depth <= MAX_DEPTH, f"it is nested more than {MAX_DEPTH} levels deep")
        require(self.visited <= MAX_VALUES, f"it contains more than {MAX_VALUES} values")
        if isinstance(value, PickledArray):
            require(value.value is not None, "it contains an array without data")
            return value.value
        if isinstance(value, dict):
            return {key: self.resolve(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.resolve(item, depth + 1) for item in value)
        kind = value.label if isinstance(value, AllowedCall) else with_article(type(value).__name__)
        require(
            isinstance(value, (str, bytes, int, float, type(None), OpaqueValue)),
            f"it contains {kind} in place of a value",
        )
        return value
