"""Which networks of PyTorch can become ours, and why the others cannot.

What is imported answers what it answered in PyTorch: measured against torchvision 0.29 and timm 1.0 with random weights
and statistics. What no weights of ours can compute is refused with the fact that stands against it. A file says names
and shapes only: timm's networks that share them with another one but compute something else (`resnetaa50d` and
`resnetblur50d` with `resnet50d`) are the caller's to keep apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

from ppzoo.errors import ConfigError, WeightsError
from ppzoo.weights.torch_import import names
from ppzoo.weights.torch_import.names import LayerNames

Origin = Literal["torchvision", "timm", "timm-tf", "efficientnet-pytorch", "paddleclas"]
ORIGINS: tuple[str, ...] = get_args(Origin)


@dataclass(frozen=True)
class NamingScheme:
    """How the files of one family look in one place, and how they become ours.

    Attributes:
        origins: who writes so; the first is meant where nothing is said.
        architectures: pattern of our architectures of the family.
        marks: patterns of entries that tell these files from those of other families.
        layers: our layers' names there, as in `names`; None where the file is refused.
        refusal: what that network does, and ours cannot be made to.
        dropouts: linear layer -> the dropout before it, which scales in evaluation where PyTorch's does not.
        zeros: pattern of entries that our network has no place for and that must be zero; `refusal` says why.
        note: what the caller must know of the result.
    """

    origins: tuple[str, ...]
    architectures: str
    marks: tuple[str, ...]
    layers: Callable[[Sequence[str]], LayerNames] | None = None
    refusal: str = ""
    dropouts: Mapping[str, str] = field(default_factory=dict)
    zeros: str | None = None
    note: str = ""

    def fits(self, architecture: str) -> bool:
        return re.fullmatch(self.architectures, architecture) is not None

    def marked(self, entries: Collection[str]) -> bool:
        return all(any(re.fullmatch(mark, name) for name in entries) for mark in self.marks)


TORCHVISION, TIMM, TIMM_TF, EFFICIENTNET_PYTORCH = ("torchvision",), ("timm",), ("timm-tf",), ("efficientnet-pytorch",)
NATIVE_SIZE = "the network computes the same at its native image size only: PaddleClas's padding is TensorFlow's there"
NO_BIASES = "adds biases in its convolutions, and PaddleClas's has none"
HARD_SWISH_CUT = (
    "filters what the stem's hard swish gives as it is, and PaddleClas's has a ReLU in between, which cuts negative"
    " values; its gates and its last hidden layer have other shapes, too"
)
OTHER_PADDING = (
    "pads maps alike on both sides, and PaddleClas's as TensorFlow's SAME does, so that strides meet other pixels"
)
TF_NAMES = "; timm's tf_efficientnet_*, which have the same names, pad as PaddleClas's: for those say --from timm-tf"
plain_vgg = partial(
    NamingScheme, dropouts={"fc2": "drop", "fc3": "drop"}, zeros=r"features\.\d+\.bias", refusal=NO_BIASES
)

NAMING_SCHEMES = [
    NamingScheme(
        TORCHVISION,
        "AlexNet",
        ("features.10.bias", "classifier.1.weight"),
        names.alexnet,
        dropouts={"_fc6": "_drop1", "_fc7": "_drop2"},
    ),
    NamingScheme(
        (*TORCHVISION, *TIMM),
        r"VGG\d+",
        ("features.1.running_mean", r"features.\d\d.running_mean"),
        refusal="has batch norms, and PaddleClas's neither them nor the biases that they could be folded into",
    ),
    plain_vgg(TORCHVISION, r"VGG\d+", ("features.(2|3).bias", "classifier.3.weight"), names.vgg),
    plain_vgg(TIMM, r"VGG\d+", ("pre_logits.fc1.weight",), names.timm_vgg),
    NamingScheme(
        TORCHVISION,
        "GoogLeNet",
        ("inception3a.branch1.conv.weight",),
        refusal="has batch norms, and ReLUs between the convolutions of a branch, and PaddleClas's has neither",
    ),
    NamingScheme((*TORCHVISION, *TIMM), r"ResNet\d+(_cifar)?", ("layer1.0.conv1.weight",), names.resnet),
    NamingScheme(TIMM, r"ResNet\d+_vd", ("layer1.0.conv1.weight",), names.resnet),
    NamingScheme(TIMM, r"ResNet\d+_vc", ("layer1.0.conv1.weight",), names.resnet_vc),
    NamingScheme(
        (*TORCHVISION, *TIMM), r"DenseNet\d+", ("features.denseblock1.denselayer1.conv1.weight",), names.densenet
    ),
    NamingScheme(
        TORCHVISION,
        "SqueezeNet1_0",
        ("features.3.squeeze.weight",),
        refusal="rounds the sizes of pooled maps up, and PaddleClas's down: of 224 x 224 pixels they see other borders",
    ),
    NamingScheme(
        TORCHVISION,
        "SqueezeNet1_1",
        ("features.3.squeeze.weight",),
        refusal="does not pad the image, and PaddleClas's does, so that the first stride meets other pixels",
    ),
    NamingScheme(
        TORCHVISION,
        "ShuffleNetV2_swish",
        ("stage2.0.branch1.0.weight",),
        refusal="computes with ReLU, and this one with swish; the other's arch is ShuffleNetV2_x1_0",
    ),
    NamingScheme(TORCHVISION, r"ShuffleNetV2_x.*", ("stage2.0.branch1.0.weight",), names.shufflenet_v2),
    NamingScheme(TORCHVISION, r"MobileNetV3_.*", ("features.1.block.0.0.weight",), refusal=HARD_SWISH_CUT),
    NamingScheme(TIMM, r"MobileNetV3_.*", ("conv_stem.weight", "blocks.[56].0.conv.weight"), refusal=HARD_SWISH_CUT),
    NamingScheme(TORCHVISION, r"EfficientNetB\d", ("features.1.0.block.0.0.weight",), refusal=OTHER_PADDING),
    NamingScheme(
        TIMM, r"EfficientNetB\d", ("blocks.0.0.se.conv_reduce.weight", "bn2.weight"), refusal=OTHER_PADDING + TF_NAMES
    ),
    NamingScheme(
        TIMM_TF,
        r"EfficientNetB\d",
        ("blocks.0.0.se.conv_reduce.weight", "bn2.weight"),
        names.timm_efficientnet,
        note=NATIVE_SIZE,
    ),
    NamingScheme(
        EFFICIENTNET_PYTORCH,
        r"EfficientNetB\d",
        ("_blocks.0._se_reduce.weight",),
        names.efficientnet_pytorch,
        note=NATIVE_SIZE,
    ),
    NamingScheme(TORCHVISION, r"MobileNetV2(_x.*)?", ("features.1.conv.0.0.weight",), names.mobilenet_v2),
    NamingScheme(TIMM, r"MobileNetV2(_x.*)?", ("blocks.3.3.conv_dw.weight", "bn2.weight"), names.timm_mobilenet_v2),
    NamingScheme(
        TIMM, "EfficientNet_lite0", ("blocks.0.0.conv_dw.weight", "bn2.weight"), refusal=OTHER_PADDING + TF_NAMES
    ),
    NamingScheme(TIMM_TF, "EfficientNet_lite0", ("blocks.0.0.conv_dw.weight", "bn2.weight"), names.timm_efficientnet),
    NamingScheme(
        EFFICIENTNET_PYTORCH, "EfficientNet_lite0", ("_blocks.0._depthwise_conv.weight",), names.efficientnet_pytorch
    ),
]


def recognize(entries: Collection[str], architecture: str, origin: str | None, source: object) -> NamingScheme | None:
    """The dialect of a file with these entries for `architecture`; None if it is PaddlePaddle's.

    Raises:
        ConfigError: `origin` is none of `ORIGINS`, or writes no files for this architecture.
        WeightsError: the file is of another family, or not as `origin` writes them.
    """
    if origin == "paddleclas":
        return None
    if origin is not None and origin not in ORIGINS:
        raise ConfigError(f"origin: expected one of {', '.join(ORIGINS)}, got {origin!r}")
    family = [dialect for dialect in NAMING_SCHEMES if dialect.fits(architecture)]
    spoken = [dialect for dialect in family if origin is None or origin in dialect.origins]
    found = next((dialect for dialect in spoken if dialect.marked(entries)), None)
    if found is not None:
        return found
    if origin is not None and not spoken:
        others = dict.fromkeys(["paddleclas", *(name for dialect in family for name in dialect.origins)])
        raise ConfigError(f"there is no {architecture} of {origin}; expected one of {', '.join(others)}")
    kin = next((dialect for dialect in (*family, *NAMING_SCHEMES) if dialect.marked(entries)), None)
    if kin is not None:
        raise WeightsError(
            f"{source} is no {architecture} of {origin or 'any origin'}: its names are those of {kin.origins[0]}'s"
            f" {_family_name(kin.architectures)}"
        )
    if origin is not None:
        first = next(iter(entries), "none")
        raise WeightsError(f"{source} has not the names of {origin}'s {architecture}; its first is {first!r}")
    return None


def _family_name(architectures: str) -> str:
    """'ResNet' of 'ResNet\\d+(_vd)?'."""
    return re.match(r"VGG|.*?Net(V\d)?", architectures)[0]  # type: ignore[index]
