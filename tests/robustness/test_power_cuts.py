"""A resumed run recovers from interruptions between file operations."""

import os
import signal
import subprocess
import sys

import pytest
from runs import arguments, differences, make_workspace, output_of

from ppzoo import builders
from ppzoo.cli import main
from ppzoo.engine import run_dir

HOLD = "import sys; from pathlib import Path; from ppzoo.engine import open_run_dir;"
HOLD += "open_run_dir(Path(sys.argv[1]), resume=True); print('held', flush=True); sys.stdin.read()"


class PowerCut(BaseException):
    pass


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The configuration of all runs of this module; the run `reference` has completed undisturbed."""
    config = make_workspace(tmp_path_factory.mktemp("cuts"), train=20, test=10, epochs=2)
    assert main(arguments(config, "reference", "Global.keep=1", "Global.save_interval_steps=null")) == 0
    return config


@pytest.mark.parametrize(("call", "number"), [("link", 2), ("link", 8), ("unlink", 14), ("replace", 12)])
def test_a_run_recovers_from_an_interruption_while_checkpoints_are_copied(reference, monkeypatch, call, number):
    name, left, function = f"{call}{number}", iter(range(number - 1, -1, -1)), getattr(os, call)
    command = arguments(reference, name, "Global.keep=1", "Global.save_interval_steps=null")

    def cut(*args, **kwargs):
        if next(left, None) == 0:
            raise PowerCut
        return function(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(os, call, cut)
        main(command)
    assert main(command) == 0
    assert differences(output_of(reference.parent, "reference"), output_of(reference.parent, name)) == []


def test_only_temporary_files_are_removed(tmp_path):
    left = [".train.log.abcd1234.tmp", ".latest.new.pdopt.a_b1c2d3.tmp"]
    kept = [".mine.tmp", "notes.tmp", "latest.pdopt"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("")
    run_dir.open_run_dir(tmp_path, resume=True)
    run_dir.unlock(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)


def test_an_interrupted_first_save_is_not_moved_away(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "latest.new.pdparams").write_text("half")
    run_dir.open_run_dir(tmp_path / "run", resume=False)
    run_dir.unlock(tmp_path / "run")
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("number", "message"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_before_the_first_step_is_reported_in_one_word(reference, monkeypatch, capsys, number, message):
    handler = signal.getsignal(number)
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)  # background jobs of a shell ignore it
    try:
        monkeypatch.setattr(builders, "build_trainer", lambda *args: os.kill(os.getpid(), number))
        assert main(arguments(reference, "stopped"), owns_process=True) == 128 + number
    finally:
        signal.signal(number, handler)
    assert capsys.readouterr().err.splitlines()[-1] == message


def test_resuming_in_a_locked_folder_is_refused_before_checkpoints_are_read(reference, capsys):
    folder = output_of(reference.parent, "reference")
    damaged = folder / "mine.manifest"
    damaged.write_text("torn")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert main(arguments(reference, "reference")) == 2
        holder.kill()
    damaged.unlink()
    assert capsys.readouterr().err.splitlines() == [
        f"error: another run is writing into {folder}: wait until it ends, or set another Global.output_dir"
    ]


def test_the_log_file_has_messages_from_before_it_was_opened(reference):
    assert main(arguments(reference, "twice", "Global.epochs=1")) == 0
    assert main(arguments(reference, "twice")) == 0
    log = (output_of(reference.parent, "twice") / "train.log").read_text()
    assert "resuming from" in log
    assert log.count("resuming from") == 1
