"""Detect gradients that are not finite, and find the first layer whose output is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import paddle

from ppzoo import native
from ppzoo.native import operators


def gradients_are_finite(parameters: Iterable[paddle.Tensor]) -> bool:
    """Return whether all gradients are finite."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if native.is_enabled() and operators.are_contiguous_float32(gradients):
        return operators.all_finite(gradients)
    # A sum is finite only if all its terms are.
    return math.isfinite(float(paddle.add_n([gradient.sum() for gradient in gradients])))


def _is_finite(output: paddle.Tensor) -> bool:
    """Return whether all values are finite; they are cast first, since `isfinite` does not support bfloat16 on CPUs."""
    return bool(paddle.isfinite(operators.to_float32(output)).all())


def first_nonfinite_layer(model: paddle.nn.Layer, images: paddle.Tensor) -> str | None:
    """Return the name of the first layer of `model` whose output for `images` is not finite; None if there is none.

    Only layers without sublayers are checked. The forward pass is recomputed in the model's current mode, which updates
    running statistics in training mode.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: paddle.nn.Layer, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, paddle.Tensor) and not _is_finite(output):
                found.append(name)

        return hook

    leaves = [(name, layer) for name, layer in model.named_sublayers() if not layer.sublayers()]
    handles = [layer.register_forward_post_hook(watch(name)) for name, layer in leaves]
    try:
        with paddle.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None
