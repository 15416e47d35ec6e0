"""The thread that runs a network: it takes batches from a queue until it is stopped, or fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppzoo.errors import PpzooError
from ppzoo.serve.batching import BatchQueue

if TYPE_CHECKING:
    import asyncio

    from ppzoo.serve.served_network import Network

logger = logging.getLogger("ppzoo")


class EngineFailedError(PpzooError):
    """The engine of a model failed, or the service ends, before a request was computed."""

    exit_status = 1


@dataclass(eq=False)
class Job:
    """An image that waits for its result.

    Attributes:
        image: the bytes of an image file, or a preprocessed image, C x H x W float32.
        topk: the number of classes requested; None: the probabilities of all classes, as for a preprocessed image.
        future: receives the result, or an exception.
    """

    image: bytes | np.ndarray
    topk: int | None
    future: asyncio.Future[Any]


class Worker:
    """Runs one network in one thread.

    Args:
        load: loads the network, in the thread.
        on_batch: called with the number of images and the seconds of each batch.

    Attributes:
        network: the network once it is loaded, else None.
        error: the exception that ended the thread, if any.
        busy_since: `time.monotonic()` at the start of the batch that is computed; None without one.
    """

    def __init__(
        self,
        name: str,
        queue: BatchQueue[Job],
        load: Callable[[], Network],
        on_batch: Callable[[int, float], None],
    ) -> None:
        self._queue, self._load, self._on_batch = queue, load, on_batch
        self._stop = threading.Event()
        self._loaded = threading.Event()  # set when loading has finished, successfully or not
        self.network: Network | None = None
        self.error: BaseException | None = None
        self.busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"ppzoo-engine-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_running(self) -> bool:
        """Return whether the network is loaded and its thread lives."""
        return self.network is not None and self._thread.is_alive()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def wait_until_loaded(self) -> None:
        """Wait until the network is loaded or has failed to load."""
        self._loaded.wait()

    def has_loaded(self) -> bool:
        """Return whether loading has finished, successfully or not."""
        return self._loaded.is_set()

    def stop(self) -> None:
        """Let the thread end after its current batch; what waits in the queue stays there."""
        self._stop.set()
        self._queue.wake()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self.network = self._load()
            self._loaded.set()
            while jobs := self._queue.take(self._stop.is_set):
                self._compute(self.network, jobs)
        except BaseException as error:  # whatever ends the thread is reported, and the thread is replaced
            self.error = error
        finally:
            self._loaded.set()

    def _compute(self, network: Network, jobs: Sequence[Job]) -> None:
        jobs = [job for job in jobs if not job.future.done()]  # the others have timed out or are disconnected
        groups: dict[tuple[bool, bool], list[Job]] = {}
        for job in jobs:
            groups.setdefault((isinstance(job.image, bytes), job.topk is None), []).append(job)
        started = self.busy_since = time.monotonic()
        done = 0
        try:
            for group in groups.values():
                _deliver(group, _results(network, group))
                done += len(group)
        finally:
            self.busy_since = None
            unfinished = [job for group in groups.values() for job in group][done:]
            if unfinished:  # an exception that is not a PpzooError
                error = EngineFailedError("the engine failed while it computed this request")
                _deliver(unfinished, [error] * len(unfinished))
        if jobs:
            self._on_batch(len(jobs), time.monotonic() - started)


def _results(network: Network, jobs: Sequence[Job]) -> list[Any]:
    """Return the results of jobs of one kind."""
    images: list[Any] = [job.image for job in jobs]
    if not isinstance(images[0], bytes):
        return network.compute(images)
    counts = [job.topk for job in jobs if job.topk is not None]
    return network.predict(images, max(counts)) if counts else network.probabilities(images)


def _deliver(jobs: Sequence[Job], results: Sequence[Any]) -> None:
    """Set the results in the event loop that waits for them; all jobs have the same loop."""
    try:
        jobs[0].future.get_loop().call_soon_threadsafe(set_results, jobs, results)
    except RuntimeError:  # the loop is closed: nothing waits for the results
        logger.warning("discarding %d results: the service has ended", len(jobs))


def set_results(jobs: Sequence[Job], results: Sequence[Any]) -> None:
    """Complete the futures of jobs that are still waited for."""
    for job, result in zip(jobs, results, strict=True):
        if job.future.done():
            continue
        if isinstance(result, BaseException):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
