"""One door to weights of every origin: a path or a URL."""

from __future__ import annotations

import os

from ppzoo.errors import WeightsError
from ppzoo.weights.download import discard, fetch, weights_folder
from ppzoo.weights.pdparams import read_entries
from ppzoo.weights.weight_file import WeightFile


def read(source: str | os.PathLike[str]) -> WeightFile:
    """The arrays of a weight file.

    Args:
        source: path, with or without `.pdparams`, or URL (http, https).

    Raises:
        WeightsError: it cannot be had or read, or must not be read; a bad download is not kept.
    """
    if not str(source).startswith(("http://", "https://")):
        return read_entries(source)
    file = fetch(str(source), weights_folder())
    try:
        return read_entries(file)
    except WeightsError:
        discard(file)
        raise
