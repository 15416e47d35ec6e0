"""Reading and writing `.safetensors`.

The format is eight bytes of header length, a JSON header, and the arrays. Implementing it here avoids a dependency; the
NumPy interface of the `safetensors` package does not support bfloat16.
Specification: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ppzoo.errors import WeightsError
from ppzoo.files import make_parent, write_atomically
from ppzoo.safe_pickle.allowlist import is_shape
from ppzoo.safe_pickle.exact_reads import read_exactly
from ppzoo.weights.weight_file import WeightFile, check_finite, unique_keys, widen_bfloat16

MAX_HEADER = 8 << 20
METADATA = "__metadata__"
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_READ = {**DTYPES, "BF16": "<u2"}
_WRITTEN = {np.dtype(code): name for name, code in DTYPES.items()}


def is_safetensors(start: bytes, size: int) -> bool:
    """Return whether a file of `size` bytes that starts with `start` has this format."""
    return len(start) > 8 and start[8:9] == b"{" and 2 <= struct.unpack("<Q", start[:8])[0] <= size - 8


def read_safetensors(file: Path) -> WeightFile:
    """Read the arrays and the metadata of a `.safetensors` file; bfloat16 is converted to float32, exactly.

    Raises:
        WeightsError: the file is damaged, or contains an unsupported dtype or values that are not finite.
    """
    with file.open("rb") as stream:
        try:
            arrays, metadata = _read(stream)
        except (ValueError, KeyError, TypeError, struct.error, RecursionError, EOFError) as error:
            reason = f": {error}" if type(error) is ValueError else ""
            raise WeightsError(
                f"{file} is a damaged or truncated safetensors file{reason}; restore or download it"
            ) from None
    check_finite(arrays, file)
    return WeightFile(arrays, metadata=metadata)


def _read(stream: BinaryIO) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    length = struct.unpack("<Q", stream.read(8))[0]
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {MAX_HEADER}")
    header = json.loads(read_exactly(stream, length).tobytes(), object_pairs_hook=unique_keys)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata is not text")
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
        if entry["dtype"] not in _READ or not is_shape(shape):
            raise ValueError(f"entry {name[:100]!r} has an unknown dtype or shape")
        dtype = np.dtype(_READ[entry["dtype"]])
        if start != end or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"entry {name[:100]!r} has invalid offsets")
        array = read_exactly(stream, stop - start).view(dtype).reshape(shape)
        arrays[name] = widen_bfloat16(array) if entry["dtype"] == "BF16" else array
        end = stop
    if stream.read(1):
        raise ValueError("it has bytes after its last entry")
    return {name: arrays[name] for name in header}, metadata


def save_safetensors(
    arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays by name, and text by name as metadata.

    The file is written atomically. Missing folders are created.
    """
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        dtype = _WRITTEN[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # align the data

    def write(file: BinaryIO) -> None:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            file.write(little.reshape(-1).view(np.uint8).data)

    make_parent(path)
    write_atomically(path, write)
