"""Label files with the names of classes."""

import pytest

from ppzoo.data import read_labels
from ppzoo.errors import DataError


def test_names_can_contain_spaces_and_lines_can_have_any_order(tmp_path):
    (tmp_path / "labels.txt").write_text("1 great white shark, white shark\r\n\n0 tench, Tinca tinca\n", newline="")
    assert read_labels(tmp_path / "labels.txt") == {1: "great white shark, white shark", 0: "tench, Tinca tinca"}


def test_paddleclas_imagenet_labels_ship_with_the_package():
    names = read_labels("ppcls/utils/imagenet1k_label_list.txt")
    assert sorted(names) == list(range(1000))
    assert names[0] == "tench, Tinca tinca"
    assert names[134] == names[517] == "crane"
    assert names[999] == "toilet tissue, toilet paper, bathroom tissue"


def test_an_existing_file_is_preferred_to_a_shipped_one(tmp_path):
    (tmp_path / "imagenet1k_label_list.txt").write_text("0 mine\n")
    assert read_labels(tmp_path / "imagenet1k_label_list.txt") == {0: "mine"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0 cat\ndog\n", "line 2.*'dog'"),
        ("0 cat\n1\n", "line 2"),
        ("zero cat\n", "line 1"),
        ("0 cat\n0 dog\n", "line 2: class 0 already has a name"),
        ("\n", "got an empty file"),
    ],
)
def test_an_invalid_line_is_reported(tmp_path, text, complaint):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(DataError, match=complaint):
        read_labels(tmp_path / "labels.txt")


def test_files_that_cannot_be_read_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt"):
        read_labels(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"0 caf\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_labels(tmp_path / "latin.txt")
