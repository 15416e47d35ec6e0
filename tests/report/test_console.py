"""The console shows a run as a table on a terminal and as lines elsewhere; programs read its events as JSON."""

import errno
import io
import json
import logging
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console as RichConsole

from ppzoo import progress
from ppzoo.errors import PpzooError
from ppzoo.events import EpochReport, StepReport, Summary
from ppzoo.report import Console, JsonEvents, json_line, log
from ppzoo.report.chart import draw_chart
from ppzoo.report.console import chart_of
from ppzoo.report.epoch_table import EpochTable, format_rate
from ppzoo.report.speed import Speed


def step(epoch, number, steps=4, **metrics):
    return StepReport(epoch, number, steps, metrics or {"loss": 0.5, "top1": 0.25}, 0.1, 8, 0.5)


def epoch(number, *, top1=0.5, is_best=False, evaluation=True, **names):
    metrics = {"loss": 1.25, "top1": top1, "top5": 0.9, **names}
    return EpochReport(number, metrics, metrics if evaluation else None, 0.01, 1234.5, 61.0, 4.0, is_best)


@pytest.fixture
def logged(monkeypatch):
    """Log to a standard error that is no terminal."""
    logger = logging.getLogger("ppzoo")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    log.log_to_console()


def train(console, epochs=2):
    console.on_train_begin(0, epochs)
    for number in range(epochs):
        for index in range(4):
            console.on_step_end(step(number, index))
        console.on_evaluation_begin(number)
        console.on_epoch_end(epoch(number, top1=0.5 + 0.1 * number, is_best=True))
    console.on_train_end(Summary(epochs, 61.4, "top1", 0.6, 1))
    console.close()


LINES = """\
epoch 1/2  step 3/4  loss 0.5000  top1 0.2500  lr 0.10000  16 images/s  left 0:02
epoch 1/2  step 4/4  loss 0.5000  top1 0.2500  lr 0.10000  16 images/s  left 0:02
epoch 1/2  train: loss 1.2500  top1 0.5000  top5 0.9000  |  eval: loss 1.2500  top1 0.5000  top5 0.9000  |  1234 \
images/s, 1:01  <- best
epoch 2/2  step 3/4  loss 0.5000  top1 0.2500  lr 0.10000  16 images/s  left 0:04
epoch 2/2  step 4/4  loss 0.5000  top1 0.2500  lr 0.10000  16 images/s  left 0:04
epoch 2/2  train: loss 1.2500  top1 0.6000  top5 0.9000  |  eval: loss 1.2500  top1 0.6000  top5 0.9000  |  1234 \
images/s, 1:01  <- best
trained 2 epochs in 1:01; best top1 0.6000 in epoch 2
"""


def test_the_remaining_time_counts_an_evaluation_every_few_epochs():
    speed = Speed(0, 8)
    for number in range(4):
        speed.update(step(number, 3))
        speed.add_epoch(replace(epoch(number), eval_seconds=10.0 if number == 3 else 0.0))
    assert speed.seconds_left(step(4, 3)) == 3 * 4 * 0.5 + 4 * 2.5  # epochs 5 to 7 have 4 steps each


def test_without_a_terminal_every_line_is_on_standard_error_and_in_the_log(tmp_path, capsys, logged):
    train(Console(tmp_path / "train.log", every=3))
    assert capsys.readouterr() == ("", LINES)
    assert re.sub(r"^.{19}  ", "", (tmp_path / "train.log").read_text(), flags=re.MULTILINE) == LINES


def test_quiet_keeps_warnings_and_the_result_and_the_log_is_complete(tmp_path, capsys, logged, monkeypatch):
    monkeypatch.setattr(progress, "_is_quiet", True)
    console = Console(tmp_path / "train.log", every=3)
    logging.getLogger("ppzoo").warning("a warning")
    train(console)
    assert capsys.readouterr().err == "a warning\ntrained 2 epochs in 1:01; best top1 0.6000 in epoch 2\n"
    assert len((tmp_path / "train.log").read_text().splitlines()) == len(LINES.splitlines()) + 1


def test_the_log_of_a_silenced_process_is_complete(tmp_path, capsys, logged, monkeypatch):
    monkeypatch.setattr(progress, "_is_quiet", False)
    logger = logging.getLogger("ppzoo")
    monkeypatch.setattr(logger, "handlers", logger.handlers[:2])  # those of ppzoo: pytest's would keep their new level
    logger.info("first")
    log.silence()
    logger.info("second")
    log.LogFile(tmp_path / "train.log").close()
    assert [line.split("  ")[1] for line in (tmp_path / "train.log").read_text().splitlines()] == ["first", "second"]
    assert capsys.readouterr().err == "first\n"


def test_the_chart_shows_also_the_epochs_before_a_resumption(tmp_path, capsys, logged):
    history = [{"epoch": number, "train": {"loss": 1.0}, "eval": {"top1": number / 10}} for number in range(1, 6)]
    console = Console(None, 3, history=lambda: history)
    console.on_train_begin(4, 5)
    console.on_train_end(Summary(5, 1.0, "top1", 0.5, 4))
    console.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "eval top1 by epoch"
    assert lines[1].startswith("0.5000  ") and lines[5].startswith("0.1000  ")
    assert lines[6].split() == ["epoch", "1", "5"]
    assert lines[7] == "trained 5 epochs in 0:01; best top1 0.5000 in epoch 5"


def test_the_weakest_classes_are_those_of_the_best_epoch(capsys, logged):
    console = Console(None, 3, weakest=lambda of_average: f"cat {0.1 * len(calls):.2f}")
    calls = [1]
    console.on_train_begin(0, 3)
    for number, is_best in enumerate([True, True, False]):
        calls.append(number)
        console.on_epoch_end(epoch(number, is_best=is_best))
    console.on_train_end(Summary(3, 1.0, "top1", 0.5, 1))
    assert capsys.readouterr().err.splitlines()[3] == "weakest classes in epoch 2, by recall: cat 0.30"


def test_without_an_evaluation_the_chart_shows_the_training_loss(capsys, logged):
    history = [{"epoch": number, "train": {"loss": 1.0 / number}, "eval": None} for number in (1, 2)]
    console = Console(None, 3, history=lambda: history)
    console.on_train_begin(0, 2)
    console.on_train_end(Summary(2, 1.0, "loss", None, None))
    assert capsys.readouterr().err.startswith("train loss by epoch\n")


def test_the_chart():
    lines = draw_chart("top1", [1, 2, 3], [0.0, 0.5, 1.0], width=80, utf8=True)
    assert lines == [
        "top1",
        "1.0000          ████",
        "                ████",
        "            ▅▅▅▅████",
        "            ████████",
        "0.0000  ▁▁▁▁████████",
        "        epoch 1    3",
    ]


def test_the_chart_in_ascii():
    lines = draw_chart("top1", [1, 2, 3], [-1.0, 0.5, 1.0], width=80, utf8=False)
    assert lines[1:6] == [
        " 1.0000          ####",
        "             ########",
        "             ########",
        "             ########",
        "-1.0000  ############",
    ]


def test_the_chart_of_equal_values_and_of_many_epochs():
    equal = draw_chart("top1", [1, 2], [0.5, 0.5], width=80, utf8=False)
    assert equal[1:6] == ["", "", "", "", "0.5000  ########"]
    for width in (20, 40, 80, 200):
        lines = draw_chart("top1", range(1, 1001), [number / 1000 for number in range(1000)], width=width, utf8=True)
        assert max(map(len, lines)) <= min(width, 68)
        assert lines[-1].split() == ["epoch", "1", "1000"]
        assert lines[1].startswith("0.9990")


def screen(table, columns, rows=24):
    """Return what the table draws on a terminal."""
    console = RichConsole(file=io.StringIO(), width=columns, height=rows, force_terminal=True, color_system=None)
    console.print(table)
    return console.file.getvalue().splitlines()


def table_of(*epochs, total=20):
    table = EpochTable(Speed(0, total))
    for report in epochs:
        table.add_epoch(report)
    return table


def test_the_table_on_a_wide_terminal():
    table = table_of(epoch(0, is_best=True), epoch(1, top1=0.75, is_best=True), epoch(2))
    assert screen(table, 100) == [
        "epoch  train loss  train top1  eval loss  eval top1       lr  images/s  time      ",
        " 1/20      1.2500      0.5000     1.2500     0.5000  0.01000      1234  1:05      ",
        " 2/20      1.2500      0.7500     1.2500     0.7500  0.01000      1234  1:05  best",
        " 3/20      1.2500      0.5000     1.2500     0.5000  0.01000      1234  1:05      ",
    ]


@pytest.mark.parametrize(
    ("columns", "titles"),
    [
        (80, "epoch train loss train top1 eval loss eval top1 images/s time"),
        (50, "epoch train top1 eval loss eval top1"),
        (40, "epoch eval loss eval top1"),
        (22, "epoch eval top1"),
    ],
)
def test_a_narrow_table_keeps_the_most_important_columns(columns, titles):
    table = table_of(epoch(0, is_best=True))
    table.update(step(1, 1), {"loss": 0.5, "top1": 0.25})
    lines = screen(table, columns)
    assert lines[0].split() == titles.split()
    assert lines[1].split()[0] == "1/20" and lines[1].split()[-1] == "best"
    assert max(map(len, lines)) <= columns and len(lines) == 4


def test_the_table_shows_the_last_epochs_and_the_best():
    table = table_of(*(epoch(number, is_best=number == 1) for number in range(15)))
    shown = [line.split()[0] for line in screen(table, 80)[1:]]
    assert shown == ["2/20", *(f"{number}/20" for number in range(7, 16))]
    assert len(screen(table, 80, rows=10)) == 5


def test_the_table_of_a_run_without_evaluation_and_with_other_metrics():
    lines = screen(table_of(epoch(0, evaluation=False)), 100)
    assert lines[0].split() == ["epoch", "train", "loss", "train", "top1", "lr", "images/s", "time"]
    reports = [EpochReport(0, {"loss": 1.0}, {"loss": 1.0, "f1_macro": 0.5}, 0.1, 10.0, 1.0, 1.0, True)]
    assert "eval f1_macro" in screen(table_of(*reports), 100)[0]


def test_the_current_epoch_is_shown_with_all_metrics_that_fit():
    table = table_of()
    metrics = {"loss": 0.5, "[red]top1": 0.25, "猫": 0.1}
    table.speed.update(step(3, 1))
    table.update(step(3, 1), metrics)
    first, second = screen(table, 80)
    assert first.startswith("epoch 4/20  ") and first.endswith("  2/4  0:33 left  16 images/s")
    assert second == "  loss 0.5000  [red]top1 0.2500  猫 0.1000  lr 0.10000"
    assert screen(table, 25)[1] == "  loss 0.5000"


def test_a_finished_run_draws_nothing(capsys, logged, monkeypatch):
    console = Console(None, 3, on_terminal=True)
    console.on_train_begin(2, 2)
    console.on_train_end(Summary(2, 1.0, "top1", None, None))
    console.close()
    assert capsys.readouterr() == ("", "trained 2 epochs in 0:01\n")


def test_json_has_no_numbers_that_are_not_finite():
    values = {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}, "e": "line\nend 猫 \udcff"}
    line = json_line(values)
    assert line.isascii() and "\n" not in line
    assert json.loads(line, parse_constant=pytest.fail) == {**values, "a": None, "b": [None, 1.5], "c": {"d": None}}


def events_of(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_events_of_a_run(capsys):
    with JsonEvents() as events:
        events.describe_run({"arch": "LeNet"}, 3)
        train(events)
        logging.getLogger("ppzoo").warning("class %s", "[red]\n猫")
        events.write_end({"weights": "best_model.pdparams"})
    logging.getLogger("ppzoo").warning("not of this run")
    found = events_of(capsys)
    assert [event["event"] for event in found] == ["start", *["step", "step", "epoch"] * 2, "warning", "end"]
    assert found[0] == {"event": "start", "arch": "LeNet", "epoch": 1, "epochs": 2}
    expected = {"event": "step", "epoch": 1, "step": 3, "steps": 4, "train": {"loss": 0.5, "top1": 0.25}, "lr": 0.1}
    assert found[1] == {**expected, "images_per_second": 16.0, "seconds_left": 2.5}
    assert found[6]["epoch"] == 2 and found[6]["is_best"]
    assert found[6]["eval"] == {"loss": 1.25, "top1": 0.6, "top5": 0.9}
    assert found[-2]["message"] == "class [red]\n猫"
    best = {"main": "top1", "best": 0.6, "best_epoch": 2, "averaged": False}
    assert found[-1] == {"event": "end", "epochs": 2, "seconds": 61.4, **best, "weights": "best_model.pdparams"}


def test_an_error_is_an_event(capsys):
    with pytest.raises(PpzooError), JsonEvents():
        raise PpzooError("expected x, got y")
    assert events_of(capsys) == [{"event": "error", "message": "expected x, got y", "exit_status": 2}]


def test_a_failure_of_the_system_is_an_event(capsys):
    with pytest.raises(OSError), JsonEvents():
        raise OSError(errno.ENOSPC, "No space left on device", "output/latest.pdparams")
    message = "output/latest.pdparams: No space left on device"
    assert events_of(capsys) == [{"event": "error", "message": message, "exit_status": 1}]


def test_small_learning_rates_are_not_shown_as_zero():
    assert [format_rate(rate) for rate in (0.1, 0.00016, 0.00002604, 1e-10, 0)] == [
        *("0.10000", "0.00016", "2.6e-05", "1.0e-10", "0.00000")
    ]


def test_the_chart_has_no_values_that_are_not_finite():
    values = [math.nan, 0.25, None, math.inf, 0.75]
    history = [{"epoch": epoch, "train": {}, "eval": {"top1": value}} for epoch, value in enumerate(values, 1)]
    text = "\n".join(chart_of(history, "top1"))
    assert "0.2500" in text and "0.7500" in text and text.endswith("epoch 2 5")
    assert chart_of(history[:2], "top1") == []
