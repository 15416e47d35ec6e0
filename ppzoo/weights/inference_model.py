"""PaddlePaddle's binary tensors: the parameters of an inference model, and folders with one file per variable.

`.pdiparams` contains the tensors in the order of their parameter names, without the names. The names are in the program
next to the file (`.pdmodel`, a protocol buffer, or from 3.0 on a `.json`). `.pdiparams.info` can contain the structured
names.
"""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ppzoo.errors import WeightsError
from ppzoo.safe_pickle.allowlist import is_shape
from ppzoo.safe_pickle.exact_reads import read_exactly
from ppzoo.safe_pickle.reader import unpickle
from ppzoo.weights.protobuf import fields, varints
from ppzoo.weights.weight_file import WeightFile, check_finite, unique_keys, widen_bfloat16

TENSOR_START = bytes(4)  # the version, 0, at the start of every tensor
PARAMS_SUFFIX = ".pdiparams"
MAX_PROGRAM = 32 << 20
MAX_DESCRIPTION = 1 << 12
LOD_TENSOR = 7

# Numbers of VarType.Type in framework.proto.
DTYPES = {0: "|b1", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "|u1", 21: "|i1", 22: "<u2"}
BFLOAT16 = 22

_MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError, EOFError)


def read_inference_params(file: Path) -> WeightFile:
    """Read the parameters of an inference model by structured name, or by parameter name without `.pdiparams.info`.

    Raises:
        WeightsError: the program is missing or does not belong to the file, one of them is damaged, or a value is not
            finite.
    """
    names = _parameter_names(file)
    with file.open("rb") as stream:
        try:
            tensors = [_read_tensor(stream) for _ in names]
        except _MALFORMED:
            raise WeightsError(
                f"{file} is damaged or does not belong to the program next to it; export the network again"
            ) from None
        if stream.read(1):
            raise WeightsError(
                f"{file} has more tensors than the program next to it has parameters ({len(names)}); export the network"
                " again"
            )
    structured = _structured_names(file, names)
    arrays = {structured.get(name, name): tensor for name, tensor in zip(names, tensors, strict=True)}
    check_finite(arrays, file)
    return WeightFile(arrays, {key: name for name, key in structured.items()})


def read_variables(folder: Path) -> WeightFile:
    """Read a folder with one file per variable, by file name (`save_vars` of PaddlePaddle 1.x).

    Raises:
        WeightsError: a file is damaged, or a value is not finite.
    """
    arrays = {}
    for file in sorted(path for path in folder.iterdir() if is_variable(path)):
        with file.open("rb") as stream:
            try:
                arrays[file.name] = _read_tensor(stream)
                if stream.read(1):
                    raise ValueError
            except _MALFORMED:
                raise WeightsError(f"{file} is damaged or not a variable; restore or download it") from None
    check_finite(arrays, folder)
    return WeightFile(arrays)


def is_variable(file: Path) -> bool:
    """Whether `file` is a file (not a folder) that starts like a tensor."""
    if not os.path.isfile(file):
        return False
    with file.open("rb") as stream:
        return stream.read(len(TENSOR_START)) == TENSOR_START


def find_params(folder: Path) -> Path | None:
    """Return the `.pdiparams` of a folder with an exported model; None if there is not exactly one."""
    found = sorted(folder.glob(f"*{PARAMS_SUFFIX}"))
    return found[0] if len(found) == 1 else None


def _read_tensor(stream: BinaryIO) -> np.ndarray:
    """Read one tensor: version, levels of detail (skipped), version, description, values."""
    version, levels = struct.unpack("<IQ", read_exactly(stream, 12).tobytes())
    if version != 0 or levels > 8:
        raise ValueError
    for _ in range(levels):
        read_exactly(stream, _length(stream, "<Q"))
    version = _length(stream, "<I")
    length = _length(stream, "<i")
    if version != 0 or not 0 <= length <= MAX_DESCRIPTION:
        raise ValueError
    description = fields(read_exactly(stream, length).tobytes())
    code, shape = int(description[1][-1]), tuple(varints(description.get(2, [])))
    if not is_shape(shape):
        raise ValueError
    dtype = np.dtype(DTYPES[code])
    array = read_exactly(stream, math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)
    return widen_bfloat16(array) if code == BFLOAT16 else array


def _length(stream: BinaryIO, form: str) -> int:
    return struct.unpack(form, read_exactly(stream, struct.calcsize(form)).tobytes())[0]


def _parameter_names(file: Path) -> list[str]:
    """Return the names in the order of the tensors, which are sorted by name."""
    readers = {file.with_suffix(".json"): _names_of_json, file.with_suffix(".pdmodel"): _names_of_program}
    program = next((path for path in readers if os.path.isfile(path)), None)
    if program is None:
        expected = " or ".join(path.name for path in readers)
        raise WeightsError(f"{file} does not contain the names of its tensors; put its program {expected} next to it")
    if program.stat().st_size > MAX_PROGRAM:
        raise WeightsError(
            f"{program} is refused: expected a program of at most {MAX_PROGRAM >> 20} MB, got a larger one"
        )
    try:
        names = sorted(readers[program](program.read_bytes()))
    except _MALFORMED:
        raise WeightsError(f"{program} is damaged or not a program of PaddlePaddle; export the network again") from None
    if len(set(names)) != len(names):
        raise WeightsError(f"{program} has two parameters with the same name; export the network again")
    return names


def _names_of_json(content: bytes) -> list[str]:
    """Return the names of the operators "p" (parameter) in the first block of a program of PaddlePaddle 3."""
    operations = json.loads(content, object_pairs_hook=unique_keys)["program"]["regions"][0]["blocks"][0]["ops"]
    names = [operation["A"][3] for operation in operations if operation["#"] == "p"]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name that is not text")
    return names


def _names_of_program(content: bytes) -> list[str]:
    """Return the names of the persistable tensors in the first block of a ProgramDesc (framework.proto)."""
    block = fields(fields(content)[1][0])
    names = []
    for variable in map(fields, block[3]):
        kind = fields(variable[2][-1])[1][-1]
        if variable.get(3, [0])[-1] and kind == LOD_TENSOR:
            names.append(variable[1][-1].decode())
    return names


def _structured_names(file: Path, names: list[str]) -> dict[str, str]:
    """Return parameter name -> structured name if `.pdiparams.info` has them for all parameters, else an empty dict."""
    info = file.with_name(file.name + ".info")
    if not os.path.isfile(info):
        return {}
    with info.open("rb") as stream:
        entries: Any = unpickle(stream, info)
    try:
        structured = {name: entries[name]["structured_name"] for name in names}
    except (KeyError, TypeError, IndexError):
        return {}
    distinct = set(structured.values())
    if len(distinct) != len(names) or not all(isinstance(name, str) for name in distinct):
        raise WeightsError(
            f"{info}: expected a different structured name for each parameter, got one twice, or one that is not text;"
            " export the network again"
        )
    return structured
