"""Images without labels: a random transform sets the label of each sample."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ppzoo.data.datasets.base import DATASETS, check_folder
from ppzoo.data.datasets.image_files import ImageFiles
from ppzoo.data.index import index_paths
from ppzoo.data.transforms.sample_labels import LABEL_KEYS
from ppzoo.errors import ConfigError, DataError, suggestion
from ppzoo.files import PathText, read_plain_file


@DATASETS.register
class CustomLabelDataset(ImageFiles):
    """Images from a list of paths without labels; a random transform sets the label of each image.

    With `label_key: blur_image` and `BlurImage` in the transforms, a network learns whether an image is blurred, and
    with `random_rot90_orientation` and `RandomRot90`, by how many quarter turns it is rotated. The attribute `labels`
    contains placeholders (the classes in turn), because the class of a sample is only known after its transforms.

    Args:
        image_root: folder that the paths in the list are relative to.
        sample_list_path: the list file, with a path in each line; blank lines are ignored.
        label_key: "blur_image": 1 if `BlurImage` has blurred the image, else 0; "random_rot90_orientation": the number
            of quarter turns of `RandomRot90`, 0 to 3.
        delimiter: the path ends before the first delimiter in the line; by default the complete line is the path.
        class_num: number of classes of the network; None: not checked.

    Attributes:
        transform_label: `label_key`, the key under which a transform sets the label of a sample.

    Raises:
        ConfigError: an unknown `label_key`, an empty `delimiter`, or a `class_num` that does not fit the `label_key`.
        DataError: the folder or the list is missing, or the list is empty.
    """

    def __init__(
        self,
        *,
        image_root: PathText,
        sample_list_path: PathText,
        label_key: str,
        delimiter: str | None = None,
        class_num: int | None = None,
    ) -> None:
        if label_key not in LABEL_KEYS:
            raise ConfigError(f"label_key: unknown {label_key!r}{suggestion(label_key, LABEL_KEYS)}")
        count = LABEL_KEYS[label_key]
        if class_num not in (None, count):
            raise ConfigError(f"label_key: expected Arch.class_num {count} for {label_key}, got {class_num}")
        if delimiter == "":
            raise ConfigError("delimiter: expected a character such as ' ', got nothing")
        check_folder(image_root)
        self.image_root, self.list_file, self.delimiter = image_root, sample_list_path, delimiter
        self.transform_label = label_key
        skipped: list[int] = []
        self.index = index_paths(((path, 0) for path in self._read(skipped)), skipped)
        if not len(self.index):
            raise DataError(f"the list file {sample_list_path!r} lists no images: expected a path in each line")
        self.labels = np.arange(len(self.index), dtype=np.int32) % count
        self.classes: list[str] | None = None
        self.is_numbered = True

    def _read(self, skipped: list[int]) -> Iterator[str]:
        """Yield the paths; append the numbers of blank lines to `skipped`."""
        try:
            text = read_plain_file(self.list_file)
        except OSError as error:
            raise DataError(
                f"cannot read the list file {self.list_file!r} ({error.strerror}): correct dataset.sample_list_path"
            ) from error
        for number, line in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
            path = line.strip(b" \t\r")
            if self.delimiter is not None:
                path = path.partition(os.fsencode(self.delimiter))[0]
            if b"\0" in path:
                raise DataError(
                    f"{self.list_file}, line {number}: expected a path, got a NUL character: correct the line"
                )
            if path:
                yield os.fsdecode(path)
            else:
                skipped.append(number)

    def origin(self, index: int) -> str:
        return f"{self.list_file}, line {self.index.line(index)}"
