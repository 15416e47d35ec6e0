"""A client of `ppzoo serve`. It needs only the standard library, NumPy for paths and arrays, and Pillow for arrays."""

from __future__ import annotations

import http.client
import io
import json
import operator
import os
import secrets
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard
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
        retry_after: seconds after which the service accepts requests again, if it reported them.
    """

    exit_status = 1

    def __init__(self, text: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after = status, retry_after


class Client:
    """Predicts the classes of images with `ppzoo serve`. Only one thread can use a client at a time.

    Args:
        url: the address of the service, such as "http://127.0.0.1:8000".
        token: the token of the service.
        model: the name of the model; by default the only model of the service.
        timeout: seconds that the service can take for a response.

    Raises:
        ConfigError: the address is not an http or https URL, the token cannot be sent in a header, or the timeout
            is not valid.
    """

    def __init__(self, url: str, *, token: str | None = None, model: str | None = None, timeout: float = 30.0) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in ("http", "https"):
            raise ConfigError(f"url: expected http://HOST:PORT, got {url!r}")
        if any(not "!" <= character <= "~" for character in parts.netloc + parts.path):
            raise ConfigError(f"url: expected http://HOST:PORT without spaces and special characters, got {url!r}")
        if timeout is not None and not (isinstance(timeout, (int, float)) and 0 < timeout <= threading.TIMEOUT_MAX):
            raise ConfigError(f"timeout: expected a number of seconds above 0, got {timeout!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(host, port, timeout=timeout)
        self._url, self._prefix = url, parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {_check_token(token)}"} if token else {}
        self._model = model

    def predict(self, images: Image | Sequence[Image], topk: int = 5) -> list[dict[str, Any]]:
        """Return the `topk` classes of each image, best first, as `Predictor.predict` does.

        Args:
            images: a path, the bytes of an image file, or an H x W x 3 uint8 RGB array; or a list of these. Arrays can
                also have 1 or 4 channels, if the network takes images with as many channels.

        Raises:
            ConfigError: `topk` is not an integer of at least 1, or no model is chosen and the service has none or
                several.
            DataError: this process or the service cannot read an image; for a list `BatchError`, with the predictions
                of the others.
            ServiceError: the service cannot be reached, or refused the request.
        """
        topk = _check_topk(topk)
        image_list: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        encoded: dict[int, bytes] = {}
        errors: dict[int, DataError] = {}
        for index, image in enumerate(image_list):
            try:
                encoded[index] = _encode(image)
            except DataError as error:
                errors[index] = error
        results: list[Any] = [None] * len(image_list)
        for index, prediction in zip(encoded, self._predict(list(encoded.values()), topk), strict=True):
            prediction.pop("name", None)
            if "error" in prediction:
                errors[index] = DataError(prediction["error"])
            else:
                results[index] = prediction
        if errors and image_list is not images:
            raise errors[0]
        if errors:
            raise BatchError(dict(sorted(errors.items())), results)
        return results

    def _predict(self, files: Sequence[bytes], topk: int) -> list[dict[str, Any]]:
        """Return the service's prediction or error of each image file."""
        if not files:
            return []
        boundary = secrets.token_hex(16)
        path = f"/v1/models/{quote(self._model or self._only_model(), safe='')}:predict?topk={topk}"
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, content, retry = self._send("POST", path, _multipart(files, boundary), headers)
        predictions = content.get("predictions")
        if status >= 500 or not _is_list_of_objects(predictions) or len(predictions) != len(files):
            raise self._error(status, content, retry)
        return predictions

    def models(self) -> list[dict[str, Any]]:
        """Return the description of each model: name, readiness, engine, input shape and classes.

        A model that is not ready has only name and readiness.

        Raises:
            ServiceError: the service cannot be reached, or refused the request.
        """
        status, content, retry = self._send("GET", "/v1/models")
        models = content.get("models")
        if status != 200 or not _is_list_of_objects(models) or not all("name" in model for model in models):
            raise self._error(status, content, retry)
        return models

    def is_ready(self) -> bool:
        """Return whether the service can be reached and all of its models are ready to predict."""
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
        if not names:
            raise ConfigError(
                "model: expected a service with a model, got one without models; start `ppzoo serve EXPORT`"
            )
        if len(names) > 1:
            raise ConfigError(f"model: expected one of {', '.join(map(str, names))}, since the service has several")
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
            fix = "; start `ppzoo serve` there, or correct the URL" if isinstance(error, ConnectionRefusedError) else ""
            raise ServiceError(f"{self._url}: no response ({error or type(error).__name__}){fix}") from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ServiceError(f"{self._url}: no response ({error or type(error).__name__})") from error
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            parsed = {}
        retry = response.headers.get("Retry-After", "")
        return response.status, parsed if isinstance(parsed, dict) else {}, float(retry) if retry.isdecimal() else None

    def _error(self, status: int, content: dict[str, Any], retry_after: float | None) -> ServiceError:
        problem = content.get("error", f"status {status}")
        if status == 200:
            problem = "expected a response of `ppzoo serve`, got another one; check the address"
        return ServiceError(f"{self._url}: {problem}", status, retry_after)


def _check_token(token: str) -> str:
    """Return a token without the spaces and line ends around it, as `ppzoo serve` reads its own."""
    stripped = token.strip()
    if not (stripped and stripped.isascii() and stripped.isprintable()) or " " in stripped:
        raise ConfigError("token: expected printable ASCII characters without spaces, got other ones or none")
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


def _is_list_of_objects(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _encode(image: Any) -> bytes:
    """Return an image as the bytes of a file."""
    if isinstance(image, bytes):
        return image
    from ppzoo.image_inputs import describe_invalid_image, to_path  # which needs NumPy

    try:
        if isinstance(image, (str, os.PathLike)):
            return _read(to_path(image))
        if _is_pixels(image):
            return _png(image)
        raise DataError("not an image")
    except DataError as error:
        raise DataError(describe_invalid_image(image, error, channels=3)) from error


def _read(path: str) -> bytes:
    try:
        return read_plain_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _is_pixels(image: Any) -> bool:
    """Whether an object is an H x W x C array of RGB, gray or RGBA pixels."""
    shape: Sequence[int] = getattr(image, "shape", ())
    return len(shape) == 3 and shape[2] in (1, 3, 4) and 0 not in shape and str(getattr(image, "dtype", "")) == "uint8"


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _multipart(images: Sequence[bytes], boundary: str) -> bytes:
    parts: list[bytes] = []
    for number, image in enumerate(images, 1):
        header = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image {number}"\r\n'
        parts += [header.encode(), b"Content-Type: application/octet-stream\r\n\r\n", image, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])
