"""The network to explain, its input, and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from ppzoo.errors import ConfigError
from ppzoo.layers import Classifier, deployed_network

# Parts of the errors for unsuitable shapes: of PaddlePaddle's and the native operators, and of pooling layers whose
# window exceeds their input.
SHAPE_ERRORS = ("(InvalidArgument)", "expected an input at least as large")


def network_to_explain(model: paddle.nn.Layer) -> Classifier:
    """Return the deployed network of `model`; see `layers.deployed_network`.

    Raises:
        ConfigError: it is not a network of ppzoo.
    """
    network = deployed_network(model)
    if not isinstance(network, Classifier):
        raise ConfigError(f"model: expected a network of ppzoo, got {type(network).__name__}")
    return network


def to_batch(images: Any) -> paddle.Tensor:
    """Convert an array or a tensor N x C x H x W to a float32 tensor without history.

    Raises:
        ConfigError: it has another shape, no images, or values that are not finite.
    """
    array = np.asarray(images.numpy() if isinstance(images, paddle.Tensor) else images, np.float32)
    if array.ndim != 4 or 0 in array.shape:
        raise ConfigError(f"images: expected an array of shape N x C x H x W, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ConfigError("images: expected finite values, got infinity or NaN")
    return paddle.to_tensor(array)


@contextmanager
def shape_errors(images: paddle.Tensor) -> Iterator[None]:
    """Replace the errors of operators for unsuitable shapes by one line; other errors are raised unchanged.

    Raises:
        ConfigError: the network cannot take the images.
    """
    try:
        yield
    except ValueError as error:
        if not any(text in str(error) for text in SHAPE_ERRORS):
            raise
        shape = " x ".join(map(str, images.shape[1:]))
        raise ConfigError(f"images: expected images of a shape that the network can take, got {shape}") from error
