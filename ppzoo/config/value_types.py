"""Types of values in the fixed part of the schema, with the conditions on them."""

from __future__ import annotations

import re
from math import isqrt
from typing import Annotated

from ppzoo.config.type_checks import Limit, below
from ppzoo.host import MAX_CHANNELS, MAX_PIXELS


def parse_log_ranks(value: str | int | list[int] | tuple[int, ...]) -> list[int]:
    """Return the ranks that `Global.log_ranks` names; [] if it contains anything else than ranks."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return [int(part) for part in parts] if all(str(part).strip().isdecimal() for part in parts) else []


MAX_INT = 2**31 - 1  # upper bound of PaddlePaddle's shapes and counters
MAX_WORKERS = 256
DEVICES = r"auto|cpu|gpu(:\d+)?"
Count = Annotated[int, Limit("an integer of at least 1", lambda value: value >= 1, {"minimum": 1}), below(MAX_INT)]
Natural = Annotated[int, Limit("an integer of at least 0", lambda value: value >= 0, {"minimum": 0}), below(MAX_INT)]
Side = Annotated[
    int, Limit("an integer of at least 1", lambda value: value >= 1, {"minimum": 1}), below(isqrt(MAX_PIXELS))
]
Workers = Annotated[
    int, Limit("an integer of at least 0", lambda value: value >= 0, {"minimum": 0}), below(MAX_WORKERS)
]
Seed = Annotated[
    int, Limit("an integer from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32, {"minimum": 0, "maximum": 2**32 - 1})
]
Weight = Annotated[float, Limit("a number of at least 0", lambda value: 0 <= value < float("inf"), {"minimum": 0})]
Decay = Annotated[
    float, Limit("a number from 0 to below 1", lambda value: 0 <= value < 1, {"minimum": 0, "exclusiveMaximum": 1})
]
Scale = Annotated[float, Limit("a number above 0", lambda value: 0 < value < float("inf"), {"exclusiveMinimum": 0})]
Text = Annotated[str, Limit("non-empty text", lambda value: value != "", {"minLength": 1})]
Fraction = Annotated[float, Limit("a number from 0 to 1", lambda value: 0 <= value <= 1, {"minimum": 0, "maximum": 1})]
LogRanks = Annotated[
    str | int | tuple[int, ...],
    Limit("ranks such as 0 or '0,1'", lambda value: min(parse_log_ranks(value), default=-1) >= 0),
]
Device = Annotated[
    str,
    Limit("'auto', 'cpu', 'gpu' or 'gpu:N'", lambda value: re.fullmatch(DEVICES, value), {"pattern": f"^({DEVICES})$"}),
]
ImageShape = Annotated[
    tuple[int, ...],
    Limit(
        "three sizes of at least 1, [channels, height, width]",
        lambda value: len(value) == 3 and min(value) >= 1,
        {"minItems": 3, "maxItems": 3, "items": {"type": "integer", "minimum": 1}},
    ),
    Limit(f"at most {MAX_PIXELS} pixels (height x width)", lambda value: value[1] * value[2] <= MAX_PIXELS),
    Limit(f"at most {MAX_CHANNELS} channels", lambda value: value[0] <= MAX_CHANNELS),
]
