"""Count parameters and multiply-adds of every architecture: `python -m ppzoo.models.flops` writes `model_stats.json`.

`ppzoo.models.model_stats` reads the file. The two modules are separate because `ppzoo.models` imports `model_stats`,
and `python -m` warns if the module that it runs is already imported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import paddle
from paddle import nn

from ppzoo.models.catalog import MODELS, Variant
from ppzoo.models.model_stats import FILE, ModelStats


def count(variant: Variant) -> ModelStats:
    """Count parameters and multiply-adds of an architecture in one forward pass."""
    return count_network(variant.build(), variant.image_shape)


def count_network(network: nn.Layer, image_shape: Sequence[int]) -> ModelStats:
    """Count parameters and multiply-adds of a network for one image; `image_shape` is channels x height x width.

    The network is put into evaluation mode.
    """
    network.eval()
    flops = norm_elements = 0
    hooks = []

    def add(layer: nn.Layer, inputs: tuple[paddle.Tensor, ...], output: paddle.Tensor) -> None:
        nonlocal flops, norm_elements
        if isinstance(layer, nn.BatchNorm):
            norm_elements += output.size
        else:
            # Shape of the weight: out x in x height x width for convolutions, in x out for linear layers.
            shape = layer.weight.shape
            flops += output.size * (math.prod(shape[1:]) if isinstance(layer, nn.Conv2D) else shape[0])

    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D | nn.Linear | nn.BatchNorm):
            hooks.append(layer.register_forward_post_hook(add))
    with paddle.no_grad():
        network(paddle.zeros([1, *image_shape]))
    for hook in hooks:
        hook.remove()
    trained = (math.prod(parameter.shape) for parameter in network.parameters() if not parameter.stop_gradient)
    return ModelStats(sum(trained), flops, norm_elements)


def main() -> None:
    """Count all architectures and write the file."""
    counted = {name: count(variant)._asdict() for name, variant in sorted(MODELS.items())}
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in counted.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
