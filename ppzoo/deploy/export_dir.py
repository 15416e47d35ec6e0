"""An export folder: the network in one or several formats, and `inference.yml`, which must belong to the same export.

`inference.yml` contains the SHA-256 of the other files and is written last, so that a mixture of two exports, left by a
process that was killed, is detected.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppzoo import yaml_io
from ppzoo.deploy.allowed_operators import require_allowed_operators
from ppzoo.deploy.postprocess import POSTPROCESSES, parse_postprocess
from ppzoo.errors import ConfigError, PpzooError
from ppzoo.files import (
    EXPORT_SETTINGS,
    RUN_CONFIG,
    describe_absence,
    is_utf8,
    read_plain_file,
    sha256,
    sync_file,
    sync_folder,
)
from ppzoo.weights import is_export_archive, unpack_export
from ppzoo.weights.export_archives import PARAMETERS, PROGRAM, PROGRAM_FILES
from ppzoo.weights.inference_model import read_inference_params

SETTINGS = EXPORT_SETTINGS
PADDLE, ONNX, OPENVINO = "paddle", "onnx", "openvino"  # formats
# The files of each format other than "paddle", by format and precision; the weights are in the last file.
FORMAT_FILES = {
    (ONNX, "float32"): (f"{PROGRAM}.onnx",),
    (OPENVINO, "float32"): (f"{PROGRAM}.xml", f"{PROGRAM}.bin"),
    (ONNX, "int8"): (f"{PROGRAM}_int8.onnx",),
    (OPENVINO, "int8"): (f"{PROGRAM}_int8.xml", f"{PROGRAM}_int8.bin"),
}
MODEL_FILES = (
    *PROGRAM_FILES,
    PARAMETERS,
    f"{PARAMETERS}.info",
    *(name for names in FORMAT_FILES.values() for name in names),
)
DEPLOYMENT = "Deployment"  # key in the settings: how the formats were written, and how they were checked
SHOWN_FILES = 5  # in a message
DIGESTS = "SHA256"  # key in the settings: file name -> digest; PaddlePaddle does not detect truncated files


@dataclass(frozen=True)
class ExportedModel:
    """The validated files of an export.

    Attributes:
        program, parameters: the files of the format "paddle", which exist if `formats` contains it.
        settings: the content of `inference.yml`.
        identity: a SHA-256 over the files of all formats.
        formats: the formats that the folder has in float32: some of "paddle", "onnx" and "openvino".
        int8_formats: the formats that it has in int8: some of "onnx" and "openvino".
    """

    folder: Path
    program: Path
    parameters: Path
    settings: dict[str, Any]
    identity: str
    formats: tuple[str, ...] = (PADDLE,)
    int8_formats: tuple[str, ...] = ()

    @property
    def transform_ops(self) -> list[dict[str, Any]]:
        """The preprocessing of image files; the decoding is added to exports of PaddleClas, which do not list it."""
        ops: list[dict[str, Any]] = self.settings["PreProcess"]["transform_ops"]
        return ops if any("DecodeImage" in op for op in ops) else [{"DecodeImage": {}}, *ops]

    @property
    def labels(self) -> list[str]:
        """The names of the classes; if the last classes have no names, there are fewer names than classes."""
        _, options = parse_postprocess(self.settings["PostProcess"])
        return list(options["label_list"])

    @property
    def is_multi_label(self) -> bool:
        """Whether the network predicts several classes per image."""
        name, _ = parse_postprocess(self.settings["PostProcess"])
        return getattr(POSTPROCESSES[name], "label_kind", "single") == "multi"

    @property
    def architecture(self) -> str | None:
        """The name of the network's architecture; None if the export does not state it."""
        about = self.settings.get("Global")
        name = about.get("model_name") if isinstance(about, dict) else None
        return name if isinstance(name, str) else None

    def model_files(self, name: str, precision: str = "float32") -> list[Path]:
        """Return the files of the format "onnx" or "openvino"."""
        return [self.folder / file for file in FORMAT_FILES[name, precision]]

    @property
    def deployment(self) -> Deployment:
        """How the formats were written; the defaults for exports of PaddleClas and of earlier versions of ppzoo."""
        return _read_deployment(self.settings, self.folder / SETTINGS)


@dataclass(frozen=True)
class Deployment:
    """Options of an export that its engines need.

    Attributes:
        image_shape: C x H x W of a preprocessed image; empty if unknown.
        with_preprocessing: the ONNX and OpenVINO models take N x H x W x C uint8 pixels, which they normalize.
        precision: the precision that the export was made for.
    """

    image_shape: tuple[int, ...] = ()
    with_preprocessing: bool = False
    precision: str = "float32"


def require_label_count(postprocess: str, names: int, classes: int) -> None:
    """Refuse more label names than classes: they belong to another network.

    Args:
        postprocess: the postprocessing whose option `label_list` has the names.

    Raises:
        ConfigError: there are more.
    """
    if names > classes:
        raise ConfigError(
            f"{SETTINGS}: PostProcess.{postprocess}.label_list: expected {classes} names, one per class, got {names};"
            " export the network with the names of its classes"
        )


def _describe_other(folder: Path, names: Collection[str]) -> str:
    """Describe a path that is not an export, for a message; `names` are the names of the files in the folder."""
    if not os.path.isdir(folder):
        return "a file" if os.path.isfile(folder) else f"a path that {describe_absence(folder)}"
    if RUN_CONFIG in names:
        return "the folder of a run"
    shown = ", ".join(sorted(names)[:SHOWN_FILES])
    return f"a folder with {shown}{', ...' if len(names) > SHOWN_FILES else ''}" if names else "an empty folder"


def open_export(folder: Path) -> ExportedModel:
    """Validate the export in a folder, which can be from an untrusted source; nothing of it is run.

    Args:
        folder: the folder, or a tar file with it, which is unpacked into the cache.

    Raises:
        PpzooError: the folder is not an export, a file is damaged or belongs to another export, or the program has an
            operator that is not allowed.
    """
    if is_export_archive(folder):
        folder = unpack_export(folder)
    if not is_utf8(str(folder)):
        raise PpzooError(f"{folder}: expected a path in UTF-8, which the engines require; rename or move the folder")
    names = {file.name for file in folder.iterdir()} if os.path.isdir(folder) else set()
    found = _find_formats(names)
    if SETTINGS not in names or not found:
        raise PpzooError(
            f"{folder}: expected the folder of an export ({SETTINGS}, and {PROGRAM}.json or .pdmodel with {PARAMETERS},"
            f" or {PROGRAM}.onnx, or {PROGRAM}.xml), got {_describe_other(folder, names)}; `ppzoo export` writes an"
            " export"
        )
    settings = _read_settings(folder / SETTINGS)
    expected = settings.get(DIGESTS)
    digests = expected if isinstance(expected, dict) else {}  # exports of PaddleClas have none
    program = next((name for name in PROGRAM_FILES if name in digests), None) or next(
        (name for name in PROGRAM_FILES if name in names), PROGRAM_FILES[0]
    )
    files = {(PADDLE, "float32"): (program, PARAMETERS), **FORMAT_FILES}
    # If `inference.yml` has digests, model files without a digest are from another export.
    present = [key for key in files if key in found and (not digests or digests.keys() & set(files[key]))] or [*found]
    try:
        if (PADDLE, "float32") in present:
            require_allowed_operators(folder / program)
            if not digests:  # PaddlePaddle reads what is missing in a truncated file from uninitialized memory
                read_inference_params(folder / PARAMETERS)
        hashes = {name: sha256(folder / name) for key in present for name in files[key]}
    except OSError as error:
        raise PpzooError(f"cannot read {error.filename}: {error.strerror}") from error
    for name, value in hashes.items():
        if digests and digests.get(name) != value:
            raise PpzooError(
                f"{folder / name} is damaged, or belongs to another export than {SETTINGS}; export the network again"
            )
    identity = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    formats, int8 = (tuple(name for name, kind in present if kind == precision) for precision in ("float32", "int8"))
    exported = ExportedModel(folder, folder / program, folder / PARAMETERS, settings, identity, formats, int8)
    _ = exported.deployment  # validates it
    return exported


def _find_formats(names: set[str]) -> set[tuple[str, str]]:
    """Return the formats and precisions whose files are all among `names`."""
    found = {key for key, files in FORMAT_FILES.items() if names >= set(files)}
    return found | ({(PADDLE, "float32")} if PARAMETERS in names and names & set(PROGRAM_FILES) else set())


def _read_deployment(settings: dict[str, Any], path: Path) -> Deployment:
    section = settings.get(DEPLOYMENT)
    if section is None:
        return Deployment()
    try:
        shape, has_pixels = section["image_shape"], section["with_preprocessing"]
        if type(has_pixels) is not bool or len(shape) != 3 or not all(type(size) is int and size > 0 for size in shape):
            raise ValueError("not the options of an export")
        return Deployment(tuple(shape), has_pixels, str(section["precision"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PpzooError(
            f"{path}: {DEPLOYMENT}: expected image_shape, with_preprocessing and precision, got {section!r:.60};"
            " export the network again"
        ) from error


def move_into_place(staged: Path, folder: Path) -> None:
    """Move the files of a staged export into `folder`; until all are there, `folder` is not a valid export.

    Args:
        staged: a folder on the same file system with the files of one export.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted((file.name for file in staged.iterdir()), key=lambda name: name == SETTINGS)
    for name in names:
        sync_file(staged / name)
    for name in (SETTINGS, *MODEL_FILES):
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)
    for name in names:
        os.replace(staged / name, folder / name)
    sync_folder(folder)


def _read_settings(path: Path) -> dict[str, Any]:
    """Read an `inference.yml` and validate its preprocessing and label names.

    Raises:
        PpzooError: it cannot be read, or is not valid.
    """
    try:
        settings = yaml_io.parse(read_plain_file(path), SETTINGS, yaml_io.EXPORT_LIMITS)
        ops, (name, options) = settings["PreProcess"]["transform_ops"], parse_postprocess(settings["PostProcess"])
    except ConfigError as error:
        problem = str(error).removeprefix(SETTINGS).lstrip(",: ").removesuffix(f"; {yaml_io.FIX}")
        raise PpzooError(f"{path} is damaged ({problem}); export the network again") from error
    except OSError as error:
        raise PpzooError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise PpzooError(
            f"{path}: expected PreProcess.transform_ops and PostProcess.Topk.label_list, of which one is missing;"
            " export the network again"
        ) from error
    labels = options["label_list"]
    if not isinstance(labels, list) or not all(type(label) in (str, int, float) for label in labels):
        raise PpzooError(
            f"{path}: PostProcess.{name}.label_list: expected a list of names, got {labels!r:.60}; export the network"
            " again"
        )
    options["label_list"][:] = map(str, labels)
    if not isinstance(ops, list) or not all(isinstance(op, dict) and len(op) == 1 for op in ops):
        raise PpzooError(
            f"{path}: PreProcess.transform_ops: expected a list of `Name: options`, got {ops!r:.60}; export the network"
            " again"
        )
    return settings
