"""Read weight files of all supported formats. The format is recognized by the content, not by the file name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ppzoo.errors import WeightsError
from ppzoo.files import WEIGHTS, expand_user, is_url
from ppzoo.weights.archives import open_archive, read_npz
from ppzoo.weights.download import cached, discard, fetch, weights_folder
from ppzoo.weights.export_archives import PARAMETERS, is_export_archive, unpack_export
from ppzoo.weights.inference_model import (
    PARAMS_SUFFIX,
    TENSOR_START,
    find_params,
    is_variable,
    read_inference_params,
    read_variables,
)
from ppzoo.weights.pdparams import PICKLE_STARTS, read_entries
from ppzoo.weights.pytorch import LEGACY_START, is_torch_archive, read_torch_archive, read_torch_legacy
from ppzoo.weights.safetensors import is_safetensors, read_safetensors
from ppzoo.weights.weight_file import WeightFile, find_file, report_read_errors


def read(source: str | os.PathLike[str]) -> WeightFile:
    """Read the arrays of a weight file.

    Args:
        source: a path or URL (http, https) of a `.pdparams` (the suffix is optional), `.safetensors`, `.npz`, PyTorch's
            `.pth`, `.pdiparams` next to its program, or a tar file with an exported model; or a folder with an exported
            model or with one file per variable.

    Raises:
        WeightsError: the file cannot be downloaded or read, or is refused; an invalid download is deleted.
    """
    if not is_url(source):
        return _read_path(Path(expand_user(os.fspath(source))))
    was_cached = cached(str(source)) is not None
    file = fetch(str(source), weights_folder())
    try:
        return _read_path(file)
    except WeightsError:
        if not was_cached:
            discard(file)
        raise


def _read_path(path: Path) -> WeightFile:
    with report_read_errors(path):
        return _read_existing(path)


def _read_existing(path: Path) -> WeightFile:
    if is_export_archive(path):
        return read_inference_params(unpack_export(path) / PARAMETERS)
    if os.path.isdir(path) and not (path.name and os.path.isfile(path.with_name(path.name + WEIGHTS))):
        params = find_params(path)
        if params is not None:
            return read_inference_params(params)
        if any(map(is_variable, path.iterdir())):
            return read_variables(path)
    if path.name and not os.path.exists(path) and os.path.isfile(path.with_name(path.name + PARAMS_SUFFIX)):
        path = path.with_name(path.name + PARAMS_SUFFIX)
    file = find_file(path)
    return _reader(file)(file)


def _reader(file: Path) -> Callable[[Path], WeightFile]:
    with file.open("rb") as stream:
        start = stream.read(32)
    if start.startswith(b"PK\x03\x04"):
        return _archive_reader(file)
    if start.startswith(LEGACY_START):
        return read_torch_legacy
    if start.startswith(TENSOR_START):
        return read_inference_params
    if is_safetensors(start, file.stat().st_size):
        return read_safetensors
    if file.suffix == ".safetensors" and not start.startswith(PICKLE_STARTS):
        raise WeightsError(f"{file}: expected safetensors, got a damaged or other file; restore or download it")
    return read_entries


def _archive_reader(file: Path) -> Callable[[Path], WeightFile]:
    with open_archive(file) as archive:
        names = archive.namelist()
    if is_torch_archive(names):
        return read_torch_archive
    if names and all(name.endswith(".npy") for name in names):
        return read_npz
    raise WeightsError(f"{file}: expected NumPy's arrays or PyTorch's tensors in the zip archive, got neither")
