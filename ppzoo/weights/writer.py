"""Writing what PaddleClas and `paddle.load` read, atomically."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppzoo.files import make_parent, write_atomically
from ppzoo.weights.pdparams import NAME_TABLE

PROTOCOL = 4  # the newest that paddle.save writes


def save_pdparams(state_dict: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a network's state dict (tensors or arrays by structured name) as `paddle.save` does.

    bfloat16 tensors are stored as uint16. The file replaces an older one only when it is complete.
    Folders that are missing are made.
    """
    entries: dict[str, Any] = {key: _array(value) for key, value in state_dict.items()}
    entries[NAME_TABLE] = {key: value.name for key, value in state_dict.items() if _is_tensor(value)}
    make_parent(path)
    _dump(entries, path)


def save_state(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a `.pdopt` or `.pdstates`: tensors, arrays, numbers and text in nested dicts, lists and tuples.

    Tensors are stored with their names, as (name, array), from which `paddle.load` makes tensors again.
    """
    _dump(_named(state), path)


def _named(value: Any) -> Any:
    if _is_tensor(value):
        return value.name, _array(value)
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    return type(value)(map(_named, value)) if type(value) in (list, tuple) else value


def _is_tensor(value: Any) -> bool:
    """Whether it is PaddlePaddle's; without importing it, for arrays can be written where it is not installed."""
    return type(value).__module__.partition(".")[0] == "paddle" and hasattr(value, "numpy")


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.numpy() if _is_tensor(value) else value)


def _dump(content: Any, path: str | os.PathLike[str]) -> None:
    write_atomically(path, lambda file: pickle.dump(content, file, protocol=PROTOCOL))
