"""TensorFlow's "SAME" padding for the EfficientNets: for the network's native image size, or for the input's size.

The native image size is the one for which an EfficientNet is designed, such as 224 pixels for B0.
"""

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

    At the native size the result is that of TensorFlow's "SAME", which has ceil(size / stride) outputs and, if the
    total padding is odd, one more zero after the map than before it. For an odd total, PaddleClas instead pads `stride`
    more pixels on every side and crops the first output. This equals `stride` more zeros after the map than before it,
    and is reproduced here. For images of other sizes, the result can differ from that of "SAME".
    """
    total = max(kernel_size - (size % stride or stride), 0)
    before = total // 2
    after = before if total % 2 == 0 else before + stride
    return [before, after, before, after]
