"""The command `train`, with a configuration or with an architecture and a folder of images."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ppzoo
from ppzoo.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    add_photo_arguments,
    add_quiet,
    overrides,
    photo_errors,
    require_one_source,
)
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.errors import ConfigError, errors_with_key, printable
from ppzoo.files import RUN_CONFIG, RUN_LOG, WEIGHTS, expand_user, weights_of_run
from ppzoo.launcher import read_launch
from ppzoo.native import env_settings
from ppzoo.progress import set_quiet

if TYPE_CHECKING:
    from ppzoo.config import Config
    from ppzoo.events import Callback
    from ppzoo.report import JsonEvents


def add_commands(commands: Commands) -> None:
    train = add_command(commands, "train", _train, "train a network")
    add_config_arguments(train)
    add_photo_arguments(
        train, ". With --fold, and either --arch or -c: the folder that `ppzoo data split --folds` wrote"
    )
    train.add_argument(
        "--resume",
        type=expand_user,
        metavar="auto|PREFIX",
        help="resume from a checkpoint, such as output/LeNet/latest; auto: the newest checkpoint of this run, if any",
    )
    train.add_argument(
        "--fold",
        metavar="K|all",
        help="cross-validation: train fold K, or all folds in turn; requires --data, and either --arch or -c",
    )
    add_quiet(train)
    train.add_argument(
        "--json", action="store_true", help="print the run's events as JSON lines, which docs/terminal.md describes"
    )


def _train(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    _require_source(options)
    events = report.JsonEvents() if options.json and read_launch(os.environ).rank == 0 else None
    if events is not None and sys.stdout.isatty():
        set_quiet(True)  # the lines of both streams would be mixed
    with photo_errors(options), ExitStack() as stack:
        if events is not None:
            stack.enter_context(events)
        if options.fold is not None:
            _train_folds(options, events)
            return
        with ExitStack() as undo:  # until training starts, an error removes the new list files
            if options.config is None:
                config = builders.read_photo_config(options.arch, options.data, overrides(options), undo)
            else:
                config = builders.read_config(options.config, overrides(options), "train")
            folder, was_finished, is_main = _fit(config, options.resume, events, started=lambda _: undo.pop_all())
    if is_main and not (options.quiet or options.json):
        _print_next_steps(config, folder, was_finished=was_finished)


def _require_source(options: argparse.Namespace) -> None:
    """Check the options that name what is trained.

    Raises:
        ConfigError: some are missing, or do not fit together.
    """
    if options.fold is None:
        require_one_source(options)
        return
    if options.data is None:
        raise ConfigError(
            "--fold: expected --data with the folder that `ppzoo data split --folds` wrote, got no --data"
        )
    if (options.config is None) == (options.arch is None):
        got = "nothing" if options.arch is None else "both"
        raise ConfigError(f"--fold: expected either -c CONFIG or --arch NAME with it, got {got}")
    if options.fold == "all" and options.resume not in (None, "auto"):
        raise ConfigError(
            f"--resume: expected auto with --fold all, got {options.resume!r}; to resume from a checkpoint, train one"
            " fold, such as --fold 1"
        )
    processes = read_launch(os.environ).size
    if options.fold == "all" and processes > 1:
        raise ConfigError(
            "--fold: expected the number of one fold, such as --fold 1, with several processes, got all with"
            f" {processes} processes"
        )


def _train_folds(options: argparse.Namespace, events: JsonEvents | None) -> None:
    """Train one fold, or all of them in turn with a summary at the end."""
    from ppzoo import builders
    from ppzoo.data import read_folds

    with errors_with_key("--data"):
        folds = read_folds(Path(options.data))
    numbers = builders.choose_folds(folds, options.fold)
    if options.config is None:  # the same settings for all folds; their lists exist, so that nothing is split
        first = str(folds.lists(1)[0].parent)
        config = builders.read_photo_config(options.arch, first, overrides(options), ExitStack())
    else:
        config = builders.read_folds_config(options.config, folds, overrides(options))
    builders.require_evaluation(config)
    if len(numbers) > 1:
        builders.require_no_other_result(config)
    configs = {number: builders.config_of_fold(config, folds, number) for number in numbers}
    for number, fold in configs.items():
        if options.resume or fold.Global.checkpoints:
            builders.require_same_lists(fold, folds, number)
    results = []
    for number, fold in configs.items():
        logging.getLogger("ppzoo").info("fold %d of %d", number, folds.folds)
        keeper = builders.SummaryKeeper()
        started = partial(builders.record_start, fold, folds, number)
        folder, was_finished, is_main = _fit(fold, options.resume, events, started=started, observers=[keeper])
        if len(numbers) > 1:
            results.append(builders.result_of_fold(number, folder, keeper.summary))
        elif is_main and not (options.quiet or options.json):
            _print_next_steps(fold, folder, was_finished=was_finished)
    if results:
        content = builders.write_result(config, results)
        if events is not None:
            events.write("folds", content)
        else:
            print(printable(f"\n{builders.describe_result(config, content)}"))


def _fit(
    config: Config,
    resume: str | None,
    events: JsonEvents | None,
    *,
    started: Callable[[bool], object],
    observers: Sequence[Callback] = (),
) -> tuple[Path, bool, bool]:
    """Train a run; return its folder, whether it was finished before, and whether this is the first process.

    Args:
        started: called by the first process when everything is built, with whether nothing is left to train.
    """
    from ppzoo import builders

    with builders.join_processes(config) as processes:
        if env_settings.read_applied_settings():
            message = "ppzoo set these environment variables for the process: %s"
            settings, only_in_file = env_settings.read_applied_settings(), {"is_detail": True}
            logging.getLogger("ppzoo").info(message, settings, extra=only_in_file)
        folder, trainer = builders.build_trainer(config, resume, processes)
        was_finished = trainer.state.progress.epoch >= trainer.plan.epochs
        if processes.is_main:
            started(was_finished)
        all_observers = list(observers)
        if events is not None:
            all_observers.append(events)
            events.describe_run(_describe_run(config, folder), config.Global.print_batch_step)
        builders.fit_with_rollback(config, folder, trainer, resume, processes, all_observers)
    if events is not None:
        events.write_end(_run_files(folder))
    return folder, was_finished, processes.is_main


def _describe_run(config: Config, folder: Path) -> dict[str, str]:
    """Return the run's architecture, folder and versions, for the first event."""
    import paddle

    versions = {"ppzoo": ppzoo.__version__, "paddle": paddle.__version__, "python": platform.python_version()}
    return {"arch": config.Arch.name, "folder": str(folder), **versions}


def _run_files(folder: Path) -> dict[str, str]:
    """Return the most important files of a run that exist, by what they contain."""
    weights = weights_of_run(folder)
    files = {
        "weights": folder if weights is None else weights.with_name(f"{weights.name}{WEIGHTS}"),
        "log": folder / RUN_LOG,
        "curves": folder / "curves.png",
        "config": folder / RUN_CONFIG,
    }
    return {name: str(file) for name, file in files.items() if file.is_file()}


def _print_next_steps(config: Config, folder: Path, *, was_finished: bool) -> None:
    if weights_of_run(folder) is None:
        return
    files = "the weights, the log and the training curves"
    text = f"Nothing was trained; {files} of the finished run" if was_finished else files.capitalize()
    print(printable(f"\n{text} are in {folder}"))
    for name, file in _run_files(folder).items():
        print(printable(f"  {name:<8} {file}"))
    if config.Infer.transforms:
        print_next_steps(f"{command_line('infer', folder)} PHOTO_OR_FOLDER", command_line("export", folder))
    else:
        print_next_steps("add Infer.transforms to the configuration: infer and export need it")
