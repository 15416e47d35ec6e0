"""Runs that are killed or stopped repeatedly are bit-identical to an undisturbed one; long runs do not leak."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "count"), [("KILL", 8), ("TERM,INT", 3)])
def test_nothing_is_lost(signals, count):
    """A separate process forks the runs, because the threads of PaddlePaddle in this process do not survive a fork."""
    command = [sys.executable, str(FOLDER / "kills.py"), str(count), "--signals", signals]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("nothing lost") >= 1


@pytest.mark.slow
def test_long_runs_do_not_leak():
    result = subprocess.run([sys.executable, str(FOLDER / "growth.py"), "40"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_malicious_weight_files_do_no_harm():
    command = [sys.executable, str(FOLDER.parent / "fuzz" / "hostile_weights.py"), "60"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
