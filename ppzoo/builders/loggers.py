"""Build the loggers of a training run, and describe the run for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo import engine
from ppzoo.builders.component_factory import build_transforms, class_count
from ppzoo.builders.models import score_selector
from ppzoo.config import Config, GlobalConfig, SplitConfig, dump, to_plain
from ppzoo.data.transforms import NormalizeImage
from ppzoo.errors import ConfigError
from ppzoo.events import EMA_SUFFIX
from ppzoo.files import RUN_CONFIG
from ppzoo.report.loggers import (
    EvaluationRecord,
    LoggerGroup,
    RunDescription,
    RunLogger,
    RunStart,
    check_logger_names,
)

MAX_SHOWN_NAMES = 1000  # a longer list of class names is omitted from the text of the configuration
# Keys of `Global` that are logged as hyper-parameters.
GLOBAL_KEYS = ("epochs", "seed", "update_freq", "iter_per_epoch", "pretrained_model")


def logger_names(run: GlobalConfig) -> tuple[str, ...]:
    """Return the names of the loggers of a run: `Global.loggers`, or VisualDL with `Global.use_visualdl`."""
    if run.loggers is not None:
        return run.loggers
    return ("visualdl",) if run.use_visualdl else ()


def check_loggers(run: GlobalConfig) -> None:
    """Check `Global.loggers`.

    Raises:
        ConfigError: an unknown or repeated name, or `Global.use_visualdl: False` together with VisualDL.
    """
    names = logger_names(run)
    check_logger_names(names)
    if "visualdl" in names and not run.use_visualdl and "use_visualdl" in (run.given or ()):
        raise ConfigError(
            "Global.use_visualdl: expected true, since Global.loggers has visualdl, got false; remove one of the two"
        )


def build_evaluation_record(config: Config) -> EvaluationRecord | None:
    """Build the record of evaluations that the loggers draw pictures from; None without loggers or evaluation.

    Every process needs a record, since the evaluator merges the records of all processes.
    """
    if not logger_names(config.Global) or config.DataLoader.Eval is None or not config.Global.eval_during_train:
        return None
    return EvaluationRecord(
        class_count(config.Arch),
        multi_label=config.Global.use_multilabel,
        select=score_selector(config.Arch.deployed_name),
        to_pixels=build_to_pixels(config.DataLoader.Eval),
    )


def build_run_logger(
    config: Config,
    state: engine.TrainState,
    folder: Path,
    steps_per_epoch: int,
    record: EvaluationRecord | None,
    main_metric: str,
) -> RunLogger:
    """Build the callback that logs a run, which starts or resumes at the progress of `state`."""
    run, progress, network = config.Global, state.progress, state.model
    assert config.DataLoader.Train is not None
    start = RunStart(folder, progress.epoch, progress.epoch * steps_per_epoch + progress.step)
    description = RunDescription(
        texts={"config": _config_text(config), "network": str(network)},
        hyperparameters=hyperparameters(config),
        main=main_metric,
        class_names=config.Global.class_names or (),
        to_pixels=build_to_pixels(config.DataLoader.Train),
        named_parameters=network.named_parameters,
        best=lambda: progress.best,
        suffix=EMA_SUFFIX if state.ema is not None else "",
    )
    return RunLogger(
        LoggerGroup(logger_names(run), start),
        description,
        record,
        memory_interval=run.print_batch_step,
        histogram_interval=run.log_histograms,
    )


def _config_text(config: Config) -> str:
    """Return the content of the run's config.yaml, without long lists of class names."""
    return f"# {RUN_CONFIG}\n{dump(config.to_dict(max_class_names=MAX_SHOWN_NAMES))}"


def hyperparameters(config: Config) -> dict[str, bool | int | float | str]:
    """Return the values by which runs usually differ, by key."""
    sections = {"Arch": config.Arch, "Optimizer": config.Optimizer, "EMA": config.EMA, "AMP": config.AMP}
    found = {
        key: value for name, section in sections.items() if section for key, value in _leaves(name, to_plain(section))
    }
    found |= {f"Global.{key}": getattr(config.Global, key) for key in GLOBAL_KEYS}
    train = config.DataLoader.Train
    if train is not None:
        found |= dict(_leaves("sampler", to_plain(train.sampler)))
        lists = {"transform_ops": train.dataset.transform_ops, "batch_transform_ops": train.dataset.batch_transform_ops}
        found |= {key: ", ".join(spec.name for spec in specs) for key, specs in lists.items() if specs}
    return {key: value for key, value in found.items() if isinstance(value, (bool, int, float, str))}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield path and value of everything that is no mapping; lists as text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    elif isinstance(value, list):
        yield path, str(value)
    else:
        yield path, value


def build_to_pixels(section: SplitConfig) -> Callable[[np.ndarray], np.ndarray]:
    """Build the function that converts the network's input, C x H x W, to the H x W x 3 RGB image that it shows.

    It undoes the normalization of the section's transforms; values outside of 0 to 255 are clipped.
    """
    transforms = build_transforms(section.dataset.transforms).transforms
    normalize = next((one for one in transforms if isinstance(one, NormalizeImage)), None)
    is_bgr = any(
        spec.name == "DecodeImage" and spec.option("to_rgb", True) is False for spec in section.dataset.transforms
    )

    def to_pixels(image: np.ndarray) -> np.ndarray:
        pixels = image.transpose(1, 2, 0)
        if normalize is not None:
            pixels = pixels[..., : len(normalize.mean)]
            pixels = (pixels * normalize.std + normalize.mean) / normalize.scale
        pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
        pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
        return pixels[..., ::-1] if is_bgr else pixels

    return to_pixels
