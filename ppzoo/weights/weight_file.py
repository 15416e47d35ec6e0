"""What every reader of weights answers, and the checks and messages that all of them share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo.errors import WeightsError, suggestion
from ppzoo.files import weights_suggestion

SUFFIX = ".pdparams"
VARIANCE = "_variance"  # what PaddlePaddle's batch norm calls its running variance
CHUNK = 1 << 18  # values checked at a time
THREADS = 4


@dataclass
class WeightFile:
    """The arrays of a weight file.

    Attributes:
        arrays: name -> array; bfloat16 is widened to float32.
        parameter_names: structured name -> parameter name, where the file says so.
        metadata: free text that the file carries.
    """

    arrays: dict[str, np.ndarray]
    parameter_names: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def find_file(path: str | os.PathLike[str], suffix: str = SUFFIX) -> Path:
    """The file `path`, or `path` with `suffix` added.

    Raises:
        WeightsError: there is none; the nearest name in its folder is suggested.
    """
    path = Path(path)
    for candidate in (path, path.with_name(path.name + suffix)) if path.name else (path,):
        if os.path.isfile(candidate):
            if not os.access(candidate, os.R_OK):
                raise WeightsError(f"{candidate} may not be read by this user; change its permissions")
            return candidate
    hint = weights_suggestion(path) if suffix == SUFFIX and path.suffix != ".safetensors" else ""
    if os.path.isdir(path):
        raise WeightsError(f"{path} is a folder; name the {suffix} file{hint}")
    if not os.path.isdir(path.parent):
        raise WeightsError(f"{path} does not exist, nor does its folder {path.parent}")
    raise WeightsError(f"there is no {path} (with or without {suffix}){hint or _nearest(path.name, path.parent)}")


def _nearest(name: str, folder: Path) -> str:
    return suggestion(name, (file.name for file in folder.iterdir() if os.path.isfile(file)))


def widen_bfloat16(array: np.ndarray) -> np.ndarray:
    """float32 of an array of bfloat16, which PaddlePaddle stores as uint16 and no network has otherwise."""
    if array.dtype != np.uint16:
        return array
    wide = array.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `json.loads`; of two entries of one name other readers may keep the other.

    Raises:
        ValueError: a name occurs twice.
    """
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an entry occurs twice")
    return result


def check_finite(arrays: Mapping[str, np.ndarray], source: object) -> None:
    """Refuse weights that no network computes with.

    Raises:
        WeightsError: an array has a NaN or an infinite value; the first such entry is named.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        for (name, array), place in zip(arrays.items(), pool.map(_not_finite, arrays.values()), strict=True):
            if place is not None:
                value = f"{array.flat[place]} (element {place})"
                raise WeightsError(f"{source}: entry {name!r} holds {value}, expected finite weights")


def check_variances(arrays: Mapping[str, np.ndarray], source: object) -> None:
    """Refuse running variances below 0, whose square root is NaN, which an activation may hide.

    Args:
        arrays: by the network's structured names.

    Raises:
        WeightsError: there is one; the first such entry is named.
    """
    for name, array in arrays.items():
        if name.split(".")[-1] == VARIANCE and array.size and array.min() < 0:
            place = int(np.argmax(array < 0))
            value = f"{array.flat[place]} (element {place})"
            raise WeightsError(f"{source}: entry {name!r} holds {value}, expected running variances of 0 or more")


def _not_finite(array: np.ndarray) -> int | None:
    """The place of the first value that is not finite, if there is one."""
    if array.dtype.kind != "f":
        return None
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(flat.sum()):  # then all of them are; it may overflow, and the values must be looked at
            return None
    for start in range(0, flat.size, CHUNK):
        finite = np.isfinite(flat[start : start + CHUNK])
        if not finite.all():
            return start + int(np.argmin(finite))
    return None
