"""An export folder: program, parameters and `inference.yml`, which must belong to the same export.

`inference.yml` contains the SHA-256 of the other two files and is written last, so that a mixture of two exports, left
by a process that was killed, is detected.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppzoo import yaml_io
from ppzoo.deploy.allowed_operators import require_allowed_operators
from ppzoo.deploy.postprocess import parse_postprocess
from ppzoo.errors import ConfigError, PpzooError
from ppzoo.files import read_plain_file, sha256, sync_file, sync_folder

PROGRAM = "inference"
PROGRAM_FILES = (f"{PROGRAM}.json", f"{PROGRAM}.pdmodel")  # of PaddlePaddle 3 and 2
PARAMETERS = f"{PROGRAM}.pdiparams"
SETTINGS = "inference.yml"
DIGESTS = "SHA256"  # key in the settings: file name -> digest; PaddlePaddle reads a truncated file as NaN


@dataclass(frozen=True)
class ExportedModel:
    """The validated files of an export.

    Attributes:
        settings: the content of `inference.yml`.
        identity: a SHA-256 over program and parameters.
    """

    folder: Path
    program: Path
    parameters: Path
    settings: dict[str, Any]
    identity: str


def open_export(folder: Path) -> ExportedModel:
    """Validate the export in a folder, which can be from an untrusted source; nothing of it is run.

    Raises:
        PpzooError: the folder is not an export, a file is damaged or belongs to another export, or the program has an
            operator that is not allowed.
    """
    names = {file.name for file in folder.iterdir()} if os.path.isdir(folder) else set()
    if not ({PARAMETERS, SETTINGS} <= names and names & set(PROGRAM_FILES)):
        raise PpzooError(
            f"{folder}: expected a folder with {PROGRAM}.json (or .pdmodel), {PARAMETERS} and {SETTINGS},"
            f" got {sorted(names) or 'nothing'}; create one with `ppzoo export`"
        )
    settings = _read_settings(folder / SETTINGS)
    expected = settings.get(DIGESTS)
    digests = expected if isinstance(expected, dict) else {}  # exports of PaddleClas have none
    program = next((name for name in PROGRAM_FILES if name in digests), None) or next(
        name for name in PROGRAM_FILES if name in names
    )
    require_allowed_operators(folder / program)
    found = {name: sha256(folder / name) for name in (program, PARAMETERS)}
    for name, value in found.items():
        if digests and digests.get(name) != value:
            raise PpzooError(
                f"{folder / name} is damaged, or belongs to another export than {SETTINGS}; export the network again"
            )
    identity = hashlib.sha256("".join(found.values()).encode()).hexdigest()
    return ExportedModel(folder, folder / program, folder / PARAMETERS, settings, identity)


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
    for name in (SETTINGS, *PROGRAM_FILES):
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
        raise PpzooError(f"{path}: expected YAML, got a damaged file ({error}); export the network again") from error
    except OSError as error:
        raise PpzooError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise PpzooError(
            f"{path}: expected PreProcess.transform_ops and PostProcess.Topk.label_list, of which one is missing"
        ) from error
    labels = options["label_list"]
    if not isinstance(labels, list) or not all(type(label) in (str, int, float) for label in labels):
        raise PpzooError(f"{path}: PostProcess.{name}.label_list: expected a list of names, got {labels!r:.60}")
    options["label_list"][:] = map(str, labels)
    if not isinstance(ops, list) or not all(isinstance(op, dict) and len(op) == 1 for op in ops):
        raise PpzooError(f"{path}: PreProcess.transform_ops: expected a list of `Name: options`, got {ops!r:.60}")
    return settings
