"""Frames of video files and cameras, decoded by OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ppzoo.errors import DataError
from ppzoo.files import open_plain_file
from ppzoo.host import MAX_PIXELS

# A video is untrusted: a playlist in it must only refer to local files. FFmpeg must not print messages.
FFMPEG_SETTINGS = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file", "OPENCV_FFMPEG_LOGLEVEL": "-8"}
MISSING_FRAMES = 0.02  # up to this fraction missing frames are ignored: a file's header has an estimated number


class VideoSource(NamedTuple):
    """A video file, or a camera by number."""

    name: str | int

    @property
    def is_camera(self) -> bool:
        return isinstance(self.name, int)

    def __str__(self) -> str:
        return f"camera {self.name}" if self.is_camera else str(self.name)


class Frame(NamedTuple):
    """A frame: its number from 0, its time since the start, and its pixels, H x W x 3 uint8 RGB."""

    number: int
    seconds: float
    pixels: np.ndarray


class Video:
    """An opened video or camera.

    Attributes:
        count: number of frames according to the header of the file; None if it is unknown.

    Raises:
        DataError: the video or camera cannot be opened, or its frames are too large.
    """

    def __init__(self, source: VideoSource) -> None:
        import cv2

        self.source = source
        for name, value in FFMPEG_SETTINGS.items():
            os.environ.setdefault(name, value)
        if isinstance(source.name, int):
            self._capture: Any = cv2.VideoCapture(source.name)
            expected = "expected a camera that can be opened, got none; `ls /dev/video*` lists the cameras on Linux"
        else:
            try:
                open_plain_file(source.name).close()
            except OSError as error:
                raise DataError(f"{source}: cannot read the video: {error.strerror}") from error
            self._capture = cv2.VideoCapture(os.path.abspath(source.name), cv2.CAP_FFMPEG)
            expected = (
                "expected a video, got a file that is damaged or that OpenCV cannot decode; replace it, or convert it"
                " to .mp4"
            )
        if not self._capture.isOpened():
            raise DataError(f"{source}: {expected}")
        width, height, count = (
            int(self._capture.get(key))
            for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT)
        )
        if width * height > MAX_PIXELS:
            raise DataError(f"{source}: expected at most {MAX_PIXELS} pixels, got {width} x {height}; reduce its size")
        self.count = count if count > 0 and not source.is_camera else None
        self._milliseconds = cv2.CAP_PROP_POS_MSEC
        self._started = time.monotonic()
        self._next = 0

    def frames(self, numbers: Iterator[int]) -> Iterator[Frame]:
        """Yield the frames with these numbers, which must increase, until the video ends."""
        import cv2

        for number in numbers:
            while self._next <= number:
                if not self._capture.grab():
                    return
                self._next += 1
            is_read, pixels = self._capture.retrieve()
            if not is_read:
                return
            yield Frame(number, self._seconds(), cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))

    def close(self) -> None:
        self._capture.release()

    def _seconds(self) -> float:
        if self.source.is_camera:
            return round(time.monotonic() - self._started, 3)
        return round(self._capture.get(self._milliseconds) / 1e3, 3)


def missing_frames(read: int, count: int | None) -> int:
    """Return how many frames of a video could not be read; a small number counts as 0, since headers state estimates.

    Args:
        read: number of frames that were read.
        count: number of frames according to the header; None if it is unknown.
    """
    missing = (count or 0) - read
    return missing if missing > max(2, MISSING_FRAMES * (count or 0)) else 0
