"""A training from its configuration."""

from __future__ import annotations

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
from ppzoo import data, engine, native, report
from ppzoo.build import regime
from ppzoo.build.classes import LABELS, RESOLVED, with_classes_of_data
from ppzoo.build.components import Section
from ppzoo.build.networks import answering, answering_part, class_count, load_pretrained, model, title, trial
from ppzoo.build.parts import loader, loss, metric, optimizer, trial_batch
from ppzoo.config import Configuration, log_ranks, settings
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError
from ppzoo.files import local_path
from ppzoo.layers import Classifier, synchronise_norms

logger = logging.getLogger("ppzoo")


class Evaluation(NamedTuple):
    """What evaluates a network: the call, its main figure, and whether more of that is better."""

    run: Callable[[], dict[str, float]]
    main: str
    higher_is_better: bool


@contextmanager
def processes(config: Section) -> Iterator[engine.Processes]:
    """All processes that the launcher started, on the device of the configuration; a failure of one ends all.

    Those that `Global.log_ranks` does not name are silent.
    """
    run = settings(Configuration, config).Global
    engine.select_device(run.device)
    together = engine.join_processes()
    if together.rank not in log_ranks(run.log_ranks):
        report.hush()
    with together.end_together():
        yield together


def training(
    config: Section, resume: str | None = None, processes: engine.Processes = engine.ALONE, rollbacks: int = 0
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
    batches = loader(
        config["DataLoader"]["Train"], class_num=class_count(config), seed=seed, training=True, processes=processes
    )
    steps = regime.steps(config, batches)
    engine.select_device(run.device)
    native.activate(run.native)
    if run.deterministic:
        engine.compute_deterministically()
    paddle.seed(seed)
    _warn_of_imbalance(batches.samples.dataset.labels)
    folder = local_path(run.output_dir, "Global.output_dir") / config["Arch"]["name"]
    checkpoint = processes.share(_checkpoint(folder, resume or run.checkpoints) if processes.first else None)
    network = _initial_network(config, resumed=checkpoint is not None)
    criterion, figures = loss(sections.Loss.Train or []), metric(sections.Metric.Train or [])
    _try_out(config, "Train", network, batches, criterion, figures)
    evaluation = None
    if run.eval_during_train and sections.DataLoader.Eval is not None:
        evaluation = evaluation_of(config, network, processes)

    optimiser, schedule = optimizer(
        config["Optimizer"],
        network,
        epochs=epochs,
        steps_per_epoch=len(steps),
        total_batch=config["DataLoader"]["Train"]["sampler"]["batch_size"] * processes.size * steps.update_freq,
    )
    main, higher_is_better = evaluation[1:] if evaluation else ("loss", False)
    state = engine.TrainState(
        network,
        optimiser,
        schedule,
        figures,
        seed=seed,
        identity=_identity(config, batches, steps),
        configuration=regime.remembered(config),
        precision=regime.precision(sections.AMP),
        average=regime.average(config, network),
        patience=regime.patience(config, higher_is_better),
        reading=batches,
    )
    if checkpoint is not None:
        with engine.files_of_first(processes, checkpoint) as prefix:
            engine.restore(state, prefix)
        logger.info("going on from %s, epoch %d, step %d", checkpoint, state.progress.epoch + 1, state.progress.step)
    regime.heed_rollbacks(state, steps, rollbacks)
    processes.broadcast(network.state_dict().values())
    if processes.size > 1 and config["Arch"].get("use_sync_bn"):
        if run.to_static:
            raise ConfigError("Arch.use_sync_bn: expected Global.to_static False on several processes, received True")
        synchronise_norms(network)
    trainer = engine.Trainer(
        state=state,
        steps=steps,
        loss=criterion,
        evaluate=evaluation.run if evaluation else None,
        plan=engine.Plan(epochs, run.eval_interval, run.start_eval_epoch, main, higher_is_better, run.print_batch_step),
        describe=batches.samples.dataset.describe,
        processes=processes,
        forward=regime.static(network) if run.to_static else None,
    )
    is_loud = processes.rank in log_ranks(run.log_ranks)
    if not processes.first:
        trainer.callbacks += [report.Console(None, run.print_batch_step)] if is_loud else []
        return folder, trainer
    engine.open_folder(folder, resume=checkpoint is not None and checkpoint.resolve().parent == folder.resolve())
    _describe_run(folder, config, batches.samples.dataset)
    trainer.callbacks += [
        report.Console(folder / "train.log", run.print_batch_step, on_terminal=None if is_loud else False),
        report.BadFiles(folder / "bad_files.txt", batches.bad_files, run.save_interval_steps),
        report.Curves(folder, title=config["Arch"]["name"]),
        *([report.Scalars(folder / "vdl")] if run.use_visualdl else []),
        engine.Checkpoints(state, folder, run.save_interval, run.keep, run.save_interval_steps),
    ]
    part = answering_part(config["Arch"])
    trainer.callbacks += [engine.StudentWeights(folder, part)] if part else []
    return folder, trainer


def evaluation_of(config: Section, network: Classifier, processes: engine.Processes = engine.ALONE) -> Evaluation:
    """What evaluates `network` on the evaluation data, tried out on a few images of it."""
    sections = settings(Configuration, config)
    if not sections.Loss.Eval:
        raise ConfigError("Loss.Eval: expected a list of losses, received nothing; this is needed to evaluate")
    batches = loader(
        config["DataLoader"]["Eval"], class_num=class_count(config), seed=0, training=False, processes=processes
    )
    criterion, figures = loss(sections.Loss.Eval), metric(sections.Metric.Eval or [])
    _try_out(config, "Eval", network, batches, criterion, figures)

    def run() -> dict[str, float]:
        answer = engine.evaluate(network, batches.epoch(0), criterion, figures, processes)
        batches.note(processes.pool(list(batches.bad.items())))
        if batches.bad:
            logger.warning("%d images could not be read and are left out of the evaluation", len(batches.bad))
        return answer

    return Evaluation(run, figures.main or "loss", figures.higher_is_better if figures.main else False)


def _initial_network(config: Section, resumed: bool) -> Classifier:
    """The network with the weights that it starts from; those of a checkpoint come later."""
    weights = settings(Configuration, config).Global.pretrained_model
    if not (resumed or weights):
        return model(config["Arch"])
    network = model(config["Arch"], pretrained=False)
    if weights and not resumed:
        load_pretrained(network, config["Arch"]["name"], weights)
    return network


def _try_out(config: Section, split: str, network: Classifier, batches: Loader, criterion, figures) -> None:
    """Let a few images go through network, losses and metrics.

    Raises:
        ConfigError: they do not fit each other.
    """
    batch = trial_batch(batches)
    images = batch.images.astype("float32") if split == "Train" else batch.images  # as the trainer does
    output = trial(network, images, answering(config["Arch"])["name"])
    for key, use in ((f"Loss.{split}", criterion), (f"Metric.{split}", figures.update)):
        try:
            use(output, batch.labels)
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:  # of tensors that do not go together
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise ConfigError(
                f"{key}: expected what suits the network's output and labels, received: {reason}"
            ) from error
        except ConfigError as error:
            raise ConfigError(*(f"{key}: {problem}" for problem in error.problems)) from error
    figures.reset()


def _identity(config: Section, batches: Loader, steps: engine.Steps) -> dict[str, Any]:
    """What a checkpoint of this run must share with the run that goes on from it."""
    dataset = batches.samples.dataset
    return {
        "architecture": title(config["Arch"]),
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
    warning = data.imbalance(np.bincount(labels)) if labels.ndim == 1 else None
    if warning:
        logger.warning(warning)


def _checkpoint(folder: Path, wish: str | None) -> Path | None:
    """The prefix of the checkpoint that is wished for: a prefix, or "auto"."""
    if wish != "auto":
        return local_path(wish, "Global.checkpoints") if wish else None
    engine.refuse_if_held(folder)
    return engine.newest(folder) if os.path.isdir(folder) else None  # also where its name is too long


def _describe_run(folder: Path, config: Section, dataset: data.Dataset) -> None:
    """Write what later commands need to know: the configuration, and the names of the classes."""
    texts = {RESOLVED: configuration.dump(config)}
    if dataset.classes:
        texts[LABELS] = "".join(f"{index} {name}\n" for index, name in enumerate(dataset.classes))
    for name, text in texts.items():
        report.write_lines(folder / name, text)
