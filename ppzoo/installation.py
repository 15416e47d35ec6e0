"""What has to be installed beside ppzoo: which versions of PaddlePaddle, and what each can do."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

from ppzoo.errors import DeviceError


class Release(NamedTuple):
    """Versions of PaddlePaddle, from `first` up to but without `end`, that ppzoo works with.

    Attributes:
        tested: the version that the tests run on.
        onnx_engines: whether exports run in ONNX Runtime and OpenVINO.
        sot: whether `paddle.jit.to_static(network, full_graph=False)` compiles networks; else they stay dynamic.
    """

    first: str
    end: str
    tested: str
    onnx_engines: bool
    sot: bool


RELEASES = (
    Release("2.6.2", "2.7", tested="2.6.2", onnx_engines=False, sot=False),
    Release("3.0", "4", tested="3.3.1", onnx_engines=True, sot=True),
)
# What pyproject.toml asks of pip.
REQUIREMENT = f">={RELEASES[0].first},<{RELEASES[-1].end}"
DEVELOPMENT = "0.0.0"  # builds between two releases call themselves so


def require_paddle() -> None:
    """
    Raises:
        DeviceError: PaddlePaddle is not installed, or of a version that is not known to work; says how to get one.
    """
    specification = importlib.util.find_spec("paddle")
    if specification is None:
        raise DeviceError(
            "PaddlePaddle is not installed: run `pip install 'ppzoo[cpu]'` for the CPU"
            " or `pip install 'ppzoo[gpu]'` for a GPU (in a clone: `pip install -e '.[cpu]'`)"
        )
    version = _installed_version(specification.origin)
    if version is not None and release_of(version) is None:
        known = " or ".join(f"{release.first} to below {release.end}" for release in RELEASES)
        raise DeviceError(
            f"PaddlePaddle {version} is not supported: expected {known};"
            f" run `pip install 'paddlepaddle{REQUIREMENT}'` (or paddlepaddle-gpu)"
        )


def release_of(version: str) -> Release | None:
    """The entry of `RELEASES` for a version; builds between two releases count as the last."""
    if version.startswith(DEVELOPMENT):
        return RELEASES[-1]
    numbers = _numbers(version)
    return next((known for known in RELEASES if _numbers(known.first) <= numbers < _numbers(known.end)), None)


def _installed_version(origin: str | None) -> str | None:
    """What PaddlePaddle's package says of itself, read without importing it; None if it says nothing."""
    try:
        text = Path(origin or "").with_name("version").joinpath("__init__.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = re.search(r"^full_version\s*=\s*['\"]([0-9][^'\"]*)", text, re.MULTILINE)
    return found and found[1]


def _numbers(version: str) -> tuple[int, ...]:
    """The first three numbers: (2, 6, 2) of 2.6.2.post120."""
    parts = [re.match(r"\d+", part) for part in version.split(".")[:3]]
    numbers = [int(part[0]) if part else 0 for part in parts]
    return (*numbers, *[0] * (3 - len(numbers)))
