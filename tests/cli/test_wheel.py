"""The source distribution and the wheel contain every file that ppzoo needs, and the installed wheel works."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers.quick import QUICK
from helpers.small_runs import paint_class_folders

ROOT = Path(__file__).parents[2]
BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
FOLDERS = (".ci", ".github", "benchmarks", "configs", "docs", "examples", "ppzoo", "tests", "tools")

pytestmark = pytest.mark.slow


def make_environment(folder):
    """Create a virtual environment and return its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the files that a source distribution is built from."""
    folder = tmp_path_factory.mktemp("source")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """The Python of an environment with setuptools."""
    folder = tmp_path_factory.mktemp("builder")
    python = make_environment(folder) / "python"
    installed = subprocess.run([python, "-m", "pip", "install", "-q", "setuptools>=77"], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot install setuptools from a package registry: {installed.stderr.strip()[-200:]}")
    return python


@pytest.fixture(scope="module")
def sdist(source, builder, tmp_path_factory):
    """The source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run([builder, "-c", BUILD_SDIST, str(folder)], cwd=source, check=True, capture_output=True)
    (file,) = folder.glob("*.tar.gz")
    return file


@pytest.fixture(scope="module")
def wheel(builder, sdist, tmp_path_factory):
    """The wheel that pip builds from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([builder, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(sdist)], check=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_source_distribution_contains_what_builds_tests_and_documents_ppzoo(source, sdist):
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    expected = {file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()}
    assert {name for name in expected - packed if ".egg-info/" not in name} == set()


def test_the_wheel_of_the_source_distribution_contains_every_file_of_the_package(source, wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    package = source / "ppzoo"
    expected = {file.relative_to(source).as_posix() for file in package.rglob("*") if file.is_file()}
    assert expected - packed == set()
    assert not {name for name in packed - expected if ".dist-info/" not in name}


def test_the_installed_wheel_trains_evaluates_predicts_and_exports_in_an_empty_folder(wheel, tmp_path):
    programs = make_environment(tmp_path / "environment")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PPZOO_HOME"] = str(tmp_path / "home")
    install = [programs / "python", "-m", "pip", "install", "-q", f"{wheel}[cpu]"]
    subprocess.run(install, env=environment, check=True)
    folder = tmp_path / "empty"
    folder.mkdir()
    paint_class_folders(folder / "photos")

    def ppzoo(*arguments):
        command = [programs / "ppzoo", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    ppzoo("train", "--arch", "LeNet", "--data", "photos", *QUICK)
    assert "top1" in ppzoo("eval", "output/LeNet")
    assert "photos/red/0.png" in ppzoo("infer", "output/LeNet", "photos/red/0.png")
    ppzoo("export", "output/LeNet")
    assert (folder / "inference" / "LeNet" / "inference.pdiparams").is_file()
