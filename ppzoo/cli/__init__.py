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
from ppzoo.errors import ConfigError, Interrupted, PpzooError
from ppzoo.installation import require_paddle
from ppzoo.native import process


class Terminated(KeyboardInterrupt):
    """SIGTERM at a moment at which nobody waits for it."""


def console() -> NoReturn:
    """Entry point of the `ppzoo` command."""
    _run(sys.argv[1:])


def tool(command: str) -> NoReturn:
    """Entry point of `tools/*.py`: one command with this process's arguments."""
    _run([command, *sys.argv[1:]])


def _run(arguments: Sequence[str]) -> NoReturn:
    if arguments[:1] in (["train"], ["eval"], ["infer"]):
        process.prepare()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the names of files may be no text
    sys.exit(main(arguments, owns_process=True))


def main(arguments: Sequence[str], *, owns_process: bool = False) -> int:
    """Carry out a command line and answer its exit status.

    Args:
        owns_process: nothing else runs in it, whose signals would be disturbed.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command not in ("train", "eval") and os.environ.get("PADDLE_TRAINERS_NUM", "1") != "1":
            raise ConfigError(f"{options.command}: expected one process; start it without paddle.distributed.launch")
        if getattr(options, "needs_paddle", True):
            require_paddle()
            _import_paddle()
            if owns_process:
                signal.signal(signal.SIGTERM, _terminate)
        return options.run(options) or 0
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_status
    except Interrupted as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except PpzooError as error:
        print(f"error: {error.line}", file=sys.stderr)
        return error.exit_status
    except Terminated:
        print("terminated", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _import_paddle() -> None:
    """Import PaddlePaddle, and keep what it says of its own workings from the user (GLOG_minloglevel=0 has it back).

    Among it is a warning of several OpenMP threads: meant for data-parallel training, it would frighten everybody.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        import paddle  # noqa: F401
    others = [line for line in said.getvalue().splitlines() if "OMP_NUM_THREADS" not in line]
    print("".join(f"{line}\n" for line in others), end="", file=sys.stderr)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ppzoo", description="Image classification on PaddlePaddle.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tasks.add_commands(commands)
    zoo.add_commands(commands)
    data.add_commands(commands)
    return parser
