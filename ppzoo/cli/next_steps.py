"""The commands that are printed as next steps, in a form that works when it is pasted into the shell."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from shlex import quote

from ppzoo.errors import printable

SCRIPTS = {"train": "train.py", "eval": "eval.py", "infer": "infer.py", "export": "export_model.py"}  # in tools/


def print_next_steps(*steps: str, where: str = "") -> None:
    """Print commands as the next steps, one per line.

    Args:
        where: follows "What to do next" in the heading, such as ", in Python".
    """
    print(f"What to do next{where}:")
    for step in steps:
        print(printable(f"  {step}"))


def command_line(command: str, *arguments: object) -> str:
    """Return a command line as the user types it: `ppzoo COMMAND`, or `python tools/...` if that file was started."""
    script = Path(sys.argv[0])
    if script.name in SCRIPTS.values() and script.with_name(SCRIPTS[command]).is_file():
        words = f"{_program('python', sys.executable)} {quote(str(script.with_name(SCRIPTS[command])))}"
    else:
        words = f"{_program('ppzoo', sys.argv[0] if script.name == 'ppzoo' else 'ppzoo')} {command}"
    return " ".join([words, *(quote(str(argument)) for argument in arguments)])


def _program(name: str, path: str) -> str:
    """Return the name of a program if the shell finds `path` by it, else the path."""
    found = shutil.which(name)
    return name if found and _resolve_program(found) == _resolve_program(path) else quote(path)


def _resolve_program(path: str) -> tuple[str, str]:
    """Return what identifies a program: its folder and its file, with symbolic links resolved.

    The file alone is not enough: the Python of a virtual environment can be a link to a Python in another folder.
    """
    return os.path.realpath(os.path.dirname(path)), os.path.realpath(path)
