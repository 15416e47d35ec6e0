"""Branches of re-parameterized blocks for files that contain their fused convolutions only.

The convolution becomes the largest branch, its bias the offset of that branch's batch norm; the other branches are
zero. The block has the same output in evaluation, but a fused convolution cannot be split into the trained branches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

EPSILON = 1e-5  # of the batch norms: with the variance 1 - EPSILON they divide by 1


def repvgg(entries: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replace `reparam_conv` of timm's RepVGG blocks by branches; first blocks of stages have no identity branch."""
    expanded: dict[str, np.ndarray] = {}
    for name, array in entries.items():
        found = re.fullmatch(r"(stem|stages\.\d+\.(\d+))\.reparam_conv\.(weight|bias)", name)
        if found is None:
            expanded[name] = array
            continue
        block, number, kind = found.groups()
        if kind == "bias":
            expanded |= _norm(f"{block}.conv_kxk.bn", np.ones_like(array), array)
            expanded |= _zero_norm(f"{block}.conv_1x1.bn", array)
            if int(number or 0) > 0:
                expanded |= _zero_norm(f"{block}.identity", array)
        else:
            expanded[f"{block}.conv_kxk.conv.weight"] = array
            expanded[f"{block}.conv_1x1.conv.weight"] = np.zeros_like(array[:, :, :1, :1])
    return expanded


def _zero_norm(name: str, like: np.ndarray) -> dict[str, np.ndarray]:
    return _norm(name, np.zeros_like(like), np.zeros_like(like))


def _norm(name: str, scale: np.ndarray, offset: np.ndarray) -> dict[str, np.ndarray]:
    """Return the entries of a batch norm that computes scale * x + offset in evaluation."""
    statistics = {"running_mean": np.zeros_like(offset), "running_var": np.full_like(offset, 1.0 - EPSILON)}
    return {f"{name}.{kind}": value for kind, value in {"weight": scale, "bias": offset, **statistics}.items()}
