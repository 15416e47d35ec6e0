"""The commands that are printed as the next step."""

import sys
from pathlib import Path

import pytest

from ppzoo.cli.next_steps import command_line

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_python_is_named_only_if_the_shell_finds_the_one_of_the_environment(tmp_path, monkeypatch):
    base, environment, other = (tmp_path / name / "python" for name in ("base", "environment", "other"))
    for program in (base, environment, other):
        program.parent.mkdir()
    for program in (base, other):
        program.touch(mode=0o755)
    environment.symlink_to(base)
    monkeypatch.setattr(sys, "argv", [str(TOOLS / "train.py")])
    monkeypatch.setattr(sys, "executable", str(environment))
    for found, shown in ((environment, "python"), (base, environment), (other, environment)):
        monkeypatch.setenv("PATH", str(found.parent))
        assert command_line("infer", "a run") == f"{shown} {TOOLS / 'infer.py'} 'a run'"
