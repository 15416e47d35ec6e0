"""The list of what a pickled weight file may build, and our own code for each entry.

Nothing here calls the function that the file names. A name stands for a small function of this module that checks
what the file passes: dtypes are plain numeric ones, an array has exactly the bytes that its shape claims, and the
bytes are in the file. Reading therefore never claims more memory than the file has bytes.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from ppzoo.safe_pickle.exact_reads import read_exactly

CHUNK = 1 << 20
MAX_DIMENSIONS = 32
LARGEST_KEY = 1 << 32
BYTES_OF_AN_ITEM = 64  # what one entry of a container takes, generously
PLAIN_DTYPE = re.compile(r"[<>=|]?(b1|i1|i2|i4|i8|u1|u2|u4|u8|f2|f4|f8)")


class Refusal(Exception):
    """Why a pickle is not read; the text is a clause about it ("it wants to call os.system")."""


def expect(condition: bool, what: str) -> None:
    """Refuse the file for `what` unless `condition` holds."""
    if not condition:
        raise Refusal(what)


class Leaf:
    """Base of what another reader's functions build and the unpickler hands on as it is."""


@dataclass(frozen=True)
class Blob:
    """Long bytes left in the file until an array asks for them: `length` bytes at `offset`.

    `utf8`: they are Latin-1 characters in UTF-8, which is how protocol 2 of Python 3 writes bytes.
    """

    stream: BinaryIO
    offset: int
    length: int
    utf8: bool = False

    def read(self, nbytes: int) -> np.ndarray:
        """The bytes as uint8, `nbytes` of them."""
        shortest = (self.length + 1) // 2 if self.utf8 else self.length
        expect(shortest <= nbytes <= self.length, "an array's shape does not agree with its bytes")
        position = self.stream.tell()
        self.stream.seek(self.offset)
        values = self._decode(nbytes) if self.utf8 else read_exactly(self.stream, nbytes)
        self.stream.seek(position)
        return values

    def _decode(self, nbytes: int) -> np.ndarray:
        values = np.empty(nbytes, np.uint8)
        decoder = codecs.getincrementaldecoder("utf-8")()
        filled, left = 0, self.length
        while left:
            chunk = self.stream.read(min(CHUNK, left))
            left -= len(chunk)
            part = decoder.decode(chunk, final=not left).encode("latin-1")
            values[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
            filled += len(part)
        expect(filled == nbytes, "an array's shape does not agree with its bytes")
        return values


@dataclass
class Budget:
    """Bytes that the arrays of one file may take together."""

    left: int

    def claim(self, nbytes: int) -> None:
        expect(nbytes <= self.left, "its arrays claim more memory than the file has bytes")
        self.left -= nbytes


@dataclass
class PickledDtype:
    """A dtype under construction: its code first, its byte order by the state that follows."""

    code: str

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.code)

    def set_state(self, state: Any) -> None:
        version, order, *rest = state
        plain = version in (3, 4) and order in ("<", ">", "=", "|") and rest[:3] == [None] * 3
        expect(plain, "it has a dtype that is not a plain number")
        self.code = order + self.code[-2:]


@dataclass
class PickledArray:
    """An array under construction: its shape, dtype and bytes arrive in the state that follows."""

    budget: Budget
    value: np.ndarray | None = field(default=None, repr=False)

    def set_state(self, state: Any) -> None:
        version, shape, dtype, fortran, raw = state
        expect(version == 1 and isinstance(fortran, (bool, int)), "it has an array of unknown form")
        self.value = make_array(self.budget, raw, dtype, shape, "F" if fortran else "C")


def make_array(budget: Budget, raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array of its own memory in native byte order, after its claims have been checked against its bytes."""
    expect(isinstance(dtype, PickledDtype), "it has an array whose dtype is not a plain number")
    expect(is_shape(shape) and order in ("C", "F"), "it has an array whose shape is no tuple of sizes")
    nbytes = math.prod(shape) * dtype.dtype.itemsize
    budget.claim(nbytes)
    flat = read_bytes(raw, nbytes).view(dtype.dtype)
    if not dtype.dtype.isnative:
        flat = flat.astype(dtype.dtype.newbyteorder("="))
    return flat.reshape(shape) if order == "C" else np.ascontiguousarray(flat.reshape(shape[::-1]).T)


def is_shape(shape: Any) -> bool:
    """Whether it is a tuple of sizes that NumPy can hold."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 2**48 for size in shape)
    )


def read_bytes(raw: Any, nbytes: int) -> np.ndarray:
    """`nbytes` bytes, exactly, as writable uint8: from the stack, or from the file where they are long."""
    if isinstance(raw, Blob):
        return raw.read(nbytes)
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    expect(isinstance(raw, bytes), "it has an array that is not made of bytes")
    expect(len(raw) == nbytes, "an array's shape does not agree with its bytes")
    return np.frombuffer(raw, np.uint8).copy()


@dataclass(frozen=True)
class Allowed:
    """A name that a file may use: the code that stands for it, called with the budget and the file's arguments."""

    label: str
    call: Callable[..., Any]


def refuse_call(label: str) -> Callable[..., Any]:
    """What stands for a name that a file may pass on but not call."""

    def call(budget: Budget, *arguments: Any) -> Any:
        raise Refusal(f"it wants to call {label}")

    return call


def _ndarray(budget: Budget, *arguments: Any) -> PickledArray:
    kind, shape, code = arguments
    plain = isinstance(kind, Allowed) and kind.label == "numpy.ndarray" and shape == (0,) and code in (b"b", "b")
    expect(plain, "it has an array of unknown form")
    return PickledArray(budget)


def _from_buffer(budget: Budget, *arguments: Any) -> PickledArray:
    raw, dtype, shape, order = arguments
    return PickledArray(budget, make_array(budget, raw, dtype, shape, order))


def _dtype(budget: Budget, *arguments: Any) -> PickledDtype:
    code = arguments[0]
    expect(isinstance(code, str) and bool(PLAIN_DTYPE.fullmatch(code)), "it has a dtype that is not a plain number")
    return PickledDtype(code)


def _scalar(budget: Budget, *arguments: Any) -> bool | int | float:
    dtype, raw = arguments
    return make_array(budget, raw, dtype, (), "C").item()


def _encode(budget: Budget, *arguments: Any) -> str | Blob:
    """Bytes as protocol 2 writes them. They stay text here: an array takes its bytes from Latin-1 text as well."""
    text, encoding = arguments
    plain = encoding == "latin1" and (isinstance(text, str) or (isinstance(text, Blob) and text.utf8))
    expect(plain, "it wants to call _codecs.encode in another way than pickle does")
    return text


def _bytes(budget: Budget, *arguments: Any) -> bytes:
    expect(arguments == (), "it wants to call builtins.bytes of something")
    return b""


def _tuple(budget: Budget, *arguments: Any) -> tuple:
    (items,) = arguments or ((),)
    expect(isinstance(items, (tuple, list)), "it wants to make a container of something else than a sequence")
    budget.claim(BYTES_OF_AN_ITEM * len(items))
    return tuple(items)


def _list(budget: Budget, *arguments: Any) -> list:
    return list(_tuple(budget, *arguments))


def _dict(budget: Budget, *arguments: Any) -> dict:
    built: dict = {}
    for key, value in _tuple(budget, *arguments):
        set_item(built, key, value)
    return built


def _eval(budget: Budget, *arguments: Any) -> Any:
    """`eval("data", {"data": array})` is how PaddlePaddle has written a bare dense tensor since 2.1."""
    plain = len(arguments) == 2 and arguments[0] == "data" and isinstance(arguments[1], dict)
    expect(plain and list(arguments[1]) == ["data"], "it wants to call builtins.eval")
    expect(isinstance(arguments[1]["data"], PickledArray), "it wants to call builtins.eval")
    return arguments[1]["data"]


def check_key(key: Any) -> str | int:
    """A dictionary's key: text or a small number, for the hash of nested tuples can take forever, and so can the
    search among large numbers that were chosen to have one hash.
    """
    expect(isinstance(key, (str, int)), f"it has a dictionary key that is a {type(key).__name__}")
    expect(isinstance(key, str) or abs(key) < LARGEST_KEY, "it has a dictionary key that is too large a number")
    return key


def set_item(target: dict, key: Any, value: Any) -> None:
    """Add an entry to a dictionary of the file; readers differ in which of two entries of one name they keep."""
    expect(check_key(key) not in target, f"it has the entry {str(key)[:60]!r} twice")
    target[key] = value


def table(entries: Mapping[str, Callable[..., Any]]) -> dict[str, Allowed]:
    """An allow-list from dotted names and what stands for them."""
    return {label: Allowed(label, call) for label, call in entries.items()}


NUMPY_AND_CONTAINERS = table(
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
