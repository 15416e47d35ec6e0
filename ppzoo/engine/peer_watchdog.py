"""Detects failed processes: a failing rank broadcasts its error; a rank that disappears is detected by all others.

With NCCL, a process that waits for the gradients of a killed process would wait for half an hour. So process 0 keeps a
connection to each of the others. The system closes the connection when a process ends, however it ends; TCP keep-alive
probes detect a machine that is disconnected. Process 0 forwards each failure to all others.
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

CONNECT_TIMEOUT = 60.0  # seconds for all processes to connect
GRACE_PERIOD = 10.0  # seconds for this process to end by itself after another one failed
# Seconds of silence before the system probes a connection, seconds between probes, number of unanswered probes.
KEEPALIVE_OPTIONS = {"TCP_KEEPIDLE": 8, "TCP_KEEPINTVL": 4, "TCP_KEEPCNT": 3}
MAX_MESSAGE_LENGTH = 1000  # characters of an error, and bytes of the message with which a process connects


class PeerError(TrainingError):
    """Another process of the run failed; the exit status is that of the other process's error."""

    def __init__(self, text: str, exit_status: int = TrainingError.exit_status) -> None:
        super().__init__(text)
        self.exit_status = exit_status


class PeerWatchdog:
    """Connections between process 0 and the other processes.

    Args:
        rank: number of this process.
        size: number of processes.
        broadcast: returns process 0's value in all processes.
        host: address of process 0 for the others.

    Raises:
        TrainingError: the processes cannot connect.
    """

    def __init__(self, rank: int, size: int, broadcast: Callable[[Any], Any], host: str) -> None:
        self.rank, self.size = rank, size
        self.failure: PeerError | None = None
        self._failed, self._closed = threading.Event(), False
        try:
            self._connections = self._accept(broadcast, host) if rank == 0 else self._connect(broadcast)
        except OSError as error:
            raise TrainingError(
                f"process {rank} of {size} cannot reach the others ({error}): allow TCP connections between the"
                " machines"
            ) from error
        self._selector = selectors.DefaultSelector()
        for peer, connection in self._connections.items():
            _enable_keepalive(connection)
            connection.settimeout(None)
            self._selector.register(connection, selectors.EVENT_READ, (peer, connection.makefile(errors="replace")))
        threading.Thread(target=self._watch, daemon=True).start()

    def _accept(self, broadcast: Callable[[Any], Any], host: str) -> dict[int, socket.socket]:
        """Accept the connections of all other processes, which authenticate themselves with a shared secret."""
        connections: dict[int, socket.socket] = {}
        deadline = time.monotonic() + CONNECT_TIMEOUT
        with socket.create_server((host, 0), backlog=self.size) as server:
            _, _, secret = broadcast((host, server.getsockname()[1], secrets.token_hex(16)))
            while len(connections) < self.size - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                connection, _ = server.accept()
                connection.settimeout(5.0)
                try:
                    hello = json.loads(_receive_line(connection))
                    if not secrets.compare_digest(hello["secret"], secret):
                        raise ValueError("wrong secret")
                    connections[int(hello["rank"])] = connection
                except (OSError, ValueError, KeyError, TypeError):
                    connection.close()  # not a process of this run
        return connections

    def _connect(self, broadcast: Callable[[Any], Any]) -> dict[int, socket.socket]:
        host, port, secret = broadcast(None)
        connection = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT)
        _send(connection, {"secret": secret, "rank": self.rank})
        return {0: connection}

    def broadcast_failure(self, error: BaseException) -> None:
        """Send the other processes the error with which this process ends."""
        self._closed = True
        lines = str(error).strip().splitlines() or [type(error).__name__]
        text = error.line if isinstance(error, PpzooError) else f"{type(error).__name__}: {lines[-1]}"
        status = error.exit_status if isinstance(error, PpzooError) else TrainingError.exit_status
        self._forward(
            PeerError(f"process {self.rank} of {self.size} failed: {text[:MAX_MESSAGE_LENGTH]}", status), None
        )

    def wait_for_failure(self, seconds: float) -> PeerError | None:
        """Return a failure that another process has reported, or reports within `seconds`; None if there is none."""
        self._failed.wait(seconds)
        return self.failure

    def close(self) -> None:
        """Notify the other processes that this one ends normally, and close the connections."""
        self._closed = True
        for connection in self._connections.values():
            _send(connection, {"done": True})
            connection.close()

    def _watch(self) -> None:
        """Wait until another process fails, then end this one, after a grace period in which it can end by itself."""
        failure = self._wait_for_first_failure()
        if failure is None or self._closed:
            return
        self.failure = failure
        self._failed.set()
        time.sleep(GRACE_PERIOD)
        if not self._closed:
            print(f"error: {failure}", file=sys.stderr, flush=True)
            os._exit(failure.exit_status)

    def _wait_for_first_failure(self) -> PeerError | None:
        """Wait for a failure and return it; None when all other processes have ended normally."""
        while self._selector.get_map():
            for key, _ in self._selector.select():
                peer, lines = key.data
                try:
                    message = json.loads(lines.readline() or "null")
                except (OSError, ValueError):
                    message = None
                if self._closed:
                    return None
                if message is None:
                    failure = PeerError(
                        f"process {peer} of {self.size} disappeared (killed, or out of memory?); resume from the last"
                        " checkpoint with --resume auto"
                    )
                elif "failed" in message:
                    failure = PeerError(message["failed"], message["status"])
                else:
                    self._selector.unregister(key.fileobj)
                    continue
                self._forward(failure, peer)
                return failure
        return None

    def _forward(self, failure: PeerError, origin: int | None) -> None:
        """Send a failure to all connected processes but the one that reported it."""
        for peer, connection in self._connections.items():
            if peer != origin:
                _send(connection, {"failed": str(failure), "status": failure.exit_status})


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send a message to a process, which may have ended already."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def _receive_line(connection: socket.socket) -> bytes:
    """Receive a line byte by byte: a buffered reader would also consume the beginning of the next message."""
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_MESSAGE_LENGTH and (byte := connection.recv(1)):
        line += byte
    return line


def _enable_keepalive(connection: socket.socket) -> None:
    """Let the system detect that the other machine is disconnected."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE_OPTIONS.items():
        if hasattr(socket, option):  # not on all systems
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
