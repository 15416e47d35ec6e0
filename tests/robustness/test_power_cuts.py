"""What a cut between two files leaves is made good by the run that goes on."""

import os
import signal
import subprocess
import sys

import pytest
from runs import arguments, differences, make_place, output_of

from ppzoo import builders
from ppzoo.cli import main
from ppzoo.engine import run_dir as folders

HOLD = "import sys; from pathlib import Path; from ppzoo.engine import open_run_dir;"
HOLD += "open_run_dir(Path(sys.argv[1]), resume=True); print('held', flush=True); sys.stdin.read()"


class PowerCut(BaseException):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The configuration of a run, of which `whole` was left alone."""
    config = make_place(tmp_path_factory.mktemp("cuts"), train=20, test=10, epochs=2)
    assert main(arguments(config, "whole", "Global.keep=1", "Global.save_interval_steps=null")) == 0
    return config


@pytest.mark.parametrize(("call", "number"), [("link", 2), ("link", 8), ("unlink", 14), ("replace", 12)])
def test_a_cut_among_the_copies_of_an_epoch_is_made_good(whole, monkeypatch, call, number):
    name, left, function = f"{call}{number}", iter(range(number - 1, -1, -1)), getattr(os, call)
    command = arguments(whole, name, "Global.keep=1", "Global.save_interval_steps=null")

    def cut(*given, **named):
        if next(left, None) == 0:
            raise PowerCut
        return function(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(os, call, cut)
        main(command)
    assert main(command) == 0
    assert differences(output_of(whole.parent, "whole"), output_of(whole.parent, name)) == []


def test_what_writers_left_is_cleared_away_and_nothing_else(tmp_path):
    left = [".train.log.abcd1234.tmp", ".latest.new.pdopt.a_b1c2d3.tmp"]
    kept = [".mine.tmp", "notes.tmp", "latest.pdopt"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("")
    folders.open_run_dir(tmp_path, resume=True)
    folders.unlock(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)


def test_a_cut_in_the_first_saving_of_all_moves_nothing_aside(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "latest.new.pdparams").write_text("half")
    folders.open_run_dir(tmp_path / "run", resume=False)
    folders.unlock(tmp_path / "run")
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_before_the_first_step_ends_in_one_word(whole, monkeypatch, capsys, number, said):
    handler = signal.getsignal(number)
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)  # a shell lets its background jobs ignore it
    try:
        monkeypatch.setattr(builders, "build_trainer", lambda *given: os.kill(os.getpid(), number))
        assert main(arguments(whole, "stopped"), owns_process=True) == 128 + number
    finally:
        signal.signal(number, handler)
    assert capsys.readouterr().err.splitlines()[-1] == said


def test_going_on_in_the_folder_of_a_live_run_says_so_and_nothing_before(whole, capsys):
    folder = output_of(whole.parent, "whole")
    damaged = folder / "mine.manifest"
    damaged.write_text("torn")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert main(arguments(whole, "whole")) == 2
        holder.kill()
    damaged.unlink()
    said = capsys.readouterr().err
    assert said.splitlines() == [f"error: another run is writing into {folder}: wait for its end, or give another"
                                 " Global.output_dir"]  # fmt: skip


def test_the_log_has_what_was_said_before_it_was_there(whole):
    assert main(arguments(whole, "twice", "Global.epochs=1")) == 0
    assert main(arguments(whole, "twice")) == 0
    log = (output_of(whole.parent, "twice") / "train.log").read_text()
    assert "resuming from" in log
    assert log.count("resuming from") == 1
