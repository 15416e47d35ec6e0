"""Recall and confusion of classes, which are counted during evaluations although they are not among the metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppzoo.metrics.base import Metric, hard_labels

MAX_CLASSES_OF_PAIRS = 300  # the counts of all pairs of more classes would need too much memory per batch


class ClassRecall(Metric):
    """Counts correctly predicted images of each class; outputs other than N x C scores are ignored.

    Args:
        class_num: number of classes.

    Attributes:
        recalls: of the last two evaluations, each an array of C with NaN for a class without images.
        confusions: of the last two evaluations, each an array of C (label) x C (prediction) of counts; None with more
            than 300 classes, or if the network has another number of scores.
    """

    label_kind = "single"

    def __init__(self, class_num: int) -> None:
        super().__init__()
        self.class_num = class_num
        self.recalls: deque[np.ndarray] = deque(maxlen=2)
        self.confusions: deque[np.ndarray | None] = deque(maxlen=2)

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = output.get("logits") if isinstance(output, dict) else output
        if not isinstance(scores, paddle.Tensor):
            return
        truth = hard_labels(label, self.class_num).numpy().ravel()
        predicted = scores.argmax(axis=1).numpy().ravel()
        right = truth[truth == predicted]
        is_known = (truth >= 0) & (truth < self.class_num)  # others are ignored by the loss
        known = truth[is_known]
        counts = {"right": right, "support": known}
        state = {name: np.bincount(values, minlength=self.class_num) for name, values in counts.items()}
        if self.class_num <= MAX_CLASSES_OF_PAIRS and scores.shape[1] == self.class_num:
            pairs = known * self.class_num + predicted[is_known]
            state["pairs"] = np.bincount(pairs, minlength=self.class_num**2)
        self.merge(state)

    def compute(self) -> dict[str, float]:
        """Return no metrics, but add the recall to `recalls` and the confusion to `confusions`."""
        if self._state:
            support = self._state["support"]
            with np.errstate(invalid="ignore"):
                self.recalls.append(self._state["right"] / support)
            pairs = self._state.get("pairs")
            self.confusions.append(None if pairs is None else pairs.reshape(self.class_num, self.class_num))
        return {}


def describe_weakest(recall: np.ndarray, names: Sequence[str], count: int = 3) -> str:
    """Return the classes of the lowest recall below 1, such as 'cat 0.25, dog 0.50'; '' if there are none."""
    order = np.argsort(recall, kind="stable")[:count]  # NaN comes last
    return ", ".join(f"{names[index]} {recall[index]:.2f}" for index in order if recall[index] < 1)
