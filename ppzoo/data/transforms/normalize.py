"""Normalizing pixels and moving channels first."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ppzoo.arithmetic import evaluate_arithmetic
from ppzoo.data.compiled.library import loaded_library
from ppzoo.data.compiled.normalization import normalize, pack_channels
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, DataError, count_text


@TRANSFORMS.register
class NormalizeImage:
    """(image * scale - mean) / std, in float32.

    uint8 values are normalized by compiled code or looked up in a table per channel, both without an intermediate image
    and bit-identical to NumPy's arithmetic. In memory, the result always has its channels first, also if its shape is
    H x W x C.

    Args:
        scale: factor on the pixels: a number, or arithmetic such as "1.0/255.0"; 1/255 by default.
        mean, std: one value per channel; ImageNet's by default.
        order: "chw" for C x H x W images; "" or "hwc" for H x W x C.
        output_fp16: return float16.
        channel_num: 3, or 4 to append a channel of zeros.

    Raises:
        ConfigError: an option out of its range.
        DataError: an image whose number of channels differs from that of `mean` and `std`.
    """

    def __init__(
        self,
        *,
        scale: float | str | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        order: str = "chw",
        output_fp16: bool = False,
        channel_num: int = 3,
    ) -> None:
        if order not in ("chw", "hwc", ""):
            raise ConfigError(f"NormalizeImage.order: expected 'chw', 'hwc' or '', got {order!r}")
        if channel_num not in (3, 4):
            raise ConfigError(f"NormalizeImage.channel_num: expected 3 or 4, got {channel_num}")
        self.scale = np.float32(
            evaluate_arithmetic(scale) if isinstance(scale, str) else 1 / 255 if scale is None else scale
        )
        self.mean = np.array([0.485, 0.456, 0.406] if mean is None else mean, np.float32)
        self.std = np.array([0.229, 0.224, 0.225] if std is None else std, np.float32)
        if len(self.mean) != len(self.std) or not len(self.mean):
            raise ConfigError(f"NormalizeImage: expected mean and std of the same length, got {mean} and {std}")
        if not self.std.all():
            raise ConfigError(f"NormalizeImage.std: expected no value of 0, got {std}")
        self.channel_first = self.takes_channels_first = order == "chw"
        self.dtype = np.float16 if output_fp16 else np.float32
        self.padding = channel_num - 3
        self.packed = pack_channels(self.scale, self.mean, self.std)
        self.equals_compiled: bool | None = None  # not known until the compiled code is available
        self.tables = self._normalize(np.tile(np.arange(256, dtype=np.float32), (len(self.mean), 1, 1)))

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        self.check(image)
        planes = image if self.channel_first else image.transpose(2, 0, 1)
        channels = len(planes)
        result = np.empty((channels + self.padding, *planes.shape[1:]), np.float32)
        result[channels:] = 0
        if image.dtype != np.uint8:
            result[:channels] = self._normalize(planes.astype(np.float32))
        elif self.channel_first:
            self._look_up(planes, result)
        else:
            self.write(image[np.newaxis], result[np.newaxis, :channels])
        result = result.astype(self.dtype, copy=False)
        return result if self.channel_first else result.transpose(1, 2, 0)

    def check(self, image: np.ndarray) -> None:
        """Check the shape of an image.

        Raises:
            DataError: its number of channels differs from that of `mean` and `std`.
        """
        axis = 0 if self.channel_first else 2
        if image.ndim != 3 or image.shape[axis] != len(self.mean):
            expected = f"expected an image with {count_text(len(self.mean), 'channel')} in axis {axis}"
            raise DataError(f"NormalizeImage: {expected}, got shape {image.shape}: correct mean and std, or order")

    @property
    def takes_batches(self) -> bool:
        """Whether `batch` can be used with these options."""
        return not self.channel_first and not self.padding and self.dtype == np.float32

    def batch(self, images: np.ndarray) -> np.ndarray:
        """Normalize N x H x W x C uint8 to N x C x H x W float32, bit-identical to normalizing each image."""
        result = np.empty((len(images), images.shape[3], *images.shape[1:3]), np.float32)
        self.write(images, result)
        return result

    def write(self, images: np.ndarray, result: np.ndarray, batch_bytes: int = 0, *, mirrored: bool = False) -> None:
        """Normalize images as `batch` does, into `result`: a C-contiguous part of a batch of `batch_bytes` bytes.

        Args:
            mirrored: mirror the images horizontally.
        """
        is_compiled = self.equals_compiled or self._is_compiled()
        if is_compiled and normalize(images, self.packed, result, batch_bytes, mirrored=mirrored):
            return
        if mirrored:
            images = np.ascontiguousarray(images[:, :, ::-1])
        for image, target in zip(images, result, strict=True):
            self._look_up(cv2.split(image), target)

    def _is_compiled(self) -> bool:
        """Whether the compiled code returns the same results as NumPy for every byte."""
        if self.equals_compiled is None and len(self.mean) == 3 and loaded_library() is not None:
            every_byte = np.tile(np.arange(256, dtype=np.uint8)[:, np.newaxis], (1, 1, 1, 3))
            found = np.empty((1, 3, 256, 1), np.float32)
            if normalize(every_byte, self.packed, found):
                self.equals_compiled = found.tobytes() == self.tables.tobytes()
        return bool(self.equals_compiled)

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and offset per channel: image * scale + offset equals the normalization up to rounding."""
        mean, std = self.mean.astype(np.float64), self.std.astype(np.float64)
        return (self.scale / std).astype(np.float32), (-mean / std).astype(np.float32)

    def _look_up(self, planes: Sequence[np.ndarray] | np.ndarray, result: np.ndarray) -> None:
        for plane, table, target in zip(planes, self.tables, result, strict=False):
            cv2.LUT(plane, table, dst=target)

    def _normalize(self, planes: np.ndarray) -> np.ndarray:
        """Normalize C x H x W float32 in place."""
        planes *= self.scale
        planes -= self.mean.reshape(-1, 1, 1)
        planes /= self.std.reshape(-1, 1, 1)
        return planes


@TRANSFORMS.register
class ToCHWImage:
    """Transpose images from H x W x C to C x H x W."""

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return image.transpose(2, 0, 1)
