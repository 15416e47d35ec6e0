"""Progress is drawn on a terminal, which stays usable whatever happens, and logged from time to time elsewhere."""

import logging
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from helpers.terminals import run_on_terminal

from ppzoo import progress
from ppzoo.progress import BYTES, Progress, duration_text, track

PRELUDE = """
import logging, os, sys, time
from ppzoo import report, terminal
from ppzoo.progress import BYTES, Progress, set_quiet, track
terminal.MIN_SECONDS = 0
report.log_to_console()
log = logging.getLogger("ppzoo").info
"""


def on_terminal(code, **options):
    return run_on_terminal(["-c", PRELUDE + textwrap.dedent(code)], **options)


@pytest.fixture
def messages(caplog, monkeypatch):
    """The messages of ppzoo's logger."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    caplog.set_level(logging.INFO, "ppzoo")
    logging.getLogger("ppzoo").addHandler(handler)
    yield found
    logging.getLogger("ppzoo").removeHandler(handler)


def test_without_a_terminal_short_work_prints_nothing(capsys, messages):
    assert list(track("abc", 3, "reading")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    assert not messages


def test_without_a_terminal_long_work_is_logged_from_time_to_time(messages, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for _ in track(range(100), 100, "reading\nimages"):
        now[0] += 1.0
    assert messages == [
        "reading\\nimages: 30/100 images, 1:10 left",
        "reading\\nimages: 60/100 images, 0:40 left",
        "reading\\nimages: 90/100 images, 0:10 left",
    ]


def test_quiet_work_is_not_logged(messages, monkeypatch):
    monkeypatch.setattr(progress, "MESSAGE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_is_quiet", True)
    assert list(track(range(3), 3, "reading")) == [0, 1, 2]
    assert not messages


def test_an_unknown_total_and_bytes_are_shown(messages, monkeypatch):
    monkeypatch.setattr(progress, "MESSAGE_SECONDS", 0.0)
    list(track(range(2), None, "reading", unit="file"))
    with Progress(16_000_000, "downloading", unit=BYTES, done=8_000_000) as bar:
        bar.advance(4_000_000)
    assert messages == ["reading: 1 file", "reading: 2 files", "downloading: 12.0/16.0 MB, 0:00 left"]


def test_the_time_left_does_not_count_what_was_done_before(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(100, "downloading", done=80) as bar:
        assert bar.left_text() == ""
        now[0] = 10.0
        bar.advance(10)
        assert bar.left_text() == "0:10 left"


def test_items_that_count_for_several_units(messages, monkeypatch):
    monkeypatch.setattr(progress, "MESSAGE_SECONDS", 0.0)
    list(track(["ab", "cde"], 5, "reading", count=len))
    assert [message.split(",")[0] for message in messages] == ["reading: 2/5 images", "reading: 5/5 images"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3723, "1:02:03")])
def test_durations(seconds, text):
    assert duration_text(seconds) == text


def test_rich_is_imported_only_for_a_terminal():
    code = """
        import sys, ppzoo, ppzoo.cli
        from ppzoo.progress import track
        assert list(track("ab", 2, "reading")) == ["a", "b"]
        print("rich" in sys.modules, "tqdm" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_messages_appear_undamaged_above_the_bar_and_the_bar_is_erased():
    session = on_terminal("""
        for index in track(range(4), 4, "reading [red]images"):
            log(f"[bold]message[/bold] {index} " + "x" * 100)
            print("printed", index)
        log("end")
    """)
    expected = []
    for index in range(4):
        message = f"[bold]message[/bold] {index} " + "x" * 100
        expected += [message[:80], message[80:], f"printed {index}"]
    assert session.lines == [*expected, "end", ""]
    assert "reading [red]images" in session.raw and "4/4 images" in session.raw and "left" in session.raw
    assert session.has_cursor and session.status == 0


def test_control_characters_in_names_do_not_reach_the_terminal():
    session = on_terminal(r"""
        for _ in track(range(2), 2, "reading \x1b[2J\x07猫\n"):
            log("message \x1b]0;title\x07 [link=x]y[/link]")
    """)
    assert "\x07" not in session.raw and "\x1b[2J" not in session.raw
    assert "猫" in session.raw
    assert session.lines[0] == "message \\u001b]0;title\\u0007 [link=x]y[/link]"


def test_nested_work_is_drawn_below_and_both_are_erased():
    session = on_terminal("""
        for _ in track(range(2), 2, "outer"):
            for _ in track(range(2), 2, "inner"):
                pass
        print("end")
    """)
    frames = session.raw.split("inner")[0]
    assert "outer" in frames
    assert session.lines == ["end", ""]


@pytest.mark.parametrize("columns", [10, 20, 40, 80, 200])
def test_the_line_fits_every_width(columns):
    session = on_terminal(
        """
        for _ in track(range(3), 3, "checking the images of the evaluation"):
            pass
        os.write(2, b"$")
    """,
        columns=columns,
    )
    assert session.lines == ["$"]  # a line that wraps would leave lines behind
    assert "checking" in session.raw


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}])
def test_a_terminal_that_cannot_move_the_cursor_shows_no_bar(environment):
    session = on_terminal("print(list(track('ab', 2, 'reading')))", environment=environment)
    assert session.raw == "['a', 'b']\r\n"


def test_no_color_is_respected_and_the_bar_can_still_be_read():
    session = on_terminal("for _ in track(range(2), 2, 'reading'): pass", environment={"NO_COLOR": "1"})
    assert "━" in session.raw and "─" in session.raw
    assert "\x1b[3" not in session.raw and "\x1b[9" not in session.raw


def test_other_encodings_show_ascii():
    session = on_terminal(
        "for _ in track(range(2), 2, 'reading'): pass", environment={"PYTHONIOENCODING": "ascii:backslashreplace"}
    )
    assert "####" in session.raw and session.raw.isascii()


def test_quiet_shows_no_bar():
    session = on_terminal("set_quiet(True); print(list(track('ab', 2, 'reading')))")
    assert session.raw == "['a', 'b']\r\n"


@pytest.mark.parametrize("stdout_is_terminal", [True, False])
def test_results_on_a_terminal_replace_the_bar(stdout_is_terminal):
    session = on_terminal(
        "for item in track('ab', 2, 'predicting', is_printed=True): print(item)", stdout_is_terminal=stdout_is_terminal
    )
    assert ("predicting" in session.raw) is not stdout_is_terminal
    assert (session.raw if stdout_is_terminal else session.stdout).split() == ["a", "b"] or not stdout_is_terminal
    assert session.stdout == ("" if stdout_is_terminal else "a\nb\n")


def test_an_error_leaves_the_terminal_usable():
    session = on_terminal("""
        with Progress(3, "reading"):
            raise ValueError("broken")
    """)
    assert session.lines[0] == "Traceback (most recent call last):"
    assert session.lines[-2:] == ["ValueError: broken", ""]
    assert session.has_cursor and session.status == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_the_terminal_usable(number):
    session = on_terminal(
        """
        with Progress(3, "reading") as bar:
            bar.advance()
            time.sleep(60)
    """,
        at=lambda raw: number if "1/3" in raw else None,
    )
    assert session.status == -number
    assert session.has_cursor


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_does_not_draw():
    session = on_terminal("""
        with Progress(3, "reading") as bar:
            child = os.fork()
            if not child:
                bar.advance(2)
                os._exit(0)
            os.waitpid(child, 0)
    """)
    assert "0/3" in session.raw and "2/3" not in session.raw


@pytest.mark.parametrize("close", ["os.close(2)", "sys.stderr.close()", "sys.stderr = None"])
def test_work_continues_without_standard_error(close):
    session = on_terminal(
        f"""
        done = []
        for item in track(range(4), 4, "reading"):
            if item == 1:
                {close}
            done.append(item)
        print(done)
        os._exit(0)  # Python itself reports at exit that the stream is closed
    """.replace("print(done)", "print(done, flush=True)"),
        stdout_is_terminal=False,
    )
    assert session.stdout == "[0, 1, 2, 3]\n"
    assert session.status == 0
