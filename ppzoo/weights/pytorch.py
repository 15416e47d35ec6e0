"""PyTorch's `.pth`, read without PyTorch: the zip archive of version 1.6 and later, and the format before it.

Both pickle a tree whose tensors are views (offset, size, stride) of numbered storages, and keep the storages beside
it. The tree is read by the one unpickler, with a handful of names added to its list, and the views are cut out
afterwards.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ppzoo.errors import WeightsError
from ppzoo.safe_pickle.allowlist import (
    NUMPY_AND_CONTAINERS,
    AllowedCall,
    MemoryBudget,
    OpaqueValue,
    UnpicklingRefused,
    require,
    is_shape,
    refuse_call,
    allowlist,
)
from ppzoo.safe_pickle.exact_reads import read_exactly
from ppzoo.safe_pickle.reader import unpickle
from ppzoo.weights.archives import DAMAGE, open_archive, read_member
from ppzoo.weights.weight_file import WeightFile, check_finite, widen_bfloat16

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that opens a file of the older format
LEGACY_PROTOCOL = 1001
STATE_DICTS = ("state_dict", "model", "model_state_dict", "model_state")
MAX_EXPANSION = 4  # how often the tensors may claim the size of the file
MAX_TREE = 64 << 20

STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}


@dataclass(frozen=True)
class Storage(OpaqueValue):
    """A run of numbers that tensors are views of."""

    kind: str
    key: str
    size: int

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(STORAGES[self.kind])

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(frozen=True)
class TensorView(OpaqueValue):
    """A tensor before its storage is read; offset and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def cut(self, values: np.ndarray, budget: MemoryBudget) -> np.ndarray:
        """The tensor's own array, in C order, from the values of its storage."""
        count = math.prod(self.shape)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        require(count == 0 or last < values.size, "it has a tensor that reaches beyond its storage")
        budget.reserve(count * values.itemsize)
        strides = tuple(stride * values.itemsize for stride in self.strides)
        start = values[self.offset :] if count else values[:0]
        array = np.lib.stride_tricks.as_strided(start, self.shape, strides)
        array = np.ascontiguousarray(array).reshape(self.shape)  # a copy only where the view is not the whole
        return widen_bfloat16(array) if self.storage.kind == "torch.BFloat16Storage" else array


@dataclass
class StorageTable:
    """The storages that a pickle has referred to, by key."""

    known: dict[str, Storage] = field(default_factory=dict)

    def refer(self, identifier: Any) -> Storage:
        """The storage of a persistent id, as `torch.save` writes it."""
        word, kind, key, _, size, *view = identifier
        plain = word == "storage" and isinstance(kind, AllowedCall) and kind.label in STORAGES and isinstance(key, str)
        require(plain and type(size) is int and 0 <= size < 2**48, "it refers to an object that is no storage")
        require(view in ([], [None]), "it has a storage that is a view of another")
        storage = self.known.setdefault(key, Storage(kind.label, key, size))
        require(storage == Storage(kind.label, key, size), f"it describes storage {key[:20]!r} in two ways")
        return storage


def _view(budget: MemoryBudget, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorView:
    plain = isinstance(storage, Storage) and is_shape((offset,)) and is_shape(shape) and is_shape(strides)
    require(plain and len(shape) == len(strides), "it has a tensor of unknown form")
    return TensorView(storage, offset, shape, strides)


def _parameter(budget: MemoryBudget, tensor: Any, *rest: Any) -> TensorView:
    require(isinstance(tensor, TensorView), "it has a parameter that is no tensor")
    return tensor


def _size(budget: MemoryBudget, *arguments: Any) -> tuple:
    (shape,) = arguments
    require(is_shape(shape), "it has a size that is no tuple of sizes")
    return shape


TORCH = {
    **NUMPY_AND_CONTAINERS,
    **allowlist({kind: refuse_call(kind) for kind in STORAGES}),
    **allowlist(
        {
            "torch._utils._rebuild_tensor": _view,
            "torch._utils._rebuild_tensor_v2": _view,
            "torch._utils._rebuild_parameter": _parameter,
            "torch.Size": _size,
        }
    ),
}


def is_torch_archive(names: list[str]) -> bool:
    return any(name.endswith("/data.pkl") or name == "data.pkl" for name in names)


def read_torch_archive(file: Path) -> WeightFile:
    """The tensors of a `.pth` as PyTorch 1.6 and later write it; as in `read_torch_legacy`."""
    with open_archive(file) as archive:
        trees = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(trees) > 1:
            raise WeightsError(f"{file} is refused: it has {len(trees)} trees of tensors")
        (pickled,) = trees
        folder = pickled.removesuffix("data.pkl")

        def read_storage(storage: Storage) -> np.ndarray:
            member = archive.getinfo(f"{folder}data/{storage.key}")
            require(member.file_size == storage.nbytes, "it has a storage of another size than it states")
            with archive.open(member) as stream:
                return read_member(stream, storage.nbytes).view(storage.dtype)

        try:
            order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in archive.namelist() else b"little"
            require(order == b"little", "it was written on a big-endian machine")
            storages = StorageTable()
            require(archive.getinfo(pickled).file_size <= MAX_TREE, "its pickle is too long")
            stream = io.BytesIO(archive.read(pickled))
            tree = unpickle(stream, file, allowed=TORCH, persistent=storages.refer)
            return _finish(file, tree, read_storage)
        except UnpicklingRefused as refusal:
            raise WeightsError(f"{file} is refused: {refusal}") from None
        except DAMAGE:
            raise WeightsError(f"{file} is a damaged PyTorch archive, get it again") from None


def read_torch_legacy(file: Path) -> WeightFile:
    """The tensors of a `.pth` as PyTorch before 1.6 writes it, by the names of its state dict.

    The state dict is the whole tree, or its entry `state_dict`, `model`, `model_state_dict` or `model_state`.

    Raises:
        WeightsError: the file is damaged, wants to build anything but tensors and plain containers, has no state
            dict, or values that are not finite.
    """
    with file.open("rb") as stream:
        storages = StorageTable()
        unpickle(stream, file)
        protocol, system = unpickle(stream, file), unpickle(stream, file)
        tree = unpickle(stream, file, allowed=TORCH, persistent=storages.refer)
        keys = unpickle(stream, file)
        try:
            little = isinstance(system, dict) and system.get("little_endian", True)
            require(protocol == LEGACY_PROTOCOL and little, "it is of an unknown version or byte order")
            require(len(set(keys)) == len(keys), "it has a storage twice")
            values = {key: _read_legacy_storage(stream, storages.known[key]) for key in keys}
            require(not stream.read(1), "it has bytes behind its last storage")
            return _finish(file, tree, lambda storage: values[storage.key])
        except UnpicklingRefused as refusal:
            raise WeightsError(f"{file} is refused: {refusal}") from None
        except EOFError:
            raise WeightsError(f"{file} ends too early: it is truncated, get it again") from None
        except (KeyError, TypeError, ValueError, struct.error):
            raise WeightsError(f"{file} is a damaged PyTorch file, get it again") from None


def _read_legacy_storage(stream: BinaryIO, storage: Storage) -> np.ndarray:
    size = struct.unpack("<q", read_exactly(stream, 8).tobytes())[0]
    require(size == storage.size, "it has a storage of another size than it states")
    return read_exactly(stream, storage.nbytes).view(storage.dtype)


def _finish(file: Path, tree: Any, read_storage: Callable[[Storage], np.ndarray]) -> WeightFile:
    """The state dict in `tree` with its tensors cut out; each storage is read once."""
    views = _state_dict(tree)
    if views is None:
        names = ", ".join(STATE_DICTS)
        raise WeightsError(f"{file} has no state dict, neither as a whole nor as one of {names}")
    odd = next((key for key, value in views.items() if not isinstance(value, TensorView)), None)
    if odd is not None:
        raise WeightsError(f"{file}: entry {odd!r} is a {type(views[odd]).__name__}, expected a tensor")
    budget = MemoryBudget(MAX_EXPANSION * file.stat().st_size)
    values: dict[str, np.ndarray] = {}
    arrays = {}
    for key, view in views.items():
        if view.storage.key not in values:
            budget.reserve(view.storage.nbytes)
            values[view.storage.key] = read_storage(view.storage)
        arrays[str(key)] = view.cut(values[view.storage.key], budget)
    check_finite(arrays, file)
    return WeightFile(arrays)


def _state_dict(tree: Any) -> dict[Any, Any] | None:
    """The dictionary with tensors in it: the tree, or the first of its entries that is known to hold it."""
    for candidate in [tree, *(tree.get(name) for name in STATE_DICTS if isinstance(tree, dict))]:
        if isinstance(candidate, dict) and any(isinstance(value, TensorView) for value in candidate.values()):
            return candidate
    return None
