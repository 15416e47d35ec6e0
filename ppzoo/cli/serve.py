"""The command `serve`: an HTTP service for exported networks."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import logging
import os
import socket

from ppzoo.cli.arguments import Commands, add_command, parse_integer, parse_number
from ppzoo.errors import ConfigError, PpzooError, errors_with_key
from ppzoo.files import expand_user, read_plain_file
from ppzoo.serve.options import Limits, ServiceOptions

logger = logging.getLogger("ppzoo")

PACKAGES = ("fastapi", "httptools", "multipart", "prometheus_client", "uvicorn")
TOKEN_VARIABLE = "PPZOO_SERVE_TOKEN"
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
MEGABYTE, MILLION = 1 << 20, 1_000_000
MIN_TOKEN_LENGTH = 8
MAX_OPTION = 1_000_000  # the largest value of --queue, --max-images, --timeout and --max-upload
MAX_BATCH_SIZE = 65536


def add_commands(commands: Commands) -> None:
    serve = add_command(commands, "serve", _serve, "serve exported networks over HTTP")
    serve.add_argument(
        "exports", nargs="+", metavar="EXPORT", help="the folder of an export, or NAME=FOLDER; NAME is part of the URL"
    )
    serve.add_argument(
        "--host",
        default=DEFAULT_HOST,
        help=f"the address to listen on (default: {DEFAULT_HOST}, for this machine only; 0.0.0.0: for all machines)",
    )
    serve.add_argument(
        "--port",
        type=parse_integer,
        default=DEFAULT_PORT,
        help=f"the port to listen on (default: {DEFAULT_PORT}; 0: a free one)",
    )
    serve.add_argument(
        "--token-file",
        type=expand_user,
        metavar="FILE",
        help=f"a file with the token that requests have to send; or set {TOKEN_VARIABLE} to the token",
    )
    serve.add_argument(
        "--engine",
        default="auto",
        choices=["auto", "paddle", "onnxruntime", "openvino"],
        help="the inference engine (default: auto, the fastest one for the export)",
    )
    serve.add_argument("--no-reload", action="store_true", help="do not load an export again when its files change")
    _add_limits(serve)


def _add_limits(serve: argparse.ArgumentParser) -> None:
    for option, kind, default, text in (
        ("--batch-size", parse_integer, ServiceOptions.batch_size, "the largest number of images computed at once"),
        (
            "--max-wait",
            parse_number,
            1e3 * Limits.max_wait,
            "milliseconds that an image waits at most for a batch to fill",
        ),
        (
            "--queue",
            parse_integer,
            Limits.queue,
            "the largest number of waiting images; more are refused with status 503",
        ),
        (
            "--timeout",
            parse_number,
            Limits.timeout,
            "time limit in seconds for receiving the header of a request, for receiving its body, and for computing its"
            " result",
        ),
        ("--max-upload", parse_number, Limits.max_upload / MEGABYTE, "the largest size of a request in megabytes"),
        (
            "--max-pixels",
            parse_number,
            Limits.max_pixels / MILLION,
            "the largest size of an image in millions of pixels",
        ),
        ("--max-images", parse_integer, Limits.max_images, "the largest number of images in a request"),
    ):
        serve.add_argument(option, type=kind, default=default, metavar="N", help=f"{text} (default: {default:g})")


def _serve(options: argparse.Namespace) -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise PpzooError(
            f"serve: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: run `pip install"
            " 'ppzoo[serve]'` (in a clone: `pip install -e '.[serve]'`)"
        )
    from ppzoo import report
    from ppzoo.builders import ExportExplainer
    from ppzoo.serve.models import name_exports
    from ppzoo.serve.server import serve

    report.log_to_console()
    if not 0 <= options.port < 1 << 16:
        raise ConfigError(f"--port: expected 0 to 65535, got {options.port}")
    if not 1 <= options.batch_size <= MAX_BATCH_SIZE:
        raise ConfigError(f"--batch-size: expected 1 to {MAX_BATCH_SIZE}, got {options.batch_size}")
    limits = _read_limits(options)
    token = read_token(options.token_file)
    if token is None and _is_reachable(options.host):
        logger.warning(
            "--host %s without a token: every machine that can reach the port can use the service; use --token-file",
            options.host,
        )
    service = ServiceOptions(
        exports=name_exports(options.exports),
        batch_size=options.batch_size,
        engine=options.engine,
        token=token,
        reload=not options.no_reload,
        open_explain=ExportExplainer,
        limits=limits,
    )
    serve(service, options.host, options.port)


def _read_limits(options: argparse.Namespace) -> Limits:
    """Return the limits of the options.

    Raises:
        ConfigError: a value is out of range.
    """
    from ppzoo.host import MAX_PIXELS

    for option in ("queue", "max_images", "timeout", "max_upload", "max_pixels"):
        value = getattr(options, option)
        largest = MAX_PIXELS // MILLION if option == "max_pixels" else MAX_OPTION
        if not 0 < value <= largest:
            raise ConfigError(
                f"--{option.replace('_', '-')}: expected a number above 0 and at most {largest}, got {value:g}"
            )
    if not 0 <= options.max_wait <= 1000:
        raise ConfigError(f"--max-wait: expected 0 to 1000 milliseconds, got {options.max_wait:g}")
    max_upload = max(1, round(options.max_upload * MEGABYTE))
    return Limits(
        max_upload=max_upload,
        max_buffered=max(Limits.max_buffered, 2 * max_upload),
        max_pixels=max(1, round(options.max_pixels * MILLION)),
        max_images=options.max_images,
        queue=options.queue,
        timeout=options.timeout,
        max_wait=options.max_wait / 1e3,
    )


def read_token(file: str | None) -> str | None:
    """Return the token in a file or in the environment variable; None if there is neither.

    Raises:
        ConfigError: the file cannot be read; or the token is too short, or has spaces or characters that are not
            printable ASCII.
    """
    key = "--token-file" if file is not None else TOKEN_VARIABLE
    if file is not None:
        token = _read_token_file(file)
    elif TOKEN_VARIABLE in os.environ:
        token = os.environ[TOKEN_VARIABLE].strip()
    else:
        return None
    with errors_with_key(key):
        if len(token) < MIN_TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
            raise ConfigError(
                f"expected a token of at least {MIN_TOKEN_LENGTH} printable ASCII characters, without spaces, got"
                f" {'fewer characters' if len(token) < MIN_TOKEN_LENGTH else 'other characters'}"
            )
    return token


def _read_token_file(file: str) -> str:
    try:
        return read_plain_file(file).decode("latin-1").strip()
    except OSError as error:
        raise ConfigError(f"--token-file: cannot read {file}: {error.strerror or error}") from error


def _is_reachable(host: str) -> bool:
    """Return whether other machines can connect to a service at the address `host`; False if the name is unknown."""
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)
