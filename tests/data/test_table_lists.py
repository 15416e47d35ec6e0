"""CSV and Parquet lists: columns by name, class names and ids, several labels, and mistakes in one line."""

import numpy as np
import pytest

from ppzoo.data import DATASETS
from ppzoo.errors import DataError


def dataset(folder, text, name="ImageNetDataset", file="list.csv", **options):
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return DATASETS[name](image_root=str(folder), cls_label_path=str(folder / file), **options)


def paths(images):
    return [images.index.path(index) for index in range(len(images))]


def test_ids_quotes_byte_order_mark_and_line_numbers(tmp_path):
    text = '\ufeffid,Image,label\r\n1,"猫, ""x"".jpg",2\r\n\r\n2,b b.jpg,0\r\n'
    images = dataset(tmp_path, text, class_num=3)
    assert paths(images) == ['猫, "x".jpg', "b b.jpg"]
    assert images.labels.tolist() == [2, 0]
    assert images.is_numbered
    assert images.origin(1).endswith("list.csv, line 4")
    (tmp_path / "b b.jpg").write_bytes(b"content")
    assert images[1] == (b"content", 0)
    with pytest.raises(DataError, match=r"list\.csv, line 2"):
        images[0]


def test_class_names_and_named_columns(tmp_path):
    text = "where;what;label\na.jpg;狗;9\nb.jpg;cat;9\nc.jpg;狗;8\n"
    images = dataset(tmp_path, text, path_column="where", label_column="what", class_num=2)
    assert images.classes == ["cat", "狗"]
    assert images.labels.tolist() == [1, 0, 1]
    assert not images.is_numbered


def test_lists_with_a_delimiter_are_read_as_before(tmp_path):
    assert dataset(tmp_path, "a.jpg,1\nb.jpg,0\n", delimiter=",").labels.tolist() == [1, 0]


def test_relabel_names_the_numbers(tmp_path):
    images = dataset(tmp_path, "path,label\na,7\nb,3\n", relabel=True, class_num=2)
    assert (images.classes, images.labels.tolist()) == (["3", "7"], [1, 0])


def test_several_labels_as_columns(tmp_path):
    text = "path,cat,dog,note\na.jpg,1,0,x\nb.jpg,-1,1,y\n"
    images = dataset(tmp_path, text, "MultiLabelDataset", label_columns=["dog", "cat"])
    assert images.classes == ["dog", "cat"]
    assert images.labels.tolist() == [[0, 1], [1, -1]]
    with pytest.raises(DataError, match=r"line 2: expected 0, 1 or -1 in the column 'note', got 'x'"):
        dataset(tmp_path, text, "MultiLabelDataset")


def test_parquet_lists(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = tmp_path / "list.parquet"
    parquet.write_table(pyarrow.table({"file": ["a.jpg", "猫.jpg"], "class": [1, 0]}), file)
    images = DATASETS["ImageNetDataset"](image_root=str(tmp_path), cls_label_path=str(file), class_num=2)
    assert paths(images) == ["a.jpg", "猫.jpg"]
    assert images.labels.tolist() == [1, 0]
    parquet.write_table(pyarrow.table({"file": ["a.jpg", "b.jpg"], "class": ["x", None]}), file)
    with pytest.raises(DataError, match="row 2: expected a label in the column 'class', got none"):
        DATASETS["ImageNetDataset"](image_root=str(tmp_path), cls_label_path=str(file))
    file.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="expected a Parquet file, got a broken one"):
        DATASETS["ImageNetDataset"](image_root=str(tmp_path), cls_label_path=str(file))


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'ppzoo\[parquet\]'"):
        dataset(tmp_path, b"PAR1", file="list.parquet")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("path,label\n", "lists no images"),
        ("a.jpg,0\nb.jpg,1\n", r"expected a column of paths named path, .* got the columns 'a.jpg', '0'"),
        ("path,kind\na,0\n", "expected a column of labels named label, .* set dataset.label_column"),
        ("path,label,label\na,0,1\n", "'label' occurs twice"),
        ("path,label\na,0\na,1\n", "line 3: the image 'a' has another label than in line 2"),
        ("path,label\na,\n", "line 2: expected a label in the column 'label', got none"),
        ("path,label\n,1\n", "line 2: expected a path"),
        ("path,label\na,b,1\n", "line 2: expected 2 values as in the header, got 3"),
        ("path,label\na,0\na,1\n", r"has another label than in line 2 \(column 'label'\)"),
        ("path,label\na,-1\n", "line 2: expected an integer label of 0 or more"),
        ("path,label\na,1.0\n", "line 2: expected an integer label of 0 or more"),
        ("path,label\na,5\n", r"line 2: label 5 is outside \[0, class_num = 5\)"),
        ("path,label\na,u\nb,v\nc,w\nd,x\ne,y\nf,z\n", "6 classes, but class_num is 5"),
        ('path,label\n"a,1\n', "expected CSV, got a broken row"),
        (b"path,label\n\xff\xfe,1\n", "save it as UTF-8"),
        (b"path,label\na\x00b,1\n", "zero byte"),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, complaint):
    with pytest.raises(DataError, match=complaint) as raised:
        dataset(tmp_path, text, class_num=5)
    assert "\n" not in str(raised.value)


def test_nan_in_a_parquet_list_is_a_missing_label(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = tmp_path / "list.parquet"
    parquet.write_table(pyarrow.table({"path": ["a", "b", "c"], "label": [0.0, float("nan"), 1.0]}), file)
    with pytest.raises(DataError, match="row 2: expected a label in the column 'label', got none"):
        DATASETS["ImageNetDataset"](image_root=str(tmp_path), cls_label_path=str(file))


@pytest.mark.parametrize(("labels", "is_mixed"), [("0 1o 10", True), ("A 7 nan", True), ("A B nan", False)])
def test_numbers_among_class_names_are_reported(tmp_path, caplog, labels, is_mixed):
    rows = "".join(f"{index},{label}\n" for index, label in enumerate(labels.split()))
    assert dataset(tmp_path, "path,label\n" + rows).classes == sorted(labels.split())
    assert ("are class names, too, instead of class indices" in caplog.text) == is_mixed


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("MultiLabelDataset", {"label_columns": ["cat", "dog", "cat"]}, "got 'cat' twice: set dataset.label_columns"),
        ("ImageNetDataset", {"label_column": "path"}, "different columns of paths and labels, got 'path'"),
        ("ImageNetDataset", {"path_column": "label"}, "different columns of paths and labels, got 'label'"),
    ],
)
def test_a_column_has_one_meaning(tmp_path, name, options, complaint):
    with pytest.raises(DataError, match=complaint):
        dataset(tmp_path, "path,label,cat,dog\na,1,1,0\n", name, **options)


def test_repeated_rows_are_kept_with_a_warning(tmp_path, caplog):
    images = dataset(tmp_path, "path,label\na,1\nb,0\na,1\n")
    assert np.bincount(images.labels).tolist() == [1, 2]
    assert "list.csv: used 1 row with the path and labels of an earlier row, too" in caplog.text
