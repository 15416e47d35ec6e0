"""The command `ppzoo serve`: SIGTERM completes accepted requests, and mistakes are reported in one line."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.services import encode, export_small

import ppzoo
from ppzoo.cli import main

pytest.importorskip("fastapi", reason="needs ppzoo[serve]")
ROOT = Path(__file__).parents[2]


def start(*arguments):
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", "from ppzoo.cli import console; console()", "serve", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_sigterm_completes_waiting_requests(exported):
    # A batch of one image after a wait of up to a second: at the signal, requests wait in the queue.
    process = start(str(exported), "--port", "0", "--engine", "paddle", "--batch-size", "16", "--max-wait", "1000")
    try:
        line = process.stdout.readline()
        assert line.startswith("serving small at http://127.0.0.1:")
        url = line.split(" at ")[1].split("/ ")[0]

        def predict(seed):
            return ppzoo.Client(url, model="small").predict(encode(seed), topk=1)

        with ThreadPoolExecutor(8) as threads:
            replies = [threads.submit(predict, seed) for seed in range(8)]
            end = time.monotonic() + 30
            with ppzoo.Client(url) as client:
                while 'ppzoo_queue_images{model="small"} 8.0' not in metrics(client) and time.monotonic() < end:
                    time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert all(len(reply.result()) == 1 for reply in replies)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def test_reloads_and_their_failures_are_logged(tmp_path):
    folder = export_small(tmp_path / "small")
    process = start(f"shoes={folder}", "--port", "0", "--engine", "paddle")
    try:
        process.stdout.readline()
        settings = (folder / "inference.yml").read_text()
        for content, expected in (("broken: [", "model shoes: keeping the previous export: "), (settings, "reloaded ")):
            (folder / "inference.yml").write_text(content)
            line = process.stderr.readline()
            assert expected in line and str(folder) in line
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()


def metrics(client):
    client._connection.request("GET", "/metrics")
    return client._connection.getresponse().read().decode()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["missing"],
            "error: EXPORT: expected the folder of an export, got a path that does not exist: 'missing'; `ppzoo export`"
            " writes an export",
        ),
        ([".", "."], "error: EXPORT: expected different names"),
        (["a:b=."], "error: EXPORT: expected a name without slash and colon, got 'a:b'"),
        (
            ["a\nb=."],
            r"error: EXPORT: expected a name in UTF-8 without control characters, got 'a\nb'; use NAME=FOLDER",
        ),
        (["\udcff=."], r"error: EXPORT: expected a name in UTF-8 without control characters, got '\udcff'"),
        (["é=.", "é=."], "error: EXPORT: expected different names, got 'é' twice"),
        (["."], "error: "),
        ([".", "--port", "70000"], "error: --port: expected 0 to 65535, got 70000"),
        ([".", "--host", "no.such.host.invalid"], "error: --host: expected an address of this machine"),
        ([".", "--batch-size", "0"], "error: --batch-size: expected 1 to 65536, got 0"),
        ([".", "--queue", "0"], "error: --queue: expected a number above 0 and at most 1000000, got 0"),
        ([".", "--timeout", "nan"], "error: --timeout: expected"),
        ([".", "--timeout", "inf"], "error: --timeout: expected a number above 0 and at most 1000000, got inf"),
        ([".", "--max-pixels", "1e9"], "error: --max-pixels: expected a number above 0 and at most 178, got 1e+09"),
        ([".", "--max-upload", "nan"], "error: --max-upload: expected a number above 0 and at most 1000000, got nan"),
        ([".", "--max-pixels", "1e5"], "error: --max-pixels: expected a number above 0 and at most 178, got 100000"),
        ([".", "--token-file", "missing"], "error: --token-file: cannot read missing: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, problem):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", *arguments, *([] if "--port" in arguments else ["--port", "0"])]) == 2
    error = capsys.readouterr().err
    assert error.startswith(problem) and len(error.splitlines()) == 1


@pytest.mark.parametrize("token", ["", "short", "with space", "grün-grün", "two\nlines-of-it"])
def test_unsuitable_tokens(tmp_path, capsys, token):
    (tmp_path / "token").write_text(token, encoding="utf-8")
    assert main(["serve", str(tmp_path), "--token-file", str(tmp_path / "token")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --token-file: expected a token of at least 8") and (not token or token not in error)


def test_a_used_port(exported, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert main(["serve", str(exported), "--port", str(port)]) == 2
    assert f"--port: expected a free port, got {port}" in capsys.readouterr().err


def test_names_of_exports(tmp_path):
    from ppzoo.serve.models import name_exports

    for name in ("a", "b=c"):
        (tmp_path / name).mkdir()
    found = name_exports([str(tmp_path / "a"), f"x={tmp_path / 'a'}", str(tmp_path / "b=c")])
    assert list(found) == ["a", "x", "b=c"]


def test_several_models(tmp_path):
    from helpers.services import run_service

    exports = {"a b": export_small(tmp_path / "a"), "猫": export_small(tmp_path / "b", seed=1)}
    with run_service(exports) as service:
        with pytest.raises(ppzoo.errors.ConfigError, match="the service has several"):
            ppzoo.Client(service.url).predict(encode())
        first, second = (ppzoo.Client(service.url, model=name).predict(encode()) for name in exports)
        assert first != second
        assert threading.active_count() >= 3
