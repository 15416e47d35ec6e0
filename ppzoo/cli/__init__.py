"""The command line: `ppzoo COMMAND`, and what `tools/*.py` call.

Exit status: 0 done; 1 the run failed; 2 the user's input is wrong, which one line explains.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from ppzoo.cli import data, tasks, zoo
from ppzoo.cli.streams import LostOutput, flush_streams, open_streams, print_error, report_lost_output
from ppzoo.errors import ConfigError, Interrupted, PpzooError, describe_os_error, exit_status_of
from ppzoo.installation import require_paddle
from ppzoo.launcher import read_launch
from ppzoo.native import env_settings


class Terminated(KeyboardInterrupt):
    """SIGTERM at a moment at which nobody waits for it."""


def console() -> NoReturn:
    """Entry point of the `ppzoo` command."""
    _run(sys.argv[1:])


def tool(command: str) -> NoReturn:
    """Entry point of `tools/*.py`: one command with this process's arguments."""
    _run([command, *sys.argv[1:]])


def _run(arguments: Sequence[str]) -> NoReturn:
    open_streams()
    env_settings.restart_with_settings(computes=arguments[:1] in (["train"], ["eval"], ["infer"]))
    try:
        status = main(arguments, owns_process=True)
    except SystemExit as end:  # argparse's
        status = end.code if isinstance(end.code, int) else 2
    _leave_signals_to_the_system()
    sys.exit(flush_streams(status))


def main(arguments: Sequence[str], *, owns_process: bool = False) -> int:
    """Carry out a command line and answer its exit status.

    Args:
        owns_process: nothing else runs in it, whose signals would be disturbed.
    """
    options = _parser().parse_args(arguments)
    try:
        if read_launch(os.environ).size > 1 and options.command not in ("train", "eval"):
            raise ConfigError(f"{options.command}: expected one process; start it without paddle.distributed.launch")
        if getattr(options, "needs_paddle", True):
            require_paddle()
            _import_paddle()
        if owns_process:
            _take_signals()
        return options.run(options) or 0
    except ConfigError as error:
        for problem in error.problems:
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


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _take_signals() -> None:
    """The first signal unwinds the stack, wherever Python happens to be; a further one ends the process at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not of a job in the background
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.unraisablehook = _report_unraisable


def _leave_signals_to_the_system() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _leave_signals_to_the_system()
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _report_unraisable(lost: sys.UnraisableHookArgs) -> None:
    """An interruption that came within a finalizer, which Python cannot raise from there, ends the process."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        os._exit(_report_interruption(lost.exc_value))
    sys.__unraisablehook__(lost)


def _report_interruption(error: KeyboardInterrupt) -> int:
    is_sigterm = isinstance(error, Terminated)
    print_error("terminated" if is_sigterm else "interrupted")
    return 128 + (signal.SIGTERM if is_sigterm else signal.SIGINT)


def _import_paddle() -> None:
    """Import PaddlePaddle, and keep what it says of its own workings from the user (GLOG_minloglevel=0 has it back).

    Among it is a warning of several OpenMP threads: meant for data-parallel training, it would frighten everybody.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        import paddle  # noqa: F401
    for line in said.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print_error(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ppzoo", description="Image classification on PaddlePaddle.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tasks.add_commands(commands)
    zoo.add_commands(commands)
    data.add_commands(commands)
    return parser
