"""The command line: `ppzoo COMMAND`, and what `tools/*.py` call.

Exit status: 0 done; 1 the run failed; 2 the user's input is wrong, which one line explains.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from ppzoo.cli import data, tasks, zoo
from ppzoo.errors import ConfigError, DeviceError, Interrupted, PpzooError
from ppzoo.native import process


def console() -> NoReturn:
    """Entry point of the `ppzoo` command."""
    _run(sys.argv[1:])


def tool(command: str) -> NoReturn:
    """Entry point of `tools/*.py`: one command with this process's arguments."""
    _run([command, *sys.argv[1:]])


def _run(arguments: Sequence[str]) -> NoReturn:
    if arguments[:1] == ["train"]:
        process.prepare()
    sys.exit(main(arguments))


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line and answer its exit status."""
    options = _parser().parse_args(arguments)
    _quieten_paddle()
    try:
        if importlib.util.find_spec("paddle") is None:
            raise DeviceError(
                "PaddlePaddle is not installed: run `pip install 'ppzoo[cpu]'` for the CPU"
                " or `pip install 'ppzoo[gpu]'` for a GPU (in a clone: `pip install -e '.[cpu]'`)"
            )
        return options.run(options) or 0
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_status
    except Interrupted as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except PpzooError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _quieten_paddle() -> None:
    """Keep what PaddlePaddle says of its own workings away from the user, who may ask for it by GLOG_minloglevel."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", "No ccache found")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ppzoo", description="Image classification on PaddlePaddle.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tasks.add_commands(commands)
    zoo.add_commands(commands)
    data.add_commands(commands)
    return parser
