"""The lines of the Dockerfile, of which no image can be built here: sources, extras, entry point and health check."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.services import run_service

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = None

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
LINES = [line.partition(" ")[::2] for line in TEXT.splitlines() if line and not line.startswith("#")]


def arguments(instruction):
    return [rest for name, rest in LINES if name == instruction]


@pytest.fixture(scope="module")
def project():
    if tomllib is None:
        pytest.skip("needs Python 3.11 or later, which can read TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_copied_files_are_those_that_the_package_is_built_from(project):
    copied = {name for line in arguments("COPY") for name in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    assert {name for name in needed if not any(Path(name).is_relative_to(one) for one in copied)} == set()
    assert "ppzoo" in copied


def test_the_installed_extras_exist_and_the_python_is_supported(project):
    (install,) = (line for line in arguments("RUN") if "pip install" in line)
    extras = re.search(r"'\.\[(.+?)\]'", install)[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"]) and {"cpu", "serve"} <= set(extras)
    (image,) = arguments("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim", image)[1]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_the_entry_point_is_a_command_with_these_options(project):
    program, *options = json.loads(arguments("ENTRYPOINT")[0])
    assert program in project["scripts"]
    code = "import sys; from ppzoo.cli import console; sys.argv[0] = 'ppzoo'; console()"
    done = subprocess.run([sys.executable, "-c", code, *options, "--help"], capture_output=True, text=True)
    assert (done.returncode, "EXPORT" in done.stdout) == (0, True)


@pytest.mark.parametrize("is_ready", [True, False])
def test_the_health_check_reports_whether_the_service_is_ready(exported, is_ready):
    command = json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    ast.parse(command[2])
    with run_service({"small": exported}) as service:
        port = service.port if is_ready else 9  # nothing listens there
        code = command[2].replace(":8000/", f":{port}/")
        assert code != command[2]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode == 0) is is_ready


def test_the_process_is_not_root_and_owns_its_cache():
    instructions = [name for name, _ in LINES]
    assert instructions.index("USER") < instructions.index("ENTRYPOINT")
    (user,) = arguments("USER")
    (create,) = (shlex.split(line) for line in arguments("RUN") if line.startswith("useradd"))
    assert create[-1] == user != "root" and "--create-home" in create
    home = dict(pair.split("=", 1) for line in arguments("ENV") for pair in line.split())["PPZOO_HOME"]
    assert os.path.dirname(home) == f"/home/{user}"
