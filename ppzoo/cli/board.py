"""The command `board`: show the records of runs with VisualDL, or with TensorBoard, in a browser."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ppzoo.cli.arguments import Commands, add_command, parse_integer
from ppzoo.errors import ConfigError, PpzooError, printable
from ppzoo.files import describe_absence, expand_user, require_readable

RECORDS, EVENTS = "vdlrecords.*", "events.out.tfevents.*"  # files of VisualDL and of TensorBoard
DEFAULT_RUNS, DEFAULT_PORT, LOCAL = "output", 8040, "127.0.0.1"
TABS = ["scalar", "image", "text", "histogram", "hyper_parameters", "pr_curve", "static_graph", "dynamic_graph"]
CACHE_SECONDS = 20

# Corrections of VisualDL's pages: line ends of texts are shown, and on a phone the parts of a page do not overlap.
CORRECTIONS = {
    "text/html": (b"width=device-width,initial-scale=1", b"width=1200"),
    "/SamplePage/Text.js": (b"white-space: normal", b"white-space: pre-wrap"),
}


def add_commands(commands: Commands) -> None:
    board = add_command(
        commands,
        "board",
        _show_runs,
        "show metrics and pictures of runs in a browser, with VisualDL or TensorBoard",
        needs_paddle=False,
    )
    board.add_argument(
        "runs",
        nargs="*",
        type=expand_user,
        default=[DEFAULT_RUNS],
        metavar="RUNS",
        help="folders of runs, or folders with runs in them (default: output)",
    )
    board.add_argument(
        "--port",
        type=parse_integer,
        default=DEFAULT_PORT,
        help=f"the port to listen on (default: {DEFAULT_PORT}; 0: a free one)",
    )
    board.add_argument(
        "--host",
        default=LOCAL,
        help=f"the address to listen on (default: {LOCAL}, for this machine only; 0.0.0.0: for all machines)",
    )


def _show_runs(options: argparse.Namespace) -> int:
    if not 0 <= options.port < 1 << 16:
        raise ConfigError(f"--port: expected 0 to 65535, got {options.port}")
    if not _has_records(options.runs):
        return _run_tensorboard(options)
    make_app = _import_visualdl()
    with _listen(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        app = make_app(logdir=options.runs, host=host, port=port)
        _print_address("VisualDL", options.runs, host, port)
        return _serve(app, listener)


def _print_address(program: str, runs: Sequence[str], host: str, port: int) -> None:
    shown = LOCAL if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    print(printable(f"{program} shows {', '.join(runs)} at http://{shown}:{port}/ (Ctrl-C ends it)"), flush=True)


def _has_records(runs: Sequence[str]) -> bool:
    """Return whether the folders have records of VisualDL; False if they have only events of TensorBoard.

    Raises:
        ConfigError: a folder does not exist, or no folder has records or events.
    """
    for run in runs:
        if not os.path.isdir(run):
            found = "a file" if os.path.isfile(run) else f"a path that {describe_absence(run)}"
            raise ConfigError(f"RUNS: expected folders of runs, such as output/LeNet, got {found}: {run}")
        require_readable(run, "RUNS")
    if _has_files(runs, RECORDS):
        return True
    if _has_files(runs, EVENTS):
        return False
    raise ConfigError(
        f"RUNS: expected records of VisualDL or TensorBoard, found none in {', '.join(runs)}; train with"
        " Global.use_visualdl=True"
    )


def _has_files(runs: Iterable[str], pattern: str) -> bool:
    return any(next(Path(run).rglob(pattern), None) is not None for run in runs)


def _import_visualdl() -> Callable[..., Any]:
    """Return the function that makes VisualDL's web application.

    Raises:
        PpzooError: VisualDL cannot be imported.
    """
    try:
        from visualdl.server import app
        from visualdl.server.args import ParseArgs
    except ImportError as error:
        raise PpzooError(f"board: VisualDL cannot be imported ({error}); run `pip install visualdl`") from error
    for name in ("vdl_logger", "werkzeug"):  # they print a line per request
        logging.getLogger(name).setLevel(logging.ERROR)

    # VisualDL waits for profiles in a thread that would never end. ppzoo writes no profiles for VisualDL.
    create_profiler = app.create_profiler_api_call
    app.create_profiler_api_call = lambda logdir: create_profiler("")

    def make_app(**options: Any) -> Any:
        before = signal.getsignal(signal.SIGINT)  # the application replaces it
        try:
            # Without telemetry nothing is sent to VisualDL's authors.
            return app.create_app(
                ParseArgs(telemetry=False, component_tabs=TABS, cache_timeout=CACHE_SECONDS, **options)
            )
        finally:
            signal.signal(signal.SIGINT, before)

    return make_app


def _correct_page(response: Any) -> Any:
    """Apply the corrections of a page to VisualDL's response."""
    from flask import request

    for page, change in CORRECTIONS.items():
        if response.mimetype == page or request.path.endswith(page):
            response.set_data(response.get_data().replace(*change))
    return response


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: the port is taken, or the address is not one of this machine.
        PpzooError: the system refuses for another reason, such as a port below 1024 without permission.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise ConfigError(f"--host: expected an address of this machine, got {host!r} ({error.strerror})") from error
    except UnicodeError as error:  # a part of the name is empty, too long or cannot be encoded
        raise ConfigError(f"--host: expected an address of this machine, got {host!r:.100}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"--port: expected a free port, got {port}, which is in use; use --port 0 for a free one"
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"--host: expected an address of this machine, got {host!r}") from error
        raise PpzooError(f"board: cannot listen on {host}, port {port}: {error.strerror}") from error


def _serve(app: Any, listener: socket.socket) -> int:
    """Serve until SIGINT (Ctrl-C)."""
    from werkzeug.serving import make_server

    # Browsers keep idle connections open, so there is a thread per connection; VisualDL's data are not thread-safe.
    lock = threading.Lock()
    app.after_request(_correct_page)
    inner = app.wsgi_app

    def one_at_a_time(environ: Any, start_response: Any) -> Any:
        with lock:
            return inner(environ, start_response)

    host, port = listener.getsockname()[:2]
    app.wsgi_app = one_at_a_time
    server = make_server(host, port, app, threaded=True, fd=listener.fileno())
    with suppress(KeyboardInterrupt):
        server.serve_forever()
    server.server_close()
    return 0


def _run_tensorboard(options: argparse.Namespace) -> int:
    """Serve events of TensorBoard until SIGINT (Ctrl-C).

    Raises:
        ConfigError: the port or the address cannot be used, or TensorBoard cannot be given the folders' names.
        PpzooError: TensorBoard cannot be imported.
    """
    folders = [os.path.abspath(run) for run in options.runs]
    if len(folders) > 1 and any(set(",:") & set(folder) for folder in folders):
        raise ConfigError("RUNS: expected one folder, or folders without ',' and ':' in their paths, for TensorBoard")
    try:
        from tensorboard import program
    except ImportError as error:
        raise PpzooError(
            f"board: {', '.join(options.runs)} has only events of TensorBoard, which cannot be imported ({error});"
            " run `pip install 'ppzoo[tensorboard]'` (in a clone: `pip install -e '.[tensorboard]'`)"
        ) from error
    for name in ("tensorboard", "werkzeug"):  # they print lines about their own work
        logging.getLogger(name).setLevel(logging.ERROR)
    with _listen(options.host, options.port) as listener:  # reports an unusable address
        host, port = listener.getsockname()[:2]
    spec = ["--logdir", folders[0]] if len(folders) == 1 else ["--logdir_spec", ",".join(map(_named, folders))]
    server = program.TensorBoard()
    server.configure(argv=["", *spec, "--host", host, "--port", str(port), "--load_fast", "false"])
    server.launch()
    _print_address("TensorBoard", options.runs, host, port)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    return 0


def _named(folder: str) -> str:
    """Return 'NAME:PATH'; the name on TensorBoard's page is the path, without the '/' that no name can begin with."""
    return f"{folder.lstrip('/')}:{folder}"
