"""The versions of PaddlePaddle that work: one table, which pip and the documents agree with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ppzoo.errors import DeviceError
from ppzoo.installation import RELEASES, REQUIREMENT, release_of, require_paddle

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("version", ["2.6.2", "2.6.2.post120", "3.0.0", "3.0.0-beta1", "3.3.1", "3.10", "0.0.0"])
def test_supported_versions(version):
    assert release_of(version) in RELEASES


@pytest.mark.parametrize("version", ["1.8.5", "2.5.2", "2.6.1", "2.7.0", "4.0.0", "10.0"])
def test_other_versions(version):
    assert release_of(version) is None


@pytest.mark.parametrize("version", ["2.5.2", "4.0.0"])
def test_another_version_is_refused_before_it_is_imported(tmp_path, version):
    package = tmp_path / "paddle" / "version"
    package.mkdir(parents=True)
    (tmp_path / "paddle" / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "__init__.py").write_text(f"full_version     = '{version}'\nmajor = '9'\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    code = "import sys; from ppzoo import cli; sys.argv[1:] = ['models']; cli.console()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == (
        f"error: PaddlePaddle {version} is not supported: expected 2.6.2 to below 2.7 or 3.0 to below 4;"
        " run `pip install 'paddlepaddle>=2.6.2,<4'` (or paddlepaddle-gpu)\n"
    )
    assert done.returncode == DeviceError.exit_status


def test_the_installed_version_is_supported():
    require_paddle()


def test_pip_and_the_table_agree():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra, package in (("cpu", "paddlepaddle"), ("gpu", "paddlepaddle-gpu")):
        assert f'{extra} = ["{package}{REQUIREMENT}"]' in project


def test_the_documents_and_the_table_agree():
    text = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\| [23].*\|$", text, re.M)]
    yes = {True: "yes", False: "no"}
    assert rows == [
        [f"{known.first} to below {known.end}", known.tested, yes[known.onnx_engines], yes[known.sot]]
        for known in RELEASES
    ]


@pytest.mark.parametrize("code", ["import ppzoo; ppzoo.create_model", "import ppzoo, paddle", "import ppzoo.native"])
def test_paddlepaddles_warning_of_a_missing_ccache_is_not_shown(code):
    environment = {**os.environ, "PATH": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "ccache" not in done.stderr
