"""Images with any number of labels each, listed in a file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import numpy as np

from ppzoo.data.datasets.base import DATASETS, check_folder
from ppzoo.data.datasets.image_files import ImageFiles
from ppzoo.data.index import index_paths
from ppzoo.data.table_lists import ListTable, is_table, read_table
from ppzoo.errors import DataError
from ppzoo.files import PathText, read_plain_file

VALUES = {"0": 0, "1": 1, "-1": -1}
LINE = re.compile(r"(.*[^ \t,])[ \t]+([^ \t,]+(?:[ \t]*,[ \t]*[^ \t,]+)*)")  # spaces around the commas are ignored


@DATASETS.register
class MultiLabelDataset(ImageFiles):
    """Images and labels from a list file of "PATH<tab>0,1,-1,..." lines with one value per class; -1: unknown.

    1: the image has the label; 0: it does not; -1: unknown, ignored by losses and metrics. The path ends at the last
    space or tab before the values; blank lines and spaces around commas are ignored.

    Args:
        image_root: folder that the paths in the list are relative to.
        cls_label_path: the list file. If its name ends in `.csv` or `.parquet`, it is a table with one column of 0, 1
            or -1 per class, named after the class (see `ppzoo.data.table_lists`).
        label_ratio: return labels of shape 2 x C. The second row is, for each class, the fraction of positives among
            the images with a known label, for `MultiLabelLoss` with `weight_ratio`.
        class_num: number of values per line; None: that of the first line.
        path_column: name of the column of a table that has the paths; None: a usual name such as `path`.
        label_columns: names of the columns of a table that have the labels; None: all columns except that of the paths.

    Raises:
        DataError: the folder or the list is missing, or a line of the list is invalid.
    """

    label_kind = "multi"

    def __init__(
        self,
        *,
        image_root: PathText,
        cls_label_path: PathText,
        label_ratio: bool = False,
        class_num: int | None = None,
        path_column: str | None = None,
        label_columns: list[str] | None = None,
    ) -> None:
        check_folder(image_root)
        self.image_root, self.list_file, self.class_num = image_root, cls_label_path, class_num
        self.classes: list[str] | None = None
        rows: list[np.ndarray] = []
        skipped: list[int] = []
        self.table: ListTable | None = None
        if is_table(cls_label_path):
            self.table = read_table(cls_label_path, path_column=path_column, label_columns=label_columns, several=True)
            self.index, self.classes = self.table.index, self.table.columns
            rows = self._table_rows(self.table)
        elif path_column is not None or label_columns is not None:
            raise DataError(
                "path_column, label_columns: expected a list file that ends in .csv or .parquet, got"
                f" {cls_label_path!r}: remove these options"
            )
        else:
            self.index = index_paths(((path, 0) for path in self._read(rows, skipped)), skipped)
        if not rows:
            raise DataError(
                f"the list file {cls_label_path!r} lists no images: expected lines such as 'image.jpg<tab>0,1,0'"
            )
        self.labels = np.stack(rows)
        if (self.labels < 0).all():
            raise DataError(f"{cls_label_path}: expected labels of 0 or 1, got only -1 (unknown)")
        self.ratio = _positive_fraction(self.labels) if label_ratio else None

    def _read(self, rows: list[np.ndarray], skipped: list[int]) -> Iterator[str]:
        """Yield the paths; append the labels to `rows`, and the numbers of blank lines to `skipped`."""
        try:
            text = read_plain_file(self.list_file).decode("utf-8-sig")
        except OSError as error:
            raise DataError(
                f"cannot read the list file {self.list_file!r} ({error.strerror}): correct dataset.cls_label_path"
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.list_file}: expected UTF-8 text, got other bytes: save it as UTF-8") from error
        for number, line in enumerate(text.split("\n"), start=1):
            line = line.strip(" \t\r")
            if not line:
                skipped.append(number)
                continue
            match = LINE.fullmatch(line)
            values = [VALUES.get(value.strip(" \t")) for value in match[2].split(",")] if match else [None]
            if match is None or None in values or "\0" in line:
                raise DataError(
                    f"{self.list_file}, line {number}: expected 'PATH<tab>' and values 0, 1 or -1 separated by commas, "
                    f"got {line[:120]!r}: correct the line"
                )
            self._check_width(len(values), number, rows)
            rows.append(np.array(values, np.int8))
            yield os.fsdecode(match[1].encode())

    def _table_rows(self, table: ListTable) -> list[np.ndarray]:
        """Return the labels of a table."""
        if not table.columns or self.class_num not in (None, len(table.columns)):
            expected = "columns of labels" if self.class_num is None else f"{self.class_num} columns of labels"
            raise DataError(
                f"{self.list_file}: expected {expected}, got {len(table.columns)}: set dataset.label_columns or correct"
                " Arch.class_num"
            )
        rows = []
        for index, texts in enumerate(table.values):
            for column, text in zip(table.columns, texts, strict=True):
                if text not in VALUES:
                    raise DataError(
                        f"{table.origin(index)}: expected 0, 1 or -1 in the column {column!r}, got {text[:60]!r}:"
                        " correct the value or set dataset.label_columns"
                    )
            rows.append(np.array([VALUES[text] for text in texts], np.int8))
        return rows

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
        if self.table is not None:
            return self.table.origin(index)
        return f"{self.list_file}, line {self.index.line(index)}"


def _positive_fraction(labels: np.ndarray) -> np.ndarray:
    """Return, for each of C classes, the fraction of 1 among the known labels (of N x C); 0 if no label is known."""
    known = np.maximum((labels >= 0).sum(axis=0), 1)
    return ((labels == 1).sum(axis=0) / known).astype(np.float32)
