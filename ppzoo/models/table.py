"""Tables for `ppzoo models`: the architectures with size, cost and accuracy, and the layers of one architecture."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable
from typing import Any

import paddle

from ppzoo.errors import ConfigError
from ppzoo.models.catalog import MODELS
from ppzoo.models.model_stats import model_stats

HEADINGS = ("name", "params (M)", "FLOPs (G)", "input", "top-1")


SORT_KEYS = ("name", "params", "flops", "top1")


def select_rows(
    rows: Iterable[dict[str, Any]],
    *,
    family: str | None = None,
    max_params: float = math.inf,
    max_flops: float = math.inf,
    sort: str = "name",
) -> list[dict[str, Any]]:
    """Return the rows of the architectures of a family that are within the limits, sorted.

    Args:
        rows: the result of `build_rows`.
        family: name of a family as in `list_families`; case and underscores are ignored. None: all.
        max_params, max_flops: the largest number of parameters, and of multiply-adds per image.
        sort: one of `SORT_KEYS`. Names, parameters and multiply-adds are ascending. Accuracies are descending; unknown
            accuracies come last.

    Raises:
        ConfigError: an unknown family.
    """
    if family is not None:
        families = {_plain(known): known for known in list_families()}
        if _plain(family) not in families:
            raise ConfigError(f"--family: expected one of {', '.join(list_families())}, got {family!r}")
        family = families[_plain(family)]
    kept = [
        row
        for row in rows
        if family in (None, family_of(row["name"])) and row["params"] <= max_params and row["flops"] <= max_flops
    ]
    if sort == "top1":
        return sorted(kept, key=lambda row: (-(row["top1"] or 0), row["name"]))
    return sorted(kept, key=lambda row: (row[sort], row["name"]))


def family_of(name: str) -> str:
    """Return the family of an architecture: the name of the module that defines it, such as `mobilenet_v2`."""
    return MODELS[name].network.__module__.rpartition(".")[2]


def _plain(family: str) -> str:
    return family.lower().replace("_", "")


def list_families() -> list[str]:
    """Return the sorted names of the families."""
    return sorted({family_of(name) for name in MODELS})


def build_rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return name, parameters, multiply-adds per image, input shape and published top-1 of each architecture.

    `input` is channels x height x width; `top1` is a fraction, or None if no accuracy of official weights is published.
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


def format_table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows of `build_rows` as a text table with headings, one line per architecture."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))])
        for name, *cells in lines
    )


def layer_summary(name: str, in_channels: int | None = None) -> str:
    """Return the layers of an architecture with their output shapes, as printed by `paddle.summary`.

    Args:
        in_channels: channels of the images; by default those of the architecture.
    """
    variant = MODELS[name]
    network = variant.build(in_channels=in_channels)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        paddle.summary(network, (1, network.image_channels, *variant.image_shape[1:]))
    return printed.getvalue().strip("\n")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    top1 = "-" if row["top1"] is None else f"{row['top1']:.4f}"
    size = "x".join(map(str, row["input"]))
    return row["name"], f"{row['params'] / 1e6:.2f}", f"{row['flops'] / 1e9:.3f}", size, top1
