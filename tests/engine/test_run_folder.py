"""A folder belongs to one run at a time, and an earlier run is moved aside whole or not at all."""

import os
import subprocess
import sys

import paddle
import pytest

from ppzoo.engine import checkpoint, device, folder, newest, open_folder, restore, select_device
from ppzoo.errors import DeviceError, PpzooError

HOLD = """
import sys
from pathlib import Path
from ppzoo.engine.folder import open_folder
open_folder(Path(sys.argv[1]), resume=True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path):
    """A folder of a run with a file of weights; nobody holds it."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "latest.pdparams").write_bytes(b"weights")
    yield run
    folder.release(run)


@pytest.fixture
def live(place):
    """The same folder while another process writes into it."""
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield place, process
        process.kill()


def test_an_earlier_run_is_moved_aside_and_what_is_resumed_stays(place):
    open_folder(place, resume=True)
    assert (place / "latest.pdparams").exists()
    for number in (1, 2):
        open_folder(place, resume=False)
        assert {file.name for file in place.iterdir()} == {folder.LOCK}
        aside = place.with_name(f"run.earlier-{number}")
        assert [file.name for file in aside.iterdir()] == ["latest.pdparams"]
        (place / "latest.pdparams").write_bytes(b"more")


@pytest.mark.parametrize("resume", [True, False])
def test_the_folder_of_a_live_run_is_refused_and_left_as_it_is(live, resume):
    place, process = live
    with pytest.raises(PpzooError, match=f"^another run is writing into {place}: .*Global.output_dir$"):
        open_folder(place, resume=resume)
    assert [file.name for file in place.parent.iterdir()] == ["run"]
    assert (place / "latest.pdparams").exists()
    process.kill()
    process.wait()
    open_folder(place, resume=resume)


def test_a_run_that_is_over_gives_its_folder_back(place):
    open_folder(place, resume=True)
    checkpoint.Checkpoints(None, place, interval=1).close()
    assert [file.name for file in place.iterdir()] == ["latest.pdparams"]
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        assert p.stdout.readline() == b"held\n"


def test_reading_a_live_run_neither_finishes_nor_undoes_what_it_is_saving(live):
    place, process = live
    staged = [place / name for name in ("latest.new.pdparams", ".latest.new.pdopt.x.tmp", "epoch_1.new.manifest")]
    for file in staged:
        file.write_bytes(b"half")
    newest(place)
    with pytest.raises(PpzooError):
        restore(None, place / "latest")
    assert all(file.exists() for file in staged)
    process.kill()
    process.wait()
    with pytest.raises(PpzooError):
        restore(None, place / "latest")
    assert [file.exists() for file in staged] == [False, False, True]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PpzooError, match=r"^Global.output_dir: expected a folder that can be written.*Not a directory"):
        open_folder(tmp_path / "file" / "run", resume=False)


def test_a_folder_that_was_removed_is_held_anew(tmp_path):
    run = tmp_path / "run"
    open_folder(run, resume=False)
    os.remove(run / folder.LOCK)
    run.rmdir()
    open_folder(run, resume=False)
    assert (run / folder.LOCK).exists()
    folder.release(run)


def test_by_default_a_gpu_build_computes_on_the_cpu_where_there_is_no_gpu_and_logs_it_once(caplog, monkeypatch):
    monkeypatch.setattr(device.logger, "propagate", True)
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 0)
    device._any_device.cache_clear()
    with caplog.at_level("INFO", logger="ppzoo"):
        assert [select_device("auto"), select_device("auto")] == ["cpu", "cpu"]
    device._any_device.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "using the CPU: PaddlePaddle sees no GPU (Global.device is auto)"
    ]
    with pytest.raises(DeviceError, match=r"expected a GPU numbered 0, received .* sees 0"):
        select_device("gpu")


def test_a_cpu_build_says_once_that_it_goes_on_without_the_gpu(caplog, monkeypatch):
    monkeypatch.setattr(device.logger, "propagate", True)
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    with caplog.at_level("INFO", logger="ppzoo"):
        assert [select_device("gpu:1"), select_device("gpu:1")] == ["cpu", "cpu"]
    assert [record.getMessage() for record in caplog.records] == [
        "Global.device is gpu:1, but this PaddlePaddle is built for the CPU: going on there"
    ]
    assert paddle.get_device() == "cpu"
