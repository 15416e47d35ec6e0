"""The models of a service: each has a queue and an engine thread, which is replaced if it fails or the export changes.

A new engine is loaded while the previous one computes. Both take from the same queue, so that no request is lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppzoo.deploy import SETTINGS
from ppzoo.errors import ConfigError, PpzooError, one_line
from ppzoo.files import describe_absence, expand_user
from ppzoo.serve.batching import BatchQueue
from ppzoo.serve.options import EngineName, Limits
from ppzoo.serve.prometheus_metrics import Metrics
from ppzoo.serve.served_network import Network
from ppzoo.serve.worker import EngineFailedError, Job, Worker, set_results

if TYPE_CHECKING:
    from ppzoo.serve.options import OpenExplain

logger = logging.getLogger("ppzoo")

POLL_SECONDS = 0.5
RESTART_SECONDS = 1.0  # between two attempts to start an engine again
MAX_RESTARTS, RESTART_WINDOW = 5, 60.0  # more restarts within this time end the service
STOP_SECONDS = 10.0  # for a thread to end after its current batch
NOT_TEXT = ("Cc", "Cs")  # Unicode categories: control characters, and halves of surrogate pairs
Signature = tuple[tuple[str, int, int, int], ...]


class NotReadyError(Exception):
    """The model's engine has failed and is not running yet."""


class Model:
    """An export that is served under a name.

    Attributes:
        queue: the images that wait.
        restarts: times of the latest restarts.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        limits: Limits,
        metrics: Metrics,
        *,
        batch_size: int,
        engine: EngineName,
        open_explain: OpenExplain | None = None,
    ) -> None:
        self.name, self.folder, self.limits, self.metrics = name, folder, limits, metrics
        self._batch_size, self._engine, self._open_explain = batch_size, engine, open_explain
        self.queue: BatchQueue[Job] = BatchQueue(limits.queue, batch_size, limits.max_wait)
        self._signature = read_signature(folder)
        self._seen = self._signature
        self._worker = self._start_worker()
        self._next: Worker | None = None  # an engine that is being loaded
        self.restarts: list[float] = []
        metrics.watch_model(name, lambda: len(self.queue), lambda: float(self.is_ready()))

    def require_loaded(self) -> None:
        """Wait until the network is loaded.

        Raises:
            PpzooError: it cannot be loaded.
        """
        self._worker.wait_until_loaded()
        if self._worker.error is not None:
            raise self._worker.error

    @property
    def network(self) -> Network:
        """The loaded network.

        Raises:
            NotReadyError: the engine has failed.
        """
        network = self._worker.network
        if network is None or not self._worker.is_alive():
            raise NotReadyError
        return network

    def is_ready(self) -> bool:
        """Return whether the engine runs, and its current batch has not taken longer than the time limit."""
        busy_since = self._worker.busy_since
        is_stalled = busy_since is not None and time.monotonic() - busy_since > self.limits.timeout
        return self._worker.is_running() and not is_stalled

    async def run(self, images: Sequence[bytes | np.ndarray], topk: int | None) -> list[Any]:
        """Return the result of each image: a prediction, probabilities, or the `PpzooError` of that image.

        Args:
            topk: the number of classes of a prediction; None: the probabilities of all classes.

        Raises:
            NotReadyError, QueueFullError: nothing has been computed.
            TimeoutError: the results did not arrive in time.
        """
        if not self._worker.is_running():
            raise NotReadyError
        loop = asyncio.get_running_loop()
        jobs = [Job(image, topk, loop.create_future()) for image in images]
        self.queue.put(jobs)
        futures = [job.future for job in jobs]
        try:
            _, waiting = await asyncio.wait(futures, timeout=self.limits.timeout)
            if waiting:
                raise TimeoutError
            return [future.exception() or future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    async def watch(self, *, reload: bool) -> None:
        """Replace the engine when it has failed, and, with `reload`, when the export has changed.

        Another error, for example if the operating system cannot start a thread, is logged; the model is served as
        before, and the next check tries again.

        Raises:
            EngineFailedError: the engine fails again and again.
        """
        previous = ""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._check(reload=reload)
                previous = ""
            except EngineFailedError:
                raise
            except Exception as error:
                if repr(error) != previous:  # else the previous check has logged the same error
                    logger.exception("model %s: cannot check or replace the engine", self.name)
                previous = repr(error)

    async def _check(self, *, reload: bool) -> None:
        if self._next is not None:
            self._finish_reload()
        elif not self._worker.is_alive():
            await self._restart()
        elif reload:
            self._start_reload()

    def stop(self) -> None:
        """End the engine; the images that still wait get an error."""
        workers = [worker for worker in (self._worker, self._next) if worker is not None]
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join(STOP_SECONDS)
        jobs = self.queue.clear()
        set_results(jobs, [EngineFailedError("the service is ending")] * len(jobs))

    def _start_worker(self) -> Worker:
        def load() -> Network:
            return Network(
                self.folder, batch_size=self._batch_size, engine=self._engine, open_explain=self._open_explain
            )

        def count(images: int, seconds: float) -> None:
            self.metrics.count_batch(self.name, images, seconds)

        worker = Worker(self.name, self.queue, load, count)
        worker.start()
        return worker

    async def _restart(self) -> None:
        error = self._worker.error
        now = time.monotonic()
        self.restarts = [*(start for start in self.restarts if now - start < RESTART_WINDOW), now]
        if len(self.restarts) > MAX_RESTARTS:
            raise EngineFailedError(f"model {self.name}: the engine failed {len(self.restarts)} times within a minute")
        logger.error("model %s: restarting the engine, which failed: %s", self.name, one_line(repr(error)))
        self.metrics.restarts.labels(self.name).inc()
        await asyncio.sleep(RESTART_SECONDS)
        self._worker = self._start_worker()
        while not self._worker.has_loaded():
            await asyncio.sleep(POLL_SECONDS / 10)

    def _start_reload(self) -> None:
        """Load the export again if its files differ from the loaded ones, and have not changed since the last check."""
        found = read_signature(self.folder)
        is_stable, self._seen = found == self._seen, found
        if is_stable and found and found != self._signature:
            self._next = self._start_worker()
            self._signature = found

    def _finish_reload(self) -> None:
        """Stop the previous engine once the next one has been loaded; keep it if that failed."""
        loaded = self._next
        if loaded is None or not loaded.has_loaded():
            return
        self._next = None
        if loaded.network is None:
            self.metrics.reloads.labels(self.name, "failed").inc()
            logger.warning("model %s: keeping the previous export: %s", self.name, one_line(loaded.error))
            return
        previous, self._worker = self._worker, loaded
        previous.stop()
        self.metrics.reloads.labels(self.name, "done").inc()
        logger.info("model %s: reloaded %s", self.name, one_line(self.folder))


def name_exports(exports: Sequence[str]) -> dict[str, Path]:
    """Return name -> folder of exports, each given as FOLDER or NAME=FOLDER; the default name is the folder's.

    Raises:
        ConfigError: two have the same name, or a name cannot be part of a URL or of a response.
        PpzooError: a folder does not exist.
    """
    named: dict[str, Path] = {}
    for export in exports:
        name, separator, folder = export.partition("=")
        if not separator or os.path.exists(export):
            name, folder = Path(export).resolve().name, export
        path = Path(expand_user(folder))
        if not name or "/" in name or ":" in name:
            rule = " without slash and colon" if name else ""
            raise ConfigError(f"EXPORT: expected a name{rule}, got {name!r}; use NAME=FOLDER")
        if any(unicodedata.category(character) in NOT_TEXT for character in name):
            raise ConfigError(
                f"EXPORT: expected a name in UTF-8 without control characters, got {name!r:.100}; use NAME=FOLDER"
            )
        if name in named:
            raise ConfigError(f"EXPORT: expected different names, got {name!r} twice; use NAME=FOLDER")
        if not os.path.isdir(path):
            found = "a file" if os.path.isfile(path) else f"a path that {describe_absence(path)}"
            raise PpzooError(
                f"EXPORT: expected the folder of an export, got {found}: {folder!r}; `ppzoo export` writes an export"
            )
        named[name] = path
    return named


def read_signature(folder: Path) -> Signature:
    """Return names, sizes, times and inodes of an export's files; empty while it is not complete."""
    try:
        files = sorted((entry for entry in os.scandir(folder) if entry.is_file()), key=lambda entry: entry.name)
        found = tuple((file.name, (info := file.stat()).st_size, info.st_mtime_ns, info.st_ino) for file in files)
    except OSError:  # it is being replaced
        return ()
    return found if any(name == SETTINGS for name, *_ in found) else ()
