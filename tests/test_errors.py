"""The exceptions can be copied and sent between processes, as `multiprocessing` does with those of its workers."""

import copy
import pickle
import signal
from pathlib import Path

import pytest

from ppzoo.builders.rebuilding import NotRebuiltError
from ppzoo.errors import (
    BatchError,
    ConfigError,
    DataError,
    Interrupted,
    OutputError,
    PpzooError,
    UnknownNameError,
)

ERRORS = [
    PpzooError("x", "; in Python"),
    ConfigError("a: x", "b: y"),
    UnknownNameError("architecture", "LeNt", ["LeNet"]),
    BatchError({1: DataError("x")}, [{"class_ids": [0]}, None]),
    Interrupted(signal.SIGTERM),
    OutputError("x", OSError(28, "No space left on device")),
    NotRebuiltError(Path("x"), "y"),
]


@pytest.mark.parametrize("make", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_of_an_error_is_equal_to_it(error, make):
    found = make(error)
    assert type(found) is type(error)
    assert (str(found), found.line, found.exit_status) == (str(error), error.line, error.exit_status)
    assert getattr(found, "problems", None) == getattr(error, "problems", None)
