"""Tables for `ppzoo models`: the architectures with size, cost and accuracy, and the layers of one architecture."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import paddle

from ppzoo.models.catalog import MODELS
from ppzoo.models.model_stats import model_stats

HEADINGS = ("name", "params (M)", "FLOPs (G)", "input", "top-1")


def build_rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return name, parameters, multiply-adds per image, input shape and published top-1 of each architecture.

    `input` is channels x height x width; `top1` is a fraction, or None without official weights.
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


def format_table(names: Iterable[str]) -> str:
    """Return the rows as a text table with headings, one line per architecture."""
    lines = [HEADINGS, *(_cells(row) for row in build_rows(names))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))])
        for name, *cells in lines
    )


def layer_summary(name: str) -> str:
    """Return the layers of an architecture with their output shapes, as printed by `paddle.summary`."""
    variant = MODELS[name]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        paddle.summary(variant.build(), (1, *variant.image_shape))
    return printed.getvalue().strip("\n")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    top1 = "-" if row["top1"] is None else f"{row['top1']:.4f}"
    size = "x".join(map(str, row["input"]))
    return row["name"], f"{row['params'] / 1e6:.2f}", f"{row['flops'] / 1e9:.3f}", size, top1
