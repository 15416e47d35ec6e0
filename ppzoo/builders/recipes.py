"""The configuration for an architecture and a folder of images: `ppzoo train --arch NAME --data FOLDER`.

It is `configs/_base_/photos.yaml` with the data, an image size that fits it, and a batch size, number of epochs and
learning rate for the number of images.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import paddle

from ppzoo import config as configuration
from ppzoo import models, weights
from ppzoo.builders.component_factory import components
from ppzoo.builders.data_loading import resized
from ppzoo.builders.dry_run import read_config
from ppzoo.builders.models import try_forward
from ppzoo.builders.photos import Photos, find_photos, write_split
from ppzoo.builders.resuming import output_dir
from ppzoo.config import (
    ComponentSpec,
    Config,
    DatasetConfig,
    InferConfig,
    LossConfig,
    LossTermConfig,
    LrConfig,
    MetricConfig,
)
from ppzoo.config.packaged_configs import BASES, FOLDER
from ppzoo.errors import ConfigError, UnknownNameError, WeightsError
from ppzoo.weights.load import RGB_CHANNELS

logger = logging.getLogger("ppzoo")

BASE = FOLDER / BASES / "photos.yaml"  # not by its name, which a file of the user can have, too
REFERENCE_BATCH = 64  # images per step for which the learning rates below are meant
MIN_STEPS_PER_EPOCH = 15  # where the batch size allows it
BATCH_SIZES = (8, 64)  # the smallest and the largest
IMAGE_SIZES = (64, 96, 128, 160, 224)  # for small images, unless official weights are fine-tuned
CROP_RATIO = 0.875  # crop / short side of the resized image, unless both sizes are those of official weights


class _Sizes(NamedTuple):
    """Size of crops in pixels, the options of `ResizeImage`, and the channels of the images."""

    crop: int
    resize: Mapping[str, Any]
    channels: int = RGB_CHANNELS


class _Schedule(NamedTuple):
    """How long to train and how fast: for about `steps` steps, but within the lowest and highest number of `epochs`."""

    steps: int
    epochs: tuple[int, int]
    max_learning_rate: float


FINE_TUNING = _Schedule(1_000, (10, 30), 0.01)
FROM_SCRATCH = _Schedule(3_000, (20, 100), 0.02)
LOSS_AND_METRIC = {"GoogLeNet": ("GoogLeNetLoss", "GoogLeNetTopkAcc")}  # for its three outputs
NO_NORM_DIVISOR = 10  # of the learning rate of architectures without batch normalization


def read_photo_config(arch: str, source: str, overrides: Sequence[str], undo: ExitStack) -> Config:
    """Return the configuration that trains `arch` on the images of `source`, changed by `overrides`.

    Everything is checked before the split is written and official weights are fetched.

    Args:
        source: a folder of class folders, a folder with train and val folders of that kind, a folder with
            `train_list.txt`, or a list file.
        undo: receives a callback that removes the list files if training does not start.

    Raises:
        ConfigError: an unknown architecture, a path that does not exist, or overrides that do not fit.
        DataError: images or lists that cannot be used.
    """
    if arch not in models.MODELS:
        raise ConfigError(f"--arch: {UnknownNameError('architecture', arch, models.MODELS)}")
    photos = find_photos(source)
    channels = _requested_channels(photo_recipe(arch, photos), overrides)
    network = models.MODELS[arch].build(class_num=2, in_channels=channels)
    config = read_config(photo_recipe(arch, photos, network=network).to_dict(), overrides, "train")
    if photos.eval is None:
        photos = write_split(photos, source, output_dir(config), undo)
    pretrained, other_weights = _weights(config)
    if pretrained is None and not other_weights:
        pretrained = _has_official_weights(arch)
    recipe = photo_recipe(
        arch,
        photos,
        network=network,
        pretrained=pretrained,
        fine_tuning=bool(pretrained or other_weights),
        image_size=_requested_size(config, overrides),
    )
    config = read_config(recipe.to_dict(), overrides, "train")
    _log_image_size(config, photos)
    return config


def _requested_size(config: Config, overrides: Sequence[str]) -> int | None:
    """Return the image size if an override sets it, else None."""
    is_set = any(override.startswith("Global.image_shape") for override in overrides)
    return config.Global.image_shape[1] if is_set else None


def _requested_channels(recipe: Config, overrides: Sequence[str]) -> int | None:
    """Return the channels of the images if an override sets another number than the architecture's, else None."""
    raw = configuration.apply_overrides(recipe.to_dict(), overrides, components())
    section = raw.get("Arch")
    channels = section.get("in_channels") if isinstance(section, Mapping) else None
    if channels is None or channels == recipe.Global.image_shape[0]:
        return None
    if channels not in (1, 4):
        expected = "1, 3 or 4, the channels to which image files are decoded"
        raise ConfigError(f"Arch.in_channels: expected {expected}, got {channels!r}")
    return int(channels)


def _log_image_size(config: Config, photos: Photos) -> None:
    height, width = config.Global.image_shape[1:]
    side = f"the images' median short side is {photos.short_side}; " if photos.short_side else ""
    logger.info("image size: %d x %d pixels (%sGlobal.image_shape overrides it)", height, width, side)


def _weights(config: Config) -> tuple[bool | str | None, str | None]:
    """Return `Arch.pretrained`, which is None unless an override sets it, and `Global.pretrained_model`."""
    return config.Arch.pretrained, config.Global.pretrained_model


def photo_recipe(
    arch: str,
    photos: Photos,
    *,
    network: paddle.nn.Layer | None = None,
    pretrained: bool | str | None = None,
    fine_tuning: bool = False,
    image_size: int | None = None,
) -> Config:
    """Return the configuration, before overrides, that trains `arch` on `photos`.

    Args:
        network: a network of the architecture, with any number of classes; built if it is None.
        pretrained: `Arch.pretrained`.
        fine_tuning: whether training starts from trained weights: it is then shorter, at a lower learning rate.
        image_size: side of the images; by default that of the architecture, or, unless official weights are
            fine-tuned, a smaller size that fits the images.
    """
    variant = models.MODELS[arch]
    network = network or variant.build(class_num=2)
    official = variant.weights
    usual_size = official.img_size if official else variant.image_shape[1]
    size = image_size or usual_size
    if pretrained is not True and not image_size and photos.short_side:
        size = _fitting_size(arch, network, photos.short_side, usual_size)
    channels = getattr(network, "image_channels", 3)
    resize = official.resize if official and size == usual_size else {"resize_short": round(size / CROP_RATIO)}
    sizes = _Sizes(size, resize, channels)

    base = _read_base(arch, pretrained)
    train, evaluation, optimizer = base.DataLoader.Train, base.DataLoader.Eval, base.Optimizer
    assert train and evaluation and optimizer  # photos.yaml has them
    schedule = FINE_TUNING if fine_tuning else FROM_SCRATCH
    batch_size = _batch_size(photos.images)
    low, high = schedule.epochs
    epochs = min(max(round(schedule.steps / (photos.images // batch_size)), low), high)
    rate = schedule.max_learning_rate / (1 if _has_batch_norm(network) else NO_NORM_DIVISOR)
    lr = LrConfig(spec=ComponentSpec("OneCycleLR", {"max_learning_rate": rate}), reference_batch=REFERENCE_BATCH)
    return replace(
        base,
        Global=replace(
            base.Global,
            device="auto",
            epochs=epochs,
            image_shape=(channels, size, size),
            save_inference_dir=f"./inference/{arch}",
        ),
        DataLoader=replace(
            base.DataLoader,
            Train=replace(
                train,
                dataset=_dataset(train.dataset, photos.train, sizes),
                sampler=replace(train.sampler, batch_size=batch_size),
            ),
            # Without evaluation data, the training data: the split then replaces both.
            Eval=replace(evaluation, dataset=_dataset(evaluation.dataset, photos.eval or photos.train, sizes)),
        ),
        Optimizer=replace(optimizer, lr=lr),
        Loss=_losses(base.Loss, arch),
        Metric=_metrics(arch, photos.class_num),
        Infer=_inference(base.Infer, sizes, photos.class_num),
    )


def _read_base(arch: str, pretrained: bool | str | None) -> Config:
    """Return the configuration that all recipes are based on, with the architecture; it names no data yet."""
    raw = {**configuration.load(BASE), "Arch": {"name": arch, "pretrained": pretrained}}
    return configuration.parse_section(Config, raw, components())


def _dataset(section: DatasetConfig, dataset: ComponentSpec, sizes: _Sizes) -> DatasetConfig:
    return replace(section, spec=dataset, transform_ops=_adapted(section.transforms, sizes))


def _adapted(ops: Sequence[ComponentSpec], sizes: _Sizes) -> tuple[ComponentSpec, ...]:
    """Return transforms with the sizes of crops and of resized images, and the channels of images, replaced."""

    def adapted(op: ComponentSpec) -> ComponentSpec:
        if op.name == "ResizeImage":
            return replace(op, options=sizes.resize)
        if sizes.channels != RGB_CHANNELS and op.name == "DecodeImage":
            return replace(op, options={**op.options, "channels": sizes.channels})
        if sizes.channels != RGB_CHANNELS and op.name == "NormalizeImage":
            values = {key: _values_of_channels(op.options[key], sizes.channels) for key in ("mean", "std")}
            return replace(op, options={**op.options, **values})
        return resized(op, sizes.crop)

    return tuple(map(adapted, ops))


def _values_of_channels(values: Sequence[float], channels: int) -> list[float]:
    """Return the means or standard deviations of gray images, or of images with an alpha channel, from those of RGB."""
    gray = round(sum(values) / len(values), 3)
    return [gray] if channels == 1 else [*values, gray]


def _losses(section: LossConfig, arch: str) -> LossConfig:
    """Return the losses under the name that fits the architecture's outputs."""
    name, _ = LOSS_AND_METRIC.get(arch, (None, None))

    def renamed(terms: tuple[LossTermConfig, ...] | None) -> tuple[LossTermConfig, ...]:
        return tuple(replace(term, spec=replace(term.spec, name=name or term.spec.name)) for term in terms or ())

    return replace(section, Train=renamed(section.Train), Eval=renamed(section.Eval))


def _metrics(arch: str, class_num: int) -> MetricConfig:
    _, name = LOSS_AND_METRIC.get(arch, ("CELoss", "TopkAcc"))
    metrics = (ComponentSpec(name, {"topk": [1, 5] if class_num > 5 else [1]}),)
    return MetricConfig(Train=metrics, Eval=metrics)


def _inference(section: InferConfig, sizes: _Sizes, class_num: int) -> InferConfig:
    post_process = section.PostProcess
    assert post_process is not None
    topk = ComponentSpec(post_process.spec.name, {"topk": min(5, class_num)})
    transforms = _adapted(section.transforms or (), sizes)
    return replace(section, transforms=transforms, PostProcess=replace(post_process, spec=topk))


def _batch_size(images: int) -> int:
    """Return a power of two that leaves enough steps per epoch; for very few images, their number."""
    low, high = BATCH_SIZES
    fitting = 1 << max(images // MIN_STEPS_PER_EPOCH, 1).bit_length() - 1
    return min(max(fitting, low), high, images)


def _fitting_size(arch: str, network: paddle.nn.Layer, short_side: int, usual_size: int) -> int:
    """Return the smallest of `IMAGE_SIZES` that is not below `short_side`.

    If no such size is below `usual_size`, or the network cannot take images of that size, return `usual_size`.
    """
    for size in IMAGE_SIZES:
        if short_side <= size < usual_size:
            try:
                try_forward(network, paddle.zeros([1, network.image_channels, size, size]), arch)
            except ConfigError:  # the first linear layer fixes the image size
                return usual_size
            return size
    return usual_size


def _has_batch_norm(network: paddle.nn.Layer) -> bool:
    return any(name.endswith("._mean") for name in network.state_dict())


def _has_official_weights(arch: str) -> bool:
    """Fetch the official weights if they are not in the cache; log and return whether they are available."""
    official = models.MODELS[arch].weights
    try:
        if official is None:
            raise WeightsError(f"there are no official weights of {arch}")
        weights.fetch(official.url, weights.weights_folder(), attempts=1)
    except WeightsError as error:
        logger.info("training from scratch, without pretrained weights: %s", error)
        return False
    logger.info("fine-tuning the official weights of %s", arch)
    return True
