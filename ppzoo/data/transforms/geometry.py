"""Transforms of size and place: resize, crop, random crop, flip. Their rounding is PaddleClas's, to the pixel."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ppzoo.data.transforms.pixels import require_fit, room, width_height
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, suggestion

INTERPOLATIONS: dict[str, dict[str, int]] = {
    "cv2": {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos": cv2.INTER_LANCZOS4,
    },
    "pil": {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "box": Image.Resampling.BOX,
        "hamming": Image.Resampling.HAMMING,
        "lanczos": Image.Resampling.LANCZOS,
    },
}


class Resize:
    """Resizes H x W x C uint8 images with OpenCV or Pillow, whose filters differ: only Pillow's widen when shrinking.

    Without a named interpolation each does what it does by itself: OpenCV bilinear, Pillow bicubic.

    Raises:
        ConfigError: an interpolation that the back end does not have.
    """

    def __init__(self, interpolation: str | None, backend: str) -> None:
        self.backend = backend.lower()
        if self.backend not in INTERPOLATIONS:
            raise ConfigError(f"backend: expected 'cv2' or 'pil', got {backend!r}")
        table = INTERPOLATIONS[self.backend]
        name = (interpolation or {"cv2": "bilinear", "pil": "bicubic"}[self.backend]).lower()
        if name not in table:
            raise ConfigError(
                f"interpolation: {interpolation!r} is unknown to back end {self.backend!r}{suggestion(name, table)}"
            )
        self.code = table[name]

    def __call__(self, image: np.ndarray, width: int, height: int) -> np.ndarray:
        if self.backend == "cv2":
            resized = cv2.resize(image, (width, height), interpolation=self.code)
        else:
            source = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
            resized = np.asarray(source.resize((width, height), self.code))
        return resized.reshape(height, width, image.shape[2])


class Window(NamedTuple):
    """A part of an image, in pixels, and the size of the result, to which `resize` brings it."""

    left: float
    top: float
    width: float
    height: float
    size: tuple[int, int]
    resize: Resize

    def scaled(self, x: float, y: float) -> Window:
        """The same part of the image at another size."""
        return self._replace(left=self.left * x, top=self.top * y, width=self.width * x, height=self.height * y)

    def of(self, image: np.ndarray) -> np.ndarray:
        """The window's content, resized; of parts of pixels the nearest whole ones are taken."""
        require_fit("ResizeImage", *self.size)
        left, top = round(self.left), round(self.top)
        right, bottom = max(round(self.left + self.width), left + 1), max(round(self.top + self.height), top + 1)
        return self.resize(image[top:bottom, left:right], *self.size)


@TRANSFORMS.register
class ResizeImage:
    """Resize to a given size, or so that the shorter side has a given length.

    Args:
        size: side of a square, or [width, height].
        resize_short: length of the shorter side; the other is rounded to the nearest, halves to even.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos"; "area" (cv2); "box", "hamming" (pil);
            None: bilinear with cv2, bicubic with pil.
        backend: "cv2" or "pil".
        return_numpy: accepted for PaddleClas's files, without effect: images are arrays here in either case.

    Raises:
        ConfigError: not exactly one of `size` and `resize_short`, or one that is not positive.
        DataError: an image so narrow that the result would have more than `MAX_PIXELS` pixels.
    """

    def __init__(
        self,
        *,
        size: int | list[int] | None = None,
        resize_short: int | None = None,
        interpolation: str | None = None,
        backend: str = "cv2",
        return_numpy: bool = True,
    ) -> None:
        if (size is None) == (resize_short is None):
            raise ConfigError("ResizeImage: expected one of size and resize_short, got both or none")
        if resize_short is not None and resize_short < 1:
            raise ConfigError(f"ResizeImage.resize_short: expected a positive number, got {resize_short}")
        self.size = None if size is None else width_height("ResizeImage.size", size)
        if resize_short is not None:
            width_height("ResizeImage.resize_short", resize_short)
        self.resize_short = resize_short or 0
        self.resize = Resize(interpolation, backend)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return self.window(image.shape[0], image.shape[1], random).of(image)

    def window(self, height: int, width: int, random: np.random.Generator) -> Window:
        """What is taken of an image of that size: all of it."""
        size = self.size
        if size is None:
            factor = self.resize_short / min(width, height)
            size = round(width * factor), round(height * factor)
        return Window(0, 0, width, height, size, self.resize)


@TRANSFORMS.register
class CropImage:
    """Cut out the center.

    Args:
        size: side of a square, or [width, height].

    Raises:
        DataError: the image is smaller.
    """

    def __init__(self, *, size: int | list[int]) -> None:
        self.width, self.height = width_height("CropImage.size", size)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        rows, columns = room("CropImage", image, self.width, self.height)
        top, left = rows // 2, columns // 2
        return image[top : top + self.height, left : left + self.width]


@TRANSFORMS.register
class RandCropImage:
    """Cut out a random part of random area and shape, and resize it: "Inception" augmentation.

    Szegedy et al.: "Going Deeper with Convolutions", arXiv:1409.4842, section 6. The aspect ratio is uniform in
    `ratio`; the area is uniform in `scale`, both bounds of which are lowered to the largest area that has the ratio
    and fits; the place is uniform. That is PaddleClas's distribution, drawn without rejection.

    Args:
        size: side of a square, or [width, height], of the result.
        scale: lowest and highest area, as fractions of the image's; [0.08, 1] by default.
        ratio: lowest and highest width / height; [3/4, 4/3] by default.
        interpolation: as in `ResizeImage`, or "random": bilinear or bicubic, each as likely.
        use_log_aspect: draw the logarithm of the aspect ratio uniformly, not the ratio itself.
        backend: as in `ResizeImage`.
    """

    def __init__(
        self,
        *,
        size: int | list[int],
        scale: list[float] | None = None,
        ratio: list[float] | None = None,
        interpolation: str | None = None,
        use_log_aspect: bool = False,
        backend: str = "cv2",
    ) -> None:
        self.size = width_height("RandCropImage.size", size)
        self.scale = _range("RandCropImage.scale", [0.08, 1.0] if scale is None else scale)
        self.ratio = _range("RandCropImage.ratio", [3 / 4, 4 / 3] if ratio is None else ratio)
        names = ["bilinear", "bicubic"] if interpolation == "random" else [interpolation]
        self.resizes = [Resize(name, backend) for name in names]
        self.use_log_aspect = use_log_aspect

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return self.window(image.shape[0], image.shape[1], random).of(image)

    def window(self, height: int, width: int, random: np.random.Generator) -> Window:
        """What is cut out of an image of that size."""
        lowest, highest = self.ratio
        if self.use_log_aspect:
            ratio = math.exp(random.uniform(math.log(lowest), math.log(highest)))
        else:
            ratio = random.uniform(lowest, highest)
        largest = min(width / height / ratio, height / width * ratio)
        low, high = (min(bound, largest) for bound in self.scale)
        area = width * height * random.uniform(low, high)
        crop_width = min(max(int(math.sqrt(area * ratio)), 1), width)
        crop_height = min(max(int(math.sqrt(area / ratio)), 1), height)
        left = int(random.integers(width - crop_width, endpoint=True))
        top = int(random.integers(height - crop_height, endpoint=True))
        resize = self.resizes[0] if len(self.resizes) == 1 else self.resizes[random.integers(2)]
        return Window(left, top, crop_width, crop_height, self.size, resize)


def _range(name: str, bounds: list[float]) -> tuple[float, float]:
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise ConfigError(f"{name}: expected [lowest, highest] above 0, got {bounds!r}")
    return bounds[0], bounds[1]


@TRANSFORMS.register
class RandFlipImage:
    """Mirror half of the images.

    Args:
        flip_code: 1: left and right change places; 0: top and bottom; -1: both at once.
    """

    def __init__(self, *, flip_code: Literal[-1, 0, 1] = 1) -> None:
        if flip_code not in (-1, 0, 1):
            raise ConfigError(f"RandFlipImage.flip_code: expected 1, 0 or -1, got {flip_code!r}")
        self.flip_code = flip_code

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.integers(2) == 0:
            return image
        return cv2.flip(image, self.flip_code).reshape(image.shape)
