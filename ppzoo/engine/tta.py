"""Test-time augmentation (TTA): average the probabilities of several views of an image (sizes, crops, mirroring)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import paddle
import paddle.nn.functional as F

from ppzoo.engine.protocols import Batch
from ppzoo.errors import DataError
from ppzoo.finite import MIN_PROBABILITY, require_finite


class TtaBatch(NamedTuple):
    """Views of the same images, each N x C x H x W, where H and W can differ; labels and indices as in `Batch`."""

    images: list[paddle.Tensor]
    labels: paddle.Tensor
    indices: paddle.Tensor


class TtaModel(paddle.nn.Layer):
    """Averages a network's probabilities over several views of the same images.

    The output has the same structure as that of the network, which can have several outputs or consist of several
    networks; outputs of inner layers are omitted. The values are the logits of the mean probabilities, because losses
    and metrics expect logits.

    Args:
        mirror: also use the mirror image of each view.
        multi_label: probabilities are sigmoids of the logits, not a softmax.
    """

    def __init__(self, network: paddle.nn.Layer, *, mirror: bool, multi_label: bool) -> None:
        super().__init__()
        self.network, self.mirror, self.multi_label = network, mirror, multi_label

    def forward(self, views: Sequence[paddle.Tensor]) -> Any:
        mirrored = [view.flip(axis=[3]) for view in views] if self.mirror else []
        return self._mean([self.network(view) for view in (*views, *mirrored)])

    def _mean(self, outputs: list[Any]) -> Any:
        """Return the logits of the mean probabilities of outputs with the same structure."""
        if isinstance(outputs[0], dict):
            keys = ["logits"] if "logits" in outputs[0] else outputs[0]
            return {key: self._mean([output[key] for output in outputs]) for key in keys}
        if isinstance(outputs[0], (list, tuple)):
            return [self._mean(list(parts)) for parts in zip(*outputs, strict=True)]
        require_finite(outputs)  # clipping would hide infinities
        logits = [output.astype("float32") for output in outputs]
        if self.multi_label:
            mean = paddle.add_n([F.sigmoid(one) for one in logits]) / len(logits)
            return mean.clip(min=MIN_PROBABILITY).log() - (1 - mean).clip(min=MIN_PROBABILITY).log()
        mean = paddle.add_n([F.softmax(one, axis=-1) for one in logits]) / len(logits)
        return mean.clip(min=MIN_PROBABILITY).log()


def zip_views(loaders: Iterable[Iterable[Batch | None]]) -> Iterator[TtaBatch | None]:
    """Yield the views of each batch, from loaders that read the same samples in the same order.

    A batch without readable images is None.

    Raises:
        DataError: a loader skipped a sample that another one has.
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
