"""The command `profile`: where the time of a training step goes."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ppzoo.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    add_photo_arguments,
    add_quiet,
    parse_integer,
)
from ppzoo.cli.lr_find import read_training_config
from ppzoo.cli.output_folder import add_output, check_output, output_errors
from ppzoo.errors import count_text, printable
from ppzoo.files import make_folder
from ppzoo.progress import Progress

if TYPE_CHECKING:
    from ppzoo.builders.profiling import TrainingProfile

TRACE = "trace.json"


def add_commands(commands: Commands) -> None:
    profile = add_command(commands, "profile", _profile, "measure where the time of a training step goes")
    add_config_arguments(profile)
    add_photo_arguments(profile)
    profile.add_argument(
        "--steps", type=parse_integer, default=20, metavar="N", help="number of profiled training steps (default: 20)"
    )
    add_quiet(profile)
    add_output(profile, TRACE)


def _profile(options: argparse.Namespace) -> None:
    from ppzoo import builders, engine, report

    report.log_to_console()
    folder = check_output(options.output, TRACE)
    builders.require_steps(options.steps)
    with (
        read_training_config(options) as config,
        Progress(engine.count_profiled_steps(options.steps), "profiling", unit="step") as progress,
    ):
        result = builders.profile_training(config, options.steps, progress.advance)
    with output_errors(folder):
        make_folder(folder)
    trace = json.dumps(engine.chrome_trace(result.steps))
    report.write_lines(folder / TRACE, trace)
    print(printable(_text(config.Arch.deployed.name, result)))
    print(printable(f"\ntrace for chrome://tracing or https://ui.perfetto.dev: {folder / TRACE}"))


def _text(arch: str, result: TrainingProfile) -> str:
    from ppzoo import report

    steps, reading = result.steps, result.reading
    speed = steps.images / steps.seconds
    per_step = 1e3 / steps.steps
    layers = [
        report.LayerRow(name, layer.kind, layer.forward * per_step, layer.backward * per_step)
        for name, layer in steps.layers.items()
    ]
    parts = {name: seconds * per_step for name, seconds in steps.parts.items()}
    blocks = [
        f"{arch} on {result.device}: {count_text(steps.steps, 'step')},"
        f" {steps.images / steps.steps:.0f} images per step\n"
        f"without profiling {steps.images_per_second:.1f} images/s, with profiling {speed:.1f} images/s"
        f" ({100 * (speed / steps.images_per_second - 1):+.1f}%)",
        report.parts_table(parts, steps.unattributed * per_step, steps.seconds * per_step),
        report.layers_table(layers, steps.outside_layers * per_step, steps.loss_backward * per_step),
    ]
    if reading.images:
        where = f"in {count_text(reading.workers, 'worker')}" if reading.workers else "in the training process"
        cached = " after the first epoch" if reading.has_cache else ""
        blocks.append(
            f"{report.reading_table(reading.seconds, reading.images)}\n"
            f"(the mean of {count_text(reading.images, 'image')}{cached}, in one process;"
            f" training reads images {where})"
        )
    return "\n\n".join(blocks)
