"""A folder belongs to one run at a time, and an earlier run is moved aside whole or not at all."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys

import paddle
import pytest
from helpers.toy import make_state

from ppzoo.engine import device, latest_checkpoint, load_checkpoint, open_run_dir, run_dir, select_device
from ppzoo.engine.checkpoint import checkpoint
from ppzoo.engine.checkpoint.atomic_files import finish_all
from ppzoo.errors import DeviceError, PpzooError
from ppzoo.report import Console

HOLD = """
import sys
from pathlib import Path
from ppzoo.engine.run_dir import open_run_dir
open_run_dir(Path(sys.argv[1]), resume=True)
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
    run_dir.unlock(run)


@pytest.fixture
def live(place):
    """The same folder while another process writes into it."""
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield place, process
        process.kill()


def test_an_earlier_run_is_moved_aside_and_what_is_resumed_stays(place):
    open_run_dir(place, resume=True)
    assert (place / "latest.pdparams").exists()
    for number in (1, 2):
        open_run_dir(place, resume=False)
        assert {file.name for file in place.iterdir()} == {run_dir.LOCK}
        aside = place.with_name(f"run.earlier-{number}")
        assert [file.name for file in aside.iterdir()] == ["latest.pdparams"]
        (place / "latest.pdparams").write_bytes(b"more")


def names(place):
    return {file.name for file in place.iterdir()}


def test_a_run_folder_that_is_a_link_stays_and_the_content_of_its_target_is_moved(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(run_dir.logger, "propagate", True)
    target, link = tmp_path / "disk" / "run", tmp_path / "output"
    target.mkdir(parents=True)
    link.symlink_to(target)
    for number in (1, 2):
        (target / "latest.pdparams").write_bytes(b"weights")
        with caplog.at_level("INFO", logger="ppzoo"):
            open_run_dir(link, resume=False)
        assert link.is_symlink() and names(link) == {run_dir.LOCK}
        aside = tmp_path / "disk" / f"run.earlier-{number}"
        assert names(aside) == {"latest.pdparams"}
        assert caplog.records[-1].getMessage() == f"moved the earlier run in {link} to {aside}"
    run_dir.unlock(link)
    assert names(tmp_path) == {"disk", "output"} and names(target) == set()


def test_a_link_to_nowhere_is_named(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "unmounted")
    for place in (tmp_path / "run", tmp_path / "run" / "LeNet"):
        with pytest.raises(
            PpzooError, match=r"^Global.output_dir: .*/run is a link to .*unmounted, which does not exist$"
        ):
            open_run_dir(place, resume=False)


@pytest.mark.parametrize("reason", [errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_renamed_keeps_earlier_runs_in_it(place, monkeypatch, reason):
    rename = type(place).rename

    def refusing(path, target):
        if path == place:
            raise OSError(reason, os.strerror(reason))
        return rename(path, target)

    monkeypatch.setattr(type(place), "rename", refusing)
    (place / "lost+found").mkdir()
    (place / "vdl").mkdir()
    for number in (1, 2):
        open_run_dir(place, resume=False)
        assert names(place) == {run_dir.LOCK, "lost+found", *(f"earlier-{n}" for n in range(1, number + 1))}
        assert "latest.pdparams" in names(place / f"earlier-{number}")
        (place / "latest.pdparams").write_bytes(b"more")
    assert names(place / "earlier-1") == {"latest.pdparams", "vdl"}
    assert names(place.parent) == {"run"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to mount a file system")
def test_a_mount_point_takes_one_run_after_the_other(place):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.decode()}")
    try:
        for number in (1, 2):
            (place / "latest.pdparams").write_bytes(b"weights")
            open_run_dir(place, resume=False)
            assert names(place / f"earlier-{number}") == {"latest.pdparams"}
            assert not (place / "latest.pdparams").exists()
    finally:
        run_dir.unlock(place)
        subprocess.run(["umount", str(place)], check=True)


def test_a_move_that_is_cut_off_leaves_weights_that_the_next_run_moves(place, monkeypatch):
    (place / "latest.manifest").write_bytes(b"manifest")
    move = shutil.move

    def refusing(path, target):
        if path.suffix == ".pdparams":
            raise OSError(errno.EBUSY, "busy")
        return move(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(place), "rename", lambda path, target: refusing(place / "x.pdparams", target))
        patch.setattr(shutil, "move", refusing)
        with pytest.raises(PpzooError, match=r"^Global.output_dir: expected a folder that can be written.*busy"):
            open_run_dir(place, resume=False)
    assert names(place) == {run_dir.LOCK, "earlier-1", "latest.pdparams"}
    open_run_dir(place, resume=False)
    assert (place.with_name("run.earlier-1") / "latest.pdparams").exists()


@pytest.mark.parametrize("resume", [True, False])
def test_the_folder_of_a_live_run_is_refused_and_left_as_it_is(live, resume):
    place, process = live
    with pytest.raises(PpzooError, match=f"^another run is writing into {place}: .*Global.output_dir$"):
        open_run_dir(place, resume=resume)
    assert [file.name for file in place.parent.iterdir()] == ["run"]
    assert (place / "latest.pdparams").exists()
    process.kill()
    process.wait()
    open_run_dir(place, resume=resume)


def test_a_run_that_is_over_gives_its_folder_back(place):
    open_run_dir(place, resume=True)
    checkpoint.CheckpointSaver(None, place, interval=1).close()
    assert [file.name for file in place.iterdir()] == ["latest.pdparams"]
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        assert p.stdout.readline() == b"held\n"


def test_reading_a_checkpoint_neither_finishes_nor_undoes_what_is_being_saved(live):
    place, process = live
    before = {file.name for file in place.iterdir()}
    staged = [place / name for name in ("latest.new.pdparams", ".latest.new.pdopt.x.tmp", "epoch_1.new.manifest")]
    for file in staged:
        file.write_bytes(b"half")
    latest_checkpoint(place)
    with pytest.raises(PpzooError):
        load_checkpoint(None, place / "latest")
    assert all(file.exists() for file in staged)
    process.kill()
    process.wait()
    (place / run_dir.LOCK).unlink()
    latest_checkpoint(place)
    with pytest.raises(PpzooError):
        load_checkpoint(None, place / "latest")
    assert {file.name for file in place.iterdir()} == (before - {run_dir.LOCK}) | {file.name for file in staged}


@pytest.mark.parametrize("moved", range(5))
@pytest.mark.parametrize("before", [True, False])
def test_a_checkpoint_whose_saving_was_interrupted_is_read_where_it_is(tmp_path, moved, before, monkeypatch):
    """Whatever number of its files has been moved into place, the new one counts; reading changes nothing."""
    state, target = make_state(), tmp_path / "latest"
    if before:
        checkpoint.save_checkpoint(state, target)
    state.progress.epoch = 2
    state.model.out.bias.set_value(paddle.to_tensor([1.0, 2.0, 3.0]))

    class PowerCut(BaseException):
        pass

    left, replace = iter(range(moved, -1, -1)), os.replace

    def cut(source, name):
        if ".new." not in str(name) and next(left) == 0:  # not while the staged files are written
            raise PowerCut
        replace(source, name)

    with monkeypatch.context() as patch, contextlib.suppress(PowerCut):
        patch.setattr(os, "replace", cut)
        checkpoint.save_checkpoint(state, target)
    found = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert latest_checkpoint(tmp_path) == target
    load_checkpoint(again := make_state(), target)
    assert again.progress.epoch == 2
    assert again.model.out.bias.tolist() == [1.0, 2.0, 3.0]
    assert found == {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    finish_all(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"latest{suffix}" for suffix in (".manifest", ".pdopt", ".pdparams", ".pdstates")
    ]


PLANTED = {
    "link": lambda lock, target: lock.symlink_to(target),
    "dangling link": lambda lock, target: lock.symlink_to(target.with_name("new")),
    "pipe": lambda lock, target: os.mkfifo(lock),
    "folder": lambda lock, target: lock.mkdir(),
    "file": lambda lock, target: lock.write_text("mine"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_no_lock_is_followed_emptied_or_removed_that_is_not_ours(place, tmp_path, kind):
    valuable = tmp_path / "valuable"
    valuable.write_text("text")
    PLANTED[kind](place / run_dir.LOCK, valuable)
    run_dir.require_unlocked(place)
    for resume in (True, False):
        with pytest.raises(PpzooError, match=r"^Global.output_dir: expected a folder that can be written, got "):
            open_run_dir(place, resume=resume)
    run_dir.unlock(place)
    assert valuable.read_text() == "text"
    assert os.path.lexists(place / run_dir.LOCK)
    assert {file.name for file in tmp_path.iterdir()} == {"run", "valuable"}
    if kind == "file":
        assert (place / run_dir.LOCK).read_text() == "mine"


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_log_files_do_not_follow_what_was_planted(tmp_path, kind):
    valuable = tmp_path / "valuable"
    valuable.write_text("text")
    PLANTED[kind](tmp_path / "train.log", valuable)
    with pytest.raises(PpzooError, match=r"train\.log: cannot be written"):
        Console(tmp_path / "train.log", every=1)
    assert valuable.read_text() == "text"
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PpzooError, match=r"^Global.output_dir: expected a folder that can be written.*Not a directory"):
        open_run_dir(tmp_path / "file" / "run", resume=False)


def test_a_folder_that_was_removed_is_held_anew(tmp_path):
    run = tmp_path / "run"
    open_run_dir(run, resume=False)
    os.remove(run / run_dir.LOCK)
    run.rmdir()
    open_run_dir(run, resume=False)
    assert (run / run_dir.LOCK).exists()
    run_dir.unlock(run)


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
    with pytest.raises(DeviceError, match=r"expected a GPU numbered 0, got .* sees 0"):
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
