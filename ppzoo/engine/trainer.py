"""The training loop. It knows neither files nor devices nor configurations; callbacks watch it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ppzoo.engine.protocols import Batch, Loader, Loss, Metric
from ppzoo.engine.state import TrainState
from ppzoo.errors import TrainingError
from ppzoo.events import Callback, EpochReport, StepReport, Summary


@dataclass(frozen=True)
class Plan:
    """How long to train and when to evaluate.

    Attributes:
        epochs: number of passes over the data.
        eval_interval: epochs between two evaluations; the last epoch is always evaluated.
        start_eval_epoch: epochs before the first evaluation.
    """

    epochs: int
    eval_interval: int = 1
    start_eval_epoch: int = 0

    def evaluates_after(self, finished: int) -> bool:
        due = finished > self.start_eval_epoch and finished % self.eval_interval == 0
        return due or finished == self.epochs


class Trainer:
    """Trains the model of `state`.

    Args:
        state: model, optimizer, schedule and progress; a restored one goes on where it stopped.
        loader: training batches, `loader.epoch(number, start_step)`.
        loss: (output, labels) to a mapping of losses, of which "loss" is minimised.
        metric: training metrics.
        evaluate: answers the evaluation figures of the model as it is; None trains without evaluation.
        main: the evaluation figure that decides which epoch is the best.
        plan: epochs and evaluations.

    Attributes:
        callbacks: observers, called in this order.
    """

    def __init__(
        self,
        *,
        state: TrainState,
        loader: Loader,
        loss: Loss,
        metric: Metric,
        evaluate: Callable[[], dict[str, float]] | None,
        main: str,
        higher_is_better: bool,
        plan: Plan,
    ) -> None:
        self.state = state
        self.loader = loader
        self.loss = loss
        self.metric = metric
        self.evaluate = evaluate
        self.main = main
        self.higher_is_better = higher_is_better
        self.plan = plan
        self.callbacks: list[Callback] = []

    def fit(self) -> Summary:
        """Train to the end of the plan.

        Raises:
            TrainingError: a loss that is not finite.
        """
        started = time.perf_counter()
        progress = self.state.progress
        try:
            self._tell("on_train_begin", progress.epoch, self.plan.epochs)
            while progress.epoch < self.plan.epochs:
                self._tell("on_epoch_end", self._epoch(progress.epoch))
            seconds = time.perf_counter() - started
            summary = Summary(progress.epoch, seconds, self.main, progress.best, progress.best_epoch)
            self._tell("on_train_end", summary)
        finally:
            self._tell("close")
        return summary

    def _epoch(self, epoch: int) -> EpochReport:
        started = time.perf_counter()
        train, images = self._train(epoch)
        train_seconds = time.perf_counter() - started
        learning_rate = self.state.optimizer.get_lr()
        self.state.finish_epoch()
        evaluation, is_best = None, False
        if self.evaluate is not None and self.plan.evaluates_after(epoch + 1):
            self._tell("on_evaluation_begin", epoch)
            evaluation = self.evaluate()
            self.state.schedule.note_evaluation(evaluation["loss"], evaluation[self.main])
            is_best = self.state.record(evaluation[self.main], self.higher_is_better)
        eval_seconds = time.perf_counter() - started - train_seconds
        speed = images / train_seconds
        return EpochReport(epoch, train, evaluation, learning_rate, speed, train_seconds, eval_seconds, is_best)

    def _train(self, epoch: int) -> tuple[dict[str, float], int]:
        """One pass over the data; the mean losses, the metrics, and the number of images seen."""
        self.state.model.train()
        self.metric.reset()
        sums: dict[str, float] = {}
        images, ended = 0, time.perf_counter()
        start_step = self.state.progress.step
        for step, batch in enumerate(self.loader.epoch(epoch, start_step), start_step):
            learning_rate = self.state.optimizer.get_lr()
            output, losses = self._step(batch)
            self.metric.update(output, batch.labels)

            count = len(batch.images)
            images += count
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value * count
            now = time.perf_counter()
            figures = {**losses, **self.metric.compute()}
            self._tell(
                "on_step_end",
                StepReport(epoch, step, len(self.loader), figures, learning_rate, count, now - ended),
            )
            ended = now
        means = {name: value / images for name, value in sums.items()}
        return {**means, **self.metric.compute()}, images

    def _step(self, batch: Batch) -> tuple[Any, dict[str, float]]:
        """Forward, backward, update; the network's output and the losses as numbers."""
        self.state.seed_step()
        output = self.state.model(batch.images)
        losses = self.loss(output, batch.labels)
        values = {name: float(value) for name, value in losses.items()}
        if len(values) == 2:  # a single loss and the sum of it
            values = {"loss": values["loss"]}
        self._require_finite(values)
        losses["loss"].backward()
        self.state.apply_gradients()
        return output, values

    def _require_finite(self, losses: Mapping[str, float]) -> None:
        if not math.isfinite(losses["loss"]):
            progress = self.state.progress
            raise TrainingError(
                f"the loss is {losses['loss']} at epoch {progress.epoch + 1}, step {progress.step + 1}, learning rate"
                f" {self.state.optimizer.get_lr():.6g}: the weights before this step are finite; lower"
                " Optimizer.lr.learning_rate, or lengthen Optimizer.lr.warmup_epoch"
            )

    def _tell(self, moment: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*arguments)
