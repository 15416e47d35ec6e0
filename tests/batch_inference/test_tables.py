"""Tables of predictions: formats, strange names, and exactly one row per image after any interruption."""

import csv
import errno
import json
import os

import pytest

from ppzoo.batch_inference import RowFormat, Setting, TableSession, check_output, path_text
from ppzoo.errors import ConfigError, DataError, OutputError

ROWS = RowFormat(topk=2)
SETTINGS = {"model": Setting("1", "output/LeNet"), "folder": Setting.of("photos")}
NAMES = [
    "a.jpg",
    "a,b.jpg",
    'quote".jpg',
    "two\nlines.jpg",
    "return\r.jpg",
    "日本/=1.jpg",
    " space .jpg",
    "back\\slash.jpg",
]


def prediction(name="cat", score=0.123456789):
    return {"label_names": [name, "dog"], "scores": [score, 1 - score]}


def rows_of(names, result=None):
    return [ROWS.row({"path": name}, result or prediction()) for name in names]


def open_session(path, settings=SETTINGS, **options):
    return TableSession(path, ROWS, settings, **options)


def read(path):
    """Return the rows of a complete table as dictionaries."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def output(request, tmp_path):
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="needs ppzoo[parquet]")
    return tmp_path / f"results.{request.param}"


def test_names_and_values_are_read_back(output):
    with open_session(output) as table:
        table.write(rows_of(NAMES))
        table.write([ROWS.row({"path": "bad.jpg"}, DataError("bad.jpg: expected an image, got\na text"))])
        table.finish()
    rows = read(output)
    assert [row["path"] for row in rows] == [*NAMES, "bad.jpg"]
    assert list(rows[0]) == ["path", "class", "score", "class_2", "score_2", "error"]
    assert (rows[0]["class"], float(rows[0]["score"])) == ("cat", 0.123457)
    assert rows[-1]["error"] == "bad.jpg: expected an image, got\\na text"
    assert not rows[-1]["class"] and not rows[0]["error"]
    assert os.listdir(output.parent) == [output.name]


def test_several_labels_are_lists(output):
    rows = RowFormat(topk=0)
    with TableSession(output, rows, SETTINGS) as table:
        table.write([rows.row({"path": "a.jpg"}, prediction('a "b", c', 0.75))])
        table.write([rows.row({"path": "b.jpg"}, {"label_names": [], "scores": []})])
        table.finish()
    classes = [json.loads(row["classes"]) if output.suffix == ".csv" else row["classes"] for row in read(output)]
    assert classes == [['a "b", c', "dog"], []]


def test_a_name_that_is_not_utf8_is_escaped(output):
    name = os.fsdecode(b"caf\xe9.jpg")
    with open_session(output) as table:
        table.write(rows_of([path_text(name)]))
        table.finish()
    assert read(output)[0]["path"] == "caf\\xe9.jpg"


def test_csv_cells_are_not_formulas(tmp_path):
    names = ["=cmd|' /C calc'!A0.jpg", "@a.jpg", "+1.jpg", "-2.jpg"]
    with open_session(tmp_path / "t.csv") as table:
        table.write(rows_of(names, prediction("=1+1")))
        table.write(rows_of(["x.jpg"], prediction("-5")))
    with open_session(tmp_path / "t.csv") as table:
        assert all(table.done.take(name) for name in names)
        table.finish()
    rows = read(tmp_path / "t.csv")
    assert [row["path"] for row in rows[:-1]] == [f"./{name}" for name in names]
    assert rows[0]["class"] == "'=1+1" and rows[-1]["class"] == "-5"


def test_every_byte_of_a_kill_can_be_resumed(tmp_path):
    """Cut a table after each of its bytes, as a kill or a full disk does, and resume it."""
    for suffix in ("csv", "jsonl"):
        output = tmp_path / f"t.{suffix}"
        with open_session(output) as table:
            table.write(rows_of(NAMES))
            state = table.files.settings.read_bytes()
            table.finish()
        content = output.read_bytes()
        for length in range(len(content)):
            output.write_bytes(content[:length])
            table.files.settings.write_bytes(state)
            with open_session(output) as resumed:
                missing = [name for name in NAMES if not resumed.done.take(name)]
                assert resumed.count + len(missing) == len(NAMES)
                resumed.write(rows_of(missing))
                resumed.finish()
            assert output.read_bytes() == content, length


def test_a_table_is_resumed_twice(output):
    for number in range(3):
        with open_session(output) as table:
            assert table.count == 2 * number
            missing = [name for name in NAMES if not table.done.take(name)]
            table.write(rows_of(missing[:2]))
    with open_session(output) as table:
        table.write(rows_of([name for name in NAMES if not table.done.take(name)]))
        table.finish()
    assert [row["path"] for row in read(output)] == NAMES


def test_equal_names_of_two_files_are_two_rows(tmp_path):
    twins = ["\\xff.jpg", path_text(os.fsdecode(b"\xff.jpg"))]
    with open_session(tmp_path / "t.csv") as table:
        table.write(rows_of(twins[:1]))
    with open_session(tmp_path / "t.csv") as table:
        assert [table.done.take(name) for name in twins] == [True, False]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": Setting("2", "output/LeNet")}, r"another model \(output/LeNet has changed\); use --overwrite"),
        ({"model": Setting("2", "output/New")}, r"another model \(output/LeNet, not output/New\); use --overwrite"),
        ({"folder": Setting.of("other")}, r"another folder \(photos, not other\)"),
        ({"--sort-into": Setting.of("x")}, r"another --sort-into \(none, not x\)"),
    ],
)
def test_another_model_or_folder_is_refused(output, changed, message):
    with open_session(output) as table:
        table.write(rows_of(NAMES))
    before = table.files.table.read_bytes()
    with pytest.raises(ConfigError, match=message):
        open_session(output, {**SETTINGS, **changed})
    assert table.files.table.read_bytes() == before
    with open_session(output, {**SETTINGS, **changed}, overwrite=True) as table:
        assert table.count == 0
        table.write(rows_of(["new.jpg"]))
        table.finish()
    assert [row["path"] for row in read(output)] == ["new.jpg"]


def test_a_complete_table_is_not_changed(output):
    with open_session(output) as table:
        table.finish()
    before = output.read_bytes()
    for attempt in (lambda: open_session(output), lambda: check_output(output, overwrite=False)):
        with pytest.raises(ConfigError, match="exists; use --overwrite to start over"):
            attempt()
    assert output.read_bytes() == before


def test_a_table_that_another_program_changed_is_refused(tmp_path):
    output = tmp_path / "t.csv"
    with open_session(output) as table:
        table.write(rows_of(NAMES))
    output.write_bytes(output.read_bytes().replace(b"class_2", b"class_3"))
    with pytest.raises(ConfigError, match="row 1: expected a row that ppzoo wrote"):
        open_session(output)
    (tmp_path / "t.csv.unfinished.json").write_text("[")
    with pytest.raises(ConfigError, match="damaged; use --overwrite"):
        open_session(output)


def test_only_one_process_writes_a_table(tmp_path):
    with open_session(tmp_path / "t.csv"), pytest.raises(ConfigError, match="another process is writing"):
        open_session(tmp_path / "t.csv")


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "t.csv").symlink_to(tmp_path / "target")
    (tmp_path / "t.csv.unfinished.json").write_text(json.dumps(SETTINGS))
    with pytest.raises(OutputError, match="is a link"):
        open_session(tmp_path / "t.csv")
    assert (tmp_path / "target").read_text() == "precious"


def test_a_full_disk_is_reported_and_resumed(output, monkeypatch):
    space = 300
    write = os.write

    def limited_write(handle, data):
        nonlocal space
        if space <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        space -= len(data)
        return write(handle, data[: len(data) + min(space, 0)])

    with open_session(output) as table, monkeypatch.context() as patch:
        patch.setattr(os, "write", limited_write)
        with pytest.raises(OutputError, match=r"cannot write .*: No space left on device") as error:
            for name in NAMES * 3:
                table.write(rows_of([name]))
        assert error.value.exit_status == 1
    with open_session(output) as table:
        assert 0 < table.count < 3 * len(NAMES)
        table.write(rows_of([name for name in NAMES * 3 if not table.done.take(name)]))
        table.finish()
    assert sorted(row["path"] for row in read(output)) == sorted(NAMES * 3)


def test_parquet_without_pyarrow_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pyarrow.* is not installed: run `pip install 'ppzoo\[parquet\]'`"):
        check_output(tmp_path / "t.parquet", overwrite=False)


@pytest.mark.parametrize("name", ["t.txt", "t", "t.CSV"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"--output: expected a file with a name that ends in \.csv, \.jsonl"):
        check_output(tmp_path / name, overwrite=False)


def test_ranks_beyond_the_columns_are_omitted():
    row = ROWS.row({"path": "a.jpg"}, {"label_names": ["a", "b", "2"], "scores": [0.5, 0.3, 0.2]})
    assert list(row) == list(ROWS.columns) and row["class_2"] == "b"


def test_a_file_that_is_no_table_is_not_overwritten(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("keep")
    with pytest.raises(ConfigError, match="--output: expected a file with a name that ends in"):
        open_session(notes, overwrite=True)
    assert notes.read_text() == "keep"
