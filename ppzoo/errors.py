"""The exceptions that ppzoo raises for users: one line with what was expected, what was received, and the fix.

The command line prints this line without a traceback and exits with the class's `exit_status`:
2 if the user's input is wrong, 1 if a valid run failed.
"""

from __future__ import annotations

import difflib
import errno
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from ppzoo.synonyms import SYNONYMS, find_synonym

MAX_SHOWN_IMAGES = 3  # number of images that an error names
# Control characters, and those that change the writing direction.
_CONTROL_CHARACTERS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class PpzooError(Exception):
    """Base class; line breaks and control characters in the text are escaped.

    Args:
        python_hint: appended to the message for callers in Python; the command line prints `line`, without it.
    """

    exit_status = 2

    def __init__(self, text: object, python_hint: str = "") -> None:
        self.line = one_line(text)
        super().__init__(self.line + python_hint)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy without `__init__`, which takes other arguments than `args` in most subclasses."""
        return _create_error, (type(self), *self.args), self.__dict__

    def add_key(self, key: str) -> None:
        """Let the message, or each of its lines, begin with the key or option that it is about; see `join_key`."""
        self.rewrite(partial(join_key, key))

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Replace the message, or each of its lines, by what `change` returns for it."""
        self.line = change(self.line)
        self.args = (change(str(self.args[0])),)


def _create_error(kind: type[PpzooError], *args: object) -> PpzooError:
    return kind.__new__(kind, *args)


class ConfigError(PpzooError):
    """An invalid configuration or command line.

    Attributes:
        problems: one line for each mistake.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(map(one_line, problems))
        self.line = "; ".join(self.problems)
        Exception.__init__(self, "\n".join(self.problems))

    def rewrite(self, change: Callable[[str], str]) -> None:
        ConfigError.__init__(self, *map(change, self.problems))


class ConfigFileError(ConfigError):
    """A configuration file that is missing, cannot be read, or is not a YAML mapping."""


class UnknownNameError(ConfigError):
    """A name that is not in a registry."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}{suggestion(name, known, kind)}")


class WeightsError(PpzooError):
    """A weight file that cannot be read, is not safe to read, or does not match the network."""


class DataError(PpzooError):
    """A dataset or an image that is missing, damaged or has an invalid label."""


class BatchError(DataError):
    """Some images of a batch could not be predicted; the predictions of the other images are in `results`.

    Attributes:
        errors: index of an image -> its error.
        results: the predictions in the order of the images, with None for those in `errors`.
    """

    MAX_SHOWN = 3

    def __init__(self, errors: Mapping[int, DataError], results: Sequence[Any]) -> None:
        self.errors, self.results = dict(errors), list(results)
        shown = [f"images[{index}]: {error}" for index, error in list(self.errors.items())[: self.MAX_SHOWN]]
        more = [f"{len(self.errors) - self.MAX_SHOWN} more"] if len(self.errors) > self.MAX_SHOWN else []
        count = f"{len(self.errors)} of {len(self.results)} images cannot be predicted"
        super().__init__(f"{count}: {'; '.join(shown + more)}")

    def results_or_errors(self) -> list[Any]:
        """Return the prediction or the error of each image."""
        return [self.errors.get(index, result) for index, result in enumerate(self.results)]


class CheckpointError(PpzooError):
    """A checkpoint that is damaged or belongs to another run."""


class DeviceError(PpzooError):
    """PaddlePaddle or the requested device is not available."""


class TrainingError(PpzooError):
    """A run with valid input failed."""

    exit_status = 1


class NotFiniteError(TrainingError):
    """The loss or the gradients are not finite."""


class Interrupted(PpzooError):
    """A run was stopped by a signal; the exit status is 128 + the signal's number, as in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; resume with --resume auto")
        self.exit_status = 128 + number


@contextmanager
def errors_with_key(key: str) -> Iterator[None]:
    """Let the messages of errors that are raised inside begin with the key or option that they are about."""
    try:
        yield
    except PpzooError as error:
        error.add_key(key)
        raise


@contextmanager
def errors_with_fixes(fixes: Mapping[str, str]) -> Iterator[None]:
    """Replace fixes in the messages of errors that are raised inside, where there is no configuration to correct.

    Args:
        fixes: regular expression for the fix of a configuration -> what to do instead.
    """

    def change(text: str) -> str:
        for pattern, fix in fixes.items():
            text = re.sub(pattern, fix, text)
        return text

    try:
        yield
    except PpzooError as error:
        error.rewrite(change)
        raise


def join_key(key: str, problem: str) -> str:
    """Return 'KEY: PROBLEM'; 'KEY.OPTION: ...' for a problem '.OPTION: ...'; a problem with the key is unchanged."""
    if problem.startswith((f"{key}:", f"{key}.")):
        return problem
    return f"{key}{problem}" if problem.startswith(".") else f"{key}: {problem}"


def printable(text: object) -> str:
    """Escape the characters that control a terminal, except line breaks and tabs; valid JSON stays valid.

    File names and label names can come from untrusted sources.
    """
    return _CONTROL_CHARACTERS.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


MIN_SIMILARITY, MIN_SIMILARITY_OF_SHORT, SHORT = 0.6, 0.7, 7  # of suggested names; SHORT letters count as short
MIN_SIMILARITY_OF_COMPONENTS = 0.8  # their names share words: RandomAffine is not a typing error of RandomErasing

# The mistakes that a user's path can have; all other errors (disk full, no permission, ...) are system failures.
PATH_ERRNOS = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO),
)


class OutputError(PpzooError):
    """A file cannot be written: the path is wrong (exit status 2), or the system failed (1).

    Args:
        key: the key that names the path; the message begins with it if the path is wrong.
    """

    def __init__(self, path: object, error: OSError, key: str = "") -> None:
        super().__init__(f"cannot write {path}: {error.strerror or error}")
        self.exit_status = exit_status_of(error)
        if key and self.exit_status == PpzooError.exit_status:
            self.add_key(key)


def describe_os_error(error: OSError) -> str:
    """Return 'PATH: REASON', such as 'output/log: No space left on device', or only the reason without a path."""
    reason = str(error.strerror or error or type(error).__name__)
    return one_line(reason if error.filename is None else f"{_decode_name(error.filename)}: {reason}")


def exit_status_of(error: OSError) -> int:
    """Return the exit status of a command that failed with `error`."""
    return 2 if error.errno in PATH_ERRNOS else 1


def _decode_name(name: object) -> str:
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name)


def one_line(text: object) -> str:
    """Return `printable(text)` with line breaks replaced by a backslash and n."""
    return printable("\\n".join(str(text).splitlines()))


def count_text(count: int, noun: str) -> str:
    """Return '1 image', '2 images', '2 classes'."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def with_article(noun: str) -> str:
    """Return 'an int', 'a str'."""
    return f"{'an' if noun[0] in 'aeiouAEIOU' else 'a'} {noun}"


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """Return the most similar of the `known` names; None if none is similar."""
    lowered = {candidate.lower(): candidate for candidate in sorted(known)}
    near = nearest_text(str(name).lower(), lowered)
    return lowered[near] if near else None


def nearest_text(text: str, known: Iterable[str]) -> str | None:
    """Return the most similar of the `known` texts; None if none is similar.

    Short texts have to share more letters than long ones. If none is similar and `text` has at least four letters, the
    result is the first known text that begins with `text`.
    """
    cutoff = MIN_SIMILARITY if len(text) > SHORT else MIN_SIMILARITY_OF_SHORT
    candidates = list(known)
    near = difflib.get_close_matches(text, candidates, n=1, cutoff=cutoff)
    if near:
        return near[0]
    longer = sorted(candidate for candidate in candidates if len(text) >= 4 and candidate.startswith(text))
    return longer[0] if longer else None


def nearest_component(name: object, known: Iterable[str]) -> str | None:
    """Return the component whose name is very similar to `name`, or else contains it; None if there is none.

    Only names of at least four letters are searched in other names.
    """
    text = str(name).lower()
    lowered = {candidate.lower(): candidate for candidate in sorted(known)}
    near = difflib.get_close_matches(text, lowered, n=1, cutoff=MIN_SIMILARITY_OF_COMPONENTS)
    containing = sorted((other for other in lowered if len(text) >= 4 and text in other), key=len)
    return lowered[(near or containing)[0]] if near or containing else None


# Commands that list all names of a kind.
LISTED_BY = {
    "architecture": "ppzoo models",
    "configuration": "ppzoo configs",
    "official weights": "ppzoo weights list",
}
MAX_LISTED = 60


def suggestion(name: object, known: Iterable[str], kind: str = "") -> str:
    """Return '; did you mean X?' with the most similar of `known`.

    If none is similar, return the command that lists all names, the names, or three of them if there are very many.

    For a component, the name that another library has for it counts as similar.

    Args:
        kind: what the names are for, such as "architecture".
    """
    names = sorted(known)
    synonym = find_synonym(kind, name)
    if synonym:
        return f"; did you mean {synonym}?"
    near = nearest_component(name, names) if kind in SYNONYMS else nearest_name(name, names)
    if near:
        return f"; did you mean {near!r}?"
    if kind in LISTED_BY:
        return f"; `{LISTED_BY[kind]}` lists all names"
    if len(names) <= MAX_LISTED:
        return f"; available: {', '.join(names)}"
    return f"; {len(names)} names are available, such as {', '.join(names[:3])}"
