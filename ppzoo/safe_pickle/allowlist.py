"""The allowlist of names that a pickled weight file can use, each with a safe implementation.

The function that a file names is never called. Each allowed name is mapped to a small function, here or in another
reader's allowlist, that checks its arguments: dtypes are plain numeric ones, an array has exactly as many bytes as its
shape requires, and these bytes are in the file. All arrays of a file together therefore get at most as much memory as
the file has bytes, plus 1 MiB by default (`MemoryBudget`).
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from ppzoo.errors import with_article
from ppzoo.safe_pickle.exact_reads import read_exactly

CHUNK = 1 << 20
MAX_DIMENSIONS = 32
MAX_KEY = 1 << 32  # limit of integers as dictionary keys, and of memo indices
BYTES_PER_ITEM = 64  # estimated memory of one container entry
PLAIN_DTYPE = re.compile(r"[<>=|]?(b1|i1|i2|i4|i8|u1|u2|u4|u8|f2|f4|f8)")


class UnpicklingRefused(Exception):
    """Why a pickle is refused, as a clause about the file ("it calls os.system")."""


def require(condition: bool, problem: str) -> None:
    """Raise `UnpicklingRefused` with `problem` unless `condition` holds."""
    if not condition:
        raise UnpicklingRefused(problem)


class OpaqueValue:
    """Base class of objects that the unpickler returns unchanged; other readers subclass it (PyTorch's tensors)."""


@dataclass(frozen=True)
class DeferredBytes:
    """Long byte string that stays in the file until an array is built from it: `length` bytes at `offset`.

    `utf8`: the bytes are Latin-1 characters encoded in UTF-8, which is how protocol 2 of Python 3 writes bytes.
    """

    stream: BinaryIO
    offset: int
    length: int
    utf8: bool = False

    def read(self, nbytes: int) -> np.ndarray:
        """Return the byte string, which must have `nbytes` bytes, as uint8."""
        min_bytes = (self.length + 1) // 2 if self.utf8 else self.length
        require(min_bytes <= nbytes <= self.length, "an array's shape does not match its bytes")
        position = self.stream.tell()
        self.stream.seek(self.offset)
        values = self._decode(nbytes) if self.utf8 else read_exactly(self.stream, nbytes)
        self.stream.seek(position)
        return values

    def _decode(self, nbytes: int) -> np.ndarray:
        values = np.empty(nbytes, np.uint8)
        decoder = codecs.getincrementaldecoder("utf-8")()
        filled, remaining = 0, self.length
        while remaining:
            chunk = self.stream.read(min(CHUNK, remaining))
            remaining -= len(chunk)
            part = decoder.decode(chunk, final=not remaining).encode("latin-1")
            values[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
            filled += len(part)
        require(filled == nbytes, "an array's shape does not match its bytes")
        return values


@dataclass
class MemoryBudget:
    """Number of bytes that the arrays of one file, and containers built by calls, can still allocate in total."""

    remaining: int

    def reserve(self, nbytes: int) -> None:
        """Subtract `nbytes`; refuse the file if fewer remain."""
        require(nbytes <= self.remaining, "its arrays need more memory than the file has bytes")
        self.remaining -= nbytes


@dataclass
class PickledDtype:
    """A dtype that is being built: first its code, then its byte order, which the pickled state contains."""

    code: str

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.code)

    def set_state(self, state: Any) -> None:
        version, order, *rest = state
        plain = version in (3, 4) and order in ("<", ">", "=", "|") and rest[:3] == [None] * 3
        require(plain, "it contains a dtype that is not a plain number")
        self.code = order + self.code[-2:]


@dataclass
class PickledArray:
    """An array that is being built: its shape, dtype and bytes are in the pickled state."""

    budget: MemoryBudget
    value: np.ndarray | None = field(default=None, repr=False)

    def set_state(self, state: Any) -> None:
        version, shape, dtype, fortran, raw = state
        require(version == 1 and isinstance(fortran, (bool, int)), "it contains an array in an unknown format")
        self.value = make_array(self.budget, raw, dtype, shape, "F" if fortran else "C")


def make_array(budget: MemoryBudget, raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Check dtype, shape and bytes, and return a newly allocated array in native byte order."""
    require(isinstance(dtype, PickledDtype), "it contains an array whose dtype is not a plain number")
    require(is_shape(shape) and order in ("C", "F"), "it contains an array whose shape is not a tuple of sizes")
    nbytes = math.prod(shape) * dtype.dtype.itemsize
    budget.reserve(nbytes)
    flat = read_bytes(raw, nbytes).view(dtype.dtype)
    if not dtype.dtype.isnative:
        flat = flat.astype(dtype.dtype.newbyteorder("="))
    return flat.reshape(shape) if order == "C" else np.ascontiguousarray(flat.reshape(shape[::-1]).T)


def is_shape(shape: Any) -> bool:
    """Return whether `shape` is a tuple of valid sizes for a NumPy array."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 2**48 for size in shape)
    )


def read_bytes(raw: Any, nbytes: int) -> np.ndarray:
    """Return exactly `nbytes` bytes as writable uint8: from the stack, or from the file for `DeferredBytes`."""
    if isinstance(raw, DeferredBytes):
        return raw.read(nbytes)
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    require(isinstance(raw, bytes), "it contains an array that is not built from bytes")
    require(len(raw) == nbytes, "an array's shape does not match its bytes")
    return np.frombuffer(raw, np.uint8).copy()


@dataclass(frozen=True)
class AllowedCall:
    """An allowed name and its safe implementation, which is called with the memory budget and the file's arguments."""

    label: str
    call: Callable[..., Any]


def refuse_call(label: str) -> Callable[..., Any]:
    """Return the implementation of a name that a file can use as an argument but not call."""

    def call(budget: MemoryBudget, *arguments: Any) -> Any:
        raise UnpicklingRefused(f"it calls {label}")

    return call


def _ndarray(budget: MemoryBudget, *arguments: Any) -> PickledArray:
    kind, shape, code = arguments
    plain = isinstance(kind, AllowedCall) and kind.label == "numpy.ndarray" and shape == (0,) and code in (b"b", "b")
    require(plain, "it contains an array in an unknown format")
    return PickledArray(budget)


def _from_buffer(budget: MemoryBudget, *arguments: Any) -> PickledArray:
    raw, dtype, shape, order = arguments
    return PickledArray(budget, make_array(budget, raw, dtype, shape, order))


def _dtype(budget: MemoryBudget, *arguments: Any) -> PickledDtype:
    code = arguments[0]
    require(
        isinstance(code, str) and bool(PLAIN_DTYPE.fullmatch(code)), "it contains a dtype that is not a plain number"
    )
    return PickledDtype(code)


def _scalar(budget: MemoryBudget, *arguments: Any) -> bool | int | float:
    dtype, raw = arguments
    return make_array(budget, raw, dtype, (), "C").item()


def _encode(budget: MemoryBudget, *arguments: Any) -> str | DeferredBytes:
    """Return bytes that protocol 2 writes as Latin-1 text; they stay text, which `read_bytes` accepts as well."""
    text, encoding = arguments
    plain = encoding == "latin1" and (isinstance(text, str) or (isinstance(text, DeferredBytes) and text.utf8))
    require(plain, "it calls _codecs.encode with other arguments than pickle does")
    return text


def _bytes(budget: MemoryBudget, *arguments: Any) -> bytes:
    require(arguments == (), "it calls builtins.bytes with arguments")
    return b""


def _tuple(budget: MemoryBudget, *arguments: Any) -> tuple[Any, ...]:
    (items,) = arguments or ((),)
    require(isinstance(items, (tuple, list)), "it builds a container from something that is not a sequence")
    budget.reserve(BYTES_PER_ITEM * len(items))
    return tuple(items)


def _list(budget: MemoryBudget, *arguments: Any) -> list[Any]:
    return list(_tuple(budget, *arguments))


def _dict(budget: MemoryBudget, *arguments: Any) -> dict[Any, Any]:
    built: dict[Any, Any] = {}
    for key, value in _tuple(budget, *arguments):
        set_item(built, key, value)
    return built


def _eval(budget: MemoryBudget, *arguments: Any) -> Any:
    """`eval("data", {"data": array})`, which PaddlePaddle writes for a bare dense tensor since 2.1."""
    plain = len(arguments) == 2 and arguments[0] == "data" and isinstance(arguments[1], dict)
    require(plain and list(arguments[1]) == ["data"], "it calls builtins.eval")
    require(isinstance(arguments[1]["data"], PickledArray), "it calls builtins.eval")
    return arguments[1]["data"]


def check_key(key: Any) -> str | int:
    """Return the key of a dictionary if it is text or a small integer.

    Hashing nested tuples, and looking up large integers that were chosen to have the same hash, can take forever.
    """
    require(isinstance(key, (str, int)), f"it contains a dictionary key that is {with_article(type(key).__name__)}")
    require(isinstance(key, str) or abs(key) < MAX_KEY, "it contains a dictionary key that is too large a number")
    return key


def set_item(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Add an entry to a dictionary; duplicates are refused, because readers differ in which of the two they keep."""
    require(check_key(key) not in target, f"it contains the entry {str(key)[:60]!r} twice")
    target[key] = value


def allowlist(entries: Mapping[str, Callable[..., Any]]) -> dict[str, AllowedCall]:
    """Build an allowlist from dotted names and their implementations."""
    return {label: AllowedCall(label, call) for label, call in entries.items()}


NUMPY_AND_CONTAINERS = allowlist(
    {
        **{f"numpy.{core}.multiarray._reconstruct": _ndarray for core in ("core", "_core")},
        **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
        **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
        "numpy.dtype": _dtype,
        "numpy.ndarray": refuse_call("numpy.ndarray"),
        "_codecs.encode": _encode,
        "collections.OrderedDict": _dict,
        "builtins.bytes": _bytes,
        "builtins.tuple": _tuple,
        "builtins.list": _list,
        "builtins.dict": _dict,
        "builtins.eval": _eval,
    }
)
