"""Top-k accuracy."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import paddle

from ppzoo.errors import ConfigError, suggestion
from ppzoo.metrics.base import METRICS, Metric, hard_labels, scores_of

log = logging.getLogger(__name__)


@METRICS.register
class TopkAcc(Metric):
    """Fraction of the samples whose class has one of the k highest scores, for several k: {"top1": ..., "top5": ...}.

    A k above the number of classes is ignored with a warning. Equal scores are ordered as by `paddle.topk`. The class
    of soft labels is the most probable one.

    Args:
        topk: the values of k, or a single one; 1 and 5 by default.

    Raises:
        ConfigError: no k, or one below 1; or, in `update`, every k above the number of classes.
    """

    label_kind = "single"

    def __init__(self, *, topk: int | list[int] | None = None) -> None:
        super().__init__()
        given = [1, 5] if topk is None else topk
        self.topk = [given] if isinstance(given, int) else list(given)
        numbers = all(isinstance(k, int) and not isinstance(k, bool) for k in self.topk)
        if not self.topk or not numbers or min(self.topk) < 1:
            raise ConfigError(f"topk: expected integers of 1 or more, got {topk!r:.60}")
        self._warned: set[int] = set()

    @property
    def main(self) -> str:
        return f"top{min(self.topk)}"

    def scores(self, output: Any) -> paddle.Tensor:
        """Return the class scores in the network's output."""
        return scores_of(output)

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = self.scores(output)
        samples, class_num = scores.shape
        index = hard_labels(label, class_num)
        counts = {"samples": np.array(samples)}
        for k in self._possible(class_num):
            highest = paddle.topk(scores, k, axis=1)[1]
            counts[f"top{k}"] = (highest == index).sum().numpy()
        self.merge(counts)

    def compute(self) -> dict[str, float]:
        counts = self.accumulated()
        return {key: float(hits) / float(counts["samples"]) for key, hits in counts.items() if key != "samples"}

    def _possible(self, class_num: int) -> list[int]:
        possible = [k for k in self.topk if k <= class_num]
        if not possible:
            raise ConfigError(
                f"{type(self).__name__}.topk: expected at most {class_num}, the number of classes, got {self.topk}"
            )
        for k in self.topk:
            if k > class_num and k not in self._warned:
                self._warned.add(k)
                log.warning("ignoring top-%d accuracy, since there are only %d classes", k, class_num)
        return possible


@METRICS.register
class GoogLeNetTopkAcc(TopkAcc):
    """Top-k accuracy of the first of GoogLeNet's outputs."""

    outputs = 3

    def scores(self, output: Any) -> paddle.Tensor:
        if not isinstance(output, (list, tuple)):
            raise ConfigError("GoogLeNetTopkAcc: expected a network with several outputs, got one; use TopkAcc")
        return scores_of(output[0])


@METRICS.register
class DistillationTopkAcc(TopkAcc):
    """Top-k accuracy of one of the networks of a distillation.

    Args:
        model_key: name of the network in `Arch.models`.
        feature_key: key of the scores if the network's output is a dictionary; "logits" by default.
        topk: see `TopkAcc`.
    """

    networks = "several"
    network_options = ("model_key",)

    def __init__(self, *, model_key: str, feature_key: str | None = None, topk: int | list[int] | None = None) -> None:
        super().__init__(topk=topk)
        self.model_key = model_key
        self.feature_key = feature_key

    def scores(self, output: Any) -> paddle.Tensor:
        if isinstance(output, dict):
            if self.model_key not in output:
                raise ConfigError(
                    f"DistillationTopkAcc: unknown network {self.model_key!r}{suggestion(self.model_key, output)}"
                )
            output = output[self.model_key]
        if self.feature_key is None:
            return scores_of(output)
        if not isinstance(output, dict):
            reason = f"since {self.model_key} has one output"
            raise ConfigError(f"DistillationTopkAcc.feature_key: expected null, {reason}, got {self.feature_key!r}")
        if self.feature_key not in output:
            raise ConfigError(
                f"DistillationTopkAcc.feature_key: expected one of {', '.join(output)}, which {self.model_key} returns,"
                f" got {self.feature_key!r}"
            )
        return scores_of(output[self.feature_key])
