"""Reports of a run are continued when it resumes, and a full disk is reported in one line."""

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from visualdl import LogReader

from ppzoo.errors import PpzooError, TrainingError
from ppzoo.events import EpochReport, StepReport, Summary
from ppzoo.report import BadFiles, Console, Curves, Scalars, curves, writing

TAGS = ("step/loss", "step/images_per_second", "epoch/train/top1", "epoch/eval/top1")
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


def test_visualdl_reads_the_scalars(tmp_path):
    observer = Scalars(tmp_path / "vdl")
    for step in range(3):
        observer.on_step_end(StepReport(1, step, 3, {"loss": 2.0 + step}, 0.1, 8, 0.5))
    observer.on_epoch_end(epoch(1, {"loss": 3.0, "top1": 0.25}, {"top1": 0.75}))
    observer.close()
    (file,) = (tmp_path / "vdl").iterdir()
    reader = LogReader(file_path=str(file))
    read = {tag: [(point.id, point.value) for point in reader.get_data("scalar", tag)] for tag in TAGS}
    assert read == {
        "step/loss": [(3, 2.0), (4, 3.0), (5, 4.0)],
        "step/images_per_second": [(3, 16.0), (4, 16.0), (5, 16.0)],
        "epoch/train/top1": [(2, 0.25)],
        "epoch/eval/top1": [(2, 0.75)],
    }


STEPS = 3


def write_scalars(folder, start, end, value, done=None):
    """Write what a run writes from one step to another, with 3 steps per epoch, of which `done` were finished."""
    observer = Scalars(folder, *((start // STEPS, start) if done is None else done))
    for number in range(start, end):
        observer.on_step_end(StepReport(number // STEPS, number % STEPS, STEPS, {"loss": value}, 0.1, 8, 0.5))
        if (number + 1) % STEPS == 0:
            observer.on_epoch_end(epoch(number // STEPS, {"loss": value}, {"loss": value}))
    observer.close()
    return observer.path


def curve(folder, tag):
    """Return the points of a tag in the file that VisualDL chooses in a folder."""
    reader = LogReader(logdir=str(folder))
    (log,) = reader.logs().values()
    return [(point.id, point.value) for point in LogReader(file_path=str(folder / log)).get_data("scalar", tag)]


@pytest.mark.parametrize("resumed_at", [0, 2, 3, 5])
def test_visualdl_shows_one_curve_of_a_resumed_run(tmp_path, resumed_at):
    folder = tmp_path / "vdl"
    write_scalars(folder, 0, 7, 1.0)
    write_scalars(folder, resumed_at, 9, 2.0)
    assert curve(folder, "step/loss") == [(n, 1.0 if n < resumed_at else 2.0) for n in range(9)]
    first = resumed_at // STEPS  # finished epochs
    for tag in ("epoch/train/loss", "epoch/eval/loss"):
        assert curve(folder, tag) == [(n + 1, 1.0 if n < first else 2.0) for n in range(3)]
    assert len(list(folder.iterdir())) == 1


def test_an_epoch_saved_before_its_evaluation_is_shown_once(tmp_path):
    folder = tmp_path / "vdl"
    write_scalars(folder, 0, 3, 1.0)
    observer = Scalars(folder, 0, 3)  # all steps of the epoch are finished, its evaluation is not
    observer.on_epoch_end(epoch(0, {"loss": 2.0}, {"loss": 2.0}))
    observer.close()
    assert curve(folder, "step/loss") == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert curve(folder, "epoch/eval/loss") == [(1, 2.0)]


def test_several_files_are_merged(tmp_path):
    folder = tmp_path / "vdl"
    for number, (start, end) in enumerate([(0, 5), (3, 8)]):
        write_scalars(tmp_path / str(number), start, end, float(number)).rename(
            tmp_path / f"vdlrecords.000000000{number}.log"
        )
    folder.mkdir()
    for file in tmp_path.glob("*.log"):
        file.rename(folder / file.name)
    write_scalars(folder, 6, 9, 2.0)
    assert curve(folder, "step/loss") == [(n, float(n // 3)) for n in range(9)]
    assert curve(folder, "epoch/eval/loss") == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert len(list(folder.iterdir())) == 1


def test_scalars_survive_a_kill_at_any_byte(tmp_path):
    complete = write_scalars(tmp_path / "whole", 0, 4, 1.0).read_bytes()
    for size in range(0, len(complete), 7):
        folder = tmp_path / f"vdl{size}"
        folder.mkdir()
        (folder / "vdlrecords.0000000001.log").write_bytes(complete[:size])
        (folder / ".continued.abcdefgh.tmp").write_bytes(b"left by a kill")
        write_scalars(folder, 0, 4, 2.0)
        assert curve(folder, "step/loss") == [(n, 2.0) for n in range(4)]
        assert [file.name for file in folder.iterdir()] == ["vdlrecords.0000000001.log"]


@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_scalars_survive_a_kill_while_they_are_merged(tmp_path, monkeypatch, call):
    for number in (1, 2):
        write_scalars(tmp_path / str(number), 0, 4, 1.0)
    folder = tmp_path / "vdl"
    folder.mkdir()
    for number in (1, 2):
        (file,) = (tmp_path / str(number)).iterdir()
        file.rename(folder / f"vdlrecords.000000000{number}.log")

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os if call == "replace" else Path, call, kill)
        with pytest.raises(KeyboardInterrupt):
            Scalars(folder, 1, 4)
    write_scalars(folder, 4, 6, 2.0)
    assert curve(folder, "step/loss") == [(n, 1.0 if n < 4 else 2.0) for n in range(6)]


def test_a_removed_folder_is_not_created_again_for_scalars(tmp_path):
    (tmp_path / "run").mkdir()
    observer = Scalars(tmp_path / "run" / "vdl")
    shutil.rmtree(tmp_path / "run")
    observer.on_epoch_end(epoch(0))
    observer.close()
    assert not (tmp_path / "run").exists()


def test_scalars_that_cannot_be_written_fail_the_run_in_one_line(tmp_path):
    observer = Scalars(tmp_path / "vdl")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(TrainingError, match=r"cannot write .*vdlrecords.*log: File too large$"):
            for number in range(10):
                observer.on_epoch_end(epoch(number))
        observer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot write .*: File exists"):
        Scalars(tmp_path / "file")


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
