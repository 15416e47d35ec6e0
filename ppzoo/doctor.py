"""Checks of the installation: what `ppzoo doctor` prints.

PaddlePaddle is imported in a separate process, so that a broken build is reported like any other problem.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import ppzoo
from ppzoo.errors import DeviceError
from ppzoo.host import processor_name, usable_cores
from ppzoo.installation import CPU_PACKAGE, GPU_PACKAGE, GPU_WHEEL, REQUIREMENT, release_of, require_paddle

OK, NOTE, PROBLEM = "ok", "note", "problem"
TIMEOUT = 300  # seconds; the first use of the native operators compiles them

PYTHONS = ((3, 10), (3, 13))  # the oldest and the newest supported version
REQUIRED = {  # the packages that ppzoo needs, by the modules that they provide
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "filelock": "filelock",
    "matplotlib": "matplotlib",
    "rich": "rich",
    "visualdl": "visualdl",
}
INSTALL_CPU = f"pip install '{CPU_PACKAGE}{REQUIREMENT}'"
INSTALL_GPU = f"pip install '{GPU_PACKAGE}{REQUIREMENT}'"

# CUDA versions of the builds in PaddlePaddle's own package index, newest first; a driver runs those up to its own.
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


class Check(NamedTuple):
    """One line of the report.

    Attributes:
        name: what was checked.
        value: what was found.
        status: OK; NOTE, which limits ppzoo but does not stop it; or PROBLEM, with which something does not work.
        fix: the command that fixes a problem; '' if there is none.
    """

    name: str
    value: str
    status: str = OK
    fix: str = ""


class Card(NamedTuple):
    """A GPU of this machine; `capability` is None where nothing reports it."""

    name: str
    capability: tuple[int, int] | None


def run_checks() -> list[Check]:
    """Run all checks."""
    return [*_packages(), *_machine(), *_paddle(), *_engines()]


def format_checks(checks: list[Check]) -> str:
    """Return the checks as aligned lines, followed by each problem and note with its fix, and a verdict."""
    width = max(len(check.name) for check in checks)
    lines = [f"{check.name.ljust(width)}  {check.value}" for check in checks]
    for check in checks:
        if check.status != OK:
            lines.append(f"\n{check.status}: {check.name}: {check.value}")
            lines += [f"  fix: {check.fix}"] if check.fix else []
    count = sum(check.status == PROBLEM for check in checks)
    lines.append(f"\n{count} problem{'s' if count > 1 else ''} found" if count else "\nno problems found")
    return "\n".join(lines)


def _packages() -> Iterator[Check]:
    yield Check("ppzoo", ppzoo.__version__)
    version = platform.python_version()
    oldest, newest = (".".join(map(str, numbers)) for numbers in PYTHONS)
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        yield Check("Python", version)
    else:
        yield Check("Python", f"{version}, supported: {oldest} to {newest}", PROBLEM, f"python{newest} -m venv .venv")
    for module, package in REQUIRED.items():
        found = _version(package) or _version("opencv-python" if module == "cv2" else module)
        if importlib.util.find_spec(module) is None:
            yield Check(package, "not installed", PROBLEM, f"pip install {package}")
        else:
            yield Check(package, found or "installed, version unknown")


def _machine() -> Iterator[Check]:
    yield Check("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Check("processor", processor_name().rpartition(":")[2].strip() or "unknown")
    yield Check("cores", f"{usable_cores()} usable of {os.cpu_count()}")
    yield Check("memory", _memory())


def _memory() -> str:
    """Return the size of the main memory, and how much of it is available."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.MULTILINE))
        total, available = (int(sizes[key]) * 1024 / 1e9 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return "unknown"
    return f"{total:.1f} GB, {available:.1f} GB available"


def _paddle() -> Iterator[Check]:
    """Check PaddlePaddle, its build against the GPUs, the compiler and the native operators."""
    cards = _cards_of_driver()
    installed = {name: version for name in (CPU_PACKAGE, GPU_PACKAGE) if (version := _version(name))}
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
        yield Check("PaddlePaddle", error.line.partition(": run ")[0].partition("; run ")[0], PROBLEM, fix)
        yield from _gpus(None, cards)
        return
    package = next(iter(installed), CPU_PACKAGE)
    report, failure = _run_report(REPORT_PADDLE)
    if report is None:
        fix = f"pip install --force-reinstall '{package}{REQUIREMENT}'"
        yield Check("PaddlePaddle", f"{installed.get(package, '')} cannot be imported: {failure}", PROBLEM, fix)
        return
    build = f"CUDA {report['cuda']}, cuDNN {report['cudnn']}" if report["cuda"] else "CPU build"
    yield Check("PaddlePaddle", f"{report['version']} ({build})")
    yield from _gpus(report, cards)
    yield _compiler()
    yield _native()


def _gpus(report: dict[str, Any] | None, cards: list[Card]) -> Iterator[Check]:
    """Check the GPUs against PaddlePaddle's build; `report` is None where PaddlePaddle is not installed."""
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
            f"PaddlePaddle sees none of the {len(cards)} GPUs that nvidia-smi reports: check CUDA_VISIBLE_DEVICES and"
            " the driver",
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
    printed = _output("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
    if printed is None:  # old drivers do not know the capability
        printed = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    cards = []
    for line in (printed or "").splitlines():
        name, _, capability = line.partition(",")
        cards.append(Card(name.strip(), _numbers(capability) if re.search(r"\d\.\d", capability) else None))
    return cards


def _cuda_of_driver() -> tuple[int, int] | None:
    """Return the newest CUDA version that the driver runs."""
    found = re.search(r"CUDA Version: (\d+)\.(\d+)", _output("nvidia-smi") or "")
    return (int(found[1]), int(found[2])) if found else None


def _compiler() -> Check:
    name = os.environ.get("CXX", "g++")
    printed = _output(name, "--version")
    if printed is None:
        fix = "apt-get install g++" if shutil.which("apt-get") else ""
        return Check("compiler", f"{name} not found (the native operators need it)", NOTE, fix)
    return Check("compiler", next(iter(printed.splitlines()), name))


def _native() -> Check:
    report, failure = _run_report(REPORT_NATIVE, absent=("PPZOO_NATIVE",))
    if failure is not None:
        return Check("native operators", f"not usable: {failure}", NOTE)
    return Check("native operators", f"not usable: {report}", NOTE) if report else Check("native operators", "usable")


def _engines() -> Iterator[Check]:
    yield Check("engine paddle", "installed" if importlib.util.find_spec("paddle") else "not installed")
    for engine in ("onnxruntime", "openvino"):
        versions = [f"{name} {_version(name)}" for name in (engine, "onnx") if _version(name)]
        missing = [name for name in (engine, "onnx") if not _version(name)]
        value = ", ".join(versions) if not missing else "not installed (optional)"
        yield Check(f"engine {engine}", value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _run_report(code: str, absent: tuple[str, ...] = ()) -> tuple[Any, str | None]:
    """Run code that prints a report in a new process, without some variables of the environment.

    Returns:
        The report and None, or None and why there is no report.
    """
    environment = {name: value for name, value in os.environ.items() if name not in absent}
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return None, f"no result within {TIMEOUT} s"
    for line in done.stdout.splitlines():
        if line.startswith("REPORT "):
            return json.loads(line.removeprefix("REPORT ")), None
    if done.returncode < 0:
        return None, f"the process was killed by signal {-done.returncode}"
    return None, next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")


def _output(*command: str) -> str | None:
    """Return what a program prints; None where it does not exist or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
