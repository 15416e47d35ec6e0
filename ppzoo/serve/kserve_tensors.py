"""Tensors of KServe's V2 protocol: JSON data, and the binary extension, whose data follow the JSON header."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppzoo.files import SURROGATES

BINARY_SIZE = "binary_data_size"
MAX_ELEMENTS = 1 << 28
MAX_AXES = 8
MAX_DIGITS = 20  # of the length of a header


class TensorError(Exception):
    """A request that does not follow the protocol; the text is for the client."""


def split_body(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON object of a request and the binary data behind it.

    Args:
        header_length: the header `Inference-Header-Content-Length`; without it the whole body is JSON.

    Raises:
        TensorError: the length or the JSON is not valid.
    """
    length = len(body)
    if header_length is not None:
        is_number = header_length.isascii() and header_length.isdecimal() and len(header_length) <= MAX_DIGITS
        if not is_number or int(header_length) > length:
            raise TensorError("Inference-Header-Content-Length: expected the number of bytes of the JSON header")
        length = int(header_length)
    try:
        content = json.loads(body[:length])
    except (ValueError, RecursionError):
        raise TensorError("expected a JSON object, got a body that is not JSON") from None
    if not isinstance(content, dict):
        raise TensorError("expected a JSON object, got other JSON")
    return content, memoryview(body)[length:]


def read_input(content: dict[str, Any], binary: memoryview) -> tuple[dict[str, Any], list[bytes] | np.ndarray]:
    """Return the only input of a request: its description, and its strings (BYTES) or its tensor (FP32).

    Raises:
        TensorError: there is not exactly one input, or its data do not fit its shape and type.
    """
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise TensorError("inputs: expected one input")
    entry = inputs[0]
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise TensorError("inputs[0].shape: expected a list of sizes")
    # The product of unlimited sizes would take minutes.
    if len(shape) > MAX_AXES or max(shape, default=0) > MAX_ELEMENTS or math.prod(shape) > MAX_ELEMENTS:
        raise TensorError(f"inputs[0].shape: expected at most {MAX_AXES} sizes and {MAX_ELEMENTS} elements, got more")
    count = math.prod(shape)
    parameters = entry.get("parameters", {})
    size = parameters.get(BINARY_SIZE) if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size != len(binary)):
        problem = f"expected {len(binary)}, the number of bytes after the JSON, got {size!r:.40}"
        raise TensorError(f"inputs[0].parameters.{BINARY_SIZE}: {problem}")
    data = binary if size is not None else entry.get("data")
    if entry.get("datatype") == "FP32":
        return entry, _read_floats(data, shape)
    if entry.get("datatype") == "BYTES":
        strings = _split_strings(data, count) if isinstance(data, memoryview) else _encode_strings(data)
        if len(strings) != count:
            raise TensorError(f"inputs[0].data: expected {count} elements, got {len(strings)}")
        return entry, strings
    raise TensorError(f"inputs[0].datatype: expected FP32 or BYTES, got {entry.get('datatype')!r:.40}")


def read_id(content: dict[str, Any]) -> str | None:
    """Return the identifier of a request, which the response repeats; None without one.

    Raises:
        TensorError: it is not text, or contains half of a surrogate pair, which UTF-8 cannot represent.
    """
    identifier = content.get("id")
    if identifier is not None and (not isinstance(identifier, str) or SURROGATES.search(identifier)):
        raise TensorError("id: expected text")
    return identifier


def _read_floats(data: memoryview | Any, shape: Sequence[int]) -> np.ndarray:
    try:
        values = (np.frombuffer(data, "<f4") if isinstance(data, memoryview) else _to_floats(data)).reshape(shape)
    except ValueError:
        raise TensorError(f"inputs[0].data: expected {math.prod(shape)} numbers for the shape {list(shape)}") from None
    if not np.isfinite(values).all():
        raise TensorError("inputs[0].data: expected finite numbers, got infinity or NaN")
    return values


def _to_floats(data: Any) -> np.ndarray:
    """Return nested lists of numbers as float32; numbers beyond its range become infinite.

    Raises:
        ValueError: something else than numbers, or lists of different lengths.
    """
    values = np.asarray(data)
    if values.dtype.kind not in "iuf":
        raise ValueError("expected numbers")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _split_strings(data: memoryview, count: int) -> list[bytes]:
    """Return the strings of binary data: each has its length in front, as a little-endian uint32."""
    strings: list[bytes] = []
    start = 0
    while start + 4 <= len(data) and len(strings) < count:
        (length,) = struct.unpack_from("<I", data, start)
        strings.append(bytes(data[start + 4 : start + 4 + length]))
        start += 4 + length
    if start != len(data):
        raise TensorError("inputs[0]: the lengths of the strings do not fit the binary data")
    return strings


def _encode_strings(data: Any) -> list[bytes]:
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise TensorError("inputs[0].data: expected a list of strings")
    return [text.encode(errors="surrogatepass") for text in data]


def write_output(name: str, values: np.ndarray, header: dict[str, Any], *, is_binary: bool) -> tuple[bytes, int | None]:
    """Return the body of a response with one output, and the length of its JSON; None if no binary data follow.

    Args:
        values: float32, or an object array of bytes.
        header: further entries of the JSON.
    """
    is_text = values.dtype == object
    entry: dict[str, Any] = {"name": name, "datatype": "BYTES" if is_text else "FP32", "shape": list(values.shape)}
    binary = b""
    if is_binary:
        binary = _join_strings(values) if is_text else values.astype("<f4").tobytes()
        entry["parameters"] = {BINARY_SIZE: len(binary)}
    else:
        entry["data"] = [text.decode() for text in values.ravel()] if is_text else values.ravel().tolist()
    content = json.dumps({**header, "outputs": [entry]}, ensure_ascii=False).encode()
    return content + binary, len(content) if is_binary else None


def _join_strings(values: np.ndarray) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in values.ravel())
