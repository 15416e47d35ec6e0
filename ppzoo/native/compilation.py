"""Compiling the operators once and loading them.

The library lies in `$PPZOO_HOME/native/KEY`, where the key stands for all that it depends on: PaddlePaddle, the
sources, the compiler and its options, and the processor. A process that finds none builds one while others wait, and
puts it into its place complete. One that is damaged or cannot be loaded is built again, once; `library` tells which
may be opened at all.
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

from ppzoo.files import make_folder
from ppzoo.host import cache_home, instruction_sets
from ppzoo.native.library import is_intact, publish, untrusted

logger = logging.getLogger("ppzoo")

SOURCES = Path(__file__).parent / "src"
LIBRARY = "ppzoo_native.so"
# Contracting a product and a sum into one instruction is the only liberty with arithmetic.
KERNEL_OPTIONS = ["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
GLUE_OPTIONS = ["-O1", "-w", "-DPADDLE_WITH_CUSTOM_KERNEL"]
WIDE_VECTORS = ["-mprefer-vector-width=512"]
KNOWN_ONEDNN = 3


class NativeUnavailableError(Exception):
    """The operators cannot be had here; the text says why."""


def load() -> None:
    """Make the operators known to PaddlePaddle, building them first where there is no usable library.

    Raises:
        Unavailable: no compiler, a PaddlePaddle that is not known, a failed build, or a place that others may write.
    """
    from paddle.base import core

    libraries = _paddle_libraries()
    _require_known_onednn(libraries)
    compiler = _compiler()
    library = cache_home().absolute() / "native" / _key(compiler) / LIBRARY
    _require_trusted(library)
    if not _loads(library):  # else there is nothing to lock, and nothing to write
        with _locked(library.parent):
            _require_trusted(library)
            if not _loads(library):
                _build(compiler, libraries, library)
                if not _loads(library):
                    raise NativeUnavailableError(f"{library}: expected a library that loads, got one that does not")
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
        raise NativeUnavailableError("this PaddlePaddle carries no oneDNN for the CPU")
    return found


def _require_known_onednn(libraries: list[Path]) -> None:
    class Version(ctypes.Structure):
        _fields_ = [(part, ctypes.c_int) for part in ("major", "minor", "patch")]

    ask = ctypes.CDLL(str(libraries[1])).dnnl_version
    ask.restype = ctypes.POINTER(Version)
    version = ask().contents
    if version.major != KNOWN_ONEDNN:
        raise NativeUnavailableError(
            f"PaddlePaddle's oneDNN is {version.major}.{version.minor}.{version.patch}; version {KNOWN_ONEDNN} is known"
        )


def _compiler() -> str:
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        raise NativeUnavailableError(f"no C++ compiler ({name} is not on PATH; install g++ or set CXX)")
    return path


def _options() -> list[str]:
    return [*KERNEL_OPTIONS, *(WIDE_VECTORS if "avx512f" in instruction_sets() else [])]


def _key(compiler: str) -> str:
    import paddle

    version = _run([compiler, "--version"])
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


def _require_trusted(library: Path) -> None:
    reason = untrusted(library)
    if reason is not None:
        raise NativeUnavailableError(reason)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is created if it is missing, for this process alone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        make_folder(folder)
        handle = os.open(folder / "lock", flags, 0o600)
    except OSError as error:
        raise NativeUnavailableError(
            f"{folder}: expected a folder that can be written ({error.strerror}); set PPZOO_HOME"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise NativeUnavailableError(f"cannot build in {folder}: {error.strerror}") from None
    finally:
        os.close(handle)


def _loads(library: Path) -> bool:
    """Whether a library is intact, which opening it needs, and can be opened."""
    if not is_intact(library):
        return False
    try:
        return ctypes.CDLL(str(library)).ppzoo_onednn_version() // 10000 == KNOWN_ONEDNN
    except (OSError, AttributeError):
        return False


def _build(compiler: str, libraries: list[Path], library: Path) -> None:
    logger.info("compiling ppzoo's CPU operators into %s (once for this machine, about half a minute) ...", library)
    started = time.perf_counter()
    include = _paddle_folder() / "include"
    paddle_headers = [f"-I{include}", f"-I{include / 'third_party'}"]
    for killed in library.parent.glob(".build-*"):
        shutil.rmtree(killed, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=library.parent) as place:

        def compile_one(source: Path) -> str:
            glue = source.stem.endswith("operators")
            options = [*GLUE_OPTIONS, *paddle_headers] if glue else _options()
            made = str(Path(place) / f"{source.stem}.o")
            _run([compiler, "-std=c++17", "-fPIC", *options, "-c", str(source), "-o", made], place)
            return made

        sources = sorted(SOURCES.glob("*.cc"), key=lambda path: not path.stem.endswith("operators"))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, sources))
        rpaths = [f"-Wl,-rpath,{folder}" for folder in sorted({str(path.parent) for path in libraries})]
        # Without -fopenmp here: oneDNN's and our threads are then one pool, that of PaddlePaddle's own OpenMP.
        made = Path(place) / LIBRARY
        _run([compiler, "-shared", *objects, "-o", str(made), *map(str, libraries), *rpaths], place)
        publish(made, library)
    logger.info("compiled in %.0f s", time.perf_counter() - started)


def _run(command: list[str], place: str | None = None) -> str:
    """What the compiler prints; its temporary files go to `place`, as TMPDIR may be small or full."""
    environment = {**os.environ, **({"TMPDIR": place} if place else {})}
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    except OSError as error:
        raise NativeUnavailableError(f"{name} cannot be run: {error.strerror}") from None
    if done.returncode < 0:
        raise NativeUnavailableError(f"{name} was killed by signal {-done.returncode}")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise NativeUnavailableError(f"{name} failed: {(lines[0].partition('error: ')[2] or lines[0])[:300]}")
    return done.stdout
