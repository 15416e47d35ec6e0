"""PaddlePaddle's own pickled files: `.pdparams`, `.pdopt`, `.pdstates`, as versions 1.8 to 3.x write them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo.errors import WeightsError
from ppzoo.safe_pickle.allowlist import is_shape
from ppzoo.safe_pickle.reader import unpickle
from ppzoo.weights.weight_file import WeightFile, check_finite, find_file, widen_bfloat16

NAME_TABLE = "StructuredToParameterName@@"
SPLIT_TABLE = "UnpackBigParamInfor@@"


def read_pdparams(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a `.pdparams` by the names that the file gives them; nothing in the file is executed.

    bfloat16, which PaddlePaddle stores as uint16, becomes float32, exactly.

    Args:
        path: the file, with or without `.pdparams`.

    Raises:
        WeightsError: the file is missing, damaged, no weight file, wants to call something, or has values that are
            not finite.
    """
    return read_entries(path).arrays


def read_entries(path: str | os.PathLike[str]) -> WeightFile:
    """Like `read_pdparams`, with the parameter names that the file has for its structured names."""
    file = find_file(path)
    entries = _read_pickle(file)
    names = entries.pop(NAME_TABLE, {})
    if not isinstance(names, dict) or not all(isinstance(text, str) for pair in names.items() for text in pair):
        raise WeightsError(f"{file}: its table {NAME_TABLE} does not map names to names")
    arrays = {}
    for key, value in entries.items():
        if _is_named_tensor(value):
            names.setdefault(key, value[0])
            value = value[1]
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise WeightsError(f"{file}: entry {key!r} is a {type(value).__name__}, expected an array")
        arrays[key] = widen_bfloat16(value)
    check_finite(arrays, file)
    return WeightFile(arrays, names)


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a `.pdopt` or `.pdstates`: dicts, lists, text, numbers and arrays, nested as in the file.

    Tensors become arrays, and bfloat16 float32, as in `read_pdparams`; parameter names are dropped. A list of one
    dict, as which PaddleClas writes a `.pdopt` since 2.4 (one dict an optimizer), is that dict.

    Raises:
        WeightsError: as in `read_pdparams`, but for values that are not finite.
    """
    file = find_file(path, Path(path).suffix)
    entries = _read_pickle(file, listed=True)
    entries.pop(NAME_TABLE, None)
    return {key: _plain(value) for key, value in entries.items()}


def _plain(value: Any) -> Any:
    if _is_named_tensor(value):
        value = value[1]
    if isinstance(value, np.ndarray):
        return widen_bfloat16(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return type(value)(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _is_named_tensor(value: Any) -> bool:
    """Whether it is a tensor as PaddlePaddle writes it since 2.1: (parameter name, array)."""
    return isinstance(value, tuple) and [type(item) for item in value] == [str, np.ndarray]


def _read_pickle(file: Path, listed: bool = False) -> dict[Any, Any]:
    with file.open("rb") as stream:
        start = stream.read(512)
        _check_start(start, file)
        stream.seek(0)
        entries = unpickle(stream, file)
        if stream.read(1):
            raise WeightsError(f"{file} is refused: it has bytes behind its pickle")
    if listed and isinstance(entries, list) and len(entries) == 1:
        entries = entries[0]
    if not isinstance(entries, dict):
        raise WeightsError(f"{file} holds a {type(entries).__name__}, expected a dictionary of names and arrays")
    _join_split(entries, file)
    return entries


def _check_start(start: bytes, file: Path) -> None:
    kinds = {
        b"PK\x03\x04": "a zip archive",
        b"\x1f\x8b": "gzip-compressed",
        b"BZh": "bzip2-compressed",
        b"\xfd7zXZ": "xz-compressed",
    }
    found = next((kind for magic, kind in kinds.items() if start.startswith(magic)), "")
    if not start:
        found = "empty"
    elif start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        found = "a web page (the download went to a login or error page)"
    elif start[257:262] == b"ustar":
        found = "a tar archive"
    if found:
        raise WeightsError(f"{file} is {found}, expected a weight file as paddle.save writes it")


def _join_split(entries: dict[Any, Any], file: Path) -> None:
    """Put arrays together that protocols 2 and 3 could only hold in slices; a slice belongs to one array."""
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
        raise WeightsError(f"{file}: its table {SPLIT_TABLE} does not describe its entries") from None
