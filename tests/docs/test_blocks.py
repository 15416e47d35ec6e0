"""The pictures of blocks are what their script draws, and show the layers that the networks have."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

import blocks as script
import pytest

from ppzoo import create_model
from ppzoo.models import table

families = pytest.mark.parametrize("family", script.BLOCKS)


def described_layers(steps) -> Counter[str]:
    found = re.findall(r"group conv \dx\d|conv \dx\d|depthwise \dx\d|BN|SE|linear", "; ".join(script.list_boxes(steps)))
    return Counter(found)


def real_layers(block) -> Counter[str]:
    """Count the layers of a block; a squeeze-and-excitation, which has a global pooling, counts as one layer."""
    layers = dict(block.named_sublayers())
    gates = {name.rpartition(".")[0] for name, layer in layers.items() if type(layer).__name__ == "AdaptiveAvgPool2D"}
    found = Counter({"SE": len(gates)})
    for name, layer in layers.items():
        if any(name.startswith(f"{gate}.") for gate in gates) or list(layer.children()):
            continue
        kind = type(layer).__name__
        if "BatchNorm" in kind:
            found["BN"] += 1
        elif kind == "Linear":
            found["linear"] += 1
        elif "Conv" in kind:
            found[describe_convolution(layer)] += 1
    return +found


def describe_convolution(layer) -> str:
    outputs, per_group, size, _ = layer.weight.shape
    groups = outputs if per_group == 1 else getattr(layer, "_groups", 1)
    kind = {1: "conv", outputs: "depthwise"}.get(groups, "group conv")
    return f"{kind} {size}x{size}"


def test_every_family_has_a_picture():
    assert set(script.BLOCKS) == set(table.list_families())
    assert {file.stem for file in script.FOLDER.glob("*.svg")} == set(script.BLOCKS)


@families
def test_pictures_are_up_to_date(family):
    drawn = script.draw(script.BLOCKS[family].steps)
    assert (script.FOLDER / f"{family}.svg").read_text(encoding="utf-8") == drawn, "run `python docs/hooks/blocks.py`"


@families
def test_pictures_show_the_layers_of_the_network(family):
    block = script.BLOCKS[family]
    assert table.family_of(block.network) == family
    network = create_model(block.network)
    layer = dict(network.named_sublayers())[block.layer] if block.layer else network
    assert described_layers(block.steps) == real_layers(layer)


@families
def test_boxes_lie_in_the_picture(family):
    root = ElementTree.fromstring(script.draw(script.BLOCKS[family].steps))
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [
        tuple(float(box.get(key)) for key in ("x", "y", "width", "height"))
        for box in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    overlapping = [
        (a, b)
        for i, a in enumerate(boxes)
        for b in boxes[:i]
        if a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
    ]
    assert not overlapping
