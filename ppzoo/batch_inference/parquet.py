"""Conversion of a table in JSON Lines to Parquet, in parts, so that memory does not grow with its length."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ppzoo.batch_inference.rows import Row, RowFormat
from ppzoo.batch_inference.table_formats import JsonLines
from ppzoo.files import write_atomically

ROWS = 10_000  # of a part, which becomes a row group


def convert(source: Path, target: Path, rows: RowFormat) -> None:
    """Convert a table in JSON Lines; the target is complete or unchanged.

    Raises:
        OSError: the target cannot be written.
    """
    write_atomically(target, lambda file: _write(source, file, rows))


def _write(source: Path, file: BinaryIO, rows: RowFormat) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "texts": pyarrow.list_(pyarrow.string()),
        "numbers": pyarrow.list_(pyarrow.float64()),
    }
    schema: Any = pyarrow.schema([(name, types[kind]) for name, kind in rows.columns.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for part in _parts(source, rows):
            writer.write_table(pyarrow.Table.from_pylist(part, schema))


def _parts(source: Path, rows: RowFormat) -> Iterator[list[Row]]:
    lines = JsonLines(rows)
    with open(source, "rb") as file:
        decoded = map(lines.decode, lines.records(file))
        while part := list(itertools.islice(decoded, ROWS)):
            yield part
