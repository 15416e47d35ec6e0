"""The command `lr-find`: the learning-rate range test."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ppzoo.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    add_photo_arguments,
    add_quiet,
    overrides,
    require_one_source,
)
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.errors import ConfigError, count_text, one_line, printable
from ppzoo.files import expand_user, make_folder
from ppzoo.progress import Progress

if TYPE_CHECKING:
    from ppzoo.config import Config
    from ppzoo.engine import RangeTest

PICTURE, TABLE = "lr_find.png", "lr_find.csv"


def add_commands(commands: Commands) -> None:
    find = add_command(commands, "lr-find", _find, "find a learning rate with a short training")
    add_config_arguments(find)
    add_photo_arguments(find)
    find.add_argument("--min", type=float, default=1e-6, metavar="RATE", help="the first learning rate (default: 1e-6)")
    find.add_argument("--max", type=float, default=10.0, metavar="RATE", help="the last learning rate (default: 10)")
    find.add_argument(
        "--steps", type=int, default=100, metavar="N", help="number of training steps, at least 20 (default: 100)"
    )
    add_quiet(find)
    add_output(find, f"{PICTURE} and {TABLE}")


def add_output(command: argparse.ArgumentParser, files: str, default: str | None = ".") -> None:
    """Add --output; by default `files` are written to the folder `default`, or not at all if that is None."""
    usual = "not written" if default is None else "the current folder"
    command.add_argument(
        "--output",
        type=expand_user,
        default=default,
        metavar="FOLDER",
        help=f"the folder for {files} (default: {usual})",
    )


def check_output(folder: str) -> Path:
    """Return the folder of --output, which can be created later if it is missing.

    Raises:
        ConfigError: it, or a folder on the path to it, is a file.
        OSError: it cannot be written to.
    """
    path = Path(os.path.abspath(folder))
    existing = next(one for one in (path, *path.parents) if os.path.lexists(one))
    if not existing.is_dir():
        shown = os.path.relpath(existing) if not os.path.isabs(folder) else existing
        found = f"the file {folder}" if existing == path else f"{folder!r} in the file {shown}"
        raise ConfigError(f"--output: expected a folder, got {found}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(existing))
    return Path(folder)


@contextmanager
def read_training_config(options: argparse.Namespace) -> Iterator[Config]:
    """Read the configuration of -c, or that of --arch and --data, of which nothing is left afterwards.

    The lists of a split of the data are in a temporary folder: a training of the same data writes them itself.
    """
    from ppzoo import builders

    require_one_source(options)
    if options.config is not None:
        yield builders.read_config(options.config, overrides(options), "train")
        return
    with TemporaryDirectory(prefix="ppzoo-") as temporary, ExitStack() as undo:
        settings = [*overrides(options), f"Global.output_dir={temporary}"]
        yield builders.read_photo_config(options.arch, options.data, settings, undo)


def _find(options: argparse.Namespace) -> int:
    from ppzoo import builders, report

    report.log_to_console()
    folder = check_output(options.output)
    with (
        read_training_config(options) as config,
        Progress(options.steps, "finding a learning rate", unit="step") as progress,
    ):
        result, suggested = builders.find_learning_rate(
            config,
            lower=options.min,
            upper=options.max,
            steps=options.steps,
            on_step=lambda rate, loss: progress.advance(),
        )
    make_folder(folder)
    _write(folder, config, result)
    print(f"trained {count_text(len(result.rates), 'step')}; the test ended because {result.end}")
    print(printable(f"plot and values: {folder / PICTURE}, {folder / TABLE}"))
    suggestion = result.suggestion
    if isinstance(suggestion, str):
        print(f"no suggestion: {suggestion}")
        return 1
    loss = result.smoothed[suggestion.index]
    print(
        f"suggested learning rate: {suggestion.rate:.2g} (loss {loss:.4f}; steepest descent at"
        f" {suggestion.steepest:.2g}, a tenth of the rate of the minimum: {suggestion.below_minimum:.2g})"
    )
    given = [word for text in overrides(options) for word in ("-o", text)]
    new = [word for text in suggested for word in ("-o", text)]
    source = ("--arch", options.arch, "--data", options.data) if options.config is None else ("-c", options.config)
    print_next_steps(one_line(command_line("train", *source, *given, *new)))
    return 0


def _write(folder: Path, config: Config, result: RangeTest) -> None:
    from ppzoo import report

    rates, losses, smoothed = result.rates, result.losses, result.smoothed
    report.write_lines(folder / TABLE, report.range_test_table(rates, losses, smoothed))
    suggestion, marks = result.suggestion, {}
    if not isinstance(suggestion, str):
        marks = {
            "suggested": suggestion.rate,
            "steepest descent": suggestion.steepest,
            "a tenth of the rate of the minimum": suggestion.below_minimum,
        }
    title = f"Learning-rate range test of {config.Arch.deployed.name}"
    report.draw_range_test(folder / PICTURE, title, rates, losses, smoothed, marks)
