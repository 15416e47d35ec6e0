"""Fetching weight files into a cache: resumed, verified, one writer among several processes.

The file of a plain https URL lies below the cache folder where the URL says (host, then path), that of any other URL
in a folder of its own (`HOST/url-DIGEST`), so that no two URLs share a file. Beside it is `NAME.sha256`, the digest
that it had at first sight. While it is being fetched it is called `NAME.part`, with `NAME.part.json` telling which
version of the server's file the part belongs to; `NAME.lock` is empty and only there to be locked.

Environment: `PPZOO_HOME` (the cache, default ~/.cache/ppzoo), `PPZOO_MIRROR` (put in the place of a URL's scheme and
host), `PPZOO_OFFLINE=1` (the network is never asked), and the proxies that urllib knows.
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

from tqdm import tqdm

from ppzoo.errors import WeightsError
from ppzoo.files import make_folder, open_without_links, sha256, write_text
from ppzoo.host import cache_home

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt, as long as none makes progress
TIMEOUT = 20.0  # seconds without an answer or a byte
CHUNK = 1 << 20
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
NAME_LENGTH = 100
OWN = (".sha256", ".part", ".part.json", ".lock")  # what is kept beside a file
OTHERS = "url-"  # how folders of URLs begin that are not plain
LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST = re.compile(rf"{LABEL}(?:\.{LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*")  # a name (IDNA), or an IPv6 address
PLAIN = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.+-]{{0,{NAME_LENGTH - 1}}}")
UNUSUAL = re.compile("[^A-Za-z0-9_.+-]")


class _Interrupted(Exception):
    """A transfer that another attempt may finish."""


def weights_folder() -> Path:
    """Where fetched weights are kept."""
    return cache_home() / "weights"


def fetch(url: str, folder: str | os.PathLike[str], *, sha256: str | None = None, attempts: int | None = None) -> Path:
    """The file of `url` in the cache `folder`, fetched unless it is there already.

    Args:
        url: http or https.
        folder: the cache; made if missing.
        sha256: the digest that the file must have, in hexadecimal, where one is published.
        attempts: how many attempts in a row may fail without progress; 5 by default.

    Raises:
        WeightsError: it cannot be had, or has not the digest that was published or recorded.
    """
    target = _place(url, Path(folder))
    is_new = False
    try:
        if not target.is_file():
            _refuse_offline(url, target)
            make_folder(target.parent)
            with _locked(target):
                if not target.is_file():  # another process may have been faster
                    _download(url, target, attempts or len(PAUSES) + 1)
                    is_new = True
        _verify(target, url, sha256, is_new)
    except OSError as error:
        raise WeightsError(f"cannot keep {url} as {target}: {error.strerror or error}") from None
    return target


def cached(url: str) -> Path | None:
    """Where the file of `url` lies in the cache; None if it was not fetched."""
    target = _place(url, weights_folder())
    return target if os.path.isfile(target) else None


def discard(target: Path) -> None:
    """Remove a fetched file and what is recorded of it."""
    for path in (target, *(_beside(target, suffix) for suffix in (".sha256", ".part", ".part.json"))):
        path.unlink(missing_ok=True)


def _place(url: str, folder: Path) -> Path:
    """The file of `url` in the cache.

    Raises:
        WeightsError: the URL has no file, or one that would lie outside of the cache.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is no number, an address without its bracket
        raise WeightsError(f"cannot fetch {url!r}: expected http(s)://HOST/PATH/FILE") from None
    steps = [urllib.parse.unquote(step) for step in parts.path.split("/") if step]
    unsafe = any(step in (".", "..") or any(mark in step for mark in "/\\:\0") for step in steps)
    is_address = HOST.fullmatch(host) and "@" not in parts.netloc
    is_address = is_address and url.isprintable() and not any(sign.isspace() for sign in url)
    if parts.scheme not in ("http", "https") or not is_address or not steps or unsafe:
        raise WeightsError(f"cannot fetch {url!r}: expected http(s)://HOST/PATH/FILE")
    site = folder / (host.replace(":", "_") + (f"_{port}" if port else ""))
    if _is_plain(parts, steps):
        return site.joinpath(*steps)
    name = UNUSUAL.sub("_", steps[-1])[-NAME_LENGTH:].lstrip(".") or "file"
    digest = hashlib.sha256(url.partition("#")[0].encode()).hexdigest()[:32]
    return site / f"{OTHERS}{digest}" / name


def _is_plain(parts: urllib.parse.SplitResult, steps: list[str]) -> bool:
    """Whether host and path tell a URL from all others, and no name is one that the cache itself uses."""
    return (
        parts.scheme == "https"
        and not parts.query
        and parts.path == "/" + "/".join(steps)
        and all(PLAIN.fullmatch(step) and not step.startswith(OTHERS) for step in steps)
        and not any(step.endswith(OWN) for step in steps)
    )


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _refuse_offline(url: str, target: Path) -> None:
    if os.environ.get("PPZOO_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(f"PPZOO_OFFLINE is set and {url} is not in the cache; fetch it once online as {target}")


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Let one process at a time fetch `target`; the system frees the lock of a process that dies."""
    with open(_beside(target, ".lock"), "a", opener=open_without_links) as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(url: str, target: Path, attempts: int) -> None:
    """Try until the file is complete, or until several attempts in a row brought nothing."""
    part = _beside(target, ".part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, target)
            break
        except _Interrupted as error:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= attempts:
                count = f", {failures} times in a row; try again later" if failures > 1 else ""
                raise WeightsError(f"cannot fetch {url}: {error}{count}") from None
            time.sleep(PAUSES[failures - 1])
    _refuse_web_page(part, url)
    os.replace(part, target)
    _beside(target, ".part.json").unlink(missing_ok=True)


def _attempt(url: str, target: Path) -> None:
    """One request, which goes on where the last one broke off; the part is complete when it returns."""
    part, record = _beside(target, ".part"), _beside(target, ".part.json")
    known = _read_record(record) if part.exists() else {}
    start = _size(part) if known else 0
    if start and start == known.get("size"):
        return
    try:
        with _opener().open(_request(url, start, known), timeout=TIMEOUT) as answer:
            if "html" in answer.headers.get("Content-Type", ""):
                raise WeightsError(f"{url} answers with a web page, not with a weight file")
            resumed = answer.status == 206
            if resumed and not _continues(answer, start, known):
                record.unlink()  # the file has changed: from its beginning
                raise _Interrupted("the file changed on the server")
            start = start if resumed else 0
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else None
            if not resumed:
                validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
                write_text(record, json.dumps({"validator": validator, "size": total}))
            _receive(answer, part, start, total)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            record.unlink()
            raise _Interrupted("the server refuses to go on where it stopped") from None
        answered = f"the server answers {error.code} {http.client.responses.get(error.code, '')}"
        if error.code in RETRIED_STATUS:
            raise _Interrupted(answered) from None
        raise WeightsError(f"cannot fetch {url}: {answered}") from None
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise _Interrupted(" ".join(reason.split())) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone, and from https to nothing less."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urllib.parse.urlsplit(newurl).scheme not in ({"https"} if req.type == "https" else {"http", "https"}):
            raise urllib.error.HTTPError(newurl, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _request(url: str, start: int, known: dict[str, Any]) -> urllib.request.Request:
    mirror = os.environ.get("PPZOO_MIRROR", "")
    parts = urllib.parse.urlsplit(url)
    address = urllib.parse.urlunsplit(("", "", parts.path, parts.query, "")) if mirror else url
    address = urllib.parse.quote(address, safe=string.punctuation)  # of other alphabets
    request = urllib.request.Request(mirror.rstrip("/") + address, headers={"Accept-Encoding": "identity"})
    request.add_header("User-Agent", "ppzoo")
    if start:
        request.add_header("Range", f"bytes={start}-")
        validator = known.get("validator")
        if validator and not validator.startswith("W/"):
            request.add_header("If-Range", validator)
    return request


def _continues(answer: Any, start: int, known: dict[str, Any]) -> bool:
    """Whether a partial answer begins where our part ends, in a file of the size that we know."""
    span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    return span.split("-")[0] == str(start) and (known.get("size") is None or total in ("*", str(known["size"])))


def _receive(answer: Any, part: Path, start: int, total: int | None) -> None:
    name = part.name.removesuffix(".part")
    if not start:
        part.unlink(missing_ok=True)
    with (
        open(part, "r+b" if start else "xb", opener=open_without_links) as file,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name, disable=None, leave=False) as bar,
    ):
        file.seek(start)
        while block := answer.read(CHUNK):
            file.write(block)
            bar.update(len(block))
        received = file.tell()
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    if total is not None and received != total:
        raise _Interrupted(f"{received} of {total} bytes arrived")
    if not received:
        raise _Interrupted("an empty file arrived")


def _refuse_web_page(part: Path, url: str) -> None:
    with part.open("rb") as file:
        start = file.read(512)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        part.unlink()
        raise WeightsError(f"{url} answers with a web page, not with a weight file")


def _read_record(record: Path) -> dict[str, Any]:
    """What is known of a part: the server's mark of its version, if that is text, and its size, if that is a number."""
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
    """Compare the file with the digest that is published, and with the one recorded when it was first seen.

    Args:
        is_new: it has just arrived, and is removed if it is another.
    """
    found = sha256(target)
    recorded = None if is_new else _recorded(target)
    for wanted, whose in ((published, "published"), (recorded, "recorded at first sight")):
        if wanted and wanted.lower() != found:
            if is_new:
                discard(target)
            raise WeightsError(
                f"{target} has SHA-256 {found[:12]}..., not {wanted[:12]}... as {whose} for {url}; "
                "remove it to fetch it again"
            )
    if not recorded:
        write_text(_beside(target, ".sha256"), f"{found}  {target.name}\n")


def _recorded(target: Path) -> str | None:
    """The digest that was recorded of a file; None where there is none.

    Raises:
        WeightsError: the record is damaged.
    """
    record = _beside(target, ".sha256")
    if not _size(record):
        return None
    digest = record.read_bytes()[:64].decode("ascii", "replace")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise WeightsError(f"{record} is damaged: expected a SHA-256; remove it, if {target.name} is to be trusted")
    return digest
