"""Fashion-MNIST; a subset ships with ppzoo."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from ppzoo.data.datasets.base import DATASETS, check_class_count, check_folder
from ppzoo.data.idx_files import read_idx
from ppzoo.errors import ConfigError, DataError
from ppzoo.files import PathText

SHIPPED_FASHION_MNIST = Path(__file__).parent.parent / "fashion_mnist_mini"
FASHION_CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


@DATASETS.register
class FashionMNIST:
    """Fashion-MNIST: gray 28 x 28 images of clothing in ten classes.

    Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    arXiv:1708.07747.

    Args:
        image_root: folder with the four IDX files (`train-images-idx3-ubyte`, ..., plain or .gz);
            None: the 6,000 training and 1,000 test images that ship with ppzoo.
        mode: "train" or "test".
        channels: 3 repeats the gray channel; 1 does not.
        class_num: number of classes of the network, at least 10. None: not checked.

    Raises:
        ConfigError: an unknown mode or number of channels.
        DataError: a file is missing or damaged, or images and labels do not match.
    """

    def __init__(
        self,
        *,
        image_root: PathText | None = None,
        mode: Literal["train", "test"] = "train",
        channels: Literal[1, 3] = 3,
        class_num: int | None = None,
    ) -> None:
        if mode not in ("train", "test"):
            raise ConfigError(f"FashionMNIST.mode: expected 'train' or 'test', got {mode!r}")
        if channels not in (1, 3):
            raise ConfigError(f"FashionMNIST.channels: expected 1 or 3, got {channels!r}")
        if image_root is not None:
            check_folder(image_root)
        folder = SHIPPED_FASHION_MNIST if image_root is None else Path(image_root)
        part = "train" if mode == "train" else "t10k"
        self.mode, self.channels = mode, channels
        self.images = read_idx(folder, f"{part}-images-idx3-ubyte", 3)
        self.labels = read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
        self.classes = list(FASHION_CLASSES)
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{folder}: {len(self.images)} {mode} images, but {len(self.labels)} labels: download them again"
            )
        if self.labels.max() >= len(self.classes):
            raise DataError(
                f"{folder}: label {self.labels.max()} is outside [0, 10), as these are not the files of"
                " Fashion-MNIST: correct dataset.image_root"
            )
        check_class_count(len(self.classes), class_num, "FashionMNIST has")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.repeat(self.images[index][:, :, np.newaxis], self.channels, axis=2), int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"sample {index} of FashionMNIST ({self.mode})"
