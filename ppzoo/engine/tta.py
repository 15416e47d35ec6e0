"""Several views of the same images, whose probabilities are averaged: test-time augmentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import paddle
import paddle.nn.functional as F

from ppzoo.engine.protocols import Batch
from ppzoo.errors import DataError
from ppzoo.finite import require_finite

TINY = 1e-30  # a probability of 0 has no logarithm


class TtaBatch(NamedTuple):
    """Views of the same images, each N x C x H x W of its own H and W; labels and indices as in `Batch`."""

    images: list[paddle.Tensor]
    labels: paddle.Tensor
    indices: paddle.Tensor


class TtaModel(paddle.nn.Layer):
    """A network that looks at several views and answers scores whose probabilities are the mean of the views'.

    The answer has the network's structure (several outputs, several networks); it is a logarithm of probabilities, so
    that losses and metrics take it for scores.

    Args:
        mirror: look at each view's mirror image, too.
        multi_label: probabilities are sigmoids, not a softmax.
    """

    def __init__(self, network: paddle.nn.Layer, *, mirror: bool, multi_label: bool) -> None:
        super().__init__()
        self.network, self.mirror, self.multi_label = network, mirror, multi_label

    def forward(self, views: Sequence[paddle.Tensor]) -> Any:
        mirrored = [view.flip(axis=[3]) for view in views] if self.mirror else []
        return self._mean([self.network(view) for view in (*views, *mirrored)])

    def _mean(self, answers: list[Any]) -> Any:
        if isinstance(answers[0], dict):
            return {key: self._mean([answer[key] for answer in answers]) for key in answers[0]}
        if isinstance(answers[0], (list, tuple)):
            return [self._mean(list(outputs)) for outputs in zip(*answers, strict=True)]
        require_finite(answers)  # which the clipping below would hide
        scores = [answer.astype("float32") for answer in answers]
        if self.multi_label:
            mean = paddle.add_n([F.sigmoid(score) for score in scores]) / len(scores)
            return mean.clip(min=TINY).log() - (1 - mean).clip(min=TINY).log()
        return (paddle.add_n([F.softmax(score, axis=-1) for score in scores]) / len(scores)).clip(min=TINY).log()


def zip_views(loaders: Iterable[Iterable[Batch | None]]) -> Iterator[TtaBatch | None]:
    """The batches of loaders that read the same samples in the same order, put together; None for an empty one.

    Raises:
        DataError: a sample is missing from one of them.
    """
    for batches in zip(*loaders, strict=True):
        filled = [batch for batch in batches if batch is not None]
        if not filled:
            yield None
            continue
        first = filled[0]
        same = (bool(paddle.equal_all(first.indices, other.indices)) for other in filled[1:])
        if len(filled) < len(batches) or not all(same):
            raise DataError("expected all views of an image, got only some: a crop is larger than an image")
        yield TtaBatch([batch.images for batch in filled], first.labels, first.indices)
