"""Compiling the operators once and loading them.

The library lies in `$PPZOO_HOME/native/KEY`, where the key stands for all that it depends on: PaddlePaddle, the
sources, the compiler and its options, and the processor. A process that finds none builds one while others wait, and
puts it into its place complete. One that cannot be loaded is built again, once.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ppzoo.machine import home, instruction_sets

logger = logging.getLogger("ppzoo")

SOURCES = Path(__file__).parent / "src"
LIBRARY = "ppzoo_native.so"
# Contracting a product and a sum into one instruction is the only liberty with arithmetic.
KERNEL_OPTIONS = ["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
GLUE_OPTIONS = ["-O1", "-w", "-DPADDLE_WITH_CUSTOM_KERNEL"]
WIDE_VECTORS = ["-mprefer-vector-width=512"]
KNOWN_ONEDNN = 3


class Unavailable(Exception):
    """The operators cannot be had here; the text says why."""


def load() -> None:
    """Make the operators known to PaddlePaddle, building them first where there is no usable library.

    Raises:
        Unavailable: no compiler, a PaddlePaddle that is not known, or a failed build.
    """
    from paddle.base import core

    libraries = _paddle_libraries()
    _require_known_onednn(libraries)
    compiler = _compiler()
    folder = home() / "native" / _key(compiler)
    library = folder / LIBRARY
    with _locked(folder):
        if not (library.is_file() and _loads(library)):
            _build(compiler, libraries, library)
            if not _loads(library):
                raise Unavailable(f"{library}: expected a library that loads, received one that does not after a build")
    core.load_op_meta_info_and_register_op(str(library))


def _paddle_folder() -> Path:
    import paddle

    return Path(paddle.__file__).parent


def _paddle_libraries() -> list[Path]:
    """PaddlePaddle itself, its oneDNN and its OpenMP."""
    root = _paddle_folder()
    found = [root / "base" / "libpaddle.so"]
    for pattern in ("libdnnl.so.*", "libiomp5.so"):
        found += sorted((root / "libs").glob(pattern))[:1]
    missing = [str(path) for path in found if not path.exists()]
    if len(found) < 3 or missing:
        raise Unavailable("this PaddlePaddle carries no oneDNN for the CPU")
    return found


def _require_known_onednn(libraries: list[Path]) -> None:
    class Version(ctypes.Structure):
        _fields_ = [(part, ctypes.c_int) for part in ("major", "minor", "patch")]

    ask = ctypes.CDLL(str(libraries[1])).dnnl_version
    ask.restype = ctypes.POINTER(Version)
    version = ask().contents
    if version.major != KNOWN_ONEDNN:
        raise Unavailable(
            f"PaddlePaddle's oneDNN is {version.major}.{version.minor}.{version.patch}; version {KNOWN_ONEDNN} is known"
        )


def _compiler() -> str:
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"no C++ compiler ({name} is not on PATH; install g++ or set CXX)")
    return path


def _options() -> list[str]:
    return [*KERNEL_OPTIONS, *(WIDE_VECTORS if "avx512f" in instruction_sets() else [])]


def _key(compiler: str) -> str:
    import paddle

    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    digest = hashlib.sha256()
    for text in (
        paddle.__version__,
        paddle.version.commit,
        str(_paddle_folder()),
        version,
        instruction_sets(),
        *_options(),
    ):
        digest.update(text.encode() + b"\0")
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"paddle-{paddle.__version__}-{digest.hexdigest()[:16]}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / "lock", "w")  # noqa: SIM115
    except OSError as error:
        raise Unavailable(
            f"{folder}: expected a folder that can be written ({error.strerror}); set PPZOO_HOME"
        ) from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _loads(library: Path) -> bool:
    try:
        return ctypes.CDLL(str(library)).ppzoo_onednn_version() // 10000 == KNOWN_ONEDNN
    except (OSError, AttributeError):
        return False


def _build(compiler: str, libraries: list[Path], library: Path) -> None:
    logger.info("compiling ppzoo's CPU operators into %s (once for this machine, about half a minute) ...", library)
    started = time.perf_counter()
    include = _paddle_folder() / "include"
    paddle_headers = [f"-I{include}", f"-I{include / 'third_party'}"]
    with tempfile.TemporaryDirectory(prefix=".build-", dir=library.parent) as place:

        def compile_one(source: Path) -> str:
            glue = source.stem.endswith("operators")
            options = [*GLUE_OPTIONS, *paddle_headers] if glue else _options()
            made = str(Path(place) / f"{source.stem}.o")
            _run([compiler, "-std=c++17", "-fPIC", *options, "-c", str(source), "-o", made])
            return made

        sources = sorted(SOURCES.glob("*.cc"), key=lambda path: not path.stem.endswith("operators"))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, sources))
        rpaths = [f"-Wl,-rpath,{folder}" for folder in sorted({str(path.parent) for path in libraries})]
        # Without -fopenmp here: oneDNN's and our threads are then one pool, that of PaddlePaddle's own OpenMP.
        made = Path(place) / LIBRARY
        _run([compiler, "-shared", *objects, "-o", str(made), *map(str, libraries), *rpaths])
        os.replace(made, library)
    logger.info("compiled in %.0f s", time.perf_counter() - started)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise Unavailable(f"{Path(command[0]).name} failed: {lines[0][:200]}")
