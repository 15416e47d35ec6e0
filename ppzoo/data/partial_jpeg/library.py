"""Compile `reader.cc` once per machine, and load it.

The library is `$PPZOO_HOME/jpeg/KEY/ppzoo_jpeg.so`, handled as that of the native operators. It uses the libjpeg-turbo
of Pillow's wheel; the Pillow of a Linux distribution contains none.
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
from ppzoo.host import cache_home

logger = logging.getLogger("ppzoo")

SOURCE = Path(__file__).with_name("reader.cc")
LIBRARY = "ppzoo_jpeg.so"
OPTIONS = ["-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra"]


class UnavailableError(Exception):
    """Partial decoding is not available; the message is the reason."""


def open_library(*, compile_missing: bool) -> ctypes.CDLL | None:
    """Return the library; None if it is not compiled yet and `compile_missing` is false.

    Raises:
        UnavailableError: the platform or Pillow is not supported, the compilation failed, or other users can write to
            the library.
    """
    libjpeg = _find_libjpeg()
    path = cache_home().absolute() / "jpeg" / _key(libjpeg) / LIBRARY
    problem = find_trust_problem(path)
    if problem is not None:
        raise UnavailableError(problem)
    if not is_intact(path):
        if not compile_missing:
            return None
        _compile_locked(libjpeg, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"cannot load {path}: {error}") from None


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
    return hashlib.sha256(repr(facts).encode() + SOURCE.read_bytes()).hexdigest()[:16]


def _compile_locked(libjpeg: Path, path: Path) -> None:
    """Compile the library, unless another process does."""
    try:
        make_folder(path.parent)
        lock = locks.hold(path.parent / "lock", blocking=True, mode=0o600)
        try:
            if not is_intact(path):
                _compile(libjpeg, path)
        finally:
            lock.release()
    except OSError as error:
        raise UnavailableError(f"cannot write {path.parent} ({error.strerror}); set PPZOO_HOME") from None


def _compile(libjpeg: Path, path: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise UnavailableError("no C++ compiler (install g++ or set CXX)")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as folder:
        target = Path(folder) / LIBRARY
        command = [compiler, *OPTIONS, str(SOURCE), str(libjpeg), f"-Wl,-rpath,{libjpeg.parent}", "-o", str(target)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env={**os.environ, "TMPDIR": folder}
        )
        if done.returncode:
            raise UnavailableError(f"{Path(compiler).name} failed: {(done.stderr.splitlines() or ['?'])[0][:300]}")
        publish(target, path)
    logger.info("compiled the partial JPEG decoder into %s", path)
