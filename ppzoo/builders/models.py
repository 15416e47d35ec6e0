"""Networks, and weights in them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppzoo import models, weights
from ppzoo.builders.components import Section, named_options
from ppzoo.config import ArchSection, DistillationSection, own_options, settings
from ppzoo.errors import ConfigError
from ppzoo.finite import in_batch, require_finite
from ppzoo.layers import Classifier, FeatureExtractor

logger = logging.getLogger("ppzoo")

DISTILLATION = models.DistillationModel.__name__


def create_model(
    name: str,
    pretrained: bool | str = False,
    *,
    class_num: int | None = None,
    features_only: bool = False,
    **kwargs: Any,
) -> Classifier | FeatureExtractor:
    """The network called `name`.

    Args:
        pretrained: True loads the official weights, a path or URL those; a head of another `class_num` starts afresh.
        class_num: number of classes; the architecture's own by default (1000 for those of ImageNet).
        features_only: answer a network whose output is the list of its feature maps.
        kwargs: options of the architecture, such as `data_format` or `dropout_prob`.

    Raises:
        UnknownNameError: there is no such architecture.
        ConfigError: an option that it does not have.
        WeightsError: weights that do not fit, or that do not exist.
    """
    options = kwargs if class_num is None else {"class_num": class_num, **kwargs}
    network = models.MODELS[name].build(**options)
    if pretrained:
        load_pretrained(network, name, pretrained)
    return FeatureExtractor(network) if features_only else network


def load_weights(model: paddle.nn.Layer, source: Any, **options: Any) -> weights.LoadReport:
    """`ppzoo.weights.load_weights`, whose error names the architecture to which the weights belong."""
    return weights.load_weights(model, source, candidates=models.shapes_near, **options)


def load_pretrained(
    network: paddle.nn.Layer,
    name: str,
    source: bool | str,
    *,
    ssld: bool = False,
    head: str = "auto",
    part: str = "",
    new_head: bool = False,
) -> None:
    """Load the official weights of `name` (True), or those of a path or URL, and say what was loaded.

    `part` is what the names of the network's weights begin with where the source holds several networks; with
    `new_head` the classifier head keeps the network's own values.
    """
    if source is True:
        variant = models.MODELS[name]
        record = variant.ssld if ssld else variant.weights
        if record is None:
            kind = "SSLD weights" if ssld else "official weights"
            raise ConfigError(f"Arch.pretrained: there are no {kind} of {name}; give a path or a URL")
        source = record.url
    skip = [f"{layer}.*" for layer in network.head_layers] if new_head else []
    logger.info("%s", load_weights(network, str(source), head=head, part=part, skip=skip))


def build_model(
    cfg: Section, *, pretrained: bool = True, new_head: bool = False
) -> Classifier | models.DistillationModel:
    """The network of the section `Arch`, with the pretrained weights that it asks for unless `pretrained` is False.

    With `new_head` all of these weights but the classifier head.
    """
    if cfg["name"] == DISTILLATION:
        return _distillation(cfg, pretrained)
    arch = settings(ArchSection, cfg)
    network = models.MODELS[arch.name].build(**own_options(ArchSection, cfg))
    if pretrained and arch.pretrained:
        load_pretrained(network, arch.name, arch.pretrained, ssld=arch.use_ssld, new_head=new_head)
    if arch.freeze:
        _freeze(network, [] if arch.freeze is True else arch.freeze)
    return network


def _freeze(network: Classifier, patterns: list[str]) -> None:
    try:
        network.freeze(*patterns)
    except ConfigError as error:
        raise ConfigError(*(f"Arch.{problem}" for problem in error.problems)) from error
    if all(parameter.stop_gradient for parameter in network.parameters()):
        raise ConfigError(f"Arch.freeze: expected patterns that leave something to be trained, got {patterns}")


def _distillation(cfg: Section, pretrained: bool) -> models.DistillationModel:
    section = settings(DistillationSection, cfg)
    archs = members(cfg)
    counts = {name: arch.get("class_num", models.MODELS[arch["name"]].class_num) for name, arch in archs.items()}
    if len(set(counts.values())) > 1:
        received = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"Arch.models: expected networks of the same number of classes, got {received}")
    sources = section.pretrained_list or [None] * len(archs)
    frozen = section.freeze_params_list or [False] * len(archs)
    networks: dict[str, Any] = {}
    for (name, arch), source in zip(archs.items(), sources, strict=True):
        networks[name] = build_model(arch if source is None else {**arch, "pretrained": source}, pretrained=pretrained)
    return models.DistillationModel(
        networks,
        frozen=[name for name, is_frozen in zip(archs, frozen, strict=True) if is_frozen],
        inference_arch=section.infer_model_name,
    )


def members(arch: Section) -> dict[str, Section]:
    """The sections of the networks of a `DistillationModel`, by name."""
    shared = {"class_num": arch["class_num"]} if arch.get("class_num") else {}
    return {name: {**shared, **section} for item in arch["models"] for name, section in item.items()}


def inference_arch(arch: Section) -> Section:
    """The section of the network that answers in the end: of a distillation one of its networks, else `arch`."""
    return members(arch)[settings(DistillationSection, arch).infer_model_name] if arch["name"] == DISTILLATION else arch


def inference_model_name(arch: Section) -> str:
    """What the names of that network's weights begin with in a checkpoint of the whole."""
    return f"{settings(DistillationSection, arch).infer_model_name}." if arch["name"] == DISTILLATION else ""


def networks_in_losses(config: Section, split: str) -> set[str]:
    """The names of the networks of a distillation that the losses and metrics of "Train" or "Eval" are about."""
    names: set[str] = set()
    for section in ("Loss", "Metric"):
        for _, options in named_options((config.get(section) or {}).get(split) or []):
            named = [(options or {}).get(key, []) for key in ("model_key", "model_names", "model_name_pairs")]
            names.update(str(name) for value in named for name in np.ravel(value))
    return names


def describe_arch(arch: Section) -> str:
    """What the log and a checkpoint call the network."""
    if arch["name"] != DISTILLATION:
        return arch["name"]
    return f"{DISTILLATION} of " + ", ".join(f"{name} {section['name']}" for name, section in members(arch).items())


def class_count(config: Section) -> int:
    """The number of classes of a configuration's network."""
    arch = inference_arch(config["Arch"])
    return arch.get("class_num", models.MODELS[arch["name"]].class_num)


def try_forward(
    network: paddle.nn.Layer,
    images: paddle.Tensor,
    name: str,
    path: str = "transforms",
    describe: Callable[[int], str] = in_batch,
) -> Any:
    """The output of the network called `name` for a few images, N x C x H x W, before much depends on it.

    Args:
        path: what of the configuration makes the images, for messages.
        describe: what errors call image number i.

    Raises:
        ConfigError: it cannot take images of that shape or type, or they hold values that are not finite.
        TrainingError: its output for finite images is not finite.
    """
    was_training = network.training
    network.eval()
    try:
        with paddle.no_grad():
            output = network(images)
    except (ValueError, RuntimeError) as error:  # what PaddlePaddle's operators raise of tensors that do not fit
        native = " x ".join(map(str, models.MODELS[name].image_shape))
        received = f"{' x '.join(map(str, images.shape[1:]))} {str(images.dtype).rpartition('.')[2]}"
        raise ConfigError(
            f"{path}: expected images that {name} can take (natively {native} float32), got {received}"
        ) from error
    finally:
        if was_training:
            network.train()
    if not bool(paddle.isfinite(images.astype("float32")).all()):
        raise ConfigError(f"{path}: expected images of finite values, got infinity or NaN; check NormalizeImage")
    require_finite(output, describe)
    return output
