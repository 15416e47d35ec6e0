"""The PaddlePaddle packages that ppzoo works with, and what each version supports."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ppzoo.errors import DeviceError


class Release(NamedTuple):
    """A range of supported PaddlePaddle versions: `first` <= version < `end`.

    Attributes:
        tested: the version that the tests run with.
        onnx_engines: whether ONNX Runtime and OpenVINO can run its exports.
        sot: whether `paddle.jit.to_static(network, full_graph=False)` compiles networks; else they run uncompiled.
        empty_batches: whether convolutions, norms and pooling accept a batch without images.
    """

    first: str
    end: str
    tested: str
    onnx_engines: bool
    sot: bool
    empty_batches: bool


class GpuWheel(NamedTuple):
    """A GPU build of PaddlePaddle.

    Attributes:
        first_capability, last_capability: compute capabilities of the oldest and the newest cards that it can use.
        python_end: there is no wheel for this Python version and later ones.
    """

    version: str
    first_capability: tuple[int, int]
    last_capability: tuple[int, int]
    python_end: tuple[int, int]


RELEASES = (
    Release("2.6.2", "2.7", tested="2.6.2", onnx_engines=False, sot=False, empty_batches=False),
    Release("3.0", "4", tested="3.3.1", onnx_engines=True, sot=True, empty_batches=True),
)
# What `pip install 'ppzoo[gpu]'` installs: newer GPU builds are only in PaddlePaddle's own package index.
GPU_WHEEL = GpuWheel("2.6.2", first_capability=(6, 1), last_capability=(8, 6), python_end=(3, 13))
REQUIREMENT = f">={RELEASES[0].first},<{RELEASES[-1].end}"  # the same as in pyproject.toml
DEVELOPMENT = "0.0.0"  # the version of PaddlePaddle's development builds
CPU_PACKAGE, GPU_PACKAGE = "paddlepaddle", "paddlepaddle-gpu"


def require_paddle() -> None:
    """Check that exactly one supported PaddlePaddle is installed, without importing it.

    Raises:
        DeviceError: it is not installed, installed twice, or its version is not supported.
    """
    specification = importlib.util.find_spec("paddle")
    if specification is None:
        for_gpu = "`pip install 'ppzoo[gpu]'` for a GPU"
        if sys.version_info >= GPU_WHEEL.python_end:  # `ppzoo[gpu]` installs nothing for these versions
            for_gpu = "for a GPU the command on PaddlePaddle's installation page"
        raise DeviceError(
            f"PaddlePaddle is not installed: run `pip install 'ppzoo[cpu]'` for the CPU or {for_gpu}"
            " (in a clone: `pip install -e '.[cpu]'`)"
        )
    if has_distribution(CPU_PACKAGE) and has_distribution(GPU_PACKAGE):
        raise DeviceError(
            f"{CPU_PACKAGE} and {GPU_PACKAGE} are both installed, and each overwrites files of the other: run"
            f" `pip uninstall -y {CPU_PACKAGE} {GPU_PACKAGE}`, then install one of them"
        )
    version = _installed_version(specification.origin)
    if version is not None and release_of(version) is None:
        supported = " or ".join(f"{release.first} to below {release.end}" for release in RELEASES)
        raise DeviceError(
            f"PaddlePaddle {version} is not supported: expected {supported};"
            f" run `pip install '{CPU_PACKAGE}{REQUIREMENT}'` (or {GPU_PACKAGE})"
        )


def has_distribution(name: str) -> bool:
    """Return whether pip has installed the package `name`."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def release_of(version: str) -> Release | None:
    """Return the entry of `RELEASES` for a version, the last one for development builds; None if not supported."""
    if version.startswith(DEVELOPMENT):
        return RELEASES[-1]
    numbers = _numbers(version)
    return next((each for each in RELEASES if _numbers(each.first) <= numbers < _numbers(each.end)), None)


def _installed_version(origin: str | None) -> str | None:
    """Read PaddlePaddle's version from its source file `version/__init__.py`; None if that fails."""
    try:
        text = Path(origin or "").with_name("version").joinpath("__init__.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = re.search(r"^full_version\s*=\s*['\"]([0-9][^'\"]*)", text, re.MULTILINE)
    return found and found[1]


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version: (2, 6, 2) for 2.6.2.post120."""
    parts = [re.match(r"\d+", part) for part in version.split(".")[:3]]
    numbers = [int(part[0]) if part else 0 for part in parts]
    return (*numbers, *[0] * (3 - len(numbers)))
