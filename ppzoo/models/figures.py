"""Size and cost of every architecture: parameters, and multiply-adds for one image of its native size.

They ship as `figures.json`, since counting takes a forward pass of each network: `python -m ppzoo.models.figures`
writes the file anew, and a test counts a sample again.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import paddle
from paddle import nn

from ppzoo.models.catalogue import MODELS, Variant

FILE = Path(__file__).with_name("figures.json")


class Figures(NamedTuple):
    """Of one architecture.

    Attributes:
        params: trained numbers; running statistics do not count.
        flops: multiply-adds of the convolutions and linear layers for one image, biases left out.
        normed: numbers that pass through batch norms; PaddleClas's published figures count each as two more.
    """

    params: int
    flops: int
    normed: int


@functools.cache
def figures() -> dict[str, Figures]:
    """What `figures.json` says, by architecture."""
    return {name: Figures(**entry) for name, entry in json.loads(FILE.read_text(encoding="utf-8")).items()}


def shapes_near(size: int, count: int = 12) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Name and state-dict shapes of the architectures whose size is nearest to `size`; no values are computed."""
    known = figures()
    names = sorted(known, key=lambda name: abs(math.log(max(size, 1) / known[name].params)))
    for name in names[:count]:
        with paddle.LazyGuard():
            state = MODELS[name].build().state_dict()
        yield name, {key: tuple(value.shape) for key, value in state.items()}


def count(variant: Variant) -> Figures:
    """The figures of an architecture, by running it."""
    network = variant.build()
    network.eval()
    flops = normed = 0

    def add(layer: nn.Layer, inputs: tuple[paddle.Tensor, ...], output: paddle.Tensor) -> None:
        nonlocal flops, normed
        if isinstance(layer, nn.BatchNorm):
            normed += output.size
        else:
            # A weight is out x in x height x width for convolutions, in x out for linear layers.
            shape = layer.weight.shape
            flops += output.size * (math.prod(shape[1:]) if isinstance(layer, nn.Conv2D) else shape[0])

    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D | nn.Linear | nn.BatchNorm):
            layer.register_forward_post_hook(add)
    with paddle.no_grad():
        network(paddle.zeros([1, *variant.image_shape]))
    trained = (math.prod(parameter.shape) for parameter in network.parameters() if not parameter.stop_gradient)
    return Figures(sum(trained), flops, normed)


def main() -> None:
    """Count everything and write the file."""
    counted = {name: count(variant)._asdict() for name, variant in sorted(MODELS.items())}
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in counted.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
