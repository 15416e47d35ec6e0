"""Apply transforms to generated images, to measure the shape of their results and to compare two lists of transforms.

The transforms of evaluation and inference are compared by their results, so that lists that differ only in explicit
defaults or in the position of `ToCHWImage` are equal.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from ppzoo import data
from ppzoo.builders.component_factory import build_transforms, make
from ppzoo.config import ComponentSpec, Config
from ppzoo.data.datasets import ImageFiles, TarShards
from ppzoo.data.transforms.pixels import channels_last
from ppzoo.errors import ConfigError, DataError, errors_with_key

logger = logging.getLogger("ppzoo")

EVAL, INFER = "DataLoader.Eval.dataset.transform_ops", "Infer.transforms"
TRIAL_SIZES = (1024, 1280), (1280, 1024)  # height x width; larger than usual outputs
PIXEL_TOLERANCE = 1e-3  # relative to the largest value; half precision rounds by half of that


class Step(NamedTuple):
    """A transform of a list.

    Attributes:
        position: its index in the list.
        results: each trial image after this transform, or the error.
    """

    position: int
    spec: ComponentSpec
    results: list[np.ndarray | str]


def make_trial_images(channels: int = 3) -> list[np.ndarray]:
    """Return a landscape and a portrait image of noise, H x W x `channels` uint8."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, channels), dtype=np.uint8) for size in TRIAL_SIZES]


def measure_image_shape(ops: Sequence[ComponentSpec], channels: int, path: str) -> list[int | None]:
    """Return channels, height and width of the images that transforms produce; None where a size depends on the image.

    Args:
        channels: channels of the images before the transforms.
        path: key of `ops` in the configuration, for messages.

    Raises:
        ConfigError: the transforms cannot be applied to images.
    """
    with errors_with_key(path):
        apply = build_transforms(ops, key=path)
    shapes = []
    for image in make_trial_images(channels):
        try:
            result = apply(image, np.random.default_rng(0))
        except DataError as error:
            raise ConfigError(f"{path}: {error}") from error
        shapes.append(result.shape if apply.channel_first else (result.shape[2], *result.shape[:2]))
    return [one if one == other else None for one, other in zip(*shapes, strict=True)]


def require_image_shape(ops: Sequence[ComponentSpec], expected: Sequence[int]) -> None:
    """Check that `Infer.transforms` produce images of the shape of the exported network's input.

    Raises:
        ConfigError: they produce another shape.
    """
    measured = measure_image_shape(ops, channels=3, path=INFER)
    if measured != list(expected):
        text = f"{INFER}: expected images of Global.image_shape {list(expected)}, got {_format_shape(measured)}"
        raise ConfigError(text + _shape_fix(measured, "; use"))


def log_ignored_keys(config: Config) -> None:
    """Log which keys of PaddleClas's files have no effect."""
    if config.Global.use_dali:
        logger.info("Global.use_dali: ignored, since DALI is not supported; ppzoo's loader reads the images")


def warn_of_image_shape(config: Config) -> None:
    """Log a warning if `Infer.transforms` do not produce images of `Global.image_shape`, which `export` requires.

    This is not an error: PaddleClas's files can have another `Global.image_shape`, which users set with `-o` to export.
    """
    try:
        measured = measure_image_shape(config.Infer.transforms or (), channels=3, path=INFER)
    except ConfigError:
        return  # the transforms cannot be applied, which predictions and exports report
    expected = config.Global.image_shape
    if config.Infer.transforms and measured != list(expected):
        logger.warning(
            "%s produce images of %s, not of Global.image_shape %s; this does not affect training, but the export%s",
            INFER,
            _format_shape(measured),
            list(expected),
            _shape_fix(measured, " needs") or " needs a fixed size",
        )


def _format_shape(measured: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in measured)}]"


def _shape_fix(measured: Sequence[int | None], verb: str) -> str:
    """Return the end of a message: the override that sets the shape of the images; nothing if sizes can differ."""
    return "" if None in measured else f"{verb} -o Global.image_shape=[{','.join(map(str, measured))}]"


def find_missing_decoding(config: Config) -> list[str]:
    """Return the mistake of each list of transforms that gets image files but does not begin with `DecodeImage`."""
    lists = {INFER: config.Infer.transforms}
    for key, split in (("Train", config.DataLoader.Train), ("Eval", config.DataLoader.Eval)):
        dataset = data.DATASETS.get(split.dataset.spec.name) if split else None
        if split and isinstance(dataset, type) and issubclass(dataset, (ImageFiles, TarShards)):
            lists[f"DataLoader.{key}.dataset.transform_ops"] = split.dataset.transforms
    return [
        f"{path}: expected DecodeImage as the first transform, since the images are files, got"
        f" {ops[0].name if ops else 'no transforms'}; add `- DecodeImage: {{}}`"
        for path, ops in lists.items()
        if ops is not None and not (ops and ops[0].name == "DecodeImage")
    ]


def warn_of_preprocessing(config: Config) -> None:
    """Log the first step in which the preprocessing of inference differs from that of evaluation."""
    text = find_preprocessing_difference(config)
    if text:
        logger.warning(text)


def find_preprocessing_difference(config: Config) -> str | None:
    """Return what `warn_of_preprocessing` logs; None if there is no difference, or if a list is missing or empty."""
    split = config.DataLoader.Eval
    evaluation, inference = split.dataset.transforms if split else (), config.Infer.transforms
    if not evaluation or not inference:
        return None
    decodings = [spec for spec in (evaluation[0], inference[0]) if spec.name == "DecodeImage"]
    expected, got = _apply_steps(evaluation, decodings), _apply_steps(inference, decodings)
    if expected and got and all(map(_is_alike, expected[-1].results, got[-1].results)):
        return None
    for one, other in zip_longest(expected, got):
        if one is None or other is None or not _is_equivalent(one, other):
            return _describe_difference(one, other, len(evaluation), len(inference))
    return None


def _apply_steps(ops: Sequence[ComponentSpec], decodings: Sequence[ComponentSpec]) -> list[Step]:
    """Return the steps of a list without transpositions, and without decoding if only one of the two lists decodes.

    Args:
        decodings: the `DecodeImage` at the beginning of each of the two lists that has one. If only the other list has
            one, it is applied to the trial images before `ops`.
    """
    has_decoding = bool(ops) and ops[0].name == "DecodeImage"
    images: list[Any] = list(make_trial_images())
    for spec in decodings[:1] if not has_decoding else ():
        images = [_apply(spec, image) for image in images]
    steps: list[Step] = []
    for position, spec in enumerate(ops):
        images = [_apply(spec, image) for image in images]
        results = [image if isinstance(image, str) else channels_last(image) for image in images]
        if spec.name == "ToCHWImage" and steps:
            steps[-1] = steps[-1]._replace(results=results)
        elif spec.name != "ToCHWImage" and (spec.name != "DecodeImage" or len(decodings) == 2):
            steps.append(Step(position, spec, results))
    return steps


def _apply(spec: ComponentSpec, image: np.ndarray | str) -> np.ndarray | str:
    if isinstance(image, str):
        return image
    try:
        return make(data.TRANSFORMS, spec)(image, np.random.default_rng(0))
    except DataError as error:
        return f"{spec.name}: {error}"


def _is_equivalent(one: Step, other: Step) -> bool:
    """Return whether a step of each list give similar images; if both fail, whether they are the same transform."""
    if all(isinstance(result, str) for result in (*one.results, *other.results)):
        return one.spec.name == other.spec.name and _all_options(one.spec) == _all_options(other.spec)
    return all(map(_is_alike, one.results, other.results))


def _is_alike(one: np.ndarray | str, other: np.ndarray | str) -> bool:
    if isinstance(one, str) or isinstance(other, str) or one.shape != other.shape:
        return False
    one, other = one.astype(np.float32), other.astype(np.float32)
    return bool(np.abs(one - other).max() <= PIXEL_TOLERANCE * np.abs(one).max())


def _describe_difference(one: Step | None, other: Step | None, count: int, other_count: int) -> str:
    expected, got = _describe_step(one, other), _describe_step(other, one)
    positions = [step.position if step else end for step, end in ((one, count), (other, other_count))]
    return (
        f"{INFER}.{positions[1]}: expected {expected}, as in {EVAL}.{positions[0]}, got {got}: images are preprocessed"
        " differently than in evaluation, so predictions will be less accurate"
    )


def _describe_step(step: Step | None, other: Step | None) -> str:
    """Return a step as text with its given options; if `other` has the same name, only those options that differ.

    If no option differs, all given options are shown.
    """
    if step is None:
        return "no further step"
    options = dict(step.spec.options)
    if other is not None and other.spec.name == step.spec.name:
        mine, theirs = _all_options(step.spec), _all_options(other.spec)
        options = {key: value for key, value in mine.items() if value != theirs[key]} or options
    return f"{step.spec.name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def _all_options(spec: ComponentSpec) -> dict[str, Any]:
    bound = inspect.signature(data.TRANSFORMS[spec.name]).bind(**spec.options)
    bound.apply_defaults()
    return dict(bound.arguments)
