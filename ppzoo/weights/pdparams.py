"""PaddlePaddle's pickled files `.pdparams`, `.pdopt` and `.pdstates`, as written by versions 1.8 to 3.x."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo.errors import WeightsError, with_article
from ppzoo.files import WEIGHTS
from ppzoo.safe_pickle.allowlist import is_shape
from ppzoo.safe_pickle.reader import unpickle
from ppzoo.weights.weight_file import WeightFile, check_finite, find_file, report_read_errors, widen_bfloat16

NAME_TABLE = "StructuredToParameterName@@"
SPLIT_TABLE = "UnpackBigParamInfor@@"
PICKLE_STARTS = (b"\x80", b"(", b"}", b"]")  # of a dictionary or list; \x80 begins protocols 2 and later


def read_pdparams(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays of a `.pdparams` by their names in the file, without executing any code from it.

    bfloat16, which PaddlePaddle stores as uint16, is converted to float32, exactly.

    Args:
        path: the file, with or without `.pdparams`.

    Raises:
        WeightsError: the file is missing, damaged or not a weight file, calls functions, or contains values that are
            not finite.
    """
    return read_entries(path).arrays


def read_entries(path: str | os.PathLike[str]) -> WeightFile:
    """Read the arrays as `read_pdparams` does, and the parameter name of each structured name."""
    file = find_file(path)
    if file.suffix in (".pdopt", ".pdstates"):
        raise WeightsError(f"expected weights, got training state: {file}; use {file.with_suffix(WEIGHTS)}")
    entries = _read_pickle(file)
    names = entries.pop(NAME_TABLE, {})
    if not isinstance(names, dict) or not all(isinstance(text, str) for pair in names.items() for text in pair):
        raise WeightsError(
            f"{file}: expected a table {NAME_TABLE} that maps names to names; restore or download the file"
        )
    arrays = {}
    for key, value in entries.items():
        if _is_named_tensor(value):
            names.setdefault(key, value[0])
            value = value[1]
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise WeightsError(f"{file}: entry {key!r}: expected an array, got {with_article(type(value).__name__)}")
        arrays[key] = widen_bfloat16(value)
    check_finite(arrays, file)
    return WeightFile(arrays, names)


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a `.pdopt` or `.pdstates`: dicts, lists, text, numbers and arrays, nested as in the file.

    Tensors become arrays, and bfloat16 becomes float32, as in `read_pdparams`; parameter names are dropped. A list of
    one dict is replaced by the dict: since 2.4, PaddleClas writes a `.pdopt` as a list with one dict per optimizer.

    Raises:
        WeightsError: as in `read_pdparams`, but values that are not finite are accepted.
    """
    file = find_file(path, Path(path).suffix)
    entries = _read_pickle(file, allow_list=True)
    entries.pop(NAME_TABLE, None)
    return {key: _without_names(value) for key, value in entries.items()}


def _without_names(value: Any) -> Any:
    if _is_named_tensor(value):
        value = value[1]
    if isinstance(value, np.ndarray):
        return widen_bfloat16(value)
    if isinstance(value, dict):
        return {key: _without_names(item) for key, item in value.items()}
    return type(value)(map(_without_names, value)) if isinstance(value, (list, tuple)) else value


def _is_named_tensor(value: Any) -> bool:
    """Return whether `value` is a tensor in the format of PaddlePaddle 2.1 and later: (parameter name, array)."""
    return isinstance(value, tuple) and [type(item) for item in value] == [str, np.ndarray]


def _read_pickle(file: Path, allow_list: bool = False) -> dict[Any, Any]:
    with report_read_errors(file), file.open("rb") as stream:
        start = stream.read(512)
        _refuse_other_formats(start, file)
        stream.seek(0)
        entries = unpickle(stream, file)
        if stream.read(1):
            raise WeightsError(f"{file} is refused: it has bytes after its pickle; restore or download it")
    if allow_list and isinstance(entries, list) and len(entries) == 1:
        entries = entries[0]
    if not isinstance(entries, dict):
        raise WeightsError(
            f"{file}: expected a dictionary of names and arrays, got {with_article(type(entries).__name__)}"
        )
    _join_split(entries, file)
    return entries


def _refuse_other_formats(start: bytes, file: Path) -> None:
    kinds = {
        b"PK\x03\x04": "a zip archive",
        b"\x1f\x8b": "a gzip archive",
        b"BZh": "a bzip2 archive",
        b"\xfd7zXZ": "an xz archive",
        b"\x89PNG": "a PNG image",
        b"\xff\xd8\xff": "a JPEG image",
        b"\x89HDF": "an HDF5 file (Keras)",
    }
    found = next((kind for magic, kind in kinds.items() if start.startswith(magic)), "")
    if not start:
        found = "an empty file"
    elif start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        found = "a web page (such as the login or error page of a server)"
    elif file.suffix.lower() == ".onnx":
        found = "an ONNX model"
    elif start[257:262] == b"ustar":
        found = "a tar archive"
    elif not start.startswith(PICKLE_STARTS) and _is_text(start):
        found = "a text file"
    if found:
        raise WeightsError(f"{file}: expected weights (.pdparams, .safetensors, .npz or PyTorch's .pth), got {found}")


def _is_text(start: bytes) -> bool:
    text = start.decode(errors="ignore")
    return len(text.encode()) > len(start) - 4 and all(char.isprintable() or char.isspace() for char in text)


def _join_split(entries: dict[Any, Any], file: Path) -> None:
    """Join the slices of arrays that are too large for pickle protocols 2 and 3; no two arrays can share a slice."""
    table = entries.pop(SPLIT_TABLE, {})
    try:
        for key, split in table.items():
            shape, slices = tuple(split["OriginShape"]), [entries.pop(part) for part in split["slices"]]
            sizes = [part.size for part in slices]
            alike = len({(part.ndim, part.dtype) for part in slices}) == 1 and slices[0].ndim == 1
            if key in entries or not (alike and is_shape(shape) and math.prod(shape) == sum(sizes)):
                raise ValueError
            joined = np.empty(sum(sizes), slices[0].dtype)
            for end in np.cumsum(sizes)[::-1]:
                part = slices.pop()
                joined[end - part.size : end] = part
            entries[key] = joined.reshape(shape)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise WeightsError(
            f"{file}: its table {SPLIT_TABLE} does not match its entries; restore or download the file"
        ) from None
