"""Which PyTorch networks can be converted, and why the others cannot.

A converted network has the outputs that it has in PyTorch, verified for torchvision 0.29 and timm 1.0 with random
weights and statistics. If ppzoo's network cannot reproduce a PyTorch network, its weights are refused with the reason.
Files are recognized by the names of their entries. The caller therefore has to exclude those networks of timm that have
the names and shapes of another network but compute something else: `resnetaa50d` and `resnetblur50d` have those of
`resnet50d`, `mobilenetv4_conv_aa_medium` and `mobilenetv4_conv_blur_medium` those of `mobilenetv4_conv_medium`, and
`mobilenetv4_conv_aa_large` those of `mobilenetv4_conv_large`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import numpy as np

from ppzoo.errors import ConfigError, WeightsError
from ppzoo.weights.torch_import import branches, layer_names, timm_names
from ppzoo.weights.torch_import.layer_names import LayerNames

Origin = Literal["torchvision", "timm", "timm-tf", "efficientnet-pytorch", "paddleclas"]
ORIGINS: tuple[str, ...] = get_args(Origin)


@dataclass(frozen=True)
class NamingScheme:
    """How an origin names the entries of one family, and how to convert them.

    Attributes:
        origins: the origins that use these names; the first is the default.
        architectures: pattern of ppzoo's architectures of the family.
        signature: patterns of entries that identify the files of the family.
        layers: maps the layers of ppzoo's network to those of the PyTorch network (see `layer_names`); None if the
            network cannot be converted.
        unsupported: what the PyTorch network does and ppzoo's cannot do, as the end of a sentence in an error message.
        dropouts: linear layer -> the dropout before it, which scales in evaluation, unlike PyTorch's.
        zeros: pattern of entries that ppzoo's network does not have. A file in which they are not zero is refused with
            the reason `unsupported`.
        not_negative: pattern of entries. A file in which they are negative is refused with the reason `unsupported`.
        queries: pattern of layers that compute the queries of attention; their parent layer has the attribute `heads`.
        add_branches: replaces the fused convolutions of a file by branches (see `branches`).
        note: what the caller has to know about the result.
    """

    origins: tuple[str, ...]
    architectures: str
    signature: tuple[str, ...]
    layers: Callable[[Sequence[str]], LayerNames] | None = None
    unsupported: str = ""
    dropouts: Mapping[str, str] = field(default_factory=dict)
    zeros: str | None = None
    not_negative: str | None = None
    queries: str | None = None
    add_branches: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    note: str = ""

    def covers(self, architecture: str) -> bool:
        """Whether one of ppzoo's architectures belongs to the family."""
        return re.fullmatch(self.architectures, architecture) is not None

    def matches(self, entries: Collection[str]) -> bool:
        """Whether a file with these entries has the signature of the family."""
        return all(any(re.fullmatch(pattern, name) for name in entries) for pattern in self.signature)


TORCHVISION, TIMM, TIMM_TF, EFFICIENTNET_PYTORCH = ("torchvision",), ("timm",), ("timm-tf",), ("efficientnet-pytorch",)
NATIVE_SIZE = "outputs are identical at the native image size only, where PaddleClas's padding equals TensorFlow's"
NO_BIASES = "adds biases in its convolutions; PaddleClas's has none"
RELU_AFTER_HARD_SWISH = (
    "has no ReLU between the stem's hard swish and the first depthwise convolution; PaddleClas's has one, which clips"
    " negative values; the gates and the last hidden layer have other shapes, too"
)
OTHER_PADDING = "pads both sides equally; PaddleClas's pads like TensorFlow's SAME, so that strides sample other pixels"
TF_NAMES = "; for timm's tf_efficientnet_*, which have the same names and PaddleClas's padding, use --from timm-tf"
HEAD_BIAS = "adds a bias in the convolution of the head (conv_head.bias is not zero); PaddleClas's has none"
ZERO_PADDED_POOLING = (
    "pads the maps of the stem's pooling with zeros; PaddleClas's ignores the border, which differs if stem.stem1.lab"
    " has a negative scale or bias"
)
FUSED = (
    "the convolutions of the file are fused: the 1x1 and identity branches are zero, so that the network is for"
    " inference; to train it further, convert the weights from before fusing"
)
OTHER_GATES = (
    "rounds the hidden channels of squeeze-and-excitation to multiples of 4 (20 and 32 for x1_0); PaddleClas's does not"
    " (18 and 30)"
)
vgg_without_biases = partial(
    NamingScheme, dropouts={"fc2": "drop", "fc3": "drop"}, zeros=r"features\.\d+\.bias", unsupported=NO_BIASES
)

NAMING_SCHEMES = [
    NamingScheme(
        TORCHVISION,
        "AlexNet",
        ("features.10.bias", "classifier.1.weight"),
        layer_names.alexnet,
        dropouts={"_fc6": "_drop1", "_fc7": "_drop2"},
    ),
    NamingScheme(
        (*TORCHVISION, *TIMM),
        r"VGG\d+",
        ("features.1.running_mean", r"features.\d\d.running_mean"),
        unsupported="has batch norms; PaddleClas's has neither these nor biases to fold them into",
    ),
    vgg_without_biases(TORCHVISION, r"VGG\d+", ("features.(2|3).bias", "classifier.3.weight"), layer_names.vgg),
    vgg_without_biases(TIMM, r"VGG\d+", ("pre_logits.fc1.weight",), layer_names.timm_vgg),
    NamingScheme(
        TORCHVISION,
        "GoogLeNet",
        ("inception3a.branch1.conv.weight",),
        unsupported="has batch norms, and ReLUs between the convolutions of a branch; PaddleClas's has neither",
    ),
    NamingScheme((*TORCHVISION, *TIMM), r"ResNet\d+(_cifar)?", ("layer1.0.conv1.weight",), layer_names.resnet),
    NamingScheme(TIMM, r"ResNet\d+_vd", ("layer1.0.conv1.weight",), layer_names.resnet),
    NamingScheme(TIMM, r"ResNet\d+_vc", ("layer1.0.conv1.weight",), layer_names.resnet_vc),
    NamingScheme(
        (*TORCHVISION, *TIMM), r"DenseNet\d+", ("features.denseblock1.denselayer1.conv1.weight",), layer_names.densenet
    ),
    NamingScheme(
        TORCHVISION,
        "SqueezeNet1_0",
        ("features.3.squeeze.weight",),
        unsupported="rounds the sizes of pooled maps up; PaddleClas's rounds them down, so that borders differ",
    ),
    NamingScheme(
        TORCHVISION,
        "SqueezeNet1_1",
        ("features.3.squeeze.weight",),
        unsupported="does not pad the image; PaddleClas's does, so that the first stride samples other pixels",
    ),
    NamingScheme(
        TORCHVISION,
        "ShuffleNetV2_swish",
        ("stage2.0.branch1.0.weight",),
        unsupported="has ReLU activations; PaddleClas's has swish; use the architecture ShuffleNetV2_x1_0",
    ),
    NamingScheme(TORCHVISION, r"ShuffleNetV2_x.*", ("stage2.0.branch1.0.weight",), layer_names.shufflenet_v2),
    NamingScheme(TORCHVISION, r"MobileNetV3_.*", ("features.1.block.0.0.weight",), unsupported=RELU_AFTER_HARD_SWISH),
    NamingScheme(
        TIMM, r"MobileNetV3_.*", ("conv_stem.weight", "blocks.[56].0.conv.weight"), unsupported=RELU_AFTER_HARD_SWISH
    ),
    NamingScheme(TORCHVISION, r"EfficientNetB\d", ("features.1.0.block.0.0.weight",), unsupported=OTHER_PADDING),
    NamingScheme(
        TIMM,
        r"EfficientNetB\d",
        ("blocks.0.0.se.conv_reduce.weight", "bn2.weight"),
        unsupported=OTHER_PADDING + TF_NAMES,
    ),
    NamingScheme(
        TIMM_TF,
        r"EfficientNetB\d",
        ("blocks.0.0.se.conv_reduce.weight", "bn2.weight"),
        layer_names.timm_efficientnet,
        note=NATIVE_SIZE,
    ),
    NamingScheme(
        EFFICIENTNET_PYTORCH,
        r"EfficientNetB\d",
        ("_blocks.0._se_reduce.weight",),
        layer_names.efficientnet_pytorch,
        note=NATIVE_SIZE,
    ),
    NamingScheme(TORCHVISION, r"MobileNetV2(_x.*)?", ("features.1.conv.0.0.weight",), layer_names.mobilenet_v2),
    NamingScheme(
        TIMM, r"MobileNetV2(_x.*)?", ("blocks.3.3.conv_dw.weight", "bn2.weight"), layer_names.timm_mobilenet_v2
    ),
    NamingScheme(
        TIMM, "EfficientNet_lite0", ("blocks.0.0.conv_dw.weight", "bn2.weight"), unsupported=OTHER_PADDING + TF_NAMES
    ),
    NamingScheme(
        TIMM_TF, "EfficientNet_lite0", ("blocks.0.0.conv_dw.weight", "bn2.weight"), layer_names.timm_efficientnet
    ),
    NamingScheme(
        EFFICIENTNET_PYTORCH,
        "EfficientNet_lite0",
        ("_blocks.0._depthwise_conv.weight",),
        layer_names.efficientnet_pytorch,
    ),
    NamingScheme(
        TIMM,
        r"PPLCNet_x.*",
        ("blocks.4.3.conv_dw.weight", "blocks.5.1.se.conv_reduce.weight", "conv_head.bias"),
        timm_names.pp_lcnet,
        dropouts={"fc": "dropout"},
        zeros=r"conv_head\.bias",
        unsupported=HEAD_BIAS,
    ),
    NamingScheme(TIMM, r"PPHGNet_.*", ("stem.stem.0.conv.weight",), timm_names.pp_hgnet, dropouts={"fc": "dropout"}),
    NamingScheme(
        TIMM,
        r"PPHGNetV2_.*",
        ("stem.stem2a.conv.weight",),
        timm_names.pp_hgnet_v2,
        dropouts={"fc": "dropout"},
        not_negative=r"stem\.stem1\.lab\.(scale|bias)",
        unsupported=ZERO_PADDED_POOLING,
    ),
    NamingScheme(
        TIMM,
        r"MobileNetV4_.*",
        ("norm_head.weight", r"blocks\.\d\.\d\.pw_exp\.conv\.weight"),
        timm_names.mobilenet_v4,
        queries=r".*\.query_proj",
    ),
    NamingScheme(TIMM, r"GhostNet_.*", ("blocks.0.0.ghost1.primary_conv.0.weight",), unsupported=OTHER_GATES),
    NamingScheme(TIMM, r"RepVGG_.*", ("stem.conv_kxk.conv.weight", "stages.3.0.conv_1x1.bn.weight"), timm_names.repvgg),
    NamingScheme(
        TIMM,
        r"RepVGG_.*",
        ("stem.reparam_conv.weight", "stages.3.0.reparam_conv.bias"),
        timm_names.repvgg,
        add_branches=branches.repvgg,
        note=FUSED,
    ),
    NamingScheme(TIMM, r"StarNet_.*", ("stages.0.1.dwconv2.conv.weight", "norm.running_mean"), timm_names.starnet),
    NamingScheme(
        TIMM,
        r"FasterNet_.*",
        ("stages.0.blocks.0.spatial_mixing.partial_conv3.weight", "conv_head.weight"),
        timm_names.fasternet,
    ),
]


def recognize(entries: Collection[str], architecture: str, origin: str | None, source: object) -> NamingScheme | None:
    """Return the naming scheme of a file with these entries for `architecture`; None: its names are PaddlePaddle's.

    That is assumed for `origin` "paddleclas", and without an `origin` if no naming scheme has these names.

    Raises:
        ConfigError: `origin` is not one of `ORIGINS`, or has no such architecture.
        WeightsError: the file belongs to another family, or does not have the names of `origin`.
    """
    if origin == "paddleclas":
        return None
    if origin is not None and origin not in ORIGINS:
        raise ConfigError(f"--from: expected {', '.join(ORIGINS[:-1])} or {ORIGINS[-1]}, got {origin!r}")
    family = [scheme for scheme in NAMING_SCHEMES if scheme.covers(architecture)]
    candidates = [scheme for scheme in family if origin is None or origin in scheme.origins]
    found = next((scheme for scheme in candidates if scheme.matches(entries)), None)
    if found is not None:
        return found
    if origin is not None and not candidates:
        others = dict.fromkeys(["paddleclas", *(name for scheme in family for name in scheme.origins)])
        raise ConfigError(f"--from: {origin} has no weights that fit {architecture}; expected {' or '.join(others)}")
    other = next((scheme for scheme in (*family, *NAMING_SCHEMES) if scheme.matches(entries)), None)
    if other is not None:
        expected = f"{origin}'s {architecture}" if origin else architecture
        raise WeightsError(
            f"{source}: expected the names of {expected}, got those of {other.origins[0]}'s"
            f" {_family_name(other.architectures)}"
        )
    if origin is not None:
        first = next(iter(entries), "none")
        raise WeightsError(f"{source}: expected the names of {origin}'s {architecture}; the first entry is {first!r}")
    return None


def _family_name(architectures: str) -> str:
    """Return 'ResNet' for the pattern 'ResNet\\d+(_vd)?'."""
    return re.match(r"(Rep)?VGG|.*?Net(V\d)?", architectures)[0]  # type: ignore[index]
