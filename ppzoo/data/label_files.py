"""Names of classes: PaddleClas's label files, and the lists that ship with ppzoo.

Those of ImageNet-1k are the 1,000 WordNet synsets in the order of ILSVRC 2012 (Russakovsky et al., arXiv:1409.0575);
those of NUS-WIDE-SCENE the 33 scenes of that data set in the order of the alphabet (Chua et al., CIVR 2009).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from ppzoo.errors import DataError
from ppzoo.files import read_plain_file

logger = logging.getLogger("ppzoo")

LABEL_LIST = "label_list.txt"  # beside list files: the names of their classes
SHIPPED_IMAGENET = Path(__file__).parent / "labels" / "imagenet1k.txt"
SHIPPED = {
    "imagenet1k_label_list.txt": SHIPPED_IMAGENET,
    "NUS-WIDE-SCENE_label_list.txt": Path(__file__).parent / "labels" / "nus_wide_scene.txt",
}


def read_labels(path: str | Path, delimiter: str = " ") -> dict[int, str]:
    """The name of each class in a file of "INDEX NAME" lines; a name may contain blanks.

    A path that does not exist but has the name of one of PaddleClas's own lists (`SHIPPED`) means the shipped one.

    Args:
        delimiter: what stands between index and name.

    Raises:
        DataError: the file cannot be read, a line is not as described, or an index comes twice.
    """
    file = Path(path)
    if not os.path.exists(file) and file.name in SHIPPED:
        file, delimiter = SHIPPED[file.name], " "
    try:
        text = read_plain_file(file).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the label file {str(path)!r} ({error.strerror}): correct its path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, got other bytes: save it as UTF-8") from error

    names: dict[int, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        index, _, name = line.strip().partition(delimiter)
        if not (index.isascii() and index.isdigit() and len(index) <= 9 and name.strip()):
            raise DataError(
                f"{path}, line {number}: expected 'INDEX NAME', got {line.strip()[:120]!r}: correct the line"
            )
        if int(index) in names:
            raise DataError(f"{path}, line {number}: class {index} has a name already: remove one of the two lines")
        names[int(index)] = name.strip()
    if not names:
        raise DataError(f"the label file {str(path)!r} is empty: expected 'INDEX NAME' lines")
    return names


def names_beside(list_file: str, labels: np.ndarray, class_num: int | None) -> list[str] | None:
    """The names of the classes in the `label_list.txt` beside a list file, in order; None where there is none.

    A file of that name that is another's, by its lines or by its number of classes, is ignored, which is logged.
    """
    file = Path(list_file).with_name(LABEL_LIST)
    if not file.is_file():
        return None
    try:
        names = read_labels(file)
    except DataError as error:
        logger.warning("%s; the classes of %s have no names", error, list_file)
        return None
    count = max(names) + 1
    if labels.max() >= count or count > (class_num or count):
        logger.warning("%s names %d classes, which are not those of %s: it is ignored", file, count, list_file)
        return None
    return [names.get(index, str(index)) for index in range(count)]
