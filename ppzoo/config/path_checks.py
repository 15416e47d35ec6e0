"""The files and folders that a configuration names: are they there?"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppzoo.config.cross_checks import at, listed
from ppzoo.config.type_checks import Problem
from ppzoo.config.validate import Task
from ppzoo.files import is_url, weights_suggestion

SPLITS: dict[Task, tuple[str, ...]] = {"train": ("Train", "Eval"), "eval": ("Eval",), "infer": (), "export": ()}


def check_files(config: Mapping[str, Any], task: Task = "train") -> list[str]:
    """One line for every list file, image folder and weight file that `task` needs and that does not exist.

    Whether their content is right is for those to say who read them. Addresses on the network are not looked at.
    """
    return [problem.line() for problem in _problems(config, task)]


def nearest(path: Path, *, suffix: str | None) -> str:
    """'; did you mean X?' with the nearest name beside `path`, or which folder on the way does not exist.

    Args:
        path: what is not there.
        suffix: that of the files to choose from; None for folders.
    """
    folder = path.parent
    if not os.path.isdir(folder):
        return f"; the folder {str(folder)!r} does not exist"
    entries = [entry for entry in folder.iterdir() if (entry.is_dir() if suffix is None else entry.suffix == suffix)]
    near = difflib.get_close_matches(path.name, sorted(entry.name for entry in entries), n=1, cutoff=0.5)
    return f"; did you mean {str(folder / near[0])!r}?" if near else ""


def _problems(config: Mapping[str, Any], task: Task) -> Iterator[Problem]:
    for split in SPLITS[task]:
        if split == "Eval" and task == "train" and at(config, "Global.eval_during_train") is False:
            continue
        dataset = f"DataLoader.{split}.dataset"
        for path, name in _names(config, f"{dataset}.cls_label_path"):
            if not os.path.isfile(name):
                yield _absent(path, "a list file", name, suffix=Path(name).suffix)
        for path, name in _names(config, f"{dataset}.image_root"):
            if not os.path.isdir(name):
                yield _absent(path, "a folder of images", name, suffix=None)
    for path, name in _weights(config, task):
        local = not name.startswith(("http://", "https://"))
        if local and not any(os.path.exists(f"{name}{suffix}") for suffix in ("", ".pdparams", ".pdiparams")):
            hint = weights_suggestion(Path(name), to_resume=path == "Global.checkpoints")
            hint = hint or nearest(Path(name), suffix=".pdparams")
            yield Problem(path, f"expected weights, got {name!r}, which does not exist{hint}")


def _weights(config: Mapping[str, Any], task: Task) -> Iterator[tuple[str, str]]:
    """Path and value of the keys that name weights which `task` reads."""
    own = task != "train" and at(config, "Global.pretrained_model") is not None
    for key in ("Arch.pretrained", "Global.pretrained_model", *(["Global.checkpoints"] if task == "train" else [])):
        yield from _names(config, key)
    if not own:
        for path, _, options in listed(config, "Arch.models"):
            yield from ((f"{path}.{inner}", name) for inner, name in _names(options, "pretrained"))
        sources = at(config, "Arch.pretrained_list")
        for index, name in enumerate(sources if isinstance(sources, list) else []):
            if isinstance(name, str):
                yield f"Arch.pretrained_list.{index}", name


def _names(config: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
    value = at(config, path)
    return [(path, value)] if isinstance(value, str) else []


def _absent(path: str, expected: str, name: str, *, suffix: str | None) -> Problem:
    found = (
        "which is of another kind"
        if os.path.exists(name)
        else "which does not exist" + ("" if is_url(name) else nearest(Path(name), suffix=suffix))
    )
    return Problem(path, f"expected {expected}, got {name!r}, {found}")
