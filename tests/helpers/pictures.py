"""Small images whose class is their color."""

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"blue": (20, 40, 220), "green": (30, 200, 60), "red": (220, 30, 40)}


def paint(path: Path, *colors, seed: int) -> None:
    """Write an image of 48 x 40 pixels: vertical stripes of the colors, with noise."""
    stripes = np.repeat(np.array(colors)[None], 40, 0).repeat(48 // len(colors), 1)
    noise = np.random.default_rng(seed).integers(-20, 20, stripes.shape)
    Image.fromarray(np.clip(stripes + noise, 0, 255).astype("uint8")).save(path)
