"""Reports of a run are continued when it resumes, and a full disk is reported in one line."""

import json
import os

import pytest

from ppzoo.errors import PpzooError, TrainingError
from ppzoo.events import EpochReport, Summary
from ppzoo.report import BadFiles, Console, Curves, curves, read_history, writing

SUMMARY = Summary(2, 1.0, "top1", None, None)


def epoch(number, train=None, evaluation=None):
    return EpochReport(number, train or {"loss": 1.0, "top1": 0.5}, evaluation, 0.1, 10.0, 1.0, 1.0, False)


def test_nothing_is_plotted_without_epochs(tmp_path):
    observer = Curves(tmp_path, "Net")
    observer.on_train_begin(2, 2)
    observer.on_train_end(SUMMARY)
    assert not list(tmp_path.iterdir())


def test_a_resumed_history_drops_the_epochs_that_are_trained_again(tmp_path):
    first = Curves(tmp_path, "Net")
    first.on_train_begin(0, 3)
    first.on_epoch_end(epoch(0))
    first.on_epoch_end(epoch(1))
    second = Curves(tmp_path, "Net")
    second.on_train_begin(1, 3)
    second.on_epoch_end(epoch(1, {"loss": 0.5, "top1": 0.75}))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["train"]["loss"]) for line in lines] == [(1, 1.0), (2, 0.5)]
    second.on_train_end(SUMMARY)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_damaged_history_is_named(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(PpzooError, match=r"history\.jsonl: expected one line of JSON per epoch"):
        Curves(tmp_path, "Net").on_train_begin(1, 3)


@pytest.mark.parametrize(
    "line", ['{"epoch": 1}', '{"epoch": "1", "train": {}, "eval": null}', '{"epoch": 1, "train": 3, "eval": {}}', "[1]"]
)
def test_a_history_of_another_form_is_damaged(tmp_path, line):
    (tmp_path / "history.jsonl").write_text(line + "\n")
    with pytest.raises(PpzooError, match=r"history\.jsonl: expected one line of JSON per epoch"):
        Curves(tmp_path, "Net").on_train_begin(1, 3)


def test_a_new_run_replaces_a_history_without_reading_it(tmp_path):
    (tmp_path / "other").write_text("of another program")
    (tmp_path / "history.jsonl").symlink_to(tmp_path / "other")
    curves = Curves(tmp_path, "Net")
    curves.on_train_begin(0, 3)
    curves.on_epoch_end(epoch(0))
    assert [line["epoch"] for line in read_history(tmp_path / "history.jsonl")] == [1]
    assert (tmp_path / "other").read_text() == "of another program"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_in_the_folder_of_a_run_are_refused_without_waiting(tmp_path):
    for name in ("history.jsonl", "bad_files.txt"):
        os.mkfifo(tmp_path / name)
    for observer in (Curves(tmp_path, "Net"), BadFiles(tmp_path / "bad_files.txt", dict)):
        with pytest.raises(OSError, match="it is a pipe or a device"):
            observer.on_train_begin(1, 3)


@pytest.mark.parametrize("evaluated", [True, False])
def test_the_plot_has_at_most_six_panels_and_none_of_single_classes(tmp_path, monkeypatch, evaluated):
    from matplotlib.figure import Figure

    panels = []
    subplots = Figure.subplots

    def count(figure, rows, columns, **options):
        panels.append(columns)
        return subplots(figure, rows, columns, **options)

    monkeypatch.setattr(Figure, "subplots", count)
    few = {"loss": 1.0, **{f"f1_class{index}": 0.5 for index in range(50)}}
    many = {f"metric{index}": 0.5 for index in range(9)}
    for metrics in (few, many):
        observer = Curves(tmp_path, "Net")
        observer.on_epoch_end(epoch(0, metrics, metrics if evaluated else None))
        observer.on_train_end(SUMMARY)
    assert panels == [1, curves.MAX_PANELS]


def test_a_resumed_run_adds_to_the_list_of_bad_files(tmp_path):
    path = tmp_path / "bad_files.txt"
    first = BadFiles(path, lambda: {"b.jpg": "torn"})
    first.on_train_begin(0, 2)
    first.close()
    assert path.read_text() == "b.jpg\ttorn\n"
    second = BadFiles(path, lambda: {"a.jpg": "empty"})
    second.on_train_begin(0, 2)
    second.on_epoch_end(epoch(0))
    assert path.read_text() == "a.jpg\tempty\nb.jpg\ttorn\n"


def test_every_bad_file_has_one_line_whatever_its_name(tmp_path):
    path = tmp_path / "bad_files.txt"
    for _ in range(2):
        observer = BadFiles(path, lambda: {"a\nb\t.jpg": "torn\nat 'a\nb'"})
        observer.on_train_begin(0, 2)
        observer.close()
    assert path.read_text() == "a\\nb\\t.jpg\ttorn\\nat 'a\\nb'\n"


def test_there_is_no_list_without_bad_files(tmp_path):
    observer = BadFiles(tmp_path / "bad_files.txt", dict)
    observer.on_train_begin(0, 1)
    observer.on_epoch_end(epoch(0))
    observer.close()
    assert not list(tmp_path.iterdir())


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(PpzooError, match=r"cannot write .*train\.log: Is a directory"):
        (tmp_path / "train.log").mkdir()
        Console(tmp_path / "train.log", every=1)


def observers(folder):
    bad, drawn = BadFiles(folder / "bad_files.txt", lambda: {"a.jpg": "empty"}), Curves(folder, "Net")
    drawn.entries = [{"epoch": 1, "train": {"loss": 1.0}, "eval": None}]
    return {
        "bad_files.txt": bad.close,
        "history.jsonl": lambda: drawn.on_epoch_end(epoch(1)),
        "curves.png": lambda: drawn.on_train_end(SUMMARY),
    }


@pytest.mark.parametrize("name", ["bad_files.txt", "history.jsonl", "curves.png"])
def test_reports_that_cannot_be_written_fail_the_run_in_one_line(tmp_path, monkeypatch, name):
    with pytest.raises(TrainingError, match=f"cannot write .*{name}: the folder of the run does not exist any more$"):
        observers(tmp_path / "gone")[name]()
    assert not list(tmp_path.iterdir())

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_atomically", full)
    with pytest.raises(TrainingError, match=f"cannot write .*{name}: No space left on device$") as error:
        observers(tmp_path)[name]()
    assert error.value.exit_status == 1
