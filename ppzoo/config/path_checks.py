"""Checks that the files and folders that a configuration names exist."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppzoo.config.cross_checks import at, list_items
from ppzoo.config.type_checks import Problem
from ppzoo.config.validate import Task
from ppzoo.files import is_url, weights_suggestion

SPLITS: dict[Task, tuple[str, ...]] = {"train": ("Train", "Eval"), "eval": ("Eval",), "infer": (), "export": ()}


def check_files(config: Mapping[str, Any], task: Task = "train") -> list[str]:
    """Return a line for every list file, image folder and weight file that `task` needs and that does not exist.

    Contents are not checked, nor are URLs.
    """
    return [problem.line() for problem in _find_missing(config, task)]


def suggest_path(path: Path, *, suffix: str | None) -> str:
    """Return '; did you mean X?' with the nearest name in the same folder, or that the folder does not exist.

    Args:
        path: a path that does not exist.
        suffix: suffix of the files to choose from; None for folders.
    """
    folder = path.parent
    if not os.path.isdir(folder):
        return f"; the folder {str(folder)!r} does not exist"
    entries = [entry for entry in folder.iterdir() if (entry.is_dir() if suffix is None else entry.suffix == suffix)]
    near = difflib.get_close_matches(path.name, sorted(entry.name for entry in entries), n=1, cutoff=0.6)
    return f"; did you mean {str(folder / near[0])!r}?" if near else ""


def _find_missing(config: Mapping[str, Any], task: Task) -> Iterator[Problem]:
    """Yield a problem for each path that does not exist."""
    for split in SPLITS[task]:
        if split == "Eval" and task == "train" and at(config, "Global.eval_during_train") is False:
            continue
        dataset = f"DataLoader.{split}.dataset"
        for path, name in _text_at(config, f"{dataset}.cls_label_path"):
            if not os.path.isfile(name):
                yield _missing(path, "a list file", name, suffix=Path(name).suffix)
        for path, name in _text_at(config, f"{dataset}.image_root"):
            if not os.path.isdir(name):
                yield _missing(path, "a folder of images", name, suffix=None)
    for path, name in _weight_paths(config, task):
        local = not name.startswith(("http://", "https://"))
        if local and not any(os.path.exists(f"{name}{suffix}") for suffix in ("", ".pdparams", ".pdiparams")):
            hint = weights_suggestion(Path(name), to_resume=path == "Global.checkpoints")
            hint = hint or suggest_path(Path(name), suffix=".pdparams")
            expected = "a checkpoint" if path == "Global.checkpoints" else "weights"
            yield Problem(path, f"expected {expected}, got {name!r}, which does not exist{hint}")


def _weight_paths(config: Mapping[str, Any], task: Task) -> Iterator[tuple[str, str]]:
    """Yield path and value of the keys that name weights that `task` reads."""
    own = task != "train" and at(config, "Global.pretrained_model") is not None
    for key in ("Arch.pretrained", "Global.pretrained_model", *(["Global.checkpoints"] if task == "train" else [])):
        yield from _text_at(config, key)
    if not own:
        for path, _, options in list_items(config, "Arch.models"):
            yield from ((f"{path}.{inner}", name) for inner, name in _text_at(options, "pretrained"))
        sources = at(config, "Arch.pretrained_list")
        for index, name in enumerate(sources if isinstance(sources, list) else []):
            if isinstance(name, str):
                yield f"Arch.pretrained_list.{index}", name


def _text_at(config: Mapping[str, Any], path: str) -> list[tuple[str, str]]:
    value = at(config, path)
    return [(path, value)] if isinstance(value, str) else []


def _missing(path: str, expected: str, name: str, *, suffix: str | None) -> Problem:
    found = (
        "which is something else"
        if os.path.exists(name)
        else "which does not exist" + ("" if is_url(name) else suggest_path(Path(name), suffix=suffix))
    )
    return Problem(path, f"expected {expected}, got {name!r}, {found}")
