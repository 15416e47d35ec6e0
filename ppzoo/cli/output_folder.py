"""The option --output of commands that write several files: the check before the work, and errors while writing."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppzoo.errors import ConfigError, OutputError
from ppzoo.files import expand_user, find_write_error


def add_output(command: argparse.ArgumentParser, files: str, default: str | None = ".") -> None:
    """Add --output; by default `files` are written to the folder `default`, or not at all if that is None."""
    usual = "not written" if default is None else "the current folder"
    command.add_argument(
        "--output",
        type=expand_user,
        default=default,
        metavar="FOLDER",
        help=f"the folder for {files} (default: {usual})",
    )


def check_output(folder: str, *files: str) -> Path:
    """Return the folder of --output, which can be created later if it is missing.

    Args:
        files: the names of the files that will be written into it.

    Raises:
        ConfigError: it, or a folder on the path to it, is a file or a link to nothing.
        OutputError: it, or one of the files, cannot be written.
    """
    path = Path(os.path.abspath(folder))
    existing = next(one for one in (path, *path.parents) if os.path.lexists(one))
    shown = os.path.relpath(existing) if not os.path.isabs(folder) else str(existing)
    if not existing.is_dir():
        kind = "file" if os.path.exists(existing) else "broken link"
        found = f"the {kind} {folder}" if existing == path else f"{folder!r} in the {kind} {shown}"
        raise ConfigError(f"--output: expected a folder, got {found}")
    with output_errors(folder):
        error = find_write_error(shown)
        if error is not None:
            raise error
        targets = [os.path.join(folder, name) for name in files]
        for target in (folder, *targets):
            with suppress(FileNotFoundError):
                os.lstat(target)  # raises an error if a name is too long
        blocked = next((one for one in targets if os.path.isdir(one) and not os.path.islink(one)), None)
        if blocked is not None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), blocked)
    return Path(folder)


@contextmanager
def output_errors(path: object) -> Iterator[None]:
    """Raise errors of the system as `OutputError`s about --output; `path` is shown for errors without a file name.

    Nothing may be printed inside, since a closed standard output is another error.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(error.filename or path, error, "--output") from error
