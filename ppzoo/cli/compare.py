"""The command `compare`: what differs between runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ppzoo.cli.arguments import Commands, add_command, find_run_folder
from ppzoo.cli.output_folder import add_output, check_output, output_errors
from ppzoo.cli.report import add_language
from ppzoo.errors import printable
from ppzoo.files import expand_user, make_folder, write_text

PAGE, JSON = "comparison.html", "comparison.json"


def add_commands(commands: Commands) -> None:
    compare = add_command(commands, "compare", _compare, "compare the configurations and results of runs")
    compare.add_argument(
        "runs",
        nargs="+",
        type=expand_user,
        metavar="RUN_FOLDER",
        help="the folders of two or more runs, such as output/LeNet; the first run is compared with each of the others",
    )
    add_output(compare, f"{PAGE} and {JSON}", default=None)
    add_language(compare)


def _compare(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    folder = None if options.output is None else check_output(options.output, JSON, PAGE)
    comparison = builders.compare_runs([find_run_folder(Path(run)) for run in options.runs])
    print(printable(report.format_comparison(comparison)))
    if folder is not None:
        page = report.render_comparison(comparison, options.lang)
        with output_errors(folder):
            make_folder(folder)
            write_text(folder / JSON, json.dumps(comparison, indent=1, allow_nan=False))
            write_text(folder / PAGE, page)
        print(printable(f"\npage: {folder / PAGE}"))
