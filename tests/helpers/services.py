"""A service in this process, on a free port of 127.0.0.1, with a small untrained network."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
import pytest
from PIL import Image

from ppzoo import create_model
from ppzoo.deploy import export

SIZE, CLASSES = 32, 10
NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
OPS = [{"DecodeImage": {}}, {"ResizeImage": {"size": SIZE}}, NORMALIZE, {"ToCHWImage": None}]
LABELS = ["猫 <script>alert(1)</script>", *(f"class {index}" for index in range(1, CLASSES))]


def export_small(
    folder: Path, *, seed: int = 0, labels: list[str] = LABELS, postprocess: str = "Topk", arch: bool = False
) -> Path:
    """Export an untrained MobileNetV1_x0_25 for images of 32 pixels.

    Args:
        arch: state the options of the network, as `ppzoo export` does, so that it can be rebuilt.
    """
    paddle.seed(seed)
    settings: dict[str, Any] = {
        **({"Arch": {"name": "MobileNetV1_x0_25", "class_num": CLASSES}} if arch else {}),
        "PreProcess": {"transform_ops": OPS},
        "PostProcess": {postprocess: {"label_list": labels}},
    }
    network = create_model("MobileNetV1_x0_25", class_num=CLASSES)
    network.eval()
    export(network, folder, [3, SIZE, SIZE], settings, multi_label=postprocess == "MultiLabelThreshOutput")
    return folder


def encode(seed: int = 0, *, kind: str = "PNG", size: tuple[int, int] = (40, 36)) -> bytes:
    """Return a file with an image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


class Reply(NamedTuple):
    status: int
    content: Any
    headers: http.client.HTTPMessage


class Service:
    """A running service.

    Attributes:
        models: its models, for tests that stop an engine.
    """

    def __init__(self, server: Any, port: int) -> None:
        self.server, self.port = server, port
        self.url = f"http://127.0.0.1:{port}"
        self.state = server.config.app.state
        self.models = self.state.models

    def request(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            return Reply(response.status, json.loads(content) if is_json else content, response.headers)
        finally:
            connection.close()

    def predict(self, image: bytes, model: str = "small", **headers: str) -> Reply:
        headers.setdefault("content_type", "application/octet-stream")
        return self.request("POST", f"/v1/models/{model}:predict", image, **headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def count(self, status: int) -> float:
        """Return the number of prediction requests with a status, from /metrics."""
        prefix = f'ppzoo_requests_total{{model="small",route="/v1/models/{{name}}:predict",status="{status}"}} '
        lines = self.request("GET", "/metrics").content.decode().splitlines()
        return sum(float(line.removeprefix(prefix)) for line in lines if line.startswith(prefix))


@contextmanager
def run_service(exports: dict[str, Path], **options: Any) -> Iterator[Service]:
    """Run a service in a thread; `options` are those of `Limits` and of `ServiceOptions`."""
    pytest.importorskip("ppzoo.serve.server", reason="needs ppzoo[serve]")
    from ppzoo import serve
    from ppzoo.serve.server import listen, make_server, raise_file_limit

    raise_file_limit()
    limits = {key: options.pop(key) for key in list(options) if key in serve.Limits.__dataclass_fields__}
    settings = {"engine": "paddle", **options}
    with listen("127.0.0.1", 0) as listener:
        server = make_server(serve.ServiceOptions(exports=exports, limits=serve.Limits(**limits), **settings))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Service(server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
