"""A full disk and folders that disappear or are read-only are reported in one line; saved checkpoints stay complete."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from runs import arguments, differences, make_workspace, output_of

from ppzoo import engine
from ppzoo.cli import main


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The configuration of all runs of this module; the run `reference` has completed undisturbed."""
    config = make_workspace(tmp_path_factory.mktemp("disks"), train=20, test=10, epochs=2)
    assert main(arguments(config, "reference")) == 0
    return config


@contextmanager
def file_size_limit(size):
    """Limit the size of files, which has the same effect as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def after_steps(monkeypatch, steps, act):
    """Call `act` after the given number of steps of a run, before the checkpoint of the last one is saved."""
    on_step_end = engine.CheckpointSaver.on_step_end
    left = iter(range(steps - 1, -1, -1))

    def then(checkpoints, report):
        if next(left, None) == 0:
            act()
        on_step_end(checkpoints, report)

    monkeypatch.setattr(engine.CheckpointSaver, "on_step_end", then)


def error_of(capsys):
    """Return the only error line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_an_exhausted_quota_ends_the_run_which_is_resumed_with_more(reference, capsys, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        after_steps(patch, 3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard)))
        try:
            assert main(arguments(reference, "quota")) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "latest: File too large; existing checkpoints stay complete" in error_of(capsys)
    assert main(arguments(reference, "quota")) == 0
    assert differences(output_of(reference.parent, "reference"), output_of(reference.parent, "quota")) == []


def test_a_quota_can_be_exhausted_before_the_first_step(reference, capsys):
    with file_size_limit(100):
        assert main(arguments(reference, "none")) in (1, 2)
    assert "File too large" in error_of(capsys)


def test_a_folder_whose_name_is_too_long_is_an_error_before_the_first_step(reference, capsys):
    assert main(arguments(reference, "x" * 300)) == 2
    assert "expected a folder that can be written, got" in error_of(capsys)
    assert main(arguments(reference, "unused", resume="x" * 300)) == 2
    assert "x.pdparams cannot be accessed (File name too long)" in error_of(capsys)


def test_a_removed_folder_ends_the_run_and_is_not_created_again(reference, capsys, monkeypatch):
    folder = output_of(reference.parent, "gone")
    after_steps(monkeypatch, 2, lambda: shutil.rmtree(folder))
    assert main(arguments(reference, "gone")) == 1
    assert "the folder of the run does not exist any more" in error_of(capsys)
    assert not folder.exists()


@pytest.fixture
def disk(tmp_path):
    """A separate file system of 8 MiB, or None if mounting is not permitted."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    options = ["-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mounted)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        yield None
        return
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_full_disk_ends_the_run_which_is_resumed_with_more_space(reference, disk, capsys, monkeypatch):
    if disk is None:
        pytest.skip("only root can mount a file system")
    output = f"Global.output_dir={disk}"
    filler = disk / "filler"

    def fill():
        space = os.statvfs(disk)
        filler.write_bytes(bytes(space.f_bavail * space.f_frsize - 20_000))

    with monkeypatch.context() as patch:
        after_steps(patch, 3, fill)
        assert main([*arguments(reference, "unused"), "-o", output]) == 1
    assert "latest: No space left on device; existing checkpoints stay complete" in error_of(capsys)
    filler.unlink()
    assert main([*arguments(reference, "unused"), "-o", output]) == 0
    assert (
        differences(output_of(reference.parent, "reference"), disk / output_of(reference.parent, "reference").name)
        == []
    )


def test_a_folder_that_becomes_read_only_ends_the_run(reference, disk, capsys, monkeypatch):
    if disk is None:
        pytest.skip("only root can mount a file system; permissions do not make a folder read-only for root")
    folder, output = disk / output_of(reference.parent, "reference").name, f"Global.output_dir={disk}"

    def close():
        for options in (["--bind", str(folder), str(folder)], ["-o", "remount,bind,ro", str(folder)]):
            subprocess.run(["mount", *options], check=True)

    with monkeypatch.context() as patch:
        after_steps(patch, 3, close)
        assert main([*arguments(reference, "unused"), "-o", output]) == 1
    assert "latest: Read-only file system; existing checkpoints stay complete" in error_of(capsys)
    assert main([*arguments(reference, "unused"), "-o", output]) == 1
    assert f"cannot write {folder}: Read-only file system" in error_of(capsys)
    subprocess.run(["umount", str(folder)], check=True)
    assert main([*arguments(reference, "unused"), "-o", output]) == 0
    assert differences(output_of(reference.parent, "reference"), folder) == []
