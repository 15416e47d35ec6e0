"""Find PaddleClas's configurations: a file, the files in a folder, or the log of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ppzoo.config import load
from ppzoo.config.unsupported import find_other_kind
from ppzoo.errors import ConfigError, ConfigFileError
from ppzoo.files import EXPORT_SETTINGS, RUN_LOG, WEIGHTS, describe_absence, require_readable, weights_of_run
from ppzoo.migration.train_log import read_logged_config

SUFFIXES = (".yaml", ".yml")
MAX_FILES = 2000


class Source(NamedTuple):
    """A configuration of PaddleClas.

    Attributes:
        file: a YAML file, or the log of a run.
        name: path of the migrated file below the output folder.
        run: the folder with the weights or the log of a run with this configuration; None if there is none.
    """

    file: Path
    name: Path
    run: Path | None = None


def find_sources(path: Path) -> list[Source]:
    """Return the configurations that a path given by the user stands for.

    Raises:
        ConfigError: there is no such file or folder, or no configuration in the folder, or too many.
    """
    if os.path.isdir(path):
        return _find_in_folder(path)
    if not os.path.exists(path):
        raise ConfigError(
            f"SOURCE: expected a PaddleClas configuration, or a folder, got {path}, which {describe_absence(path)}"
        )
    if path.name == RUN_LOG:
        return [_run_source(path.parent)]
    return [Source(path, Path(f"{path.stem}.yaml"))]


def _raise_unreadable(error: OSError) -> None:
    require_readable(str(error.filename), "SOURCE")
    raise error


def _find_in_folder(folder: Path) -> list[Source]:
    files = sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder, onerror=_raise_unreadable)
        for name in names
        if name.endswith(SUFFIXES) and name != EXPORT_SETTINGS
    )
    if not files:
        if os.path.isfile(folder / RUN_LOG):
            return [_run_source(folder)]
        runs = sorted(log.parent for log in folder.glob(f"*/{RUN_LOG}"))
        if len(runs) == 1:
            return [_run_source(runs[0])]
        found = f"runs in {', '.join(run.name for run in runs)}; name one of them" if runs else "neither"
        raise ConfigError(f"SOURCE: expected YAML files or the {RUN_LOG} of a run in {folder}, got {found}")
    if len(files) > MAX_FILES:
        raise ConfigError(f"SOURCE: expected at most {MAX_FILES} YAML files in {folder}, got {len(files)}")
    run = folder if list(folder.glob(f"*{WEIGHTS}")) else None
    return [Source(file, file.relative_to(folder).with_suffix(".yaml"), run) for file in files]


def _run_source(run: Path) -> Source:
    return Source(run / RUN_LOG, Path(f"{run.resolve().name or 'run'}.yaml"), run)


def read_source(source: Source) -> dict[str, Any]:
    """Return the configuration of a source as a plain mapping.

    Raises:
        ConfigError: it cannot be read, or is not a configuration of PaddleClas.
    """
    is_log = source.file.name == RUN_LOG
    config = read_logged_config(source.file) if is_log else load(source.file)
    if not isinstance(config.get("Arch"), dict) and find_other_kind(config) is None:
        raise ConfigFileError(
            f"{source.file}: expected a training configuration of PaddleClas with the section Arch, got the keys"
            f" {', '.join(map(str, config))!r:.80}"
        )
    return config


def find_run_weights(run: Path | None) -> Path | None:
    """Return the best, or else the latest, weights of a run as a path without suffix; None if there are none."""
    return weights_of_run(run) if run is not None else None
