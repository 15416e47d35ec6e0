"""Normalizing bytes to floats, bit-identical to NumPy."""

from __future__ import annotations

import ctypes

import numpy as np

from ppzoo.data.compiled.library import loaded_library

CACHE_BYTES = 4 << 20  # larger results are written past the processor's caches


def normalize(images: np.ndarray, scale: np.float32, mean: np.ndarray, std: np.ndarray) -> np.ndarray | None:
    """Return (images * scale - mean) / std; None if the compiled code is not available.

    For most values of `std` it is bit-identical to NumPy, and within half a unit in the last place else: compare it for
    all 256 bytes.

    Args:
        images: N x H x W x 3 uint8.
        mean, std: one float32 per channel.

    Returns:
        N x 3 x H x W float32.
    """
    library = loaded_library()
    if library is None or images.shape[3] != 3:
        return None
    images = np.ascontiguousarray(images)
    count, height, width, _ = images.shape
    result = np.empty((count, 3, height, width), np.float32)
    mean, std = np.ascontiguousarray(mean), np.ascontiguousarray(std)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (images, mean, std, result)]
    library.ppzoo_normalize(
        *(pointers[0], ctypes.c_size_t(count), ctypes.c_size_t(height * width), ctypes.c_float(scale)),
        *(pointers[1], pointers[2], ctypes.c_int(result.nbytes > CACHE_BYTES), pointers[3]),
    )
    return result
