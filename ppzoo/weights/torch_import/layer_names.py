"""Layer names of PyTorch networks: one function per family and origin.

Each function takes the attribute paths of the layers of ppzoo's network in the order of its state dict, and returns the
path of each layer in the PyTorch network; None marks a layer that the PyTorch network does not have and that must
compute the identity. The names are those of torchvision and timm (github.com/pytorch/vision,
github.com/huggingface/pytorch-image-models) and of EfficientNet-PyTorch (github.com/lukemelas/EfficientNet-PyTorch),
which the files of EfficientNet-Lite use, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

LayerNames = dict[str, str | None]
NORMS = ("bn", "_bn", "_batch_norm")


def alexnet(layers: Sequence[str]) -> LayerNames:
    """torchvision's AlexNet."""
    features = {"_conv1._conv": 0, "_conv2._conv": 3, "_conv3": 6, "_conv4": 8, "_conv5._conv": 10}
    classifier = {"_fc6": 1, "_fc7": 4, "_fc8": 6}
    return {
        **{layer: f"features.{index}" for layer, index in features.items()},
        **{layer: f"classifier.{index}" for layer, index in classifier.items()},
    }


def vgg(layers: Sequence[str]) -> LayerNames:
    """torchvision's VGG: convolutions, ReLUs and poolings are numbered consecutively."""
    return _vgg(layers, ("classifier.0", "classifier.3", "classifier.6"))


def timm_vgg(layers: Sequence[str]) -> LayerNames:
    """timm's VGG, whose first two linear layers are convolutions."""
    return _vgg(layers, ("pre_logits.fc1", "pre_logits.fc2", "head.fc"))


def _vgg(layers: Sequence[str], head: tuple[str, str, str]) -> LayerNames:
    names: LayerNames = dict(zip(("fc1", "fc2", "fc3"), head, strict=True))
    convolutions = [layer for layer in layers if layer.startswith("conv_block_")]
    for number, layer in enumerate(convolutions):
        poolings = int(layer.removeprefix("conv_block_").partition(".")[0]) - 1
        names[layer] = f"features.{2 * number + poolings}"
    return names


def resnet(layers: Sequence[str]) -> LayerNames:
    """torchvision's and timm's ResNet, and timm's ResNet "d" (deep stem and pooled shortcuts)."""
    deep = "stem.1.conv" in layers
    starts = _stage_starts(layers)
    names: LayerNames = {"fc": "fc"}
    for layer in layers:
        if layer.startswith("stem."):
            _, number, kind = layer.split(".")
            names[layer] = _stem_name(int(number), kind, deep)
        elif layer.startswith("blocks."):
            _, number, part, kind = layer.split(".")
            stage = sum(start <= int(number) for start in starts)
            has_identity = stage == 1 and "blocks.0.conv2.conv" not in layers
            if part == "short" and has_identity:
                names[layer] = None
            else:
                block = f"layer{stage}.{int(number) - starts[stage - 1]}"
                names[layer] = f"{block}.{_block_part(part, kind, pooled=deep)}"
    return names


def resnet_vc(layers: Sequence[str]) -> LayerNames:
    """timm's ResNet "c" (deep stem)."""
    names: LayerNames = {"out": "fc"}
    for layer in layers:
        path = layer.split(".")
        if found := re.fullmatch(r"conv1_(\d)", path[0]):
            names[layer] = _stem_name(int(found[1]) - 1, path[1], deep=True)
        elif found := re.fullmatch(r"bb_(\d)_(\d+)", path[0]):
            names[layer] = f"layer{int(found[1]) + 1}.{found[2]}.{_block_part(*path[1:], pooled=False)}"
    return names


def _stage_starts(layers: Sequence[str]) -> list[int]:
    """Return the numbers of the first blocks of all stages: block 0, and those with a convolution in the shortcut."""
    projected = [int(layer.split(".")[1]) for layer in layers if layer.endswith(".short.conv")]
    return sorted({0, *projected})


def _stem_name(number: int, kind: str, deep: bool) -> str:
    """Name of a stem's convolution or norm.

    In a deep stem, PyTorch's `conv1` is a sequence of convolutions, norms and ReLUs; the last norm is `bn1`.
    """
    norm = kind in NORMS
    if not deep:
        return "bn1" if norm else "conv1"
    return "bn1" if norm and number == 2 else f"conv1.{3 * number + norm}"


def _block_part(part: str, kind: str, *, pooled: bool) -> str:
    """Name of a block's convolution or norm; `pooled`: the shortcut starts with a pooling or an identity."""
    norm = kind in NORMS
    if part == "short":
        return f"downsample.{pooled + norm}"
    return f"{'bn' if norm else 'conv'}{int(part.removeprefix('conv')) + 1}"


def densenet(layers: Sequence[str]) -> LayerNames:
    """torchvision's and timm's DenseNet."""
    names: LayerNames = {
        "conv1_func._conv": "features.conv0",
        "conv1_func._batch_norm": "features.norm0",
        "batch_norm": "features.norm5",
        "out": "classifier",
    }
    for layer in layers:
        kind = "norm" if layer.endswith(NORMS) else "conv"
        if found := re.match(r"db_conv_(\d)\.conv\d_(\d+)\.bn_ac_func(\d)\.", layer):
            names[layer] = f"features.denseblock{int(found[1]) - 1}.denselayer{found[2]}.{kind}{found[3]}"
        elif found := re.match(r"tr_conv(\d)_blk\.", layer):
            names[layer] = f"features.transition{int(found[1]) - 1}.{kind}"
    return names


def mobilenet_v2(layers: Sequence[str]) -> LayerNames:
    """torchvision's MobileNetV2: units are numbered consecutively; the first has no expansion."""
    units = list(_grouped(layers, r"(conv\d\.\w+)\._(expand_conv|bottleneck_conv|linear_conv)\."))
    last = f"features.{len(units) + 1}"
    names: LayerNames = {**_pair("conv1", "features.0.0", "features.0.1"), **_pair("conv9", f"{last}.0", f"{last}.1")}
    names["out"] = "classifier.1"
    for number, unit in enumerate(units, start=1):
        block = f"features.{number}.conv"
        depthwise = 0 if number == 1 else 1
        names |= _pair(f"{unit}._expand_conv", f"{block}.0.0", f"{block}.0.1")
        names |= _pair(f"{unit}._bottleneck_conv", f"{block}.{depthwise}.0", f"{block}.{depthwise}.1")
        names |= _pair(f"{unit}._linear_conv", f"{block}.{depthwise + 1}", f"{block}.{depthwise + 2}")
    return _without_first_expansion(names, units)


def timm_mobilenet_v2(layers: Sequence[str]) -> LayerNames:
    """timm's MobileNetV2: units are numbered per stage; the first has no expansion."""
    units = list(_grouped(layers, r"(conv\d\.\w+)\._(expand_conv|bottleneck_conv|linear_conv)\."))
    names: LayerNames = {
        **_pair("conv1", "conv_stem", "bn1"),
        **_pair("conv9", "conv_head", "bn2"),
        "out": "classifier",
    }
    for unit, block in _timm_blocks(units, lambda unit: unit.endswith("._first_block")):
        parts = [f"{unit}._expand_conv", f"{unit}._bottleneck_conv", f"{unit}._linear_conv"]
        names |= _timm_block(parts[1:] if unit == units[0] else parts, block)
    return _without_first_expansion(names, units)


def _without_first_expansion(names: LayerNames, units: Sequence[str]) -> LayerNames:
    return {**names, f"{units[0]}._expand_conv._conv": None, f"{units[0]}._expand_conv._batch_norm": None}


def shufflenet_v2(layers: Sequence[str]) -> LayerNames:
    """torchvision's ShuffleNetV2."""
    positions = {
        "_conv_dw_1": ("branch1", 0),
        "_conv_linear_1": ("branch1", 2),
        "_conv_pw": ("branch2", 0),
        "_conv_dw": ("branch2", 3),
        "_conv_linear": ("branch2", 5),
    }
    names: LayerNames = {
        **_pair("_conv1", "conv1.0", "conv1.1"),
        **_pair("_last_conv", "conv5.0", "conv5.1"),
        "_fc": "fc",
    }
    for layer in layers:
        if found := re.match(r"(\d)_(\d+)\.(\w+)\.", layer):
            stage, number, part = found.groups()
            branch, index = positions[part.removesuffix("_2")]
            block = f"stage{stage}.{int(number) - 1}.{branch}"
            names |= _pair(f"{stage}_{number}.{part}", f"{block}.{index}", f"{block}.{index + 1}")
    return names


def efficientnet_pytorch(layers: Sequence[str]) -> LayerNames:
    """EfficientNet-PyTorch's EfficientNet."""
    parts = {"_ecn": ("_expand_conv", "_bn0"), "_dcn": ("_depthwise_conv", "_bn1"), "_pcn": ("_project_conv", "_bn2")}
    names: LayerNames = {
        **_efficientnet_pair("_ef._conv_stem._conv", "_conv_stem", "_bn0"),
        **_efficientnet_pair("_conv", "_conv_head", "_bn1"),
        "_fc": "_fc",
    }
    for number, unit in enumerate(_grouped(layers, EFFICIENTNET_UNIT)):
        block = f"_blocks.{number}"
        for part, (conv, norm) in parts.items():
            names |= _efficientnet_pair(f"{unit}.{part}._conv", f"{block}.{conv}", f"{block}.{norm}")
        names[f"{unit}._se._conv1._conv"] = f"{block}._se_reduce"
        names[f"{unit}._se._conv2._conv"] = f"{block}._se_expand"
    return names


def timm_efficientnet(layers: Sequence[str]) -> LayerNames:
    """timm's EfficientNet."""
    names: LayerNames = {
        **_efficientnet_pair("_ef._conv_stem._conv", "conv_stem", "bn1"),
        **_efficientnet_pair("_conv", "conv_head", "bn2"),
        "_fc": "classifier",
    }
    units = list(_grouped(layers, EFFICIENTNET_UNIT))
    for unit, block in _timm_blocks(units, lambda unit: unit.startswith("_ef._blocks.")):
        expands = f"{unit}._ecn._conv._bn" in layers
        parts = [f"{unit}.{part}._conv" for part in (("_ecn", "_dcn", "_pcn") if expands else ("_dcn", "_pcn"))]
        names |= _timm_block(parts, block, pair=_efficientnet_pair)
        names[f"{unit}._se._conv1._conv"] = f"{block}.se.conv_reduce"
        names[f"{unit}._se._conv2._conv"] = f"{block}.se.conv_expand"
    return names


EFFICIENTNET_UNIT = r"(_ef\._?blocks?\.\d+\.)\."


def _grouped(layers: Sequence[str], pattern: str) -> Iterator[str]:
    """Yield the distinct first groups of the matches of `pattern` at the start of the layers, in order."""
    found = (re.match(pattern, layer) for layer in layers)
    yield from dict.fromkeys(match[1] for match in found if match)


def _pair(block: str, conv: str, norm: str) -> LayerNames:
    return {f"{block}._conv": conv, f"{block}._batch_norm": norm}


def _efficientnet_pair(block: str, conv: str, norm: str) -> LayerNames:
    return {f"{block}._conv._conv": conv, f"{block}._bn": norm}


def _timm_blocks(units: Sequence[str], opens_stage: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield each unit with its name in timm: `blocks.STAGE.NUMBER`, both from 0."""
    stage = number = -1
    for unit in units:
        stage, number = (stage + 1, 0) if opens_stage(unit) else (stage, number + 1)
        yield unit, f"blocks.{stage}.{number}"


def _timm_block(parts: Sequence[str], block: str, pair: Callable[[str, str, str], LayerNames] = _pair) -> LayerNames:
    """timm's names in an inverted residual; without expansion, the projection is named `conv_pw`."""
    convolutions = ("conv_pw", "conv_dw", "conv_pwl") if len(parts) == 3 else ("conv_dw", "conv_pw")
    names: LayerNames = {}
    for number, (part, conv) in enumerate(zip(parts, convolutions, strict=True), start=1):
        names |= pair(part, f"{block}.{conv}", f"{block}.bn{number}")
    return names
