"""Cross-validation: the configuration of each fold, its lists, and the result over all folds."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from ppzoo import config as configuration
from ppzoo import data
from ppzoo.builders.component_factory import components
from ppzoo.builders.dry_run import read_config
from ppzoo.builders.resuming import output_dir
from ppzoo.config import ComponentSpec, Config, DatasetConfig, SplitConfig
from ppzoo.errors import ConfigError, OutputError, TrainingError
from ppzoo.events import Callback, Summary
from ppzoo.files import read_plain_file, weights_of_run, write_text

RESULT = "folds.json"
DIGEST = "lists.sha256"
ALL = "all"


class FoldResult(NamedTuple):
    """The best value of the main metric in a fold; `epoch` is counted from 1.

    Attributes:
        folder: the run's folder.
    """

    number: int
    folder: Path
    metric: str
    best: float
    epoch: int


class SummaryKeeper(Callback):
    """Keeps the summary of a run."""

    summary: Summary | None = None

    def on_train_end(self, summary: Summary) -> None:
        self.summary = summary


def choose_folds(folds: data.FoldsFolder, text: str) -> list[int]:
    """Return the numbers that `--fold` names: one, or all.

    Raises:
        ConfigError: there is no such fold.
    """
    numbers = list(range(1, folds.folds + 1))
    if text == ALL:
        return numbers
    if text not in map(str, numbers):
        raise ConfigError(f"--fold: expected a number from 1 to {folds.folds}, or all, got {text!r:.80}")
    return [int(text)]


def read_folds_config(source: str, folds: data.FoldsFolder, overrides: Sequence[str]) -> Config:
    """Return a configuration with `overrides`, in which the lists of the first fold then replace the data.

    The data that the configuration names itself does not need to exist.

    Raises:
        ConfigError: it has mistakes, or has no dataset for training or for evaluation.
    """
    raw = configuration.load(source, overrides, components())
    sections = raw.get("DataLoader")
    for key, file in zip(("Train", "Eval"), folds.lists(1), strict=True):
        section = sections.get(key) if isinstance(sections, Mapping) else None
        dataset = section.get("dataset") if isinstance(section, Mapping) else None
        if not isinstance(dataset, dict):
            raise ConfigError(f"DataLoader.{key}.dataset: expected this section with --fold, got none: add it")
        kept = {field.name for field in fields(DatasetConfig)}
        if not (file.parent / data.LABEL_LIST).is_file():
            kept.add("relabel")
        for name in set(dataset) - kept:
            del dataset[name]
        dataset.update(name="ImageNetDataset", image_root=folds.image_root, cls_label_path=str(file))
    return read_config(raw, (), "train")


def require_evaluation(config: Config) -> None:
    """Check that the configuration evaluates during training and is for images with one class each.

    Raises:
        ConfigError: it does not, or is for several labels per image.
    """
    if config.Global.use_multilabel:
        raise ConfigError(
            "Global.use_multilabel: expected False with --fold, since its lists have one class per image, got True"
        )
    if not config.Global.eval_during_train:
        raise ConfigError("Global.eval_during_train: expected True with --fold, got False")


def config_of_fold(config: Config, folds: data.FoldsFolder, number: int) -> Config:
    """Return the configuration of a fold: only the lists and `Global.output_dir` differ between the folds."""
    training, evaluation = folds.lists(number)
    loader = replace(
        config.DataLoader,
        Train=_with_list(config.DataLoader.Train, folds.image_root, training),
        Eval=_with_list(config.DataLoader.Eval, folds.image_root, evaluation),
    )
    output = os.path.join(config.Global.output_dir, f"fold_{number}")
    return replace(config, DataLoader=loader, Global=replace(config.Global, output_dir=output))


def _with_list(split: SplitConfig | None, image_root: str, file: Path) -> SplitConfig | None:
    if split is None:
        return None
    spec = split.dataset.spec
    options = {**spec.options, "image_root": image_root, "cls_label_path": str(file)}
    return replace(split, dataset=replace(split.dataset, spec=ComponentSpec(spec.name, options)))


def require_same_lists(config: Config, folds: data.FoldsFolder, number: int) -> None:
    """Check that a run which is resumed was started with the lists that the fold has now.

    Args:
        config: the configuration of the fold.

    Raises:
        ConfigError: the images were split again.
    """
    output = output_dir(config)
    file = output / DIGEST
    if weights_of_run(output / config.Arch.name) is None or not file.is_file():
        return
    if file.read_text(encoding="utf-8", errors="replace").strip() != _digest(folds, number):
        raise ConfigError(
            f"--resume: expected the lists with which the run in {output} was started, got other lists in"
            f" {folds.folder / f'fold_{number}'}: set another Global.output_dir, or train without --resume"
        )


def record_start(config: Config, folds: data.FoldsFolder, number: int, was_finished: bool) -> None:
    """Write the digest of a fold's lists next to its run, and remove the result file of earlier runs of all folds.

    Args:
        was_finished: whether nothing is left to train; nothing changes then.

    Raises:
        OutputError: the output folder cannot be written.
    """
    if was_finished:
        return
    file = output_dir(config) / DIGEST
    try:
        (file.parent.parent / RESULT).unlink(missing_ok=True)
        write_text(file, _digest(folds, number) + "\n")
    except OSError as error:
        raise OutputError(file, error, "Global.output_dir") from error


def _digest(folds: data.FoldsFolder, number: int) -> str:
    state = hashlib.sha256()
    for file in folds.lists(number):
        state.update(hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()


def require_no_other_result(config: Config) -> None:
    """Check that the result of another architecture is not replaced.

    Raises:
        ConfigError: the output folder has the result of another architecture.
    """
    file = output_dir(config) / RESULT
    try:
        earlier: Any = json.loads(read_plain_file(file))
    except (OSError, ValueError):
        return  # none, or none that can be read
    arch = earlier.get("arch") if isinstance(earlier, dict) else None
    if isinstance(arch, str) and arch != config.Arch.name:
        raise ConfigError(f"Global.output_dir: {file} is the result of {arch}: set another Global.output_dir")


def result_of_fold(number: int, folder: Path, summary: Summary | None) -> FoldResult:
    """Return the result of a fold that was trained to its end.

    Raises:
        TrainingError: it was never evaluated.
    """
    if summary is None or summary.best is None or summary.best_epoch is None:
        raise TrainingError(f"fold {number}: no epoch was evaluated: lower Global.start_eval_epoch or eval_interval")
    return FoldResult(number, folder, summary.main, summary.best, summary.best_epoch + 1)


def write_result(config: Config, results: Sequence[FoldResult]) -> dict[str, Any]:
    """Write `folds.json`: the best main metric of each fold, their mean and standard deviation; return its content.

    Args:
        config: the configuration of all folds.

    Raises:
        OutputError: the output folder cannot be written.
    """
    output = output_dir(config)
    values = [result.best for result in results]
    content = {
        "arch": config.Arch.name,
        "metric": results[0].metric,
        "mean": statistics.mean(values),
        "standard_deviation": statistics.stdev(values),
        "folds": [
            {
                "fold": result.number,
                "folder": os.path.relpath(result.folder, output),
                "best": result.best,
                "best_epoch": result.epoch,
            }
            for result in results
        ],
    }
    file = output / RESULT
    try:
        write_text(file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise OutputError(file, error, "Global.output_dir") from error
    return content


def describe_result(config: Config, content: Mapping[str, Any]) -> str:
    """Return the content of `folds.json` as a few lines."""
    output, folds = output_dir(config), content["folds"]
    mean, deviation = content["mean"], content["standard_deviation"]
    return "\n".join(
        [
            f"{content['metric']} of {len(folds)} folds: mean {mean:.4f}, standard deviation {deviation:.4f}",
            *(
                f"  fold {fold['fold']}  {fold['best']:.4f} in epoch {fold['best_epoch']}  {output / fold['folder']}"
                for fold in folds
            ),
            f"  {output / RESULT}",
        ]
    )
