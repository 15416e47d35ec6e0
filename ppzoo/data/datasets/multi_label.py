"""Images with any number of labels, named in a list file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import numpy as np

from ppzoo.data.datasets.base import DATASETS, check_folder
from ppzoo.data.datasets.image_files import ImageFiles
from ppzoo.data.index import index_paths
from ppzoo.errors import DataError
from ppzoo.files import PathText, read_plain_file

VALUES = {"0": 0, "1": 1, "-1": -1}


@DATASETS.register
class MultiLabelDataset(ImageFiles):
    """Images below a folder, named in a list file of "PATH<tab>0,1,0,..." lines: one value a class.

    1: the image has the label; 0: it has not; -1: unknown, which neither loss nor metrics count.
    The path ends at the last blank of the line; blank lines are passed over.

    Args:
        image_root: folder that the paths of the list are relative to.
        cls_label_path: the list file.
        label_ratio: answer labels of 2 x C, whose second row is the share of the list's images with each label among
            those of which it is known, as `MultiLabelLoss` with `weight_ratio` wants them.
        class_num: number of values a line; None: that of the first line.

    Raises:
        DataError: the folder or the list is missing, or a line of the list is wrong.
    """

    label_kind = "multi"

    def __init__(
        self, *, image_root: PathText, cls_label_path: PathText, label_ratio: bool = False, class_num: int | None = None
    ) -> None:
        check_folder(image_root)
        self.image_root, self.list_file, self.class_num = image_root, cls_label_path, class_num
        self.classes: list[str] | None = None
        rows: list[np.ndarray] = []
        skipped: list[int] = []
        self.index = index_paths(((path, 0) for path in self._read(rows, skipped)), skipped)
        if not rows:
            raise DataError(
                f"the list file {cls_label_path!r} has no line with an image: expected 'PATH<tab>0,1' lines"
            )
        self.labels = np.stack(rows)
        if (self.labels < 0).all():
            raise DataError(f"{cls_label_path}: expected known labels (0 or 1), got -1 (unknown) in all places")
        self.ratio = _share_of_positives(self.labels) if label_ratio else None

    def _read(self, rows: list[np.ndarray], skipped: list[int]) -> Iterator[str]:
        """The paths; the labels go into `rows`, numbers of blank lines into `skipped`."""
        try:
            text = read_plain_file(self.list_file).decode("utf-8-sig")
        except OSError as error:
            raise DataError(
                f"cannot read the list file {self.list_file!r} ({error.strerror}): correct dataset.cls_label_path"
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.list_file}: expected text in UTF-8, got other bytes: save it so") from error
        for number, line in enumerate(text.split("\n"), start=1):
            line = line.strip(" \t\r")
            if not line:
                skipped.append(number)
                continue
            match = re.fullmatch(r"(.*[^ \t])[ \t]+([^ \t]+)", line)
            values = [VALUES.get(value) for value in match[2].split(",")] if match else [None]
            if match is None or None in values or "\0" in line:
                raise DataError(
                    f"{self.list_file}, line {number}: expected 'PATH<tab>' and values 0, 1 or -1 joined by commas, "
                    f"got {line[:120]!r}: correct the line"
                )
            self._check_width(len(values), number, rows)
            rows.append(np.array(values, np.int8))
            yield os.fsdecode(match[1].encode())

    def _check_width(self, width: int, number: int, rows: list[np.ndarray]) -> None:
        expected = len(rows[0]) if rows and self.class_num is None else self.class_num
        if expected not in (None, width):
            source = "the first line" if self.class_num is None else "Arch.class_num"
            raise DataError(
                f"{self.list_file}, line {number}: expected {expected} values ({source}), got {width}: correct "
                "the line or Arch.class_num"
            )

    def label(self, index: int) -> np.ndarray:
        label = self.labels[index].astype(np.float32)
        return label if self.ratio is None else np.stack([label, self.ratio])

    def origin(self, index: int) -> str:
        return f"{self.list_file}, line {self.index.line(index)}"


def _share_of_positives(labels: np.ndarray) -> np.ndarray:
    """Of each class the share of 1 among the known labels (N x C); 0 where none is known."""
    known = np.maximum((labels >= 0).sum(axis=0), 1)
    return ((labels == 1).sum(axis=0) / known).astype(np.float32)
