"""The queue between the HTTP connections and a network: it limits the number of waiting images and forms batches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class QueueFullError(Exception):
    """The queue has no space for all items of a request."""


class BatchQueue(Generic[T]):
    """A bounded first-in, first-out queue whose consumers take batches; thread-safe.

    Args:
        capacity: the largest number of items that wait.
        batch_size: the largest number of items in a batch.
        max_wait: while a consumer is idle, the oldest item waits at most so many seconds for a batch to fill up.
    """

    def __init__(
        self, capacity: int, batch_size: int, max_wait: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capacity, self.batch_size, self.max_wait = capacity, batch_size, max_wait
        self._clock = clock
        self._items: deque[tuple[float, T]] = deque()
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Sequence[T]) -> None:
        """Append all items, or none of them.

        Raises:
            QueueFullError: there is no space for all of them.
        """
        with self._changed:
            before = len(self._items)
            if before + len(items) > self.capacity:
                raise QueueFullError
            now = self._clock()
            self._items.extend((now, item) for item in items)
            if before == 0 or len(self._items) >= self.batch_size:  # consumers wait for the first item, or a full batch
                self._changed.notify_all()

    def take(self, is_stopped: Callable[[], bool]) -> list[T]:
        """Wait for items and return a batch; once the consumer is stopped, return nothing and leave the items.

        Args:
            is_stopped: whether the consumer has to end; call `wake` after its value has changed.
        """
        with self._changed:
            while not is_stopped():
                if not self._items:
                    self._changed.wait()
                    continue
                remaining = self._items[0][0] + self.max_wait - self._clock()
                if len(self._items) >= self.batch_size or remaining <= 0:
                    count = min(self.batch_size, len(self._items))
                    return [self._items.popleft()[1] for _ in range(count)]
                self._changed.wait(remaining)
        return []

    def clear(self) -> list[T]:
        """Remove and return all items."""
        with self._changed:
            items = [item for _, item in self._items]
            self._items.clear()
        return items

    def wake(self) -> None:
        """Let all consumers check whether they are stopped."""
        with self._changed:
            self._changed.notify_all()
