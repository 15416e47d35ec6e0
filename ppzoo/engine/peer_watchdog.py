"""Whether the other processes of a training are alive: who fails says why, and who is gone is missed by all at once.

A process that waits for a gradient of another one that was killed would, with NCCL, wait for half an hour. So process 0
holds a connection to each of the others. The system closes it at the moment at which a process ends, however it ends;
its own probes find a machine that is gone. What one hears, all hear.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ppzoo.errors import PpzooError, TrainingError

PATIENCE = 60.0  # seconds for all to connect
GRACE = 10.0  # seconds for this process to end by itself after another one failed
# Seconds of silence after which the system probes a connection, seconds between two probes, probes without an answer.
PROBES = {"TCP_KEEPIDLE": 8, "TCP_KEEPINTVL": 4, "TCP_KEEPCNT": 3}
LONGEST = 1000  # letters of an error's text


class PeerError(TrainingError):
    """Another process of the training failed; the exit status is that process's."""

    def __init__(self, text: str, exit_status: int = TrainingError.exit_status) -> None:
        super().__init__(text)
        self.exit_status = exit_status


class PeerWatchdog:
    """Connections between process 0 and the others.

    Args:
        rank, size: number of this process, and how many there are.
        share: answers process 0's value to all processes.
        host: where process 0 is reached by the others.

    Raises:
        TrainingError: the others do not connect.
    """

    def __init__(self, rank: int, size: int, share: Callable[[Any], Any], host: str) -> None:
        self.rank, self.size = rank, size
        self.failure: PeerError | None = None
        self._noticed, self._closed = threading.Event(), False
        try:
            self._links = self._listen(share, host) if rank == 0 else self._connect(share)
        except OSError as error:
            raise TrainingError(
                f"process {rank} of {size} cannot reach the others ({error}): the machines must let each other in"
            ) from error
        self._waiting = selectors.DefaultSelector()
        for number, link in self._links.items():
            _probe(link)
            link.settimeout(None)
            self._waiting.register(link, selectors.EVENT_READ, (number, link.makefile(errors="replace")))
        threading.Thread(target=self._watch, daemon=True).start()

    def _listen(self, share: Callable[[Any], Any], host: str) -> dict[int, socket.socket]:
        links: dict[int, socket.socket] = {}
        until = time.monotonic() + PATIENCE
        with socket.create_server((host, 0), backlog=self.size) as server:
            _, _, secret = share((host, server.getsockname()[1], secrets.token_hex(16)))
            while len(links) < self.size - 1:
                server.settimeout(max(until - time.monotonic(), 0.01))
                link, _ = server.accept()
                link.settimeout(5.0)
                try:
                    hello = json.loads(link.makefile().readline(LONGEST))
                    if not secrets.compare_digest(hello["secret"], secret):
                        raise ValueError("a stranger")
                    links[int(hello["rank"])] = link
                except (OSError, ValueError, KeyError, TypeError):
                    link.close()  # somebody else's connection
        return links

    def _connect(self, share: Callable[[Any], Any]) -> dict[int, socket.socket]:
        host, port, secret = share(None)
        link = socket.create_connection((host, port), timeout=PATIENCE)
        _send(link, {"secret": secret, "rank": self.rank})
        return {0: link}

    def tell(self, error: BaseException) -> None:
        """Let the others know that this process ends because of `error`."""
        self._closed = True
        lines = str(error).strip().splitlines() or [type(error).__name__]
        text = error.line if isinstance(error, PpzooError) else f"{type(error).__name__}: {lines[-1]}"
        status = error.exit_status if isinstance(error, PpzooError) else TrainingError.exit_status
        self._forward(PeerError(f"process {self.rank} of {self.size} failed: {text[:LONGEST]}", status), None)

    def failure_of_others(self, seconds: float) -> PeerError | None:
        """The failure that was heard of, or is heard of within so many seconds."""
        self._noticed.wait(seconds)
        return self.failure

    def close(self) -> None:
        """This process is done, and none is to miss it."""
        self._closed = True
        for link in self._links.values():
            _send(link, {"done": True})
            link.close()

    def _watch(self) -> None:
        """Listen to the others until one fails; then give this process time to end, and end it."""
        failure = self._first_failure()
        if failure is None or self._closed:
            return
        self.failure = failure
        self._noticed.set()
        time.sleep(GRACE)
        if not self._closed:
            print(f"error: {failure}", file=sys.stderr, flush=True)
            os._exit(failure.exit_status)

    def _first_failure(self) -> PeerError | None:
        """Waits for a failure; None when all others are done."""
        while self._waiting.get_map():
            for key, _ in self._waiting.select():
                rank, lines = key.data
                try:
                    message = json.loads(lines.readline() or "null")
                except (OSError, ValueError):
                    message = None
                if self._closed:
                    return None
                if message is None:
                    failure = PeerError(
                        f"process {rank} of {self.size} is gone (killed, or out of memory?); --resume auto goes on from"
                        " the last checkpoint"
                    )
                elif "failed" in message:
                    failure = PeerError(message["failed"], message["status"])
                else:
                    self._waiting.unregister(key.fileobj)
                    continue
                self._forward(failure, rank)
                return failure
        return None

    def _forward(self, failure: PeerError, origin: int | None) -> None:
        for rank, link in self._links.items():
            if rank != origin:
                _send(link, {"failed": str(failure), "status": failure.exit_status})


def _send(link: socket.socket, message: dict[str, Any]) -> None:
    """To one who may be gone already."""
    with contextlib.suppress(OSError):
        link.sendall(json.dumps(message).encode() + b"\n")


def _probe(link: socket.socket) -> None:
    """Let the system find out by itself that the other machine is gone."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in PROBES.items():
        if hasattr(socket, option):  # not on all systems
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
