"""Predictions of the service equal those of `Predictor`, whatever the form of the request."""

import json
from base64 import b64encode, encodebytes
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pytest
from helpers.services import LABELS, encode

import ppzoo
from ppzoo.client import ServiceError
from ppzoo.errors import BatchError, ConfigError, DataError


@pytest.fixture(scope="module")
def expected(exported):
    return ppzoo.Predictor(exported, engine="paddle").predict([encode(seed) for seed in range(4)], topk=3)


def assert_equal(prediction, expected):
    assert prediction["class_ids"] == expected["class_ids"]
    assert prediction["label_names"] == expected["label_names"]
    np.testing.assert_allclose(prediction["scores"], expected["scores"], atol=1e-5)


def multipart(*images):
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + image + b"\r\n"
        for name, image in images
    ]
    topk = b'--x\r\nContent-Disposition: form-data; name="topk"\r\n\r\n3\r\n'
    return b"".join([*parts, topk, b"--x--\r\n"])


def test_raw_bytes(service, expected):
    reply = service.request(
        "POST", "/v1/models/small:predict?topk=3", encode(0), content_type="application/octet-stream"
    )
    assert reply.status == 200 and reply.content["milliseconds"] > 0
    assert reply.content["predictions"][0]["name"] == "image"
    assert_equal(reply.content["predictions"][0], expected[0])


def test_several_files(service, expected):
    body = multipart(*((f"猫 {seed}.png", encode(seed)) for seed in range(4)))
    reply = service.predict(body, content_type="multipart/form-data; boundary=x")
    assert [prediction["name"] for prediction in reply.content["predictions"]] == [
        f"猫 {seed}.png" for seed in range(4)
    ]
    for prediction, reference in zip(reply.content["predictions"], expected, strict=True):
        assert_equal(prediction, reference)


def test_base64_json(service, expected):
    images = [encodebytes(encode(0)).decode(), "data:image/png;base64," + b64encode(encode(1)).decode()]
    reply = service.predict(json.dumps({"images": images, "topk": 3}), content_type="application/json")
    assert [prediction["name"] for prediction in reply.content["predictions"]] == ["image 1", "image 2"]
    for prediction, reference in zip(reply.content["predictions"], expected, strict=False):
        assert_equal(prediction, reference)


def test_an_unreadable_image_does_not_affect_the_others(service, expected):
    body = multipart(("a", encode(0)), ("b", b"no image"), ("c", encode(2)))
    reply = service.predict(body, content_type="multipart/form-data; boundary=x")
    assert reply.status == 200
    first, broken, last = reply.content["predictions"]
    assert_equal(first, expected[0])
    assert_equal(last, expected[2])
    assert "not an image" in broken["error"]


def test_concurrent_requests_get_their_own_results(service, expected):
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda index: service.predict(encode(index % 4)), range(12)))
    for index, reply in enumerate(replies):
        assert reply.content["predictions"][0]["class_ids"][:3] == expected[index % 4]["class_ids"]


def test_models_are_described(service):
    (model,) = service.request("GET", "/v1/models").content["models"]
    assert model == service.request("GET", "/v1/models/small").content
    assert (model["name"], model["class_num"], model["image_shape"]) == ("small", 10, [3, 32, 32])
    assert model["label_names"] == LABELS


def test_openapi_describes_all_operations(service):
    paths = service.request("GET", "/openapi.json").content["paths"]
    assert {"/v1/models", "/v1/models/{name}:predict", "/healthz", "/readyz", "/metrics", "/v2"} <= set(paths)
    assert {"multipart/form-data", "application/json"} <= set(
        paths["/v1/models/{name}:predict"]["post"]["requestBody"]["content"]
    )


def test_client_equals_predictor(service, expected, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(0))
    with ppzoo.Client(service.url) as client:
        assert client.is_ready()
        assert [model["name"] for model in client.models()] == ["small"]
        for prediction, reference in zip(
            client.predict([tmp_path / "a.png", encode(1)], topk=3), expected, strict=False
        ):
            assert_equal(prediction, reference)
        array = np.zeros((20, 30, 3), np.uint8)
        assert len(client.predict(array, topk=2)[0]["class_ids"]) == 2
        assert client.predict([]) == []
        with pytest.raises(DataError, match="not an image"):
            client.predict(b"no image")
        with pytest.raises(BatchError) as error:
            client.predict([encode(0), b"no image"], topk=3)
        assert list(error.value.errors) == [1]
        assert_equal(error.value.results[0], expected[0])


def test_client_reports_errors(service):
    with pytest.raises(ServiceError, match="unknown model 'x'") as error:
        ppzoo.Client(service.url, model="x").predict(encode())
    assert error.value.status == 404
    with pytest.raises(ServiceError, match="no response"):
        ppzoo.Client("http://127.0.0.1:9").models()
    for url in ("localhost", "ftp://host", "http://host:abc", "http://host:99999", "http://[bad", "http://a b"):
        with pytest.raises(ConfigError, match="expected http://HOST:PORT"):
            ppzoo.Client(url)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"timeout": 0}, "timeout: expected a number of seconds above 0, got 0"),
        ({"timeout": "5"}, "timeout: expected a number of seconds above 0, got '5'"),
    ],
)
def test_client_checks_its_options(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        ppzoo.Client("http://127.0.0.1:9", **options)


def test_client_reports_all_images_that_cannot_be_sent(service, expected, tmp_path):
    missing, floats = tmp_path / "missing.png", np.zeros((4, 4, 3))
    with ppzoo.Client(service.url) as client:
        with pytest.raises(BatchError) as error:
            client.predict([missing, encode(0), b"no image", floats, "a\0b"], topk=3)
        assert list(error.value.errors) == [0, 2, 3, 4]
        assert_equal(error.value.results[1], expected[0])
        assert "pass pixels from 0 to 255 as uint8" in str(error.value.errors[3])
        with pytest.raises(DataError, match=r"missing\.png: No such file"):
            client.predict(missing)
        with pytest.raises(ConfigError, match="topk: expected an integer of at least 1, got '3'"):
            client.predict(encode(0), topk="3")
        assert len(client.predict(np.zeros((4, 4, 1), np.uint8), topk=np.int64(2))[0]["scores"]) == 2


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"[]", b'{"models": 1}', b'{"models": [{"name": "a"}], "predictions": [1]}', b'{"models": [{}]}'],
)
def test_client_reports_another_service(content):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            client = ppzoo.Client(f"http://127.0.0.1:{server.server_port}")
            with client, pytest.raises(ServiceError, match="expected a response of `ppzoo serve`, got another one"):
                client.predict(b"image")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("topk", [0, True, 2.7, "x", None])
def test_client_reports_an_invalid_topk(topk):
    with pytest.raises(ConfigError, match="topk: expected an integer of at least 1"):
        ppzoo.Client("http://127.0.0.1:9", model="x").predict(encode(), topk=topk)


def test_client_reports_a_token_that_no_header_can_have():
    for token in (" ", "two words", "line\nend", "\u6f22\u5b57"):
        with pytest.raises(ConfigError, match="token: expected printable ASCII characters"):
            ppzoo.Client("http://127.0.0.1:9", token=token)
    with pytest.raises(ServiceError, match="no response"):  # a token file ends with a line end
        ppzoo.Client("http://127.0.0.1:9", token="secret-token\n").models()


def test_client_reports_an_array_without_pixels():
    with pytest.raises(DataError, match=r"got an array of shape \(0, 0, 3\) and type uint8"):
        ppzoo.Client("http://127.0.0.1:9", model="x").predict(np.zeros((0, 0, 3), np.uint8))
