"""Crops: of the center, a corner, or a random part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from ppzoo.data.compiled import resizing
from ppzoo.data.compiled.partial_jpeg import Bounds
from ppzoo.data.compiled.resizing import Axis, Resizing
from ppzoo.data.transforms.geometry import Resize, ResizeImage, Window
from ppzoo.data.transforms.pixels import check_at_least, check_output_size, crop_margins, parse_size
from ppzoo.data.transforms.registry import TRANSFORMS, Transform
from ppzoo.errors import ConfigError

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
CORNERS: tuple[Corner, ...] = get_args(Corner)

MARGIN = 2  # pixels; bilinear interpolation reads two


@TRANSFORMS.register
class CropImage:
    """Crop the center.

    Args:
        size: side of a square, or [width, height], in pixels.

    Raises:
        DataError: the image is smaller.
    """

    def __init__(self, *, size: int | list[int]) -> None:
        self.width, self.height = parse_size("CropImage.size", size)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        rows, columns = crop_margins("CropImage", image, self.width, self.height)
        top, left = rows // 2, columns // 2
        return image[top : top + self.height, left : left + self.width]


@TRANSFORMS.register
class CropCorner:
    """Crop a corner. Ten-crop evaluation uses the four corners, the center, and the mirror images of these crops.

    Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012, 4.1.

    Args:
        size: side of a square, or [width, height], in pixels.
        corner: the corner to keep.

    Raises:
        ConfigError: an unknown corner.
        DataError: the image is smaller.
    """

    def __init__(self, *, size: int | list[int], corner: Corner) -> None:
        if corner not in CORNERS:
            raise ConfigError(f"CropCorner.corner: expected one of {', '.join(CORNERS)}, got {corner!r}")
        self.width, self.height = parse_size("CropCorner.size", size)
        self.vertical, self.horizontal = corner.split("_")

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        rows, columns = crop_margins("CropCorner", image, self.width, self.height)
        top = 0 if self.vertical == "top" else rows
        left = 0 if self.horizontal == "left" else columns
        return image[top : top + self.height, left : left + self.width]


@TRANSFORMS.register
class RandCropImage:
    """Crop a random area with a random aspect ratio, and resize it: "Inception" augmentation (RandomResizedCrop).

    Szegedy et al.: "Going Deeper with Convolutions", arXiv:1409.4842, section 6. The aspect ratio is uniform in
    `ratio`; the area is uniform in `scale`, both bounds of which are clipped to the largest area that fits with that
    ratio; the position is uniform. This is PaddleClas's distribution, drawn without rejection.

    Args:
        size: side of the square result, or [width, height] of the result, in pixels.
        scale: [lowest, highest] area, as fractions of the image's; [0.08, 1] by default.
        ratio: [lowest, highest] width / height; [3/4, 4/3] by default.
        interpolation: as in `ResizeImage`, or "random": bilinear or bicubic with equal probability.
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
        self.size = parse_size("RandCropImage.size", size)
        self.scale = _range("RandCropImage.scale", [0.08, 1.0] if scale is None else scale)
        self.ratio = _range("RandCropImage.ratio", [3 / 4, 4 / 3] if ratio is None else ratio)
        names = ["bilinear", "bicubic"] if interpolation == "random" else [interpolation]
        self.resizes = [Resize(name, backend) for name in names]
        self.use_log_aspect = use_log_aspect

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return self.window(image.shape[0], image.shape[1], random).of(image)

    def window(self, height: int, width: int, random: np.random.Generator) -> Window:
        """Draw the crop of an image of that size."""
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
class RandCropImageV2:
    """Crop a given size at a random position.

    All positions are equally likely. (PaddleClas's crop can begin one pixel too far, and is then smaller.)

    Args:
        size: side of a square, or [width, height], in pixels.

    Raises:
        DataError: the image is smaller.
    """

    def __init__(self, *, size: int | list[int]) -> None:
        self.width, self.height = parse_size("RandCropImageV2.size", size)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        rows, columns = crop_margins("RandCropImageV2", image, self.width, self.height)
        top, left = random.integers(rows, endpoint=True), random.integers(columns, endpoint=True)
        return image[top : top + self.height, left : left + self.width]


@TRANSFORMS.register
class RandomCropImage(RandCropImageV2):
    """PaddleClas's other name for `RandCropImageV2`, in its configurations for attributes.

    Args:
        size: side of a square, or [width, height], in pixels.
    """


@TRANSFORMS.register
class CropImageAtRatio:
    """Crop a centered square whose side is size / (size + pad) of the shorter side, and resize it.

    Args:
        size: side of the result in pixels.
        pad: a number of pixels. The result shows the part of the image that remains when its shorter side is resized to
            `size` + `pad` pixels and the center is cropped to `size`.
        interpolation: as in `ResizeImage` with backend "cv2".
    """

    def __init__(self, *, size: int, pad: int, interpolation: str = "bilinear") -> None:
        self.size = parse_size("CropImageAtRatio.size", size)[0]
        self.ratio = size / (size + check_at_least("CropImageAtRatio.pad", pad, 0))
        self.resize = Resize(interpolation, "cv2")

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        side = max(int(self.ratio * min(height, width)), 1)
        top, left = (height - side) // 2, (width - side) // 2
        return self.resize(image[top : top + side, left : left + side], self.size, self.size)


class ResizedCrop:
    """`ResizeImage` and the `CropImage` after it in one: the same pixels, without resizing all of the image.

    That saves a fifth of the work for 256 pixels cropped to 224. OpenCV is called with the scale factor instead of the
    output size; the pixels to the right of the crop and below it then do not change the result and are cut off first.
    """

    def __init__(self, resize: ResizeImage, crop: CropImage) -> None:
        self.resize, self.crop = resize, crop

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return self.window(image.shape[0], image.shape[1], random).of(image)

    def window(self, height: int, width: int, random: np.random.Generator) -> ResizedWindow:
        """Return the window for an image of that size."""
        return ResizedWindow(width, height, self.resize.window(height, width, random).size, self)


class ResizedWindow(NamedTuple):
    """The part of an image of `width` x `height` that a `ResizedCrop` keeps; `size` is that of the resized image."""

    width: int
    height: int
    size: tuple[int, int]
    transform: ResizedCrop

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top of the crop in the resized image."""
        crop = self.transform.crop
        return (self.size[0] - crop.width) // 2, (self.size[1] - crop.height) // 2

    @property
    def bounds(self) -> Bounds:
        """The pixels of the image on which the result depends."""
        (left, top), (columns, rows), crop = self.corner, self.size, self.transform.crop
        if min(left, top) < 0:
            return 0, 0, self.width, self.height
        across, down = self.width / columns, self.height / rows
        first = max(math.floor(left * across) - MARGIN, 0), max(math.floor(top * down) - MARGIN, 0)
        right = _input_pixels(left + crop.width, across, self.width)
        return *first, right, _input_pixels(top + crop.height, down, self.height)

    @property
    def resizing(self) -> Resizing | None:
        """The resizing and the crop for compiled code; None if the crop is larger than the resized image."""
        (x, y), (columns, rows), crop = self.corner, self.size, self.transform.crop
        if min(x, y) < 0:
            return None
        check_output_size("ResizeImage", x + crop.width, y + crop.height)
        left, top, right, bottom = self.bounds
        across, down = 1 / (columns / self.width), 1 / (rows / self.height)
        return Resizing(
            Axis(across, 0, right, x, crop.width, left, right), Axis(down, 0, bottom, y, crop.height, top, bottom)
        )

    def of(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop an image; only its pixels within `bounds` are used."""
        (left, top), (columns, rows), crop = self.corner, self.size, self.transform.crop
        axes = self.resizing
        if axes is None:
            random = np.random.default_rng(0)  # not used
            return crop(self.transform.resize(image, random), random)
        compiled = resizing.resize(image, axes)
        if compiled is not None:
            return compiled
        _, _, right, bottom = self.bounds
        code, fx, fy = self.transform.resize.resize.code, columns / self.width, rows / self.height
        resized = cv2.resize(image[:bottom, :right], None, fx=fx, fy=fy, interpolation=code)
        resized = resized.reshape(*resized.shape[:2], image.shape[2])
        return resized[top : top + crop.height, left : left + crop.width]


def fuse_resized_crops(transforms: Sequence[Transform]) -> list[Transform]:
    """Replace each `ResizeImage` that is bilinear (OpenCV) and the `CropImage` after it by one `ResizedCrop`."""
    fused: list[Transform] = []
    for transform in transforms:
        if isinstance(transform, CropImage) and fused and _is_bilinear(fused[-1]):
            transform = ResizedCrop(fused.pop(), transform)  # type: ignore[arg-type]
        fused.append(transform)
    return fused


def _is_bilinear(transform: Transform) -> bool:
    return isinstance(transform, ResizeImage) and transform.resize.is_bilinear


def _input_pixels(output_pixels: int, scale: float, available: int) -> int:
    """Return on how many input pixels the first `output_pixels` depend; `scale`: input pixels per output pixel."""
    return min(math.ceil(output_pixels * scale) + MARGIN, available)
