"""Checks of Python, the packages that ppzoo needs, the machine, the compiler and the engines."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator

import ppzoo
from ppzoo.doctor import programs
from ppzoo.doctor.check import NOTE, PROBLEM, Check
from ppzoo.host import compiler_name, processor_name, usable_cores

PYTHONS = ((3, 10), (3, 13))  # the oldest and the newest supported version
EQUIVALENT = {"opencv-python-headless": "opencv-python"}  # another package that provides the same module
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


def check_packages() -> Iterator[Check]:
    """Check ppzoo, Python and the packages that ppzoo needs."""
    yield Check("ppzoo", ppzoo.__version__)
    version = platform.python_version()
    oldest, newest = (".".join(map(str, numbers)) for numbers in PYTHONS)
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        yield Check("Python", version)
    else:
        yield Check("Python", f"{version}, supported: {oldest} to {newest}", PROBLEM, f"python{newest} -m venv .venv")
    for module, package in REQUIRED.items():
        names = (package, EQUIVALENT[package]) if package in EQUIVALENT else (package,)
        found = next(filter(None, map(programs.installed_version, names)), None)
        if importlib.util.find_spec(module) is None:
            yield Check(package, "not installed", PROBLEM, f"pip install {package}")
        else:
            yield Check(package, found or "installed, version unknown")


def check_machine() -> Iterator[Check]:
    """Describe the system, the processor and the memory."""
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


def check_compiler() -> Check:
    """Look for the compiler of the native operators."""
    name = compiler_name()
    printed = programs.output(name, "--version")
    if printed is None:
        fix = "apt-get install g++" if shutil.which("apt-get") else ""
        return Check("compiler", f"{name} not found (the native operators need it)", NOTE, fix)
    return Check("compiler", next(iter(printed.splitlines()), name))


def check_engines() -> Iterator[Check]:
    """Look for the packages of the engines that run exports; ONNX Runtime and OpenVINO also need the package `onnx`."""
    yield Check("engine paddle", "installed" if importlib.util.find_spec("paddle") else "not installed")
    for engine in ("onnxruntime", "openvino"):
        versions = {name: programs.installed_version(name) for name in (engine, "onnx")}
        missing = [name for name, version in versions.items() if version is None]
        found = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Check(f"engine {engine}", f"{' and '.join(missing)} not installed (optional)" if missing else found)
