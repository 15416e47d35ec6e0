"""The command `train`, with a configuration or with an architecture and a folder of images."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import ppzoo
from ppzoo.cli.arguments import (
    RUN_CONFIG,
    Commands,
    add_command,
    add_config_arguments,
    add_photo_arguments,
    add_quiet,
    overrides,
    require_one_source,
)
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.errors import printable
from ppzoo.files import WEIGHTS, expand_user, weights_of_run
from ppzoo.launcher import read_launch
from ppzoo.native import env_settings
from ppzoo.progress import set_quiet

if TYPE_CHECKING:
    from ppzoo.config import Config


def add_commands(commands: Commands) -> None:
    train = add_command(commands, "train", _train, "train a network")
    add_config_arguments(train)
    add_photo_arguments(train)
    train.add_argument(
        "--resume",
        type=expand_user,
        metavar="auto|PREFIX",
        help="resume from a checkpoint, such as output/LeNet/latest; auto: the newest checkpoint of this run, if any",
    )
    add_quiet(train)
    train.add_argument(
        "--json", action="store_true", help="print the run's events as JSON lines, which docs/terminal.md describes"
    )


def _train(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    require_one_source(options)
    events = report.JsonEvents() if options.json and read_launch(os.environ).rank == 0 else None
    if events is not None and sys.stdout.isatty():
        set_quiet(True)  # the lines of both streams would be mixed
    with ExitStack() as stack, ExitStack() as undo:  # until training starts, an error removes the new list files
        observers = [stack.enter_context(events)] if events is not None else []
        if options.config is None:
            config = builders.read_photo_config(options.arch, options.data, overrides(options), undo)
        else:
            config = builders.read_config(options.config, overrides(options), "train")
        with builders.join_processes(config) as processes:
            if env_settings.read_applied_settings():
                message = "ppzoo set these environment variables for the process: %s"
                settings, only_in_file = env_settings.read_applied_settings(), {"is_detail": True}
                logging.getLogger("ppzoo").info(message, settings, extra=only_in_file)
            folder, trainer = builders.build_trainer(config, options.resume, processes)
            undo.pop_all()
            was_finished = trainer.state.progress.epoch >= trainer.plan.epochs
            if events is not None:
                events.describe_run(_describe_run(config, folder), config.Global.print_batch_step)
            builders.fit_with_rollback(config, folder, trainer, options.resume, processes, observers)
        if events is not None:
            events.write_end(_run_files(folder))
    if processes.is_main and not (options.quiet or options.json):
        _print_next_steps(config, folder, was_finished=was_finished)


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
        "log": folder / "train.log",
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
