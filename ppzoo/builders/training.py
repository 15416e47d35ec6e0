"""A training from its configuration."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from ppzoo import config as configuration
from ppzoo import data, deploy, engine, losses, native, report
from ppzoo.builders import regime
from ppzoo.builders.class_names import (
    EVAL_DATA,
    LABELS,
    RESOLVED,
    TRAIN_DATA,
    class_labels,
    class_names,
    evaluation_names,
    head_is_of_others,
    log_data,
    require_classes_of_teachers,
    require_two_classes,
    starting_names,
    with_class_names,
    with_classes_of_data,
)
from ppzoo.builders.components import Section
from ppzoo.builders.models import (
    build_model,
    class_count,
    describe_arch,
    inference_arch,
    inference_model_name,
    load_pretrained,
    try_forward,
)
from ppzoo.builders.parts import build_loader, build_loss, build_metrics, build_optimizer, first_samples
from ppzoo.builders.preprocessing import warn_of_preprocessing
from ppzoo.config import Configuration, GlobalSection, log_ranks, settings
from ppzoo.data.batch_reader import SKIP_HINT
from ppzoo.data.loader import Loader
from ppzoo.errors import CheckpointError, ConfigError, DataError
from ppzoo.events import Callback
from ppzoo.files import local_path
from ppzoo.layers import Classifier, synchronize_norms

logger = logging.getLogger("ppzoo")

MOST_NAMES = 1000  # of classes in config.yaml, whose length is limited; labels.txt has all


SHOWN = 3  # images that an error names


class Evaluation(NamedTuple):
    """What evaluates a network: the call, its main figure, and whether more of that is better."""

    run: Callable[[], dict[str, float]]
    main: str
    higher_is_better: bool


@contextmanager
def join_processes(config: Section) -> Iterator[engine.ProcessGroup]:
    """All processes that the launcher started, on the device of the configuration; a failure of one ends all.

    Those that `Global.log_ranks` does not name are silent.
    """
    run = settings(Configuration, config).Global
    engine.select_device(run.device)
    together = engine.init_process_group()
    if together.rank not in log_ranks(run.log_ranks):
        report.silence()
    with together.abort_together():
        yield together


def build_trainer(
    config: Section,
    resume: str | None = None,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
    rollbacks: int = 0,
) -> tuple[Path, engine.Trainer]:
    """The folder of the run, and the trainer that fills it.

    Nothing is written before everything is built and a few images have gone all the way through it.

    Args:
        resume: the prefix of a checkpoint to go on from, or "auto" for the newest whole one of the folder, if any;
            `Global.checkpoints` by default.
        processes: those that train together; the first one of them finds the checkpoint and writes.
        rollbacks: how often the run was rolled back by now, if more often than the checkpoint knows.
    """
    sections = settings(Configuration, config)
    run = sections.Global
    epochs, seed = run.epochs or 0, run.seed or 0

    config = with_classes_of_data(config)
    batches = build_loader(
        config["DataLoader"]["Train"],
        class_num=class_count(config),
        seed=seed,
        training=True,
        processes=processes,
        classes=starting_names(config),
    )
    images = batches.samples.dataset
    require_two_classes(images)
    config = with_class_names(config, images.classes)
    require_classes_of_teachers(config)
    if sections.Infer and (sections.Infer.PostProcess or {}).get("label_list"):
        class_labels(config)  # refuses the training's names in another order
    steps = regime.steps(config, batches)
    engine.select_device(run.device)
    native.set_mode(run.native)
    if run.deterministic:
        engine.enable_determinism()
    paddle.seed(seed)
    _warn_of_imbalance(images.labels)
    folder = local_path(run.output_dir, "Global.output_dir") / config["Arch"]["name"]
    found = _checkpoint(folder, resume or run.checkpoints) if processes.is_main else None
    checkpoint = processes.broadcast_object(found)
    log_data(TRAIN_DATA, images, class_count(config))
    warn_of_preprocessing(config)
    network = _initial_network(config, resumed=checkpoint is not None)
    criterion, figures = build_loss(sections.Loss.Train or []), build_metrics(sections.Metric.Train or [])
    _try_out(config, "Train", network, batches, criterion, figures)
    _require_weight("Train", criterion, batches.samples.dataset)
    evaluation = None
    if run.eval_during_train and sections.DataLoader.Eval is not None:
        evaluation = evaluation_of(config, network, processes, verified=True)

    optimizer, schedule = build_optimizer(
        config["Optimizer"],
        network,
        epochs=epochs,
        steps_per_epoch=len(steps),
        total_batch=config["DataLoader"]["Train"]["sampler"]["batch_size"] * processes.size * steps.update_freq,
    )
    main, higher_is_better = evaluation[1:] if evaluation else ("loss", False)
    state = engine.TrainState(
        network,
        optimizer,
        schedule,
        figures,
        seed=seed,
        identity=_identity(config, batches, steps),
        configuration=regime.checkpointed_config(config),
        amp=regime.precision(sections.AMP),
        ema=regime.average(config, network),
        early_stopping=regime.patience(config, higher_is_better),
        loader=batches,
    )
    if checkpoint is not None:
        with engine.share_files(processes, checkpoint) as prefix:
            engine.load_checkpoint(state, prefix)
    is_own = checkpoint is not None and checkpoint.resolve().parent == folder.resolve()
    finished = _finished(state, epochs, checkpoint)
    if finished and not is_own:
        raise CheckpointError(finished)
    if checkpoint is not None and not finished:
        logger.info("resuming from %s (epoch %d, step %d)", checkpoint, state.progress.epoch + 1, state.progress.step)
    regime.apply_rollbacks(state, steps, rollbacks)
    processes.broadcast_tensors(network.state_dict().values())
    if processes.size > 1 and config["Arch"].get("use_sync_bn"):
        if run.to_static:
            raise ConfigError("Arch.use_sync_bn: expected Global.to_static False on several processes, got True")
        synchronize_norms(network)
    trainer = engine.Trainer(
        state=state,
        steps=steps,
        loss=criterion,
        evaluate=evaluation.run if evaluation else None,
        plan=engine.Plan(
            state.progress.epoch if finished else epochs,
            run.eval_interval,
            run.start_eval_epoch,
            main,
            higher_is_better,
            run.print_batch_step,
        ),
        describe=images.describe,
        processes=processes,
        forward=regime.static(network) if run.to_static else None,
    )
    if finished:
        trainer.callbacks += _finishing(state, folder, config, finished) if processes.is_main else []
        return folder, trainer
    is_loud = processes.rank in log_ranks(run.log_ranks)
    if not processes.is_main:
        trainer.callbacks += [report.Console(None, run.print_batch_step)] if is_loud else []
        return folder, trainer
    engine.open_run_dir(folder, resume=is_own)
    _describe_run(folder, config)
    trainer.callbacks += [
        report.Console(folder / "train.log", run.print_batch_step, on_terminal=None if is_loud else False),
        report.BadFiles(folder / "bad_files.txt", batches.bad_files, run.save_interval_steps),
        report.Curves(folder, title=config["Arch"]["name"]),
        *([_scalars(folder, state, len(steps))] if run.use_visualdl else []),
        _checkpoints(state, folder, run),
    ]
    part = inference_model_name(config["Arch"])
    trainer.callbacks += [engine.StudentWeights(folder, part)] if part else []
    return folder, trainer


def _finished(state: engine.TrainState, epochs: int, checkpoint: Path | None) -> str | None:
    """Why nothing is left to train after `checkpoint`, and how to train on; None where something is left."""
    done, patience = state.progress.epoch, state.early_stopping
    if checkpoint is None:
        return None
    if done >= epochs:
        reason = f"trained {done} of {epochs} epochs" if done == epochs else f"trained {done} epochs (of {epochs})"
        setting = f"Global.epochs={done + epochs}"
    elif patience is not None and patience.should_stop:
        reason = f"stopped early after {done} of {epochs} epochs"
        setting = f"Global.early_stopping.patience={patience.waited + patience.patience}"
    else:
        return None
    return f"{checkpoint} has already {reason}, nothing is left to train; to train on, add -o {setting}"


def _finishing(state: engine.TrainState, folder: Path, config: Section, finished: str) -> list[Callback]:
    """What completes the files of a run of which only that may be left; where nothing is, nothing is written."""
    engine.open_run_dir(folder, resume=True)
    logger.info(finished)
    drawn = (folder / report.Curves.PICTURE).exists()
    curves = [] if drawn else [report.Curves(folder, title=config["Arch"]["name"])]
    return [*curves, _checkpoints(state, folder, settings(Configuration, config).Global)]


def _checkpoints(state: engine.TrainState, folder: Path, run: GlobalSection) -> engine.CheckpointSaver:
    return engine.CheckpointSaver(state, folder, run.save_interval, run.keep, run.save_interval_steps)


def _scalars(folder: Path, state: engine.TrainState, steps: int) -> report.Scalars:
    """What writes VisualDL's scalars after those of the epochs and steps that `state` has done."""
    progress = state.progress
    return report.Scalars(folder / "vdl", progress.epoch, progress.epoch * steps + progress.step)


def evaluation_of(
    config: Section,
    network: Classifier,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
    *,
    verified: bool = False,
) -> Evaluation:
    """What evaluates `network` on the evaluation data, tried out on a few images of it.

    Args:
        verified: look for images that cannot be read now, since the first evaluation is far away.
    """
    sections = settings(Configuration, config)
    if not sections.Loss.Eval:
        raise ConfigError("Loss.Eval: expected a list of losses, got nothing; this is needed to evaluate")
    names = evaluation_names(config)
    batches = build_loader(
        config["DataLoader"]["Eval"],
        class_num=class_count(config),
        seed=0,
        training=False,
        processes=processes,
        classes=names,
    )
    images = batches.samples.dataset
    if images.classes and not names and not getattr(images, "is_numbered", False):
        logger.info("%s: classes are numbered in sorted order, since the training's names are not known", EVAL_DATA)
    log_data(EVAL_DATA, images, class_count(config))
    criterion, figures = build_loss(sections.Loss.Eval), build_metrics(sections.Metric.Eval or [])
    few = _try_out(config, "Eval", network, batches, criterion, figures)
    _require_weight("Eval", criterion, images)
    deploy.export_if_worthwhile(network, len(batches.samples), few)
    if verified:
        _verify(batches, processes)

    def run() -> dict[str, float]:
        answer = engine.evaluate(network, batches.epoch(0), criterion, figures, processes, images.describe)
        batches.record_failures(processes.all_gather_lists(list(batches.bad.items())))
        if batches.bad:
            logger.warning("%d images could not be read and are left out of the evaluation", len(batches.bad))
        return answer

    return Evaluation(run, figures.main or "loss", figures.higher_is_better if figures.main else False)


def _initial_network(config: Section, resumed: bool) -> Classifier:
    """The network with the weights that it starts from; those of a checkpoint come later."""
    weights = settings(Configuration, config).Global.pretrained_model
    new_head = not resumed and head_is_of_others(config)
    if not (resumed or weights):
        return build_model(config["Arch"], new_head=new_head)
    network = build_model(config["Arch"], pretrained=False)
    if weights and not resumed:
        load_pretrained(network, config["Arch"]["name"], weights, new_head=new_head)
    return network


def _require_weight(split: str, criterion: losses.CombinedLoss, dataset: data.Dataset) -> None:
    """Refuse losses to which no image of the data contributes, since its class has no weight.

    Raises:
        ConfigError: all classes of the data have the weight 0.
    """
    if dataset.labels.ndim > 1 or dataset.labels.min() < 0:
        return
    classes = paddle.to_tensor(np.flatnonzero(np.bincount(dataset.labels)))
    for name, weight in criterion.weights(classes).items():
        if not weight:
            raise ConfigError(
                f"Loss.{split}.{name}.class_weights: expected a weight above 0 for a class that has images in"
                f" DataLoader.{split}, got 0 for all of them"
            )


def _try_out(config: Section, split: str, network: Classifier, batches: Loader, criterion, figures) -> paddle.Tensor:
    """Let a few images, which are returned, go through network, losses and metrics.

    Raises:
        ConfigError: they do not fit each other.
    """
    batch = first_samples(batches)
    images = batch.images.astype("float32") if split == "Train" else batch.images  # as the trainer does
    output = try_forward(
        network,
        images,
        inference_arch(config["Arch"])["name"],
        f"DataLoader.{split}.dataset.transform_ops",
        lambda place: batches.samples.dataset.describe(int(batch.indices[place])),
    )
    for key, use in ((f"Loss.{split}", criterion), (f"Metric.{split}", figures.update)):
        try:
            use(output, batch.labels)
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:  # of tensors that do not go together
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise ConfigError(f"{key}: expected what suits the network's output and labels, got: {reason}") from error
        except ConfigError as error:
            raise ConfigError(*(f"{key}: {problem}" for problem in error.problems)) from error
    figures.reset()
    return images


def _verify(batches: Loader, processes: engine.ProcessGroup) -> None:
    """Look for evaluation images that cannot be read.

    Raises:
        DataError: there are some, or more than may be skipped.
    """
    failures = processes.all_gather_lists(
        data.find_unreadable(batches.samples, part=processes.rank, parts=processes.size)
    )
    if batches.reader.on_error == "skip":
        alike = copy.copy(batches)  # which images are skipped is decided when they are read
        alike.bad = {}
        alike.record_failures(failures)
    elif failures:
        shown = "; ".join(failure.reason for failure in failures[:SHOWN])
        more = f"; {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
        raise DataError(
            f"DataLoader.Eval: {len(failures)} of {len(batches.samples)} images cannot be read: {shown}{more};"
            f" {SKIP_HINT}"
        )


def _identity(config: Section, batches: Loader, steps: engine.StepLoader) -> dict[str, Any]:
    """What a checkpoint of this run must share with the run that goes on from it."""
    dataset = batches.samples.dataset
    return {
        "architecture": describe_arch(config["Arch"]),
        "number of classes": class_count(config),
        "optimizer": config["Optimizer"]["name"],
        "seed": settings(Configuration, config).Global.seed or 0,
        "data set": config["DataLoader"]["Train"]["dataset"]["name"],
        "number of samples": len(dataset),
        "labels": hashlib.sha256(dataset.labels.tobytes()).hexdigest()[:16],
        "classes": list(dataset.classes) if dataset.classes else None,
        "steps per epoch": len(steps),
        "batches per step": steps.update_freq,
    }


def _warn_of_imbalance(labels: np.ndarray) -> None:
    warning = data.imbalance_warning(np.bincount(labels)) if labels.ndim == 1 else None
    if warning:
        logger.warning(warning)


def _checkpoint(folder: Path, wish: str | None) -> Path | None:
    """The prefix of the checkpoint that is wished for: a prefix, or "auto"."""
    if wish != "auto":
        return local_path(wish, "Global.checkpoints") if wish else None
    engine.require_unlocked(folder)
    return engine.latest_checkpoint(folder) if os.path.isdir(folder) else None  # also where its name is too long


def _describe_run(folder: Path, config: Section) -> None:
    """Write what later commands need to know: the configuration, and the names of the classes."""
    names = class_names(config)
    if names and len(names) > MOST_NAMES:
        run = {key: value for key, value in config["Global"].items() if key != "class_names"}
        config = {**config, "Global": run}
    texts = {RESOLVED: configuration.dump(config)}
    if names:
        texts[LABELS] = "".join(f"{index} {name}\n" for index, name in enumerate(names))
    for name, text in texts.items():
        report.write_lines(folder / name, text)
