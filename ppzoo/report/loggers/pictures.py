"""The pictures that loggers show: confusion matrices, and images in a grid with text below them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppzoo.errors import one_line

SIDE = 128  # of the images in a grid; all sizes here are in pixels
COLUMNS, TEXT_SIZE, GAP = 8, 12, 6
LINE = TEXT_SIZE + 3
NAME_WIDTH = 140  # of a class name next to a confusion matrix
MATRIX_SIDE = 800  # of a confusion matrix of many classes
DARK, BLUE = (31, 35, 40), (8, 81, 156)

# Tried after matplotlib's font: fonts with Chinese characters that common systems have; Pillow searches for them.
MORE_FONTS = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "msyh.ttc", "PingFang.ttc")


class Tile(NamedTuple):
    """An H x W x 3 uint8 image, and the lines of text below it."""

    image: np.ndarray
    lines: Sequence[str]


def encode_png(image: np.ndarray) -> bytes:
    """Return an H x W x 3 uint8 RGB image as PNG."""
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def draw_tiles(tiles: Sequence[Tile]) -> np.ndarray:
    """Return a picture of images in rows of eight, each with its lines of text."""
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    height = SIDE + LINE * max(len(tile.lines) for tile in tiles) + GAP
    picture = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    draw = ImageDraw.Draw(picture)
    for index, (image, lines) in enumerate(tiles):
        x = GAP + index % columns * (SIDE + GAP)
        y = GAP + index // columns * (height + GAP)
        small = _fit(image)
        picture.paste(small, (x + (SIDE - small.width) // 2, y + (SIDE - small.height) // 2))
        for number, line in enumerate(lines):
            _draw_text(draw, (x, y + SIDE + 1 + number * LINE), line, SIDE)
    return np.asarray(picture)


def _fit(image: np.ndarray) -> Image.Image:
    """Return the image, resized so that its longer side is SIDE."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    filtering = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(np.ascontiguousarray(image)).resize(size, filtering)


def draw_confusion_matrix(matrix: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return a picture of a confusion matrix; rows are classes, columns are predicted classes.

    A cell is colored by its share of the images of its class. The names of the classes are shown for up to 40 classes,
    and the numbers of images for up to 15.
    """
    count = len(matrix)
    cell = 44 if count <= 15 else 20 if count <= 40 else max(1, MATRIX_SIDE // count)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    colors = (255 + shares[..., np.newaxis] ** 0.6 * (np.array(BLUE) - 255)).astype(np.uint8)
    cells = colors.repeat(cell, axis=0).repeat(cell, axis=1)
    left = (NAME_WIDTH if count <= 40 else 0) + LINE + 2 * GAP
    side = len(cells) + left + GAP
    picture = Image.new("RGB", (side, side), "white")
    picture.paste(Image.fromarray(cells), (left, left))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left - 1, left - 1, left + len(cells), left + len(cells)), outline=DARK)
    _draw_text(draw, (left, GAP // 2), "predicted class", side - left)
    _draw_upright(picture, (GAP // 2, left), "class", len(cells))
    if count <= 40:
        for index, name in enumerate(names):
            middle = left + index * cell + (cell - LINE) // 2
            _draw_text(draw, (LINE + GAP, middle), name, NAME_WIDTH, index)
            _draw_upright(picture, (middle, LINE + GAP), name, NAME_WIDTH, index)
    if count <= 15:
        for (row, column), images in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else DARK
            center = (left + column * cell + cell // 2, left + row * cell + cell // 2)
            draw.text(center, str(images), fill=color, font=_fonts()[0], anchor="mm")
    return np.asarray(picture)


def _draw_upright(picture: Image.Image, at: tuple[int, int], text: str, length: int, index: int | None = None) -> None:
    """Draw text from bottom to top; it ends at the position and begins `length` pixels below it."""
    strip = Image.new("RGB", (length, LINE), "white")
    _draw_text(ImageDraw.Draw(strip), (0, 0), text, length, index)
    picture.paste(strip.transpose(Image.Transpose.ROTATE_90), at)


def _draw_text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, index: int | None = None) -> None:
    """Draw one line, shortened to the width; a class name that no font can show is replaced by the class index."""
    text = one_line(text)
    font = next((font for font in _fonts() if _has_glyphs(font, text)), None)
    if font is None:
        font, text = _fonts()[0], str(index) if index is not None else _replace_missing(_fonts()[0], text)
    while text and font.getlength(text) > width:
        text = text[:-2] + "…" if text[-1] == "…" else text[:-1] + "…"
        if text == "…":
            break
    draw.text(at, text, fill=DARK, font=font)


@lru_cache(maxsize=1)
def _fonts() -> list[ImageFont.FreeTypeFont]:
    import matplotlib

    fonts = [ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), TEXT_SIZE)]
    for name in MORE_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, TEXT_SIZE))
        except OSError:  # not on this system
            continue
    return fonts


@lru_cache(maxsize=10_000)
def _has_glyph(font: ImageFont.FreeTypeFont, character: str) -> bool:
    mask, missing = font.getmask(character), font.getmask("\U0010ffff")
    return character.isspace() or mask.size != missing.size or bytes(mask) != bytes(missing)


def _has_glyphs(font: ImageFont.FreeTypeFont, text: str) -> bool:
    return all(_has_glyph(font, character) for character in text)


def _replace_missing(font: ImageFont.FreeTypeFont, text: str) -> str:
    return "".join(character if _has_glyph(font, character) else "?" for character in text)
