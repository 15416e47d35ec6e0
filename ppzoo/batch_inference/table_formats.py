"""CSV and JSON Lines: one record per row; an incomplete record at the end of a file is detected."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from ppzoo.batch_inference.rows import ERROR, PATH, Row, RowFormat
from ppzoo.errors import DataError

MAX_RECORD = 1 << 24  # bytes; a file with longer records is not a table of ppzoo
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # of cells that a spreadsheet program runs as formulas
QUOTED = frozenset('",;\t\r\n')  # a cell with one of these is quoted; spreadsheet programs can split at ; and tab


class JsonLines:
    """One JSON object per line."""

    def __init__(self, rows: RowFormat) -> None:
        self.rows = rows
        self.header = b""

    def encode(self, row: Row) -> bytes:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the complete records, each with its line end."""
        while (line := file.readline(MAX_RECORD)).endswith(b"\n"):
            yield line

    def read(self, record: bytes) -> tuple[str, bool]:
        """Return the key of a row, and whether it has an error.

        Raises:
            DataError: it is not a row of this table.
        """
        row = self.decode(record)
        return str(row[self.rows.key]), row[ERROR] is not None

    def decode(self, record: bytes) -> Row:
        """Return a row.

        Raises:
            DataError: it is not a row of this table.
        """
        try:
            row = json.loads(record)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or list(row) != list(self.rows.columns):
            raise DataError("not a row of this table")
        return row


class Csv:
    """Comma-separated values in UTF-8 with a header; line ends in names are kept, within quotes.

    A path that begins like a formula gets the prefix `./`, and still names the same file. Any other text that begins
    like a formula, such as a class name, gets an apostrophe, unless it is a number.
    """

    def __init__(self, rows: RowFormat) -> None:
        self.rows = rows
        self.header = (",".join(rows.columns) + "\n").encode()

    def encode(self, row: Row) -> bytes:
        cells = [_path_cell(value) if name == PATH else _cell(value) for name, value in row.items()]
        return (",".join(cells) + "\n").encode()

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the complete records, each with its line end; a line end within quotes does not end a record."""
        record = b""
        while (line := file.readline(MAX_RECORD)).endswith(b"\n") and len(record) < MAX_RECORD:
            record += line
            if record.count(b'"') % 2 == 0:
                yield record
                record = b""

    def read(self, record: bytes) -> tuple[str, bool]:
        """Return the key of a row, and whether it has an error.

        Raises:
            DataError: it is not a row of this table.
        """
        try:
            (cells,) = csv.reader(io.StringIO(record.decode(), newline=""), strict=True)
        except (ValueError, csv.Error):
            cells = []
        if len(cells) != len(self.rows.columns):
            raise DataError("not a row of this table")
        return cells[0].removeprefix("./"), bool(cells[-1])


TableFormat = Csv | JsonLines


def _path_cell(path: str) -> str:
    return _quote(f"./{path}" if path.startswith(FORMULA_STARTS) else path)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _text_cell(value)
    return _quote(json.dumps(value, ensure_ascii=False)) if isinstance(value, list) else str(value)


@lru_cache(4096)  # the names of the classes
def _text_cell(text: str) -> str:
    return _quote(f"'{text}" if text.startswith(FORMULA_STARTS) and not _is_number(text) else text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _quote(text: str) -> str:
    if QUOTED.isdisjoint(text) and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'
