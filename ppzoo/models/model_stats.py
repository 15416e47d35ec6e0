"""Size and cost of every architecture: parameters, and multiply-adds for one image of its native size.

They ship as `model_stats.json`, since counting takes a forward pass of each network: `python -m ppzoo.models.flops`
writes the file anew, and a test counts a sample again.
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
    """Of one architecture.

    Attributes:
        params: trained numbers; running statistics do not count.
        flops: multiply-adds of the convolutions and linear layers for one image, biases left out.
        normed: numbers that pass through batch norms; PaddleClas's published figures count each as two more.
    """

    params: int
    flops: int
    normed: int


@functools.cache
def model_stats() -> dict[str, ModelStats]:
    """What `model_stats.json` says, by architecture."""
    return {name: ModelStats(**entry) for name, entry in json.loads(FILE.read_text(encoding="utf-8")).items()}


def shapes_near(size: int, count: int = 12) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Name and state-dict shapes of the architectures whose size is nearest to `size`; no values are computed."""
    known = model_stats()
    names = sorted(known, key=lambda name: abs(math.log(max(size, 1) / known[name].params)))
    for name in names[:count]:
        with paddle.LazyGuard():
            state = MODELS[name].build().state_dict()
        yield name, {key: tuple(value.shape) for key, value in state.items()}
