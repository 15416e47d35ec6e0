"""The command `eval`."""

from __future__ import annotations

import argparse
import os

from ppzoo.cli.arguments import RUN_HELP, Commands, add_command, add_config_arguments, add_quiet, config_and_overrides
from ppzoo.cli.report import add_language, print_report
from ppzoo.errors import ConfigError
from ppzoo.files import expand_user
from ppzoo.launcher import read_launch


def add_commands(commands: Commands) -> None:
    evaluate = add_command(commands, "eval", _eval, "evaluate trained weights on the evaluation data")
    evaluate.add_argument("run_folder", nargs="?", type=expand_user, metavar="RUN_FOLDER", help=RUN_HELP)
    add_config_arguments(evaluate)
    add_quiet(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    evaluate.add_argument(
        "--report", action="store_true", help="also write the files of `ppzoo report`, into RUN_FOLDER/report"
    )
    add_language(evaluate, default=None, note=" of --report")


def _eval(options: argparse.Namespace) -> None:
    from ppzoo import builders, report

    report.log_to_console()
    if options.lang and not options.report:
        raise ConfigError(f"--lang: expected it together with --report, got --lang {options.lang} alone")
    config = builders.read_config(*config_and_overrides(options, options.run_folder), "eval")
    if options.report:
        if read_launch(os.environ).size > 1:
            raise ConfigError("eval: expected one process with --report; start it without paddle.distributed.launch")
        evaluated = builders.evaluate_run(config)
        print(report.json_line(evaluated.metrics) if options.json else report.format_metrics(evaluated.metrics))
        print_report(evaluated, language=options.lang or "en", as_json=options.json)
        return
    with builders.join_processes(config) as processes:
        metrics = builders.evaluate(config, processes)
    if processes.is_main:
        print(report.json_line(metrics) if options.json else report.format_metrics(metrics))
