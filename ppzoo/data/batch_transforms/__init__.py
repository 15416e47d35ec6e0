"""What is done to the images and labels of a batch together: mixing, which makes soft labels."""

from ppzoo.data.batch_transforms import fmix, hybrid, mixing, sampling  # noqa: F401  (each enrols its transforms)
from ppzoo.data.batch_transforms.registry import BATCH_TRANSFORMS, BatchTransform

__all__ = ["BATCH_TRANSFORMS", "BatchTransform"]
