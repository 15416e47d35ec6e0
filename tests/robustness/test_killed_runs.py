"""Runs that are killed or asked to stop, over and over, end where one that was left alone does."""

import subprocess
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "count"), [("KILL", 8), ("TERM,INT", 3)])
def test_nothing_is_lost(signals, count):
    """In a process of its own, which forks the runs: threads of PaddlePaddle's would not survive that here."""
    command = [sys.executable, str(PLACE / "kills.py"), str(count), "--signals", signals]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("nothing lost") >= 1


@pytest.mark.slow
def test_a_long_training_takes_no_more_than_a_short_one():
    answer = subprocess.run([sys.executable, str(PLACE / "growth.py"), "40"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.slow
def test_weight_files_that_mean_harm_do_none():
    command = [sys.executable, str(PLACE / "hostile_weights.py"), "60"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
