"""A file arrives whole or not at all, through everything that servers and networks do."""

import contextlib
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time

import numpy as np
import paddle
import pytest

from ppzoo.errors import WeightsError
from ppzoo.models import MODELS
from ppzoo.weights import download as module
from ppzoo.weights import fetch, load_weights, save_pdparams

BODY = np.random.RandomState(0).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Answers with `body`, in the manner that the first element of a path names; keeps every request's range."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.ranges, self.failures = BODY, '"one"', [], 0

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""

    def url(self, manner, name="net.pdparams"):
        return f"http://127.0.0.1:{self.server_port}/{manner}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        manner = self.path.split("/")[1]
        getattr(self, f"answer_{manner}")()

    def send(self, body, *, length=None, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_ranged(self, limit=None, etag=True):
        """The body or the rest of it that is asked for, cut off after `limit` bytes."""
        body, tag = self.server.body, self.server.etag
        headers = {"ETag": tag} if etag else {}
        valid = self.headers.get("If-Range") in (None, tag)
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] and valid else 0
        status = 206 if start else 200
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send(body[start:][:limit], length=len(body) - start, status=status, **headers)
        self.close_connection = True

    def answer_whole(self):
        self.send_ranged()

    def answer_dropping(self):
        self.send_ranged(limit=100_000)

    def answer_untagged(self):
        self.send_ranged(limit=100_000, etag=False)

    def answer_rangeless(self):
        self.server.failures += 1
        self.send(self.server.body[: 100_000 if self.server.failures < 3 else None], length=len(self.server.body))
        self.close_connection = True

    def answer_changing(self):
        self.send_ranged(limit=100_000)
        self.server.body, self.server.etag = BODY[::-1], '"two"'

    def answer_short(self):
        self.send(b"", length=1000)
        self.close_connection = True

    def answer_busy(self):
        self.server.failures += 1
        if self.server.failures < 3:
            self.send(b"later", status=503)
        else:
            self.send_ranged()

    def answer_missing(self):
        self.send(b"nothing here", status=404)

    def answer_page(self):
        self.send(b"<!DOCTYPE html><html>log in</html>", Content_Type="text/html; charset=utf-8")

    def answer_hidden_page(self):
        self.send(b"\n <html>log in</html>", Content_Type="application/octet-stream")

    def answer_moved(self):
        self.send(b"", status=302, Location=self.path.replace("moved", "whole"))

    def answer_astray(self):
        self.send(b"", status=302, Location="file:///etc/passwd")

    def answer_ftp(self):
        self.send(b"", status=302, Location="ftp://127.0.0.1:1/x")

    def answer_endless(self):
        self.send(b"", status=302, Location=self.path)

    def answer_slow(self):
        time.sleep(0.5)
        self.send_ranged()

    def answer_empty(self):
        self.send(b"")


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No pauses, and nothing of the environment."""
    monkeypatch.setattr(module, "PAUSES", (0, 0, 0))
    for name in ("PPZOO_HOME", "PPZOO_MIRROR", "PPZOO_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def files(folder):
    """Names of what a user should find in the cache: everything but the lock."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.mark.parametrize("manner", ["whole", "dropping", "untagged", "rangeless", "busy", "moved", "slow"])
def test_the_file_arrives_whole(server, tmp_path, manner):
    path = fetch(server.url(manner), tmp_path)
    assert path.read_bytes() == BODY
    assert files(tmp_path) == ["net.pdparams", "net.pdparams.sha256"]
    assert path.with_name("net.pdparams.sha256").read_text().split()[0] == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("manner", ["dropping", "untagged"])
def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path, manner):
    fetch(server.url(manner), tmp_path)
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_transfer_of_an_earlier_process_goes_on(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSES", ())
    with pytest.raises(WeightsError, match="100000 of 300000 bytes arrived"):
        fetch(server.url("dropping"), tmp_path)
    assert files(tmp_path) == ["net.pdparams.part", "net.pdparams.part.json"]
    monkeypatch.setattr(module, "PAUSES", (0, 0))
    assert fetch(server.url("dropping"), tmp_path).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_two_versions_of_a_file_are_never_mixed(server, tmp_path):
    assert fetch(server.url("changing"), tmp_path).read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    ("manner", "message", "requests"),
    [
        ("missing", "the server answers 404 Not Found", 1),
        ("page", "answers with a web page", 1),
        ("hidden_page", "answers with a web page", 1),
        ("astray", "cannot fetch .*302", 1),
        ("ftp", "cannot fetch .*302", 1),
        ("endless", "cannot fetch .*302", 5),
        ("short", "0 of 1000 bytes arrived, 4 times in a row", 4),
        ("empty", "an empty file arrived", 4),
    ],
)
def test_what_cannot_be_had_is_one_line_and_leaves_no_file(server, tmp_path, manner, message, requests):
    with pytest.raises(WeightsError, match=message) as caught:
        fetch(server.url(manner), tmp_path)
    assert "\n" not in str(caught.value) and server.url(manner) in str(caught.value)
    assert "net.pdparams" not in files(tmp_path)
    assert len(server.ranges) == requests


def test_a_server_that_is_not_there_is_one_line(server, tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as unused:
        port = unused.server_port
    with pytest.raises(WeightsError, match="refused, 4 times in a row"):
        fetch(f"http://127.0.0.1:{port}/net.pdparams", tmp_path)


def test_a_silent_server_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    with pytest.raises(WeightsError, match="timed out, 4 times in a row"):
        fetch(server.url("slow"), tmp_path)


def test_what_is_in_the_cache_is_not_fetched_again(server, tmp_path, monkeypatch):
    fetch(server.url("whole"), tmp_path)
    monkeypatch.setenv("PPZOO_OFFLINE", "1")
    assert fetch(server.url("whole"), tmp_path).read_bytes() == BODY
    assert len(server.ranges) == 1


def test_offline_answers_without_asking_the_network(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_OFFLINE", "1")
    with pytest.raises(WeightsError, match="PPZOO_OFFLINE is set"):
        fetch(server.url("whole"), tmp_path)
    assert server.ranges == [] and files(tmp_path) == []


def test_a_file_that_changed_in_the_cache_is_refused(server, tmp_path):
    path = fetch(server.url("whole"), tmp_path)
    path.write_bytes(BODY[:-1] + b"x")
    with pytest.raises(WeightsError, match="recorded at first sight"):
        fetch(server.url("whole"), tmp_path)


def test_a_file_without_the_published_digest_is_not_kept(server, tmp_path):
    with pytest.raises(WeightsError, match="as published"):
        fetch(server.url("whole"), tmp_path, sha256="0" * 64)
    assert files(tmp_path) == []
    digest = hashlib.sha256(BODY).hexdigest().upper()
    assert fetch(server.url("whole"), tmp_path, sha256=digest).read_bytes() == BODY


def test_a_mirror_takes_the_place_of_the_host(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_MIRROR", f"http://127.0.0.1:{server.server_port}/")
    path = fetch("https://weights.example/whole/net.pdparams", tmp_path)
    assert path == tmp_path / "weights.example" / "whole" / "net.pdparams"
    assert path.read_bytes() == BODY


def test_files_of_one_name_do_not_meet(server, tmp_path):
    paths = {
        fetch(server.url("whole", name), tmp_path) for name in ("a/x.pdparams", "b/x.pdparams", "b/x.pdparams?v=2")
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
def test_an_address_without_a_file_is_refused(tmp_path, url):
    with pytest.raises(WeightsError, match="expected http") as caught:
        fetch(url, tmp_path / "cache")
    assert "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


PLACES = [
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


def test_no_two_addresses_share_a_file_and_none_leaves_the_cache(tmp_path):
    places = [module._place(url, tmp_path) for url in PLACES]
    assert len(set(places)) == len(PLACES)
    own = {place.with_name(place.name + suffix) for place in places for suffix in module.OWN}
    assert not own & set(places)
    for place in places:
        assert place.is_relative_to(tmp_path) and len(place.relative_to(tmp_path).parts) >= 2
        assert ".." not in place.parts and not place.name.startswith(".")
        assert max(len(os.fsencode(part)) for part in place.parts) < 200
    assert places[0] == tmp_path / "host" / "a" / "x.pdparams"
    taken = places[1].relative_to(tmp_path)
    assert module._place(f"https://host/{'/'.join(taken.parts[1:])}", tmp_path) != places[1]


def test_official_weights_lie_where_their_address_says(tmp_path):
    for variant in MODELS.values():
        for record in filter(None, (variant.weights, variant.ssld)):
            assert module._place(record.url, tmp_path) == tmp_path / record.url.removeprefix("https://")


def test_a_name_of_another_alphabet_is_fetched(server, tmp_path):
    assert fetch(server.url("whole", "grün.pdparams"), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("suffix", [".part", ".lock", ".part.json", ""])
def test_planted_links_are_not_followed(server, tmp_path, suffix):
    url, valuable = server.url("whole"), tmp_path / "valuable"
    valuable.write_text("text")
    target = module._place(url, tmp_path / "cache")
    target.parent.mkdir(parents=True)
    target.with_name(target.name + suffix).symlink_to(valuable if suffix else tmp_path / "nowhere")
    with contextlib.suppress(WeightsError):
        assert fetch(url, tmp_path / "cache").read_bytes() == BODY
    assert valuable.read_text() == "text"
    assert not (tmp_path / "nowhere").exists()


def test_a_linked_part_is_not_emptied(server, tmp_path):
    url, valuable = server.url("whole"), tmp_path / "valuable"
    valuable.write_text("text")
    target = module._place(url, tmp_path / "cache")
    target.parent.mkdir(parents=True)
    os.link(valuable, target.with_name(target.name + ".part"))
    assert fetch(url, tmp_path / "cache").read_bytes() == BODY
    assert valuable.read_text() == "text"


@pytest.mark.parametrize(
    "record", ["torn", "[]", "{}", '{"validator": 3, "size": "x"}', '{"validator": "a\\r\\nX: y", "size": 300000}']
)
def test_a_damaged_record_of_a_part_is_not_believed(server, tmp_path, record):
    target = module._place(server.url("whole"), tmp_path)
    target.parent.mkdir(parents=True)
    target.with_name(target.name + ".part").write_bytes(BODY[:1000])
    target.with_name(target.name + ".part.json").write_text(record)
    assert fetch(server.url("whole"), tmp_path).read_bytes() == BODY


def test_a_damaged_digest_is_one_line(server, tmp_path):
    path = fetch(server.url("whole"), tmp_path)
    for content in (b"\xff\xfe", b" ", b"0" * 63):
        path.with_name(path.name + ".sha256").write_bytes(content)
        with pytest.raises(WeightsError, match="is damaged: expected a SHA-256"):
            fetch(server.url("whole"), tmp_path)


def test_what_was_not_fetched_now_is_not_removed(server, tmp_path, monkeypatch):
    """A file that the user has put into the cache may be wrong, but stays."""
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path))
    path = module._place(server.url("whole"), tmp_path / "weights")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(WeightsError, match="as published"):
        fetch(server.url("whole"), tmp_path / "weights", sha256="0" * 64)
    with pytest.raises(WeightsError):
        load_weights(paddle.nn.Linear(3, 2), server.url("whole"))
    assert path.read_bytes() == b"mine"
    assert server.ranges == []


def test_several_processes_fetch_once(server, tmp_path):
    script = "import sys; from ppzoo.weights.download import fetch; print(fetch(sys.argv[1], sys.argv[2]))"
    command = [sys.executable, "-c", script, server.url("slow"), str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert len(answers) == 1 and all(process.returncode == 0 for process in processes)
    assert len(server.ranges) == 1


def test_a_network_loads_from_an_address(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    donor, network = paddle.nn.Linear(3, 2), paddle.nn.Linear(3, 2)
    save_pdparams(donor.state_dict(), tmp_path / "net.pdparams")
    server.body = (tmp_path / "net.pdparams").read_bytes()
    assert load_weights(network, server.url("dropping")).complete
    np.testing.assert_array_equal(network.weight.numpy(), donor.weight.numpy())
    assert files(tmp_path / "home" / "weights") == ["net.pdparams", "net.pdparams.sha256"]


def test_a_download_that_is_no_weight_file_is_not_kept(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path))
    with pytest.raises(WeightsError):
        load_weights(paddle.nn.Linear(3, 2), server.url("whole"))
    assert files(tmp_path) == []
