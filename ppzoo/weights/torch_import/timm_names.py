"""Layer names of timm's PP-LCNet, PP-HGNet, PP-HGNetV2, MobileNetV4, RepVGG, StarNet and FasterNet.

The functions are like those of `layer_names`. Most names differ only in some components, so most functions are lists of
patterns of ppzoo's names with the names that timm has instead.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence

from ppzoo.weights.torch_import.layer_names import LayerNames

Rules = Mapping[str, str]  # pattern of ppzoo's complete name -> timm's name, with the groups of the pattern

LAST_CONV = {r"last_conv": "conv_head", r"fc": "classifier"}


def pp_lcnet(layers: Sequence[str]) -> LayerNames:
    """timm's `lcnet`, whose fourth and fifth stage are `blocks5`."""
    starts = {"2": (0, 0), "3": (1, 0), "4": (2, 0), "5": (3, 0), "6": (5, 0)}
    parts = {
        "dw_conv.conv": "conv_dw",
        "dw_conv.bn": "bn1",
        "se.conv1": "se.conv_reduce",
        "se.conv2": "se.conv_expand",
        "pw_conv.conv": "conv_pw",
        "pw_conv.bn": "bn2",
    }
    names = _translated(layers, {r"conv1\.conv": "conv_stem", r"conv1\.bn": "bn1", **LAST_CONV})
    for layer in layers:
        if found := re.fullmatch(r"blocks(\d)\.(\d)\.(.+)", layer):
            stage, number = starts[found[1]][0], int(found[2])
            if found[1] == "5" and number > 1:
                stage, number = stage + 1, number - 2
            names[layer] = f"blocks.{stage}.{number}.{parts[found[3]]}"
    return names


def pp_hgnet(layers: Sequence[str]) -> LayerNames:
    """timm's `hgnet`."""
    return _translated(
        layers,
        {
            r"stem\.(.+)": r"stem.stem.\1",
            r"(.+)\.aggregation_conv\.(conv|bn)": r"\1.aggregation.0.\2",
            r"(.+)\.att\.conv": r"\1.aggregation.1.conv",
            r"last_conv": "head.last_conv.0",
            r"fc": "head.fc",
        },
    )


def pp_hgnet_v2(layers: Sequence[str]) -> LayerNames:
    """timm's `hgnetv2`."""
    return _translated(
        layers,
        {
            r"(.+)\.aggregation_squeeze_conv\.(.+)": r"\1.aggregation.0.\2",
            r"(.+)\.aggregation_excitation_conv\.(.+)": r"\1.aggregation.1.\2",
            r"last_conv": "head.last_conv.0",
            r"lab": "head.last_conv.2",
            r"fc": "head.fc",
        },
    )


# Number of blocks -> number of blocks in each of timm's stages. In ppzoo, all blocks are numbered consecutively.
MOBILENET_V4_STAGES = {
    17: (2, 2, 6, 6, 1),  # conv_small
    23: (1, 2, 8, 11, 1),  # conv_medium
    28: (1, 2, 11, 13, 1),  # conv_large
    32: (1, 2, 12, 16, 1),  # hybrid_medium
    37: (1, 2, 15, 18, 1),  # hybrid_large
}


def mobilenet_v4(layers: Sequence[str]) -> LayerNames:
    """timm's `mobilenetv4_conv` and `mobilenetv4_hybrid`."""
    numbers = {int(layer.split(".")[1]) for layer in layers if layer.startswith("blocks.")}
    sizes = MOBILENET_V4_STAGES[len(numbers)]
    blocks = [f"blocks.{stage}.{number}" for stage, size in enumerate(sizes) for number in range(size)]

    def with_stage(name: str) -> str:
        _, number, rest = name.split(".", 2)
        return f"{blocks[int(number)]}.{rest}"

    return _translated(
        layers,
        {
            r"conv_stem\.conv": "conv_stem",
            r"conv_stem\.bn": "bn1",
            r"conv_head\.conv": "conv_head",
            r"conv_head\.bn": "norm_head",
            r"(blocks\.\d+)\.bn": r"\1.bn1",
            r"(.+)\.conv_exp\.conv": r"\1.conv_exp",
            r"(.+)\.conv_exp\.bn": r"\1.bn1",
            r"(.+)\.conv_pwl\.conv": r"\1.conv_pwl",
            r"(.+)\.conv_pwl\.bn": r"\1.bn2",
            r"(.+)\.(query|key|value)_proj": r"\1.attn.\2.proj",
            r"(.+)\.(key|value)_down_proj\.conv": r"\1.attn.\2.down_conv",
            r"(.+)\.(key|value)_down_proj\.bn": r"\1.attn.\2.norm",
            r"(.+)\.proj": r"\1.attn.output.proj",
        },
        lambda layer, name: with_stage(name) if layer.startswith("blocks.") else name,
    )


def repvgg(layers: Sequence[str]) -> LayerNames:
    """timm's `repvgg` with its branches."""
    branches = {"rbr_dense": "conv_kxk", "rbr_1x1": "conv_1x1", "rbr_identity": "identity"}
    stages = {"stage0": "stem", **{f"stage{number + 1}": f"stages.{number}" for number in range(4)}}
    gates = {"se.down": "attn.fc1", "se.up": "attn.fc2"}
    parts = {**branches, **gates}
    rules = {r"linear": "head.fc"}
    for (stage, their_stage), (part, their_part) in itertools.product(stages.items(), parts.items()):
        rules[rf"{stage}((?:\.\d+)?)\.{re.escape(part)}((?:\.(?:conv|bn))?)"] = rf"{their_stage}\1.{their_part}\2"
    return _translated(layers, rules)


def starnet(layers: Sequence[str]) -> LayerNames:
    """timm's `starnet`, which has the same names."""
    return _translated(layers, {})


def fasternet(layers: Sequence[str]) -> LayerNames:
    """timm's `fasternet`: a stage begins with the merging of patches, which is a separate stage in ppzoo."""
    merging = {rf"stages\.{2 * stage - 1}\.(.+)": rf"stages.{stage}.downsample.\1" for stage in (1, 2, 3)}
    blocks = {rf"stages\.{2 * stage}\.(.+)": rf"stages.{stage}.\1" for stage in range(4)}
    return _translated(layers, {**merging, **blocks, r"avgpool_pre_head\.1": "conv_head", r"head": "classifier"})


def _translated(
    layers: Sequence[str], rules: Rules, finish: Callable[[str, str], str] = lambda layer, name: name
) -> LayerNames:
    """Apply the first matching rule to each layer, or keep its name, and then `finish(ppzoo's name, timm's name)`."""
    names: LayerNames = {}
    for layer in layers:
        found = ((re.fullmatch(pattern, layer), name) for pattern, name in rules.items())
        matching = next(((match, name) for match, name in found if match), None)
        names[layer] = finish(layer, matching[0].expand(matching[1]) if matching else layer)
    return names
