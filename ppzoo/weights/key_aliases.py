"""Alternative entry names that other PaddlePaddle projects use for the same networks.

A network that is part of another one is saved with a prefix (`backbone.blocks.0. ...`), and in PaddleOCR's and
PaddleDetection's MobileNetV3 the first and the last convolution block are named `conv1` and `conv2`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

MOBILENET_V3 = {"conv1.": "conv.", "conv2.": "last_second_conv."}


def best_key_aliases(entries: Collection[str], expected: Collection[str]) -> dict[str, str]:
    """Return ppzoo's name -> the file's name for all entries, by the renaming that gives the most `expected` names.

    The names of the file are kept unless another renaming matches more.
    """
    identity = {name: name for name in entries}
    return max(_renamings(identity), key=lambda names: len(names.keys() & set(expected)))


def _renamings(identity: dict[str, str]) -> list[dict[str, str]]:
    """Return the possible renamings. The identity is the first: `max` returns the first of several equal ones."""
    first = Counter(name.partition(".")[0] for name in identity).most_common(1)
    unprefixed = {name.removeprefix(f"{first[0][0]}."): name for name in identity} if first else identity
    renamings = [identity] + ([unprefixed] if len(unprefixed) == len(identity) else [])
    return renamings + [{_as_mobilenet_v3(name): key for name, key in names.items()} for names in renamings]


def _as_mobilenet_v3(name: str) -> str:
    for theirs, ours in MOBILENET_V3.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
