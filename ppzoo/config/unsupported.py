"""What PaddleClas's schema can ask for and ppzoo does not do: one row each, one sentence each.

Who builds a feature deletes its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ppzoo.config.type_checks import Problem


class Row(NamedTuple):
    """A request that is refused.

    Attributes:
        path: key path; `*` stands for any key.
        asked: whether the value found there asks for the feature.
        sentence: what the user is told.
        is_all: the whole configuration is of another kind, so that nothing else is worth reporting.
    """

    path: str
    asked: Callable[[Any], bool]
    sentence: str
    is_all: bool = False


def _given(value: Any) -> bool:
    return value is not None


def _true(value: Any) -> bool:
    return value is True


LEGACY = (
    "configurations of PaddleClas 1.x (ARCHITECTURE, TRAIN, ...) are not supported; write Arch, DataLoader, ... instead"
)
RETRIEVAL = "retrieval and feature models (RecModel, Query and Gallery) are not supported; ppzoo trains classifiers"

ROWS = [
    *(
        Row(key, lambda value: True, LEGACY, is_all=True)
        for key in ("ARCHITECTURE", "LEARNING_RATE", "OPTIMIZER", "TRAIN", "VALID", "classes_num")
    ),
    Row("Arch.name", lambda value: value == "RecModel", RETRIEVAL, is_all=True),
    Row("Global.eval_mode", lambda value: value == "retrieval", RETRIEVAL, is_all=True),
    Row("DataLoader.Eval.Query", _given, RETRIEVAL, is_all=True),
    Row("DataLoader.Eval.Gallery", _given, RETRIEVAL, is_all=True),
    Row("Arch.infer_output_key", _given, "the output of an inner layer is not supported; leave the key out"),
    Row(
        "Arch.infer_add_softmax",
        lambda value: value is False,
        "exports and answers are probabilities; leave the key out",
    ),
    Row("Global.feature_normalize", _true, RETRIEVAL),
    Row("Global.feature_binarize", _given, RETRIEVAL),
    Row(
        "Global.use_dali",
        _true,
        "DALI is not supported; set it to False, and PaddlePaddle's own loader reads the images",
    ),
]


def unsupported(config: Mapping[str, Any]) -> Iterator[tuple[Row, Problem]]:
    """The rows that a configuration hits, each with where and what to say."""
    for row in ROWS:
        for path, value in _find(config, row.path.split("."), ""):
            if row.asked(value):
                yield row, Problem(path, row.sentence)


def _find(place: Any, parts: list[str], path: str) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield path, place
    elif isinstance(place, Mapping):
        for key in place if parts[0] == "*" else [parts[0]] if parts[0] in place else []:
            yield from _find(place[key], parts[1:], f"{path}.{key}" if path else str(key))
