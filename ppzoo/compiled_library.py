"""The file of a compiled library: whether it can be trusted, whether it is complete, and how it is published.

A library is code that runs with the user's permissions, and a truncated one can crash the process that opens it. It is
opened only if nobody except the user and root can have changed it, and if its SHA-256 is the one recorded next to it.
"""

from __future__ import annotations

import os
from pathlib import Path

from ppzoo.files import read_plain_file, sha256, sync_folder, write_text
from ppzoo.trusted_paths import find_untrusted_path


def digest_path(library: Path) -> Path:
    """Return the file with the SHA-256 of a library, in the format of `sha256sum`."""
    return library.with_name(f"{library.name}.sha256")


def is_intact(library: Path) -> bool:
    """Return whether a library exists and has the SHA-256 that was recorded when it was built."""
    try:
        recorded = read_plain_file(digest_path(library)).split()
        return bool(recorded) and recorded[0] == sha256(library).encode()
    except OSError:
        return False


def publish(built: Path, library: Path) -> None:
    """Move a library that was just built to its final path, flushed to the disk, and record its SHA-256.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    built.chmod(0o755)
    handle = os.open(built, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    recorded = digest_path(library)
    write_text(recorded, f"{sha256(built)}  {library.name}\n")
    recorded.chmod(0o644)
    os.replace(built, library)
    sync_folder(library.parent)


def find_trust_problem(library: Path) -> str | None:
    """Return why other users can have written a library or its SHA-256, or None if they cannot."""
    return find_untrusted_path(library, digest_path(library))
