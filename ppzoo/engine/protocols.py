"""The interfaces that the engine expects of the objects that it is given."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Protocol

import paddle

Loss = Callable[[Any, paddle.Tensor], Mapping[str, paddle.Tensor]]


class Batch(Protocol):
    """Images N x C x H x W, their labels, and their indices in the dataset."""

    @property
    def images(self) -> paddle.Tensor: ...

    @property
    def labels(self) -> paddle.Tensor: ...

    @property
    def indices(self) -> paddle.Tensor: ...


class Loader(Protocol):
    """Batches of a dataset, or None for a batch without readable images; `len` is the number of batches per epoch."""

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Batch | None, None, None]: ...

    def __len__(self) -> int: ...


class Metric(Protocol):
    """Metrics that are accumulated batch by batch."""

    @property
    def main(self) -> str: ...

    def reset(self) -> None: ...

    def update(self, output: Any, label: paddle.Tensor) -> None: ...

    def compute(self) -> Mapping[str, float]: ...

    def state(self) -> Mapping[str, Any]: ...

    def merge(self, state: Mapping[str, Any]) -> None: ...


class EvaluationObserver(Protocol):
    """Accumulates results of an evaluation batch by batch; `merge` replaces them by the merged states of all processes.

    `state` returns what the observer of one process has accumulated.
    """

    def reset(self) -> None: ...

    def update(self, output: Any, batch: Batch) -> None: ...

    def state(self) -> Any: ...

    def merge(self, states: list[Any]) -> None: ...


class Resumable(Protocol):
    """An object whose state, made of plain values, is saved in checkpoints."""

    def state(self) -> Mapping[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...
