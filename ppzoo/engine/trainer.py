"""The training loop. It knows neither files nor devices nor configurations; callbacks watch it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ppzoo.engine.diagnosis import first_layer_not_finite
from ppzoo.engine.protocols import Batch, Loader, Loss
from ppzoo.engine.state import TrainState
from ppzoo.engine.stop import StopSignals
from ppzoo.errors import TrainingError
from ppzoo.events import Callback, EpochReport, StepReport, Summary


@dataclass(frozen=True)
class Plan:
    """How long to train and when to evaluate.

    Attributes:
        epochs: number of passes over the data.
        eval_interval: epochs between two evaluations; the last epoch is always evaluated.
        start_eval_epoch: epochs before the first evaluation.
        main: the evaluation figure that decides which epoch is the best; `higher_is_better` says how.
    """

    epochs: int
    eval_interval: int = 1
    start_eval_epoch: int = 0
    main: str = "loss"
    higher_is_better: bool = False

    def evaluates_after(self, finished: int) -> bool:
        due = finished > self.start_eval_epoch and finished % self.eval_interval == 0
        return due or finished == self.epochs


class Trainer:
    """Trains the model of `state`.

    Args:
        state: model, optimizer, schedule and progress; a restored one goes on where it stopped.
        loader: training batches, `loader.epoch(number, start_step)`.
        loss: (output, labels) to a mapping of losses, of which "loss" is minimised.
        evaluate: answers the evaluation figures of the model as it is; None trains without evaluation.
        plan: epochs and evaluations.
        describe: what errors call the sample of an index.

    Attributes:
        callbacks: observers, called in this order.
    """

    def __init__(
        self,
        *,
        state: TrainState,
        loader: Loader,
        loss: Loss,
        evaluate: Callable[[], dict[str, float]] | None,
        plan: Plan,
        describe: Callable[[int], str] = str,
    ) -> None:
        self.state = state
        self.loader = loader
        self.loss = loss
        self.evaluate = evaluate
        self.plan = plan
        self.describe = describe
        self.callbacks: list[Callback] = []

    def fit(self) -> Summary:
        """Train to the end of the plan.

        Raises:
            TrainingError: a loss that is not finite.
            Interrupted: the process was asked to stop; the observers have been told.
        """
        started = time.perf_counter()
        progress = self.state.progress
        try:
            self._tell("on_train_begin", progress.epoch, self.plan.epochs)
            with StopSignals() as self.stop:
                while progress.epoch < self.plan.epochs:
                    self._tell("on_epoch_end", self._epoch(progress.epoch))
                    if self.stop.requested:
                        self.stop.interrupt()
            seconds = time.perf_counter() - started
            summary = Summary(progress.epoch, seconds, self.plan.main, progress.best, progress.best_epoch)
            self._tell("on_train_end", summary)
        finally:
            self._tell("close")
        return summary

    def _epoch(self, epoch: int) -> EpochReport:
        started = time.perf_counter()
        images = self._train(epoch)
        train_seconds = time.perf_counter() - started
        figures = self.state.tally.figures()
        learning_rate = self.state.optimizer.get_lr()
        self.state.finish_epoch()
        evaluation, is_best = self._evaluate(epoch)
        eval_seconds = time.perf_counter() - started - train_seconds
        speed = images / train_seconds
        return EpochReport(epoch, figures, evaluation, learning_rate, speed, train_seconds, eval_seconds, is_best)

    def _evaluate(self, epoch: int) -> tuple[dict[str, float] | None, bool]:
        """The evaluation figures, where one is due, and whether they are the best so far."""
        if self.evaluate is None or not self.plan.evaluates_after(epoch + 1):
            return None, False
        self._tell("on_evaluation_begin", epoch)
        figures = self.evaluate()
        main = figures[self.plan.main]
        if not math.isfinite(main):
            raise TrainingError(f"the evaluation's {self.plan.main} is {main} after epoch {epoch + 1}")
        self.state.schedule.note_evaluation(figures["loss"], main)
        return figures, self.state.record(main, self.plan.higher_is_better)

    def _train(self, epoch: int) -> int:
        """What is left of a pass over the data; the number of images seen."""
        self.state.model.train()
        images, ended = 0, time.perf_counter()
        start_step = self.state.progress.step
        for step, batch in enumerate(self.loader.epoch(epoch, start_step), start_step):
            learning_rate = self.state.optimizer.get_lr()
            losses = self._step(batch)
            count = len(batch.images)
            images += count
            now = time.perf_counter()
            figures = {**losses, **self.state.tally.metric.compute()}
            self._tell(
                "on_step_end",
                StepReport(epoch, step, len(self.loader), figures, learning_rate, count, now - ended),
            )
            ended = now
            if self.stop.requested:
                self._tell("on_interrupt")
                self.stop.interrupt()
        return images

    def _step(self, batch: Batch) -> dict[str, float]:
        """Forward, backward, update; the losses as numbers."""
        self.state.seed_step()
        output = self.state.model(batch.images)
        losses = self.loss(output, batch.labels)
        values = {name: float(value) for name, value in losses.items()}
        if len(values) == 2:  # a single loss and the sum of it
            values = {"loss": values["loss"]}
        if not math.isfinite(values["loss"]):
            raise self._not_finite(f"the loss is {values['loss']}", batch)
        losses["loss"].backward()
        if not self.state.gradients_are_finite():
            raise self._not_finite("the gradients are not finite", batch)
        self.state.apply_gradients()
        self.state.tally.add(values, output, batch.labels)
        return values

    def _not_finite(self, what: str, batch: Batch) -> TrainingError:
        """The error that says where, and by which images."""
        progress = self.state.progress
        layer = first_layer_not_finite(self.state.model, batch.images)
        blame = f"the first layer that answers so is {layer}" if layer else "all layers answer finite numbers"
        files = [self.describe(int(index)) for index in batch.indices]
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        return TrainingError(
            f"{what} at epoch {progress.epoch + 1}, step {progress.step + 1}, learning rate"
            f" {self.state.optimizer.get_lr():.6g} ({blame}; images: {', '.join(files[:3])}{more}):"
            " lower Optimizer.lr.learning_rate, or lengthen Optimizer.lr.warmup_epoch"
        )

    def _tell(self, moment: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*arguments)
