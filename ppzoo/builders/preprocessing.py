"""Whether inference preprocesses images as the evaluation does, whose accuracy it would not reach otherwise.

Both lists of transforms are tried on two images of noise, so that what is written differently and does the same is no
difference: defaults that are spelled out, or another place of `ToCHWImage`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from ppzoo import data
from ppzoo.builders.components import Section, make, named_options
from ppzoo.errors import DataError

logger = logging.getLogger("ppzoo")

EVAL, INFER = "DataLoader.Eval.dataset.transform_ops", "Infer.transforms"
TRIED = ((600, 800), (800, 600))
TOLERANCE = 1e-3  # of the largest value; half precision rounds by half of that


class Step(NamedTuple):
    """A transform of a list.

    Attributes:
        place: its index in the list.
        results: what the list has made of each image so far, or the error.
    """

    place: int
    name: str
    options: Section
    results: list[np.ndarray | str]


def warn_of_preprocessing(config: Section) -> None:
    """Log the first step in which inference preprocesses images otherwise than the evaluation."""
    text = preprocessing_difference(config)
    if text:
        logger.warning(text)


def preprocessing_difference(config: Section) -> str | None:
    """What `warn_of_preprocessing` logs; None where there is no difference, or only one of the two lists."""
    split = (config.get("DataLoader") or {}).get("Eval") or {}
    evaluation, inference = split.get("dataset", {}).get("transform_ops"), (config.get("Infer") or {}).get("transforms")
    if not evaluation or not inference:
        return None
    decodings = [op for op in (*evaluation[:1], *inference[:1]) if "DecodeImage" in op]
    expected, received = _steps(evaluation, decodings), _steps(inference, decodings)
    if expected and received and all(map(_alike, expected[-1].results, received[-1].results)):
        return None
    for one, other in zip_longest(expected, received):
        if one is None or other is None or not _does_the_same(one, other):
            return _text(one, other, len(evaluation), len(inference))
    return None


def _steps(ops: Sequence[Section], decodings: Sequence[Section]) -> list[Step]:
    """The steps of a list, but for its transpositions and decoding.

    Args:
        decodings: that of the other list decodes where this one has none, since its images are decoded already.
    """
    own = bool(ops) and "DecodeImage" in ops[0]
    random = np.random.default_rng(0)
    images: list[Any] = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in TRIED]
    for name, options in named_options(decodings[:1]) if not own else ():
        images = [_apply(name, options, image) for image in images]
    steps: list[Step] = []
    for place, (name, options) in enumerate(named_options(ops)):
        images = [_apply(name, options, image) for image in images]
        results = [image if isinstance(image, str) else _channels_last(image) for image in images]
        if name == "ToCHWImage" and steps:
            steps[-1] = steps[-1]._replace(results=results)
        elif name != "ToCHWImage" and (name != "DecodeImage" or len(decodings) == 2):
            steps.append(Step(place, name, options or {}, results))
    return steps


def _apply(name: str, options: Section | None, image: np.ndarray | str) -> np.ndarray | str:
    if isinstance(image, str):
        return image
    try:
        return make(data.TRANSFORMS, name, options)(image, np.random.default_rng(0))
    except DataError as error:
        return f"{name}: {error}"


def _channels_last(image: np.ndarray) -> np.ndarray:
    return image if image.shape[2] <= 4 else image.transpose(1, 2, 0)


def _does_the_same(one: Step, other: Step) -> bool:
    """Whether the images are alike so far; where they were no images for the lists, what is written decides."""
    if all(isinstance(result, str) for result in (*one.results, *other.results)):
        return one.name == other.name and _all_options(one) == _all_options(other)
    return all(map(_alike, one.results, other.results))


def _alike(one: np.ndarray | str, other: np.ndarray | str) -> bool:
    if isinstance(one, str) or isinstance(other, str) or one.shape != other.shape:
        return False
    one, other = one.astype(np.float32), other.astype(np.float32)
    return bool(np.abs(one - other).max() <= TOLERANCE * np.abs(one).max())


def _text(one: Step | None, other: Step | None, count: int, other_count: int) -> str:
    expected, received = _description(one, other), _description(other, one)
    places = [step.place if step else end for step, end in ((one, count), (other, other_count))]
    return (
        f"{INFER}.{places[1]}: expected {expected}, as {EVAL}.{places[0]} has it, got {received}: images are"
        " preprocessed otherwise than in the evaluation, whose accuracy predictions will not reach"
    )


def _description(step: Step | None, other: Step | None) -> str:
    """A step with the options in which it differs from another of its name, or with all that it gives."""
    if step is None:
        return "no further step"
    options = dict(step.options)
    if other is not None and other.name == step.name:
        mine, theirs = _all_options(step), _all_options(other)
        options = {key: value for key, value in mine.items() if value != theirs[key]} or options
    return f"{step.name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def _all_options(step: Step) -> dict[str, Any]:
    bound = inspect.signature(data.TRANSFORMS[step.name]).bind(**step.options)
    bound.apply_defaults()
    return dict(bound.arguments)
