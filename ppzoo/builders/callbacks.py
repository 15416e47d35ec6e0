"""Build the callbacks of a training run: logs, plots, checkpoints, and the files that describe the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from ppzoo import data, engine, report
from ppzoo.builders.class_names import LABELS
from ppzoo.builders.loggers import build_run_logger, logger_names
from ppzoo.builders.model_card import describe_for_card, read_counts_of
from ppzoo.config import Config, dump, parse_log_ranks
from ppzoo.data.loader import Loader
from ppzoo.events import Callback
from ppzoo.files import RUN_CONFIG, RUN_LOG
from ppzoo.metrics import ClassRecall, describe_weakest

logger = logging.getLogger("ppzoo")

MAX_NAMES_IN_CONFIG = 1000  # a longer list is only in labels.txt, since config.yaml has a maximum size


class WorkerEnd(Callback):
    """Ends the worker processes of loaders when training ends, even if an exception keeps the trainer in memory."""

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self.loaders = loaders

    def close(self) -> None:
        for loader in self.loaders:
            loader.close()


def build_callbacks(
    config: Config,
    state: engine.TrainState,
    folder: Path,
    loader: Loader,
    steps: engine.StepLoader,
    processes: engine.ProcessGroup,
    *,
    is_resumed: bool,
    record: report.EvaluationRecord | None,
    main_metric: str,
    recall: ClassRecall | None = None,
    evaluation_data: data.Dataset | None = None,
) -> list[Callback]:
    """Build the callbacks of this process; the first process also opens the run's folder and writes the run files.

    Args:
        is_resumed: whether the run continues an earlier run in the same folder.
        record: accumulates what the loggers draw of an evaluation; None without loggers or evaluations.
        main_metric: the name of the metric that decides which epoch is the best.
        recall: counts the recall of each class in the evaluations; None for several labels per image.
        evaluation_data: the data of the evaluations; None without any.
    """
    run = config.Global
    on_console = processes.rank in parse_log_ranks(run.log_ranks)
    if not processes.is_main:
        return [report.Console(None, run.print_batch_step)] if on_console else []
    curves = report.Curves(folder, title=config.Arch.name)
    if is_resumed:
        curves.read(state.progress.epoch)  # a damaged history is an error before anything is written
    engine.open_run_dir(folder, resume=is_resumed)
    console = report.Console(
        folder / RUN_LOG,
        run.print_batch_step,
        on_terminal=None if on_console else False,
        history=lambda: curves.entries,
        weakest=build_weakest(config, recall, has_average=state.ema is not None),
    )
    write_run_files(folder, config)
    callbacks: list[Callback] = [
        console,
        report.BadFiles(folder / "bad_files.txt", loader.bad_files, run.save_interval_steps),
        curves,
    ]
    if logger_names(run):
        callbacks.append(build_run_logger(config, state, folder, len(steps), record, main_metric))
    callbacks += _build_checkpoint_savers(config, state, folder)
    facts = describe_for_card(config, state.model, loader.samples.dataset, evaluation_data)
    counts = read_counts_of(recall, has_average=state.ema is not None)
    callbacks.append(report.ModelCard(folder, facts, lambda: curves.entries, counts))
    return callbacks


def build_weakest(config: Config, recall: ClassRecall | None, *, has_average: bool) -> Callable[[bool], str]:
    """Build the function that describes the weakest classes of the last evaluation, for `report.Console`.

    Args:
        has_average: whether the averaged weights are evaluated after the weights themselves.
    """

    def describe(of_average: bool) -> str:
        if recall is None or not recall.recalls:
            return ""
        last = recall.recalls[-1 if of_average or not has_average else 0]
        names = config.Global.class_names or [str(index) for index in range(len(last))]
        return describe_weakest(last, names)

    return describe


def build_finishing_callbacks(
    config: Config,
    state: engine.TrainState,
    folder: Path,
    finished: str,
    training_data: data.Dataset,
    evaluation_data: data.Dataset | None,
) -> list[Callback]:
    """Build the callbacks that complete the files of a finished run; complete files are not written again.

    Args:
        finished: the message, which is logged, that nothing is left to train.
    """
    engine.open_run_dir(folder, resume=True)
    logger.info(finished)
    curves = report.Curves(folder, title=config.Arch.name)
    callbacks: list[Callback] = [] if curves.picture.exists() else [curves]
    if not (folder / report.MODEL_CARD).exists():
        facts = describe_for_card(config, state.model, training_data, evaluation_data)
        callbacks.append(report.ModelCard(folder, facts, lambda: curves.read(state.progress.epoch)))
    return [*callbacks, *_build_checkpoint_savers(config, state, folder)]


def _build_checkpoint_savers(config: Config, state: engine.TrainState, folder: Path) -> list[Callback]:
    """Build the callbacks that save checkpoints and, in a distillation, the latest and best weights of the student."""
    run, student = config.Global, config.Arch.deployed_prefix
    saver = engine.CheckpointSaver(state, folder, run.save_interval, run.keep, run.save_interval_steps)
    return [saver, engine.StudentWeights(folder, student)] if student else [saver]


def write_run_files(folder: Path, config: Config) -> None:
    """Write what later commands need: the configuration, and the names of the classes if they are known."""
    names = config.Global.class_names
    texts = {RUN_CONFIG: dump(config.to_dict(max_class_names=MAX_NAMES_IN_CONFIG))}
    if names:
        texts[LABELS] = "".join(f"{index} {name}\n" for index, name in enumerate(names))
    for name, text in texts.items():
        report.write_lines(folder / name, text)
