"""Groups of images, and their assignment to the parts of a split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from ppzoo.data.duplicates import group_by
from ppzoo.errors import ConfigError, count_text


def assign_parts(labels: np.ndarray, groups: Sequence[Hashable], shares: Sequence[float], seed: int) -> np.ndarray:
    """Divide samples into parts of the given shares; each group is in one part, and classes are divided evenly.

    The method is the greedy one of scikit-learn's `StratifiedGroupKFold`: for each group in turn, it chooses the part
    that keeps the classes most even. There are two differences: the largest groups come first (groups of equal size in
    random order), and the parts can have different shares. Let f be the fraction of a class's samples that are in a
    part: the chosen part is the one whose sum of f ** 2 over the classes, divided by its share, increases least (as in
    the Sainte-Lague method of dividing seats). If this holds for several parts, the one with the fewest samples in
    relation to its share is chosen.

    Returns:
        The number of the part (from 0) of each sample.
    """
    totals = np.bincount(labels).tolist()
    members = list(group_by((group, index) for index, group in enumerate(groups)).values())
    order = np.random.default_rng(seed).permutation(len(members)).tolist()
    order.sort(key=lambda number: -len(members[number]))
    class_of = labels.tolist()
    placed: list[Counter[int]] = [Counter() for _ in shares]
    sizes = [0] * len(shares)
    parts = np.empty(len(labels), np.int64)
    for number in order:
        counts = Counter(class_of[index] for index in members[number])
        unevenness = [
            (
                sum(n * (2 * part[label] + n) / totals[label] ** 2 for label, n in counts.items()) / share,
                size / share,
            )
            for part, size, share in zip(placed, sizes, shares, strict=True)
        ]
        chosen = unevenness.index(min(unevenness))
        parts[members[number]] = chosen
        placed[chosen].update(counts)
        sizes[chosen] += len(members[number])
    return parts


def groups_of_paths(paths: Sequence[str], pattern: str) -> list[str]:
    """Search each path for a regular expression; return for each the text of the expression's first group.

    Raises:
        ConfigError: the pattern is not a regular expression with a group, or does not match a path.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"--group-pattern: expected a regular expression, got {pattern!r} ({error})") from error
    if not compiled.groups:
        raise ConfigError(
            f"--group-pattern: expected parentheses around the text that the images of a group share, such as"
            f" '([^_]+)_', got {pattern!r}"
        )
    found = [compiled.search(path.replace(os.sep, "/")) for path in paths]
    groups = [match[1] if match else None for match in found]
    unmatched = [path for path, group in zip(paths, groups, strict=True) if group is None]
    if unmatched:
        raise ConfigError(
            f"--group-pattern: expected a match in every path, got none for {pattern!r} in {unmatched[0]!r}"
            f" ({count_text(len(unmatched), 'path')} in total): correct the pattern or remove the files"
        )
    return [group for group in groups if group is not None]


def merge_groups(groups: Sequence[Hashable], duplicates: Sequence[Sequence[int]]) -> list[Hashable]:
    """Return the group of each image, after joining the groups that contain files of equal content.

    Args:
        groups: the group of each image.
        duplicates: the indices of images with equal content.
    """
    parent: dict[Hashable, Hashable] = {}

    def find(group: Hashable) -> Hashable:
        while group in parent:
            group = parent[group]
        return group

    for first, *others in duplicates:
        for other in others:
            root, joined = find(groups[first]), find(groups[other])
            if root != joined:
                parent[joined] = root
    return [find(group) for group in groups]
