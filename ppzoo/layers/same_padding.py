"""TensorFlow's "SAME" padding, fixed when a network is built or by the image at hand: the EfficientNets have it."""

from __future__ import annotations

from typing import Literal

Padding = Literal["native", "symmetric", "input"]


def padding_of(rule: Padding, size: int, kernel_size: int, stride: int) -> list[int] | int | str:
    """What `Conv2D` takes as padding.

    Args:
        rule: "native": `native_same_padding`; "input": TensorFlow's, by the map at hand; "symmetric": half the kernel.
        size: side of the map at the native image size, in pixels.
    """
    if rule == "native":
        return native_same_padding(size, kernel_size, stride)
    return "SAME" if rule == "input" else kernel_size // 2


def native_same_padding(size: int, kernel_size: int, stride: int) -> list[int]:
    """Zeros above, below, left and right of a map that is `size` pixels wide at the native image size.

    They place the filter as TensorFlow's "SAME" does there: ceil(size / stride) outputs, an odd zero after the map.
    Where one is odd, PaddleClas pads `stride` more on every side and crops the first output. That leaves `stride`
    zeros more after the map than before it, where TensorFlow has one: images of another size see the difference.
    """
    total = max(kernel_size - (size % stride or stride), 0)
    before = total // 2
    after = before if total % 2 == 0 else before + stride
    return [before, after, before, after]
