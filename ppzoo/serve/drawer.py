"""The thread that draws Grad-CAM overlays for all models, so that the engines' threads are not blocked."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fastapi import HTTPException
from PIL import Image

from ppzoo.serve.limits import RETRY

if TYPE_CHECKING:
    from ppzoo.serve.options import Explain

MAX_WAITING = 8  # requests for overlays that are being computed or wait; more are refused


class Drawer:
    """Draws overlays in one thread; the number of images that wait for this thread is bounded."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ppzoo-grad-cam")
        self._count = 0

    async def draw(self, explain: Explain, image: bytes, class_id: int | None, timeout: float) -> bytes:
        """Return a PNG file with the overlay of an image.

        Raises:
            HTTPException: 503 too many images wait; 504 no result in time.
            PpzooError: the image cannot be read, or the network cannot be rebuilt.
        """
        if self._count >= MAX_WAITING:
            problem = f"{MAX_WAITING} images wait for their overlays; try again later"
            raise HTTPException(503, problem, headers=RETRY)
        self._count += 1
        try:
            drawn = asyncio.get_running_loop().run_in_executor(self._thread, _draw, explain, image, class_id)
            return await asyncio.wait_for(drawn, timeout)
        except asyncio.TimeoutError:
            raise HTTPException(504, f"no overlay within {timeout:g} s; try again later", headers=RETRY) from None
        finally:
            self._count -= 1

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _draw(explain: Explain, image: bytes, class_id: int | None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(explain(image, class_id)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
