"""The kernels under the address and undefined-behavior sanitizers, with random geometries.

`sanitizers/driver.cc` compares the kernels with plain loops in double precision. To run more cases, run this file as a
program:

    python tests/native/test_native_sanitizers.py SEED CASES [KIND]

KIND is the name of one kind of cases, such as `depthwise`; without it all kinds are run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppzoo.native import compilation

DRIVER = Path(__file__).parent / "sanitizers" / "driver.cc"
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-Wno-psabi"]
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0", "OMP_DYNAMIC": "true"}

needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")


def compile_all(sources: list[Path], options: list[str], folder: Path) -> list[str]:
    """Compile each file with the options of its folder and `options`; return the object files."""

    def compile_one(source: Path) -> str:
        target = str(folder / f"{source.stem}.o")
        command = [compilation.find_compiler(), *compilation.compile_options(source), *options, "-c", str(source)]
        done = subprocess.run([*command, "-o", target], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, sources))


def build(folder: Path) -> Path:
    """Compile the kernels, which do not depend on PaddlePaddle, with the driver."""
    libraries = [str(path) for path in compilation.paddle_libraries()[1:3]]
    kernels = [path for path in compilation.source_files() if path.parent.name == compilation.KERNELS]
    objects = compile_all([DRIVER, *kernels], SANITIZERS, folder)
    program = folder / "driver"
    rpath = f"-Wl,-rpath,{Path(libraries[0]).parent}"
    command = [compilation.find_compiler(), SANITIZERS[2], *objects, "-o", str(program), *libraries, rpath]
    subprocess.run(command, check=True)
    return program


@pytest.mark.slow
@needs_compiler
def test_random_geometries_under_the_sanitizers(tmp_path):
    command = [str(build(tmp_path)), "1", "40"]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs_compiler
def test_sources_compile_without_warnings(tmp_path):
    # Without AVX-512 a `Doubles` is wider than a register, which is no problem as no other library passes one.
    compile_all(compilation.source_files(), ["-Werror", "-Wno-psabi"], tmp_path)


@needs_compiler
def test_warnings_in_ops_and_kernels_are_reported(tmp_path, monkeypatch):
    """PaddlePaddle's headers are system headers; the options must not hide warnings about these files."""
    monkeypatch.setattr(compilation, "SOURCES", tmp_path)
    for name in (compilation.KERNELS, compilation.OPS):
        source = tmp_path / name / "unused.cc"
        source.parent.mkdir()
        source.write_text("int f() { int unused = 1; return 0; }")
        with pytest.raises(AssertionError, match="unused variable"):
            compile_all([source], ["-Werror"], tmp_path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(build(Path(folder))), *sys.argv[1:]]
        sys.exit(subprocess.run(arguments, env={**os.environ, **ENVIRONMENT}).returncode)
