"""Help texts, and the parts of the command line that depend on the system."""

import argparse
import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppzoo import cli
from ppzoo.cli import next_steps, streams

ROOT = Path(__file__).parents[2]


def commands(parser, words=()):
    """All commands of a parser, as tuples of words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield (*words, name), command
                yield from commands(command, (*words, name))


COMMANDS = dict(commands(cli.build_parser()))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_argument_has_a_help_text(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    command = COMMANDS[words]
    assert command.description and command.description[0].isupper() and command.description.endswith(".")
    assert all(action.help for action in command._actions if action.metavar != "ACTION")
    assert f"usage: ppzoo {' '.join(words)}" in printed


def test_the_commands():
    expected = "train eval infer export check configs data models convert weights doctor"
    assert {words[0] for words in COMMANDS if len(words) == 1} >= set(expected.split())


def test_streams_need_no_posix_signal(monkeypatch):
    monkeypatch.delattr(signal, "SIGPIPE")
    try:
        assert importlib.reload(streams).SIGPIPE == 13
    finally:
        monkeypatch.undo()
        importlib.reload(streams)


def test_next_steps_use_the_tools_only_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "tools" / "train.py")])
    assert next_steps.command_line("export", "output").endswith(f" {ROOT}/tools/export_model.py output")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py")])
    assert next_steps.command_line("export", "out put") == "ppzoo export 'out put'"


@pytest.mark.parametrize("name", ["train", "eval", "infer", "export_model"])
def test_the_tools_are_the_commands(name):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{name}.py"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: ppzoo {name.removesuffix('_model')}")


def test_warnings_are_printed_after_paddle_is_imported():
    code = "import logging; from ppzoo.cli.paddle import import_paddle; import_paddle()"
    code += "; logging.getLogger('ppzoo').warning('a warning')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "a warning" in done.stderr
