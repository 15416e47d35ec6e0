"""One run at a time writes into a folder, and an earlier run is moved away completely or not at all."""

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
from ppzoo.engine.checkpoint.atomic_files import recover_all
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
def run_folder(tmp_path):
    """The folder of a run with a file of weights, which no process has locked."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "latest.pdparams").write_bytes(b"weights")
    yield run
    run_dir.unlock(run)


@pytest.fixture
def locked(run_folder):
    """The same folder, locked by another process."""
    command = [sys.executable, "-c", HOLD, str(run_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield run_folder, process
        process.kill()


def test_an_earlier_run_is_moved_away_unless_it_is_resumed(run_folder):
    open_run_dir(run_folder, resume=True)
    assert (run_folder / "latest.pdparams").exists()
    for number in (1, 2):
        open_run_dir(run_folder, resume=False)
        assert {file.name for file in run_folder.iterdir()} == {run_dir.LOCK}
        aside = run_folder.with_name(f"run.earlier-{number}")
        assert [file.name for file in aside.iterdir()] == ["latest.pdparams"]
        (run_folder / "latest.pdparams").write_bytes(b"more")


def names(run_folder):
    return {file.name for file in run_folder.iterdir()}


def test_a_run_folder_that_is_a_link_stays_and_its_target_is_renamed(tmp_path, caplog, monkeypatch):
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


def test_a_dangling_link_is_named(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "unmounted")
    for run_folder in (tmp_path / "run", tmp_path / "run" / "LeNet"):
        with pytest.raises(
            PpzooError, match=r"^Global.output_dir: .*/run is a link to .*unmounted, which does not exist; create that"
        ):
            open_run_dir(run_folder, resume=False)


@pytest.mark.parametrize("reason", [errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_renamed_keeps_earlier_runs_in_it(run_folder, monkeypatch, reason):
    rename = type(run_folder).rename

    def refusing(path, target):
        if path == run_folder:
            raise OSError(reason, os.strerror(reason))
        return rename(path, target)

    monkeypatch.setattr(type(run_folder), "rename", refusing)
    (run_folder / "lost+found").mkdir()
    (run_folder / "vdl").mkdir()
    for number in (1, 2):
        open_run_dir(run_folder, resume=False)
        assert names(run_folder) == {run_dir.LOCK, "lost+found", *(f"earlier-{n}" for n in range(1, number + 1))}
        assert "latest.pdparams" in names(run_folder / f"earlier-{number}")
        (run_folder / "latest.pdparams").write_bytes(b"more")
    assert names(run_folder / "earlier-1") == {"latest.pdparams", "vdl"}
    assert names(run_folder.parent) == {"run"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to mount a file system")
def test_a_mount_point_can_be_used_by_successive_runs(run_folder):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(run_folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.decode()}")
    try:
        for number in (1, 2):
            (run_folder / "latest.pdparams").write_bytes(b"weights")
            open_run_dir(run_folder, resume=False)
            assert names(run_folder / f"earlier-{number}") == {"latest.pdparams"}
            assert not (run_folder / "latest.pdparams").exists()
    finally:
        run_dir.unlock(run_folder)
        subprocess.run(["umount", str(run_folder)], check=True)


def test_after_an_interrupted_move_the_next_run_moves_the_remaining_weights(run_folder, monkeypatch):
    (run_folder / "latest.manifest").write_bytes(b"manifest")
    move = shutil.move

    def refusing(path, target):
        if path.suffix == ".pdparams":
            raise OSError(errno.EBUSY, "busy")
        return move(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(run_folder), "rename", lambda path, target: refusing(run_folder / "x.pdparams", target))
        patch.setattr(shutil, "move", refusing)
        with pytest.raises(PpzooError, match=r"^cannot write .*: busy$"):
            open_run_dir(run_folder, resume=False)
    assert names(run_folder) == {run_dir.LOCK, "earlier-1", "latest.pdparams"}
    open_run_dir(run_folder, resume=False)
    assert (run_folder.with_name("run.earlier-1") / "latest.pdparams").exists()


@pytest.mark.parametrize("resume", [True, False])
def test_a_locked_folder_is_refused_and_left_unchanged(locked, resume):
    run_folder, process = locked
    with pytest.raises(PpzooError, match=f"^another run is writing into {run_folder}: .*Global.output_dir$"):
        open_run_dir(run_folder, resume=resume)
    assert [file.name for file in run_folder.parent.iterdir()] == ["run"]
    assert (run_folder / "latest.pdparams").exists()
    process.kill()
    process.wait()
    open_run_dir(run_folder, resume=resume)


def test_a_finished_run_unlocks_its_folder(run_folder):
    open_run_dir(run_folder, resume=True)
    checkpoint.CheckpointSaver(None, run_folder, interval=1).close()
    assert [file.name for file in run_folder.iterdir()] == ["latest.pdparams"]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as p:
        assert p.stdout.readline() == b"held\n"


def test_loading_does_not_touch_a_checkpoint_that_is_being_saved(locked):
    run_folder, process = locked
    before = {file.name for file in run_folder.iterdir()}
    staged = [run_folder / name for name in ("latest.new.pdparams", ".latest.new.pdopt.x.tmp", "epoch_1.new.manifest")]
    for file in staged:
        file.write_bytes(b"half")
    latest_checkpoint(run_folder)
    with pytest.raises(PpzooError):
        load_checkpoint(None, run_folder / "latest")
    assert all(file.exists() for file in staged)
    process.kill()
    process.wait()
    (run_folder / run_dir.LOCK).unlink()
    latest_checkpoint(run_folder)
    with pytest.raises(PpzooError):
        load_checkpoint(None, run_folder / "latest")
    assert {file.name for file in run_folder.iterdir()} == (before - {run_dir.LOCK}) | {file.name for file in staged}


@pytest.mark.parametrize("moved", range(5))
@pytest.mark.parametrize("before", [True, False])
def test_a_checkpoint_is_loaded_after_an_interrupted_save(tmp_path, moved, before, monkeypatch):
    """However many staged files were renamed, the new checkpoint is valid; loading changes nothing."""
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
    recover_all(tmp_path)
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
def test_no_foreign_file_is_followed_emptied_or_removed_as_a_lock(run_folder, tmp_path, kind):
    valuable = tmp_path / "valuable"
    valuable.write_text("text")
    PLANTED[kind](run_folder / run_dir.LOCK, valuable)
    run_dir.require_unlocked(run_folder)
    for resume in (True, False):
        with pytest.raises(PpzooError, match=r"^Global.output_dir: expected a folder that can be written, got "):
            open_run_dir(run_folder, resume=resume)
    run_dir.unlock(run_folder)
    assert valuable.read_text() == "text"
    assert os.path.lexists(run_folder / run_dir.LOCK)
    assert {file.name for file in tmp_path.iterdir()} == {"run", "valuable"}
    if kind == "file":
        assert (run_folder / run_dir.LOCK).read_text() == "mine"


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_log_files_do_not_follow_links(tmp_path, kind):
    valuable = tmp_path / "valuable"
    valuable.write_text("text")
    PLANTED[kind](tmp_path / "train.log", valuable)
    with pytest.raises(PpzooError, match=r"cannot write .*train\.log"):
        Console(tmp_path / "train.log", every=1)
    assert valuable.read_text() == "text"
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PpzooError, match=r"^Global.output_dir: expected a folder that can be written.*Not a directory"):
        open_run_dir(tmp_path / "file" / "run", resume=False)


def test_a_removed_folder_is_locked_again(tmp_path):
    run = tmp_path / "run"
    open_run_dir(run, resume=False)
    os.remove(run / run_dir.LOCK)
    run.rmdir()
    open_run_dir(run, resume=False)
    assert (run / run_dir.LOCK).exists()
    run_dir.unlock(run)


def test_auto_selects_the_cpu_without_gpus_and_logs_it_once(caplog, monkeypatch):
    monkeypatch.setattr(device.logger, "propagate", True)
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 0)
    device._auto_device.cache_clear()
    with caplog.at_level("INFO", logger="ppzoo"):
        assert [select_device("auto"), select_device("auto")] == ["cpu", "cpu"]
    device._auto_device.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "using the CPU: PaddlePaddle sees no GPU (Global.device is auto)"
    ]
    with pytest.raises(DeviceError, match=r"expected a GPU with number 0, but PaddlePaddle sees 0 GPUs"):
        select_device("gpu")


def test_a_cpu_build_logs_once_that_it_uses_the_cpu(caplog, monkeypatch):
    monkeypatch.setattr(device.logger, "propagate", True)
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    with caplog.at_level("INFO", logger="ppzoo"):
        assert [select_device("gpu:1"), select_device("gpu:1")] == ["cpu", "cpu"]
    assert [record.getMessage() for record in caplog.records] == [
        "using the CPU: this PaddlePaddle build has no CUDA support (Global.device is gpu:1)"
    ]
    assert paddle.get_device() == "cpu"


PORTABLE = """
import os, sys
import paddle
sys.modules["fcntl"] = None
for name in ("fork", "forkpty", "register_at_fork"):
    delattr(os, name)
from pathlib import Path
from helpers.toy import make_state, make_trainer
from ppzoo.engine import CheckpointSaver, open_run_dir
from ppzoo.launcher import Launch
from ppzoo.engine.rendezvous import rendezvous_timeout

folder = open_run_dir(Path(sys.argv[1]), resume=False)
with rendezvous_timeout(Launch(0, 2, ("a:1", "b:2"), "a:1"), 60):
    state = make_state()
    make_trainer(state, CheckpointSaver(state, folder, interval=9)).fit()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="tests a system that has fork")
def test_the_engine_needs_neither_fork_nor_fcntl(tmp_path):
    """As on Windows."""
    pytest.importorskip("filelock")
    tests = os.path.dirname(os.path.dirname(__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.path.dirname(tests), *sys.path])}
    subprocess.run([sys.executable, "-W", "ignore", "-c", PORTABLE, str(tmp_path / "run")], check=True, env=environment)
    assert (tmp_path / "run" / "latest.manifest").exists()
