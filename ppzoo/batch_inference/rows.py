"""The columns of a table of predictions, and the row of each image."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ppzoo.errors import PpzooError
from ppzoo.files import SURROGATES

Row = dict[str, Any]
Kind = Literal["text", "integer", "number", "texts", "numbers"]

PATH, FRAME, SECONDS, ERROR = "path", "frame", "seconds", "error"
UNDECODED = 0xDC00  # Python's code of a byte N that cannot be decoded is UNDECODED + N
DIGITS = 6  # significant digits of a score, about those of float32


@dataclass(frozen=True)
class RowFormat:
    """The columns of a table.

    Attributes:
        topk: number of classes per image; 0: a list of classes, of a network that predicts several labels.
        has_frames: rows are frames of a video, identified by number and time, not image files.
    """

    topk: int
    has_frames: bool = False

    @property
    def key(self) -> str:
        """Return the column that identifies a row."""
        return FRAME if self.has_frames else PATH

    @cached_property
    def columns(self) -> dict[str, Kind]:
        """Return the columns in their order, each with the kind of its values."""
        columns: dict[str, Kind] = {FRAME: "integer", SECONDS: "number"} if self.has_frames else {PATH: "text"}
        if not self.topk:
            return {**columns, "classes": "texts", "scores": "numbers", ERROR: "text"}
        for rank in range(1, self.topk + 1):
            columns |= {f"class{_suffix(rank)}": "text", f"score{_suffix(rank)}": "number"}
        return {**columns, ERROR: "text"}

    def row(self, identity: Mapping[str, Any], prediction: Mapping[str, Any] | PpzooError) -> Row:
        """Return the row of an image: all columns, with None where there is no value.

        Args:
            identity: the values of the columns that identify the image: its path, or the number and time of its frame.
            prediction: a mapping with `label_names` and `scores`, or the error that explains why there is none.
        """
        row: Row = {**dict.fromkeys(self.columns), **identity}
        if isinstance(prediction, PpzooError):
            return {**row, ERROR: valid_text(prediction.line)}
        names = [valid_text(name) for name in prediction["label_names"]]
        scores = [float(f"{score:.{DIGITS}g}") for score in prediction["scores"]]
        if not self.topk:
            return {**row, "classes": names, "scores": scores}
        for rank, name, score in zip(range(1, self.topk + 1), names, scores, strict=False):
            row |= {f"class{_suffix(rank)}": name, f"score{_suffix(rank)}": score}
        return row


def _suffix(rank: int) -> str:
    return f"_{rank}" if rank > 1 else ""


def valid_text(text: str) -> str:
    r"""Return text that every program can read: a byte of a file name that is not UTF-8 becomes `\xNN`."""
    return SURROGATES.sub(_escape, text)


def path_text(relative_path: str) -> str:
    """Return the relative path of a file as it is written to tables: with slashes, and valid text."""
    return valid_text(relative_path.replace(os.sep, "/"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - UNDECODED:02x}" if code >= UNDECODED else f"\\u{code:04x}"
