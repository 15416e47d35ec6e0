"""The registry of transforms, and their protocol."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppzoo.registry import Registry


class Transform(Protocol):
    """A preprocessing step; images are H x W x C unless the transform documents another shape.

    Random transforms draw from `random` only; others ignore it. Transforms of ppzoo that also take C x H x W images
    have the attribute `takes_channels_first = True`.
    """

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray: ...


TRANSFORMS: Registry[type] = Registry("transform")
