"""The result of all weight readers, and the checks that they share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo.errors import WeightsError, exit_status_of, nearest_name
from ppzoo.files import ABSENT, WEIGHTS, describe_absence, weights_suggestion

VARIANCE = "_variance"  # name of the running variance in PaddlePaddle's batch norm
CHUNK = 1 << 18  # values checked at a time
THREADS = 4


@dataclass
class WeightFile:
    """The arrays of a weight file.

    Attributes:
        arrays: name -> array; bfloat16 is converted to float32.
        parameter_names: structured name -> parameter name, if the file contains them.
        metadata: text entries of the file.
    """

    arrays: dict[str, np.ndarray]
    parameter_names: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


@contextmanager
def report_read_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` that occurs while weights are read, such as a disk error, into a `WeightsError`."""
    try:
        yield
    except OSError as error:
        failure = WeightsError(f"cannot read {error.filename or path}: {error.strerror or error}")
        failure.exit_status = exit_status_of(error)
        raise failure from error


def find_file(path: str | os.PathLike[str], suffix: str = WEIGHTS) -> Path:
    """Return `path` if it is a file, else `path` with `suffix` appended.

    Raises:
        WeightsError: neither is a readable file; the most similar name in the folder is suggested.
    """
    path = Path(path)
    for candidate in (path, path.with_name(path.name + suffix)) if path.name else (path,):
        if os.path.isfile(candidate):
            if not os.access(candidate, os.R_OK):
                raise WeightsError(f"cannot read {candidate}: Permission denied")
            return candidate
    hint = weights_suggestion(path) if suffix == WEIGHTS and path.suffix != ".safetensors" else ""
    if os.path.isdir(path):
        raise WeightsError(f"expected a {suffix} file, got the folder {path}{hint}")
    absence = describe_absence(path)
    if absence != ABSENT:
        raise WeightsError(f"expected weights, got {str(path)!r}, which {absence}")
    if not os.path.isdir(path.parent):
        raise WeightsError(f"expected weights, got {str(path)!r}, which {absence}: there is no folder {path.parent}")
    alternative = "" if path.suffix else f" (nor does {path.name}{suffix})"
    raise WeightsError(
        f"expected weights, got {str(path)!r}, which {absence}{alternative}{hint or _suggest_file(path)}"
    )


def _suggest_file(path: Path) -> str:
    """Return '; did you mean X?' with the most similar name of a file in the folder; empty if none is similar."""
    files = path.parent.iterdir() if os.access(path.parent, os.R_OK) else ()
    near = nearest_name(path.name, (file.name for file in files if os.path.isfile(file)))
    return f"; did you mean {str(path.with_name(near))!r}?" if near else ""


def widen_bfloat16(array: np.ndarray) -> np.ndarray:
    """Convert bfloat16, which PaddlePaddle stores as uint16, to float32; other dtypes are returned unchanged."""
    if array.dtype != np.uint16:
        return array
    wide = array.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object without duplicate keys, for the `object_pairs_hook` of `json.loads`.

    Readers differ in which of two duplicates they keep.

    Raises:
        ValueError: a key occurs twice.
    """
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an entry occurs twice")
    return result


def check_finite(arrays: Mapping[str, np.ndarray], source: object) -> None:
    """Raise an error if a value is not finite.

    Raises:
        WeightsError: an array contains NaN or an infinite value; the message names the first such entry.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        for (name, array), index in zip(arrays.items(), pool.map(_first_nonfinite, arrays.values()), strict=True):
            if index is not None:
                value = f"{array.flat[index]} (element {index})"
                raise WeightsError(f"{source}: entry {name!r}: expected finite values, got {value}")


def check_variances(arrays: Mapping[str, np.ndarray], source: object) -> None:
    """Raise an error if a running variance is negative: its square root is NaN, which an activation can hide.

    Args:
        arrays: arrays by the network's structured names.
        source: name of the file in error messages.

    Raises:
        WeightsError: a running variance is negative; the message names the first such entry.
    """
    for name, array in arrays.items():
        if name.split(".")[-1] == VARIANCE and array.size and array.min() < 0:
            index = int(np.argmax(array < 0))
            value = f"{array.flat[index]} (element {index})"
            raise WeightsError(f"{source}: entry {name!r}: expected running variances of at least 0, got {value}")


def _first_nonfinite(array: np.ndarray) -> int | None:
    """Return the flat index of the first value that is not finite, or None."""
    if array.dtype.kind != "f":
        return None
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(flat.sum()):  # a finite sum has finite summands; an infinite one can be an overflow
            return None
    for start in range(0, flat.size, CHUNK):
        finite = np.isfinite(flat[start : start + CHUNK])
        if not finite.all():
            return start + int(np.argmin(finite))
    return None
