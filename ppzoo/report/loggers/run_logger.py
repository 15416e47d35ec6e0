"""The callback that passes what happens in a run to its loggers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppzoo.events import Callback, EpochReport, Metrics, StepReport
from ppzoo.report.loggers.base import EPOCH, GRADIENTS, RUN, STEP, WEIGHTS
from ppzoo.report.loggers.evaluation_record import EvaluationRecord, WrongImage
from ppzoo.report.loggers.group import LoggerGroup
from ppzoo.report.loggers.pictures import Tile, draw_tiles
from ppzoo.report.loggers.process_memory import read_memory

FIRST_IMAGES = 32  # number of images of the first batch that are shown
BINS = 30  # of histograms
TRAIN, EVAL = f"{EPOCH}train/", f"{EPOCH}eval/"


@dataclass(frozen=True)
class RunDescription:
    """Everything that loggers show of a run in addition to its metrics.

    Attributes:
        texts: texts by name, such as the configuration.
        hyperparameters: values by name.
        main: the name of the metric that decides which epoch is the best.
        class_names: names of all classes, in order.
        to_pixels: converts one image of the network's input (C x H x W) to H x W x 3 uint8.
        named_parameters: returns the parameters of the network by name.
        best: returns the best value of the main metric so far; None without an evaluation.
        suffix: suffix of the metrics of the evaluation that is recorded, such as "_ema".
    """

    texts: Mapping[str, str]
    hyperparameters: Mapping[str, bool | int | float | str]
    main: str
    class_names: Sequence[str]
    to_pixels: Callable[[np.ndarray], np.ndarray]
    named_parameters: Callable[[], Iterable[tuple[str, Any]]]
    best: Callable[[], float | None]
    suffix: str = ""


class RunLogger(Callback):
    """Logs the metrics of each step and epoch, pictures of the first batch and of evaluations, and histograms.

    Args:
        record: record of the evaluations; None without evaluations.
        memory_interval: steps between two readings of the used memory.
        histogram_interval: epochs between histograms of weights and gradients; None for none.
    """

    def __init__(
        self,
        loggers: LoggerGroup,
        run: RunDescription,
        record: EvaluationRecord | None,
        *,
        memory_interval: int,
        histogram_interval: int | None = None,
    ) -> None:
        self.loggers, self.run, self.record = loggers, run, record
        self.memory_interval, self.histogram_interval = memory_interval, histogram_interval
        self.has_first_batch = False

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        for name, text in self.run.texts.items():
            self.loggers.call("log_text", f"{RUN}{name}", text, 0)
        results = (f"{EPOCH}best/{self.run.main}", f"{EVAL}{self.run.main}", f"{EVAL}loss", f"{TRAIN}loss")
        tags = list(dict.fromkeys(results if self.record is not None else results[-1:]))
        self.loggers.call("log_hyperparameters", self.run.hyperparameters, tags)

    def on_first_batch(self, epoch: int, batch: Any) -> None:
        with self.loggers.guard():
            if self.has_first_batch or not self.loggers.active:
                return
            self.has_first_batch = True
            images = batch.images[:FIRST_IMAGES].astype("float32").numpy()
            labels = batch.labels[:FIRST_IMAGES].numpy()
            tiles = [
                Tile(self.run.to_pixels(image), self._label_lines(label))
                for image, label in zip(images, labels, strict=True)
            ]
            self.loggers.call("log_image", f"{TRAIN}first_batch", draw_tiles(tiles), epoch + 1)

    def _label_lines(self, label: np.ndarray) -> list[str]:
        """Return the class of an image, or up to two classes of a mixed image with their shares, one per line."""
        if label.ndim == 0 or label.size == 1:
            return [self._name(int(label.reshape(-1)[0]))]
        shares = label.reshape(-1, label.shape[-1])[0]
        order = np.argsort(-shares, kind="stable")[:2]
        return [f"{shares[index]:.2f} {self._name(int(index))}" for index in order if shares[index] > 0]

    def _name(self, index: int) -> str:
        return self.run.class_names[index] if 0 <= index < len(self.run.class_names) else str(index)

    def on_step_end(self, report: StepReport) -> None:
        with self.loggers.guard():
            speed = report.images / report.seconds
            values = {**report.metrics, "lr": report.learning_rate, "images_per_second": speed}
            if (report.step + 1) % self.memory_interval == 0:
                values |= read_memory()
            self._log_scalars(STEP, values, report.epoch * report.steps + report.step)

    def on_gradients(self, epoch: int) -> None:
        with self.loggers.guard():
            if not (self.histogram_interval and (epoch + 1) % self.histogram_interval == 0 and self.loggers.active):
                return
            for name, parameter in self.run.named_parameters():
                if parameter.ndim < 2:  # browsers cannot draw hundreds of histograms
                    continue
                self._log_histogram(f"{WEIGHTS}{name}", parameter, epoch + 1)
                if parameter.grad is not None:
                    self._log_histogram(f"{GRADIENTS}{name}", parameter.grad, epoch + 1)

    def _log_histogram(self, tag: str, tensor: Any, number: int) -> None:
        values = tensor.detach().astype("float32").numpy()
        values = values[np.isfinite(values)]
        if values.size:
            self.loggers.call("log_histogram", tag, *np.histogram(values, bins=BINS), number)

    def on_epoch_end(self, report: EpochReport) -> None:
        with self.loggers.guard():
            number = report.epoch + 1
            extra = {"lr": report.learning_rate, "images_per_second": report.images_per_second, **read_memory()}
            self._log_scalars(TRAIN, {**report.train, **extra}, number)
            if report.evaluation is not None:
                self._log_scalars(EVAL, report.evaluation, number)
                best = self.run.best()
                if best is not None:
                    self._log_scalars(f"{EPOCH}best/", {self.run.main: best}, number)
                if self.record is not None and self.loggers.active:
                    self._log_evaluation(self.record, number)

    def _log_scalars(self, group: str, values: Metrics, number: int) -> None:
        self.loggers.call("log_scalars", {f"{group}{name}": value for name, value in values.items()}, number)

    def _log_evaluation(self, record: EvaluationRecord, number: int) -> None:
        suffix = self.run.suffix
        if record.matrix is not None:
            names = [self._name(index) for index in range(record.class_num)]
            self.loggers.call("log_confusion_matrix", f"{EVAL}confusion_matrix{suffix}", record.matrix, names, number)
        wrong = record.most_wrong()
        if wrong:
            picture = draw_tiles([Tile(image.pixels, self._wrong_lines(image)) for image in wrong])
            self.loggers.call("log_image", f"{EVAL}wrong_images{suffix}", picture, number)
        for index, curve in record.curves().items():
            name = "all classes" if index is None else f"{index} {self._name(index)}"
            self.loggers.call("log_pr_curve", f"{EVAL}pr_curve{suffix}/{name}", curve, number)

    def _wrong_lines(self, image: WrongImage) -> list[str]:
        return [
            self._name(image.label),
            f"predicted {self._name(image.predicted)}",
            f"probability {image.probability:.2f}",
        ]

    def close(self) -> None:
        self.loggers.close()
