"""The table of supported PaddlePaddle versions agrees with pyproject.toml and the documents, and is enforced."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppzoo
from ppzoo.errors import DeviceError
from ppzoo.installation import (
    CPU_PACKAGE,
    GPU_PACKAGE,
    GPU_WHEEL,
    RELEASES,
    REQUIREMENT,
    release_of,
    require_paddle,
)

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("version", ["2.6.2", "2.6.2.post120", "3.0.0", "3.0.0-beta1", "3.3.1", "3.10", "0.0.0"])
def test_supported_versions(version):
    assert release_of(version) in RELEASES


@pytest.mark.parametrize("version", ["1.8.5", "2.5.2", "2.6.1", "2.7.0", "4.0.0", "10.0"])
def test_unsupported_versions(version):
    assert release_of(version) is None


@pytest.mark.parametrize("version", ["2.5.2", "4.0.0"])
def test_an_unsupported_version_is_refused_before_it_is_imported(tmp_path, version):
    package = tmp_path / "paddle" / "version"
    package.mkdir(parents=True)
    (tmp_path / "paddle" / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "__init__.py").write_text(f"full_version     = '{version}'\nmajor = '9'\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    code = "import sys; from ppzoo import cli; sys.argv[1:] = ['models']; cli.console()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == (
        f"error: PaddlePaddle {version} is not supported: expected 2.6.2 to below 2.7 or 3.0 to below 4;"
        " run `pip install 'paddlepaddle>=2.6.2,<4'` (or paddlepaddle-gpu)\n"
    )
    assert done.returncode == DeviceError.exit_status


def test_the_installed_version_is_supported():
    require_paddle()


def test_pyproject_agrees_with_the_table():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    python_end = ".".join(map(str, GPU_WHEEL.python_end))
    assert f'cpu = ["{CPU_PACKAGE}{REQUIREMENT}"]' in project
    assert f"""gpu = ["{GPU_PACKAGE}{REQUIREMENT}; python_version < '{python_end}'"]""" in project


def test_the_documents_agree_with_the_table():
    text = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\| [23].*\|$", text, re.M)]
    yes = {True: "yes", False: "no"}
    assert rows == [
        [f"{release.first} to below {release.end}", release.tested, yes[release.onnx_engines], yes[release.sot]]
        for release in RELEASES
    ]


def test_the_documents_agree_with_the_gpu_wheel():
    text = " ".join((ROOT / "docs" / "versions.md").read_text(encoding="utf-8").split())
    first, last = (f"{major}.{minor}" for major, minor in (GPU_WHEEL.first_capability, GPU_WHEEL.last_capability))
    assert f"installs `{GPU_PACKAGE}` {GPU_WHEEL.version}" in text
    assert f"compute capability {first} to {last}" in text
    assert f"For Python {'.'.join(map(str, GPU_WHEEL.python_end))} there is no GPU build" in text
    assert release_of(GPU_WHEEL.version) == RELEASES[0]


def install_distribution(folder, name, version="3.3.1"):
    """Create the metadata that pip creates for an installed package."""
    information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_both_packages_at_once_are_an_error(tmp_path):
    for name in (CPU_PACKAGE, GPU_PACKAGE):
        install_distribution(tmp_path, name)
    (tmp_path / "paddle").mkdir()
    (tmp_path / "paddle" / "__init__.py").write_text("raise SystemExit('imported')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    code = "import sys; from ppzoo import cli; sys.argv[1:] = ['models']; cli.console()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == (
        "error: paddlepaddle and paddlepaddle-gpu are both installed, and each overwrites files of the other: run"
        " `pip uninstall -y paddlepaddle paddlepaddle-gpu`, then install one of them\n"
    )
    assert done.returncode == DeviceError.exit_status == 2


@pytest.mark.parametrize(("python", "fix"), [((3, 12), "pip install 'ppzoo[gpu]'"), ((3, 13), "installation page")])
def test_a_missing_paddlepaddle_has_a_fix_that_works(monkeypatch, python, fix):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", python)
    with pytest.raises(DeviceError, match="PaddlePaddle is not installed") as caught:
        require_paddle()
    assert fix in str(caught.value)


@pytest.mark.filterwarnings("ignore:Support for `.tool.setuptools.` in `pyproject.toml` is still")
def test_the_version_is_read_without_importing_paddlepaddle(monkeypatch):
    """pip builds a wheel in an environment without PaddlePaddle."""
    expand = pytest.importorskip("setuptools.config.expand")
    monkeypatch.setitem(sys.modules, "paddle", None)
    assert 'version = { attr = "ppzoo.__version__" }' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert expand.read_attr("ppzoo.__version__", root_dir=ROOT) == ppzoo.__version__


@pytest.mark.parametrize("code", ["import ppzoo; ppzoo.create_model", "import ppzoo, paddle", "import ppzoo.native"])
def test_the_warning_about_a_missing_ccache_is_not_shown(code):
    environment = {**os.environ, "PATH": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "ccache" not in done.stderr
