"""The errors that a user may meet: each says in one line what was expected, what was received and how to mend it.

The command line prints the line without a traceback and ends with the class's `exit_status`:
2 where the user's input is wrong, 1 where a correctly described run failed.
"""

from __future__ import annotations

import difflib
import errno
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Control characters, and those that change the direction of writing.
_OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class PpzooError(Exception):
    """Base of all of them; what a name in the text has of line ends is shown as such.

    Args:
        python_hint: ends the text for callers in Python; the command line, where it does not help, prints `line`.
    """

    exit_status = 2

    def __init__(self, text: object, python_hint: str = "") -> None:
        self.line = one_line(text)
        super().__init__(self.line + python_hint)


class ConfigError(PpzooError):
    """A configuration or a command line that cannot be carried out. `problems` has one line each."""

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(map(one_line, problems))
        self.line = "; ".join(self.problems)
        Exception.__init__(self, "\n".join(self.problems))


class UnknownNameError(ConfigError):
    """A name that a registry does not hold."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}{suggestion(name, known)}")


class WeightsError(PpzooError):
    """A weight file that cannot be read, must not be read, or does not fit the network."""


class DataError(PpzooError):
    """A dataset or an image that is missing, broken or labeled wrongly."""


class BatchError(DataError):
    """Images of a batch that could not be predicted, while the others were.

    Attributes:
        errors: index of each of these images -> what is wrong with it.
        results: the predictions of all images in their order; None where there is an error.
    """

    SHOWN = 3

    def __init__(self, errors: Mapping[int, DataError], results: Sequence[Any]) -> None:
        self.errors, self.results = dict(errors), list(results)
        shown = [f"images[{index}]: {error}" for index, error in list(self.errors.items())[: self.SHOWN]]
        more = [f"{len(self.errors) - self.SHOWN} more"] if len(self.errors) > self.SHOWN else []
        count = f"{len(self.errors)} of {len(self.results)} images cannot be predicted"
        super().__init__(f"{count}: {'; '.join(shown + more)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors, self.results)


class CheckpointError(PpzooError):
    """A checkpoint that is damaged or belongs to another run."""


class DeviceError(PpzooError):
    """PaddlePaddle is missing, or the device that was asked for is."""


class TrainingError(PpzooError):
    """A run that went wrong on its way, through no fault of its description."""

    exit_status = 1


class NotFiniteError(TrainingError):
    """A loss or gradients that are not finite."""


class Interrupted(PpzooError):
    """A run that stopped because a signal asked it to; the exit status is the shell's, 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; --resume auto goes on from here")
        self.exit_status = 128 + number


def printable(text: object) -> str:
    """The text with escapes in the place of characters that a terminal obeys; ends of lines and tabs stay.

    Names come from files that anybody may have made. What is JSON stays JSON.
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


# What a path that a user gave can be wrong about; all else (a full disk, no permission, ...) is the system's.
WRONG_PATH = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO),
)


class OutputError(PpzooError):
    """A file that cannot be written: the path is wrong (exit status 2), or the system refuses (1)."""

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(f"cannot write {path}: {error.strerror or error}")
        self.exit_status = status_of_failure(error)


def describe_failure(error: OSError) -> str:
    """'PATH: No space left on device', or what is known of it."""
    reason = str(error.strerror or error or type(error).__name__)
    return one_line(reason if error.filename is None else f"{_text(error.filename)}: {reason}")


def status_of_failure(error: OSError) -> int:
    """The exit status of a command that a call of the system ended."""
    return 2 if error.errno in WRONG_PATH else 1


def _text(name: object) -> str:
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name)


def one_line(text: object) -> str:
    """The printable text with its line ends written as a backslash and n."""
    return printable("\\n".join(str(text).splitlines()))


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """Return the name among `known` that is most like `name`; None if none is similar."""
    lowered = {candidate.lower(): candidate for candidate in sorted(known)}
    near = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.6)
    return lowered[near[0]] if near else None


def suggestion(name: object, known: Iterable[str]) -> str:
    """'; did you mean X?' with the nearest of `known`, or the whole list where it is short and nothing is near."""
    names = sorted(known)
    near = nearest_name(name, names)
    if near:
        return f"; did you mean {near!r}?"
    return f"; known: {', '.join(names)}" if len(names) <= 30 else f"; {len(names)} are known"
