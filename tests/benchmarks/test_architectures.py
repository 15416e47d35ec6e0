"""`benchmarks/architectures.py` skips what it has measured, reports failures, and measures real networks."""

from __future__ import annotations

import json
import sys

import pytest


@pytest.fixture
def architectures(import_benchmark):
    return import_benchmark("architectures")


@pytest.fixture
def run(architectures, monkeypatch, tmp_path):
    def run_benchmark(*arguments):
        monkeypatch.setattr(sys, "argv", ["architectures.py", "--work", str(tmp_path), *arguments])
        architectures.main()

    return run_benchmark


@pytest.fixture
def processes(architectures, monkeypatch):
    """The processes that were started; inference takes 1, 3 and 2 ms, and training of AlexNet fails."""
    started = []

    def run_process(name, batch, folder, kind):
        started.append((name, kind))
        if (name, kind) == ("AlexNet", "training"):
            raise SystemExit("AlexNet, training: exit status -9")
        return [1.0, 3.0, 2.0][len(started) % 3]

    monkeypatch.setattr(architectures, "run_process", run_process)
    return started


def test_recorded_measurements_are_skipped(run, processes, tmp_path, capsys):
    run("--architectures", "LeNet")
    once = list(processes)
    run("--architectures", "LeNet", "--json", str(tmp_path / "speed.json"))
    assert processes == once and once == [("LeNet", "export")] + 3 * [("LeNet", "inference")] + 3 * [
        ("LeNet", "training")
    ]
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["architectures"] == {"LeNet": {"inference": 2.0, "training": 2.0}}
    assert content["batch"] == 8 and content["date"] and content["machine"]["paddlepaddle"]
    assert capsys.readouterr().out.splitlines()[-1].split() == ["LeNet", "2.00", "2.00"]


def test_another_batch_or_code_is_measured_again(architectures, run, processes, monkeypatch):
    run("--architectures", "LeNet")
    run("--architectures", "LeNet", "--batch", "4")
    monkeypatch.setattr(architectures, "digest_code", lambda: "other")
    run("--architectures", "LeNet")
    assert len(processes) == 3 * 7


def test_a_failed_measurement_is_reported_and_the_next_one_runs(run, processes, tmp_path, capsys):
    with pytest.raises(SystemExit, match="AlexNet, training: exit status -9"):
        run("--architectures", "AlexNet", "LeNet", "--json", str(tmp_path / "speed.json"))
    assert ("LeNet", "training") in processes
    assert "training" not in json.loads((tmp_path / "speed.json").read_text())["architectures"]["AlexNet"]
    assert ["AlexNet", "2.00", "-"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["inference", "training"])
def test_a_network_is_measured(architectures, kind, tmp_path):
    assert architectures.measure("export", "LeNet", 1, tmp_path) == 0
    assert 0 < architectures.measure(kind, "LeNet", 2, tmp_path) < 1000
