"""Labels of WebDataset's shards: .cls, .txt and .json members, class names, and samples with several images."""

import io
import tarfile

import pytest

from ppzoo.data import TarShards
from ppzoo.errors import DataError


def shards(folder, members, **options):
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            archive.addfile(member, io.BytesIO(content.encode()))
    return TarShards(image_root=str(folder), **options)


def test_class_names_are_numbered_in_sorted_order(tmp_path):
    members = {"1.jpg": "a", "1.txt": "狗\n", "2.jpg": "b", "2.txt": "cat", "3.jpg": "c", "3.txt": "狗", "3.cls": "9"}
    data = shards(tmp_path, members, label_member="txt", class_num=2)
    assert data.classes == ["cat", "狗"]
    assert [data[index] for index in range(3)] == [(b"a", 1), (b"b", 0), (b"c", 1)]


def test_labels_under_a_key_of_json(tmp_path):
    members = {"1.jpg": "a", "1.json": '{"kind": 4, "label": "x"}', "2.png": "b", "2.json": '{"kind": 0}'}
    data = shards(tmp_path, members, label_member="json", label_key="kind", class_num=5)
    assert (data.classes, data.labels.tolist()) == (None, [4, 0])


def test_samples_are_grouped_up_to_the_first_dot(tmp_path):
    members = {"d.x/1.seg.png": "s", "d.x/1.jpg": "a", "d.x/1.cls": "1", "2.photo.jpg": "b", "2.cls": "0"}
    data = shards(tmp_path, members)
    assert [data[index] for index in range(2)] == [(b"a", 1), (b"b", 0)]


@pytest.mark.parametrize(
    ("members", "options", "complaint"),
    [
        ({"1.l.jpg": "a", "1.r.jpg": "b", "1.cls": "0"}, {}, "expected one image per sample, got '1.l.jpg' and '1.r"),
        ({"1.jpg": "a", "1.cls": "0", "2.jpg": "b", "2.cls": "x"}, {}, "expected a class index as label of '2.jpg'"),
        ({"1.jpg": "a", "1.cls": "-1"}, {}, "write its digits or the class name"),
        ({"1.jpg": "a", "1.cls": "x" * 300}, {}, "got 300 bytes"),
        ({"1.jpg": "a", "1.json": '{"b": 1}'}, {"label_member": "json"}, "under the key 'label', got 'b': set dataset"),
        ({"1.jpg": "a", "1.json": '{"label": [1]}'}, {"label_member": "json"}, r"got \[1\]: write an integer or text"),
        (
            {"1.jpg": "a", "1.json": "{}"},
            {},
            "of the two: set dataset.label_member to json if 1.json contains",
        ),
        ({"1.jpg": "a", "1.txt": "x", "2.jpg": "b", "2.cls": "0"}, {}, "set dataset.label_member to txt if 1.txt cont"),
        ({"1.jpg": "a", "1.json": "{"}, {"label_member": "json"}, "as a JSON object in UTF-8"),
        ({"1.jpg": "a", "1.cls": "x", "2.jpg": "a", "2.cls": "y"}, {"class_num": 1}, "2 classes, but class_num is 1"),
    ],
)
def test_mistakes_are_one_line(tmp_path, members, options, complaint):
    with pytest.raises(DataError, match=complaint) as raised:
        shards(tmp_path, members, **options)
    assert "\n" not in str(raised.value)
