"""Profile the training of a configuration: its steps, and the reading of its images by transform."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import paddle

from ppzoo import data, engine
from ppzoo.builders.tuning import build_trial_run, make_configured_optimizer
from ppzoo.config import Config
from ppzoo.data.loader import Loader
from ppzoo.data.transforms import Compose, find_partial_decoding
from ppzoo.data.transforms.crop import ResizedCrop
from ppzoo.data.transforms.decode import ReducedDecode
from ppzoo.data.transforms.sample_labels import LabelingGenerator
from ppzoo.errors import ConfigError, DataError

MEASURED_IMAGES = 64
READ_FILE = "read the file"
READ_CACHE, NOT_CACHED = "read from the cache", "decode (the image is not in the cache)"
TO_TENSORS = "normalize and copy to tensors"


class ReadingTimes(NamedTuple):
    """The time to read `images` images in one process, in seconds, by transform and batch transform.

    Attributes:
        workers: number of processes that read while training.
        has_cache: the images were in `dataset.cache`, as after the first epoch, unless it is full.
    """

    images: int
    seconds: dict[str, float]
    workers: int
    has_cache: bool


class TrainingProfile(NamedTuple):
    """The profile of training steps and of reading images; `device` is the device that computed the steps."""

    steps: engine.Profile
    reading: ReadingTimes
    device: str


def profile_training(
    config: Config, steps: int, on_steps: Callable[[int], object] = lambda count: None
) -> TrainingProfile:
    """Profile `steps` training steps, with everything as in training.

    Args:
        on_steps: called with the number of steps that have just been made.

    Raises:
        ConfigError: too few steps, or an error that training would report, too.
    """
    require_steps(steps)
    run = build_trial_run(config, make_configured_optimizer(config))
    profiler = engine.Profiler(run.trainer.state.model, engine.device_clock())
    # Replace `_take` before the first epoch: an epoch looks the method up only once, when it starts.
    setattr(run.loader, "_take", profiler.timed(run.loader._take, TO_TENSORS))  # noqa: B010
    profile = engine.profile_training(run.trainer, steps, profiler, on_steps)
    return TrainingProfile(profile, measure_reading(run.loader), paddle.get_device())


def require_steps(steps: int) -> None:
    """Check the number of steps.

    Raises:
        ConfigError: there are none.
    """
    if steps < 1:
        raise ConfigError(f"--steps: expected at least 1, got {steps}")


def measure_reading(loader: Loader, images: int = MEASURED_IMAGES) -> ReadingTimes:
    """Read some images as training reads them, but in this process, and time each transform.

    With a cache, the images are cached before the measurement. Images that cannot be read are skipped.
    """
    samples, timer = loader.samples, _Timer()
    pixels: list[np.ndarray] = []
    labels: list[Any] = []
    for key in islice(chain.from_iterable(loader.sampler.batches(0)), images):
        random = LabelingGenerator((samples.seed, *key))
        try:
            source, label = _time_source(samples, key[1], timer)
            image = _time_transforms(samples, source, random, timer)
        except DataError:
            continue
        pixels.append(image)
        labels.append(random.labels[samples.transform_label] if samples.transform_label else label)
    last = samples.transforms.last
    # Transforms do not declare the type of their results, so `Samples` decides by the type of the image, too.
    if pixels and last is not None and pixels[0].dtype == np.uint8:
        pixels = list(timer.call(type(last).__name__, lambda: samples.normalize(np.stack(pixels))))
    if pixels and loader.reader.batch_transforms:
        batch, targets, generator = np.stack(pixels), np.array(labels), np.random.default_rng(samples.seed)
        for change in loader.reader.batch_transforms:
            batch, targets = timer.call(type(change).__name__, lambda: change(batch, targets, generator))  # noqa: B023
    return ReadingTimes(len(pixels), dict(timer.seconds), loader.num_workers, samples.cache is not None)


class _Timer:
    """Sums the times of calls by name, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def call(self, name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds[name] += time.perf_counter() - start


def _time_source(samples: data.Samples, index: int, timer: _Timer) -> tuple[Any, Any]:
    """Return the file of an image, or the image from the cache, and its label."""
    cache = samples.cache
    if cache is None:
        return timer.call(READ_FILE, lambda: samples.dataset[index])
    cache[index]
    is_stored = cache.store.get(index, cache.dataset.version(index)) is not None
    return timer.call(READ_CACHE if is_stored else NOT_CACHED, lambda: cache[index])


def _time_transforms(
    samples: data.Samples, image: bytes | np.ndarray, random: np.random.Generator, timer: _Timer
) -> np.ndarray:
    """Return an image after its transforms, except the normalization of batches."""
    transforms = samples.transforms if samples.cache is None else samples.cache.rest
    steps = transforms.before if transforms.last is not None else transforms.transforms
    if isinstance(image, bytes) and find_partial_decoding(steps):
        pair, steps = steps[:2], steps[2:]
        image = timer.call(" + ".join(map(_name, pair)), lambda: Compose(pair)(image, random))
    for step in steps:
        image = timer.call(_name(step), lambda: Compose([step])(image, random))  # noqa: B023
    return np.asarray(image)


def _name(transform: object) -> str:
    """Return the name of a transform in configurations; of two transforms that were fused into one, both names."""
    if isinstance(transform, ResizedCrop):
        return f"{_name(transform.resize)} + {_name(transform.crop)}"
    if isinstance(transform, ReducedDecode):
        return f"{_name(transform.decode)} + {_name(transform.resize)}"
    return type(transform).__name__
