"""Everything that decides how a run continues, so that it can be saved and restored.

The random state is not saved: shuffling and augmentation use generators seeded with (seed, epoch, index), and the
trainer seeds PaddlePaddle's generator for each step from (seed, epoch, step).
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass, field, fields
from typing import Any

import numpy as np
import paddle

import ppzoo
from ppzoo.engine.amp import MixedPrecision
from ppzoo.engine.early_stopping import EarlyStopping
from ppzoo.engine.ema import ExponentialMovingAverage
from ppzoo.engine.protocols import Metric, Resumable
from ppzoo.engine.running_metrics import RunningMetrics
from ppzoo.finite import require_finite_metrics

logger = logging.getLogger("ppzoo")

VERSIONS = {
    "ppzoo": ppzoo.__version__,
    "paddle": paddle.__version__,
    "numpy": np.__version__,
    "python": platform.python_version(),
}


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished steps of the current epoch.
        best: best value so far of the main evaluation metric. `best_epoch` is the epoch (from 0) that reached it, and
            `best_is_averaged` is true if the averaged weights reached it.
        best_metric: the name of that metric; None if there is no best value, or its metric is unknown.
        rollbacks: how often the run was rolled back because of values that were not finite.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int | None = None
    best_is_averaged: bool = False
    best_metric: str | None = None
    rollbacks: int = 0

    def update_best(
        self, value: float, higher_is_better: bool, is_averaged: bool = False, metric: str | None = None
    ) -> bool:
        """Record the main metric of the epoch that has just finished, and return whether it is the best so far.

        Args:
            is_averaged: whether the metric is that of the averaged weights.
            metric: its name.

        Raises:
            TrainingError: the metric is not finite.
        """
        require_finite_metrics({"main metric": value})
        is_best = self.best is None or (value > self.best if higher_is_better else value < self.best)
        if is_best:
            self.best, self.best_epoch, self.best_is_averaged = value, self.epoch - 1, is_averaged
            self.best_metric = metric
        return is_best


@dataclass(eq=False)
class TrainState:
    """Model, optimizer, schedule, progress and running metrics of a run.

    Args:
        model: the network, with its parameters and running statistics.
        optimizer: PaddlePaddle's optimizer of the model's parameters.
        scheduler: the learning-rate schedule (`ppzoo.optim.Schedule`), stepped once per training step.
        metric: the training metric.
        seed: decides every random draw of the run.
        identity: what a checkpoint must have in common with the run that resumes from it, by name (architecture, ...).
        configuration: the rest of the configuration; it is saved, and differences are logged when a run resumes.
        amp: the precision of the forward pass.
        ema: the moving average of the weights, if there is one.
        early_stopping: when to stop before the last epoch, if at all.
        loader: the loader of the training data, whose `state` holds the skipped samples.
        main_metric: the evaluation metric that decides which epoch is the best; None without evaluations.

    Attributes:
        metrics: the running metrics of the current epoch.
        progress: finished epochs and steps, and the best evaluation.
    """

    model: paddle.nn.Layer
    optimizer: paddle.optimizer.Optimizer
    scheduler: Any
    metric: InitVar[Metric]
    seed: int = field(default=0, kw_only=True)
    identity: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    configuration: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    amp: MixedPrecision = field(default_factory=MixedPrecision, kw_only=True)
    ema: ExponentialMovingAverage | None = field(default=None, kw_only=True)
    early_stopping: EarlyStopping | None = field(default=None, kw_only=True)
    loader: Resumable | None = field(default=None, kw_only=True)
    main_metric: str | None = field(default=None, kw_only=True)

    def __post_init__(self, metric: Metric) -> None:
        self.metrics = RunningMetrics(metric)
        self.progress = Progress()

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a `.pdstates`: plain values that the other files of a checkpoint lack.

        PaddleClas reads the entries "metric" and "epoch".
        """
        return {
            "metric": self.progress.best,
            **asdict(self.progress),
            "tally": self.metrics.state_dict(),
            "loss_scaler": self.amp.grad_scaler and self.amp.grad_scaler.state_dict(),
            "average_updates": self.ema and self.ema.updates,
            "early_stopping": self.early_stopping and self.early_stopping.state_dict(),
            "reading": None if self.loader is None else self.loader.state(),
            "identity": dict(self.identity),
            "configuration": dict(self.configuration),
            "versions": VERSIONS,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; missing entries are skipped (see `paddleclas.convert_progress`)."""
        known = {item.name for item in fields(Progress)}
        self.progress = Progress(**{name: value for name, value in saved.items() if name in known})
        if "tally" in saved:
            self.metrics.load_state_dict(saved["tally"])
        if self.amp.grad_scaler is not None and saved.get("loss_scaler"):
            self.amp.grad_scaler.load_state_dict(saved["loss_scaler"])
        if self.ema is not None:
            self.ema.updates = saved.get("average_updates") or 0
        if self.early_stopping is not None and saved.get("early_stopping"):
            self.early_stopping.load_state_dict(saved["early_stopping"])
        if self.loader is not None and saved.get("reading"):
            self.loader.restore(saved["reading"])

    def discard_other_metric(self) -> None:
        """Discard the best value of a restored run if that run had a different main metric.

        Early stopping and `ReduceOnPlateau` then discard their best values, too.
        """
        progress = self.progress
        if progress.best is None or progress.best_epoch is None:
            return
        if None in (progress.best_metric, self.main_metric) or progress.best_metric == self.main_metric:
            return
        logger.info(
            "the main metric changed from %s to %s: the best %s (%.4f in epoch %d) is discarded, and the next"
            " evaluation replaces best_model",
            *(progress.best_metric, self.main_metric, progress.best_metric, progress.best, progress.best_epoch + 1),
        )
        progress.best, progress.best_epoch, progress.best_is_averaged, progress.best_metric = None, None, False, None
        if self.early_stopping is not None:
            self.early_stopping.best, self.early_stopping.waited = None, 0
        self.scheduler.discard_main_metric()
