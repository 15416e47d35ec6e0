"""Checks of PaddlePaddle: its build against the GPUs of this machine, and the native operators."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from ppzoo.doctor import programs
from ppzoo.doctor.check import NOTE, OK, PROBLEM, Check
from ppzoo.doctor.environment import check_compiler
from ppzoo.errors import DeviceError, count_text
from ppzoo.installation import CPU_PACKAGE, GPU_PACKAGE, GPU_WHEEL, REQUIREMENT, release_of, require_paddle

INSTALL_CPU = f"pip install '{CPU_PACKAGE}{REQUIREMENT}'"
INSTALL_GPU = f"pip install '{GPU_PACKAGE}{REQUIREMENT}'"

# CUDA versions of the builds in PaddlePaddle's own package index, newest first. A driver supports the CUDA versions up
# to its own.
INDEX_BUILDS = {(13, 0): "cu130", (12, 9): "cu129", (12, 6): "cu126", (11, 8): "cu118"}

REPORT_PADDLE = """
import json, paddle
version = paddle.version
report = {
    "version": paddle.__version__,
    "cuda": version.cuda() if paddle.is_compiled_with_cuda() else None,
    "cudnn": version.cudnn() if paddle.is_compiled_with_cuda() else None,
    "capabilities": version.cuda_archs() if hasattr(version, "cuda_archs") else [],
    "gpus": [],
}
if report["cuda"]:
    for number in range(paddle.device.cuda.device_count()):
        name = paddle.device.cuda.get_device_name(number)
        report["gpus"].append([name, list(paddle.device.cuda.get_device_capability(number))])
print("REPORT " + json.dumps(report))
"""
REPORT_NATIVE = """
import json, paddle
from ppzoo import native
from ppzoo.errors import DeviceError
paddle.set_device("cpu")
refusal = None
try:
    native.set_mode("on")
except DeviceError as error:
    refusal = str(error)
print("REPORT " + json.dumps(refusal))
"""


class Card(NamedTuple):
    """A GPU of this machine; `capability` is None if it is not known."""

    name: str
    capability: tuple[int, int] | None


def check_paddle() -> Iterator[Check]:
    """Check PaddlePaddle, its build against the GPUs, the compiler and the native operators."""
    cards = _cards_of_driver()
    installed = {name: version for name in (CPU_PACKAGE, GPU_PACKAGE) if (version := programs.installed_version(name))}
    if len(installed) > 1:
        found = " and ".join(f"{name} {version}" for name, version in installed.items())
        reinstall = _install_for(cards[0]) if cards else INSTALL_CPU
        yield Check(
            "PaddlePaddle",
            f"{found} are both installed and overwrite each other's files",
            PROBLEM,
            f"pip uninstall -y {CPU_PACKAGE} {GPU_PACKAGE} && {reinstall}",
        )
        return
    try:
        require_paddle()
    except DeviceError as error:
        fix = _install_for(cards[0]) if cards else INSTALL_CPU
        problem = re.split("[:;] run ", error.line)[0]  # without its fix: this check has its own
        yield Check("PaddlePaddle", problem, PROBLEM, fix)
        yield from _gpus(None, cards)
        return
    package = next(iter(installed), CPU_PACKAGE)
    report, failure = programs.run_report(REPORT_PADDLE)
    if report is None:
        fix = f"pip install --force-reinstall '{package}{REQUIREMENT}'"
        yield Check("PaddlePaddle", f"{installed.get(package, '')} cannot be imported: {failure}", PROBLEM, fix)
        return
    build = f"CUDA {report['cuda']}, cuDNN {report['cudnn']}" if report["cuda"] else "CPU build"
    yield Check("PaddlePaddle", f"{report['version']} ({build})")
    yield from _gpus(report, cards)
    yield check_compiler()
    yield check_native()


def _gpus(report: dict[str, Any] | None, cards: list[Card]) -> Iterator[Check]:
    """Check the GPUs against PaddlePaddle's build; `report` is None if PaddlePaddle cannot be used."""
    cards = [Card(name, (capability[0], capability[1])) for name, capability in (report or {}).get("gpus", [])] or cards
    built_for = _capabilities(report) if report and report["cuda"] else None
    for number, card in enumerate(cards):
        capability = "unknown" if card.capability is None else ".".join(map(str, card.capability))
        value, status, fix = f"{card.name}, compute capability {capability}", OK, ""
        if report and not report["cuda"]:
            value, status = f"{value}: not used, since this PaddlePaddle is a CPU build", NOTE
            fix = _install_for(card, replaces_cpu=True)
        elif built_for and card.capability and not built_for[0] <= card.capability <= built_for[1]:
            first, last = (".".join(map(str, numbers)) for numbers in built_for)
            value = f"{value}: this PaddlePaddle build supports {first} to {last}"
            status, fix = PROBLEM, _install_for(card)
        yield Check(f"GPU {number}", value, status, fix)
    if not cards:
        has_cuda = bool(report and report["cuda"])
        value = "none: PaddlePaddle sees no GPU, and nvidia-smi reports none" if has_cuda else "none"
        yield Check("GPU", value, NOTE if has_cuda else OK, "nvidia-smi" if has_cuda else "")
    elif report and report["cuda"] and not report["gpus"]:
        yield Check(
            "CUDA",
            f"PaddlePaddle sees no GPU, but nvidia-smi reports {count_text(len(cards), 'GPU')}: check"
            " CUDA_VISIBLE_DEVICES and the driver",
            PROBLEM,
            "unset CUDA_VISIBLE_DEVICES",
        )


def _capabilities(report: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the first and the last compute capability that PaddlePaddle was compiled for, if they are known."""
    known = sorted(_numbers(str(text)) for text in report["capabilities"] if re.search(r"\d", str(text)))
    if known:
        return known[0], known[-1]
    if release_of(report["version"]) == release_of(GPU_WHEEL.version):
        return GPU_WHEEL.first_capability, GPU_WHEEL.last_capability
    return None


def _numbers(text: str) -> tuple[int, int]:
    """Return (8, 6) for '86', 'sm_86' or '8.6'."""
    digits = "".join(re.findall(r"\d", text))
    return int(digits[:-1] or 0), int(digits[-1])


def _install_for(card: Card, *, replaces_cpu: bool = False) -> str:
    """Return the command that installs a PaddlePaddle that supports a GPU."""
    remove = f"pip uninstall -y {CPU_PACKAGE} && " if replaces_cpu else ""
    wheel = GPU_WHEEL
    is_usable = card.capability is None or wheel.first_capability <= card.capability <= wheel.last_capability
    if is_usable and sys.version_info < wheel.python_end:
        return remove + INSTALL_GPU
    driver = _cuda_of_driver()
    build = next((name for version, name in INDEX_BUILDS.items() if driver is None or version <= driver), "cu118")
    command = f"{remove}pip install '{GPU_PACKAGE}>=3,<4' --index-url PADDLE_INDEX/{build}/"
    return f"{command}  (PADDLE_INDEX: the address of PaddlePaddle's own package index, on its installation page)"


def _cards_of_driver() -> list[Card]:
    """Return the GPUs that nvidia-smi reports."""
    printed = programs.output("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
    if printed is None:  # old drivers do not know the capability
        printed = programs.output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    cards = []
    for line in (printed or "").splitlines():
        name, _, capability = line.partition(",")
        cards.append(Card(name.strip(), _numbers(capability) if re.search(r"\d\.\d", capability) else None))
    return cards


def _cuda_of_driver() -> tuple[int, int] | None:
    """Return the newest CUDA version that the driver runs."""
    found = re.search(r"CUDA Version: (\d+)\.(\d+)", programs.output("nvidia-smi") or "")
    return (int(found[1]), int(found[2])) if found else None


def check_native() -> Check:
    """Check whether the native operators can be compiled and used."""
    report, failure = programs.run_report(REPORT_NATIVE, absent=("PPZOO_NATIVE",))
    if failure is not None:
        return Check("native operators", f"not usable: {failure}", NOTE)
    return Check("native operators", f"not usable: {report}", NOTE) if report else Check("native operators", "usable")
