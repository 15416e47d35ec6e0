"""Compile the C++ files of this folder once per machine, and load them.

The library is `$PPZOO_HOME/input/KEY/ppzoo_input.so`, which is handled like the library of the native operators. It
uses the libjpeg-turbo of Pillow's wheel; the Pillow of a Linux distribution contains none.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import PIL

from ppzoo import locks
from ppzoo.compiled_library import find_trust_problem, is_intact, publish
from ppzoo.files import make_folder
from ppzoo.host import cache_home, compiler_name

logger = logging.getLogger("ppzoo")

SOURCES = sorted(Path(__file__).parent.glob("*.cc"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
LIBRARY = "ppzoo_input.so"
OPTIONS = ["-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-ffp-contract=off"]
SWITCH = "PPZOO_NATIVE"  # also of the native operators

POINTER, SIZE, UINT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint
ARGUMENTS = {  # of the library's functions
    "ppzoo_normalize": [POINTER, *[SIZE] * 3, POINTER, ctypes.c_int, ctypes.c_int, POINTER],
    "ppzoo_decode_jpeg": [POINTER, ctypes.c_ulong, *[UINT] * 7, POINTER],
    "ppzoo_decode_resized": [POINTER, ctypes.c_ulong, *[UINT] * 3, POINTER, POINTER],
    "ppzoo_resize": [POINTER, SIZE, POINTER, POINTER],
}


class UnavailableError(Exception):
    """The library is not available; the message is the reason."""


class _State:
    """The state of the library in this process.

    Attributes:
        library: the loaded library; None if it is not loaded.
        is_searched: whether a library that was compiled before has been looked for.
        is_final: whether the library is known to be unavailable, so that compiling it is not tried.
    """

    library: ctypes.CDLL | None = None
    is_searched = is_final = False


def prepare() -> None:
    """Load the library, and compile it first if necessary; if it is not available, log the reason."""
    if not _is_switched_off():
        _load(compile_missing=True)


def loaded_library() -> ctypes.CDLL | None:
    """Return the library if it has been compiled before; None if not, or if it is not available or switched off."""
    if _is_switched_off():
        return None
    if not _State.is_searched:
        _load(compile_missing=False)
    return _State.library


def _is_switched_off() -> bool:
    return os.environ.get(SWITCH) == "off"


def _load(*, compile_missing: bool) -> None:
    if _State.library is not None or _State.is_final:
        return
    _State.is_searched = True
    try:
        _State.library = open_library(compile_missing=compile_missing)
    except UnavailableError as error:
        _State.is_final = True
        logger.info("reading images without compiled code: %s", error)


def open_library(*, compile_missing: bool) -> ctypes.CDLL | None:
    """Return the library; None if it is not compiled yet and `compile_missing` is false.

    Raises:
        UnavailableError: the platform or Pillow is not supported, the library cannot be compiled, written or loaded, or
            other users can write to it.
    """
    libjpeg = _find_libjpeg()
    path = cache_home().absolute() / "input" / _key(libjpeg) / LIBRARY
    problem = find_trust_problem(path)
    if problem is not None:
        raise UnavailableError(problem)
    if not is_intact(path):
        if not compile_missing:
            return None
        _compile_locked(libjpeg, path)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"cannot load {path}: {error}") from None
    for name, types in ARGUMENTS.items():
        getattr(library, name).argtypes = types
    return library


def _find_libjpeg() -> Path:
    """Return the libjpeg-turbo that Pillow's wheel contains."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        raise UnavailableError("expected 64-bit Linux")
    folder = Path(PIL.__file__).parent.parent / "pillow.libs"
    found = sorted(folder.glob("libjpeg-*.so.62*"))
    if len(found) != 1:
        raise UnavailableError(f"expected Pillow's wheel with libjpeg-turbo, found {len(found)} in {folder}")
    return found[0]


def _key(libjpeg: Path) -> str:
    """Return a hash of everything that the library depends on, for the name of its folder."""
    status = libjpeg.stat()
    facts = [str(libjpeg), status.st_size, status.st_mtime_ns, os.uname().machine, *OPTIONS]
    digest = hashlib.sha256(repr(facts).encode())
    for source in [*SOURCES, *HEADERS]:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _compile_locked(libjpeg: Path, path: Path) -> None:
    """Compile the library, unless another process has compiled it meanwhile."""
    try:
        make_folder(path.parent)
        lock = locks.hold(path.parent / "lock", blocking=True, mode=0o600)
        try:
            if not is_intact(path):
                _compile(libjpeg, path)
        finally:
            lock.release()
    except OSError as error:
        raise UnavailableError(
            f"cannot write {path.parent} ({error.strerror}); set PPZOO_HOME to a writable folder"
        ) from None


def _compile(libjpeg: Path, path: Path) -> None:
    compiler = shutil.which(compiler_name())
    if compiler is None:
        raise UnavailableError("no C++ compiler (install g++ or set CXX)")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as folder:
        target = Path(folder) / LIBRARY
        command = [
            compiler,
            *OPTIONS,
            *map(str, SOURCES),
            str(libjpeg),
            f"-Wl,-rpath,{libjpeg.parent}",
            "-o",
            str(target),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env={**os.environ, "TMPDIR": folder}
        )
        if done.returncode:
            raise UnavailableError(f"{Path(compiler).name} failed: {(done.stderr.splitlines() or ['?'])[0][:300]}")
        publish(target, path)
    logger.info("compiled the code for reading images into %s", path)
