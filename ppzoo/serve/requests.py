"""Parsing of prediction requests: raw bytes, multipart files, or JSON with base64."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ppzoo.serve.options import Limits

DEFAULT_TOPK, MAX_TOPK = 5, 1000
RAW_TYPES = ("image/", "application/octet-stream")
JSON_FORM = '{"images": ["BASE64", ...], "topk": 5}'


class Images(NamedTuple):
    """The images of a request, a name for each, and the requested number of classes."""

    names: list[str]
    images: list[bytes]
    topk: int


async def parse_images(request: Request, body: bytes, limits: Limits) -> Images:
    """Return the images of a request.

    Raises:
        HTTPException: 400 the body is not valid; 413 too many images; 415 the content type is not supported.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    topk = parse_topk(request.query_params.get("topk", DEFAULT_TOPK))
    if kind == "multipart/form-data":
        parsed = await _parse_multipart(request, body, limits, topk)
    elif kind == "application/json":
        parsed = _parse_json(body, topk)
    elif kind.startswith(RAW_TYPES):
        parsed = Images(["image"], [body], topk)
    else:
        raise HTTPException(
            415,
            "Content-Type: expected multipart/form-data, application/json, application/octet-stream or image/*,"
            f" got {kind!r:.60}",
        )
    if not parsed.images:
        raise HTTPException(400, "expected at least one image, got none")
    if len(parsed.images) > limits.max_images:
        raise HTTPException(413, f"expected at most {limits.max_images} images in a request, got {len(parsed.images)}")
    return parsed


def parse_topk(value: object) -> int:
    """Return the requested number of classes.

    Raises:
        HTTPException: 400, it is not an integer from 1 to `MAX_TOPK`.
    """
    text = str(value)
    if isinstance(value, (int, str)) and text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_TOPK:
        return int(text[:9])
    raise HTTPException(400, f"topk: expected an integer from 1 to {MAX_TOPK}, got {text!r:.40}")


def load_json(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        HTTPException: 400, it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"expected JSON, got a body that is not valid ({type(error).__name__})") from None


async def _parse_multipart(request: Request, body: bytes, limits: Limits, topk: int) -> Images:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=limits.max_images + 1, max_fields=16)
    parser.spool_max_size = limits.max_upload  # keep files in memory: their size is already limited
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeError) as error:  # KeyError: no boundary
        message = getattr(error, "message", "not a multipart body")
        status = 413 if "Too many" in message else 400
        raise HTTPException(status, f"expected multipart/form-data, got a damaged body ({message})") from None
    names, images = [], []
    for key, value in form.multi_items():
        if isinstance(value, UploadFile):
            names.append(value.filename or "image")
            images.append(value.file.read())
        elif key == "topk":
            topk = parse_topk(value)
    await form.close()
    return Images(names, images, topk)


def _parse_json(body: bytes, topk: int) -> Images:
    content = load_json(body)
    encoded = content.get("images") if isinstance(content, dict) else None
    if not isinstance(encoded, list) or not all(isinstance(text, str) for text in encoded):
        raise HTTPException(400, f"expected {JSON_FORM}, got other JSON")
    unknown = sorted(set(content) - {"images", "topk"})
    if unknown:
        raise HTTPException(400, f"expected {JSON_FORM}, got the key {unknown[0]!r:.60}")
    try:
        # Without white space: `base64 FILE` and Python's `encodebytes` break lines.
        parts = ("".join(text.rpartition("base64,")[2].split()) for text in encoded)
        images = [base64.b64decode(text, validate=True) for text in parts]
    except (binascii.Error, ValueError):
        raise HTTPException(400, "images: expected base64, got other text") from None
    return Images(
        [f"image {number}" for number in range(1, len(images) + 1)], images, parse_topk(content.get("topk", topk))
    )
