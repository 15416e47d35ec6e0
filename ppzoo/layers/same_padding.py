"""TensorFlow's "SAME" padding, fixed when a network is built: PaddleClas's EfficientNet has it."""

from __future__ import annotations


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
