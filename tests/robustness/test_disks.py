"""A disk that is full, a folder that disappears or cannot be written: one line, and what was saved stays whole."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from runs import arguments, differences, make_place, output_of

from ppzoo import engine
from ppzoo.cli import main


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The configuration of a run, of which `whole` was left alone."""
    config = make_place(tmp_path_factory.mktemp("disks"), train=20, test=10, epochs=2)
    assert main(arguments(config, "whole")) == 0
    return config


@contextmanager
def no_file_beyond(size):
    """A quota on the size of each file, which the system answers as it answers a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def after_steps(monkeypatch, steps, act):
    """Let `act` happen after that many steps of a training, before they are saved."""
    on_step_end = engine.CheckpointSaver.on_step_end
    left = iter(range(steps - 1, -1, -1))

    def then(checkpoints, report):
        if next(left, None) == 0:
            act()
        on_step_end(checkpoints, report)

    monkeypatch.setattr(engine.CheckpointSaver, "on_step_end", then)


def error_of(capsys):
    """The one line that is an error's."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_quota_that_is_used_up_ends_the_run_and_more_room_lets_it_go_on(whole, capsys, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        after_steps(patch, 3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard)))
        try:
            assert main(arguments(whole, "quota")) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "latest: cannot be written (File too large); the checkpoint before it is whole" in error_of(capsys)
    assert main(arguments(whole, "quota")) == 0
    assert differences(output_of(whole.parent, "whole"), output_of(whole.parent, "quota")) == []


def test_a_quota_from_the_beginning_is_an_error_before_the_first_step(whole, capsys):
    with no_file_beyond(100):
        assert main(arguments(whole, "none")) in (1, 2)
    assert "File too large" in error_of(capsys)


def test_a_folder_whose_name_is_too_long_is_an_error_before_the_first_step(whole, capsys):
    assert main(arguments(whole, "x" * 300)) == 2
    assert "expected a folder that can be written, got" in error_of(capsys)
    assert main(arguments(whole, "unused", resume="x" * 300)) == 2
    assert "x.pdparams does not exist" in error_of(capsys)


def test_a_folder_that_disappears_ends_the_run_and_is_not_made_anew(whole, capsys, monkeypatch):
    folder = output_of(whole.parent, "gone")
    after_steps(monkeypatch, 2, lambda: shutil.rmtree(folder))
    assert main(arguments(whole, "gone")) == 1
    assert "the folder of the run is gone" in error_of(capsys)
    assert not folder.exists()


@pytest.fixture
def disk(tmp_path):
    """A file system of 8 MiB of its own, where the system lets us mount one; else None."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    options = ["-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mounted)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        yield None
        return
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_full_disk_ends_the_run_and_more_room_lets_it_go_on(whole, disk, capsys, monkeypatch):
    if disk is None:
        pytest.skip("only root may mount a file system; the quota above stands for it")
    output = f"Global.output_dir={disk}"
    filler = disk / "filler"

    def fill():
        space = os.statvfs(disk)
        filler.write_bytes(bytes(space.f_bavail * space.f_frsize - 20_000))

    with monkeypatch.context() as patch:
        after_steps(patch, 3, fill)
        assert main([*arguments(whole, "unused"), "-o", output]) == 1
    assert "cannot be written (No space left on device); the checkpoint before it is whole" in error_of(capsys)
    filler.unlink()
    assert main([*arguments(whole, "unused"), "-o", output]) == 0
    assert differences(output_of(whole.parent, "whole"), disk / output_of(whole.parent, "whole").name) == []


def test_a_folder_that_becomes_read_only_ends_the_run(whole, disk, capsys, monkeypatch):
    if disk is None:
        pytest.skip("nothing but a file system that is mounted so is read-only for everyone")
    folder, output = disk / output_of(whole.parent, "whole").name, f"Global.output_dir={disk}"

    def close():
        for options in (["--bind", str(folder), str(folder)], ["-o", "remount,bind,ro", str(folder)]):
            subprocess.run(["mount", *options], check=True)

    with monkeypatch.context() as patch:
        after_steps(patch, 3, close)
        assert main([*arguments(whole, "unused"), "-o", output]) == 1
    assert "cannot be written (Read-only file system); the checkpoint before it is whole" in error_of(capsys)
    assert main([*arguments(whole, "unused"), "-o", output]) == 2
    assert "expected a folder that can be written" in error_of(capsys)
    subprocess.run(["umount", str(folder)], check=True)
    assert main([*arguments(whole, "unused"), "-o", output]) == 0
    assert differences(output_of(whole.parent, "whole"), folder) == []
