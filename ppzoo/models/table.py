"""What `ppzoo models` prints: the architectures with their figures, and the layers of one of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import paddle

from ppzoo.models.catalog import MODELS
from ppzoo.models.model_stats import model_stats

HEADINGS = ("name", "params (M)", "FLOPs (G)", "input", "top-1")


def rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """For each architecture its name, trained parameters, multiply-adds for one image, input and published top-1.

    `input` is channels x height x width; `top1`, a fraction, is None where there are no official weights.
    """
    known = model_stats()
    return [
        {
            "name": name,
            "params": known[name].params,
            "flops": known[name].flops,
            "input": list(MODELS[name].image_shape),
            "top1": weights.top1 if (weights := MODELS[name].weights) else None,
        }
        for name in names
    ]


def text(names: Iterable[str]) -> str:
    """The rows as a table, one architecture a line below the headings."""
    lines = [HEADINGS, *(_cells(row) for row in rows(names))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))])
        for name, *cells in lines
    )


def summary(name: str) -> str:
    """The layers of an architecture with the shapes of their outputs, as `paddle.summary` gives them."""
    variant = MODELS[name]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        paddle.summary(variant.build(), (1, *variant.image_shape))
    return printed.getvalue().strip("\n")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    top1 = "-" if row["top1"] is None else f"{row['top1']:.4f}"
    size = "x".join(map(str, row["input"]))
    return row["name"], f"{row['params'] / 1e6:.2f}", f"{row['flops'] / 1e9:.3f}", size, top1
