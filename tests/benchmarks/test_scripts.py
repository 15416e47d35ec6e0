"""The benchmark programs start, and those that need no other packages measure a small network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(
    path.name for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser(" in path.read_text(encoding="utf-8")
)
SMALL = ["--pairs", "1", "--steps", "1", "--case", "MobileNetV1_x0_25:32:2"]
MEASUREMENTS = {
    "train.py": SMALL,
    "peak.py": SMALL,
    "scaling.py": [*SMALL, "--processes", "2"],
    "infer.py": ["--pairs", "1", "--case", "MobileNetV1_x0_25:1"],
}


def run(name, *arguments):
    """Run a benchmark and return what it prints."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_help_is_printed(name):
    assert f"usage: {name}" in run(name, "--help")


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_small_network_is_measured(name, tmp_path):
    printed = run(name, *MEASUREMENTS[name], "--json", tmp_path / "result.json")
    assert "MobileNetV1_x0_25:" in printed
    results = json.loads((tmp_path / "result.json").read_text())
    values = [value for case in results["cases"].values() for series in case.values() for value in series]
    assert values and all(value > 0 for value in values)
