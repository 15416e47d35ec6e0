"""Download weight files into a cache: resumable, verified, with one downloading process at a time per file.

The cache path of an https URL without a query and without unusual characters is HOST/PATH. Any other URL has a separate
folder (`HOST/url-DIGEST`), so that no two URLs share a file. `NAME.sha256` next to a file is its digest, recorded after
the download. During the download the file is named `NAME.part`, and `NAME.part.json` records to which version of the
server's file it belongs; `NAME.lock` is an empty lock file.

Environment: `PPZOO_HOME` (the cache, default ~/.cache/ppzoo), `PPZOO_MIRROR` (replaces scheme and host of a URL),
`PPZOO_OFFLINE=1` (no network access), and the proxy variables of urllib.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import ssl
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppzoo.errors import WeightsError
from ppzoo.files import make_folder, open_without_links, sha256, write_text
from ppzoo.host import cache_home
from ppzoo.locks import hold
from ppzoo.progress import BYTES, Progress

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0)  # seconds before consecutive attempts without progress
TIMEOUT = 20.0  # seconds without a response or data
CHUNK = 1 << 16
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
NAME_LENGTH = 100
RESERVED_SUFFIXES = (".sha256", ".part", ".part.json", ".lock")  # files next to a cached file
HASHED_PREFIX = "url-"  # start of the folder names of URLs for which `_is_plain` is false
LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST = re.compile(rf"{LABEL}(?:\.{LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*")  # a name (IDNA), or an IPv6 address
PLAIN = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.+-]{{0,{NAME_LENGTH - 1}}}")
UNUSUAL = re.compile("[^A-Za-z0-9_.+-]")


class _TransferInterrupted(Exception):
    """A failed attempt that can be retried."""


def weights_folder() -> Path:
    """Return the cache folder for downloaded weights."""
    return cache_home() / "weights"


def fetch(url: str, folder: str | os.PathLike[str], *, sha256: str | None = None, attempts: int | None = None) -> Path:
    """Return the path of `url`'s file in the cache `folder`; download the file if the cache does not contain it.

    Args:
        url: http or https.
        folder: the cache; created if missing.
        sha256: the published digest, in hexadecimal, if there is one.
        attempts: the download fails after this many consecutive attempts without progress; 5 by default.

    Raises:
        WeightsError: the download fails, or the digest differs from the published or the recorded one.
    """
    target = _cache_path(url, Path(folder))
    is_new = False
    try:
        if not target.is_file():
            _refuse_offline(url, target)
            make_folder(target.parent)
            with _locked(target):
                if not target.is_file():  # another process can have downloaded it in the meantime
                    _download(url, target, attempts or len(RETRY_DELAYS) + 1)
                    is_new = True
        _verify(target, url, sha256, is_new)
    except OSError as error:
        raise WeightsError(f"cannot store {url} in {target}: {error.strerror or error}") from None
    return target


def cached(url: str) -> Path | None:
    """Return the path of `url`'s file in the cache; None if the cache does not contain it."""
    target = _cache_path(url, weights_folder())
    return target if os.path.isfile(target) else None


def discard(target: Path) -> None:
    """Remove a downloaded file and the files that belong to it."""
    for path in (target, *(_sibling(target, suffix) for suffix in (".sha256", ".part", ".part.json"))):
        path.unlink(missing_ok=True)


def _cache_path(url: str, folder: Path) -> Path:
    """Return the path of `url`'s file in the cache.

    Raises:
        WeightsError: the URL is invalid, has no file name, or would have a path outside the cache.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # the port is not a number, or a bracket is missing
        raise WeightsError(f"cannot fetch {url!r}: expected http(s)://HOST/PATH/FILE") from None
    steps = [urllib.parse.unquote(step) for step in parts.path.split("/") if step]
    unsafe = any(step in (".", "..") or any(mark in step for mark in "/\\:\0") for step in steps)
    is_valid = HOST.fullmatch(host) and "@" not in parts.netloc
    is_valid = is_valid and url.isprintable() and not any(character.isspace() for character in url)
    if parts.scheme not in ("http", "https") or not is_valid or not steps or unsafe:
        raise WeightsError(f"cannot fetch {url!r}: expected http(s)://HOST/PATH/FILE")
    site = folder / (host.replace(":", "_") + (f"_{port}" if port else ""))
    if _is_plain(parts, steps):
        return site.joinpath(*steps)
    name = UNUSUAL.sub("_", steps[-1])[-NAME_LENGTH:].lstrip(".") or "file"
    digest = hashlib.sha256(url.partition("#")[0].encode()).hexdigest()[:32]
    return site / f"{HASHED_PREFIX}{digest}" / name


def _is_plain(parts: urllib.parse.SplitResult, steps: list[str]) -> bool:
    """Whether host and path identify the URL, and no name in the path is reserved for the cache itself."""
    return (
        parts.scheme == "https"
        and not parts.query
        and parts.path == "/" + "/".join(steps)
        and all(PLAIN.fullmatch(step) and not step.startswith(HASHED_PREFIX) for step in steps)
        and not any(step.endswith(RESERVED_SUFFIXES) for step in steps)
    )


def _sibling(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _refuse_offline(url: str, target: Path) -> None:
    if os.environ.get("PPZOO_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"cannot fetch {url}: PPZOO_OFFLINE is set and the file is not in the cache; "
            f"unset PPZOO_OFFLINE or copy the file to {target}"
        )


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Let one process at a time fetch `target`; the system frees the lock of a process that dies."""
    lock = hold(_sibling(target, ".lock"), blocking=True)
    try:
        yield
    finally:
        lock.release()


def _download(url: str, target: Path, attempts: int) -> None:
    """Repeat attempts until the file is complete, or until `attempts` consecutive ones made no progress."""
    part = _sibling(target, ".part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, target)
            break
        except _TransferInterrupted as error:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= attempts:
                count = f" ({failures} attempts failed); try again later" if failures > 1 else ""
                failure = WeightsError(f"cannot fetch {url}: {error}{count}")
                failure.exit_status = 1  # the network failed
                raise failure from None
            time.sleep(RETRY_DELAYS[min(failures, len(RETRY_DELAYS)) - 1])
    _refuse_web_page(part, url)
    os.replace(part, target)
    _sibling(target, ".part.json").unlink(missing_ok=True)


def _attempt(url: str, target: Path) -> None:
    """Send one request, which resumes an earlier part if there is one; if no error is raised, the part is complete."""
    part, record = _sibling(target, ".part"), _sibling(target, ".part.json")
    known = _read_record(record) if part.exists() else {}
    start = _size(part) if known else 0
    if start and start == known.get("size"):
        return
    try:
        with _opener().open(_request(url, start, known), timeout=TIMEOUT) as response:
            if "html" in response.headers.get("Content-Type", ""):
                raise _web_page_error(url)
            resumed = response.status == 206
            if resumed and not _continues(response, start, known):
                record.unlink()  # the next attempt starts over
                raise _TransferInterrupted("the file changed on the server")
            start = start if resumed else 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else None
            if not resumed:
                validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
                write_text(record, json.dumps({"validator": validator, "size": total}))
            _receive(response, part, start, total)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            record.unlink()
            raise _TransferInterrupted("the server refused to resume the download") from None
        problem = f"HTTP status {error.code} {http.client.responses.get(error.code, '')}"
        if error.code in RETRIED_STATUS:
            raise _TransferInterrupted(problem) from None
        raise WeightsError(f"cannot fetch {url}: {problem}") from None
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
        cause = getattr(error, "reason", "") or error
        reason = str(getattr(cause, "strerror", "") or cause) or type(cause).__name__
        raise _TransferInterrupted(" ".join(reason.split())) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https only, and from https to https only."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ({"https"} if req.type == "https" else {"http", "https"}):
            raise urllib.error.HTTPError(newurl, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _request(url: str, start: int, known: dict[str, Any]) -> urllib.request.Request:
    mirror = os.environ.get("PPZOO_MIRROR", "")
    parts = urllib.parse.urlsplit(url)
    address = urllib.parse.urlunsplit(("", "", parts.path, parts.query, "")) if mirror else url
    address = urllib.parse.quote(address, safe=string.punctuation)  # non-ASCII characters
    request = urllib.request.Request(mirror.rstrip("/") + address, headers={"Accept-Encoding": "identity"})
    request.add_header("User-Agent", "ppzoo")
    if start:
        request.add_header("Range", f"bytes={start}-")
        validator = known.get("validator")
        if validator and not validator.startswith("W/"):
            request.add_header("If-Range", validator)
    return request


def _continues(response: Any, start: int, known: dict[str, Any]) -> bool:
    """Whether a partial response starts at the end of the existing part, in a file of the recorded size."""
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    return span.split("-")[0] == str(start) and (known.get("size") is None or total in ("*", str(known["size"])))


def _receive(response: Any, part: Path, start: int, total: int | None) -> None:
    name = part.name.removesuffix(".part")
    if not start:
        part.unlink(missing_ok=True)
    with (
        open(part, "r+b" if start else "xb", opener=open_without_links) as file,
        Progress(total, f"downloading {name}", unit=BYTES, done=start) as progress,
    ):
        file.seek(start)
        while block := response.read(CHUNK):
            file.write(block)
            progress.advance(len(block))
        received = file.tell()
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    if total is not None and received != total:
        raise _TransferInterrupted(f"received {received} of {total} bytes")
    if not received:
        raise _TransferInterrupted("received an empty file")


def _refuse_web_page(part: Path, url: str) -> None:
    with part.open("rb") as file:
        start = file.read(512)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        part.unlink()
        raise _web_page_error(url)


def _web_page_error(url: str) -> WeightsError:
    return WeightsError(f"cannot fetch {url}: the server returned a web page instead of a weight file; check the URL")


def _read_record(record: Path) -> dict[str, Any]:
    """Return "validator" (ETag or date) and "size" of the file to which a part belongs, each None if it is unknown.

    Without a readable record the result is empty.
    """
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        validator, size = known["validator"], known["size"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    is_text = isinstance(validator, str) and validator.isascii() and validator.isprintable()
    return {"validator": validator if is_text else None, "size": size if type(size) is int else None}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _verify(target: Path, url: str, published: str | None, is_new: bool) -> None:
    """Compare the digest of the file with the published and the recorded one.

    Args:
        target: the file in the cache.
        url: where it comes from, for messages.
        published: the published digest, if there is one.
        is_new: whether the file was downloaded just now; if so, it is removed if the digest differs.
    """
    found = sha256(target)
    recorded = None if is_new else _recorded_digest(target)
    for expected, kind in ((published, "published"), (recorded, "recorded")):
        if expected and expected.lower() != found:
            fix = "remove the file to download it again"
            if is_new:
                discard(target)
                fix = "the downloaded file was removed; try again"
            raise WeightsError(
                f"{target}: expected the {kind} SHA-256 {expected[:12]}... of {url}, got {found[:12]}...; {fix}"
            )
    if not recorded:
        write_text(_sibling(target, ".sha256"), f"{found}  {target.name}\n")


def _recorded_digest(target: Path) -> str | None:
    """Return the recorded digest of a file, or None.

    Raises:
        WeightsError: the recorded digest is damaged.
    """
    record = _sibling(target, ".sha256")
    if not _size(record):
        return None
    digest = record.read_bytes()[:64].decode("ascii", "replace")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise WeightsError(f"{record} is damaged: expected a SHA-256; remove it if you trust {target.name}")
    return digest
