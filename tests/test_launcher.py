"""The launcher's environment variables must be complete and consistent, or missing; the rendezvous has a timeout."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppzoo.cli import main
from ppzoo.errors import ConfigError
from ppzoo.launcher import SINGLE, read_launch

TWO = {
    "PADDLE_TRAINERS_NUM": "2",
    "PADDLE_TRAINER_ID": "1",
    "PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:6070,10.0.0.2:6070",
    "PADDLE_CURRENT_ENDPOINT": "10.0.0.2:6070",
}


def test_all_variables_or_none():
    assert read_launch({}) == read_launch({"PADDLE_TRAINERS_NUM": "1", "PADDLE_MASTER": "x"}) == SINGLE
    launch = read_launch(TWO)
    assert (launch.rank, launch.size, launch.master) == (1, 2, "10.0.0.1:6070")
    assert read_launch({**TWO, "PADDLE_MASTER": "10.0.0.9:1"}).master == "10.0.0.9:1"


@pytest.mark.parametrize("missing", TWO)
def test_a_missing_variable_is_named_with_those_to_unset(missing):
    rest = {name: value for name, value in TWO.items() if name != missing}
    with pytest.raises(ConfigError, match=rf"expected {missing} together with .* `unset {' '.join(rest)}`$"):
        read_launch(rest)


@pytest.mark.parametrize(
    "changed",
    [
        {"PADDLE_TRAINERS_NUM": ""},
        {"PADDLE_TRAINERS_NUM": "two"},
        {"PADDLE_TRAINERS_NUM": "0"},
        {"PADDLE_TRAINERS_NUM": "3"},
        {"PADDLE_TRAINER_ID": "2"},
        {"PADDLE_TRAINER_ID": "-1"},
        {"PADDLE_CURRENT_ENDPOINT": "10.0.0.1:6070"},
        {"PADDLE_TRAINER_ENDPOINTS": "10.0.0.1,10.0.0.2:6070"},
        {"PADDLE_TRAINER_ENDPOINTS": "10.0.0.2:6070,10.0.0.2:6070", "PADDLE_CURRENT_ENDPOINT": "10.0.0.2:6070"},
        {"PADDLE_MASTER": "nowhere"},
        {"PADDLE_MASTER": "host:99999999999"},
    ],
)
def test_variables_that_contradict_each_other_are_refused(changed):
    with pytest.raises(ConfigError, match="run `unset PADDLE_TRAINERS_NUM"):
        read_launch({**TWO, **changed})


def test_a_command_reports_inconsistent_variables_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    assert main(["train", "-c", "unused.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: expected PADDLE_TRAINER_ID together with PADDLE_TRAINERS_NUM")


RENDEZVOUS = """
import time
from ppzoo.engine import rendezvous
from ppzoo.launcher import Launch
rendezvous.NOTICE_DELAY = 0.2
with rendezvous.rendezvous_timeout(Launch(0, 2, ("a:1", "b:2"), "a:1"), {seconds}):
    time.sleep({needed})
print("connected")
"""


def run_rendezvous(seconds, needed):
    root = str(Path(__file__).parent.parent)
    command = [sys.executable, "-W", "ignore", "-c", RENDEZVOUS.format(seconds=seconds, needed=needed)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}, timeout=60)
    return done, time.monotonic() - started


@pytest.mark.slow
def test_a_rendezvous_that_times_out_is_reported_and_ends_the_process():
    done, seconds = run_rendezvous(1, 30)
    assert done.returncode == 1 and seconds < 25 and done.stdout == ""
    notice, error = done.stderr.splitlines()
    assert notice == "process 0 of 2 waits for process 1 at a:1, for at most 1 seconds"
    assert error.startswith("error: process 0 of 2: process 1 did not connect to a:1 within 1 seconds")
    done, _ = run_rendezvous(30, 0.1)
    assert (done.returncode, done.stdout, done.stderr) == (0, "connected\n", "")
