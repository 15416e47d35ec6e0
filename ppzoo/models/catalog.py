"""Registry of architectures: each variant is a network class with fixed arguments, and its official weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, get_args, get_origin, get_type_hints

import paddle

from ppzoo.errors import ConfigError, nearest_name
from ppzoo.host import MAX_CHANNELS, MAX_CLASSES
from ppzoo.layers import Classifier
from ppzoo.registry import Registry

OFFICIAL_WEIGHTS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"

CHANNEL_OPTION = "input_image_channel"  # PaddleClas's name of `in_channels`, in some of its networks


@dataclass(frozen=True)
class Weights:
    """One set of official weights: source, published metrics and preprocessing.

    Attributes:
        file: path of the `.pdparams` below `OFFICIAL_WEIGHTS`.
        top1, top5: published accuracies on the ImageNet-1k validation set, as fractions.
        flops: published multiply-adds of one image, in units of 10^9.
        params: published parameter count, in units of 10^6.
        img_size: side of the center crop, in pixels.
        resize: options of `ResizeImage` before the crop.
    """

    file: str
    top1: float | None = None
    top5: float | None = None
    flops: float | None = None
    params: float | None = None
    img_size: int = 224
    resize: dict[str, Any] = field(default_factory=lambda: {"resize_short": 256})

    @property
    def url(self) -> str:
        return OFFICIAL_WEIGHTS + self.file


@dataclass(frozen=True)
class Variant:
    """A registered architecture.

    Attributes:
        network: class of the network; `fixed` are the arguments that define this variant.
        weights: the official weights, or None; `ssld`: those trained by PaddleClas's distillation, or None;
            `ssld_stage1`: those of its first stage, or None.
        image_shape: native input shape, channels x height x width.
    """

    name: str
    network: Callable[..., Classifier]
    fixed: dict[str, Any]
    weights: Weights | None
    ssld: Weights | None
    image_shape: tuple[int, int, int]
    ssld_stage1: Weights | None = None

    @property
    def class_num(self) -> int:
        """The default number of classes."""
        return inspect.signature(self.network).parameters["class_num"].default

    @property
    def options(self) -> list[str]:
        """Names of the arguments that a caller can set."""
        parameters = inspect.signature(self.network).parameters
        return [name for name in parameters if name not in self.fixed]

    def build(self, *, in_channels: int | None = None, **options: Any) -> Classifier:
        """Build the network; its generated parameter names do not depend on networks that were built before.

        Args:
            in_channels: channels of the images; by default those of `image_shape`. If the architecture also has
                PaddleClas's option `input_image_channel`, both options have the same meaning.
            options: options of the architecture.

        Raises:
            ConfigError: an option that this architecture does not have, or an invalid value.
        """
        self._check(options)
        channels = self._image_channels(in_channels, options)
        options.pop(CHANNEL_OPTION, None)
        with paddle.utils.unique_name.guard():
            network = self.network(**self.fixed, **options)
        network.architecture = self.name
        network.image_channels = self.image_shape[0]
        if channels != network.image_channels:
            network.reset_stem(channels)
        return network

    def _image_channels(self, in_channels: int | None, options: dict[str, Any]) -> int:
        """Return the channels of the images from `in_channels` and PaddleClas's option, which must agree."""
        both: dict[str, Any] = {"in_channels": in_channels, CHANNEL_OPTION: options.get(CHANNEL_OPTION)}
        given = {key: channels for key, channels in both.items() if channels is not None}
        for key, channels in given.items():
            if (
                not isinstance(channels, Integral)
                or isinstance(channels, bool)
                or not 1 <= int(channels) <= MAX_CHANNELS
            ):
                expected = f"an integer from 1 to {MAX_CHANNELS}"
                raise ConfigError(f"{self.name}.{key}: expected {expected}, got {channels!r}")
        if len(set(given.values())) > 1:
            raise ConfigError(
                f"{self.name}.in_channels: expected the value of {CHANNEL_OPTION} ({given[CHANNEL_OPTION]}),"
                f" got {in_channels}; set only one of the two options"
            )
        return int(next(iter(given.values()), self.image_shape[0]))

    def _check(self, options: dict[str, Any]) -> None:
        hints = get_type_hints(self.network.__init__)
        for name, value in options.items():
            if name not in self.options:
                near = nearest_name(name, self.options)
                hint = f"; did you mean {near!r}?" if near else ""
                raise ConfigError(f"{self.name} has no option {name!r}{hint} (options: {', '.join(self.options)})")
            choices = get_args(hints.get(name)) if get_origin(hints.get(name)) is Literal else ()
            if choices and value not in choices:
                expected = " or ".join(map(repr, choices))
                raise ConfigError(f"{self.name}.{name}: expected {expected}, got {value!r}")
        count = options.get("class_num", 1)
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise ConfigError(f"{self.name}.class_num: expected an integer, got {count!r}")
        if int(count) < 1:
            raise ConfigError(f"{self.name}.class_num: expected at least 1, got {count}")
        if int(count) > MAX_CLASSES:
            raise ConfigError(
                f"{self.name}.class_num: expected at most {MAX_CLASSES}, got {count}; the size of the last layer is"
                " proportional to it"
            )


MODELS: Registry[Variant] = Registry("architecture")


def register_variant(
    name: str,
    network: Callable[..., Classifier],
    *,
    weights: Weights | None = None,
    ssld: Weights | None = None,
    ssld_stage1: Weights | None = None,
    image_shape: tuple[int, int, int] = (3, 224, 224),
    **fixed: Any,
) -> None:
    """Register the architecture `name`: `network` with the arguments `fixed`; for the others see `Variant`."""
    MODELS.add(name, Variant(name, network, fixed, weights, ssld, image_shape, ssld_stage1))


def list_models(pattern: str = "*", pretrained: bool | None = None) -> list[str]:
    """Return the sorted names of the architectures that match a shell pattern.

    Args:
        pattern: shell pattern; case is ignored.
        pretrained: True: only those with official weights; False: only those without.

    Raises:
        ConfigError: the pattern is not text.
    """
    if not isinstance(pattern, str):
        raise ConfigError(f"pattern: expected text such as 'ResNet*', got {pattern!r}")
    names = MODELS.matching(pattern)
    if pretrained is None:
        return names
    return [name for name in names if (MODELS[name].weights is not None) == pretrained]
