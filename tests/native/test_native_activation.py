"""When native operators are used, what is logged, the cache key, and the environment settings."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys

import paddle
import pytest

from ppzoo import native
from ppzoo.errors import ConfigError, DeviceError
from ppzoo.host import compiler_name
from ppzoo.native import compilation, env_settings
from ppzoo.native.env_settings import find_missing_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    yield
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    native.set_mode("off")


def test_environment_variable_overrides_the_configuration(monkeypatch):
    monkeypatch.setenv(native.MODE_VARIABLE, "off")
    assert not native.set_mode("on")
    assert not native.is_enabled()


def test_unknown_mode_is_an_error(monkeypatch):
    with pytest.raises(ConfigError, match=r"Global\.native: expected auto, on or off, got 'yes'"):
        native.set_mode("yes")
    monkeypatch.setenv(native.MODE_VARIABLE, "1")
    with pytest.raises(ConfigError, match="PPZOO_NATIVE: expected auto, on or off, got '1'"):
        native.set_mode("off")


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(native, "_loaded", False)
    monkeypatch.setattr(native, "_unavailable_reason", None)


def test_without_a_compiler_auto_logs_one_line_and_on_is_an_error(nothing_loaded, monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.INFO, logger="ppzoo"):
        assert not native.set_mode("auto")
    assert [record.getMessage() for record in caplog.records] == [
        "using PaddlePaddle's CPU operators: native operators are not available: no C++ compiler"
        " (no-such-compiler is not on PATH; install g++ or set CXX)"
    ]
    with pytest.raises(DeviceError, match="no-such-compiler"):
        native.set_mode("on")


PLATFORMS = {
    "win32": ({"sys.platform": "win32"}, "expected Linux, got win32"),
    "darwin": ({"sys.platform": "darwin"}, "expected Linux, got darwin"),
    "aarch64": ({"platform.machine": lambda: "aarch64"}, "expected an x86-64 processor, got aarch64"),
    "old x86-64": (
        {"instruction_sets": lambda: "flags : fpu sse sse2 avx"},
        "expected a processor with AVX2 and FMA, got one without avx2 and fma",
    ),
}


@pytest.mark.parametrize("name", PLATFORMS)
def test_other_platforms_use_paddlepaddles_operators_and_compile_nothing(name, nothing_loaded, monkeypatch, caplog):
    changes, reason = PLATFORMS[name]
    for attribute, value in changes.items():
        monkeypatch.setattr(f"ppzoo.native.compilation.{attribute}", value)

    def fail(*args, **kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr(compilation.subprocess, "run", fail)
    with caplog.at_level(logging.INFO, logger="ppzoo"):
        assert not native.set_mode("auto") and not native.is_enabled()
    assert [record.getMessage() for record in caplog.records] == [
        f"using PaddlePaddle's CPU operators: native operators are not available: {reason}"
    ]
    assert not native.supports(paddle.ones([1, 1, 2, 2]))
    message = f"Global.native: native CPU operators are not available: {reason}; set it to auto or off"
    with pytest.raises(DeviceError, match=f"^{re.escape(message)}$"):
        native.set_mode("on")


def test_native_modules_import_without_fcntl():
    code = (
        "import sys; sys.modules['fcntl'] = None;"
        " from ppzoo import compiled_library; from ppzoo.native import compilation, env_settings, momentum, operators"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_unsupported_onednn_is_an_error(nothing_loaded, monkeypatch):
    monkeypatch.setattr(compilation, "ONEDNN_MAJOR_VERSION", 9)
    with pytest.raises(DeviceError, match=r"expected oneDNN 9 in PaddlePaddle, got 3\.\d+\.\d+"):
        native.set_mode("on")


def test_key_depends_on_the_sources_and_the_processor(monkeypatch, tmp_path):
    compiler = compilation.find_compiler()
    key = compilation.library_key(compiler)
    assert compilation.library_key(compiler) == key
    monkeypatch.setattr(compilation, "instruction_sets", lambda: "flags: avx2")
    assert compilation.library_key(compiler) != key
    monkeypatch.undo()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "gemm.cc").write_text("int unused;")
    monkeypatch.setattr(compilation, "SOURCES", tmp_path)
    assert compilation.library_key(compiler) != key


def test_settings_of_the_user_are_kept():
    found = find_missing_settings({"OMP_NUM_THREADS": "3", "MALLOC_TOP_PAD_": "1"})
    assert found["MKL_NUM_THREADS"] == found["FLAGS_paddle_num_threads"] == "3"
    assert not {"OMP_NUM_THREADS", "MALLOC_TOP_PAD_"} & set(found)
    assert find_missing_settings({**found, "OMP_NUM_THREADS": "3", "MALLOC_TOP_PAD_": "1"}) == {}


@pytest.mark.parametrize(
    ("threads", "expected"), [({"OMP_NUM_THREADS": "1"}, "3"), ({}, "3"), ({"OMP_NUM_THREADS": "2"}, "2")]
)
def test_processes_of_the_launcher_share_the_cores_of_their_machine(monkeypatch, threads, expected):
    monkeypatch.setattr(env_settings, "usable_cores", lambda: 7)
    launched = {
        "PADDLE_TRAINER_ID": "1",
        "PADDLE_CURRENT_ENDPOINT": "10.0.0.1:71",
        "PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:70,10.0.0.1:71,10.0.0.2:70",
        **threads,
    }
    found = find_missing_settings(launched)
    assert {**launched, **found}["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == expected
    assert find_missing_settings({**launched, **found, env_settings.APPLIED_VARIABLE: "set"}) == {}


def test_program_restarts_itself_once():
    code = (
        "import sys; from ppzoo.native.env_settings import read_applied_settings, restart_with_settings;"
        " restart_with_settings();"
        " print(sys.argv[1:], sys.flags.utf8_mode, read_applied_settings().split()[0])"
    )
    bare = {
        key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "OMP_", "MKL_", "FLAGS_"))
    }
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, "a b"], env=bare, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("['a b'] 1 OMP_NUM_THREADS=")
    assert done.stderr == ""


def test_an_empty_variable_of_the_compiler_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("CXX", "")
    assert compiler_name() == "g++"
    monkeypatch.setenv("CXX", "clang++")
    assert compiler_name() == "clang++"
