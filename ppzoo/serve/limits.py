"""Limits of requests: size, pixels and time; and reading a request's body within them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import HTTPException, Request

from ppzoo.data.transforms.decode import open_image
from ppzoo.errors import ConfigError, DataError
from ppzoo.host import MAX_PIXELS

MEGABYTE = 1 << 20
MAX_DRAINED = (
    4  # how many times the limit of a refused body is read and discarded, so that the client sees the response
)
MAX_DRAIN_SECONDS = 5.0
CLOSE = {"Connection": "close"}
RETRY = {"Retry-After": "1"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a service.

    Attributes:
        max_upload: bytes of a request's body.
        max_buffered: bytes of the bodies of all requests together.
        max_pixels: width x height of an image.
        max_images: images in a request.
        queue: images that wait for a network.
        timeout: seconds to receive a request, and again seconds until its result.
        max_wait: seconds that an image waits at most for others to form a batch.
    """

    max_upload: int = 16 * MEGABYTE
    max_buffered: int = 256 * MEGABYTE
    max_pixels: int = 50_000_000
    max_images: int = 64
    queue: int = 256
    timeout: float = 10.0
    max_wait: float = 0.002

    def __post_init__(self) -> None:
        for key in ("max_upload", "max_buffered", "max_pixels", "max_images", "queue", "timeout"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"{key}: expected a number above 0, got {getattr(self, key)}")
        if not 0 <= self.max_wait <= 1:
            raise ConfigError(f"max_wait: expected 0 to 1 seconds, got {self.max_wait}")
        if self.max_pixels > MAX_PIXELS:
            raise ConfigError(f"max_pixels: expected at most {MAX_PIXELS}, got {self.max_pixels}")


class BodyReader:
    """Reads the bodies of requests within the limits; all of them together use at most `max_buffered` bytes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.buffered = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Give the body of a request; its bytes count as buffered until the block ends.

        Raises:
            HTTPException: 408 too slow; 413 too large; 415 compressed; 503 too many bytes are buffered.
            ClientDisconnect: the client has closed the connection.
        """
        stream, chunks = request.stream(), list[bytes]()
        try:
            refusal = self._refuse_headers(request) or await asyncio.wait_for(
                self._receive(stream, chunks), self.limits.timeout
            )
            if refusal is not None:
                await self._drain(stream)
                raise refusal
            yield b"".join(chunks)
        except asyncio.TimeoutError:
            problem = f"expected the complete request within {self.limits.timeout:g} s"
            raise HTTPException(408, problem, headers=CLOSE) from None
        finally:
            self.buffered -= sum(map(len, chunks))

    def _refuse_headers(self, request: Request) -> HTTPException | None:
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            problem = f"Content-Encoding: expected an uncompressed body, got {encoding!r:.40}"
            return HTTPException(415, problem, headers=CLOSE)
        declared = request.headers.get("content-length", "0")
        too_large = declared.isdecimal() and int(declared[:20]) > self.limits.max_upload
        return self._too_large() if too_large else None

    async def _receive(self, stream: AsyncIterator[bytes], chunks: list[bytes]) -> HTTPException | None:
        """Append the parts of a body; stop with the reason for which it is refused."""
        size = 0
        async for chunk in stream:
            size += len(chunk)
            if size > self.limits.max_upload:
                return self._too_large()
            if self.buffered + len(chunk) > self.limits.max_buffered:
                problem = "too many uploads at the same time; try again later"
                return HTTPException(503, problem, headers={**CLOSE, **RETRY})
            self.buffered += len(chunk)
            chunks.append(chunk)
        return None

    async def _drain(self, stream: AsyncIterator[bytes]) -> None:
        """Discard the rest of a body up to a limit: a client that is sending does not read the response."""

        async def discard() -> None:
            discarded = 0
            async for chunk in stream:
                discarded += len(chunk)
                if discarded > MAX_DRAINED * self.limits.max_upload:
                    return

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(discard(), min(MAX_DRAIN_SECONDS, self.limits.timeout))

    def _too_large(self) -> HTTPException:
        problem = f"expected at most {self.limits.max_upload} bytes in a request, got more"
        return HTTPException(413, problem, headers=CLOSE)


def require_few_pixels(image: bytes, max_pixels: int) -> None:
    """Check the size in the header of an image. A file that is not an image passes: decoding refuses it.

    Raises:
        HTTPException: 413, the image has more than `max_pixels` pixels.
    """
    try:
        with open_image(image) as opened:
            width, height = opened.size
    except DataError as error:
        if "pixels, got more" in error.line:
            raise HTTPException(413, f"expected at most {max_pixels} pixels in an image, got more") from None
        return
    if width * height > max_pixels:
        raise HTTPException(413, f"expected at most {max_pixels} pixels in an image, got {width} x {height}")
