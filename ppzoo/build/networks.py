"""Networks, and weights in them."""

from __future__ import annotations

import logging
from typing import Any

import paddle

from ppzoo import models, weights
from ppzoo.build.components import Section
from ppzoo.config import ArchSection, own_options, settings
from ppzoo.errors import ConfigError
from ppzoo.layers import Classifier, FeatureExtractor

logger = logging.getLogger("ppzoo")


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
    network: Classifier, name: str, source: bool | str, *, ssld: bool = False, head: str = "auto"
) -> None:
    """Load the official weights of `name` (True), or those of a path or URL, and say what was loaded."""
    if source is True:
        variant = models.MODELS[name]
        record = variant.ssld if ssld else variant.weights
        if record is None:
            kind = "SSLD weights" if ssld else "official weights"
            raise ConfigError(f"Arch.pretrained: there are no {kind} of {name}; give a path or a URL")
        source = record.url
    logger.info("%s", load_weights(network, str(source), head=head))


def model(cfg: Section) -> Classifier:
    """The network of the section `Arch`, with the pretrained weights that it asks for."""
    arch = settings(ArchSection, cfg)
    options = own_options(ArchSection, cfg)
    network = models.MODELS[arch.name].build(**options)
    if arch.pretrained:
        load_pretrained(network, arch.name, arch.pretrained, ssld=arch.use_ssld)
    return network


def class_count(config: Section) -> int:
    """The number of classes of a configuration's network."""
    arch = config["Arch"]
    return arch.get("class_num", models.MODELS[arch["name"]].class_num)


def trial(network: paddle.nn.Layer, images: paddle.Tensor, name: str) -> Any:
    """What the network called `name` answers to a few images, N x C x H x W, before much depends on it.

    Raises:
        ConfigError: it cannot take images of that shape or type.
    """
    was_training = network.training
    network.eval()
    try:
        with paddle.no_grad():
            return network(images)
    except (ValueError, RuntimeError) as error:  # what PaddlePaddle's operators raise of tensors that do not fit
        native = " x ".join(map(str, models.MODELS[name].image_shape))
        received = f"{' x '.join(map(str, images.shape[1:]))} {str(images.dtype).rpartition('.')[2]}"
        raise ConfigError(
            f"transforms: expected images that {name} can take (natively {native} float32), received {received}"
        ) from error
    finally:
        if was_training:
            network.train()
