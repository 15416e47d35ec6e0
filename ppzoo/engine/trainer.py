"""The training loop. It knows neither files nor devices nor configurations; callbacks watch it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import paddle

from ppzoo.engine.distributed import SINGLE_PROCESS, ProcessGroup
from ppzoo.engine.grad_accumulation import StepLoader
from ppzoo.engine.nonfinite import first_nonfinite_layer
from ppzoo.engine.protocols import Batch, Loss
from ppzoo.engine.running_metrics import Part, mean_losses, total_weights, weights_of
from ppzoo.engine.signals import StopSignals
from ppzoo.engine.train_state import TrainState
from ppzoo.errors import DataError, NotFiniteError
from ppzoo.events import Callback, EpochReport, StepReport, Summary
from ppzoo.finite import require_finite_metrics

logger = logging.getLogger("ppzoo")

AVERAGED = "_ema"  # ends the names of the averaged weights' evaluation figures


@dataclass(frozen=True)
class Plan:
    """How long to train and when to evaluate.

    Attributes:
        epochs: number of passes over the data.
        eval_interval: epochs between two evaluations; the last epoch is always evaluated.
        start_eval_epoch: epochs before the first evaluation.
        main: the evaluation figure that decides which epoch is the best; `higher_is_better` says how.
        metrics_interval: steps between two computations of the epoch's running metrics.
    """

    epochs: int
    eval_interval: int = 1
    start_eval_epoch: int = 0
    main: str = "loss"
    higher_is_better: bool = False
    metrics_interval: int = 1

    def evaluates_after(self, finished: int) -> bool:
        due = finished > self.start_eval_epoch and finished % self.eval_interval == 0
        return due or finished == self.epochs


class Trainer:
    """Trains the model of `state`.

    Args:
        state: model, optimizer, schedule and progress; a restored one goes on where it stopped.
        steps: the training batches, step by step.
        loss: (output, labels) to a mapping of losses, of which "loss" is minimized; its method `weights`, if it has
            one, maps labels to what these means weigh, by name.
        evaluate: answers the evaluation figures of the model as it is; None trains without evaluation.
        plan: epochs and evaluations.
        describe: what errors call the sample of an index.
        processes: those that train the network together, each with batches of its own.
        forward: what computes the model's output in training; the model itself by default.

    Attributes:
        callbacks: observers, called in this order.
    """

    def __init__(
        self,
        *,
        state: TrainState,
        steps: StepLoader,
        loss: Loss,
        evaluate: Callable[[], dict[str, float]] | None,
        plan: Plan,
        describe: Callable[[int], str] = str,
        processes: ProcessGroup = SINGLE_PROCESS,
        forward: Callable[[Any], Any] | None = None,
    ) -> None:
        self.state = state
        self.steps = steps
        self.loss = loss
        self.evaluate = evaluate
        self.plan = plan
        self.describe = describe
        self.processes = processes
        self.forward = forward or state.model
        self.callbacks: list[Callback] = []

    def fit(self) -> Summary:
        """Train to the end of the plan.

        Raises:
            NotFiniteError: a loss or gradients that are not finite.
            TrainingError: an evaluation figure that is not.
            Interrupted: the process was asked to stop; the observers have been told.
        """
        started = time.perf_counter()
        progress = self.state.progress
        try:
            self._tell("on_train_begin", progress.epoch, self.plan.epochs)
            with StopSignals(self.processes.launched) as self.stop:
                while progress.epoch < self.plan.epochs and not self._is_over():
                    self._tell("on_epoch_end", self._epoch(progress.epoch))
                    self._heed_signals()
            summary = Summary(
                progress.epoch,
                time.perf_counter() - started,
                self.plan.main,
                progress.best,
                progress.best_epoch,
                progress.best_is_averaged,
            )
            self._tell("on_train_end", summary)
        finally:
            self._tell("close")
        return summary

    def _is_over(self) -> bool:
        """Whether early stopping ends the run here."""
        patience = self.state.patience
        if patience is None or not patience.is_over:
            return False
        logger.info(
            "stopped early after epoch %d: %d evaluations without a gain of more than %g in %s",
            *(self.state.progress.epoch, patience.waited, patience.min_gain, self.plan.main),
        )
        return True

    def _epoch(self, epoch: int) -> EpochReport:
        started = time.perf_counter()
        images = self._train(epoch)
        train_seconds = time.perf_counter() - started
        if not self.state.tally.images:
            raise DataError(f"expected images to train on, got none that can be read in epoch {epoch + 1}")
        figures = self.state.tally.figures()
        learning_rate = self.state.optimizer.get_lr()
        evaluates = self.evaluate is not None and self.plan.evaluates_after(epoch + 1)
        if evaluates:
            self._tell("on_evaluation_begin", epoch)
        self.state.finish_epoch()
        evaluation, is_best = self._evaluate(epoch) if evaluates else (None, False)
        eval_seconds = time.perf_counter() - started - train_seconds
        speed = images / train_seconds
        averaged = is_best and self.state.progress.best_is_averaged
        return EpochReport(
            epoch, figures, evaluation, learning_rate, speed, train_seconds, eval_seconds, is_best, averaged
        )

    def _evaluate(self, epoch: int) -> tuple[dict[str, float], bool]:
        """The evaluation figures, and whether they are the best so far."""
        state, main = self.state, self.plan.main
        figures = self._figures(epoch)
        state.schedule.note_evaluation(figures["loss"], figures[main])
        is_averaged = False
        if state.average is not None:
            with state.average.applied(state.model):
                averaged = self._figures(epoch)
            gain = averaged[main] - figures[main]
            is_averaged = gain > 0 if self.plan.higher_is_better else gain < 0
            figures |= {f"{name}{AVERAGED}": value for name, value in averaged.items()}
        better = figures[f"{main}{AVERAGED}" if is_averaged else main]
        return figures, state.record(better, self.plan.higher_is_better, is_averaged)

    def _figures(self, epoch: int) -> dict[str, float]:
        """The evaluation figures of the weights that the model has now."""
        assert self.evaluate is not None
        tensors = self.state.model.state_dict().values()
        # Each process has running statistics of its own, which are parameters that are not trained.
        self.processes.broadcast(tensor for tensor in tensors if tensor.stop_gradient)
        with self.state.precision.eval_cast():
            figures = self.evaluate()
        require_finite_metrics(figures, f"evaluation after epoch {epoch + 1}")
        return figures

    def _train(self, epoch: int) -> int:
        """What is left of an epoch; the number of images seen."""
        self.state.model.train()
        images, ended = 0, time.perf_counter()
        start_step, steps = self.state.progress.step, len(self.steps)
        for step, batches in enumerate(self.steps.epoch(epoch, start_step), start_step):
            learning_rate = self.state.optimizer.get_lr()
            figures, count = self._step(batches)
            images += count
            now = time.perf_counter()
            if self.state.tally.images and ((step + 1) % self.plan.metrics_interval == 0 or step + 1 == steps):
                figures = {**figures, **self.state.tally.metric.compute()}
            self._tell("on_step_end", StepReport(epoch, step, steps, figures, learning_rate, count, now - ended))
            ended = now
            self._heed_signals("on_interrupt")
        return images

    def _heed_signals(self, *moments: str) -> None:
        """Stop here, all processes together, if one of them was asked to; the observers are told of `moments` first."""
        requested = self.processes.largest(self.stop.requested or 0)
        if requested:
            self.stop.requested = requested
            for moment in moments:
                self._tell(moment)
            self.processes.wait()  # for the one that saves
            self.stop.interrupt()

    def _step(self, batches: list[Batch]) -> tuple[dict[str, float], int]:
        """Forward, backward, update; the losses as numbers, and the number of images, of all processes."""
        state = self.state
        if not batches:
            state.pass_over()
            return {}, 0
        state.seed_step(self.processes.rank)
        weights = [weights_of(self.loss, batch.labels) for batch in batches]
        totals = None
        if len(batches) > 1:
            totals = total_weights(self.processes.gather(total_weights(weights)))
        parts = [part for item in zip(batches, weights, strict=True) for part in self._backward(*item, totals)]
        self.processes.average_gradients(state.model.parameters())
        finite = state.gradients_are_finite()
        if not finite and state.precision.scaler is None:
            raise self._not_finite("the gradients are not finite", batches)
        state.update(apply=finite)
        state.tally.add(parts)
        return mean_losses(parts), sum(part.images for part in parts)

    def _backward(self, batch: Batch, weights: dict[str, float], totals: dict[str, float] | None) -> list[Part]:
        """Add the gradients of a batch, one of several with the weights `totals` together; what all processes saw."""
        with self.state.precision.cast():
            half = batch.images.dtype == paddle.float16  # for the way here alone; the weights are float32
            output = self.forward(batch.images.astype("float32") if half else batch.images)
        losses = self.loss(output, batch.labels)
        values = {name: float(losses[name]) for name in (*weights, "loss")}
        parts = self.processes.gather(self.state.tally.part(values, output, batch.labels, weights))
        values = mean_losses(parts)
        if not math.isfinite(values["loss"]):
            mine = parts[self.processes.rank].losses["loss"]
            raise self._not_finite(f"the loss is {mine}", [batch], blamed=not math.isfinite(mine))
        here = total_weights([part.weights for part in parts])
        self.state.precision.backward(*self._share(losses, weights, here, totals or here))
        return parts

    def _share(
        self,
        losses: Mapping[str, paddle.Tensor],
        mine: dict[str, float],
        here: dict[str, float],
        totals: dict[str, float],
    ) -> tuple[paddle.Tensor, float]:
        """A loss and a factor, whose gradients make those of the step's means: each loss counts by its weight.

        Args:
            mine, here, totals: the weights of this batch, of those of all processes, and of the whole step.
        """
        if len({(mine[name], here[name], totals[name]) for name in mine}) == 1:
            name = next(iter(mine))
            loss = self.processes.weighted(losses["loss"], mine[name], here[name] or 1)
            return loss, here[name] / totals[name] if totals[name] else 1.0
        shares = [
            self.processes.weighted(losses[name], mine[name], here[name] or 1) * (here[name] / (totals[name] or 1))
            for name in mine
        ]
        return sum(shares), 1.0

    def _not_finite(self, what: str, batches: list[Batch], blamed: bool = True) -> NotFiniteError:
        """The error that says where, and by which images: those of the first process that is to blame."""
        progress = self.state.progress
        with self.state.precision.cast():
            layers = [first_nonfinite_layer(self.state.model, batch.images) for batch in batches]
        layer = next(filter(None, layers), None)
        blame = f"the first layer that answers so is {layer}" if layer else "all layers answer finite numbers"
        files = [self.describe(int(index)) for batch in batches for index in batch.indices]
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        text = (
            f"{what} at epoch {progress.epoch + 1}, step {progress.step + 1}, learning rate"
            f" {self.state.optimizer.get_lr():.6g} ({blame}; images: {', '.join(files[:3])}{more}):"
            " lower the learning rate in Optimizer.lr, or lengthen its warm-up"
        )
        return NotFiniteError(next(words for is_blamed, words in self.processes.gather((blamed, text)) if is_blamed))

    def _tell(self, moment: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*arguments)
