"""Build datasets and loaders, and read images through transforms."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo import data, engine
from ppzoo.builders.component_factory import build_batch_transforms, build_transforms, make
from ppzoo.builders.datasets import build_dataset
from ppzoo.config import ComponentSpec, DatasetConfig, SamplerConfig, SplitConfig
from ppzoo.data.batch_reader import SKIP_HINT
from ppzoo.data.loader import Batch, Loader
from ppzoo.errors import MAX_SHOWN_IMAGES, ConfigError, DataError, errors_with_key
from ppzoo.files import read_plain_file

TRIAL_IMAGES = 8
RESIZING = ("RandCropImage", "ResizeImage", "CropImage")  # whose size `resized` replaces


def build_loader(
    section: SplitConfig,
    *,
    class_num: int | None,
    seed: int,
    training: bool,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
    classes: Sequence[str] | None = None,
) -> Loader:
    """Build this process's loader of `DataLoader.Train` or `DataLoader.Eval`.

    Args:
        classes: as for `build_dataset`.
    """
    images = build_dataset(section.dataset, class_num, classes, training=training)
    return load_images(section, images, class_num=class_num, seed=seed, training=training, processes=processes)


def load_images(
    section: SplitConfig,
    images: data.Dataset,
    *,
    class_num: int | None,
    seed: int,
    training: bool,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
) -> Loader:
    """Build the loader of a dataset with the transforms, the sampler and the workers of a section."""
    settings = section.dataset
    sampler = build_sampler(
        section.sampler, len(images), images.labels, seed=seed, training=training, processes=processes
    )
    transforms = build_transforms(settings.transforms)
    sized = _build_sized_transforms(settings, sampler)
    with errors_with_key(f"DataLoader.{'Train' if training else 'Eval'}.dataset.cache"):
        cache = data.CachedImages(settings.cache, images, transforms) if settings.cache else None
    return Loader(
        data.Samples(images, transforms, seed, cache, sized),
        sampler,
        num_workers=section.loader.num_workers,
        use_shared_memory=section.loader.use_shared_memory,
        batch_transforms=build_batch_transforms(settings.batch_transform_ops or (), class_num),
        on_error=settings.on_error or ("skip" if training else "raise"),
        max_bad_fraction=settings.max_bad_fraction,
        pool=processes.all_gather_lists if training and processes.size > 1 else list,
    )


def build_sampler(
    section: SamplerConfig,
    length: int,
    labels: np.ndarray,
    *,
    seed: int,
    training: bool,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
) -> data.Sampler:
    """Build this process's sampler from a section `sampler`, for a dataset with this length and these labels."""
    options: dict[str, Any] = {"batch_size": section.batch_size, "drop_last": section.drop_last}
    if section.shuffle is not None:
        options["shuffle"] = section.shuffle
    spec = replace(section.spec, options={**section.spec.options, **options})
    supplied = {"length": length, "labels": labels, "seed": seed, "pad": training}
    supplied |= {"rank": processes.rank, "world_size": processes.size}
    parameters = inspect.signature(data.SAMPLERS[spec.name]).parameters
    arguments = {name: value for name, value in supplied.items() if name in parameters}
    return make(data.SAMPLERS, spec, key=f"DataLoader.{'Train' if training else 'Eval'}.sampler", **arguments)


def image_sizes(section: DatasetConfig, sampler: data.Sampler) -> list[int]:
    """Return the image sizes (sides in pixels) among which the training sampler chooses; [] if it does not choose.

    Raises:
        ConfigError: it chooses, but no transform has a size that could be replaced, or the images are cached.
    """
    sizes, key = list(getattr(sampler, "sizes", ())), "DataLoader.Train.dataset"
    if sizes and section.cache:
        raise ConfigError(f"{key}.cache: expected none, since the image size changes, got {section.cache!r}; remove it")
    if sizes and not any(spec.name in RESIZING for spec in section.transforms):
        raise ConfigError(f"{key}.transform_ops: expected RandCropImage, whose size the sampler chooses; add it")
    return sizes


def _build_sized_transforms(section: DatasetConfig, sampler: data.Sampler) -> list[data.Compose]:
    """Build the transforms for each image size, which replaces the size of the crops and of `ResizeImage`."""
    sizes = image_sizes(section, sampler)
    return [build_transforms([resized(spec, size) for spec in section.transforms]) for size in sizes]


def resized(spec: ComponentSpec, size: int) -> ComponentSpec:
    """Return a transform with another size in pixels if it is one of `RESIZING`; other transforms are not changed."""
    if spec.name not in RESIZING:
        return spec
    options = {key: value for key, value in spec.options.items() if key != "resize_short"}
    return replace(spec, options={**options, "size": size})


def read_image(path: Path, preprocess: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Read an image file and return its content as preprocessed by `preprocess`.

    Raises:
        DataError: the file cannot be read or is not an image.
    """
    try:
        return preprocess(read_plain_file(path))
    except IsADirectoryError as error:
        raise DataError(f"{path}: expected an image file, got a folder: pass a list of its image files") from error
    except OSError as error:
        raise DataError(f"{path}: cannot read the image: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_first_batch(loader: Loader) -> Batch:
    """Return the first few samples of a loader's dataset as a batch, read in this process.

    Raises:
        DataError: no image can be read, or one of these images cannot be read and `on_error` is "raise".
    """
    first = copy.copy(loader)
    first.num_workers, first.bad, first.max_bad_fraction, first.pool = 0, {}, 1.0, list
    first.sampler = data.DistributedBatchSampler(batch_size=TRIAL_IMAGES, length=len(loader.samples))
    batch = next((batch for batch in first.epoch(0) if batch is not None), None)
    if batch is None:
        raise DataError(f"none of {len(loader.samples)} images can be read; the last: {list(first.bad.values())[-1]}")
    return batch


def verify_images(loader: Loader, processes: engine.ProcessGroup) -> None:
    """Check that the evaluation images can be read; in a large dataset, only that the files exist (`find_unreadable`).

    Raises:
        DataError: with `on_error` "raise", an image cannot be read; with "skip", more than `max_bad_fraction` of them.
    """
    failures = processes.all_gather_lists(
        data.find_unreadable(loader.samples, part=processes.rank, parts=processes.size)
    )
    if loader.reader.on_error == "skip":
        trial = copy.copy(loader)  # skipped images are recorded when they are read
        trial.bad = {}
        trial.record_failures(failures)
    elif failures:
        shown = "; ".join(failure.reason for failure in failures[:MAX_SHOWN_IMAGES])
        more = f"; {len(failures) - MAX_SHOWN_IMAGES} more" if len(failures) > MAX_SHOWN_IMAGES else ""
        raise DataError(
            f"DataLoader.Eval: {len(failures)} of {len(loader.samples)} images cannot be read: {shown}{more};"
            f" {SKIP_HINT}"
        )
