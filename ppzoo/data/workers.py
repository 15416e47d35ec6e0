"""Processes that read batches: started once, kept from epoch to epoch, missed at once when one dies.

They are forked, so that an index of millions of samples is theirs without a copy. PaddlePaddle's own loader starts
its processes anew for each epoch, and its shared memory stays behind when they are killed.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from ppzoo.data.reading import Answer, Arrays, Reader, Request
from ppzoo.data.shared_memory import SharedArrays
from ppzoo.errors import DataError, TrainingError

T = TypeVar("T")

SPARE = 2  # batches that wait to be read or to be taken while every worker is at one
WATCH = 1.0  # seconds between two looks of a worker at its parent


class Workers:
    """Processes that read batches, which come in the order in which they were asked for.

    They end with `close`, with this object, and with the process that made it.

    Args:
        reader: what they do.
        count: how many they are.
        shared_memory: hand batches over in shared memory instead of pipes.

    Raises:
        TrainingError: the system allows no more processes, open files or memory.
    """

    def __init__(self, reader: Reader, count: int, shared_memory: bool) -> None:
        self.rooms: list[SharedArrays] = []
        self.workers: list[_Worker] = []
        self.close = weakref.finalize(self, _end, self.workers, self.rooms, os.getpid())
        _give_back_freed_memory()
        try:
            if shared_memory:
                self.rooms.extend(SharedArrays() for _ in range(count + SPARE))
            with _signals_held_back():
                self.workers.extend(_Worker(reader, self.rooms) for _ in range(count))
        except OSError as error:
            self.close()
            raise TrainingError(
                f"the {count} processes that read images cannot be started ({error.strerror}): lower loader.num_workers"
            ) from error
        # A worker that answers through a pipe waits until it is heard, so that it must not be asked meanwhile.
        self.capacity = len(self.rooms) or count
        self.places = deque(range(self.capacity))

    @property
    def idle(self) -> bool:
        """Whether all that was asked for has been taken."""
        return len(self.places) == self.capacity

    def read(self, requests: Iterable[Request], take: Callable[[Answer], T]) -> Iterator[T]:
        """What `take` makes of the answer to each request; the answer's arrays are good until it returns.

        One that is left before its last batch leaves the workers with answers that nobody takes: close them then.

        Raises:
            DataError: a batch cannot be read.
            TrainingError: a worker died.
        """
        waiting = zip(requests, cycle(self.workers), strict=False)
        asked = deque(self._ask(waiting))
        while asked:
            self._listen(0)  # a death is told at once, not when it is that worker's turn
            worker, place = asked.popleft()
            while not worker.answers:
                self._listen()
            taken = take(self._open(worker.answers.popleft(), place))
            self.places.append(place)
            asked.extend(self._ask(waiting))
            yield taken

    def _ask(self, waiting: Iterator[tuple[Request, _Worker]]) -> Iterator[tuple[_Worker, int]]:
        """Send off requests while there are places for their answers."""
        while self.places and (pair := next(waiting, None)) is not None:
            request, worker = pair
            place = self.places.popleft()
            worker.ask(request, place)
            yield worker, place

    def _open(self, answer: Any, place: int) -> Answer:
        """What a worker sent; its arrays may lie in the room of that number."""
        if isinstance(answer, str):
            raise DataError(answer)
        arrays, failures, normalized = answer
        in_room = self.rooms and arrays is not None
        return Answer(Arrays(*self.rooms[place].read(arrays)) if in_room else arrays, failures, normalized)

    def _listen(self, seconds: float | None = None) -> None:
        """Wait until a worker answers or dies, or so long."""
        sources = [source for worker in self.workers for source in (worker.connection, worker.process.sentinel)]
        ready = wait(sources, seconds)
        for worker in self.workers:
            if worker.process.sentinel in ready:
                worker.mourn()
            elif worker.connection in ready:
                worker.listen()


class _Worker:
    """A process that reads, seen from the one that asks it.

    Attributes:
        answers: what has come of it and was not taken yet, the oldest first.
    """

    def __init__(self, reader: Reader, rooms: list[SharedArrays]) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        self.answers: deque[Any] = deque()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(reader, theirs, rooms, os.getpid()), name="ppzoo reader", daemon=True
        )
        self.process.start()
        theirs.close()

    def ask(self, request: Request, place: int) -> None:
        try:
            self.connection.send((request, place))
        except OSError:
            self.mourn()

    def listen(self) -> None:
        """Take in an answer, which is there."""
        try:
            self.answers.append(self.connection.recv())
        except (EOFError, OSError):
            self.mourn()

    def mourn(self) -> None:
        """
        Raises:
            TrainingError: that the process is dead, and how it died.
        """
        self.process.join()
        code = self.process.exitcode
        raise TrainingError(
            "a process that reads images failed: its traceback is above"
            if code == 1
            else f"a process that reads images died with exit code {code}: if the memory ran out (-9), lower "
            "loader.num_workers or batch_size"
        )


def _end(workers: list[_Worker], rooms: list[SharedArrays], parent: int) -> None:
    """End the processes; they hold nothing that would have to be put in order."""
    if os.getpid() != parent:
        return  # a copy of this object, in a forked process
    with _signals_held_back():  # a second Ctrl-C would leave some of them, and a traceback
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.connection.close()
        for room in rooms:
            room.close()


def _give_back_freed_memory() -> None:
    """Return what glibc keeps of freed memory to the system: after a fork, to use it again would be to copy it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let signals that ask the run to stop wait: a process that starts inherits that, and settles how it takes them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(reader: Reader, connection: Connection, rooms: list[SharedArrays], parent: int) -> None:
    """What a worker does all its life: read what is asked for."""
    gc.freeze()  # a collection would write to every object, and so copy the memory that is shared with the parent
    _heed_alone(parent)
    with suppress(EOFError, ConnectionError):  # of the connection: the parent is gone
        while True:
            request, place = connection.recv()
            connection.send(_answer(reader, request, rooms[place] if rooms else None))


def _answer(reader: Reader, request: Request, room: SharedArrays | None) -> Any:
    """A batch (where there is shared memory, its places in that), or the text of an error."""
    try:
        if room is None:
            return reader(request)
        answer = reader(request, room.empty)
        return answer.arrays and room.write(answer.arrays), answer.failures, answer.normalized
    except DataError as error:
        return str(error)


def _heed_alone(parent: int) -> None:
    """Let a worker outlive the signals that ask the whole run to stop, and end with its parent, however that ends.

    A terminal, a job scheduler or a container sends them to all processes at once, but the trainer goes on to the end
    of its step and still needs its readers. Both are blocked since before this process began.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # not on macOS
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_with(parent: int) -> None:
    """End this process when `parent` is gone or asks for it; SIGTERM, which is blocked, is received here."""
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, WATCH)
        if received is not None and received.si_pid == parent:
            break
    os._exit(0)
