"""List files are read exactly and in little memory, and invalid lines are reported."""

import numpy as np
import pytest

from ppzoo.data import index, read_list
from ppzoo.errors import ConfigError, DataError


@pytest.fixture
def listed(tmp_path):
    def write(text, **options):
        file = tmp_path / "train_list.txt"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_list(file, **options)

    return write


def pairs(found):
    return [(found.path(i), int(found.labels[i])) for i in range(len(found))]


def test_paths_and_labels_are_read_as_written(listed):
    found = listed("a/b.jpg 3\nmy cat (1).jpg 0\nünïcode/猫.jpg\t12\n  padded.jpg   7  \nlast.jpg 999999999")
    assert pairs(found) == [
        ("a/b.jpg", 3),
        ("my cat (1).jpg", 0),
        ("ünïcode/猫.jpg", 12),
        ("padded.jpg", 7),
        ("last.jpg", 999999999),
    ]


def test_crlf_byte_order_marks_and_blank_lines_are_accepted(listed):
    found = listed(b"\xef\xbb\xbf\r\na.jpg 1\r\n\r\n \t\r\nb.jpg 2\r\nc.jpg 0\r\n\r\n")
    assert pairs(found) == [("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 0)]
    assert [found.line(i) for i in range(3)] == [2, 5, 6]


def test_a_delimiter_replaces_spaces(listed):
    assert pairs(listed("my cat,1.jpg,4\n", delimiter=",")) == [("my cat,1.jpg", 4)]
    with pytest.raises(DataError, match="line 1"):
        listed("a.jpg 4\n", delimiter="\t")
    with pytest.raises(ConfigError, match="delimiter"):
        listed("a.jpg 4\n", delimiter=", ")


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_size_of_chunks_does_not_matter(listed, monkeypatch, chunk):
    random = np.random.default_rng(chunk)
    expected = [("d" * random.integers(1, 40) + f" {i}.jpg", int(random.integers(0, 2000))) for i in range(300)]
    text = "".join(f"{path} {label}\n" + "\n" * (label % 3 == 0) for path, label in expected)
    monkeypatch.setattr(index, "CHUNK_BYTES", chunk)
    found = listed(text, class_num=2000)
    assert pairs(found) == expected
    lines = text.split("\n")
    assert all(lines[found.line(i) - 1].startswith(path) for i, (path, _) in enumerate(expected))
    with pytest.raises(DataError, match=r"line 2: .*'wrong'"):
        listed("a.jpg 1\nwrong\n" + text)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("no_label.jpg", "expected a path, a space and a label"),
        ("17", "expected a path, a space and a label"),
        ("cat.jpg one", "expected an integer label"),
        ("cat.jpg 1.0", "expected an integer label"),
        ("cat.jpg 1,0,1", "expected an integer label"),
        ("cat.jpg +1", "expected an integer label"),
        ("cat.jpg \u0661", "expected an integer label"),
        ("cat.jpg -1", r"label -1 is outside \[0, class_num = 10\)"),
        ("cat.jpg 10", r"label 10 is outside \[0, class_num = 10\)"),
        ("cat.jpg 12345678901234567890", "is outside"),
    ],
)
def test_an_invalid_line_is_reported_with_its_number_and_a_fix(listed, line, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        listed(f"good.jpg 9\n\n{line}\nworse\n", class_num=10)
    message = str(caught.value)
    assert "train_list.txt, line 3" in message
    assert line in message
    assert "\n" not in message


def test_a_too_long_path_is_rejected_in_a_short_message(listed):
    assert len(listed(f"{'x' * 4096} 1\n")) == 1
    with pytest.raises(DataError, match="line 2: expected a path of at most 4096 bytes") as caught:
        listed(f"good.jpg 9\n{'x' * 4097} 1\n", class_num=10)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", [b"", b"\n \n\r\n"])
def test_a_list_without_samples_is_an_error(listed, text):
    with pytest.raises(DataError, match="lists no images"):
        listed(text)


@pytest.mark.parametrize("line", [b"caf\xe9.jpg 1", "cat.jpg 1".encode("utf-16"), b"a\0b.jpg 1"])
def test_text_that_is_not_utf8_is_rejected(listed, line):
    with pytest.raises(DataError, match=r"line 2.*UTF-8"):
        listed(b"a.jpg 1\n" + line + b"\n")


def test_a_missing_list_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cls_label_path"):
        read_list(tmp_path / "none.txt")
