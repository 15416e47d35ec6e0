"""TensorFlow's "SAME" padding for the EfficientNets: fixed by the native image size, or by the input's size."""

from __future__ import annotations

from typing import Literal

Padding = Literal["native", "symmetric", "input"]


def same_padding(rule: Padding, size: int, kernel_size: int, stride: int) -> list[int] | int | str:
    """Return the `padding` argument of `Conv2D`.

    Args:
        rule: "native": `native_same_padding`; "input": TensorFlow's "SAME" for the size of the input; "symmetric":
            half the kernel size on each side.
        size: side of the feature map at the native image size, in pixels.
    """
    if rule == "native":
        return native_same_padding(size, kernel_size, stride)
    return "SAME" if rule == "input" else kernel_size // 2


def native_same_padding(size: int, kernel_size: int, stride: int) -> list[int]:
    """Return top, bottom, left and right padding of a map that has `size` x `size` pixels at the native image size.

    At that size it is equivalent to TensorFlow's "SAME": ceil(size / stride) outputs, and an odd zero comes after the
    map. For an odd total, PaddleClas pads `stride` more pixels on every side and crops the first output. This equals
    `stride` more zeros after the map than before it, where TensorFlow has one more: images of other sizes see the
    difference.
    """
    total = max(kernel_size - (size % stride or stride), 0)
    before = total // 2
    after = before if total % 2 == 0 else before + stride
    return [before, after, before, after]
