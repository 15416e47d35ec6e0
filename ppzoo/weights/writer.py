"""Atomic writing of weights and training state in the format of `paddle.save`."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppzoo.files import make_parent, write_atomically
from ppzoo.weights.pdparams import NAME_TABLE

PROTOCOL = 4  # the latest pickle protocol that paddle.save supports


def save_pdparams(state_dict: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a network's state dict (tensors or arrays by structured name) in the format of `paddle.save`.

    bfloat16 tensors are stored as uint16. The file is written atomically. Missing folders are created.
    """
    entries: dict[str, Any] = {key: _array(value) for key, value in state_dict.items()}
    entries[NAME_TABLE] = {key: value.name for key, value in state_dict.items() if _is_tensor(value)}
    make_parent(path)
    _dump(entries, path)


def save_state(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a `.pdopt` or `.pdstates`: tensors, arrays, numbers and text in nested dicts, lists and tuples.

    Tensors are stored with their names as (name, array), from which `paddle.load` restores tensors.
    """
    _dump(_named(state), path)


def _named(value: Any) -> Any:
    if _is_tensor(value):
        return value.name, _array(value)
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    return type(value)(map(_named, value)) if type(value) in (list, tuple) else value


def _is_tensor(value: Any) -> bool:
    """Return whether `value` is a PaddlePaddle tensor, without importing paddle, which arrays do not need."""
    return type(value).__module__.partition(".")[0] == "paddle" and hasattr(value, "numpy")


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.numpy() if _is_tensor(value) else value)


def _dump(content: Any, path: str | os.PathLike[str]) -> None:
    write_atomically(path, lambda file: pickle.dump(content, file, protocol=PROTOCOL))
