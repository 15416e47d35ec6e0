"""Class names from PaddleClas's label files, and the label files that ship with ppzoo.

ImageNet-1k: the 1,000 WordNet synsets in the order of ILSVRC 2012 (Russakovsky et al., arXiv:1409.0575).
NUS-WIDE-SCENE: its 33 scenes in alphabetical order (Chua et al., CIVR 2009).
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np

from ppzoo.errors import DataError
from ppzoo.files import read_plain_file

logger = logging.getLogger("ppzoo")

LABEL_LIST = "label_list.txt"  # in the folder of the list files; names their classes
SHIPPED_IMAGENET = Path(__file__).parent / "labels" / "imagenet1k.txt"
SHIPPED = {
    "imagenet1k_label_list.txt": SHIPPED_IMAGENET,
    "NUS-WIDE-SCENE_label_list.txt": Path(__file__).parent / "labels" / "nus_wide_scene.txt",
}


def read_labels(path: str | Path, delimiter: str = " ", *, delimiter_key: str = "") -> dict[int, str]:
    """Read the name of each class from a file of "INDEX NAME" lines; a name can contain spaces.

    If the path does not exist but its file name is one of PaddleClas's own lists (`SHIPPED`), the list of this
    name that ships with ppzoo is read, whose delimiter is a space.

    Args:
        delimiter: separator of index and name.
        delimiter_key: the configuration key of the delimiter, for messages that suggest another delimiter.

    Raises:
        DataError: the file cannot be read or is empty, a line has another format, or an index occurs twice.
    """
    file = Path(path)
    if not os.path.exists(file) and file.name in SHIPPED:
        file, delimiter = SHIPPED[file.name], " "
    try:
        text = read_plain_file(file).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the label file {str(path)!r} ({error.strerror}): correct its path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, got other bytes: save it as UTF-8") from error

    names: dict[int, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line:
            continue
        index, _, name = line.partition(delimiter)
        if not (_is_index(index) and name.strip()):
            separator = "a space" if delimiter == " " else repr(delimiter)
            raise DataError(
                f"{path}, line {number}: expected an index, {separator} and a name, got {line[:120]!r}: correct the"
                f" line{_suggest_delimiter(line, delimiter_key)}"
            )
        if int(index) in names:
            raise DataError(f"{path}, line {number}: class {index} already has a name: remove one of the two lines")
        names[int(index)] = name.strip()
    if not names:
        raise DataError(f"{path}: expected one line with an index and a name per class, got an empty file")
    return names


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _suggest_delimiter(line: str, key: str) -> str:
    for delimiter in ",;\t ":
        index, _, name = line.partition(delimiter)
        if key and name and _is_index(index):
            return f", or set {key} to {json.dumps(delimiter)}"  # YAML reads '\t' as two characters
    return ""


def is_shipped_list(path: str | Path) -> bool:
    """Return whether a path has the file name of one of PaddleClas's own lists."""
    return Path(path).name in SHIPPED


def read_sibling_labels(list_file: str, labels: np.ndarray, class_num: int | None) -> list[str] | None:
    """Return the class names, by class index, in the `label_list.txt` in the folder of a list file; None without it.

    A class without a name gets its index as the name. A `label_list.txt` with another format, with too few classes
    for `labels`, or with more than `class_num` classes is ignored with a warning: it belongs to other data.
    """
    file = Path(list_file).with_name(LABEL_LIST)
    if not file.is_file():
        return None
    try:
        names = read_labels(file)
    except DataError as error:
        logger.warning("ignoring the class names of %s: %s", list_file, error)
        return None
    count = max(names) + 1
    if labels.max() >= count or count > (class_num or count):
        logger.warning("ignoring %s: its %d classes are not those of %s", file, count, list_file)
        return None
    return [names.get(index, str(index)) for index in range(count)]
