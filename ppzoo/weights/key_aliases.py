"""The names that other PaddlePaddle projects give to the entries of networks that are also ours.

A network that is part of another is saved below a name of its own (`backbone.blocks.0. ...`), and PaddleOCR's and
PaddleDetection's MobileNetV3 calls its first and last convolution blocks `conv1` and `conv2`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

MOBILENET_V3 = {"conv1.": "conv.", "conv2.": "last_second_conv."}


def best_key_aliases(entries: Collection[str], wanted: Collection[str]) -> dict[str, str]:
    """Our name of each entry -> its own, in the reading under which most entries are `wanted`.

    An entry's own name counts as it is unless another reading fits more.
    """
    plain = {name: name for name in entries}
    return max(_readings(plain), key=lambda reading: len(reading.keys() & set(wanted)))


def _readings(plain: dict[str, str]) -> list[dict[str, str]]:
    """The plain names first, for `max` takes the first of equals."""
    first = Counter(name.partition(".")[0] for name in plain).most_common(1)
    inner = {name.removeprefix(f"{first[0][0]}."): name for name in plain} if first else plain
    readings = [plain] + ([inner] if len(inner) == len(plain) else [])
    return readings + [{_respelled(name): own for name, own in reading.items()} for reading in readings]


def _respelled(name: str) -> str:
    for theirs, ours in MOBILENET_V3.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
