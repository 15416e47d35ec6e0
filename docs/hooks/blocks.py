"""Draw the block of each family of architectures as SVG: `python docs/hooks/blocks.py` writes docs/blocks/FAMILY.svg.

A block is described by its steps, from the input to the output. `tests/docs/test_blocks.py` compares the convolutions,
batch norms and squeeze-and-excitations of a description with the layers of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "blocks"
BOX_HEIGHT, GAP, LANE, MARGIN = 26, 16, 22, 14  # pixels; LANE: width of a branch without steps
CHARACTER = 7.2  # width of a character in pixels
# Readable on white and on black: lines of a medium gray, and dark text on light boxes.
LINE, TEXT = "#808891", "#16202c"
FILLS = {"conv": "#b9d7f4", "depthwise": "#bfe6c8", "group": "#b9d7f4", "SE": "#f3d4ae", "merge": "#e3d3f2"}
OTHER = "#dfe3e8"


@dataclass(frozen=True)
class Split:
    """Parallel branches of steps and the operation that merges them; a branch without steps is a shortcut."""

    branches: Sequence[Sequence[Step]]
    merge: str


Step = str | Split


@dataclass(frozen=True)
class Block:
    """The block of a family.

    Attributes:
        steps: from the input to the output.
        network: an architecture of the family, which has the block as its layer `layer`.
        note: what the picture does not show.
    """

    network: str
    layer: str
    steps: Sequence[Step]
    note: str = ""


def residual(*steps: Step) -> Split:
    return Split([steps, []], "add")


def ghost_module(activation: str) -> list[Step]:
    return [f"conv 1x1, BN{activation}", Split([[], [f"depthwise 3x3, BN{activation}"]], "concatenate")]


def collect(steps: Sequence[str]) -> Step:
    """Return steps whose input and outputs are all concatenated."""
    first, *others = steps
    return Split([[], [first, collect(others)] if others else [first]], "concatenate")


BLOCKS = {
    "alexnet": Block("AlexNet", "_conv2", ["conv 5x5", "ReLU", "max pool 3x3"]),
    "densenet": Block(
        "DenseNet121",
        "db_conv_2.conv2_2",
        [Split([["BN, ReLU", "conv 1x1", "BN, ReLU", "conv 3x3"], []], "concatenate")],
    ),
    "efficientnet": Block(
        "EfficientNetB0",
        "_ef.block.2.",
        [residual("conv 1x1, BN, Swish", "depthwise 3x3, BN, Swish", "SE", "conv 1x1, BN")],
        "Some blocks have depthwise 5x5 convolutions.",
    ),
    "esnet": Block(
        "ESNet_x0_25",
        "blocks.2",
        [
            "split channels",
            Split(
                [
                    [
                        "conv 1x1, BN, Hardswish",
                        Split([[], ["depthwise 3x3, BN"]], "concatenate"),
                        "SE",
                        "conv 1x1, BN, Hardswish",
                    ],
                    [],
                ],
                "concatenate",
            ),
            "channel shuffle",
        ],
    ),
    "fasternet": Block(
        "FasterNet_T0",
        "stages.2.blocks.0",
        [residual("conv 3x3 of 1/4 of the channels", "conv 1x1, BN, GELU", "conv 1x1")],
    ),
    "ghostnet": Block(
        "GhostNet_x1_0",
        "_ghostbottleneck_2",
        [residual(*ghost_module(", ReLU"), *ghost_module(""))],
        "Some blocks have an SE between the two Ghost modules.",
    ),
    "googlenet": Block(
        "GoogLeNet",
        "_ince3b",
        [
            Split(
                [["conv 1x1"], ["conv 1x1", "conv 3x3"], ["conv 1x1", "conv 5x5"], ["max pool 3x3", "conv 1x1"]],
                "concatenate",
            ),
            "ReLU",
        ],
    ),
    "lenet": Block(
        "LeNet",
        "",
        ["conv 5x5, ReLU", "max pool 2x2", "conv 5x5, ReLU", "max pool 2x2", "linear, ReLU", "linear, ReLU", "linear"],
    ),
    "mobilenet_v1": Block("MobileNetV1", "blocks.1", ["depthwise 3x3, BN, ReLU", "conv 1x1, BN, ReLU"]),
    "mobilenet_v2": Block(
        "MobileNetV2",
        "conv3.conv3_2",
        [residual("conv 1x1, BN, ReLU6", "depthwise 3x3, BN, ReLU6", "conv 1x1, BN")],
    ),
    "mobilenet_v3": Block(
        "MobileNetV3_large_x1_0",
        "blocks.4",
        [residual("conv 1x1, BN, ReLU", "depthwise 5x5, BN, ReLU", "SE", "conv 1x1, BN")],
        "Some blocks have no SE, some have depthwise 3x3 convolutions, and some have Hardswish instead of ReLU.",
    ),
    "mobilenet_v4": Block(
        "MobileNetV4_conv_small",
        "blocks.4",
        ["depthwise 5x5, BN", "conv 1x1, BN, ReLU", "depthwise 5x5, BN, ReLU", "conv 1x1, BN"],
        "Each of the depthwise convolutions can be missing; blocks that keep the shape have a shortcut.",
    ),
    "nin": Block("NIN", "block2", ["conv 5x5, ReLU", "conv 1x1, ReLU", "conv 1x1, ReLU"]),
    "pp_hgnet": Block(
        "PPHGNet_tiny",
        "stages.1.blocks.0",
        [collect(["conv 3x3, BN, ReLU"] * 5), "conv 1x1, BN, ReLU", "SE"],
        "The first block of a stage has no shortcut; the others have one.",
    ),
    "pp_hgnet_v2": Block(
        "PPHGNetV2_B0",
        "stages.1.blocks.0",
        [collect(["conv 3x3, BN, ReLU"] * 3), "conv 1x1, BN, ReLU", "conv 1x1, BN, ReLU"],
        "In small networks a learnable affine block follows each ReLU; later stages have a 1x1 and a depthwise 5x5 "
        "convolution instead of each 3x3 convolution.",
    ),
    "pp_lcnet": Block(
        "PPLCNet_x0_25",
        "blocks3.0",
        ["depthwise 3x3, BN, Hardswish", "conv 1x1, BN, Hardswish"],
        "Later blocks have depthwise 5x5 convolutions; the last two also have an SE before the 1x1 convolution.",
    ),
    "pp_lcnet_v2": Block(
        "PPLCNetV2_small",
        "stages.0.1",
        ["depthwise 3x3, BN, ReLU", "conv 1x1, BN, ReLU"],
        "In training, blocks of the last two stages sum parallel depthwise convolutions of several sizes, which `fuse` "
        "merges into one. Blocks of the third stage also have an SE and two 1x1 convolutions. In the last stage, "
        "blocks that keep the shape have a shortcut.",
    ),
    "repvgg": Block(
        "RepVGG_A0",
        "stage1.1",
        [Split([["conv 3x3, BN"], ["conv 1x1, BN"], ["BN"]], "add"), "ReLU"],
        "`fuse` replaces the three branches by one 3x3 convolution for inference.",
    ),
    "resnet": Block(
        "ResNet18",
        "blocks.1",
        [residual("conv 3x3, BN, ReLU", "conv 3x3, BN"), "ReLU"],
        "Networks with 50 or more layers have bottlenecks: 1x1, 3x3 and 1x1 convolutions.",
    ),
    "senet": Block(
        "SE_ResNet18_vd",
        "bb_0_1",
        [residual("conv 3x3, BN, ReLU", "conv 3x3, BN", "SE"), "ReLU"],
        "Networks with 50 or more layers have bottlenecks: 1x1, 3x3 and 1x1 convolutions.",
    ),
    "shufflenet_v1": Block(
        "ShuffleNetV1_g3",
        "stage2.1",
        [
            residual("group conv 1x1, BN, ReLU", "channel shuffle", "depthwise 3x3, BN", "group conv 1x1, BN"),
            "ReLU",
        ],
    ),
    "shufflenet_v2": Block(
        "ShuffleNetV2_x0_25",
        "2_3",
        [
            "split channels",
            Split([["conv 1x1, BN, ReLU", "depthwise 3x3, BN", "conv 1x1, BN, ReLU"], []], "concatenate"),
            "channel shuffle",
        ],
    ),
    "squeezenet": Block(
        "SqueezeNet1_0",
        "_conv2",
        ["conv 1x1, ReLU", Split([["conv 1x1, ReLU"], ["conv 3x3, ReLU"]], "concatenate")],
    ),
    "starnet": Block(
        "StarNet_S1",
        "stages.0.2",
        [
            residual(
                "depthwise 7x7, BN",
                Split([["conv 1x1", "ReLU6"], ["conv 1x1"]], "multiply"),
                "conv 1x1, BN",
                "depthwise 7x7",
            )
        ],
    ),
    "vgg": Block("VGG11", "conv_block_2", ["conv 3x3, ReLU", "max pool 2x2"], "Blocks have one to four convolutions."),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for family, block in BLOCKS.items():
        (FOLDER / f"{family}.svg").write_text(draw(block.steps), encoding="utf-8")


def list_boxes(steps: Sequence[Step]) -> list[str]:
    """Return the texts of all boxes, without the merging operations."""
    found: list[str] = []
    for step in steps:
        found += [step] if isinstance(step, str) else [box for branch in step.branches for box in list_boxes(branch)]
    return found


def draw(steps: Sequence[Step]) -> str:
    """Return the SVG of a block."""
    steps = ["input", *steps]
    width, height = _size(steps)
    middle, bottom = width / 2 + MARGIN, height + 2 * MARGIN + GAP
    parts = [*_draw_steps(steps, middle, MARGIN), _line(middle, height + MARGIN, middle, bottom - 4, arrow=True)]
    size = f"{width + 2 * MARGIN:.0f} {bottom:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{size.split()[0]}" '
        f'height="{size.split()[1]}" font-family="sans-serif" font-size="13" text-anchor="middle">\n'
        f"<title>{escape(', '.join(list_boxes(steps)[1:]))}</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _size(steps: Sequence[Step]) -> tuple[float, float]:
    """Return width and height of steps below each other; a branch without steps is a line."""
    if not steps:
        return LANE, 0
    sizes = [_step_size(step) for step in steps]
    return max(width for width, _ in sizes), sum(height for _, height in sizes) + GAP * (len(steps) - 1)


def _step_size(step: Step) -> tuple[float, float]:
    if isinstance(step, str):
        return len(step) * CHARACTER + 20, BOX_HEIGHT
    sizes = [_size(branch) for branch in step.branches]
    width = sum(width for width, _ in sizes) + GAP * (len(sizes) - 1)
    return max(width, _step_size(step.merge)[0]), max(height for _, height in sizes) + 2 * GAP + BOX_HEIGHT


def _draw_steps(steps: Sequence[Step], middle: float, top: float) -> Iterator[str]:
    for number, step in enumerate(steps):
        if number:
            yield _line(middle, top - GAP, middle, top, arrow=isinstance(step, str))
        yield from _draw_box(step, middle, top) if isinstance(step, str) else _draw_split(step, middle, top)
        top += _step_size(step)[1] + GAP


def _draw_split(split: Split, middle: float, top: float) -> Iterator[str]:
    sizes = [_size(branch) for branch in split.branches]
    merge_top = top + _step_size(split)[1] - BOX_HEIGHT
    left = middle - (sum(width for width, _ in sizes) + GAP * (len(sizes) - 1)) / 2
    centers = []
    for branch, (width, height) in zip(split.branches, sizes, strict=True):
        center = left + width / 2
        centers.append(center)
        left += width + GAP
        if branch:
            yield _line(center, top, center, top + GAP, arrow=isinstance(branch[0], str))
            yield from _draw_steps(branch, center, top + GAP)
        yield _line(center, top + GAP + height if branch else top, center, merge_top - GAP / 2)
    yield _line(min(*centers, middle), top, max(*centers, middle), top)
    yield _line(min(*centers, middle), merge_top - GAP / 2, max(*centers, middle), merge_top - GAP / 2)
    yield _line(middle, merge_top - GAP / 2, middle, merge_top, arrow=True)
    yield from _draw_box(split.merge, middle, merge_top, FILLS["merge"])


def _draw_box(text: str, middle: float, top: float, fill: str = "") -> Iterator[str]:
    width = _step_size(text)[0]
    fill = fill or FILLS.get(text.split()[0].rstrip(","), OTHER)
    yield (
        f'<rect x="{middle - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{BOX_HEIGHT}" rx="5" '
        f'fill="{fill}"/><text x="{middle:.1f}" y="{top + 17.5:.1f}" fill="{TEXT}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, arrow: bool = False) -> str:
    head = f'<path d="M{x2 - 4:.1f} {y2 - 6:.1f}h8l-4 6z" fill="{LINE}"/>' if arrow else ""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{LINE}" stroke-width="1.5"/>{head}'


if __name__ == "__main__":
    main()
