"""Normalizing bytes to floats, bit-identical to NumPy."""

from __future__ import annotations

import numpy as np

from ppzoo.data.compiled.library import loaded_library

FLOAT = np.dtype(np.float32)
CACHE_BYTES = 4 << 20  # larger batches are written past the processor's caches


def pack_channels(scale: np.float32, mean: np.ndarray, std: np.ndarray) -> bytes:
    """Return the parameters of `normalize`; `mean` and `std` have one float32 per channel."""
    return np.concatenate([[scale], mean, std]).astype(np.float32).tobytes()


def normalize(
    images: np.ndarray, channels: bytes, result: np.ndarray, batch_bytes: int = 0, *, mirrored: bool = False
) -> bool:
    """Write (images * scale - mean) / std to `result`; return False if compiled code cannot do this.

    For most values of `std` the result is bit-identical to NumPy's; for the others it can differ in the last place.
    Callers therefore compare the results for all 256 byte values.

    Args:
        images: N x H x W x 3 uint8.
        channels: from `pack_channels`, of 3 channels.
        result: N x 3 x H x W float32, C-contiguous.
        batch_bytes: size of the batch of which `result` is a part.
        mirrored: mirror the images horizontally.
    """
    library = loaded_library()
    if library is None or images.shape[3] != 3:
        return False
    images = np.ascontiguousarray(images)
    count, height, width, _ = images.shape
    if (result.size, result.dtype) != (images.size, FLOAT) or not result.flags.c_contiguous:
        raise ValueError(f"expected a contiguous float32 result of {images.size} values, got {result.shape}")
    is_large = max(result.nbytes, batch_bytes) > CACHE_BYTES
    library.ppzoo_normalize(images.ctypes.data, count, height, width, channels, mirrored, is_large, result.ctypes.data)
    return True
