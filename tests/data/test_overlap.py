"""Finding images that the training and the evaluation data share."""

import numpy as np
from helpers.pictures import paint

from ppzoo.data import ImageFolder, find_shared_images, match_classes
from ppzoo.errors import DataError

ALL = 1 << 30


class Arrays:
    """A dataset of arrays; those that are None cannot be read."""

    classes = None

    def __init__(self, images):
        self.images, self.labels = images, np.zeros(len(images), int)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if self.images[index] is None:
            raise DataError("broken")
        return self.images[index], 0

    def describe(self, index):
        return f"sample {index}"


def folder(root, seeds):
    (root / "red").mkdir(parents=True)
    for number, seed in enumerate(seeds):
        paint(root / "red" / f"{number}.png", (220, 30, 40), seed=seed)
    return ImageFolder(image_root=str(root))


def test_files_of_equal_content(tmp_path):
    training, evaluation = folder(tmp_path / "a", [1, 2, 3, 2]), folder(tmp_path / "b", [9, 2, 1, 1])
    assert find_shared_images(training, evaluation, max_bytes=ALL) == [(1, 1), (0, 2), (0, 3)]
    renamed = match_classes(evaluation, ["blue", "red"])
    assert find_shared_images(training, renamed, max_bytes=ALL) == [(1, 1), (0, 2), (0, 3)]
    assert find_shared_images(training, evaluation, max_bytes=10) is None


def test_files_of_unique_size_are_not_read(tmp_path):
    training, evaluation = folder(tmp_path / "a", [1]), folder(tmp_path / "b", [1])
    with open(tmp_path / "b" / "red" / "0.png", "ab") as file:
        file.write(b"more")
    assert find_shared_images(training, evaluation, max_bytes=0) == []


def test_arrays_and_images_that_cannot_be_read():
    images = [np.full((4, 5, 3), value, np.uint8) for value in range(4)]
    assert find_shared_images(Arrays(images), Arrays([images[3], None, images[0]]), max_bytes=ALL) == [(3, 0), (0, 2)]
    assert find_shared_images(Arrays([None]), Arrays([None]), max_bytes=ALL) == []
