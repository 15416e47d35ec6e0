"""Profile the training of a configuration: its steps, and the reading of its images by transform."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import paddle

from ppzoo import engine
from ppzoo.builders.tuning import build_trial_run, make_configured_optimizer
from ppzoo.config import Config
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, DataError

MEASURED_IMAGES = 64
READ_FILE = "read the file"
TO_TENSORS = "normalize and copy to tensors"


class ReadingTimes(NamedTuple):
    """The time to read `images` images in one process, in seconds, by transform and batch transform.

    workers: number of processes that read while training.
    """

    images: int
    seconds: dict[str, float]
    workers: int


class TrainingProfile(NamedTuple):
    """The profile of some steps, and of reading; `device` is the device that computed."""

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
        ConfigError: too few steps; and what training would refuse.
    """
    if steps < 1:
        raise ConfigError(f"--steps: expected at least 1, got {steps}")
    run = build_trial_run(config, make_configured_optimizer(config))
    profiler = engine.Profiler(run.trainer.state.model, engine.device_clock())
    # Replaced before the first epoch starts, since the epoch keeps the method that it finds.
    setattr(run.loader, "_take", profiler.timed(run.loader._take, TO_TENSORS))  # noqa: B010
    profile = engine.profile_training(run.trainer, steps, profiler, on_steps)
    return TrainingProfile(profile, measure_reading(run.loader), paddle.get_device())


def measure_reading(loader: Loader, images: int = MEASURED_IMAGES) -> ReadingTimes:
    """Read some images in this process and time each transform; images that cannot be read are skipped."""
    samples, seconds = loader.samples, defaultdict[str, float](float)
    transforms = samples.transforms
    last = len(transforms.before) if transforms.last is not None else len(transforms.transforms)
    pixels: list[np.ndarray] = []
    labels: list[Any] = []

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        finally:
            seconds[name] += time.perf_counter() - start

    for epoch, index in islice(chain.from_iterable(loader.sampler.batches(0)), images):
        random = np.random.default_rng((samples.seed, epoch, index))
        try:
            image, label = timed(READ_FILE, lambda: samples.dataset[index])  # noqa: B023
            for transform in transforms.transforms[:last]:
                image = timed(type(transform).__name__, lambda: transform(image, random))  # noqa: B023
        except DataError:
            continue
        pixels.append(image)
        labels.append(label)
    if pixels and transforms.last is not None and pixels[0].dtype == np.uint8:
        pixels = list(timed(type(transforms.last).__name__, lambda: samples.normalize(np.stack(pixels))))
    if pixels and loader.reader.batch_transforms:
        batch, targets, random = np.stack(pixels), np.array(labels), np.random.default_rng(samples.seed)
        for change in loader.reader.batch_transforms:
            batch, targets = timed(type(change).__name__, lambda: change(batch, targets, random))  # noqa: B023
    return ReadingTimes(len(pixels), dict(seconds), loader.num_workers)
