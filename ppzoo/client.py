"""A client of `ppzoo serve`; it needs only the standard library, and Pillow for arrays."""

from __future__ import annotations

import http.client
import io
import json
import operator
import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ppzoo.errors import BatchError, ConfigError, DataError, PpzooError
from ppzoo.files import read_plain_file

if TYPE_CHECKING:
    import numpy as np

    Image = str | os.PathLike[str] | bytes | np.ndarray


class ServiceError(PpzooError):
    """The service cannot be reached, or refused a request.

    Attributes:
        status: the HTTP status; None if there was no response.
        retry_after: seconds until the request can be repeated, if the response has the header Retry-After; else None.
    """

    exit_status = 1

    def __init__(self, text: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after = status, retry_after


class Client:
    """Predicts images with a service; one thread at a time.

    Args:
        url: the address of the service, such as "http://127.0.0.1:8000".
        token: the token of the service; spaces and line ends around it are ignored.
        model: the name of the model; by default the service's only one.
        timeout: seconds that the service can take for a response.

    Raises:
        ConfigError: the address is not an http or https URL, or the token cannot be sent in a header.
    """

    def __init__(self, url: str, *, token: str | None = None, model: str | None = None, timeout: float = 30.0) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in ("http", "https"):
            raise ConfigError(f"url: expected http://HOST:PORT, got {url!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(host, port, timeout=timeout)
        self._url, self._prefix = url, parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {_check_token(token)}"} if token else {}
        self._model = model

    def predict(self, images: Image | Sequence[Image], topk: int = 5) -> list[dict[str, Any]]:
        """Return the `topk` classes of each image, best first, as `Predictor.predict` does.

        Args:
            images: a path, the bytes of an image file, or an H x W x 3 uint8 RGB array; or a list of these.

        Raises:
            ConfigError: `topk` is not an integer of at least 1, or the service has several models and none is chosen.
            DataError: the service cannot read an image; for a list `BatchError`, with the predictions of the others.
            ServiceError: the service cannot be reached, or refused the request.
        """
        topk = _check_topk(topk)
        image_list: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        if not image_list:
            return []
        boundary = secrets.token_hex(16)
        body = _multipart([_encode(image) for image in image_list], boundary)
        path = f"/v1/models/{quote(self._model or self._only_model(), safe='')}:predict?topk={topk}"
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, content, retry = self._send("POST", path, body, headers)
        predictions = content.get("predictions")
        if predictions is None or status >= 500:
            raise self._error(status, content, retry)
        errors: dict[int, DataError] = {}
        for index, prediction in enumerate(predictions):
            prediction.pop("name", None)
            if "error" in prediction:
                errors[index] = DataError(prediction["error"])
        if errors and image_list is not images:
            raise errors[0]
        if errors:
            results = [None if index in errors else prediction for index, prediction in enumerate(predictions)]
            raise BatchError(errors, results)
        return predictions

    def models(self) -> list[dict[str, Any]]:
        """Return the description of each model: name, readiness, engine, input shape and classes.

        Raises:
            ServiceError: the service cannot be reached, or refused the request.
        """
        status, content, retry = self._send("GET", "/v1/models")
        if status != 200:
            raise self._error(status, content, retry)
        return content["models"]

    def is_ready(self) -> bool:
        """Return whether the service can be reached and all its models compute."""
        try:
            return self._send("GET", "/readyz")[0] == 200
        except ServiceError:
            return False

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _only_model(self) -> str:
        names = [model["name"] for model in self.models()]
        if len(names) != 1:
            raise ConfigError(f"model: expected one of {', '.join(names)}, since the service has several")
        self._model = names[0]
        return names[0]

    def _send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any], float | None]:
        """Return status, JSON and Retry-After of a response; send once more if a kept connection was closed."""
        is_reused = self._connection.sock is not None
        try:
            self._connection.request(method, self._prefix + path, body, {**self._headers, **(headers or {})})
            response = self._connection.getresponse()
            content = response.read()
        except (ConnectionError, http.client.BadStatusLine) as error:
            self._connection.close()
            if is_reused:
                return self._send(method, path, body, headers)
            raise ServiceError(f"{self._url}: no response ({error or type(error).__name__})") from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ServiceError(f"{self._url}: no response ({error or type(error).__name__})") from error
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = {}
        retry = response.headers.get("Retry-After", "")
        return response.status, parsed if isinstance(parsed, dict) else {}, float(retry) if retry.isdecimal() else None

    def _error(self, status: int, content: dict[str, Any], retry_after: float | None) -> ServiceError:
        return ServiceError(f"{self._url}: {content.get('error', f'status {status}')}", status, retry_after)


def _check_token(token: str) -> str:
    """Return a token without the spaces and line ends around it, as `ppzoo serve` reads its own."""
    stripped = token.strip()
    if not (stripped and stripped.isascii() and stripped.isprintable()) or " " in stripped:
        raise ConfigError("token: expected letters and digits without spaces, got other characters")
    return stripped


def _check_topk(topk: Any) -> int:
    """Return the number of classes, a Python or NumPy integer of at least 1, as an int."""
    try:
        number = 0 if isinstance(topk, bool) else operator.index(topk)
    except TypeError:
        number = 0
    if number < 1:
        raise ConfigError(f"topk: expected an integer of at least 1, got {topk!r:.60}")
    return number


def _encode(image: Any) -> bytes:
    """Return an image as the bytes of a file.

    Raises:
        DataError: a file cannot be read, or the image is neither a path, nor bytes, nor an array of that shape.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, os.PathLike)):
        try:
            return read_plain_file(image)
        except OSError as error:
            raise DataError(f"cannot read {os.fsdecode(image)}: {error.strerror}") from error
    is_array = getattr(image, "ndim", 0) == 3 and str(getattr(image, "dtype", "")) == "uint8"
    if is_array and image.shape[2] == 3 and image.size:
        from PIL import Image as Pillow

        buffer = io.BytesIO()
        Pillow.fromarray(image).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", None)
    found = type(image).__name__ if shape is None else f"an array of shape {list(shape)} and data type {dtype}"
    raise DataError(f"expected a path, bytes or an H x W x 3 uint8 array, got {found}")


def _multipart(images: Sequence[bytes], boundary: str) -> bytes:
    parts: list[bytes] = []
    for number, image in enumerate(images, 1):
        header = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image {number}"\r\n'
        parts += [header.encode(), b"Content-Type: application/octet-stream\r\n\r\n", image, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])
