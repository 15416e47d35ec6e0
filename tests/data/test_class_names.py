"""Matching of classes by name, and the checks of class folders."""

import io
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from ppzoo.data import (
    IMAGE_SUFFIXES,
    FashionMNIST,
    ImageFolder,
    ImageNetDataset,
    TarShards,
    match_classes,
    read_labels,
    read_list,
    split_folder,
)
from ppzoo.errors import DataError


def fill(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / name / "1.png")
    return ImageFolder(image_root=str(root))


def test_labels_are_matched_by_name(tmp_path):
    clothes = FashionMNIST(mode="test")
    assert match_classes(clothes, clothes.classes) is clothes
    backwards = match_classes(clothes, ["Hat", *reversed(clothes.classes)])
    assert backwards.labels.tolist() == (10 - clothes.labels).tolist()
    assert backwards[3][1] == 10 - clothes[3][1]
    np.testing.assert_array_equal(backwards[3][0], clothes[3][0])
    assert (len(backwards), backwards.describe(3)) == (len(clothes), clothes.describe(3))
    with pytest.raises(
        DataError, match=r"unknown classes 'T-shirt/top', .*classes of the network are cat, dog: rename"
    ):
        match_classes(clothes, ["cat", "dog"])


def test_a_name_of_two_classes_is_rejected(tmp_path):
    data = fill(tmp_path, "crane", "hen")
    with pytest.raises(DataError, match="two classes named 'crane'"):
        match_classes(data, ["crane", "hen", "crane"])
    assert match_classes(data, ["cock", "hen", "crane", "cock"]).labels.tolist() == [2, 1]


def test_the_nearest_of_many_names_is_suggested(tmp_path):
    data = fill(tmp_path, "Class 17", "class 3")
    names = [f"class {number}" for number in range(40)]
    with pytest.raises(DataError, match=r"'Class 17' \(did you mean 'class 17'\?\); .* class 9 and 30 more: "):
        match_classes(data, names)


@pytest.mark.parametrize(
    "names", [("train", "val"), ("Train", "Test", "Valid"), ("train",), ("training", "evaluation")]
)
def test_folders_of_a_split_are_not_classes(tmp_path, names):
    with pytest.raises(DataError, match=rf"looks like a split: use one of them, such as .*{names[0]}'"):
        fill(tmp_path, *names)


def test_a_class_can_have_the_name_of_a_split(tmp_path):
    assert fill(tmp_path, "car", "train").classes == ["car", "train"]


def test_folders_with_equal_normalized_names_are_rejected(tmp_path):
    with pytest.raises(DataError, match="differ only in their Unicode normal form"):
        fill(tmp_path, "caf\u00e9", "cafe\u0301")


def test_labels_of_shards_can_be_renumbered(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        for number, label in enumerate((7, 5, 7)):
            for name, content in ((f"{number}.jpg", b"x"), (f"{number}.cls", str(label).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    data = TarShards(image_root=str(tmp_path), relabel=True, class_num=2)
    assert (data.classes, data.labels.tolist(), data[0][1]) == (["5", "7"], [1, 0, 1], 1)
    with pytest.raises(DataError, match="2 classes, but class_num is 1"):
        TarShards(image_root=str(tmp_path), relabel=True, class_num=1)


def test_relabel_is_suggested_for_labels_from_1_on(tmp_path):
    (tmp_path / "list.txt").write_text("a 1\nb 2\nc 3\n")
    with pytest.raises(DataError, match=r"label 3 is outside \[0, class_num = 3\).*set dataset\.relabel to true"):
        read_list(tmp_path / "list.txt", class_num=3)
    options = {"image_root": str(tmp_path), "cls_label_path": str(tmp_path / "list.txt"), "relabel": True}
    assert ImageNetDataset(**options).classes == ["1", "2", "3"]


def test_skipped_files_are_counted(tmp_path):
    fill(tmp_path, "cat", "dog")
    for name in ("a.heic", "b.HEIC", "c.txt", "d", ".hidden"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    (tmp_path / "cat" / "another.jpg").write_bytes(b"another")
    assert ImageFolder(image_root=str(tmp_path)).skipped == {".heic": 2, ".txt": 1, "": 1}
    assert "skipped 4 files without an image extension: .heic (2), .txt (1), without extension (1)" in (
        split_folder(tmp_path).text().splitlines()
    )
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "photo.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"cow' has no images .*, but files with the extensions \.heic \(1\): add some"):
        ImageFolder(image_root=str(tmp_path))


@pytest.mark.parametrize("suffix", [".jfif", ".avif", ".jp2", ".tga", ".jpe", ".pnm", ".qoi", ".j2k", ".dib"])
def test_every_extension_of_a_decodable_format_is_found(tmp_path, suffix):
    assert suffix in IMAGE_SUFFIXES
    fill(tmp_path, "cat", "dog")
    (tmp_path / "cat" / f"photo{suffix.upper()}").write_bytes(b"x")
    assert len(ImageFolder(image_root=str(tmp_path))) == 3


def test_a_label_file_next_to_a_list_names_its_classes(tmp_path, caplog):
    (tmp_path / "list.txt").write_text("a 0\nb 2\n")
    options = {"image_root": str(tmp_path), "cls_label_path": str(tmp_path / "list.txt")}
    assert ImageNetDataset(**options).classes is None
    (tmp_path / "label_list.txt").write_text("0 cat\n1 a dog\n2 cow\n3 hen\n")
    assert ImageNetDataset(**options, class_num=4).classes == ["cat", "a dog", "cow", "hen"]
    assert not caplog.records
    assert ImageNetDataset(**options, class_num=3).classes is None
    (tmp_path / "label_list.txt").write_text("0 cat\n1 dog\n")
    assert ImageNetDataset(**options).classes is None
    (tmp_path / "label_list.txt").write_text("cat\ndog\ncow\n")
    assert ImageNetDataset(**options).classes is None
    messages = [record.message for record in caplog.records]
    for count, message in zip((4, 2), messages[:2], strict=True):
        assert f"label_list.txt: its {count} classes are not those of" in message
    assert "line 1: expected an index, a space and a name, got 'cat'" in messages[2]


@pytest.mark.parametrize(
    ("line", "delimiter", "message"),
    [
        (
            "0\tcat",
            " ",
            "expected an index, a space and a name, got '0\\tcat': correct the line, or set KEY to \"\\t\"",
        ),
        ("0,a cat", " ", "expected an index, a space and a name, got '0,a cat': correct the line, or set KEY to \",\""),
        ("0 cat", ",", "expected an index, ',' and a name, got '0 cat': correct the line, or set KEY to \" \""),
        ("cat", " ", "expected an index, a space and a name, got 'cat': correct the line"),
        ("0", " ", "expected an index, a space and a name, got '0': correct the line"),
    ],
)
def test_a_class_name_after_another_delimiter_names_the_key(tmp_path, line, delimiter, message):
    (tmp_path / "names.txt").write_text(f"{line}\n")
    with pytest.raises(DataError) as error:
        read_labels(tmp_path / "names.txt", delimiter, delimiter_key="KEY")
    assert str(error.value) == f"{tmp_path / 'names.txt'}, line 1: {message}"


def test_copies_that_do_not_fit_into_the_validation_list_are_all_trained_on(tmp_path):
    fill(tmp_path, "cat", "dog")
    for name in ("2.png", "3.png"):
        shutil.copy(tmp_path / "cat" / "1.png", tmp_path / "cat" / name)
        Image.fromarray(np.full((4, 4, 3), int(name[0]), np.uint8)).save(tmp_path / "dog" / name)
    split = split_folder(tmp_path)
    assert (split.train, split.val) == ([3, 2], [0, 1])
