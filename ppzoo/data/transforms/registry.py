"""The table of transforms, and what a transform is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppzoo.registry import Registry


class Transform(Protocol):
    """One step of preprocessing; images are H x W x C unless the step says otherwise.

    Steps that are not random ignore `random`; those that are draw from nothing else.
    """

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray: ...


TRANSFORMS: Registry[type] = Registry("transform")
