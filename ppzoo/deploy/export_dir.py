"""An export folder as a set: program, parameters and `inference.yml`, of one export or refused.

`inference.yml` holds the SHA-256 of the other two and is written last, so that what a kill between two exports leaves
behind is noticed.
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
from ppzoo.files import read_plain_file, sha256, sync_folder

PROGRAM = "inference"
PROGRAM_FILES = (f"{PROGRAM}.json", f"{PROGRAM}.pdmodel")  # as PaddlePaddle 3 and 2 write it
PARAMETERS = f"{PROGRAM}.pdiparams"
SETTINGS = "inference.yml"
DIGESTS = "SHA256"  # in the settings: of each other file, by name; PaddlePaddle reads a file that was cut off as NaN


@dataclass(frozen=True)
class ExportedModel:
    """The files of an export, which belong together.

    Attributes:
        settings: the content of `inference.yml`.
        identity: stands for program and parameters: SHA-256 of theirs.
    """

    folder: Path
    program: Path
    parameters: Path
    settings: dict[str, Any]
    identity: str


def open_export(folder: Path) -> ExportedModel:
    """The export in a folder, which may come from anywhere: nothing of it has been run yet.

    Raises:
        PpzooError: the folder is not an export, or one of its files is damaged or of another export, or the program
            does anything else than compute.
    """
    names = {file.name for file in folder.iterdir()} if os.path.isdir(folder) else set()
    if not ({PARAMETERS, SETTINGS} <= names and names & set(PROGRAM_FILES)):
        raise PpzooError(
            f"{folder}: expected a folder with {PROGRAM}.json (or .pdmodel), {PARAMETERS} and {SETTINGS},"
            f" got {sorted(names) or 'nothing'}; `ppzoo export` makes one"
        )
    settings = _read_settings(folder / SETTINGS)
    expected = settings.get(DIGESTS)
    known = expected if isinstance(expected, dict) else {}  # PaddleClas's settings say nothing
    program = next((name for name in PROGRAM_FILES if name in known), None) or next(
        name for name in PROGRAM_FILES if name in names
    )
    require_allowed_operators(folder / program)
    found = {name: sha256(folder / name) for name in (program, PARAMETERS)}
    for name, value in found.items():
        if known and known.get(name) != value:
            raise PpzooError(
                f"{folder / name} is damaged, or of another export than {SETTINGS}: export the network anew"
            )
    identity = hashlib.sha256("".join(found.values()).encode()).hexdigest()
    return ExportedModel(folder, folder / program, folder / PARAMETERS, settings, identity)


def move_into_place(staged: Path, folder: Path) -> None:
    """Put the files of a staged export into their places; the folder is refused as an export until all are there.

    Args:
        staged: a folder on the same file system with the files of one export.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted((file.name for file in staged.iterdir()), key=lambda name: name == SETTINGS)
    for name in names:
        with (staged / name).open("rb") as file:
            os.fsync(file.fileno())
    for name in (SETTINGS, *PROGRAM_FILES):
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)
    for name in names:
        os.replace(staged / name, folder / name)
    sync_folder(folder)


def _read_settings(path: Path) -> dict[str, Any]:
    """The content of an `inference.yml`, with preprocessing and label names where they belong.

    Raises:
        PpzooError: it is anything else.
    """
    try:
        settings = yaml_io.parse(read_plain_file(path), SETTINGS, yaml_io.EXPORT_LIMITS)
        steps, (answer, options) = settings["PreProcess"]["transform_ops"], parse_postprocess(settings["PostProcess"])
    except ConfigError as error:
        raise PpzooError(f"{path}: expected YAML, got a damaged file ({error}): export anew") from error
    except OSError as error:
        raise PpzooError(f"{path}: expected YAML, got: {error.strerror}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise PpzooError(
            f"{path}: expected PreProcess.transform_ops and PostProcess.Topk.label_list, of which one is missing"
        ) from error
    names = options["label_list"]
    if not isinstance(names, list) or not all(type(name) in (str, int, float) for name in names):
        raise PpzooError(f"{path}: PostProcess.{answer}.label_list: expected a list of names, got {names!r:.60}")
    options["label_list"][:] = map(str, names)
    if not isinstance(steps, list) or not all(isinstance(step, dict) and len(step) == 1 for step in steps):
        raise PpzooError(f"{path}: PreProcess.transform_ops: expected a list of `Name: options`, got {steps!r:.60}")
    return settings
