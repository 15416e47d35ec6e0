"""Exported models in tar archives, as PaddleClas and PaddleX offer them for download (`NAME_infer.tar`).

Only the files of an export are unpacked, into `$PPZOO_HOME/exports/SHA256`, where the next use finds them. Archives can
be from untrusted sources: those with links, devices or paths that leave the archive are refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ppzoo.errors import OutputError, WeightsError
from ppzoo.files import EXPORT_SETTINGS, make_folder, open_plain_file, sha256, sync_file
from ppzoo.host import cache_home
from ppzoo.tar_headers import BLOCK, FILE, OTHER, Header, read_headers

PROGRAM = "inference"
PROGRAM_FILES = (f"{PROGRAM}.json", f"{PROGRAM}.pdmodel")  # of PaddlePaddle 3 and 2
PARAMETERS = f"{PROGRAM}.pdiparams"
NAMES = (*PROGRAM_FILES, PARAMETERS, f"{PARAMETERS}.info", EXPORT_SETTINGS)
MAGIC, MAGIC_OFFSET = b"ustar", 257
MAX_MEMBERS = 1000
MAX_BYTES = 4 << 30  # of all unpacked files
CHUNK = 1 << 20


def is_export_archive(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` is a tar file, by its content."""
    if not os.path.isfile(path):
        return False
    try:
        with open_plain_file(path) as file:
            return file.read(BLOCK)[MAGIC_OFFSET : MAGIC_OFFSET + len(MAGIC)] == MAGIC
    except OSError:
        return False


def unpack_export(archive: Path) -> Path:
    """Unpack the exported model in a tar file, unless that was done before, and return its folder.

    Raises:
        WeightsError: the archive is damaged, contains no exported model, or is refused.
        OutputError: the files cannot be written.
    """
    folder = cache_home() / "exports"
    try:
        with open_plain_file(archive) as file:
            members = _find_members(file, archive)
            target = folder / sha256(archive)
            if not target.is_dir():
                make_folder(folder)
                _unpack(file, members, target)
    except OSError as error:
        raise OutputError(folder, error) from error
    return target


def _find_members(file: BinaryIO, archive: Path) -> dict[str, Header]:
    """Return the members of the exported model by file name.

    Raises:
        WeightsError: as for `unpack_export`.
    """
    found: dict[str, Header] = {}
    end = file.seek(0, os.SEEK_END)
    folders = set()
    try:
        for number, member in enumerate(read_headers(file), start=1):
            path = PurePosixPath(member.name)
            _require_safe(member, path, number, archive)
            if member.kind != FILE or path.name not in NAMES:
                continue
            if member.offset + member.size > end:
                raise ValueError("truncated member")
            if path.name in found:
                raise WeightsError(f"{archive} is refused: expected one {path.name}, got several")
            found[path.name] = member
            folders.add(path.parent)
    except ValueError:
        raise WeightsError(f"{archive} is a damaged or truncated tar file; restore or download it") from None
    size = sum(member.size for member in found.values())
    if size > MAX_BYTES:
        raise WeightsError(f"{archive} is refused: expected at most {MAX_BYTES} bytes of files, got {size}")
    if PARAMETERS not in found or not found.keys() & set(PROGRAM_FILES) or len(folders) > 1:
        expected = f"{' or '.join(PROGRAM_FILES)}, and {PARAMETERS}, in one folder"
        raise WeightsError(f"{archive}: expected {expected}, got {sorted(found) or 'none of them'}")
    return found


def _require_safe(member: Header, path: PurePosixPath, number: int, archive: Path) -> None:
    if number > MAX_MEMBERS:
        raise WeightsError(f"{archive} is refused: expected at most {MAX_MEMBERS} files, got more")
    if member.kind == OTHER:
        raise WeightsError(f"{archive} is refused: expected files and folders, got the link or device {member.name!r}")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise WeightsError(f"{archive} is refused: expected paths inside the archive, got {member.name!r}")


def _unpack(file: BinaryIO, members: dict[str, Header], target: Path) -> None:
    """Write the members into a temporary folder, and rename it to `target`."""
    staged = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        for name, member in members.items():
            file.seek(member.offset)
            with (staged / name).open("xb") as copy:
                for start in range(0, member.size, CHUNK):
                    copy.write(file.read(min(CHUNK, member.size - start)))
            sync_file(staged / name)
        if not target.is_dir():
            os.replace(staged, target)
    except OSError:
        if not target.is_dir():  # another process can have unpacked the same archive
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
