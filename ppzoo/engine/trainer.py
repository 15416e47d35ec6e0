"""The training loop. It does not depend on files, devices or configurations; callbacks are notified of its events."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import paddle

from ppzoo.engine.distributed import SINGLE_PROCESS, ProcessGroup
from ppzoo.engine.grad_accumulation import StepLoader
from ppzoo.engine.nonfinite import first_nonfinite_layer, gradients_are_finite
from ppzoo.engine.protocols import Batch, Loss
from ppzoo.engine.running_metrics import BatchStats, loss_weights, mean_losses, total_weights
from ppzoo.engine.signals import StopSignals
from ppzoo.engine.train_state import TrainState
from ppzoo.errors import MAX_SHOWN_IMAGES, DataError, NotFiniteError, count_text
from ppzoo.events import EMA_SUFFIX, Callback, EpochReport, StepReport, Summary
from ppzoo.finite import require_finite_metrics

logger = logging.getLogger("ppzoo")


@dataclass(frozen=True)
class Plan:
    """How long to train and when to evaluate.

    Attributes:
        epochs: number of epochs.
        eval_interval: epochs between two evaluations; the last epoch is always evaluated.
        start_eval_epoch: number of epochs at the beginning that are not evaluated.
        main: the evaluation metric that decides which epoch is the best.
        higher_is_better: whether a higher value of that metric is better.
        metrics_interval: steps between two computations of the epoch's running metrics; the last step always computes
            them.
    """

    epochs: int
    eval_interval: int = 1
    start_eval_epoch: int = 0
    main: str = "loss"
    higher_is_better: bool = False
    metrics_interval: int = 1

    def evaluates_after(self, finished: int) -> bool:
        """Return whether to evaluate after `finished` epochs."""
        due = finished > self.start_eval_epoch and finished % self.eval_interval == 0
        return due or finished == self.epochs


class Trainer:
    """Trains the model of `state`.

    Args:
        state: model, optimizer, schedule and progress; training continues where a restored state stopped.
        steps: yields the batches of each training step.
        loss: maps (output, labels) of a batch to mean losses by name, of which "loss" is minimized; an optional method
            `weights` maps labels to the weight of each of these means, by name.
        evaluate: returns the evaluation metrics of the model with its current weights; None trains without evaluation.
        plan: epochs and evaluations.
        describe: returns the name of the sample with the given index, for error messages.
        processes: the processes that train the network together, each with its own batches.
        forward: computes the model's output in training; the model itself by default.

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
        self.gradients = processes.gradient_averager(state.model)
        self.forward = forward or state.model
        self.callbacks: list[Callback] = []

    def fit(self) -> Summary:
        """Train to the end of the plan.

        Raises:
            NotFiniteError: a loss or a gradient is not finite.
            DataError: no image of an epoch can be read.
            TrainingError: an evaluation metric is not finite.
            Interrupted: this or another process received a signal to stop; the callbacks have been notified.
        """
        started = time.perf_counter()
        progress = self.state.progress
        try:
            self._call("on_train_begin", progress.epoch, self.plan.epochs)
            with StopSignals(self.processes.is_launched) as self.stop:
                while progress.epoch < self.plan.epochs and not self._stops_early():
                    self._call("on_epoch_end", self._run_epoch(progress.epoch))
                    self._stop_if_requested()
            summary = Summary(
                progress.epoch,
                time.perf_counter() - started,
                progress.best_metric or self.plan.main,  # without evaluations, the best value is from the checkpoint
                progress.best,
                progress.best_epoch,
                progress.best_is_averaged,
            )
            self._call("on_train_end", summary)
        finally:
            self._call("close")
        return summary

    def run_steps(self, count: int) -> Generator[tuple[dict[str, float], int], None, None]:
        """Make `count` training steps without evaluations, and yield the losses and the number of images of each step.

        Of the callbacks' methods, only `on_gradients` is called. The data are repeated if an epoch has fewer steps than
        `count`.
        """
        progress = self.state.progress
        self.state.model.train()
        while count > 0:
            with closing(self.steps.epoch(progress.epoch, progress.step)) as steps:
                for batches in islice(steps, count):
                    count -= 1
                    yield self._train_step(batches)
            progress.epoch, progress.step = progress.epoch + 1, 0

    def _train_step(self, batches: list[Batch]) -> tuple[dict[str, float], int]:
        """Make one training step; the gradients of several batches are accumulated.

        Returns:
            The losses and the number of images of all processes; ({}, 0) if no image of the step could be read.
        """
        state = self.state
        stats: list[BatchStats] = []
        if batches:
            self._seed_step()
            weights = [loss_weights(self.loss, batch.labels) for batch in batches]
            step_weights = self._sum_weights(weights)
            for batch, batch_weights in zip(batches, weights, strict=True):
                with state.amp.autocast():
                    output = self.forward(batch.images.astype("float32"))  # images can be float16 for a fast transfer
                losses = self.loss(output, batch.labels)
                batch_stats = self._gather_stats(batch, output, losses, batch_weights)
                loss, factor = self._weigh(losses, batch_weights, batch_stats, step_weights)
                if batch is batches[-1]:
                    self.gradients.start()
                state.amp.scale(loss, factor).backward()
                stats += batch_stats

            self.gradients.finish()  # they are now the means over the processes
            parameters = state.model.parameters()
            state.amp.unscale(parameters)
            is_finite = gradients_are_finite(parameters)
            if state.progress.step + 1 == len(self.steps):
                self._call("on_gradients", state.progress.epoch)
            if is_finite:
                with paddle.utils.unique_name.guard():  # gives the accumulators the same names in every run
                    state.optimizer.step()
                if state.ema is not None:
                    state.ema.update(state.model)
            elif state.amp.grad_scaler is None:
                raise self._nonfinite_error("the gradients are not finite", batches)
            if state.amp.grad_scaler is not None:
                state.amp.grad_scaler.update(is_finite, self._step_number())
            state.optimizer.clear_grad(set_to_zero=False)
            state.metrics.update(stats)
        state.scheduler.step()
        state.progress.step += 1
        return mean_losses(stats) if stats else {}, sum(one.images for one in stats)

    def _seed_step(self) -> None:
        """Seed PaddlePaddle's generator (dropout, drop-connect) for the current step, differently in each process."""
        rank, progress = self.processes.rank, self.state.progress
        entropy = (self.state.seed, progress.epoch, progress.step, *([rank] if rank else []))
        paddle.seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def _step_number(self) -> int:
        """Return the number of the current step in the run, from 1."""
        return self.state.progress.epoch * len(self.steps) + self.state.progress.step + 1

    def _sum_weights(self, weights: list[dict[str, float]]) -> dict[str, float] | None:
        """Return each loss's total weight over all batches and processes of a step; None if the step has one batch."""
        if len(weights) == 1:
            return None
        return total_weights(self.processes.all_gather(total_weights(weights)))

    def _gather_stats(
        self, batch: Batch, output: Any, losses: Mapping[str, paddle.Tensor], weights: dict[str, float]
    ) -> list[BatchStats]:
        """Return the losses and metrics of the current batch of each process.

        Raises:
            NotFiniteError: the loss of a process is not finite.
        """
        values = {name: float(losses[name]) for name in (*weights, "loss")}
        stats = self.processes.all_gather(self.state.metrics.batch_stats(values, output, batch.labels, weights))
        if not math.isfinite(mean_losses(stats)["loss"]):
            own = stats[self.processes.rank].losses["loss"]
            raise self._nonfinite_error(f"the loss is {own}", [batch], is_cause=not math.isfinite(own))
        return stats

    def _weigh(
        self,
        losses: Mapping[str, paddle.Tensor],
        weights: dict[str, float],
        batch_stats: list[BatchStats],
        step_weights: dict[str, float] | None,
    ) -> tuple[paddle.Tensor, float]:
        """Return a loss and a factor: the gradient of their product is this batch's share of the step's gradient.

        Each mean loss counts by its weight, such as the number of images, however a step is divided into batches and
        processes.

        Args:
            weights: loss weights of this process's batch.
            batch_stats: losses and metrics of the current batch of each process.
            step_weights: total loss weights of the step's batches on all processes; None if the step has one batch.
        """
        batch_weights = total_weights([one.weights for one in batch_stats])
        step_weights = step_weights or batch_weights
        if len({(weights[name], batch_weights[name], step_weights[name]) for name in weights}) == 1:
            name = next(iter(weights))
            loss = self.processes.weigh_loss(losses["loss"], weights[name], batch_weights[name] or 1)
            return loss, batch_weights[name] / step_weights[name] if step_weights[name] else 1.0
        shares = [
            self.processes.weigh_loss(losses[name], weights[name], batch_weights[name] or 1)
            * (batch_weights[name] / (step_weights[name] or 1))
            for name in weights
        ]
        return sum(shares), 1.0

    def _nonfinite_error(self, problem: str, batches: list[Batch], is_cause: bool = True) -> NotFiniteError:
        """Return an error that names the step, and the layer and images of the first process that caused it.

        Args:
            is_cause: whether this process caused it.
        """
        progress = self.state.progress
        with self.state.amp.autocast():
            layers = [first_nonfinite_layer(self.state.model, batch.images.astype("float32")) for batch in batches]
        layer = next(filter(None, layers), None)
        where = f"first layer with a non-finite output: {layer}" if layer else "the outputs of all layers are finite"
        files = [self.describe(int(index)) for batch in batches for index in batch.indices]
        hidden = len(files) - MAX_SHOWN_IMAGES
        more = f" and {hidden} more" if hidden > 0 else ""
        text = (
            f"{problem} at epoch {progress.epoch + 1}, step {progress.step + 1}, learning rate"
            f" {self.state.optimizer.get_lr():.6g} ({where}; images: {', '.join(files[:MAX_SHOWN_IMAGES])}{more}):"
            " lower the learning rate in Optimizer.lr, or lengthen its warm-up"
        )
        reports = self.processes.all_gather((is_cause, text))
        return NotFiniteError(next(line for caused, line in reports if caused))

    def _stops_early(self) -> bool:
        """Return whether early stopping ends the run here."""
        early_stopping = self.state.early_stopping
        if early_stopping is None or not early_stopping.should_stop:
            return False
        logger.info(
            "stopping early after epoch %d: %s without an improvement of more than %g in %s",
            *(self.state.progress.epoch, count_text(early_stopping.waited, "evaluation")),
            *(early_stopping.min_gain, self.plan.main),
        )
        return True

    def _run_epoch(self, epoch: int) -> EpochReport:
        """Train for an epoch, or the rest of one, and evaluate if that is due."""
        state, started = self.state, time.perf_counter()
        images = self._train_epoch(epoch)
        train_seconds = time.perf_counter() - started
        if not state.metrics.images:
            raise DataError(
                f"expected images to train on, got none that can be read in epoch {epoch + 1}; find the causes with"
                " `ppzoo data check CONFIG`"
            )
        metrics = state.metrics.compute()
        learning_rate = state.optimizer.get_lr()
        evaluates = self.evaluate is not None and self.plan.evaluates_after(epoch + 1)
        if evaluates:
            self._call("on_evaluation_begin", epoch)
        state.progress.epoch, state.progress.step = epoch + 1, 0
        state.metrics.reset()
        evaluation, is_best = self._evaluate(epoch) if evaluates else (None, False)
        eval_seconds = time.perf_counter() - started - train_seconds
        speed = images / train_seconds
        is_averaged = is_best and state.progress.best_is_averaged
        return EpochReport(
            epoch, metrics, evaluation, learning_rate, speed, train_seconds, eval_seconds, is_best, is_averaged
        )

    def _train_epoch(self, epoch: int) -> int:
        """Make the remaining steps of an epoch and return their number of images."""
        self.state.model.train()
        images, ended = 0, time.perf_counter()
        start_step, steps = self.state.progress.step, len(self.steps)
        for step, batches in enumerate(self.steps.epoch(epoch, start_step), start_step):
            learning_rate = self.state.optimizer.get_lr()
            if step == start_step and batches:
                self._call("on_first_batch", epoch, batches[0])
            metrics, count = self._train_step(batches)
            images += count
            now = time.perf_counter()
            if self.state.metrics.images and ((step + 1) % self.plan.metrics_interval == 0 or step + 1 == steps):
                metrics = {**metrics, **self.state.metrics.metric.compute()}
            self._call("on_step_end", StepReport(epoch, step, steps, metrics, learning_rate, count, now - ended))
            ended = now
            self._stop_if_requested("on_interrupt")
        return images

    def _evaluate(self, epoch: int) -> tuple[dict[str, float], bool]:
        """Return the evaluation metrics, also those of the averaged weights, and whether they are the best so far."""
        state, main = self.state, self.plan.main
        metrics = self._evaluate_weights(epoch)
        state.scheduler.record_evaluation(metrics["loss"], metrics[main])
        is_averaged = False
        if state.ema is not None:
            with state.ema.apply_to(state.model):
                averaged = self._evaluate_weights(epoch)
            gain = averaged[main] - metrics[main]
            is_averaged = gain > 0 if self.plan.higher_is_better else gain < 0
            metrics |= {f"{name}{EMA_SUFFIX}": value for name, value in averaged.items()}
        value = metrics[f"{main}{EMA_SUFFIX}" if is_averaged else main]
        is_best = state.progress.update_best(value, self.plan.higher_is_better, is_averaged, main)
        if state.early_stopping is not None:
            state.early_stopping.update(value)
        return metrics, is_best

    def _evaluate_weights(self, epoch: int) -> dict[str, float]:
        """Return the evaluation metrics of the model's current weights."""
        assert self.evaluate is not None
        tensors = self.state.model.state_dict().values()
        # Each process has its own running statistics, which are the parameters that are not trained.
        self.processes.broadcast_tensors(tensor for tensor in tensors if tensor.stop_gradient)
        with self.state.amp.eval_autocast():
            metrics = self.evaluate()
        require_finite_metrics(metrics, f"evaluation after epoch {epoch + 1}")
        return metrics

    def _stop_if_requested(self, *events: str) -> None:
        """Stop all processes if one of them received a stop signal, after calling the methods `events` of callbacks."""
        requested = self.processes.all_reduce_max(self.stop.requested or 0)
        if requested:
            self.stop.requested = requested
            for event in events:
                self._call(event)
            self.processes.barrier()  # until the main process has saved its checkpoint
            self.stop.interrupt()

    def _call(self, event: str, *arguments: Any) -> None:
        """Call the method `event` of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)
