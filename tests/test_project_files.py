"""The files of the project agree with each other: README, documents, CI, nox sessions, license and version."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ppzoo
from ppzoo.weights import load_weights, save_pdparams

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PYTHON_VERSIONS = ["3.10", "3.11", "3.12", "3.13"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def shell_blocks(text: str) -> list[str]:
    return re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def constant(path: str, name: str):
    """Return the value of a constant in a Python file that cannot be imported here."""
    for node in ast.parse(read(path)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} does not define {name}")


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as they are formed on code hosting sites, and those of `<a id="NAME">`."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = set(re.findall(r'<a id="([^"]+)"', text))
    return named | {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_shows_the_test_command_of_ci():
    install, test = shell_blocks(read("README.md"))[:2]
    assert "ppzoo train -c mobilenet_v2_x0_5" in install
    assert test == read(".ci/test_command")
    assert "bash -euo pipefail .ci/test_command" in read(".ci/run")


def test_tests_for_the_oldest_paddle_exist():
    paths = read(".ci/oldest_paddle_tests").split()
    assert paths and all((ROOT / path).is_file() for path in paths)


def test_workflow_runs_ci_on_all_python_versions():
    job = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["ci"]
    assert job["strategy"]["matrix"]["python-version"] == PYTHON_VERSIONS
    assert job["steps"][-1]["run"] == ".ci/run"


def test_nox_runs_the_checks_of_ci():
    noxfile, ci = read("noxfile.py"), read(".ci/run")
    assert str(PYTHON_VERSIONS).replace("'", '"') in noxfile
    assert f"paddlepaddle=={constant('noxfile.py', 'OLDEST_PADDLE')}" in ci
    assert constant("noxfile.py", "FUZZERS") == constant("tests/fuzz/fuzz.py", "READERS")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document):
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.is_file(), f"{document.name}: {target} does not exist"
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), (
            f"{document.name}: no heading {target}"
        )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_programs_and_commands_in_documents_exist(document):
    text = document.read_text(encoding="utf-8")
    for script in re.findall(r"python ((?:benchmarks|tests|tools)/[\w/]+\.py)", text):
        assert (ROOT / script).is_file(), f"{document.name}: {script} does not exist"
    commands = set(re.findall(r"(?:^    |`)ppzoo ([a-z]+)", text, re.MULTILINE))
    command = [sys.executable, "-m", "ppzoo", "--help"]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    missing = {command for command in commands if not re.search(rf"^ +{command}\b", usage, re.MULTILINE)}
    assert not missing, f"{document.name}: unknown commands {missing}"


def test_python_examples_run(tmp_path):
    path = tmp_path / "best_model.pdparams"
    save_pdparams(ppzoo.create_model("MobileNetV2_x0_5", class_num=10).state_dict(), path)
    text = read("docs/python_api.md")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    code = "".join(blocks).replace("output/MobileNetV2_x0_5/best_model.pdparams", str(path))
    names: dict = {}
    exec(code, names)
    assert not names["report"].missing and names["image"].shape == (64, 64, 3)


@pytest.mark.parametrize("name, function", [("create_model", ppzoo.create_model), ("load_weights", load_weights)])
def test_signatures_on_the_page_of_the_python_interface_have_the_defaults_of_the_code(name, function):
    (shown,) = re.findall(rf"^- `{name}(\(.*?\))`", read("docs/python_api.md"), re.MULTILINE)
    (definition,) = ast.parse(f"def {name}{shown}: ...").body
    options = definition.args.kwonlyargs
    values = {
        option.arg: ast.literal_eval(value) for option, value in zip(options, definition.args.kw_defaults, strict=True)
    }
    parameters = inspect.signature(function).parameters
    assert values and values == {option: parameters[option].default for option in values}


def test_the_tensor_on_the_page_of_the_service_has_the_shape_of_the_network_there():
    (shape,) = re.findall(r'InferInput\("image", (\[[\d, ]+\])', read("docs/serving.md"))
    image_shape = yaml.safe_load(read("ppzoo/configs/_base_/fashion_mnist.yaml"))["Global"]["image_shape"]
    assert ast.literal_eval(shape) == [1, *image_shape]


def test_license_is_declared_everywhere():
    text = read("LICENSE")
    assert "Apache License" in text and "Version 2.0" in text and "END OF TERMS AND CONDITIONS" in text
    assert "Apache-2.0" in read("pyproject.toml")
    assert yaml.safe_load(read("CITATION.cff"))["license"] == "Apache-2.0"


def test_version_is_the_latest_of_the_changelog():
    released = re.findall(r"^## (\d\S*)", read("CHANGELOG.md"), re.MULTILINE)
    assert yaml.safe_load(read("CITATION.cff"))["version"] == released[0]
    assert ppzoo.__version__.startswith(released[0])
