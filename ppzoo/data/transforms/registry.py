"""The registry of transforms, and their protocol."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppzoo.registry import Registry


class Transform(Protocol):
    """A preprocessing step; images are H x W x C unless the transform documents another shape.

    Random transforms draw from `random` only; others ignore it.
    """

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray: ...


TRANSFORMS: Registry[type] = Registry("transform")
