"""The command `lr-find`: the learning-rate range test."""

from __future__ import annotations

import argparse
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
    parse_integer,
    parse_number,
    photo_errors,
    require_one_source,
)
from ppzoo.cli.next_steps import command_line, print_next_steps
from ppzoo.cli.output_folder import add_output, check_output, output_errors
from ppzoo.errors import count_text, one_line, printable
from ppzoo.files import make_folder
from ppzoo.progress import Progress

if TYPE_CHECKING:
    from ppzoo.config import Config
    from ppzoo.engine import RangeTest

PICTURE, TABLE = "lr_find.png", "lr_find.csv"


def add_commands(commands: Commands) -> None:
    find = add_command(commands, "lr-find", _find, "find a learning rate with a short training")
    add_config_arguments(find)
    add_photo_arguments(find)
    find.add_argument(
        "--min", type=parse_number, default=1e-6, metavar="RATE", help="the first learning rate (default: 1e-6)"
    )
    find.add_argument(
        "--max", type=parse_number, default=10.0, metavar="RATE", help="the last learning rate (default: 10)"
    )
    find.add_argument(
        "--steps",
        type=parse_integer,
        default=100,
        metavar="N",
        help="number of training steps, at least 20 (default: 100)",
    )
    add_quiet(find)
    add_output(find, f"{PICTURE} and {TABLE}")


@contextmanager
def read_training_config(options: argparse.Namespace) -> Iterator[Config]:
    """Read the configuration of -c, or that of --arch and --data.

    The list files of --data are written to a temporary folder, which is removed afterwards: a training with the same
    data writes its own list files.
    """
    from ppzoo import builders

    require_one_source(options)
    if options.config is not None:
        yield builders.read_config(options.config, overrides(options), "train")
        return
    with photo_errors(options), TemporaryDirectory(prefix="ppzoo-") as temporary, ExitStack() as undo:
        settings = [*overrides(options), f"Global.output_dir={temporary}"]
        yield builders.read_photo_config(options.arch, options.data, settings, undo)


def _find(options: argparse.Namespace) -> int:
    from ppzoo import builders, report

    report.log_to_console()
    folder = check_output(options.output, PICTURE, TABLE)
    builders.require_range(options.min, options.max, options.steps)
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
    with output_errors(folder):
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
        f"suggested learning rate: {suggestion.rate:.2g} (loss {loss:.4f}), the highest at which the loss still falls"
        f" at least 0.4 times as fast as at its steepest descent, at {suggestion.steepest:.2g}"
    )
    print(f"for comparison: a tenth of the rate with the lowest loss is {suggestion.below_minimum:.2g}")
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
            "a tenth of the rate with the lowest loss": suggestion.below_minimum,
        }
    title = f"Learning-rate range test of {config.Arch.deployed.name}"
    report.draw_range_test(folder / PICTURE, title, rates, losses, smoothed, marks)
