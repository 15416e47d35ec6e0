"""Downloads are complete or fail, whatever servers and networks do."""

import contextlib
import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import paddle
import pytest
from helpers.terminals import run_on_terminal

from ppzoo.errors import WeightsError
from ppzoo.models import MODELS
from ppzoo.weights import download as module
from ppzoo.weights import fetch, load_weights, save_pdparams

BODY = np.random.RandomState(0).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves `body`; the first path element selects the behavior. Records the range of every request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.ranges, self.failures = BODY, '"one"', [], 0

    def handle_error(self, request, client_address):
        """Ignore clients that close the connection."""

    def url(self, behavior, name="net.pdparams"):
        return f"http://127.0.0.1:{self.server_port}/{behavior}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        behavior = self.path.split("/")[1]
        getattr(self, f"serve_{behavior}")()

    def send(self, body, *, length=None, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_ranged(self, limit=None, etag=True):
        """Send the requested range of the body, truncated after `limit` bytes."""
        body, tag = self.server.body, self.server.etag
        headers = {"ETag": tag} if etag else {}
        valid = self.headers.get("If-Range") in (None, tag)
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] and valid else 0
        status = 206 if start else 200
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send(body[start:][:limit], length=len(body) - start, status=status, **headers)
        self.close_connection = True

    def serve_complete(self):
        self.send_ranged()

    def serve_dropping(self):
        self.send_ranged(limit=100_000)

    def serve_untagged(self):
        self.send_ranged(limit=100_000, etag=False)

    def serve_rangeless(self):
        self.server.failures += 1
        self.send(self.server.body[: 100_000 if self.server.failures < 3 else None], length=len(self.server.body))
        self.close_connection = True

    def serve_changing(self):
        self.send_ranged(limit=100_000)
        self.server.body, self.server.etag = BODY[::-1], '"two"'

    def serve_short(self):
        self.send(b"", length=1000)
        self.close_connection = True

    def serve_busy(self):
        self.server.failures += 1
        if self.server.failures < 3:
            self.send(b"later", status=503)
        else:
            self.send_ranged()

    def serve_missing(self):
        self.send(b"nothing here", status=404)

    def serve_page(self):
        self.send(b"<!DOCTYPE html><html>log in</html>", Content_Type="text/html; charset=utf-8")

    def serve_hidden_page(self):
        self.send(b"\n <html>log in</html>", Content_Type="application/octet-stream")

    def serve_moved(self):
        self.send(b"", status=302, Location=self.path.replace("moved", "complete"))

    def serve_astray(self):
        self.send(b"", status=302, Location="file:///etc/passwd")

    def serve_ftp(self):
        self.send(b"", status=302, Location="ftp://127.0.0.1:1/x")

    def serve_endless(self):
        self.send(b"", status=302, Location=self.path)

    def serve_slow(self):
        time.sleep(0.5)
        self.send_ranged()

    def serve_empty(self):
        self.send(b"")


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No retry delays, and no environment variables."""
    monkeypatch.setattr(module, "RETRY_DELAYS", (0, 0, 0))
    for name in ("PPZOO_HOME", "PPZOO_MIRROR", "PPZOO_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def files(folder):
    """Return the names of all files in the cache except lock files."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.mark.parametrize("behavior", ["complete", "dropping", "untagged", "rangeless", "busy", "moved", "slow"])
def test_file_is_downloaded_completely(server, tmp_path, behavior):
    path = fetch(server.url(behavior), tmp_path)
    assert path.read_bytes() == BODY
    assert files(tmp_path) == ["net.pdparams", "net.pdparams.sha256"]
    assert path.with_name("net.pdparams.sha256").read_text().split()[0] == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("behavior", ["dropping", "untagged"])
def test_interrupted_download_resumes(server, tmp_path, behavior):
    fetch(server.url(behavior), tmp_path)
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_download_of_an_earlier_process_resumes(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RETRY_DELAYS", ())
    with pytest.raises(WeightsError, match=r"received 100000 of 300000 bytes$"):
        fetch(server.url("dropping"), tmp_path)
    assert files(tmp_path) == ["net.pdparams.part", "net.pdparams.part.json"]
    monkeypatch.setattr(module, "RETRY_DELAYS", (0, 0))
    assert fetch(server.url("dropping"), tmp_path).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_two_versions_of_a_file_are_not_mixed(server, tmp_path):
    assert fetch(server.url("changing"), tmp_path).read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    ("behavior", "message", "requests"),
    [
        ("missing", "HTTP status 404 Not Found", 1),
        ("page", "the server returned a web page", 1),
        ("hidden_page", "the server returned a web page", 1),
        ("astray", "cannot fetch .*302", 1),
        ("ftp", "cannot fetch .*302", 1),
        ("endless", "cannot fetch .*302", 5),
        ("short", r"received 0 of 1000 bytes \(4 attempts failed\)", 4),
        ("empty", "received an empty file", 4),
    ],
)
def test_failed_download_is_a_one_line_error_and_leaves_no_file(server, tmp_path, behavior, message, requests):
    with pytest.raises(WeightsError, match=message) as caught:
        fetch(server.url(behavior), tmp_path)
    assert "\n" not in str(caught.value) and server.url(behavior) in str(caught.value)
    assert "net.pdparams" not in files(tmp_path)
    assert len(server.ranges) == requests


def test_more_attempts_than_delays(server, tmp_path):
    with pytest.raises(WeightsError, match=r"\(7 attempts failed\)"):
        fetch(server.url("empty"), tmp_path, attempts=7)


def test_unreachable_server_is_a_one_line_error(server, tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as unused:
        port = unused.server_port
    with pytest.raises(WeightsError, match=r"refused \(4 attempts failed\)"):
        fetch(f"http://127.0.0.1:{port}/net.pdparams", tmp_path)


def test_silent_server_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    with pytest.raises(WeightsError, match=r"timed out \(4 attempts failed\)"):
        fetch(server.url("slow"), tmp_path)


def test_cached_file_is_not_downloaded_again(server, tmp_path, monkeypatch):
    fetch(server.url("complete"), tmp_path)
    monkeypatch.setenv("PPZOO_OFFLINE", "1")
    assert fetch(server.url("complete"), tmp_path).read_bytes() == BODY
    assert len(server.ranges) == 1


def test_offline_mode_does_not_use_the_network(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_OFFLINE", "1")
    with pytest.raises(WeightsError, match="PPZOO_OFFLINE is set"):
        fetch(server.url("complete"), tmp_path)
    assert server.ranges == [] and files(tmp_path) == []


def test_changed_file_in_the_cache_is_refused(server, tmp_path):
    path = fetch(server.url("complete"), tmp_path)
    path.write_bytes(BODY[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"expected the recorded SHA-256 .* remove the file"):
        fetch(server.url("complete"), tmp_path)


def test_file_with_a_wrong_digest_is_not_kept(server, tmp_path):
    with pytest.raises(WeightsError, match=r"expected the published SHA-256 .* the downloaded file was removed"):
        fetch(server.url("complete"), tmp_path, sha256="0" * 64)
    assert files(tmp_path) == []
    digest = hashlib.sha256(BODY).hexdigest().upper()
    assert fetch(server.url("complete"), tmp_path, sha256=digest).read_bytes() == BODY


def test_mirror_repaths_the_host(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_MIRROR", f"http://127.0.0.1:{server.server_port}/")
    path = fetch("https://weights.example/complete/net.pdparams", tmp_path)
    assert path == tmp_path / "weights.example" / "complete" / "net.pdparams"
    assert path.read_bytes() == BODY


def test_files_with_the_same_name_have_different_paths(server, tmp_path):
    paths = {
        fetch(server.url("complete", name), tmp_path) for name in ("a/x.pdparams", "b/x.pdparams", "b/x.pdparams?v=2")
    }
    assert len(paths) == 3


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "file:///etc/passwd",
        "http://",
        "http://host/",
        "http://host/../x",
        "http://host/%2e%2e/x",
        "http://host/a/..%2f..%2fx",
        "http://host/a%5c..%5cx",
        "http://host/x%00",
        "http://../x",
        "http://./x",
        "http://.../x",
        "http://..:80/x",
        "http://@../x",
        "http://user:password@host/x",
        f"http://{'h' * 64}/x",
        "http://host..example/x",
        "http://-/x",
        "http://h%2e%2e/x",
        "http://host\\..\\x/y",
        "http://höst/x",
        "http://host:port/x",
        "http://host:99999/x",
        "http://[::1/x",
        "http://host/a b",
        "http://host/a\x1b[2Jb",
    ],
)
def test_invalid_url_is_refused(tmp_path, url):
    with pytest.raises(WeightsError, match="expected http") as caught:
        fetch(url, tmp_path / "cache")
    assert "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


URLS = [
    "https://host/a/x.pdparams",
    "http://host/a/x.pdparams",
    "https://host:8080/a/x.pdparams",
    "https://other/a/x.pdparams",
    "https://host/a//x.pdparams",
    "https://host/a/x.pdparams/",
    "https://host/a/x%2Epdparams",
    "https://host/a/x.pdparams?v=1",
    "https://host/a/x.pdparams?v=2",
    "https://host/a/x.pdparams.sha256",
    "https://host/a/x.pdparams.part",
    "https://host/a/x.pdparams.part.json",
    "https://host/a/x.pdparams.lock",
    "https://host/a.sha256/x.pdparams",
    "https://host/a/.hidden",
    "https://host/a/%C3%BC",
    "https://host/a/ü/x.pdparams",
    f"https://host/a/{'x' * 300}",
    f"https://host/a/{'x' * 300}y",
    "https://[::1]/a/x.pdparams",
]


def test_cache_paths_are_distinct_and_inside_the_cache(tmp_path):
    paths = [module._cache_path(url, tmp_path) for url in URLS]
    assert len(set(paths)) == len(URLS)
    reserved = {path.with_name(path.name + suffix) for path in paths for suffix in module.RESERVED_SUFFIXES}
    assert not reserved & set(paths)
    for path in paths:
        assert path.is_relative_to(tmp_path) and len(path.relative_to(tmp_path).parts) >= 2
        assert ".." not in path.parts and not path.name.startswith(".")
        assert max(len(os.fsencode(part)) for part in path.parts) < 200
    assert paths[0] == tmp_path / "host" / "a" / "x.pdparams"
    taken = paths[1].relative_to(tmp_path)
    assert module._cache_path(f"https://host/{'/'.join(taken.parts[1:])}", tmp_path) != paths[1]


def test_cache_path_of_official_weights_is_their_url(tmp_path):
    for variant in MODELS.values():
        for record in filter(None, (variant.weights, variant.ssld)):
            assert module._cache_path(record.url, tmp_path) == tmp_path / record.url.removeprefix("https://")


def test_non_ascii_name_is_downloaded(server, tmp_path):
    assert fetch(server.url("complete", "grün.pdparams"), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("suffix", [".part", ".lock", ".part.json", ""])
def test_planted_links_are_not_followed(server, tmp_path, suffix):
    url, valuable = server.url("complete"), tmp_path / "valuable"
    valuable.write_text("text")
    target = module._cache_path(url, tmp_path / "cache")
    target.parent.mkdir(parents=True)
    target.with_name(target.name + suffix).symlink_to(valuable if suffix else tmp_path / "nowhere")
    with contextlib.suppress(WeightsError):
        assert fetch(url, tmp_path / "cache").read_bytes() == BODY
    assert valuable.read_text() == "text"
    assert not (tmp_path / "nowhere").exists()


def test_a_linked_part_is_not_emptied(server, tmp_path):
    url, valuable = server.url("complete"), tmp_path / "valuable"
    valuable.write_text("text")
    target = module._cache_path(url, tmp_path / "cache")
    target.parent.mkdir(parents=True)
    os.link(valuable, target.with_name(target.name + ".part"))
    assert fetch(url, tmp_path / "cache").read_bytes() == BODY
    assert valuable.read_text() == "text"


@pytest.mark.parametrize(
    "record", ["torn", "[]", "{}", '{"validator": 3, "size": "x"}', '{"validator": "a\\r\\nX: y", "size": 300000}']
)
def test_damaged_record_of_a_part_is_ignored(server, tmp_path, record):
    target = module._cache_path(server.url("complete"), tmp_path)
    target.parent.mkdir(parents=True)
    target.with_name(target.name + ".part").write_bytes(BODY[:1000])
    target.with_name(target.name + ".part.json").write_text(record)
    assert fetch(server.url("complete"), tmp_path).read_bytes() == BODY


def test_damaged_digest_is_a_one_line_error(server, tmp_path):
    path = fetch(server.url("complete"), tmp_path)
    for content in (b"\xff\xfe", b" ", b"0" * 63):
        path.with_name(path.name + ".sha256").write_bytes(content)
        with pytest.raises(WeightsError, match="is damaged: expected a SHA-256"):
            fetch(server.url("complete"), tmp_path)


def test_files_of_the_user_are_not_removed(server, tmp_path, monkeypatch):
    """A file that the user has put into the cache can be wrong but is kept."""
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path))
    path = module._cache_path(server.url("complete"), tmp_path / "weights")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(WeightsError, match="expected the published SHA-256"):
        fetch(server.url("complete"), tmp_path / "weights", sha256="0" * 64)
    with pytest.raises(WeightsError):
        load_weights(paddle.nn.Linear(3, 2), server.url("complete"))
    assert path.read_bytes() == b"mine"
    assert server.ranges == []


def test_several_processes_download_once(server, tmp_path):
    script = "import sys; from ppzoo.weights.download import fetch; print(fetch(sys.argv[1], sys.argv[2]))"
    command = [sys.executable, "-c", script, server.url("slow"), str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {process.communicate(timeout=60)[0] for process in processes}
    assert len(paths) == 1 and all(process.returncode == 0 for process in processes)
    assert len(server.ranges) == 1


def test_network_is_loaded_from_a_url(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    source, network = paddle.nn.Linear(3, 2), paddle.nn.Linear(3, 2)
    save_pdparams(source.state_dict(), tmp_path / "net.pdparams")
    server.body = (tmp_path / "net.pdparams").read_bytes()
    assert load_weights(network, server.url("dropping")).complete
    np.testing.assert_array_equal(network.weight.numpy(), source.weight.numpy())
    assert files(tmp_path / "home" / "weights") == ["net.pdparams", "net.pdparams.sha256"]


def test_downloaded_file_that_is_not_a_weight_file_is_removed(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path))
    with pytest.raises(WeightsError):
        load_weights(paddle.nn.Linear(3, 2), server.url("complete"))
    assert files(tmp_path) == []


def test_a_download_shows_its_progress_on_a_terminal_only(server, tmp_path):
    server.body = BODY * 4
    code = (
        "import sys; from pathlib import Path; from ppzoo import terminal; from ppzoo.weights import fetch;"
        "terminal.MIN_SECONDS = 0; fetch(sys.argv[1], Path(sys.argv[2]))"
    )
    arguments = ["-c", code, server.url("complete", "net.pdparams")]
    session = run_on_terminal([*arguments, str(tmp_path / "one")])
    shown = [float(size) for size in re.findall(r"  (\d\.\d)/1\.2 MB", session.raw)]
    assert shown == sorted(shown) and shown[-1] == 1.2 and len(set(shown)) > 5
    assert "downloading net.pdparams" in session.raw and "0:00 left" in session.raw
    assert session.lines == [""] and session.has_cursor and session.status == 0
    done = subprocess.run([sys.executable, *arguments, str(tmp_path / "two")], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
