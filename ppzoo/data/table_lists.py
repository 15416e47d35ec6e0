"""Lists of images in tables: CSV files with a header, and Parquet files. Columns are found by their names."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ppzoo.data.index import MAX_LABEL_DIGITS, MAX_PATH_BYTES, PathIndex, index_paths
from ppzoo.errors import DataError, count_text
from ppzoo.files import open_plain_file, read_plain_file

logger = logging.getLogger("ppzoo")

CSV, PARQUET = ".csv", ".parquet"
PATH_COLUMNS = ("path", "image", "file", "image_path", "file_path", "filename", "file_name")
LABEL_COLUMNS = ("label", "class", "label_id", "class_id", "class_name")
MAX_SHOWN_COLUMNS = 10
FIXES_WITHOUT_CONFIG = {  # pattern of a fix in messages about lists and images -> the fix without a configuration
    r"set dataset\.(path|label)_column": "rename the column",
    r"set dataset\.delimiter to '.'": "save the list as .csv with the header 'path,label'",
    r": correct dataset\.cls_label_path": "",
    r"correct dataset\.image_root(; set `on_error.*CONFIG`)?": "correct its path in the list",
    r"^(DataLoader\.\w+)(.*)set `on_error.*CONFIG`": r"\1\2add -o \1.dataset.on_error=skip to skip such images",
    r"set `on_error.*CONFIG`": "add -o DataLoader.Eval.dataset.on_error=skip to skip such images",
}
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?")


@dataclass(frozen=True)
class ListTable:
    """Paths and labels of N images.

    Attributes:
        file: the table, for messages.
        index: the paths; its labels are all 0.
        columns: names of the columns of labels.
        values: one tuple of texts per image, with one text per column of labels.
    """

    file: str
    index: PathIndex
    columns: list[str]
    values: list[tuple[str, ...]]

    def origin(self, index: int) -> str:
        """Return file and line (CSV) or row (Parquet) of an image."""
        return f"{self.file}, {_unit(self.file)} {self.index.line(index)}"


def is_table(file: str) -> bool:
    """Whether the name of a list file is that of a CSV or Parquet file."""
    return os.path.splitext(file)[1].lower() in (CSV, PARQUET)


def read_columns(file: str) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        DataError: the file is missing, empty or broken.
    """
    return _parquet_header(file) if file.lower().endswith(PARQUET) else next(_csv_rows(file))[1]


def read_table(
    file: str, *, path_column: str | None = None, label_columns: Sequence[str] | None = None, several: bool = False
) -> ListTable:
    """Read a table with one image per row.

    CSV: UTF-8, with a header; separated by commas, semicolons or tabs; blank lines are ignored.

    Args:
        path_column: name of the column of paths; None: the first of `PATH_COLUMNS` that exists.
        label_columns: names of the columns of labels; None: the first of `LABEL_COLUMNS` that exists, or with `several`
            all columns but that of paths.

    Raises:
        DataError: the file is missing, empty or broken, lacks a column or a value, or lists a path with two labels.
    """
    lines = None if file.lower().endswith(PARQUET) else _csv_rows(file)
    header = _parquet_header(file) if lines is None else next(lines)[1]
    path_column, chosen = _choose_all(file, header, path_column, label_columns, several=several)
    columns = [path_column, *chosen]
    rows = _parquet_rows(file, columns) if lines is None else _csv_columns(file, lines, header, columns)
    return _collect(file, rows, chosen)


def check_columns(file: str, *, path_column: str | None, label_columns: Sequence[str] | None, several: bool) -> None:
    """Check the columns of a table by its header only; see `read_table`.

    Raises:
        DataError: a column is missing or occurs twice, or there is no header.
    """
    header = _parquet_header(file) if file.lower().endswith(PARQUET) else next(_csv_rows(file))[1]
    _choose_all(file, header, path_column, label_columns, several=several)


def _choose_all(
    file: str, header: Sequence[str], path_column: str | None, label_columns: Sequence[str] | None, *, several: bool
) -> tuple[str, list[str]]:
    """Return the names of the columns of paths and of labels."""
    path_column = _choose(file, header, path_column, PATH_COLUMNS, "path_column", "paths")
    if label_columns is None and several:
        return path_column, [name for name in header if name != path_column]
    key = "label_columns" if several else "label_column"
    if label_columns is None:
        chosen = [_choose(file, header, None, LABEL_COLUMNS, key, "labels")]
    else:
        chosen = [_choose(file, header, name, (), key, "labels") for name in label_columns]
    repeated = next((name for index, name in enumerate(chosen) if name in chosen[:index]), None)
    if repeated is not None:
        raise DataError(f"{file}: expected different columns of labels, got {repeated!r} twice: set dataset.{key}")
    if chosen == [path_column] and not several:
        raise DataError(
            f"{file}: expected different columns of paths and labels, got {path_column!r}: set dataset.{key}"
        )
    return path_column, chosen


def number_labels(table: ListTable, class_num: int | None) -> tuple[np.ndarray, list[str] | None]:
    """Return the class of each image, and the sorted class names if the labels are names instead of numbers.

    Raises:
        DataError: a number is not a class index below `class_num`; or a class name has a line end, which label files
            cannot contain.
    """
    texts = [values[0] for values in table.values]
    if not all(NUMBER.fullmatch(text) for text in texts):
        for index, text in enumerate(texts):
            if "\n" in text or "\r" in text:
                raise DataError(
                    f"{table.origin(index)}: expected a class name without line ends, got {text!r:.120}: correct it"
                )
        _warn_of_numbers(table, texts)
        names = sorted(set(texts))
        number = {name: label for label, name in enumerate(names)}
        return np.array([number[text] for text in texts], np.int32), names
    for index, text in enumerate(texts):
        if not text.isdigit() or len(text) > MAX_LABEL_DIGITS:
            raise DataError(
                f"{table.origin(index)}: expected an integer label of 0 or more with up to {MAX_LABEL_DIGITS} digits,"
                f" got {text!r:.60}: write the class index"
            )
        if class_num is not None and int(text) >= class_num:
            raise DataError(
                f"{table.origin(index)}: label {text} is outside [0, class_num = {class_num}): correct the label or"
                " Arch.class_num, or set dataset.relabel to true if labels start at 1"
            )
    return np.array(texts).astype(np.int32), None


def _warn_of_numbers(table: ListTable, texts: Sequence[str]) -> None:
    """Log a warning if some labels are names and others are numbers: then the numbers are taken as class names, too."""
    is_number = [NUMBER.fullmatch(text) is not None for text in texts]
    if any(is_number):
        number, name = texts[is_number.index(True)], texts[is_number.index(False)]
        logger.warning(
            "%s: %r is a class name, so that numbers such as %r are class names, too, instead of class indices; correct"
            " the labels if they are indices",
            table.origin(is_number.index(False)),
            name[:60],
            number[:60],
        )


def _collect(file: str, rows: Iterator[tuple[int, list[str]]], columns: list[str]) -> ListTable:
    """Check the rows of (number, path and labels), and return the table."""
    paths: list[str] = []
    values: list[tuple[str, ...]] = []
    numbers: list[int] = []
    seen: dict[str, int] = {}
    repeated = 0
    for number, (path, *labels) in rows:
        where = f"{file}, {_unit(file)} {number}"
        if not path or len(path.encode(errors="surrogatepass")) > MAX_PATH_BYTES or "\0" in path:
            raise DataError(
                f"{where}: expected a path of 1 to {MAX_PATH_BYTES} bytes, got {path[:60]!r}: correct the row"
            )
        for column, label in zip(columns, labels, strict=True):
            if not label:
                raise DataError(f"{where}: expected a label in the column {column!r}, got none: add it")
        first = seen.setdefault(path, len(paths))
        if first != len(paths):
            repeated += 1
            for column, label, earlier in zip(columns, labels, values[first], strict=True):
                if label != earlier:
                    raise DataError(
                        f"{where}: the image {path[:200]!r} has another label than in {_unit(file)} {numbers[first]}"
                        f" (column {column!r}): remove one of the two rows"
                    )
        paths.append(path)
        values.append(tuple(labels))
        numbers.append(number)
    if not paths:
        raise DataError(f"the list file {file!r} lists no images: expected a row per image below the header")
    if repeated:
        logger.warning("%s: used %s with the path and labels of an earlier row, too", file, count_text(repeated, "row"))
    skipped = np.setdiff1d(np.arange(1, numbers[-1] + 1), np.array(numbers))
    return ListTable(file, index_paths(((path, 0) for path in paths), skipped.tolist()), columns, values)


def _choose(file: str, header: Sequence[str], name: str | None, defaults: Sequence[str], option: str, what: str) -> str:
    """Return the name of a column: `name`, or the first of `defaults` that exists, in upper or lower case."""
    by_name = {column.lower(): column for column in reversed(header)}
    found = next((by_name[default] for default in defaults if default in by_name), None) if name is None else name
    if found is None or found not in header:
        shown = ", ".join(repr(column[:60]) for column in header[:MAX_SHOWN_COLUMNS])
        expected = repr(name) if name is not None else f"named {', '.join(defaults[:-1])} or {defaults[-1]}"
        raise DataError(
            f"{file}: expected a column of {what} {expected}, got the columns {shown}: set dataset.{option}, or add a"
            " header"
        )
    if list(header).count(found) > 1:
        raise DataError(f"{file}: the column {found!r} occurs twice in the header: rename one of the two")
    return found


def _unit(file: str) -> str:
    return "row" if file.lower().endswith(PARQUET) else "line"


def _csv_rows(file: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the stripped texts of each row that is not blank; the first is the header."""
    try:
        text = read_plain_file(file).decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected UTF-8 text, got other bytes: save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{file}: expected text, got a zero byte: save it as UTF-8")
    first_line = text.lstrip().partition("\n")[0]
    if not first_line:
        raise DataError(f"the list file {file!r} is empty: expected a header such as 'path,label', and a row per image")
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip(" \t\r\n") for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"{file}, line {reader.line_num}: expected CSV, got a broken row ({error}): correct it"
        ) from error


def _csv_columns(
    file: str, rows: Iterator[tuple[int, list[str]]], header: list[str], columns: list[str]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the texts of `columns` of the rows below the header."""
    positions = [header.index(column) for column in columns]
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{file}, line {number}: expected {len(header)} values as in the header, got {len(cells)}: quote values"
                " that contain the separator"
            )
        yield number, [cells[position] for position in positions]


def _parquet_header(file: str) -> list[str]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{file}: pyarrow, which reads .parquet, is not installed: run `pip install 'ppzoo[parquet]'`"
            " (in a clone: `pip install -e '.[parquet]'`)"
        ) from error
    try:
        with open_plain_file(file) as source:
            return list(parquet.read_schema(source).names)
    except pyarrow.ArrowException as error:
        raise _broken_parquet(file, error) from error
    except OSError as error:
        raise _unreadable(file, error) from error


def _parquet_rows(file: str, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with open_plain_file(file) as source:
            table = parquet.read_table(source, columns=columns)
        values = [table.column(column).to_pylist() for column in columns]
    except pyarrow.ArrowException as error:
        raise _broken_parquet(file, error) from error
    except OSError as error:
        raise _unreadable(file, error) from error
    for number, row in enumerate(zip(*values, strict=True), start=1):
        for column, value in zip(columns, row, strict=True):
            if not (value is None or isinstance(value, (str, int, float))):
                raise DataError(
                    f"{file}, row {number}: expected text or a number in the column {column!r}, got"
                    f" {type(value).__name__}: convert the column"
                )
        yield number, [_text(value) for value in row]


def _text(value: str | float | None) -> str:
    if value is None or value != value:  # NaN, which stands for a missing value in a column of numbers
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip(" \t\r\n")


def _broken_parquet(file: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    return DataError(f"{file}: expected a Parquet file, got a broken one ({reason}): write it again")


def _unreadable(file: str, error: OSError) -> DataError:
    return DataError(f"cannot read the list file {file!r} ({error.strerror or error}): correct dataset.cls_label_path")
