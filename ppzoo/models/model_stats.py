"""Parameters and multiply-adds of every architecture, for one image of its native size.

Counting takes a forward pass of each network, so the results are stored in `model_stats.json`, which
`python -m ppzoo.models.flops` writes; a test recounts a sample.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import paddle

from ppzoo.models.catalog import MODELS

FILE = Path(__file__).with_name("model_stats.json")


class ModelStats(NamedTuple):
    """Size and cost of one architecture.

    Attributes:
        params: trainable parameters, without running statistics.
        flops: multiply-adds of the convolutions and linear layers for one image, without biases.
        norm_elements: elements that pass through batch norms; PaddleClas's published FLOPs count each of them twice.
    """

    params: int
    flops: int
    norm_elements: int


@functools.cache
def model_stats() -> dict[str, ModelStats]:
    """Return the contents of `model_stats.json` by architecture."""
    return {name: ModelStats(**entry) for name, entry in json.loads(FILE.read_text(encoding="utf-8")).items()}


def shapes_near(size: int, count: int = 12) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Yield name and state-dict shapes of the `count` architectures whose parameter count is nearest to `size`."""
    known = model_stats()
    names = sorted(known, key=lambda name: abs(math.log(max(size, 1) / known[name].params)))
    for name in names[:count]:
        with paddle.LazyGuard():
            state = MODELS[name].build().state_dict()
        yield name, {key: tuple(value.shape) for key, value in state.items()}
