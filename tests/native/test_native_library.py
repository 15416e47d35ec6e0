"""A compiled library is opened only if it is complete and other users cannot have written it; else it is rebuilt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest

from ppzoo.compiled_library import digest_path, find_trust_problem, is_intact, publish
from ppzoo.files import make_folder
from ppzoo.native import compilation

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def library(tmp_path):
    """A published file at the path of a library."""
    folder = tmp_path / "home" / "native" / "key"
    make_folder(folder)
    built = folder / "built"
    built.write_bytes(bytes(range(256)) * 64)
    publish(built, folder / compilation.LIBRARY)
    return folder / compilation.LIBRARY


def test_published_library_is_intact_and_trusted(library):
    assert is_intact(library) and find_trust_problem(library) is None
    assert sorted(path.name for path in library.parent.iterdir()) == [library.name, f"{library.name}.sha256"]
    subprocess.run(["sha256sum", "-c", digest_path(library).name], cwd=library.parent, check=True, capture_output=True)


@pytest.mark.parametrize("damage", ["cut off", "zeros at its end", "a flipped bit", "empty", "no digest", "no library"])
def test_damaged_library_is_detected(library, damage):
    content = library.read_bytes()
    if damage == "no digest":
        digest_path(library).unlink()
    elif damage == "no library":
        library.unlink()
    else:
        half = len(content) // 2
        damaged = {
            "cut off": content[:half],
            "zeros at its end": content[:half] + bytes(half),
            "a flipped bit": bytes([content[0] ^ 1]) + content[1:],
            "empty": b"",
        }
        library.write_bytes(damaged[damage])
    assert not is_intact(library)


@pytest.mark.parametrize("path", [lambda library: library, digest_path])
def test_a_pipe_instead_of_a_library_or_its_digest_is_detected_without_waiting(library, path):
    path(library).unlink()
    os.mkfifo(path(library))
    assert not is_intact(library)


@pytest.mark.parametrize("content", [b"", b"\0" * 80, b"\xff", b"0" * 64])
def test_damaged_digest_is_detected(library, content):
    digest_path(library).write_bytes(content)
    assert not is_intact(library)


def trusted_paths(library: Path) -> dict[str, Path]:
    return {
        "library": library,
        "digest": digest_path(library),
        "key": library.parent,
        "native": library.parent.parent,
        "home": library.parent.parent.parent,
    }


@pytest.mark.parametrize("name", ["library", "digest", "key", "native", "home"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_path_writable_by_others_is_rejected(library, name, mode):
    path = trusted_paths(library)[name]
    path.chmod(path.stat().st_mode | mode)
    assert find_trust_problem(library) == (
        f"{path}: expected a file or folder that only you can write, got mode {path.stat().st_mode & 0o7777:o};"
        f" run `chmod go-w {quote(str(path))}`, or set PPZOO_HOME to another folder"
    )


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
@pytest.mark.parametrize("name", ["library", "digest", "key", "native", "home"])
def test_path_of_another_user_is_rejected(library, name):
    path = trusted_paths(library)[name]
    os.chown(path, 54321, -1)
    assert find_trust_problem(library) == (
        f"{path}: expected a file or folder owned by you or root, got one owned by user 54321; set PPZOO_HOME"
        " to a folder that only you can write"
    )


def test_sticky_folders_and_links_to_trusted_folders_are_trusted(library, tmp_path):
    (tmp_path / "home").chmod(0o1777)
    os.symlink(library.parent.parent, tmp_path / "link")
    assert find_trust_problem(tmp_path / "link" / "key" / library.name) is None


def test_targets_of_links_are_checked(library, tmp_path):
    (tmp_path / "open").mkdir()
    os.symlink("../home/native", tmp_path / "open" / "native")
    os.symlink("open/native", tmp_path / "link")
    (tmp_path / "open").chmod(0o777)
    assert str(find_trust_problem(tmp_path / "link" / "key" / library.name)).startswith(f"{tmp_path}/open: ")


def test_loop_of_links_terminates(tmp_path):
    os.symlink("b", tmp_path / "a")
    os.symlink("a", tmp_path / "b")
    find_trust_problem(tmp_path / "a" / compilation.LIBRARY)


def test_created_folders_ignore_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755] * 2
    make_folder(tmp_path / "a" / "b")


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Install a compiler that runs a shell script."""

    def install(script: str) -> Path:
        compiler = tmp_path / "stub-g++"
        compiler.write_text(f"#!/bin/sh\ncase $1 in --version) echo stub; exit 0;; esac\n{script}\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
        return tmp_path / "home"

    return install


EMPTY_OUTPUTS = 'while [ $# -gt 0 ]; do [ "$1" = -o ] && : > "$2"; shift; done'


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "stub-g\\+\\+ was killed by signal 9"),
        ("echo 'x.cc: fatal error: No space left on device' >&2; exit 1", "No space left on device"),
        ("exit 3", "stub-g\\+\\+ failed: \\?"),
        (EMPTY_OUTPUTS, "expected a library that loads, got one that does not"),
    ],
)
def test_failed_build_reports_the_reason_and_removes_its_files(stub, script, message):
    home = stub(script)
    (home / "native").mkdir(parents=True)
    with pytest.raises(compilation.NativeUnavailableError, match=message):
        compilation.load()
    assert not list(home.glob("native/*/.build-*"))


def test_full_disk_is_reported(stub, monkeypatch):
    stub("exit 0")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compilation.tempfile, "TemporaryDirectory", full)
    with pytest.raises(compilation.NativeUnavailableError, match=r"cannot build in .*: No space left on device"):
        compilation.load()


def test_dangling_link_or_file_in_place_of_the_folder_is_reported(stub):
    home = stub("exit 0")
    home.mkdir()
    os.symlink("nowhere", home / "native")
    with pytest.raises(compilation.NativeUnavailableError, match="expected a writable folder"):
        compilation.load()
    (home / "native").unlink()
    (home / "native").write_text("")
    with pytest.raises(compilation.NativeUnavailableError, match="expected a writable folder"):
        compilation.load()


PROGRAM = """
import logging, paddle
logging.basicConfig(level=logging.INFO, format="%(message)s")
from ppzoo import native
native.set_mode("on")
from ppzoo.native import operators
print("sum", float(operators.activate(paddle.ones([1, 2, 3, 4]), "relu").sum()))
"""


def start(home: Path, *command: str) -> subprocess.Popen:
    environment = {**os.environ, "PPZOO_HOME": str(home)}
    arguments = [*command, sys.executable, "-c", PROGRAM]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_processes_share_one_build_and_a_damaged_library_is_rebuilt_once(tmp_path):
    outputs = [process.communicate(timeout=500)[0] for process in [start(tmp_path), start(tmp_path), start(tmp_path)]]
    assert all("sum 24.0" in output for output in outputs)
    assert sum("compiling native CPU operators" in output for output in outputs) == 1

    (library,) = tmp_path.glob(f"native/*/{compilation.LIBRARY}")
    size = library.stat().st_size
    with open(library, "r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    output = start(tmp_path).communicate(timeout=500)[0]
    assert "compiling native CPU operators" in output and "sum 24.0" in output
    names = ["lock", compilation.LIBRARY, f"{compilation.LIBRARY}.sha256"]
    assert sorted(path.name for path in library.parent.iterdir()) == names

    (library.parent / "lock").unlink()
    library.parent.chmod(0o555)
    output = start(tmp_path).communicate(timeout=500)[0]
    library.parent.chmod(0o755)
    assert "compiling native CPU operators" not in output and "sum 24.0" in output
    assert not (library.parent / "lock").exists()
