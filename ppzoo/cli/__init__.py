"""The command line: `ppzoo COMMAND`, and the entry point of `tools/*.py`.

Exit status: 0 success; 1 the run failed; 2 the user's input is wrong, with one line for each mistake; 128 + N the
command was ended by signal N.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import ppzoo
from ppzoo.cli import (
    board,
    compare,
    configs,
    data,
    doctor,
    evaluate,
    explain,
    export,
    infer,
    lr_find,
    migrate,
    models,
    profile,
    report,
    serve,
    train,
)
from ppzoo.cli.arguments import Parser, require_device_of_option
from ppzoo.cli.paddle import import_paddle
from ppzoo.cli.streams import LostOutput, flush_streams, open_streams, print_error, report_lost_output
from ppzoo.errors import ConfigError, ConfigFileError, Interrupted, PpzooError, describe_os_error, exit_status_of
from ppzoo.launcher import read_launch
from ppzoo.native import env_settings
from ppzoo.progress import set_quiet

COMPUTING = (
    "train",
    "eval",
    "infer",
    "report",
    "explain",
    "embed",
    "lr-find",
    "profile",
    "serve",
)  # the commands that need fast operators


class Terminated(KeyboardInterrupt):
    """Raised for SIGTERM, except in training, which has its own signal handler."""


def console() -> NoReturn:
    """Entry point of the `ppzoo` command."""
    _run(sys.argv[1:])


def tool(command: str) -> NoReturn:
    """Entry point of `tools/*.py`: run one command with the arguments of this process."""
    _run([command, *sys.argv[1:]])


def _run(arguments: Sequence[str]) -> NoReturn:
    open_streams()
    env_settings.restart_with_settings(computes=bool(arguments) and arguments[0] in COMPUTING)
    try:
        status = main(arguments, owns_process=True)
    except SystemExit as end:  # argparse's
        status = end.code if isinstance(end.code, int) else 2
    _restore_default_signals()
    sys.exit(flush_streams(status))


def main(arguments: Sequence[str], *, owns_process: bool = False) -> int:
    """Run a command line and return its exit status.

    Args:
        owns_process: install signal handlers, since nothing else runs in this process.
    """
    options = build_parser().parse_args(arguments)
    set_quiet(getattr(options, "quiet", False))
    try:
        if read_launch(os.environ).size > 1 and options.command not in ("train", "eval"):
            raise ConfigError(f"{options.command}: expected one process; start it without paddle.distributed.launch")
        if getattr(options, "needs_paddle", True):
            import_paddle()
        if owns_process:
            _install_signal_handlers()
        require_device_of_option(options)
        return options.run(options) or 0
    except ConfigError as error:
        if isinstance(error, ConfigFileError):
            error.add_key(_key_of_config(options))
        for problem in dict.fromkeys(error.problems):  # training and evaluation can have the same problem
            print_error(f"error: {problem}")
        return error.exit_status
    except Interrupted as error:
        print_error(error)
        return error.exit_status
    except PpzooError as error:
        print_error(f"error: {error.line}")
        return error.exit_status
    except LostOutput as error:
        return report_lost_output(error)
    except OSError as error:
        print_error(f"error: {describe_os_error(error)}")
        return exit_status_of(error)
    except MemoryError as error:
        print_error(f"error: out of memory ({_first_line(error)}): lower batch_size, image sizes or num_workers")
        return 1
    except KeyboardInterrupt as error:
        return _report_interruption(error)


def _key_of_config(options: argparse.Namespace) -> str:
    """Return the option or argument that names the configuration file."""
    if getattr(options, "config", None) is None:
        return "RUN_FOLDER"
    return "CONFIG" if options.command == "data" else "-c"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _install_signal_handlers() -> None:
    """Let the first signal raise an exception in the main thread, and a second one end the process."""
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # else this is a background job, which ignores SIGINT
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.unraisablehook = _report_unraisable


def _restore_default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _restore_default_signals()
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """End the process after an interruption within a finalizer, from which Python cannot raise."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        os._exit(_report_interruption(unraisable.exc_value))
    sys.__unraisablehook__(unraisable)


def _report_interruption(error: KeyboardInterrupt) -> int:
    is_sigterm = isinstance(error, Terminated)
    print_error("terminated" if is_sigterm else "interrupted")
    return 128 + (signal.SIGTERM if is_sigterm else signal.SIGINT)


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ppzoo",
        description="Train, evaluate, export and serve image classifiers on PaddlePaddle.",
        epilog="`ppzoo COMMAND --help` describes the options of a command. To begin: `ppzoo train -c mobilenet_v2_x0_5`"
        " trains a small network on images that are included.",
    )
    parser.add_argument("--version", action="version", version=f"ppzoo {ppzoo.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (
        train,
        evaluate,
        infer,
        export,
        serve,
        report,
        explain,
        compare,
        board,
        lr_find,
        profile,
        configs,
        data,
        migrate,
        models,
        doctor,
    ):
        module.add_commands(commands)
    return parser
