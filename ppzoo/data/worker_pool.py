"""Worker processes that read batches. They are kept for all epochs; the death of a process is detected immediately.

On Linux they are forked, so that they share the index of millions of samples without copying it. Elsewhere (macOS,
Windows) they are spawned: they receive dataset and transforms pickled, and return batches through pipes.
By default PaddlePaddle's own loader starts its processes for each epoch; its shared memory stays when they are killed.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal, TypeVar

import cv2

from ppzoo.data.batch_reader import Arrays, BatchReader, BatchRequest, BatchResult
from ppzoo.data.shared_memory import SharedArrays
from ppzoo.errors import ConfigError, DataError, TrainingError

T = TypeVar("T")
StartMethod = Literal["fork", "spawn"]

EXTRA_BUFFERS = 2  # for batches that are requested or read in advance while every worker reads one
PARENT_CHECK_SECONDS = 1.0  # how often a forked worker checks whether its parent is alive


def default_start_method() -> StartMethod:
    """Return "fork" on Linux, and "spawn" where processes cannot be forked (Windows) or not safely (macOS)."""
    return "fork" if hasattr(os, "fork") and sys.platform != "darwin" else "spawn"


class WorkerPool:
    """Processes that read batches and return them in the order of the requests.

    They end when `close` is called, when this object is deleted, and when the process that created it ends.

    Args:
        reader: reads the batches.
        count: number of processes.
        shared_memory: forked processes return batches in shared memory instead of pipes; spawned ones use pipes.
        start_method: "fork" or "spawn"; None: that of the platform (`default_start_method`).

    Raises:
        TrainingError: the system allows no more processes, open files or memory.
        ConfigError: processes are spawned, but the dataset or a transform cannot be pickled.
    """

    def __init__(
        self, reader: BatchReader, count: int, shared_memory: bool, start_method: StartMethod | None = None
    ) -> None:
        method = start_method or default_start_method()
        self.buffers: list[SharedArrays] = []
        self.workers: list[_Worker] = []
        self.close = weakref.finalize(self, _close, self.workers, self.buffers, os.getpid())
        payload = reader if method == "fork" else _pickled(reader)
        try:
            if method == "fork":
                _trim_heap()
                if shared_memory:
                    self.buffers.extend(SharedArrays() for _ in range(count + EXTRA_BUFFERS))
            elif hasattr(signal, "pthread_sigmask"):
                resource_tracker.ensure_running()  # else it is started with the first worker, and unblocks the signals
            with _stop_signals_blocked():
                self.workers.extend(_Worker(payload, self.buffers, method) for _ in range(count))
        except OSError as error:
            self.close()
            raise TrainingError(
                f"cannot start {count} reader processes ({error.strerror}): lower loader.num_workers"
            ) from error
        # A worker that sends a batch through a pipe blocks until the batch is received: it gets one request at a time.
        self.capacity = len(self.buffers) or count
        self.free_buffers = deque(range(self.capacity))

    @property
    def idle(self) -> bool:
        """Whether all requested batches have been taken."""
        return len(self.free_buffers) == self.capacity

    def read(self, requests: Iterable[BatchRequest], take: Callable[[BatchResult], T]) -> Iterator[T]:
        """Yield `take(result)` for each request, in order; the result's arrays are valid until `take` returns.

        If the iterator is abandoned before its last batch, some results are never taken: close the pool then.

        Raises:
            DataError: a batch cannot be read.
            TrainingError: a worker died.
        """
        waiting = zip(requests, cycle(self.workers), strict=False)
        pending = deque(self._send(waiting))
        while pending:
            self._receive(0)  # detects the death of any worker, not only of the next one
            worker, buffer = pending.popleft()
            while not worker.results:
                self._receive()
            taken = take(self._unpack(worker.results.popleft(), buffer))
            self.free_buffers.append(buffer)
            pending.extend(self._send(waiting))
            yield taken

    def _send(self, waiting: Iterator[tuple[BatchRequest, _Worker]]) -> Iterator[tuple[_Worker, int]]:
        """Send requests while there are free buffers for their results."""
        while self.free_buffers and (pair := next(waiting, None)) is not None:
            request, worker = pair
            buffer = self.free_buffers.popleft()
            worker.send(request, buffer)
            yield worker, buffer

    def _unpack(self, message: Any, buffer: int) -> BatchResult:
        """Return the result in a worker's message; its arrays can be in the shared buffer number `buffer`."""
        if isinstance(message, str):
            raise DataError(message)
        arrays, failures, normalized = message
        is_shared = self.buffers and arrays is not None
        shared = Arrays(*self.buffers[buffer].read(arrays)) if is_shared else arrays
        return BatchResult(shared, failures, normalized)

    def _receive(self, seconds: float | None = None) -> None:
        """Wait until a worker sends a result or dies, at most `seconds`."""
        sources = [source for worker in self.workers for source in (worker.connection, worker.process.sentinel)]
        ready = wait(sources, seconds)
        for worker in self.workers:
            if worker.process.sentinel in ready:
                worker.raise_dead()
            elif worker.connection in ready:
                worker.receive()


class _Worker:
    """A reader process, as seen from its parent.

    Attributes:
        results: results that were received but not used yet, oldest first.
    """

    def __init__(self, reader: BatchReader | bytes, buffers: list[SharedArrays], method: StartMethod) -> None:
        context: Any = multiprocessing.get_context(method)
        self.connection, theirs = context.Pipe()
        self.results: deque[Any] = deque()
        self.process: BaseProcess = context.Process(
            target=_run_worker, args=(reader, theirs, buffers, os.getpid()), name="ppzoo reader", daemon=True
        )
        self.process.start()
        theirs.close()

    def send(self, request: BatchRequest, buffer: int) -> None:
        try:
            self.connection.send((request, buffer))
        except OSError:
            self.raise_dead()

    def receive(self) -> None:
        """Receive a result that is available."""
        try:
            self.results.append(self.connection.recv())
        except (EOFError, OSError):
            self.raise_dead()

    def raise_dead(self) -> None:
        """Raise the TrainingError that reports how the process died."""
        self.process.join()
        code = self.process.exitcode
        raise TrainingError(
            "a reader process failed: its traceback is above"
            if code == 1
            else f"a reader process died with exit code {code}: if memory ran out (-9), lower loader.num_workers or "
            "batch_size"
        )


def _pickled(reader: BatchReader) -> bytes:
    try:
        return pickle.dumps(reader)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"loader.num_workers: expected a dataset and transforms that can be pickled, got {error}: define their "
            "classes at the top level of a module, or set num_workers to 0"
        ) from error


def _unpickled(payload: bytes) -> BatchReader:
    cv2.setNumThreads(1)  # a forked worker inherits this setting
    reader: BatchReader = pickle.loads(payload)  # from the parent process, which pickled it
    return reader


def _close(workers: list[_Worker], buffers: list[SharedArrays], parent: int) -> None:
    """Kill the processes, which need no cleanup, and free the buffers."""
    if os.getpid() != parent:
        return  # a copy of this object, in a forked process
    with _stop_signals_blocked():  # a second Ctrl-C would leave some of them behind, and print a traceback
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.connection.close()
        for buffer in buffers:
            buffer.close()


def _trim_heap() -> None:
    """Return to the system the memory that glibc has freed but kept: after a fork, reusing it would copy it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def _stop_signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM; processes that are started meanwhile inherit the blocked signals.

    Windows cannot block signals: there Ctrl-C during this time ends parent and workers.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_worker(payload: BatchReader | bytes, connection: Connection, buffers: list[SharedArrays], parent: int) -> None:
    """Run a worker process: read the requested batches until the parent is gone."""
    reader = payload if isinstance(payload, BatchReader) else _unpickled(payload)
    gc.freeze()  # a collection would write to every object, and so copy the memory that is shared with the parent
    _ignore_stop_signals(parent)
    with suppress(EOFError, ConnectionError):  # the parent is gone
        while True:
            request, buffer = connection.recv()
            connection.send(_read(reader, request, buffers[buffer] if buffers else None))


def _read(reader: BatchReader, request: BatchRequest, buffer: SharedArrays | None) -> Any:
    """Return a batch (with shared memory, the layout of its arrays instead of the arrays), or the text of an error."""
    try:
        if buffer is None:
            return reader(request)
        result = reader(request, buffer.empty)
        return result.arrays and buffer.write(result.arrays), result.failures, result.normalized
    except DataError as error:
        return str(error)


def _ignore_stop_signals(parent: int) -> None:
    """Keep reading when the process group gets a stop signal; end when the parent ends or terminates this process.

    A terminal, a job scheduler or a container signals all processes at once, but the trainer finishes its step and
    still needs its readers. Where signals can be blocked, this process was started with both signals blocked. A
    spawned worker also ends when its pipe is closed, since only the parent holds the other end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # Linux
        threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):  # macOS
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _exit_with_parent(parent: int) -> None:
    """End this process when `parent` is gone or sends SIGTERM, which is blocked and received here."""
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, PARENT_CHECK_SECONDS)
        if received is not None and received.si_pid == parent:
            break
    os._exit(0)
