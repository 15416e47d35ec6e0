"""JPEGs decoded at a fraction of their size, where what is made of them is smaller still.

A JPEG keeps blocks of 8 x 8 pixels as sums of cosines; leaving out the finer ones answers blocks of 4, 2 or 1 pixels
for less work, and what follows has fewer pixels to go through. The pixels are other ones than those of the whole image,
so that it is done by name only: `DecodeImage(reduced=...)`.
"""

from __future__ import annotations

import numpy as np

from ppzoo.data.transforms.decode import DecodeImage, check_header, opened
from ppzoo.data.transforms.geometry import RandCropImage, ResizeImage, Window
from ppzoo.data.transforms.jpeg import JpegHeader
from ppzoo.errors import ConfigError

ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # orientations that lie on their side
DIVISORS = (8, 4, 2)


class ReducedDecode:
    """`decode` and what follows it as one: the part is drawn first, and then the image decoded as small as it may be.

    What is drawn, and where it lies in the image, is the same as without.

    Raises:
        ConfigError: what follows is neither `RandCropImage` nor `ResizeImage`.
    """

    def __init__(self, decode: DecodeImage, follower: object) -> None:
        if not isinstance(follower, RandCropImage | ResizeImage):
            raise ConfigError(
                "DecodeImage.reduced: expected RandCropImage or ResizeImage right after it, got "
                f"{type(follower).__name__ if follower else 'nothing'}: put one there or leave reduced out"
            )
        assert decode.reduced is not None
        self.decode, self.follower, self.needed = decode, follower, decode.reduced

    def __call__(self, image: bytes | np.ndarray, random: np.random.Generator) -> np.ndarray:
        header = check_header(image) if isinstance(image, bytes) else None
        if header is None or not isinstance(image, bytes):
            return self.follower(self.decode(image, random), random)
        width, height = _upright_size(image, header)
        window = self.follower.window(height, width, random)
        pixels = self.decode.decode_reduced(image, self._divisor(window))
        return window.scaled(pixels.shape[1] / width, pixels.shape[0] / height).of(pixels)

    def _divisor(self, window: Window) -> int:
        ratio = min(window.width / window.size[0], window.height / window.size[1])
        return next((divisor for divisor in DIVISORS if ratio / divisor >= self.needed), 1)


def _upright_size(data: bytes, header: JpegHeader) -> tuple[int, int]:
    """Width and height once the image is turned as its EXIF segment asks."""
    if header.has_exif:
        with opened(data) as image:
            if image.getexif().get(ORIENTATION) in TURNED:
                return header.height, header.width
    return header.width, header.height
