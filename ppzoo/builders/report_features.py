"""The features from which a report draws its map of the images; the evaluation computes them with the predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppzoo.finite import require_finite
from ppzoo.layers.classifier import HeadInput

MAP_IMAGES = 2000


class FeatureRecorder:
    """Records the features of random images while the network of `head_input` is evaluated.

    Args:
        images: number of images in the dataset; the features of at most `MAP_IMAGES` of them are recorded.
    """

    def __init__(self, head_input: HeadInput, images: int) -> None:
        self._head_input = head_input
        chosen = np.random.default_rng(0).permutation(images)[:MAP_IMAGES].tolist()
        self._features: dict[int, np.ndarray | None] = dict.fromkeys(chosen)

    def reset(self) -> None: ...

    def update(self, output: Any, batch: Any) -> None:
        features = self._head_input.take().astype("float32").numpy()
        require_finite(features)
        for index, vector in zip(batch.indices.tolist(), features, strict=True):
            if index in self._features:
                self._features[index] = vector.copy()  # not a view, which would keep those of the whole batch

    def state(self) -> None: ...

    def merge(self, states: list[Any]) -> None: ...

    def finish(self) -> dict[int, np.ndarray]:
        """Return index in the dataset -> features, in random order, and leave the network as it was."""
        self._head_input.remove()
        return {index: vector for index, vector in self._features.items() if vector is not None}
