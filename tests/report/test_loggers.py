"""VisualDL and TensorBoard read back what was logged; a resumed run has one curve; a failing logger stops no run."""

import errno
import io
import logging
import os
import resource
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image
from visualdl import LogReader

from ppzoo.errors import ConfigError
from ppzoo.events import EpochReport, StepReport
from ppzoo.report.loggers import (
    LOGGERS,
    Logger,
    LoggerGroup,
    PRCurve,
    RunDescription,
    RunLogger,
    RunStart,
    check_logger_names,
)

STEPS = 3
KINDS = ("scalars", "images", "histograms", "tensors")  # of TensorBoard
CURVE = PRCurve(*(np.array(counts) for counts in ([3, 2, 1], [4, 1, 0], [0, 3, 4], [0, 1, 2])))
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def epoch(number, train=None, evaluation=None):
    return EpochReport(number, train or {"loss": 1.0, "top1": 0.5}, evaluation, 0.1, 10.0, 1.0, 1.0, False)


def describe(**options):
    texts = {"config": "Global:\n  epochs: 2"}
    plain = {"main": "top1", "class_names": ["a", "b"], "best": lambda: None, "named_parameters": dict}
    return RunDescription(**{"texts": texts, "hyperparameters": {"lr": 0.1}, "to_pixels": None, **plain, **options})


def run_logger(folder, epochs=0, steps=0, names=("visualdl",), **options):
    folder.mkdir(exist_ok=True, parents=True)
    group = LoggerGroup(names, RunStart(folder, epochs, steps))
    return RunLogger(group, describe(**options), None, memory_interval=10)


def read_visualdl(folder):
    """Return what VisualDL reads from the file that it chooses in a folder: values by kind, and points by tag."""
    (log,) = LogReader(logdir=str(folder)).logs().values()
    reader = LogReader(file_path=str(folder / log))
    return {kind: {tag: reader.get_data(kind, tag) for tag in tags} for kind, tags in reader.get_tags().items()}


def read_scalars(folder, tag):
    return [(point.id, point.value) for point in read_visualdl(folder)["scalar"].get(tag, [])]


def decode(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def log_everything(logger, number, value=1.0):
    logger.log_scalars({"epoch/eval/top1": 0.5 * value, "epoch/train/loss": value}, number)
    logger.log_scalars({"step/loss": value}, number - 1)
    logger.log_image("epoch/eval/wrong_images", IMAGE, number)
    logger.log_histogram("weights/conv.weight", np.array([1, 5, 2]), np.array([-1.0, 0.0, 0.5, 2.0]), number)
    logger.log_confusion_matrix("epoch/eval/confusion_matrix", np.array([[3, 1], [0, 2]]), ["a", "b"], number)
    logger.log_pr_curve("epoch/eval/pr_curve/0 猫/犬", CURVE, number)


def log_run(logger, text="epochs: 2\n  x"):
    logger.log_text("run/config", text, 0)
    logger.log_hyperparameters({"Optimizer.lr": 0.1, "epochs": 2, "name": "Net", "nesterov": True}, ["epoch/eval/top1"])


def test_visualdl_reads_everything(tmp_path):
    logger = LOGGERS["visualdl"](RunStart(tmp_path))
    log_run(logger)
    log_everything(logger, 1)
    logger.close()
    found = read_visualdl(tmp_path / "vdl")
    assert {tag: [(p.id, p.value) for p in points] for tag, points in found["scalar"].items()} == {
        "epoch/eval/top1": [(1, 0.5)],
        "epoch/train/loss": [(1, 1.0)],
        "step/loss": [(0, 1.0)],
    }
    assert sorted(found["image"]) == ["epoch/eval/confusion_matrix", "epoch/eval/wrong_images"]
    (image,) = found["image"]["epoch/eval/wrong_images"]
    np.testing.assert_array_equal(decode(image.image.encoded_image_string), IMAGE)
    (histogram,) = found["histogram"]["weights/conv.weight"]
    assert (list(histogram.histogram.hist), list(histogram.histogram.bin_edges)) == ([1, 5, 2], [-1.0, 0.0, 0.5, 2.0])
    assert [text.text.encoded_text_string for text in found["text"]["run/config"]] == ["epochs: 2\n  x"]
    (curve,) = found["pr_curve"]["epoch/eval/pr_curve/0 猫/犬"]
    assert list(curve.pr_curve.TP) == [3, 2, 1] and list(curve.pr_curve.TN) == [0, 3, 4]
    assert list(curve.pr_curve.precision) == pytest.approx([3 / 7, 2 / 3, 1.0])
    assert list(curve.pr_curve.recall) == pytest.approx([1.0, 2 / 3, 1 / 3])
    (parameters,) = found["hyper_parameters"]["hparam"]
    values = {item.name: getattr(item, item.WhichOneof("type")) for item in parameters.hparam.hparamInfos}
    assert values == {"Optimizer/lr": 0.1, "epochs": 2, "name": "Net", "nesterov": "True"}
    assert [item.name for item in parameters.hparam.metricInfos] == ["epoch/eval/top1"]


def read_tensorboard(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder), size_guidance=dict.fromkeys(KINDS, 0))
    found.Reload()
    return found


def test_tensorboard_reads_everything(tmp_path):
    pytest.importorskip("tensorboard")
    logger = LOGGERS["tensorboard"](RunStart(tmp_path))
    log_run(logger)
    log_everything(logger, 1)
    logger.close()
    found = read_tensorboard(tmp_path / "tensorboard")
    assert [(e.step, e.value) for e in found.Scalars("epoch/eval/top1")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in found.Scalars("step/loss")] == [(0, 1.0)]
    (image,) = found.Images("epoch/eval/wrong_images")
    assert (image.step, image.width, image.height) == (1, 9, 6)
    np.testing.assert_array_equal(decode(image.encoded_image_string), IMAGE)
    (histogram,) = found.Histograms("weights/conv.weight")
    assert histogram.histogram_value.bucket == [1, 5, 2]
    assert (histogram.histogram_value.min, histogram.histogram_value.max) == (-1.0, 2.0)
    (text,) = found.Tensors("run/config")
    assert text.tensor_proto.string_val[0].decode() == "    epochs: 2\n      x"
    (curve,) = found.Tensors("epoch/eval/pr_curve/0 猫/犬")
    rows = np.array(curve.tensor_proto.float_val).reshape(6, 3)
    np.testing.assert_allclose(rows[0], [3, 2, 1])
    np.testing.assert_allclose(rows[4:], [[3 / 7, 2 / 3, 1.0], [1.0, 2 / 3, 1 / 3]], rtol=1e-6)
    hyperparameters = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"Optimizer.lr" in hyperparameters and b"Net" in hyperparameters


def counts_of_visualdl(folder):
    kinds = read_visualdl(folder / "vdl")
    return {
        tag: [(point.id, getattr(point, "value", None)) for point in points]
        for kind, tags in kinds.items()
        for tag, points in tags.items()
        if kind != "meta_data"
    }


def counts_of_tensorboard(folder):
    found = read_tensorboard(folder / "tensorboard")
    readers = {"scalars": found.Scalars, "images": found.Images, "histograms": found.Histograms}
    tags = {
        tag: [(event.step, getattr(event, "value", None)) for event in read(tag)]
        for kind, read in readers.items()
        for tag in found.Tags()[kind]
    }
    return tags | {tag: [(event.step, None) for event in found.Tensors(tag)] for tag in found.Tags()["tensors"]}


@pytest.mark.parametrize(("name", "read"), [("visualdl", counts_of_visualdl), ("tensorboard", counts_of_tensorboard)])
def test_a_resumed_run_has_everything_once(tmp_path, name, read):
    pytest.importorskip(name)
    for finished, value in ((0, 1.0), (2, 2.0)):
        logger = LOGGERS[name](RunStart(tmp_path, finished, finished))
        log_run(logger, f"started after {finished}")
        for number in range(finished + 1, 4):  # the third epoch was logged, but no checkpoint of it was saved
            log_everything(logger, number, value)
        logger.close()
    found = read(tmp_path)
    assert [(step, value) for step, value in found["epoch/train/loss"]] == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert [(step, value) for step, value in found["step/loss"]] == [(0, 1.0), (1, 1.0), (2, 2.0)]
    for tag in ("epoch/eval/wrong_images", "epoch/eval/confusion_matrix", "weights/conv.weight"):
        assert [step for step, _ in found[tag]] == [1, 2, 3]
    assert [step for step, _ in found["epoch/eval/pr_curve/0 猫/犬"]] == [1, 2, 3]
    assert len(found["run/config"]) == 1
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(list(folder.iterdir())) == 1


def test_a_step_and_an_epoch_are_logged_with_learning_rate_speed_and_memory(tmp_path):
    observer = run_logger(tmp_path, best=lambda: 0.8)
    observer.memory_interval = 2
    for step in range(3):
        observer.on_step_end(StepReport(1, step, 3, {"loss": 2.0 + step}, 0.1, 8, 0.5))
    observer.on_epoch_end(epoch(1, {"loss": 3.0, "top1": 0.25}, {"top1": 0.75}))
    observer.close()
    read = {tag: read_scalars(tmp_path / "vdl", tag) for tag in read_visualdl(tmp_path / "vdl")["scalar"]}
    memory = {tag: read.pop(tag) for tag in ("step/memory_mb", "epoch/train/memory_mb")}
    assert read == {
        "step/loss": [(3, 2.0), (4, 3.0), (5, 4.0)],
        "step/lr": [(number, pytest.approx(0.1)) for number in (3, 4, 5)],
        "step/images_per_second": [(3, 16.0), (4, 16.0), (5, 16.0)],
        "epoch/train/loss": [(2, 3.0)],
        "epoch/train/top1": [(2, 0.25)],
        "epoch/train/lr": [(2, pytest.approx(0.1))],
        "epoch/train/images_per_second": [(2, 10.0)],
        "epoch/eval/top1": [(2, 0.75)],
        "epoch/best/top1": [(2, pytest.approx(0.8))],
    }
    used = psutil.Process().memory_info().rss / (1 << 20)
    assert [number for number, _ in memory["step/memory_mb"]] == [4]
    assert all(used / 4 < value < 2 * used for points in memory.values() for _, value in points)


def write_scalars(folder, start, end, value, done=None):
    """Write what a run writes from one step to another, with 3 steps per epoch, of which `done` were finished."""
    observer = run_logger(folder, *((start // STEPS, start) if done is None else done))
    (logger,) = observer.loggers.active.values()
    for number in range(start, end):
        observer.on_step_end(StepReport(number // STEPS, number % STEPS, STEPS, {"loss": value}, 0.1, 8, 0.5))
        if (number + 1) % STEPS == 0:
            observer.on_epoch_end(epoch(number // STEPS, {"loss": value}, {"loss": value}))
    observer.close()
    return logger.path


@pytest.mark.parametrize("resumed_at", [0, 2, 3, 5])
def test_visualdl_shows_one_curve_of_a_resumed_run(tmp_path, resumed_at):
    write_scalars(tmp_path, 0, 7, 1.0)
    write_scalars(tmp_path, resumed_at, 9, 2.0)
    folder = tmp_path / "vdl"
    assert read_scalars(folder, "step/loss") == [(n, 1.0 if n < resumed_at else 2.0) for n in range(9)]
    first = resumed_at // STEPS  # finished epochs
    for tag in ("epoch/train/loss", "epoch/eval/loss"):
        assert read_scalars(folder, tag) == [(n + 1, 1.0 if n < first else 2.0) for n in range(3)]
    assert len(list(folder.iterdir())) == 1


def test_an_epoch_saved_before_its_evaluation_is_shown_once(tmp_path):
    write_scalars(tmp_path, 0, 3, 1.0)
    observer = run_logger(tmp_path, 0, 3)  # all steps of the epoch are finished, its evaluation is not
    observer.on_epoch_end(epoch(0, {"loss": 2.0}, {"loss": 2.0}))
    observer.close()
    assert read_scalars(tmp_path / "vdl", "step/loss") == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert read_scalars(tmp_path / "vdl", "epoch/eval/loss") == [(1, 2.0)]


def test_several_files_are_merged(tmp_path):
    folder = tmp_path / "run" / "vdl"
    folder.mkdir(parents=True)
    for number, (start, end) in enumerate([(0, 5), (3, 8)]):
        path = write_scalars(tmp_path / str(number), start, end, float(number))
        path.rename(folder / f"vdlrecords.000000000{number}.log")
    write_scalars(tmp_path / "run", 6, 9, 2.0)
    assert read_scalars(folder, "step/loss") == [(n, float(n // 3)) for n in range(9)]
    assert read_scalars(folder, "epoch/eval/loss") == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert len(list(folder.iterdir())) == 1


def test_scalars_survive_a_kill_at_any_byte(tmp_path):
    complete = write_scalars(tmp_path / "whole", 0, 4, 1.0).read_bytes()
    for size in range(0, len(complete), 11):
        folder = tmp_path / str(size) / "vdl"
        folder.mkdir(parents=True)
        (folder / "vdlrecords.0000000001.log").write_bytes(complete[:size])
        (folder / ".continued.abcdefgh.tmp").write_bytes(b"left by a kill")
        write_scalars(folder.parent, 0, 4, 2.0)
        assert read_scalars(folder, "step/loss") == [(n, 2.0) for n in range(4)]
        assert [file.name for file in folder.iterdir()] == ["vdlrecords.0000000001.log"]


@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_scalars_survive_a_kill_while_they_are_merged(tmp_path, monkeypatch, call):
    folder = tmp_path / "run" / "vdl"
    folder.mkdir(parents=True)
    for number in (1, 2):
        path = write_scalars(tmp_path / str(number), 0, 4, 1.0)
        path.rename(folder / f"vdlrecords.000000000{number}.log")

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os if call == "replace" else Path, call, kill)
        with pytest.raises(KeyboardInterrupt):  # an interruption is no failure of a logger
            run_logger(tmp_path / "run", 1, 4)
    write_scalars(tmp_path / "run", 4, 6, 2.0)
    assert read_scalars(folder, "step/loss") == [(n, 1.0 if n < 4 else 2.0) for n in range(6)]


def test_records_of_an_earlier_version_are_continued(tmp_path):
    """It wrote only scalars, with the tags "step/..." and "epoch/...", and no records of the run."""
    path = write_scalars(tmp_path, 0, 3, 1.0)
    before = path.read_bytes()
    observer = run_logger(tmp_path, 1, 3)
    observer.on_train_begin(1, 2)
    observer.close()
    assert path.read_bytes().startswith(before)
    assert list(read_visualdl(tmp_path / "vdl")["text"]) == ["run/config"]


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("ppzoo"), "propagate", True)
    caplog.set_level(logging.WARNING, "ppzoo")
    return lambda: [record.getMessage() for record in caplog.records]


def log_epochs(observer, count=10):
    for number in range(count):
        observer.on_epoch_end(epoch(number))
    observer.close()


@pytest.mark.parametrize("name", ["visualdl", "tensorboard"])
def test_a_full_disk_switches_a_logger_off_with_one_warning(tmp_path, warnings, name):
    pytest.importorskip(name)
    observer = run_logger(tmp_path, names=(name,))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        log_epochs(observer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (warning,) = warnings()
    assert warning.startswith(f"logger {name} is switched off, the run continues without it: cannot write {tmp_path}")
    assert warning.endswith(": File too large")


@pytest.mark.parametrize("name", ["visualdl", "tensorboard"])
def test_a_removed_folder_switches_a_logger_off_and_is_not_created_again(tmp_path, warnings, name):
    pytest.importorskip(name)
    run = tmp_path / "run"
    observer = run_logger(run, names=(name,))
    shutil.rmtree(run)
    log_epochs(observer)
    (warning,) = warnings()
    assert warning.startswith(f"logger {name} is switched off, the run continues without it: cannot write {run}")
    assert warning.endswith(": the file was removed")
    assert not run.exists()


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path, warnings):
    (tmp_path / "vdl").write_text("")
    log_epochs(run_logger(tmp_path))
    (warning,) = warnings()
    assert warning.startswith("logger visualdl is not used, the run continues without it: cannot write ")
    assert warning.endswith(": Not a directory")


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("visualdl", "`pip install visualdl`"),
        ("tensorboard", "`pip install 'ppzoo[tensorboard]'` (in a clone: `pip install -e '.[tensorboard]'`)"),
    ],
)
def test_a_missing_package_is_one_warning(tmp_path, monkeypatch, warnings, name, install):
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    log_epochs(run_logger(tmp_path, names=(name,)))
    (warning,) = warnings()
    assert warning.startswith(f"logger {name} is not used: ")
    assert warning.endswith(f"; run {install}")
    assert not list(tmp_path.iterdir())


class Lines(Logger):
    """A user's logger, as docs/logging.md shows one."""

    def __init__(self, start):
        self.path = start.folder / "lines.txt"

    def log_scalars(self, scalars, number):
        with open(self.path, "a") as file:
            file.writelines(f"{number} {tag} {value:g}\n" for tag, value in scalars.items() if tag.endswith("loss"))


class Broken(Logger):
    def __init__(self, start):
        self.closed = 0

    def log_scalars(self, scalars, number):
        raise RuntimeError("two\nlines")

    def close(self):
        self.closed += 1
        raise RuntimeError("again")


class Interrupted(Logger):
    def log_scalars(self, scalars, number):
        raise KeyboardInterrupt


@pytest.fixture
def own_loggers(monkeypatch):
    monkeypatch.setattr(LOGGERS, "_entries", dict(LOGGERS._entries))
    for one in (Lines, Broken, Interrupted):
        LOGGERS.register_as(one.__name__.lower())(one)


def test_a_broken_logger_is_switched_off_and_the_others_continue(tmp_path, own_loggers, warnings):
    observer = run_logger(tmp_path, names=("broken", "lines"))
    broken = observer.loggers.active["broken"]
    log_epochs(observer, 2)
    (warning,) = warnings()
    assert warning.startswith(
        "logger broken is switched off, the run continues without it: RuntimeError: two\\nlines (line "
    )
    assert warning.endswith(" of test_loggers.py)")
    assert broken.closed == 1
    assert (tmp_path / "lines.txt").read_text() == "1 epoch/train/loss 1\n2 epoch/train/loss 1\n"


def test_a_picture_that_cannot_be_drawn_does_not_stop_the_run(tmp_path, own_loggers, warnings):
    import paddle

    def fail(image):
        raise OSError(errno.ENOENT, "No such file or directory", "DejaVuSans.ttf")

    observer = run_logger(tmp_path, names=("lines", "visualdl"), to_pixels=fail)
    observer.on_epoch_end(epoch(0))
    observer.on_first_batch(1, SimpleNamespace(images=paddle.ones([2, 3, 4, 4]), labels=paddle.to_tensor([0, 1])))
    observer.on_epoch_end(epoch(1))
    observer.on_step_end(StepReport(1, 0, 5, {"loss": 0.5}, 0.1, 8, 0.5))
    observer.close()
    (warning,) = warnings()
    assert warning == (
        "the loggers are switched off, the run continues without them: DejaVuSans.ttf: No such file or directory"
    )
    assert (tmp_path / "lines.txt").read_text() == "1 epoch/train/loss 1\n"


def test_an_interruption_in_a_logger_stops_the_run(tmp_path, own_loggers):
    with pytest.raises(KeyboardInterrupt):
        log_epochs(run_logger(tmp_path, names=("interrupted",)))


def test_names_of_loggers_are_checked(own_loggers):
    check_logger_names(["visualdl", "tensorboard", "lines"])
    with pytest.raises(
        ConfigError, match=r"^Global\.loggers: unknown logger 'tensorbord'; did you mean 'tensorboard'\?"
    ):
        check_logger_names(["visualdl", "tensorbord"])
    with pytest.raises(
        ConfigError, match=r"^Global\.loggers: expected different loggers, got 'visualdl' twice; remove"
    ):
        check_logger_names(["visualdl", "visualdl"])


def test_histograms_are_those_of_weights_and_gradients(tmp_path):
    import paddle

    weight = paddle.to_tensor([[1.0, 2.0], [2.0, float("nan")]], stop_gradient=False)
    (weight * 2).sum().backward()
    bias = paddle.to_tensor([1.0])
    observer = run_logger(tmp_path, named_parameters=lambda: {"fc.weight": weight, "fc.bias": bias}.items())
    observer.on_gradients(0)
    observer.histogram_interval = 2
    observer.on_gradients(0)
    observer.on_gradients(1)
    observer.close()
    found = read_visualdl(tmp_path / "vdl")["histogram"]
    assert sorted(found) == ["gradients/fc.weight", "weights/fc.weight"]
    (weights,), (gradients,) = found["weights/fc.weight"], found["gradients/fc.weight"]
    assert weights.id == 2
    edges = np.array(weights.histogram.bin_edges)
    assert (edges[0], edges[-1], sum(weights.histogram.hist)) == (1.0, 2.0, 3)
    assert sum(gradients.histogram.hist) == 4


def test_the_first_batch_is_shown_once_with_its_labels(tmp_path, monkeypatch):
    import paddle

    from ppzoo.report.loggers import run_logger as module

    drawn = []
    monkeypatch.setattr(module, "draw_tiles", lambda tiles: drawn.append(tiles) or IMAGE)
    observer = run_logger(tmp_path, to_pixels=lambda image: (image.transpose(1, 2, 0) * 255).astype(np.uint8))
    batch = SimpleNamespace(images=paddle.ones([2, 3, 4, 4]), labels=paddle.to_tensor([[0.25, 0.75], [1.0, 0.0]]))
    observer.on_first_batch(2, batch)
    observer.on_first_batch(3, batch)
    observer.close()
    assert [tile.lines for tile in drawn[0]] == [["0.75 b", "0.25 a"], ["1.00 a"]]
    assert drawn[0][0].image.shape == (4, 4, 3) and (drawn[0][0].image == 255).all()
    assert [record.id for record in read_visualdl(tmp_path / "vdl")["image"]["epoch/train/first_batch"]] == [3]
