"""PyTorch's `.pth`, read without PyTorch: the zip archive of version 1.6 and later, and the format before it.

Both contain a pickled tree and, separately, storages with keys. The tensors in the tree are views (offset, size,
stride) of the storages. `ppzoo.safe_pickle` reads the tree, with a few more allowed names than for other files.
Afterwards the storages are read, and the tensors become arrays.
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

from ppzoo.errors import WeightsError, with_article
from ppzoo.safe_pickle.allowlist import (
    NUMPY_AND_CONTAINERS,
    AllowedCall,
    MemoryBudget,
    OpaqueValue,
    UnpicklingRefused,
    allowlist,
    is_shape,
    refuse_call,
    require,
)
from ppzoo.safe_pickle.exact_reads import read_exactly
from ppzoo.safe_pickle.reader import unpickle
from ppzoo.weights.archives import MALFORMED, open_archive, read_member
from ppzoo.weights.weight_file import WeightFile, check_finite, widen_bfloat16

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number of the older format
LEGACY_PROTOCOL = 1001
STATE_DICTS = ("state_dict", "model", "model_state_dict", "model_state")
MAX_EXPANSION = 4  # maximum total size of storages and tensors, as a multiple of the file size
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
    """A one-dimensional array of which tensors are views."""

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

    def copy_from(self, values: np.ndarray, budget: MemoryBudget) -> np.ndarray:
        """Return the tensor as an array in C order, from the values of its storage."""
        count = math.prod(self.shape)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        require(count == 0 or last < values.size, "it contains a tensor that exceeds its storage")
        budget.reserve(count * values.itemsize)
        strides = tuple(stride * values.itemsize for stride in self.strides)
        start = values[self.offset :] if count else values[:0]
        array = np.lib.stride_tricks.as_strided(start, self.shape, strides)
        array = np.ascontiguousarray(array).reshape(self.shape)  # no copy if the view is the complete storage
        return widen_bfloat16(array) if self.storage.kind == "torch.BFloat16Storage" else array


@dataclass
class StorageTable:
    """The storages to which a pickle refers, by key."""

    known: dict[str, Storage] = field(default_factory=dict)

    def resolve(self, identifier: Any) -> Storage:
        """Return the storage of a persistent id in the format of `torch.save`."""
        tag, kind, key, _, size, *view = identifier
        plain = tag == "storage" and isinstance(kind, AllowedCall) and kind.label in STORAGES and isinstance(key, str)
        require(plain and type(size) is int and 0 <= size < 2**48, "it refers to an object that is not a storage")
        require(view in ([], [None]), "it contains a storage that is a view of another")
        storage = self.known.setdefault(key, Storage(kind.label, key, size))
        require(storage == Storage(kind.label, key, size), f"it describes storage {key[:20]!r} in two ways")
        return storage


def _tensor_view(budget: MemoryBudget, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorView:
    plain = isinstance(storage, Storage) and is_shape((offset,)) and is_shape(shape) and is_shape(strides)
    require(plain and len(shape) == len(strides), "it contains a tensor in an unknown format")
    return TensorView(storage, offset, shape, strides)


def _parameter(budget: MemoryBudget, tensor: Any, *rest: Any) -> TensorView:
    require(isinstance(tensor, TensorView), "it contains a parameter that is not a tensor")
    return tensor


def _size(budget: MemoryBudget, *arguments: Any) -> tuple[Any, ...]:
    (shape,) = arguments
    require(is_shape(shape), "it contains a size that is not a tuple of sizes")
    return shape


TORCH = {
    **NUMPY_AND_CONTAINERS,
    **allowlist({kind: refuse_call(kind) for kind in STORAGES}),
    **allowlist(
        {
            "torch._utils._rebuild_tensor": _tensor_view,
            "torch._utils._rebuild_tensor_v2": _tensor_view,
            "torch._utils._rebuild_parameter": _parameter,
            "torch.Size": _size,
        }
    ),
}


def is_torch_archive(names: list[str]) -> bool:
    """Whether a zip archive with these members was written by `torch.save`."""
    return any(name.endswith("/data.pkl") or name == "data.pkl" for name in names)


def read_torch_archive(file: Path) -> WeightFile:
    """Read the tensors of a `.pth` in the format since PyTorch 1.6; result and errors as in `read_torch_legacy`."""
    with open_archive(file) as archive:
        trees = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(trees) > 1:
            raise WeightsError(f"{file} is refused: expected one member data.pkl, got {len(trees)}")
        (pickled,) = trees
        folder = pickled.removesuffix("data.pkl")

        def read_storage(storage: Storage) -> np.ndarray:
            member = archive.getinfo(f"{folder}data/{storage.key}")
            require(member.file_size == storage.nbytes, "it contains a storage whose size differs from the stated one")
            with archive.open(member) as stream:
                return read_member(stream, storage.nbytes).view(storage.dtype)

        try:
            order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in archive.namelist() else b"little"
            require(order == b"little", "it has big-endian byte order")
            storages = StorageTable()
            require(archive.getinfo(pickled).file_size <= MAX_TREE, "its pickle is too large")
            stream = io.BytesIO(archive.read(pickled))
            tree = unpickle(stream, file, allowed=TORCH, persistent=storages.resolve)
            return _read_tensors(file, tree, read_storage)
        except UnpicklingRefused as refusal:
            raise WeightsError(f"{file} is refused: {refusal}") from None
        except MALFORMED:
            raise WeightsError(f"{file} is a damaged PyTorch archive; restore or download it") from None


def read_torch_legacy(file: Path) -> WeightFile:
    """Read the tensors of a `.pth` in the format of PyTorch before 1.6, by the names of its state dict.

    The state dict is the complete tree, or its entry `state_dict`, `model`, `model_state_dict` or `model_state`.

    Raises:
        WeightsError: the file is damaged, contains anything but tensors and plain containers, has no state dict, or
            contains values that are not finite.
    """
    with file.open("rb") as stream:
        storages = StorageTable()
        unpickle(stream, file)
        protocol, system = unpickle(stream, file), unpickle(stream, file)
        tree = unpickle(stream, file, allowed=TORCH, persistent=storages.resolve)
        keys = unpickle(stream, file)
        try:
            little = isinstance(system, dict) and system.get("little_endian", True)
            require(protocol == LEGACY_PROTOCOL and little, "it has an unknown version or byte order")
            require(len(set(keys)) == len(keys), "it contains a storage twice")
            values = {key: _read_legacy_storage(stream, storages.known[key]) for key in keys}
            require(not stream.read(1), "it has bytes after its last storage")
            return _read_tensors(file, tree, lambda storage: values[storage.key])
        except UnpicklingRefused as refusal:
            raise WeightsError(f"{file} is refused: {refusal}") from None
        except EOFError:
            raise WeightsError(f"{file} is truncated; restore or download it") from None
        except (KeyError, TypeError, ValueError, struct.error):
            raise WeightsError(f"{file} is a damaged PyTorch file; restore or download it") from None


def _read_legacy_storage(stream: BinaryIO, storage: Storage) -> np.ndarray:
    size = struct.unpack("<q", read_exactly(stream, 8).tobytes())[0]
    require(size == storage.size, "it contains a storage whose size differs from the stated one")
    return read_exactly(stream, storage.nbytes).view(storage.dtype)


def _read_tensors(file: Path, tree: Any, read_storage: Callable[[Storage], np.ndarray]) -> WeightFile:
    """Read the tensors of the state dict in `tree`; each storage is read once."""
    views = _state_dict(tree)
    if views is None:
        names = ", ".join(STATE_DICTS)
        raise WeightsError(f"{file}: expected a state dict, as the complete content or as one of its entries {names}")
    invalid = next((key for key, value in views.items() if not isinstance(value, TensorView)), None)
    if invalid is not None:
        raise WeightsError(
            f"{file}: entry {invalid!r}: expected a tensor, got {with_article(type(views[invalid]).__name__)}"
        )
    budget = MemoryBudget(MAX_EXPANSION * file.stat().st_size)
    values: dict[str, np.ndarray] = {}
    arrays = {}
    for key, view in views.items():
        if view.storage.key not in values:
            budget.reserve(view.storage.nbytes)
            values[view.storage.key] = read_storage(view.storage)
        arrays[str(key)] = view.copy_from(values[view.storage.key], budget)
    check_finite(arrays, file)
    return WeightFile(arrays)


def _state_dict(tree: Any) -> dict[Any, Any] | None:
    """Return the dictionary that contains tensors: the tree, or the first such entry of `STATE_DICTS`."""
    for candidate in [tree, *(tree.get(name) for name in STATE_DICTS if isinstance(tree, dict))]:
        if isinstance(candidate, dict) and any(isinstance(value, TensorView) for value in candidate.values()):
            return candidate
    return None
