"""Build networks and load weights into them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from ppzoo import engine, models, weights
from ppzoo.builders.component_factory import class_count, components
from ppzoo.config import ArchConfig, Config, DistillationConfig, NetworkConfig
from ppzoo.errors import ConfigError, errors_with_key
from ppzoo.files import WEIGHTS
from ppzoo.finite import in_batch, require_finite
from ppzoo.layers import Classifier, FeatureExtractor, evaluation_mode

IMAGE_SHAPE, TTA_SIZES = "Global.image_shape", "TTA.sizes"
FIXES_OF_SHAPES = {
    IMAGE_SHAPE: "check the values and their order, [channels, height, width]",
    TTA_SIZES: "use other sizes, or remove the key",
}

logger = logging.getLogger("ppzoo")


def create_model(
    name: str,
    pretrained: bool | str = False,
    *,
    class_num: int | None = None,
    in_channels: int | None = None,
    features_only: bool = False,
    **kwargs: Any,
) -> Classifier | FeatureExtractor:
    """Build the network called `name`.

    Args:
        pretrained: True for the official weights, or the path or URL of weights; if the weights have another
            `class_num`, the head is not loaded and keeps its random initial values.
        class_num: number of classes; the architecture's own by default (1000 for those of ImageNet).
        features_only: return a network whose output is the list of its feature maps.
        in_channels: channels of the images, 3 by default; pretrained weights are converted as `ppzoo.load_weights`
            does with `stem="auto"`.
        kwargs: options of the architecture, such as `data_format` or `dropout_prob`.

    Raises:
        UnknownNameError: the architecture does not exist.
        ConfigError: an option that the architecture does not have.
        WeightsError: the weights do not fit or do not exist.
    """
    options = kwargs if class_num is None else {"class_num": class_num, **kwargs}
    network = models.MODELS[name].build(in_channels=in_channels, **options)
    if pretrained == "":
        raise ConfigError("pretrained: expected True, False, or the path or URL of weights, got an empty text")
    if pretrained:
        load_pretrained(network, name, pretrained, key="pretrained")
    return FeatureExtractor(network) if features_only else network


def load_weights(model: paddle.nn.Layer, source: Any, **options: Any) -> weights.LoadReport:
    """Load weights as `ppzoo.weights.load_weights` does; its errors name the architecture that the weights are for."""
    return weights.load_weights(model, source, candidates=models.shapes_near, **options)


def load_pretrained(
    network: paddle.nn.Layer,
    name: str,
    source: bool | str,
    *,
    key: str,
    ssld: bool = False,
    head: str = "auto",
    part: str = "",
    new_head: bool = False,
) -> None:
    """Load the official weights of `name` (True), or those of a path or URL, and log what was loaded.

    Args:
        key: the key or argument that names the source, for messages.
        part: prefix of the names of the network's weights, if the source contains several networks.
        new_head: do not load the classifier head.
    """
    if source is True:
        variant = models.MODELS[name]
        record = variant.ssld if ssld else variant.weights
        if record is None:
            kind = "SSLD weights" if ssld else "official weights"
            raise ConfigError(f"{key}: {name} has no {kind}; set a path or a URL")
        source = record.url
    skip = [f"{layer}.*" for layer in network.head_layers] if new_head else []
    with errors_with_key(key):
        _require_undamaged(str(source))
        report = load_weights(network, str(source), head=head, stem=head, part=part, skip=skip)
    logger.info("%s", report)


def _require_undamaged(source: str) -> None:
    """Compare the weights of a checkpoint with its manifest, if `source` is one."""
    file = Path(source if os.path.isfile(source) else source + WEIGHTS)
    if os.path.isfile(file):
        engine.require_undamaged(file)


def build_model(
    arch: NetworkConfig, *, pretrained: bool = True, new_head: bool = False, key: str = "Arch.pretrained"
) -> Classifier | models.DistillationModel:
    """Build a network of `Arch`, with its pretrained weights unless `pretrained` is False.

    Args:
        new_head: do not load the classifier head; ignored for a distillation.
        key: the key that names the pretrained weights, for messages; ignored for a distillation.
    """
    if isinstance(arch, DistillationConfig):
        return _build_distillation(arch, pretrained)
    classes = {} if arch.class_num is None else {"class_num": arch.class_num}
    network = models.MODELS[arch.name].build(in_channels=arch.in_channels, **arch.spec.options, **classes)
    if pretrained and arch.pretrained:
        load_pretrained(network, arch.name, arch.pretrained, key=key, ssld=arch.use_ssld, new_head=new_head)
    if isinstance(arch, ArchConfig) and arch.freeze:
        _freeze(network, arch.freeze if isinstance(arch.freeze, tuple) else ())
    return network


def score_selector(name: str | None) -> Callable[[Any], Any]:
    """Return the function that selects class scores, N x C, from the output of an evaluation.

    Args:
        name: name of the deployed network in the outputs of a distillation, else None; see `ArchConfig.deployed_name`.
    """

    def select(output: Any) -> Any:
        output = output if name is None else output[name]
        output = output["logits"] if isinstance(output, dict) else output
        return output[0] if isinstance(output, (list, tuple)) else output  # the main head comes first

    return select


def _freeze(network: Classifier, patterns: Sequence[str]) -> None:
    with errors_with_key("Arch.freeze"):
        network.freeze(*patterns)
    if all(parameter.stop_gradient for parameter in network.parameters()):
        raise ConfigError(f"Arch.freeze: expected patterns that leave parameters to train, got {list(patterns)}")


def _build_distillation(arch: DistillationConfig, pretrained: bool) -> models.DistillationModel:
    networks = arch.networks
    counts = {name: class_count(network) for name, network in networks.items()}
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"Arch.models: expected networks with the same number of classes, got {got}")
    if arch.use_ssld:
        logger.info("Arch.use_ssld: ignored, as in PaddleClas; set it on the networks in Arch.models")
    sources = arch.pretrained_list or (None,) * len(networks)
    frozen = arch.freeze_params_list or (False,) * len(networks)
    built: dict[str, Any] = {}
    for index, ((name, network), source) in enumerate(zip(networks.items(), sources, strict=True)):
        member = network if source is None else replace(network, pretrained=source)
        key = f"Arch.models.{index}.{name}.pretrained" if source is None else f"Arch.pretrained_list.{index}"
        if pretrained and frozen[index] and not member.pretrained:
            logger.warning("%s: %s is frozen with random weights; set the weights of a trained network", key, name)
        built[name] = build_model(member, pretrained=pretrained, key=key)
    with errors_with_key("Arch.models"):
        return models.DistillationModel(
            built,
            frozen=[name for name, is_frozen in zip(networks, frozen, strict=True) if is_frozen],
            inference_arch=arch.infer_model_name,
            features=arch.features,
        )


def networks_in_losses(config: Config, split: Literal["Train", "Eval"]) -> set[str]:
    """Return the names of the networks of a distillation that the losses and metrics of a split use."""
    loss, metric = (
        (config.Loss.Train, config.Metric.Train) if split == "Train" else (config.Loss.Eval, config.Metric.Eval)
    )
    known = components("loss", "metric")
    used = [("loss", term.spec) for term in loss or ()] + [("metric", spec) for spec in metric or ()]
    found: set[str] = set()
    for kind, spec in used:
        component = known[kind][spec.name]
        if component.networks == "one":
            found.add(config.Arch.deployed_name or "")
        for key in component.network_options:
            found |= {str(name) for name in np.ravel(spec.option(key, []))}
    return found


def try_forward(
    network: paddle.nn.Layer,
    images: paddle.Tensor,
    name: str,
    path: str = "transforms",
    describe: Callable[[int], str] = in_batch,
) -> Any:
    """Return the output of the network called `name` for a few images, N x C x H x W.

    Args:
        path: key of the transforms or data that produced the images, for messages.
        describe: index of an image in the batch -> its name in errors.

    Raises:
        ConfigError: the network cannot take images of that shape or type, or they have values that are not finite.
        TrainingError: the output for finite images is not finite.
    """
    try:
        with evaluation_mode(network), paddle.no_grad():
            output = network(images)
    except (ValueError, RuntimeError) as error:  # PaddlePaddle's operators raise these for shapes that do not fit
        channels, *size = models.MODELS[name].image_shape
        usual = " x ".join(map(str, (getattr(network, "image_channels", channels), *size)))
        got = f"{' x '.join(map(str, images.shape[1:]))} {str(images.dtype).rpartition('.')[2]}"
        transforms = "check the transforms that set size, channels and type, such as ResizeImage and NormalizeImage"
        fix = FIXES_OF_SHAPES.get(path, transforms)
        raise ConfigError(
            f"{path}: expected images that {name} can take (by default {usual} float32), got {got}; {fix}"
        ) from error
    if not bool(paddle.isfinite(images.astype("float32")).all()):
        raise ConfigError(f"{path}: expected finite pixel values, got infinity or NaN; check NormalizeImage")
    require_finite(output, describe)
    return output
