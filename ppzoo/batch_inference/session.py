"""An output file that is written row by row, and resumed after an interruption with each row exactly once.

While `results.csv` is incomplete, `results.csv.unfinished.json` records from which network, images and options it is
written. A kill or a full disk can leave an incomplete last row, which is removed when the file is opened again. Parquet
files cannot be extended: their rows are collected in `results.parquet.unfinished.jsonl` and converted at the end.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ppzoo import locks
from ppzoo.batch_inference.done import DoneRows
from ppzoo.batch_inference.rows import Row, RowFormat
from ppzoo.batch_inference.table_formats import MAX_RECORD, Csv, JsonLines, TableFormat
from ppzoo.errors import ConfigError, DataError, OutputError, count_text
from ppzoo.files import make_folder, open_without_links, read_plain_file, sync_folder, write_text

logger = logging.getLogger("ppzoo")

SUFFIXES = (".csv", ".jsonl", ".parquet")
SYNC_SECONDS = 5.0  # between two flushes to the disk
BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends
START_OVER = "use --overwrite to start over, or write another file"


class Setting(NamedTuple):
    """A setting that has to be the same when a table is resumed.

    Attributes:
        identity: is compared.
        text: is shown in messages.
    """

    identity: str
    text: str

    @classmethod
    def of(cls, value: object) -> Setting:
        """Return a setting whose value is compared and shown."""
        return cls(str(value), str(value))


NOT_SET = Setting("", "none")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check the path of a table before anything is computed.

    Raises:
        ConfigError: its suffix is unknown, its folder is a file, a complete table exists, or the package that writes it
            is not installed.
        OutputError: the name is too long, or a folder on the path cannot be read.
    """
    if path.suffix not in SUFFIXES or os.path.isdir(path):
        endings = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
        raise ConfigError(f"--output: expected a file with a name that ends in {endings}, got {path}")
    existing = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not existing.is_dir():
        raise ConfigError(f"--output: expected a file in a folder, got {path}: {existing} is not a folder")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(
            "--output: pyarrow, which writes .parquet, is not installed: run `pip install 'ppzoo[parquet]'`"
            " (in a clone: `pip install -e '.[parquet]'`)"
        )
    files = _Files(path)
    try:
        os.lstat(files.settings)
    except FileNotFoundError:
        pass
    except OSError as error:  # the name is too long, or a folder cannot be read
        raise OutputError(path, error, key="--output") from error
    if not overwrite and not os.path.lexists(files.settings):
        for file in (files.output, files.table):
            if os.path.lexists(file):
                raise ConfigError(f"--output: expected a new file, but {file} exists; {START_OVER}")


class _Files:
    """The files of a session, next to each other.

    Attributes:
        output: the finished table; table: the file that rows are written to, which is `output` except for Parquet.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.settings = output.with_name(f"{output.name}.unfinished.json")
        self.lock = output.with_name(f".{output.name}.lock")
        is_parquet = output.suffix == ".parquet"
        self.table = output.with_name(f"{output.name}.unfinished.jsonl") if is_parquet else output


class TableSession:
    """Writes a table, or resumes it; use it in a `with` statement.

    Args:
        settings: the network, the images and the options, by name; they have to be the same to resume.
        overwrite: delete an existing table first.

    Attributes:
        done: the rows that earlier commands wrote; `count` is the number of all rows, `failures` of those with an
            error.

    Raises:
        ConfigError: another process writes the table, or it exists and cannot be resumed.
        OutputError: it cannot be written.
    """

    def __init__(
        self, output: Path, rows: RowFormat, settings: Mapping[str, Setting], *, overwrite: bool = False
    ) -> None:
        self.rows, self.files = rows, _Files(output)
        self.format: TableFormat = Csv(rows) if output.suffix == ".csv" else JsonLines(rows)
        self.done, self.count, self.failures = DoneRows(), 0, 0
        self.is_finished = False
        self._handle: int | None = None
        self._is_open = False
        self._synced = time.monotonic()
        try:
            make_folder(output.absolute().parent)
            self._lock = locks.hold(self.files.lock, blocking=False)
        except BlockingIOError as error:
            raise ConfigError(f"--output: another process is writing {output}; wait for it, or end it") from error
        except OSError as error:
            raise OutputError(output, error, key="--output") from error
        try:
            self._open(settings, overwrite)
        except OSError as error:
            self.close()
            raise OutputError(output, error, key="--output") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TableSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Raises:
            OutputError: the disk is full, or the file cannot be written for another reason.
        """
        try:
            self._append(b"".join(map(self.format.encode, rows)))
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self._sync()
        except OSError as error:
            raise OutputError(self.files.table, error) from error
        self.count += len(rows)
        self.failures += sum(row["error"] is not None for row in rows)

    def finish(self) -> None:
        """Complete the table.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._sync()
            if self.files.table != self.files.output:
                from ppzoo.batch_inference.parquet import convert

                convert(self.files.table, self.files.output, self.rows)
            self.files.settings.unlink()
            self.is_finished = True
            if self.files.table != self.files.output:
                self.files.table.unlink()
        except OSError as error:
            raise OutputError(self.files.output, error) from error

    def close(self) -> None:
        """Release the files; an incomplete table can be resumed, one without rows is deleted."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
            if self._is_open and not self.count and not self.is_finished:
                self.files.settings.unlink(missing_ok=True)
                self.files.table.unlink(missing_ok=True)
        self._lock.release(remove=True)

    def _open(self, settings: Mapping[str, Setting], overwrite: bool) -> None:
        files = self.files
        check_output(files.output, overwrite=overwrite)
        if overwrite:
            for file in {files.output, files.table, files.settings}:
                file.unlink(missing_ok=True)
        resumed = os.path.lexists(files.settings) and os.path.lexists(files.table)
        if resumed:
            self._require_same(settings)
        else:
            write_text(files.settings, json.dumps(settings, indent=1))
        self._handle = open_without_links(files.table, os.O_RDWR | os.O_CREAT | BINARY)
        if resumed:
            self._read_done()
        if not os.fstat(self._handle).st_size:
            self._append(self.format.header)
            sync_folder(files.table.absolute().parent)
        self._is_open = True

    def _require_same(self, settings: Mapping[str, Setting]) -> None:
        """Require that the table was started with these settings.

        Raises:
            ConfigError: the settings differ, or their file is damaged.
        """
        recorded = self._recorded_settings()
        for name in {**settings, **recorded}:
            before, after = recorded.get(name, NOT_SET), settings.get(name, NOT_SET)
            if before.identity != after.identity:
                is_changed = before.text == after.text
                got = f"{after.text} has changed" if is_changed else f"{before.text}, not {after.text}"
                raise ConfigError(
                    f"--output: {self.files.output} is unfinished and was started with another {name} ({got});"
                    f" {START_OVER}"
                )

    def _recorded_settings(self) -> dict[str, Setting]:
        file = self.files.settings
        try:
            recorded = json.loads(read_plain_file(file))
            return {name: Setting(*map(str, setting)) for name, setting in recorded.items()}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(f"--output: {file} is damaged; {START_OVER}") from error

    def _read_done(self) -> None:
        """Read the rows that the table has, and remove an incomplete one at its end.

        Raises:
            ConfigError: another program changed the table.
        """
        assert self._handle is not None
        end, header = 0, bool(self.format.header)
        with open(self._handle, "rb", closefd=False) as file:  # not by name, which another file can have by now
            for number, record in enumerate(self.format.records(file), 1):
                try:
                    if header:
                        self._require_header(record)
                    else:
                        self._add_done(record)
                except DataError as error:
                    raise ConfigError(
                        f"--output: {self.files.table}, row {number}: expected a row that ppzoo wrote, got something"
                        f" else; {START_OVER}"
                    ) from error
                header = False
                end += len(record)
        if os.fstat(self._handle).st_size - end >= MAX_RECORD:
            raise ConfigError(f"--output: {self.files.table}: expected rows that ppzoo wrote; {START_OVER}")
        os.ftruncate(self._handle, end)
        os.lseek(self._handle, end, os.SEEK_SET)
        logger.info("resuming %s: %s done", self.files.output, count_text(self.count, "row"))

    def _require_header(self, record: bytes) -> None:
        if record != self.format.header:
            raise DataError("not the header of this table")

    def _add_done(self, record: bytes) -> None:
        key, is_error = self.format.read(record)
        self.done.add(key)
        self.count += 1
        self.failures += is_error

    def _append(self, data: bytes) -> None:
        assert self._handle is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]

    def _sync(self) -> None:
        assert self._handle is not None
        os.fsync(self._handle)
        self._synced = time.monotonic()
