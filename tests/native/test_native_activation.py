"""When native operators are used, where they are kept, and what is said."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from ppzoo import native
from ppzoo.errors import ConfigError, DeviceError
from ppzoo.native import compilation, process
from ppzoo.native.process import missing_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv(native.VARIABLE, raising=False)
    yield
    monkeypatch.delenv(native.VARIABLE, raising=False)
    native.activate("off")


def test_the_environment_goes_before_the_configuration(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "off")
    assert not native.activate("on")
    assert not native.active()


def test_another_mode_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"Global\.native: expected auto, on or off, got 'yes'"):
        native.activate("yes")
    monkeypatch.setenv(native.VARIABLE, "1")
    with pytest.raises(ConfigError, match="PPZOO_NATIVE: expected auto, on or off, got '1'"):
        native.activate("off")


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(native, "_loaded", False)
    monkeypatch.setattr(native, "_refusal", None)


def test_without_a_compiler_auto_says_so_in_one_line_and_on_is_an_error(nothing_loaded, monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.INFO, logger="ppzoo"):
        assert not native.activate("auto")
    assert [record.getMessage() for record in caplog.records] == [
        "native CPU operators are not used: no C++ compiler (no-such-compiler is not on PATH; install g++ or set CXX)"
    ]
    with pytest.raises(DeviceError, match="no-such-compiler"):
        native.activate("on")


def test_an_unknown_onednn_is_refused(nothing_loaded, monkeypatch):
    monkeypatch.setattr(compilation, "KNOWN_ONEDNN", 9)
    with pytest.raises(DeviceError, match=r"oneDNN is 3\.\d+\.\d+; version 9 is known"):
        native.activate("on")


def test_the_key_changes_with_the_sources_and_the_processor(monkeypatch, tmp_path):
    compiler = compilation._compiler()
    key = compilation._key(compiler)
    assert compilation._key(compiler) == key
    monkeypatch.setattr(compilation, "instruction_sets", lambda: "flags: avx2")
    assert compilation._key(compiler) != key
    monkeypatch.undo()
    (tmp_path / "kernels.cc").write_text("int nothing;")
    monkeypatch.setattr(compilation, "SOURCES", tmp_path)
    assert compilation._key(compiler) != key


def test_the_process_gets_what_the_user_did_not_set():
    found = missing_settings({"OMP_NUM_THREADS": "3", "MALLOC_TOP_PAD_": "1"})
    assert found["MKL_NUM_THREADS"] == found["FLAGS_paddle_num_threads"] == "3"
    assert not {"OMP_NUM_THREADS", "MALLOC_TOP_PAD_"} & set(found)
    assert missing_settings({**found, "OMP_NUM_THREADS": "3", "MALLOC_TOP_PAD_": "1"}) == {}


@pytest.mark.parametrize(
    ("threads", "expected"), [({"OMP_NUM_THREADS": "1"}, "3"), ({}, "3"), ({"OMP_NUM_THREADS": "2"}, "2")]
)
def test_the_launchers_processes_share_the_cores_of_their_machine(monkeypatch, threads, expected):
    monkeypatch.setattr(process, "usable_cores", lambda: 7)
    launched = {
        "PADDLE_TRAINER_ID": "1",
        "PADDLE_CURRENT_ENDPOINT": "10.0.0.1:71",
        "PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:70,10.0.0.1:71,10.0.0.2:70",
        **threads,
    }
    found = missing_settings(launched)
    assert {**launched, **found}["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == expected
    assert missing_settings({**launched, **found, process.SET: "set"}) == {}


def test_a_program_starts_itself_anew_once():
    code = (
        "import sys; from ppzoo.native.process import chosen_settings, prepare; prepare();"
        " print(sys.argv[1:], sys.flags.utf8_mode, chosen_settings().split()[0])"
    )
    bare = {
        key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "OMP_", "MKL_", "FLAGS_"))
    }
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, "a b"], env=bare, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("['a b'] 1 OMP_NUM_THREADS=")
    assert done.stderr == ""
