"""Batch transforms, which mix the images and labels of a batch and return soft labels."""

from ppzoo.data.batch_transforms import fmix, hybrid, mixing, sampling  # noqa: F401  (each registers its transforms)
from ppzoo.data.batch_transforms.registry import BATCH_TRANSFORMS, BatchTransform

__all__ = ["BATCH_TRANSFORMS", "BatchTransform"]
