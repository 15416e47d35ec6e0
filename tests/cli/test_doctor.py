"""`ppzoo doctor`: what it finds, and the command that fixes each problem."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ppzoo import doctor
from ppzoo.cli import main
from ppzoo.doctor import environment, paddlepaddle, programs
from ppzoo.errors import DeviceError

ROOT = Path(__file__).parents[2]
CPU = {"version": "3.3.1", "cuda": None, "cudnn": None, "capabilities": [], "gpus": []}
GPU_2_6 = {"version": "2.6.2", "cuda": "11.8", "cudnn": "8.6.0", "capabilities": [], "gpus": []}
GPU_3 = {"version": "3.3.1", "cuda": "12.6", "cudnn": "9.5", "capabilities": ["sm_75", "sm_90"], "gpus": []}


@pytest.fixture
def machine(monkeypatch):
    """Let the checks find other packages, another build of PaddlePaddle, and other GPUs than this machine's."""

    def pretend(*, packages=("paddlepaddle",), paddle=CPU, cards=(), python=(3, 11), driver="12.8", native=None):
        def output(program, *options):
            if program == "nvidia-smi" and options:
                return "".join(f"{name}, {capability}\n" for name, capability in cards) if cards else None
            return f"CUDA Version: {driver}" if program == "nvidia-smi" else "g++ 12"

        def report(code, absent=()):
            found = native if "native" in code else paddle
            return (None, found) if isinstance(found, str) and "native" not in code else (found, None)

        def version(name):
            return "1.0" if name in packages or "paddle" not in name else None

        monkeypatch.setattr(programs, "output", output)
        monkeypatch.setattr(programs, "run_report", report)
        monkeypatch.setattr(programs, "installed_version", version)
        monkeypatch.setattr(paddlepaddle, "require_paddle", lambda: None)
        monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
        return monkeypatch

    return pretend


def problems():
    return [check for check in doctor.run_checks() if check.status == doctor.PROBLEM]


def notes():
    return [check for check in doctor.run_checks() if check.status == doctor.NOTE]


def test_this_installation_has_no_problem(machine, capsys, monkeypatch):
    monkeypatch.setattr(paddlepaddle, "check_native", lambda: doctor.Check("native operators", "usable"))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "no problems found"
    columns = {re.match(r"\S+( \S+)*  +", line).end() for line in lines[: lines.index("")] if line}
    assert len(columns) == 1  # aligned
    names = {line[: min(columns)].strip() for line in lines}
    assert {"ppzoo", "Python", "numpy", "PaddlePaddle", "processor", "cores", "memory", "compiler"} <= names


def test_json(machine, capsys):
    machine()
    assert main(["doctor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is True
    assert {"name": "PaddlePaddle", "value": "3.3.1 (CPU build)", "status": "ok", "fix": ""} in printed["checks"]


def test_both_packages_are_a_problem(machine, capsys):
    machine(packages=("paddlepaddle", "paddlepaddle-gpu"))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "paddlepaddle 1.0 and paddlepaddle-gpu 1.0 are both installed and overwrite each other's files" in printed
    assert "fix: pip uninstall -y paddlepaddle paddlepaddle-gpu && pip install 'paddlepaddle>=2.6.2,<4'" in printed
    assert printed.endswith("1 problem found\n")


def test_a_build_that_cannot_be_imported_is_a_problem(machine):
    machine(paddle="ImportError: libcuda.so.1")
    (check,) = problems()
    assert check.value == "1.0 cannot be imported: ImportError: libcuda.so.1"
    assert check.fix == "pip install --force-reinstall 'paddlepaddle>=2.6.2,<4'"


def test_an_unsupported_version_is_a_problem(machine):
    def refuse():
        raise DeviceError("PaddlePaddle 2.5.2 is not supported: expected 2.6.2 or later; run `pip install 'x'`")

    machine().setattr(paddlepaddle, "require_paddle", refuse)
    (check,) = problems()
    assert check.value == "PaddlePaddle 2.5.2 is not supported: expected 2.6.2 or later"
    assert check.fix == "pip install 'paddlepaddle>=2.6.2,<4'"


@pytest.mark.parametrize(("capability", "is_supported"), [("5.2", False), ("6.1", True), ("8.6", True), ("8.9", False)])
def test_the_gpu_must_be_one_that_the_build_supports(machine, capability, is_supported):
    machine(
        packages=("paddlepaddle-gpu",), paddle={**GPU_2_6, "gpus": [["Card", list(map(int, capability.split(".")))]]}
    )
    found = problems()
    assert (not found) == is_supported
    for check in found:
        assert check.value == f"Card, compute capability {capability}: this PaddlePaddle build supports 6.1 to 8.6"
        assert "--index-url PADDLE_INDEX/cu126/" in check.fix


def test_the_compiled_capabilities_are_used_where_the_build_names_them(machine):
    machine(packages=("paddlepaddle-gpu",), paddle={**GPU_3, "gpus": [["Card", [8, 9]], ["Old", [6, 1]]]})
    (check,) = problems()
    assert check.value == "Old, compute capability 6.1: this PaddlePaddle build supports 7.5 to 9.0"
    assert check.fix == "pip install 'paddlepaddle-gpu>=2.6.2,<4'"


@pytest.mark.parametrize(
    ("capability", "python", "driver", "fix"),
    [
        ("8.6", (3, 11), "12.8", "pip uninstall -y paddlepaddle && pip install 'paddlepaddle-gpu>=2.6.2,<4'"),
        ("8.6", (3, 13), "12.8", "PADDLE_INDEX/cu126/"),
        ("9.0", (3, 11), "11.8", "PADDLE_INDEX/cu118/"),
        ("12.0", (3, 11), "13.0", "PADDLE_INDEX/cu130/"),
    ],
)
def test_a_gpu_with_a_cpu_build_is_a_note(machine, capability, python, driver, fix):
    machine(cards=[("Card", capability)], python=python, driver=driver)
    assert not problems()
    (check,) = notes()
    assert "this PaddlePaddle is a CPU build" in check.value
    assert fix in check.fix


def test_a_gpu_that_paddlepaddle_does_not_see_is_a_problem(machine):
    machine(packages=("paddlepaddle-gpu",), paddle=GPU_3, cards=[("Card", "8.0")])
    (check,) = problems()
    assert "sees no GPU, but nvidia-smi reports 1 GPU: " in check.value


def test_native_operators_that_cannot_be_used_are_a_note(machine):
    machine(native="no C++ compiler")
    assert not problems()
    (check,) = notes()
    assert check.value == "not usable: no C++ compiler"


def test_the_missing_package_of_an_engine_is_named(machine):
    machine().setattr(programs, "installed_version", lambda name: None if name == "onnx" else "1.0")
    values = {check.name: check.value for check in environment.check_engines()}
    assert values["engine openvino"] == "onnx not installed (optional)"


def test_the_other_package_of_opencv_is_known(machine):
    names = {"opencv-python": "4.12"}
    machine().setattr(programs, "installed_version", names.get)
    values = {check.name: check.value for check in environment.check_packages()}
    assert values["opencv-python-headless"] == "4.12"


def test_another_python_is_a_problem(machine):
    machine(python=(3, 9))
    assert "Python" in [check.name for check in problems()]


def test_the_packages_are_those_of_the_project():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
    assert set(doctor.REQUIRED.values()) == set(re.findall(r'"([a-z-]+)', block))


def test_it_works_without_any_package(tmp_path):
    """Without NumPy and PaddlePaddle, as before the first installation."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ppzoo.cli import console; console()"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-c", code, "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem: PaddlePaddle: PaddlePaddle is not installed\n  fix: pip install 'paddlepaddle" in done.stdout
    assert "problem: numpy: not installed\n  fix: pip install numpy" in done.stdout


def test_an_empty_variable_of_the_compiler_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("CXX", "")
    programs_run = []
    monkeypatch.setattr(programs, "output", lambda program, *options: programs_run.append(program))
    assert environment.check_compiler().value.startswith("g++ not found")
    assert programs_run == ["g++"]
