"""The kernels under the address and undefined-behavior sanitizers, with random geometries.

`sanitizers/driver.cc` says what it compares. By hand, with more cases: run this file as a program with a seed, a number
of cases and, for one kind of them alone, its name.
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


def build(place: Path) -> Path:
    """Compile the kernels, which know nothing of PaddlePaddle, with the driver."""
    compiler = compilation._compiler()
    libraries = [str(path) for path in compilation._paddle_libraries()[1:3]]
    kernels = [path for path in sorted(compilation.SOURCES.glob("*.cc")) if not path.stem.endswith("operators")]

    def compile_one(source: Path) -> str:
        made = str(place / f"{source.stem}.o")
        options = [*compilation._options(), *SANITIZERS, f"-I{compilation.SOURCES}"]
        subprocess.run([compiler, "-std=c++17", *options, "-c", str(source), "-o", made], check=True)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [DRIVER, *kernels]))
    program = place / "driver"
    rpath = f"-Wl,-rpath,{Path(libraries[0]).parent}"
    subprocess.run([compiler, SANITIZERS[2], *objects, "-o", str(program), *libraries, rpath], check=True)
    return program


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")
def test_random_geometries_under_the_sanitizers(tmp_path):
    command = [str(build(tmp_path)), "1", "40"]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(build(Path(folder))), *sys.argv[1:]]
        sys.exit(subprocess.run(arguments, env={**os.environ, **ENVIRONMENT}).returncode)
