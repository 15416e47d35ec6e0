"""Compile the native operators once per machine, and load them.

The library is `$PPZOO_HOME/native/KEY/ppzoo_native.so`. KEY contains a hash of everything that the library depends on:
PaddlePaddle, the sources, the compiler and its options, and the processor. If there is no library, one process compiles
it while others wait for a lock, and moves it into place when it is complete. A library that is damaged or cannot be
loaded is compiled again, once. `ppzoo.compiled_library` checks which files can be trusted.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ppzoo import locks
from ppzoo.compiled_library import find_trust_problem, is_intact, publish
from ppzoo.files import make_folder
from ppzoo.host import cache_home, compiler_name, instruction_sets

logger = logging.getLogger("ppzoo")

SOURCES = Path(__file__).parent / "src"
KERNELS, OPS = "kernels", "ops"  # folders below SOURCES
LIBRARY = "ppzoo_native.so"
REQUIRED_INSTRUCTION_SETS = {"avx2", "fma"}
ONEDNN_MAJOR_VERSION = 3
COMMON_OPTIONS = ["-std=c++17", "-fPIC", "-Wall", "-Wextra"]
# The only deviation from strict floating-point arithmetic is FMA: a product and a sum become one instruction.
KERNEL_OPTIONS = ["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
AVX512_OPTIONS = ["-mprefer-vector-width=512"]
# The files in OPS only call kernels, so -O1 is enough. PaddlePaddle's headers take most of the time to compile them.
OPS_OPTIONS = ["-O1", "-DPADDLE_WITH_CUSTOM_KERNEL"]


class NativeUnavailableError(Exception):
    """The native operators are not available; the message is the reason."""


def load() -> ctypes.CDLL:
    """Register the operators with PaddlePaddle and return their library; compile it first if none can be used.

    Raises:
        NativeUnavailableError: the platform is not supported, there is no compiler, this PaddlePaddle has no supported
            oneDNN, the compilation failed, the library cannot be written or opened, or other users can write to it.
    """
    require_supported_platform()
    libraries = paddle_libraries()
    _require_supported_onednn(libraries)
    compiler = find_compiler()
    library = cache_home().absolute() / "native" / library_key(compiler) / LIBRARY
    _require_trusted(library)
    if not _loads(library):  # a library that loads needs no lock, and nothing is written
        with _locked(library.parent):
            _require_trusted(library)
            if not _loads(library):
                _build(compiler, libraries, library)
                if not _loads(library):
                    raise NativeUnavailableError(f"{library}: expected a library that loads, got one that does not")
    from ppzoo.paddle_internals import load_op_library

    load_op_library(str(library))
    return ctypes.CDLL(str(library))


def require_supported_platform() -> None:
    """Check that the operators can be compiled and run here: on Linux, on an x86-64 processor with AVX2 and FMA.

    Raises:
        NativeUnavailableError: they cannot.
    """
    if sys.platform != "linux":
        raise NativeUnavailableError(f"expected Linux, got {sys.platform}")
    if platform.machine() not in ("x86_64", "AMD64"):
        raise NativeUnavailableError(f"expected an x86-64 processor, got {platform.machine()}")
    missing = REQUIRED_INSTRUCTION_SETS.difference(instruction_sets().split())
    if missing:
        raise NativeUnavailableError(
            f"expected a processor with AVX2 and FMA, got one without {' and '.join(sorted(missing))}"
        )


def compile_options(source: Path) -> list[str]:
    """Return the compiler's options for a source file in one of the folders `ops` and `kernels`."""
    options = [*COMMON_OPTIONS, f"-I{SOURCES}"]
    if source.parent.name == OPS:
        include = _paddle_folder() / "include"
        # As system headers, so that the compiler does not warn about PaddlePaddle's code.
        return [*options, *OPS_OPTIONS, "-isystem", str(include), "-isystem", str(include / "third_party")]
    return [*options, *_kernel_options()]


def source_files() -> list[Path]:
    """Return the files to compile; those that take the longest come first."""
    return [*sorted((SOURCES / OPS).glob("*.cc")), *sorted((SOURCES / KERNELS).glob("*.cc"))]


def _kernel_options() -> list[str]:
    return [*KERNEL_OPTIONS, *(AVX512_OPTIONS if "avx512f" in instruction_sets().split() else [])]


def _paddle_folder() -> Path:
    import paddle

    return Path(paddle.__file__).parent


def paddle_libraries() -> list[Path]:
    """Return the libraries of PaddlePaddle itself, its oneDNN and its OpenMP.

    Raises:
        NativeUnavailableError: one of them does not exist, as in builds without oneDNN.
    """
    root = _paddle_folder()
    found = [root / "base" / "libpaddle.so"]
    for pattern in ("libdnnl.so.*", "libiomp5.so"):
        found += sorted((root / "libs").glob(pattern))[:1]
    missing = [str(path) for path in found if not path.exists()]
    if len(found) < 3 or missing:
        raise NativeUnavailableError("this PaddlePaddle has no oneDNN for the CPU")
    return found


def _require_supported_onednn(libraries: list[Path]) -> None:
    class Version(ctypes.Structure):
        _fields_ = [(part, ctypes.c_int) for part in ("major", "minor", "patch")]

    function = ctypes.CDLL(str(libraries[1])).dnnl_version
    function.restype = ctypes.POINTER(Version)
    version = function().contents
    if version.major != ONEDNN_MAJOR_VERSION:
        found = f"{version.major}.{version.minor}.{version.patch}"
        raise NativeUnavailableError(f"expected oneDNN {ONEDNN_MAJOR_VERSION} in PaddlePaddle, got {found}")


def find_compiler() -> str:
    """Return the path of the C++ compiler that the environment variable CXX names, or of g++.

    Raises:
        NativeUnavailableError: there is none.
    """
    name = compiler_name()
    path = shutil.which(name)
    if path is None:
        raise NativeUnavailableError(f"no C++ compiler ({name} is not on PATH; install g++ or set CXX)")
    return path


def library_key(compiler: str) -> str:
    """Return the name of the library's folder, which contains a hash of everything that the library depends on."""
    import paddle

    version = _run([compiler, "--version"])
    digest = hashlib.sha256()
    for text in (
        paddle.__version__,
        paddle.version.commit,
        str(_paddle_folder()),
        version,
        instruction_sets(),
        *COMMON_OPTIONS,
        *_kernel_options(),
        *OPS_OPTIONS,
    ):
        digest.update(text.encode() + b"\0")
    for path in sorted(path for folder in (OPS, KERNELS) for path in (SOURCES / folder).glob("*.*")):
        digest.update(f"{path.parent.name}/{path.name}".encode() + b"\0" + path.read_bytes())
    return f"paddle-{paddle.__version__}-{digest.hexdigest()[:16]}"


def _require_trusted(library: Path) -> None:
    problem = find_trust_problem(library)
    if problem is not None:
        raise NativeUnavailableError(problem)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock `folder`, which is created if it does not exist."""
    try:
        make_folder(folder)
        lock = locks.hold(folder / "lock", blocking=True, mode=0o600)
    except OSError as error:
        raise NativeUnavailableError(
            f"{folder}: expected a writable folder ({error.strerror}); set PPZOO_HOME to a writable folder"
        ) from None
    try:
        yield
    except OSError as error:
        raise NativeUnavailableError(f"cannot build in {folder}: {error.strerror}") from None
    finally:
        lock.release()


def _loads(library: Path) -> bool:
    """Return whether a library is intact (a truncated one can crash the process), and can be opened with its oneDNN."""
    if not is_intact(library):
        return False
    try:
        return ctypes.CDLL(str(library)).ppzoo_onednn_version() // 10000 == ONEDNN_MAJOR_VERSION
    except (OSError, AttributeError):
        return False


def _build(compiler: str, libraries: list[Path], library: Path) -> None:
    logger.info("compiling native CPU operators into %s (once per machine, about half a minute) ...", library)
    started = time.perf_counter()
    for abandoned in library.parent.glob(".build-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=library.parent) as folder:

        def compile_one(source: Path) -> str:
            target = str(Path(folder) / f"{source.stem}.o")
            _run([compiler, *compile_options(source), "-c", str(source), "-o", target], folder)
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, source_files()))
        rpaths = [f"-Wl,-rpath,{folder}" for folder in sorted({str(path.parent) for path in libraries})]
        # Linked without -fopenmp, so that oneDNN and the kernels share the threads of PaddlePaddle's OpenMP.
        target = Path(folder) / LIBRARY
        _run([compiler, "-shared", *objects, "-o", str(target), *map(str, libraries), *rpaths], folder)
        publish(target, library)
    logger.info("compiled in %.0f s", time.perf_counter() - started)


def _run(command: list[str], temporary_folder: str | None = None) -> str:
    """Run the compiler and return its output.

    Args:
        temporary_folder: folder for the compiler's temporary files, as TMPDIR can be small or full.
    """
    environment = {**os.environ, **({"TMPDIR": temporary_folder} if temporary_folder else {})}
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    except OSError as error:
        raise NativeUnavailableError(f"cannot run {name}: {error.strerror}") from None
    if done.returncode < 0:
        raise NativeUnavailableError(f"{name} was killed by signal {-done.returncode}")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise NativeUnavailableError(f"{name} failed: {(lines[0].partition('error: ')[2] or lines[0])[:300]}")
    return done.stdout
