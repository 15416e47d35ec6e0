"""Locks exclude other processes, end with their process, and do not change files that are not locks."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ppzoo import locks
from ppzoo.locks import hold

HOLD = """
import sys
from ppzoo.locks import hold
lock = hold(sys.argv[1], blocking=False)
print("held", flush=True)
sys.stdin.read()
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(params=["posix", "portable"])
def path(request, tmp_path, monkeypatch):
    """A lock file's path, for each implementation."""
    if request.param == "portable":
        pytest.importorskip("filelock")
        monkeypatch.setattr(locks, "fcntl", None)
    elif locks.fcntl is None:
        pytest.skip("needs fcntl")
    return tmp_path / ".lock"


def test_a_held_lock_excludes_threads_until_it_is_released(path):
    lock = hold(path, blocking=False)
    with pytest.raises(BlockingIOError):
        hold(path, blocking=False)
    waiter = threading.Thread(target=lambda: hold(path, blocking=True).release())
    waiter.start()
    time.sleep(0.1)
    assert waiter.is_alive()
    lock.release()
    waiter.join(10)
    assert not waiter.is_alive()


def test_release_can_remove_the_file_and_is_harmless_when_repeated(path):
    lock = hold(path, blocking=False)
    assert lock.is_at(path)
    lock.release(remove=True)
    assert not path.exists()
    hold(path, blocking=False).release()
    lock.release(remove=True)
    hold(path, blocking=False, create=False).release()


def test_no_lock_file_is_created_if_that_is_not_requested(path):
    with pytest.raises(FileNotFoundError):
        hold(path, blocking=False, create=False)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_links_are_not_followed_and_files_with_content_stay(path, tmp_path, kind):
    valuable = tmp_path / "valuable"
    valuable.write_text("text")
    if kind == "link":
        path.symlink_to(valuable)
    else:
        path.write_text("text")
    with pytest.raises(OSError, match="remove it"):
        hold(path, blocking=False)
    assert valuable.read_text() == path.read_text() == "text"


def test_a_lock_ends_with_its_process(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            hold(path, blocking=False)
        process.kill()
    hold(path, blocking=False).release()


@needs_fork
def test_a_forked_child_neither_inherits_nor_releases_a_lock(tmp_path):
    path = tmp_path / ".lock"
    lock = hold(path, blocking=False)
    child = os.fork()
    if child == 0:
        lock.release(remove=True)
        signal.pause()
    try:
        time.sleep(0.2)
        with pytest.raises(BlockingIOError):
            hold(path, blocking=False)
        lock.release()
        hold(path, blocking=False).release()  # the child still runs
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.skipif(locks.fcntl is None, reason="needs fcntl")
def test_a_waiter_does_not_get_the_lock_of_a_removed_file(tmp_path):
    path, held = tmp_path / ".lock", []
    lock = hold(path, blocking=False)
    waiter = threading.Thread(target=lambda: held.append(hold(path, blocking=True)))
    waiter.start()
    time.sleep(0.1)
    lock.release(remove=True)
    waiter.join(10)
    assert held[0].is_at(path)
    held[0].release()
