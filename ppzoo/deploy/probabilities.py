"""A network with softmax or sigmoid, and optionally with its features as a second output, as it is exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle

from ppzoo.errors import ConfigError
from ppzoo.finite import in_batch, require_finite
from ppzoo.layers import Classifier
from ppzoo.layers.classifier import HeadInput


class Probabilities(paddle.nn.Layer):
    """A network with softmax over its class scores; of several outputs, the first (the main head) is used.

    Args:
        multi_label: use a sigmoid for each class instead.
    """

    def __init__(self, network: paddle.nn.Layer, *, multi_label: bool = False) -> None:
        super().__init__()
        self.network = network
        self.multi_label = multi_label

    def forward(self, image: paddle.Tensor) -> Any:
        return self.complete(self.network(image))

    def complete(self, scores: Any) -> Any:
        """Return all outputs of this layer, given the class scores of the network that just ran."""
        return self.from_scores(scores)

    def from_scores(self, scores: paddle.Tensor | Sequence[paddle.Tensor]) -> paddle.Tensor:
        """Convert the network's outputs to probabilities."""
        scores = scores[0] if isinstance(scores, (list, tuple)) else scores
        if self.multi_label:
            return paddle.nn.functional.sigmoid(scores)
        return paddle.nn.functional.softmax(scores, axis=-1)


class ProbabilitiesAndFeatures(Probabilities):
    """`Probabilities` with the features as a second output: the input of the layer that computes the class scores.

    The features come from `HeadInput`, which `ppzoo.explain.embed` uses, too.
    """

    def __init__(self, network: Classifier, *, multi_label: bool = False) -> None:
        super().__init__(network, multi_label=multi_label)
        self.head_input = HeadInput(network)

    def complete(self, scores: Any) -> Any:
        return self.from_scores(scores), self.head_input.take()


@contextmanager
def layer_to_export(network: paddle.nn.Layer, *, features: bool, multi_label: bool) -> Iterator[Probabilities]:
    """Yield the layer to export for a network, in evaluation mode.

    Raises:
        ConfigError: it has no features, since it is not a network of ppzoo.
    """
    if not features:
        layer = Probabilities(network, multi_label=multi_label)
        layer.eval()
        yield layer
        return
    if not isinstance(network, Classifier):
        raise ConfigError(f"features: expected a network of ppzoo, got {type(network).__name__}")
    with_features = ProbabilitiesAndFeatures(network, multi_label=multi_label)
    with_features.eval()
    try:
        yield with_features
    finally:
        with_features.head_input.remove()


def predict_probabilities(
    model: Probabilities, images: np.ndarray, describe: Callable[[int], str] = in_batch
) -> np.ndarray:
    """Return the first output of `predict_outputs`: the probabilities, N x class_num."""
    return predict_outputs(model, images, describe)[0]


def predict_outputs(
    model: Probabilities, images: np.ndarray, describe: Callable[[int], str] = in_batch
) -> list[np.ndarray]:
    """Return the probabilities and, if the model has them, the features of a batch of images, without gradients.

    Args:
        describe: index of an image -> its name in error messages.

    Raises:
        TrainingError: a score is not finite (checked before the sigmoid, which would hide it).
    """
    with paddle.no_grad():
        scores = model.network(paddle.to_tensor(images))
        require_finite(scores, describe)
        outputs = model.complete(scores)
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]
