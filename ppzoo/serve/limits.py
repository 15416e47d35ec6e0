"""Reading the bodies of requests, and checking their images, within the limits of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from fastapi import HTTPException, Request

from ppzoo.data.transforms.decode import TooManyPixelsError, check_header
from ppzoo.errors import DataError
from ppzoo.serve.options import Limits

# Of a refused body, up to this multiple of `max_upload` is read and discarded: a client that is still sending does not
# read the response.
MAX_DRAINED = 4
MAX_DRAIN_SECONDS = 5.0
CLOSE = {"Connection": "close"}
RETRY = {"Retry-After": "1"}


@dataclass
class _Received:
    """The parts of a body that have arrived, and the number of their bytes."""

    chunks: list[bytes] = field(default_factory=list)
    size: int = 0

    def take(self) -> bytes:
        """Return the body; the parts are released, so that it is in memory once."""
        body = b"".join(self.chunks)
        self.chunks.clear()
        return body


class BodyReader:
    """Reads the bodies of requests within the limits; all of them together use at most `max_buffered` bytes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.buffered = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of a request, without keeping it; its bytes count as buffered until the block ends.

        Raises:
            HTTPException: 408 too slow; 413 too large; 415 compressed; 503 too many bytes are buffered.
            ClientDisconnect: the client has closed the connection.
        """
        stream, received = request.stream(), _Received()
        try:
            refusal = self._refuse_headers(request) or await asyncio.wait_for(
                self._receive(stream, received), self.limits.timeout
            )
            if refusal is not None:
                await self._drain(stream)
                raise refusal
            yield received.take()
        except asyncio.TimeoutError:
            problem = f"expected the complete request within {self.limits.timeout:g} s"
            raise HTTPException(408, problem, headers=CLOSE) from None
        finally:
            self.buffered -= received.size

    def _refuse_headers(self, request: Request) -> HTTPException | None:
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            problem = f"Content-Encoding: expected an uncompressed body, got {encoding!r:.40}"
            return HTTPException(415, problem, headers=CLOSE)
        declared = request.headers.get("content-length", "0")
        too_large = declared.isdecimal() and int(declared[:20]) > self.limits.max_upload
        return self._too_large() if too_large else None

    async def _receive(self, stream: AsyncIterator[bytes], received: _Received) -> HTTPException | None:
        """Append the parts of a body to `received`; return the reason if the body is refused, else None."""
        async for chunk in stream:
            if received.size + len(chunk) > self.limits.max_upload:
                return self._too_large()
            if self.buffered + len(chunk) > self.limits.max_buffered:
                problem = "too many uploads at the same time; try again later"
                return HTTPException(503, problem, headers={**CLOSE, **RETRY})
            self.buffered += len(chunk)
            received.size += len(chunk)
            received.chunks.append(chunk)
        return None

    async def _drain(self, stream: AsyncIterator[bytes]) -> None:
        """Discard the rest of a body up to a limit (see `MAX_DRAINED`)."""

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
    """Check the sizes in the header of an image. A file that is not an image passes: decoding refuses it.

    Raises:
        HTTPException: 413, the image has more than `max_pixels` pixels.
    """
    try:
        check_header(image, max_pixels)
    except TooManyPixelsError as error:
        problem = f"expected at most {max_pixels} pixels in an image, got {error.size}"
        raise HTTPException(413, problem) from None
    except DataError:
        return
