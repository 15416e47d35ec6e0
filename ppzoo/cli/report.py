"""The command `report`, and what `eval --report` does after the evaluation."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ppzoo.cli.arguments import (
    Commands,
    add_command,
    add_config_arguments,
    add_quiet,
    config_and_overrides,
    is_export,
)
from ppzoo.cli.output_folder import check_output
from ppzoo.errors import ConfigError, errors_with_key, printable
from ppzoo.files import expand_user

if TYPE_CHECKING:
    from ppzoo.builders import EvaluatedNetwork


def add_commands(commands: Commands) -> None:
    report = add_command(
        commands, "report", _report, "evaluate trained weights, and write an HTML page about their accuracy and errors"
    )
    report.usage = "ppzoo report [options] (RUN_FOLDER | EXPORT_FOLDER --data FOLDER | -c CONFIG)"
    report.add_argument(
        "folder",
        nargs="?",
        type=expand_user,
        metavar="RUN_FOLDER|EXPORT_FOLDER",
        help="the folder of a run, such as output/LeNet, or of an export, such as inference/lenet; or use -c CONFIG",
    )
    add_config_arguments(report)
    add_quiet(report)
    report.add_argument(
        "--data",
        type=expand_user,
        metavar="FOLDER|LIST",
        help="evaluate on these images: a folder with one subfolder per class or with .tar files, or a list file with"
        " one line 'PATH LABEL' per image ('PATH<tab>0,1,0' for several labels per image). Required for an export;"
        " default for a run: its evaluation data",
    )
    report.add_argument(
        "--output",
        type=expand_user,
        metavar="FOLDER",
        help="the folder for report.html, report.json, predictions.csv and confusion.csv (default:"
        " RUN_FOLDER/report or EXPORT_FOLDER/report)",
    )
    add_language(report)
    report.add_argument(
        "--map",
        choices=("pca", "tsne"),
        default="pca",
        help="how the report arranges the images on a map by their features: by two principal components, or by t-SNE,"
        " which takes longer and needs scikit-learn: pip install 'ppzoo[explain]' (default: pca)",
    )


def add_language(command: argparse.ArgumentParser, default: str | None = "en", note: str = "") -> None:
    """Add --lang, the language of a page; `note` continues the help text."""
    command.add_argument(
        "--lang", choices=("en", "zh"), default=default, help=f"language of the page{note} (default: en)"
    )


def _report(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    with errors_with_key("--map"):
        builders.require_projection(options.map)
    if options.output is not None:
        check_output(options.output, *builders.REPORT_FILES)
    if options.folder and is_export(options.folder):
        print_report(_evaluate_export(options), options.output, options.lang, options.map)
        return
    config = builders.read_report_config(*config_and_overrides(options, options.folder), options.data)
    with builders.errors_of_data(options.data):
        evaluated = builders.evaluate_run(config)
    print_report(evaluated, options.output, options.lang, options.map)


def _evaluate_export(options: argparse.Namespace) -> EvaluatedNetwork:
    from ppzoo import builders

    if options.config is not None:
        raise ConfigError("report: expected either EXPORT_FOLDER or -c CONFIG, got both")
    if options.override:
        raise ConfigError("report: expected -o together with a run folder or -c CONFIG, got it with an export folder")
    if options.data is None:
        raise ConfigError(
            "report: an export contains no evaluation data; add --data with a folder (one subfolder of images per"
            " class, or .tar files) or with a list file"
        )
    if options.device and not re.fullmatch(r"cpu|gpu(:\d+)?", options.device):
        raise ConfigError(f"--device: expected cpu, gpu or gpu:N, got {options.device}")
    return builders.evaluate_export(Path(options.folder), options.data, options.device or "auto")


def print_report(
    evaluated: EvaluatedNetwork,
    output: str | None = None,
    language: Literal["en", "zh"] = "en",
    projection: Literal["pca", "tsne"] = "pca",
    *,
    as_json: bool = False,
) -> None:
    """Write the files of the report, and print the main result and the page's path; with `as_json` only the path."""
    from ppzoo import builders, report

    folder = builders.open_report_folder(evaluated.source, output)
    content = builders.build_report(evaluated, projection)
    page = builders.write_report_files(folder, content, evaluated, report.render_report(content, language))
    if as_json:
        print(report.json_line({"report": str(page)}))
        return
    print(printable(builders.summarize_report(content)))
    print(printable(f"report: {page}"))
