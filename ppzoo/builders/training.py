"""Build a training run from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paddle
from paddle.optimizer.lr import LRScheduler

from ppzoo import engine, losses, models, native, report
from ppzoo.builders.callbacks import WorkerEnd, build_callbacks, build_finishing_callbacks
from ppzoo.builders.class_checks import log_data, warn_of_imbalance
from ppzoo.builders.class_names import build_training_data
from ppzoo.builders.class_weights import balance_classes
from ppzoo.builders.component_factory import build_loss, build_metrics, class_count
from ppzoo.builders.data_loading import load_images
from ppzoo.builders.datasets import TRAIN_DATA
from ppzoo.builders.evaluation import Evaluation, build_evaluation, require_weighted_classes, try_batch
from ppzoo.builders.loggers import build_evaluation_record
from ppzoo.builders.mixed_precision import build_mixed_precision
from ppzoo.builders.models import build_model, load_pretrained
from ppzoo.builders.optimization import build_early_stopping, build_ema, build_optimizer
from ppzoo.builders.preprocessing import log_ignored_keys, warn_of_image_shape, warn_of_preprocessing
from ppzoo.builders.resuming import (
    apply_rollbacks,
    checkpointed_config,
    describe_finished,
    find_checkpoint,
    identify_run,
    output_dir,
    resume_key,
)
from ppzoo.config import Config, OptimizerConfig, SplitConfig, parse_log_ranks
from ppzoo.data.loader import Loader
from ppzoo.errors import CheckpointError, ConfigError, errors_with_key
from ppzoo.layers import Classifier, synchronize_norms
from ppzoo.metrics import ClassRecall, MetricList

logger = logging.getLogger("ppzoo")


@contextmanager
def join_processes(config: Config) -> Iterator[engine.ProcessGroup]:
    """Join the processes that the launcher started, on the configured device; if one fails, all of them end.

    Processes that `Global.log_ranks` does not name do not write to the console.
    """
    engine.select_device(config.Global.device)
    processes = engine.init_process_group()
    if processes.rank not in parse_log_ranks(config.Global.log_ranks):
        report.silence()
    with processes.abort_together():
        yield processes


def build_trainer(
    config: Config,
    resume: str | None = None,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
    rollbacks: int = 0,
) -> tuple[Path, engine.Trainer]:
    """Build the trainer of a run, and return the run's folder with it.

    Nothing is written before everything is built and the network has processed a few images.

    Args:
        resume: prefix of the checkpoint to resume from, or "auto" for the newest complete one in the run's folder, if
            any; `Global.checkpoints` by default.
        processes: the processes that train together; the first one finds the checkpoint and writes files.
        rollbacks: how often the run was rolled back so far, if more often than is stored in the checkpoint.
    """
    split, section = require_training_sections(config)
    epochs = config.Global.epochs or 0
    folder = output_dir(config) / config.Arch.name
    checkpoint, is_own = find_shared_checkpoint(config, folder, resume, processes)

    config, loader, other_classes = load_training_data(config, split, processes)
    steps = build_steps(config, split, loader)
    prepare_device(config)
    log_training_data(config, loader)

    network = build_initial_network(config, other_classes, is_resumed=checkpoint is not None)
    loss, metrics = build_training_loss(config, network, loader)
    record = build_evaluation_record(config)
    recall = None if config.Global.use_multilabel else ClassRecall(class_count(config.Arch))
    observers = [record] if record else []
    evaluation = build_training_evaluation(config, network, processes, observers, recall)
    higher_is_better = evaluation.higher_is_better if evaluation else False

    optimizer, schedule = build_optimizer(
        section,
        network,
        epochs=epochs,
        steps_per_epoch=len(steps),
        total_batch=split.sampler.batch_size * processes.size * steps.update_freq,
    )
    state = build_train_state(config, network, optimizer, schedule, metrics, loader, steps, processes)
    state.main_metric = evaluation.main if evaluation else None
    state.early_stopping = build_early_stopping(config, higher_is_better)
    with errors_with_key(resume_key(resume)):
        finished = restore_checkpoint(state, checkpoint, epochs, processes, is_own=is_own) if checkpoint else None
    apply_rollbacks(state, steps, rollbacks)
    synchronize_processes(config, network, processes)

    plan = build_plan(config, evaluation, epochs=state.progress.epoch if finished else epochs)
    trainer = engine.Trainer(
        state=state,
        steps=steps,
        loss=loss,
        evaluate=evaluation.run if evaluation else None,
        plan=plan,
        describe=loader.samples.dataset.describe,
        processes=processes,
        forward=build_static_forward(network) if config.Global.to_static else None,
    )
    trainer.callbacks.append(WorkerEnd([loader, evaluation.loader] if evaluation else [loader]))
    evaluation_data = evaluation.samples.dataset if evaluation else None
    if finished:
        if processes.is_main:
            datasets = loader.samples.dataset, evaluation_data
            trainer.callbacks += build_finishing_callbacks(config, state, folder, finished, *datasets)
    else:
        trainer.callbacks += build_callbacks(
            *(config, state, folder, loader, steps, processes),
            is_resumed=is_own,
            record=record,
            main_metric=plan.main,
            recall=recall,
            evaluation_data=evaluation_data,
        )
    return folder, trainer


def require_training_sections(config: Config) -> tuple[SplitConfig, OptimizerConfig]:
    """Return `DataLoader.Train` and `Optimizer`.

    Raises:
        ConfigError: one of them is missing.
    """
    if config.DataLoader.Train is None or config.Optimizer is None:
        raise ConfigError("DataLoader.Train, Optimizer: expected both, since they are required to train")
    return config.DataLoader.Train, config.Optimizer


def load_training_data(
    config: Config, split: SplitConfig, processes: engine.ProcessGroup
) -> tuple[Config, Loader, str | None]:
    """Build the loader of `DataLoader.Train`, and complete the configuration with the classes and class weights.

    Returns:
        The configuration, the loader, and `TrainingData.other_classes`.

    Raises:
        ConfigError, DataError: the data cannot be read, or its classes contradict the configuration.
    """
    config, images, other_classes = build_training_data(config)
    class_num, seed = class_count(config.Arch), config.Global.seed or 0
    loader = load_images(split, images, class_num=class_num, seed=seed, training=True, processes=processes)
    return balance_classes(config, images, class_num), loader, other_classes


def build_steps(config: Config, split: SplitConfig, loader: Loader) -> engine.StepLoader:
    """Group the loader's batches into optimizer steps."""
    return engine.StepLoader(
        loader,
        update_freq=config.Global.update_freq,
        iter_per_epoch=config.Global.iter_per_epoch,
        drop_last=split.sampler.drop_last,
    )


def find_shared_checkpoint(
    config: Config, folder: Path, resume: str | None, processes: engine.ProcessGroup
) -> tuple[Path | None, bool]:
    """Return the checkpoint that all processes resume from, if any, and whether it is in the folder of this run."""
    prefix = resume or config.Global.checkpoints
    found = find_checkpoint(folder, prefix, resume_key(resume)) if processes.is_main else None
    checkpoint = processes.broadcast_object(found)
    is_own = checkpoint is not None and checkpoint.resolve().parent == folder.resolve()
    return checkpoint, is_own


def log_training_data(config: Config, loader: Loader) -> None:
    """Log the training data and ignored keys, and warn of imbalanced classes and of mistakes in `Infer.transforms`."""
    images = loader.samples.dataset
    warn_of_imbalance(images.labels)
    log_data(TRAIN_DATA, images, class_count(config.Arch))
    log_ignored_keys(config)
    warn_of_image_shape(config)
    warn_of_preprocessing(config)


def build_train_state(
    config: Config,
    network: Classifier,
    optimizer: paddle.optimizer.Optimizer,
    schedule: LRScheduler,
    metrics: MetricList,
    loader: Loader,
    steps: engine.StepLoader,
    processes: engine.ProcessGroup,
) -> engine.TrainState:
    """Collect what a checkpoint contains; what depends on evaluations is added later."""
    split, section = require_training_sections(config)
    return engine.TrainState(
        network,
        optimizer,
        schedule,
        metrics,
        seed=config.Global.seed or 0,
        identity=identify_run(config, split, section, loader, steps),
        configuration=checkpointed_config(config),
        amp=build_mixed_precision(config, network, loader, processes),
        ema=build_ema(config, network),
        loader=loader,
    )


def build_training_loss(config: Config, network: Classifier, loader: Loader) -> tuple[losses.CombinedLoss, MetricList]:
    """Build `Loss.Train` and `Metric.Train`, and compute both for a few images.

    In a distillation, layers of a loss are added to the network, so that they are trained and saved with it.
    """
    loss, metrics = build_loss(config.Loss.Train or ()), build_metrics(config.Metric.Train or ())
    for index, (term, _) in enumerate(loss.losses.values()):
        if term.layers is not None and isinstance(network, models.DistillationModel):
            network.add_loss_layers(f"{type(term).__name__}_{index}", term.layers)
    try_batch(config, "Train", network, loader, loss, metrics)
    require_weighted_classes("Train", loss, loader.samples.dataset)
    return loss, metrics


def build_training_evaluation(
    config: Config,
    network: Classifier,
    processes: engine.ProcessGroup,
    observers: Sequence[engine.EvaluationObserver],
    recall: ClassRecall | None,
) -> Evaluation | None:
    """Build the evaluation during training; None if it is off or there is no data for it."""
    if not config.Global.eval_during_train or config.DataLoader.Eval is None:
        return None
    return build_evaluation(config, network, processes, verify=True, observers=observers, recall=recall)


def build_plan(config: Config, evaluation: Evaluation | None, *, epochs: int) -> engine.Plan:
    """Return when to evaluate and log; without an evaluation, there is no best checkpoint."""
    run = config.Global
    main_metric, higher_is_better = evaluation[1:3] if evaluation else ("loss", False)
    return engine.Plan(
        epochs, run.eval_interval, run.start_eval_epoch, main_metric, higher_is_better, run.print_batch_step
    )


def restore_checkpoint(
    state: engine.TrainState, checkpoint: Path, epochs: int, processes: engine.ProcessGroup, *, is_own: bool
) -> str | None:
    """Load a checkpoint; if it is that of a finished run, return why nothing is left to train.

    Args:
        epochs: number of epochs to train in total.
        is_own: whether the checkpoint is in the folder of this run.

    Raises:
        CheckpointError: it does not fit, or is that of a finished run in another folder.
    """
    with engine.share_files(processes, checkpoint) as prefix:
        engine.load_checkpoint(state, prefix)
    finished = describe_finished(state, epochs, checkpoint)
    if finished and not is_own:
        raise CheckpointError(finished)
    if not finished:
        progress = state.progress
        logger.info("resuming from %s (epoch %d, step %d)", checkpoint, progress.epoch + 1, progress.step)
    return finished


def synchronize_processes(config: Config, network: Classifier, processes: engine.ProcessGroup) -> None:
    """Give all processes the same weights and, with `Arch.use_sync_bn`, synchronized batch normalization."""
    processes.broadcast_tensors(network.state_dict().values())
    if processes.size > 1 and config.Arch.use_sync_bn:
        if config.Global.to_static:
            raise ConfigError("Arch.use_sync_bn: expected Global.to_static False on several processes, got True")
        synchronize_norms(network)


def prepare_device(config: Config) -> None:
    """Select the device and the native operators, and seed PaddlePaddle."""
    engine.select_device(config.Global.device)
    native.set_mode(config.Global.native)
    if config.Global.deterministic:
        engine.enable_determinism()
    paddle.seed(config.Global.seed or 0)


def build_initial_network(config: Config, other_classes: str | None, *, is_resumed: bool) -> Classifier:
    """Build the network with the weights that training starts from; those of a checkpoint are loaded later.

    Args:
        other_classes: see `TrainingData`; if it is not None, the head is initialized.
    """
    weights = config.Global.pretrained_model
    new_head = not is_resumed and other_classes is not None
    if new_head:
        logger.info("%s: initializing the head", other_classes)
    if not (is_resumed or weights):
        return build_model(config.Arch, new_head=new_head)
    network = build_model(config.Arch, pretrained=False)
    if weights and not is_resumed:
        load_pretrained(network, config.Arch.name, weights, key="Global.pretrained_model", new_head=new_head)
    return network


def build_static_forward(network: paddle.nn.Layer) -> Callable[[paddle.Tensor], Any]:
    """Build the network's training forward pass as a static program (`Global.to_static`).

    The network itself is unchanged for evaluation, checkpoints, and code that accesses its layers.
    """
    if native.is_enabled():
        logger.info("Global.to_static: static programs do not use the native operators and are slower on CPUs")
    return paddle.jit.to_static(network.forward, full_graph=True)
