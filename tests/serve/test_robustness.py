"""Invalid, oversized, slow and interrupted requests get a clear 4xx or 5xx response, and the service continues."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.services import encode, export_small, run_service
from PIL import Image

import ppzoo
from ppzoo.client import ServiceError
from ppzoo.errors import TrainingError

pytest.importorskip("fastapi", reason="needs ppzoo[serve]")


def png(width, height, *chunks):
    """Return a PNG with a header and further chunks, but without pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def jpeg(width, height):
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1])
    return (
        b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xda\x00\x02" + bytes(50) + b"\xff\xd9"
    )


def gif(width, height, frame=None):
    frame = frame or (width, height)
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02L\x01\0;"


def bmp(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def test_a_request_that_is_larger_than_the_queue_is_not_told_to_retry(exported):
    with run_service({"small": exported}, queue=2) as service, ppzoo.Client(service.url) as client:
        assert len(client.predict([encode(0)] * 2)) == 2
        with pytest.raises(ServiceError, match="at most 2 images in a request, the size of the queue, got 3") as error:
            client.predict([encode(0)] * 3)
    assert error.value.status == 413 and error.value.retry_after is None


def test_predictions_with_get_are_a_wrong_method(service):
    for operation in ("predict", "explain"):
        reply = service.request("GET", f"/v1/models/small:{operation}")
        assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        assert reply.content == {"error": f"expected POST for :{operation}, got GET"}


def noise(mode="RGB", seed=0):
    return Image.open(io.BytesIO(encode(seed))).convert(mode)


def save(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_with_tile(size):
    """Return the header of a TIFF of 16 x 16 pixels whose only tile is larger."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1), (322, size), (323, size), (324, 8), (325, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


BOMB = zlib.compress(bytes(200_000_000), 9)  # 200 kB


def assert_alive(service):
    assert service.predict(encode()).status == 200
    assert service.request("GET", "/readyz").status == 200


@pytest.fixture(autouse=True)
def _alive_afterwards(request):
    yield
    if "service" in request.fixturenames:
        assert_alive(request.getfixturevalue("service"))


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", encode(), 415),
        ("", encode(), 415),
        ("multipart/mixed; boundary=x", encode(), 415),
        ("application/x-www-form-urlencoded", encode(), 415),
        ("*/*", encode(), 415),
        ("video/mp4", encode(), 415),
        ("image/png", b'{"images": []}', 400),
        ("application/json", encode(), 400),
        ("image/svg+xml", b"<svg/>", 400),
        ("image/png", b"", 400),
        ("image/png", b"no image", 400),
        ("image/jpeg", encode(kind="JPEG")[:300], 400),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b'{"images": "x"}', 400),
        ("application/json", b'{"images": []}', 400),
        ("application/json", b'{"images": ["\xc3\xa4"]}', 400),
        ("application/json", b'{"images": ["AAAA"], "topk": 0}', 400),
        ("application/json", b'{"images": ["AAAA"], "x": 0}', 400),
        ("application/json", b'{"images": ["AAAA"], "topk": ' + b"9" * 5000 + b"}", 400),
        ("application/json", b"\xff\xfe", 400),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=x", b"x", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400),
    ],
)
def test_wrong_types_and_damaged_bodies(service, kind, body, status):
    before = service.count(status)
    reply = service.predict(body, content_type=kind)
    assert reply.status == status
    assert "\n" not in reply.content["error"] and reply.content["error"].startswith(
        ("expected", "Content-Type", "images", "topk")
    )
    assert service.count(status) == before + 1


def test_too_many_images(service):
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\na\r\n'
    reply = service.predict(part * 9 + b"--x--\r\n", content_type="multipart/form-data; boundary=x")
    assert reply.status == 413 and "at most 8 images" in reply.content["error"]


@pytest.mark.parametrize(
    "image",
    [
        *(png(20_000, 20_000), jpeg(20_000, 20_000), png(1001, 1000), tiff_with_tile(1008)),
        *(
            gif(65_535, 65_535),
            gif(16, 16, frame=(65_535, 65_535)),
            save(Image.new("L", (1001, 1000)), "WEBP"),
            bmp(60_000, 60_000),
        ),
        *(bmp(60_000, -60_000), b"P6 60000 60000 255\n"),
    ],
    ids=["png", "jpeg", "1001", "tile", "gif", "frame", "webp", "bmp", "bmp upside down", "ppm"],
)
def test_too_many_pixels(service, image):
    reply = service.predict(image)
    assert reply.status == 413 and "at most 1000000 pixels" in reply.content["error"]


@pytest.mark.parametrize(
    "chunk", [(b"zTXt", b"a\0\0" + BOMB), (b"iCCP", b"a\0\0" + BOMB), (b"IDAT", BOMB)], ids=["zTXt", "iCCP", "IDAT"]
)
def test_compressed_chunks_that_expand(service, chunk):
    assert service.predict(png(64, 64, chunk)).status in (200, 400)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_images(service, kind):
    image = encode(kind=kind)
    assert service.predict(image).status == 200
    for size in (len(image) // 50, len(image) // 2, len(image) * 99 // 100):
        reply = service.predict(image[:size])
        assert reply.status == 400 and reply.content["error"].startswith("expected an image, got a ")


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("GIF", lambda: save(noise(), "GIF", save_all=True, append_images=[noise(seed=1)])),
        ("WEBP", lambda: save(noise(), "WEBP", save_all=True, append_images=[noise(seed=1)], lossless=True)),
        ("PNG", lambda: save(noise(), "PNG", save_all=True, append_images=[noise(seed=1)])),
        ("JPEG", lambda: save(noise("CMYK"), "JPEG")),
        ("TIFF", lambda: save(noise("CMYK"), "TIFF")),
        ("PNG", lambda: save(noise("RGBA"), "PNG")),
        ("PNG", lambda: save(noise("P"), "PNG", transparency=0)),
        ("PNG", lambda: save(noise("1"), "PNG")),
        ("PNG", lambda: save(Image.fromarray(np.asarray(noise("L")).astype(np.uint16) * 257), "PNG")),
        ("JPEG", lambda: save(noise(), "JPEG", exif=b"Exif\0\0MM\0*" + bytes(range(200)))),
        ("JPEG", lambda: save(noise(), "JPEG", exif=rotation(6))),
        ("JPEG", lambda: save(noise(), "JPEG", exif=rotation(99))),
    ],
    ids=["gif", "webp", "apng", "cmyk", "cmyk tiff", "rgba", "palette", "bits", "16 bits", "exif", "turned", "99"],
)
def test_unusual_images_are_predicted_as_the_predictor_predicts_them(service, predictor, kind, make):
    image = make()
    expected = predictor.predict([image])[0]
    reply = service.predict(image, content_type=f"image/{kind.lower()}")
    assert reply.status == 200 and reply.content["predictions"][0]["class_ids"] == expected["class_ids"]


@pytest.fixture(scope="module")
def predictor(exported):
    return ppzoo.Predictor(exported, engine="paddle")


def rotation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_the_first_frame_of_an_animation_counts(service, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    first = save(noise("P"), kind, **options) if kind == "GIF" else save(noise(), kind, **options)
    frames = [noise("P"), noise("P", 1)] if kind == "GIF" else [noise(), noise(seed=1)]
    animation = save(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    expected = service.predict(first).content["predictions"]
    assert service.predict(animation).content["predictions"] == expected


def test_compressed_bodies_are_refused(service):
    reply = service.predict(gzip.compress(bytes(50_000_000)), content_encoding="gzip")
    assert reply.status == 415 and "uncompressed" in reply.content["error"]


def test_uploads_above_the_limit(service):
    before = service.count(413)
    assert service.predict(bytes((1 << 20) + 1)).status == 413
    chunks = (bytes(65536) for _ in range(20))
    reply = service.request("POST", "/v1/models/small:predict", chunks, content_type="image/png")  # without a length
    assert reply.status == 413
    assert service.count(413) == before + 2
    assert service.state.bodies.buffered == 0


def test_all_uploads_together_are_bounded(service):
    service.state.bodies.buffered += service.state.limits.max_buffered
    try:
        reply = service.predict(encode())
    finally:
        service.state.bodies.buffered -= service.state.limits.max_buffered
    assert reply.status == 503 and reply.headers["Retry-After"] == "1"


HEADER = b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\n"


def test_half_an_upload(service):
    before = service.count(499)
    with service.connect() as connection:
        connection.sendall(HEADER + bytes(100))
        time.sleep(0.2)
    wait_for(lambda: service.count(499) == before + 1)
    assert service.state.bodies.buffered == 0


def test_a_slow_body_times_out(service):
    with service.connect() as connection:
        connection.sendall(HEADER + bytes(100))
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert service.count(408) >= 1


CHUNKED = HEADER.replace(b"Content-Length: 5000", b"Transfer-Encoding: chunked")


def test_an_upload_in_chunks_without_an_end_times_out(service):
    with service.connect() as connection:
        connection.sendall(CHUNKED)
        sender = threading.Thread(target=send_chunks, args=[connection])
        sender.start()
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        sender.join()
    assert service.state.bodies.buffered == 0


def send_chunks(connection):
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"1\r\na\r\n")
            time.sleep(0.05)


@pytest.mark.parametrize(
    "request_",
    [
        *(CHUNKED + chunk for chunk in (b"zz\r\nabc\r\n", b"-5\r\nabc\r\n", b"ffffffffffffffffff\r\nabc\r\n")),
        *(HEADER.replace(b"5000", length) for length in (b"-1", b"x", b"9" * 30)),
        HEADER.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
        HEADER.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
    ids=["chunk zz", "chunk -5", "long chunk", "length -1", "length x", "long length", "two lengths", "both"],
)
def test_invalid_lengths(service, request_):
    with service.connect() as connection:
        connection.sendall(request_)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert service.state.bodies.buffered == 0


def test_a_header_that_is_never_complete_is_disconnected(service):
    with service.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert connection.recv(1000) == b""


@pytest.mark.parametrize("end", [b"\r\n", b""], ids=["complete", "incomplete"])
@pytest.mark.parametrize(
    "line", [b"X-Field: " + b"x" * 100_000 + b"\r\n", b"X-Field: x\r\n" * 20_000], ids=["long", "many"]
)
def test_a_header_that_is_too_large(service, line, end):
    with service.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + line + end)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_invalid_http(service):
    with service.connect() as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_thousand_idle_connections(service):
    connections = [service.connect() for _ in range(1000)]
    try:
        assert_alive(service)
        assert connections[0].recv(10) == connections[-1].recv(10) == b""  # closed after the time limit
    finally:
        for connection in connections:
            connection.close()


def test_unknown_models_paths_and_methods(service):
    assert service.predict(encode(), model="x").status == 404
    assert "available: small" in service.predict(encode(), model="%0a%1b").content["error"]
    assert service.request("GET", "/v1/models/..%2f..%2fetc").status == 404
    assert service.request("GET", "/nothing").content == {"error": "Not Found"}
    before = service.count(405)
    assert service.request("GET", "/v1/models/small:predict").status in (404, 405)
    assert service.request("DELETE", "/v1/models/small:predict").status == 405
    assert service.count(405) > before
    assert service.request("PUT", "/metrics").status == 405


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Gate:
    """Blocks the engine of a model at its next batch until the context ends."""

    def __init__(self, model):
        self.network, self.original = model.network, model.network.predict
        self.entered, self.opened = threading.Event(), threading.Event()

    def __enter__(self):
        def predict(images, topk):
            self.entered.set()
            assert self.opened.wait(60)
            return self.original(images, topk)

        self.network.predict = predict
        return self

    def __exit__(self, *exception):
        self.network.predict = self.original
        self.opened.set()


def test_a_full_queue_is_refused_and_the_others_are_completed(service):
    model = service.models["small"]
    with ThreadPoolExecutor(20) as threads:
        with Gate(model) as gate:
            first = threads.submit(service.predict, encode())
            assert gate.entered.wait(30)
            waiting = [threads.submit(service.predict, encode()) for _ in range(16)]
            wait_for(lambda: len(model.queue) == 16)
            refused = service.predict(encode())
            assert 'ppzoo_queue_images{model="small"} 16.0' in service.request("GET", "/metrics").content.decode()
        assert refused.status == 503 and refused.headers["Retry-After"] == "1"
        assert "queue" in refused.content["error"]
        assert [reply.result().status for reply in [first, *waiting]] == [200] * 17
    assert service.count(503) >= 1


def test_a_result_that_takes_too_long_is_504_and_a_stalled_engine_is_not_ready(service):
    model = service.models["small"]
    with Gate(model):
        reply = service.predict(encode())
        assert reply.status == 504
        wait_for(lambda: service.request("GET", "/readyz").status == 503)
        assert service.request("GET", "/healthz").status == 200
    assert service.count(504) >= 1
    wait_for(lambda: service.request("GET", "/readyz").status == 200)


def test_outputs_that_are_not_finite_are_500(service):
    network = service.models["small"].network
    original = network.predictor.predict

    def fail(images, topk):
        raise TrainingError("the network's output is not finite")

    network.predictor.predict = fail
    try:
        reply = service.predict(encode())
    finally:
        network.predictor.predict = original
    assert reply.status == 500 and "not finite" in reply.content["error"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit()])
def test_a_killed_engine_thread_is_restarted(service, error):
    model = service.models["small"]
    network = model.network
    restarts = len(model.restarts)

    def fail(images, topk):
        raise error

    network.predict = fail
    reply = service.predict(encode())
    assert reply.status == 500 and "engine failed" in reply.content["error"]
    wait_for(lambda: service.request("GET", "/readyz").status == 503)
    refused = service.predict(encode())
    assert refused.status == 503 and refused.headers["Retry-After"] == "1"
    assert "ready" in service.request("GET", "/v1/models/small").content
    wait_for(lambda: service.request("GET", "/readyz").status == 200)
    assert len(model.restarts) == restarts + 1
    assert model.network is not network
    assert "ppzoo_engine_restarts_total" in service.request("GET", "/metrics").content.decode()


def test_an_engine_that_fails_again_and_again_ends_the_service(exported, monkeypatch):
    from ppzoo.serve import models

    monkeypatch.setattr(models, "MAX_RESTARTS", 0)
    with run_service({"small": exported}) as service:
        network = service.models["small"].network
        network.predict = None  # calling it raises
        assert service.predict(encode()).status == 500
        wait_for(lambda: service.server.should_exit)
        assert "failed 1 times" in str(service.server.failure)


def test_a_token_is_required(exported):
    with run_service({"small": exported}, token="secret-secret") as service:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret-secret"}):
            reply = service.predict(encode(), **headers)
            assert reply.status == 401 and reply.headers["WWW-Authenticate"] == "Bearer"
            assert service.request("GET", "/metrics", **headers).status == 401
            assert service.request("GET", "/v2/models/small", **headers).status == 401
        for path in ("/healthz", "/readyz", "/v2/health/ready", "/", "/docs"):
            assert service.request("GET", path).status == 200
        assert service.predict(encode(), authorization="Bearer secret-secret").status == 200
        metrics = service.request("GET", "/metrics", authorization="Bearer secret-secret").content.decode()
        assert 'route="/v1/models/{name}:predict",status="401"} 3.0' in metrics


def test_reload_loses_no_request(tmp_path):
    folder = export_small(tmp_path / "small")
    stop = threading.Event()
    statuses = []
    with run_service({"small": folder}) as service, ThreadPoolExecutor(4) as threads:
        before = service.predict(encode()).content["predictions"]
        first = service.models["small"].network

        def send():
            while not stop.is_set():
                statuses.append(service.predict(encode()).status)

        senders = [threads.submit(send) for _ in range(4)]
        try:
            export_small(folder, seed=1, labels=[f"new {index}" for index in range(10)])
            wait_for(lambda: service.models["small"].network is not first)
            time.sleep(0.1)
        finally:
            stop.set()
        for sender in senders:
            sender.result()
        after = service.predict(encode()).content["predictions"]
        assert set(statuses) == {200}
        assert after != before and after[0]["label_names"][0].startswith("new ")
        assert 'ppzoo_reloads_total{model="small",result="done"} 1.0' in (
            service.request("GET", "/metrics").content.decode()
        )


def test_an_unexpected_error_of_the_watcher_is_logged_and_the_export_is_still_reloaded(tmp_path, monkeypatch, caplog):
    from ppzoo.serve import models

    folder = export_small(tmp_path / "small")
    read_signature, errors = models.read_signature, []

    def fail_twice(checked):
        if checked == folder and len(errors) < 2:
            errors.append(RuntimeError("can't start new thread"))
            raise errors[-1]
        return read_signature(checked)

    with run_service({"small": folder}) as service:
        first = service.models["small"].network
        monkeypatch.setattr(models, "read_signature", fail_twice)
        wait_for(lambda: len(errors) == 2)
        assert service.predict(encode()).status == 200
        export_small(folder, seed=1)
        wait_for(lambda: service.models["small"].network is not first)
    assert caplog.text.count("model small: cannot check or replace the engine") == 1
    assert "can't start new thread" in caplog.text


def test_a_body_is_in_memory_once():
    import asyncio
    import tracemalloc

    from starlette.requests import Request

    from ppzoo.serve.limits import BodyReader
    from ppzoo.serve.options import Limits

    parts = 64

    async def receive():
        nonlocal parts
        parts -= 1
        return {"type": "http.request", "body": bytes(1 << 17), "more_body": parts > 0}

    async def read():
        reader = BodyReader(Limits())
        async with reader.read(Request({"type": "http", "headers": [], "method": "POST"}, receive)) as body:
            size, _ = tracemalloc.get_traced_memory()
            assert len(body) == reader.buffered == 1 << 23
            del body
            after, _ = tracemalloc.get_traced_memory()
        assert reader.buffered == 0
        return size, after

    tracemalloc.start()
    try:
        size, after = asyncio.run(read())
    finally:
        tracemalloc.stop()
    assert size < 1.3 * (1 << 23) and after < 1 << 21


def test_a_damaged_export_is_not_loaded(tmp_path):
    folder = export_small(tmp_path / "small")
    with run_service({"small": folder}) as service:
        before = service.predict(encode()).content["predictions"]
        with open(folder / "inference.pdiparams", "ab") as file:
            file.write(b"x")
        failed = 'ppzoo_reloads_total{model="small",result="failed"} 1.0'
        wait_for(lambda: failed in service.request("GET", "/metrics").content.decode())
        assert service.predict(encode()).content["predictions"] == before
