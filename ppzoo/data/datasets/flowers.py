"""Oxford 102 Flowers, in PaddleClas's layout."""

from __future__ import annotations

import os
from typing import Literal

from ppzoo.data.datasets.base import DATASETS
from ppzoo.data.datasets.image_files import ImageNetDataset
from ppzoo.data.label_files import read_labels
from ppzoo.errors import ConfigError
from ppzoo.files import PathText

CLASSES = 102
LABEL_FILE = "flowers102_label_list.txt"


@DATASETS.register
class Flowers102(ImageNetDataset):
    """Oxford 102 Flowers: 8,189 images of 102 kinds of flowers.

    Nilsback, Zisserman: "Automated Flower Classification over a Large Number of Classes", ICVGIP 2008.

    An optional file `flowers102_label_list.txt` in the folder names the classes.

    Args:
        image_root: folder with the images and the list `train_list.txt`, `val_list.txt` or `train_extra_list.txt`,
            which has lines such as "jpg/image_00001.jpg 76".
        mode: the list to read: "train", "val" or "train_extra".
        class_num: number of classes of the network, at least 102. None: not checked.

    Raises:
        ConfigError: an unknown mode, or `class_num` below 102.
        DataError: the folder or the list is missing or wrong, or a label is above 101.
    """

    def __init__(
        self,
        *,
        image_root: PathText,
        mode: Literal["train", "val", "train_extra"] = "train",
        class_num: int | None = None,
    ) -> None:
        if mode not in ("train", "val", "train_extra"):
            raise ConfigError(f"Flowers102.mode: expected 'train', 'val' or 'train_extra', got {mode!r}")
        if class_num is not None and class_num < CLASSES:
            raise ConfigError(f"Flowers102: expected Arch.class_num of at least {CLASSES}, got {class_num}")
        list_file = os.path.join(image_root, f"{mode}_list.txt")
        super().__init__(image_root=image_root, cls_label_path=list_file, class_num=CLASSES)
        label_file = os.path.join(image_root, LABEL_FILE)
        if os.path.isfile(label_file):
            names = read_labels(label_file)
            self.classes = [names.get(index, str(index)) for index in range(CLASSES)]
