"""Checks that the files and folders that a configuration names exist."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ppzoo.config.arch_sections import DistillationConfig
from ppzoo.config.data_sections import SplitConfig
from ppzoo.config.parsing import Config
from ppzoo.config.type_checks import Problem
from ppzoo.config.validate import Task
from ppzoo.files import ABSENT, WEIGHTS, describe_absence, is_url, weights_suggestion

# Options of datasets: name, whether a path exists, and what it should be.
DATA_PATHS: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("cls_label_path", os.path.isfile, "a list file"),
    ("sample_list_path", os.path.isfile, "a list file"),
    ("image_root", os.path.isdir, "a folder of images"),
)


def check_files(config: Config, task: Task = "train") -> list[str]:
    """Return a line for every list file, image folder and weight file that `task` needs and that does not exist.

    Contents are not checked, and URLs are not opened; a URL of weights that is not http or https has a line, too.
    """
    return [problem.line() for problem in _find_missing(config, task)]


def suggest_path(path: Path, *, suffix: str | None, start: str = "the current folder") -> str:
    """Return '; did you mean X?' with the nearest name in the same folder, or that the folder does not exist.

    The text is empty if no name is similar, or if the folder cannot be read.

    Args:
        path: a path that does not exist.
        suffix: suffix of the files to choose from; None for folders.
        start: from where relative paths start.
    """
    folder = path.parent
    if describe_absence(path) != ABSENT:
        return ""
    if not os.path.isdir(folder):
        rule = "" if folder.is_absolute() else f"; relative paths start from {start}"
        return f"; the folder {str(folder)!r} does not exist{rule}"
    if not os.access(folder, os.R_OK):
        return ""
    entries = [entry for entry in folder.iterdir() if (entry.is_dir() if suffix is None else entry.suffix == suffix)]
    ending = suffix or ""  # not compared, since all entries have it
    stems = sorted(entry.name.removesuffix(ending) for entry in entries)
    near = difflib.get_close_matches(path.name.removesuffix(ending), stems, n=1, cutoff=0.6)
    return f"; did you mean {str(folder / (near[0] + ending))!r}?" if near else ""


def _find_missing(config: Config, task: Task) -> Iterator[Problem]:
    """Yield a problem for each path that does not exist."""
    for key, split in _splits(config, task):
        path = f"DataLoader.{key}.dataset"
        for option, exists, expected in DATA_PATHS:
            name = split.dataset.spec.option(option)
            if isinstance(name, str) and not exists(name):
                suffix = Path(name).suffix if exists is os.path.isfile else None
                yield _missing(f"{path}.{option}", expected, name, suffix=suffix)
    for path, name in _weight_paths(config, task):
        if is_url(name):
            if path != "Global.checkpoints" and not name.startswith(("http://", "https://")):
                yield Problem(path, f"expected weights as a local path or an http(s) URL, got {name!r}")
            continue
        if not any(os.path.exists(f"{name}{suffix}") for suffix in ("", WEIGHTS, ".pdiparams")):
            hint = weights_suggestion(Path(name), to_resume=path == "Global.checkpoints")
            hint = hint or suggest_path(Path(name), suffix=WEIGHTS)
            if not hint and path.endswith(".pretrained") and Path(name).name == name:  # `imagenet` in other libraries
                hint = "; set it to true for the official weights"
            is_checkpoint = path == "Global.checkpoints"
            expected = "a checkpoint, such as output/LeNet/latest, or auto" if is_checkpoint else "weights"
            yield Problem(path, f"expected {expected}, got {name!r}, which {describe_absence(name)}{hint}")


def _splits(config: Config, task: Task) -> Iterator[tuple[str, SplitConfig]]:
    """Yield key and section of the data that `task` reads."""
    if config.DataLoader.Train and task == "train":
        yield "Train", config.DataLoader.Train
    if config.DataLoader.Eval and (task == "eval" or (task == "train" and config.Global.eval_during_train)):
        yield "Eval", config.DataLoader.Eval


def _weight_paths(config: Config, task: Task) -> Iterator[tuple[str, str]]:
    """Yield path and value of the keys that name weights that `task` reads."""
    arch, run = config.Arch, config.Global
    sources: list[tuple[str, object]] = [
        ("Arch.pretrained", arch.pretrained),
        ("Global.pretrained_model", run.pretrained_model),
    ]
    if task == "train":
        sources.append(("Global.checkpoints", run.checkpoints))
    if isinstance(arch, DistillationConfig) and (task == "train" or run.pretrained_model is None):
        members = enumerate(arch.models.items())
        sources += [(f"Arch.models.{index}.{name}.pretrained", member.pretrained) for index, (name, member) in members]
        sources += [(f"Arch.pretrained_list.{index}", name) for index, name in enumerate(arch.pretrained_list or ())]
    yield from ((path, name) for path, name in sources if isinstance(name, str))


def _missing(path: str, expected: str, name: str, *, suffix: str | None) -> Problem:
    found = (
        f"which is {'a folder' if os.path.isdir(name) else 'a file'}"
        if os.path.exists(name)
        else f"which {describe_absence(name)}" + ("" if is_url(name) else suggest_path(Path(name), suffix=suffix))
    )
    return Problem(path, f"expected {expected}, got {name!r}, {found}")
