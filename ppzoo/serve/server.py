"""Start and end of the service: loading the models, the listening socket, signals, and idle connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ppzoo.errors import ConfigError, PpzooError
from ppzoo.serve.app import make_app
from ppzoo.serve.models import Model
from ppzoo.serve.options import ServiceOptions
from ppzoo.serve.prometheus_metrics import Metrics
from ppzoo.serve.state import State
from ppzoo.serve.worker import EngineFailedError

logger = logging.getLogger("ppzoo")

KEEP_ALIVE_SECONDS = 30
MAX_HEADER_BYTES = 1 << 16
HEADER_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s"
)
MAX_OPEN_FILES = 65536
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server that treats SIGTERM and SIGINT as a normal end.

    Attributes:
        failure: the error that ended the service.
    """

    failure: PpzooError | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while the server runs; unlike uvicorn's, do not raise them again afterwards."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        try:
            previous = {number: signal.signal(number, self.handle_exit) for number in numbers}
        except ValueError:  # not in the main thread, as in tests
            yield
            return
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that refuses a request whose header is too large or not complete in time."""

    header_seconds = 10.0
    _deadline: asyncio.TimerHandle | None = None
    _header_bytes = 0  # number of bytes that were received before the header was complete
    _fields_bytes = 0  # number of bytes of the header's fields that are complete

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_header()
        self._header_bytes += len(data) if self._deadline is not None else 0
        super().data_received(data)
        if self._deadline is not None and self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("")  # the header is not complete

    def on_message_begin(self) -> None:
        self._fields_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields_bytes += len(name) + len(value)
        if self._fields_bytes > MAX_HEADER_BYTES:
            raise ValueError("the header is too large")  # the parser stops, and uvicorn calls send_400_response
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._cancel_deadline()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if max(self._header_bytes, self._fields_bytes) <= MAX_HEADER_BYTES:
            super().send_400_response(msg)
            return
        body = b'{"error":"the header of the request has more than %d bytes"}' % MAX_HEADER_BYTES
        self.transport.write(HEADER_TOO_LARGE % (len(body), body))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def _expect_header(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(self.header_seconds, self.transport.close)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline, self._header_bytes = None, 0


def make_server(options: ServiceOptions) -> Server:
    """Load the models and return a server that is not running yet.

    Raises:
        PpzooError: an export cannot be loaded.
    """
    metrics = Metrics()
    models = _load_models(options, metrics)
    state = State(models, options.limits, metrics, options.token)
    server: Server

    async def watch(model: Model) -> None:
        try:
            await model.watch(reload=options.reload)
        except EngineFailedError as error:
            server.failure, server.should_exit = error, True

    @contextlib.asynccontextmanager
    async def run() -> AsyncIterator[None]:
        tasks = [asyncio.create_task(watch(model)) for model in models.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            state.drawer.close()
            _stop(models)

    protocol = type("LimitedProtocol", (Protocol,), {"header_seconds": options.limits.timeout})
    config = uvicorn.Config(
        make_app(state, run),
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(2 * options.limits.timeout + 5),
        backlog=BACKLOG,
    )
    server = Server(config)
    return server


def _load_models(options: ServiceOptions, metrics: Metrics) -> dict[str, Model]:
    """Return the models by name, when all of them are loaded."""
    models = {
        name: Model(
            name,
            folder,
            options.limits,
            metrics,
            batch_size=options.batch_size,
            engine=options.engine,
            open_explain=options.open_explain,
        )
        for name, folder in options.exports.items()
    }
    try:
        for model in models.values():
            model.require_loaded()
    except BaseException:
        _stop(models)
        raise
    return models


def serve(options: ServiceOptions, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; accepted requests are then completed.

    Raises:
        ConfigError: the address is not valid, or the port is in use.
        PpzooError: an export cannot be loaded, or its engine fails again and again.
    """
    with listen(host, port) as listener:
        raise_file_limit()
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        server = make_server(options)
        address, used = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        print(f"serving {', '.join(options.exports)} at http://{shown}:{used}/ (Ctrl-C ends it)", flush=True)
        server.run([listener])
    if server.failure is not None:
        raise server.failure


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        ConfigError: the address is not one of this machine, or the port is in use.
        PpzooError: the system does not allow it.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (socket.gaierror, UnicodeError):
        raise ConfigError(f"--host: expected an address of this machine, got {host!r}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"--port: expected a free port, got {port}, which is in use; use --port 0") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"--host: expected an address of this machine, got {host!r}") from None
        raise PpzooError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error


def raise_file_limit() -> None:
    """Allow up to `MAX_OPEN_FILES` open files and connections, as far as the system permits; Windows has no limit."""
    if os.name != "posix":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _stop(models: Mapping[str, Model]) -> None:
    for model in models.values():
        model.stop()
