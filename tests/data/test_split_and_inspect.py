"""Splitting a folder without leaks, and the report on all images of a dataset."""

import io

import numpy as np
import pytest
from PIL import Image

from ppzoo.cli import main
from ppzoo.data import (
    FashionMNIST,
    ImageFolder,
    ImageNetDataset,
    MultiLabelDataset,
    imbalance_warning,
    inspect_dataset,
    read_labels,
    read_list,
    shared_images,
    split_folder,
)
from ppzoo.errors import ConfigError, DataError


def save(path, seed, size=(40, 50), kind="PNG", mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, kind, **options)


@pytest.fixture
def folder(tmp_path):
    """40 cats, 20 dogs, 5 birds and a fish; four dogs are equal to each other, and one cat to one bird."""
    root = tmp_path / "pets"
    for name, count in (("cat", 40), ("dog", 20), ("bird", 5), ("fish", 1)):
        for index in range(count):
            save(root / name / f"{index:02} x.png", seed=[*name.encode(), index], size=(6, 6))
    complete = (root / "dog" / "00 x.png").read_bytes()
    for index in range(1, 4):
        (root / "dog" / f"{index:02} x.png").write_bytes(complete)
    (root / "cat" / "07 x.png").write_bytes((root / "bird" / "02 x.png").read_bytes())
    return root


def lists(folder):
    """Paths and labels of both lists."""
    found = []
    for name in ("train_list.txt", "val_list.txt"):
        index = read_list(folder / name)
        found.append({index.path(place): int(index.labels[place]) for place in range(len(index))})
    return found


def test_the_split_is_stratified_and_keeps_copies_together(folder):
    split = split_folder(folder, val_fraction=0.25, seed=3)
    train, val = lists(folder)
    assert not train.keys() & val.keys()
    assert len(train) + len(val) == 66
    assert split.classes == ["bird", "cat", "dog", "fish"]
    assert read_labels(folder / "label_list.txt") == dict(enumerate(split.classes))
    assert (split.val, split.train) == ([1, 10, 5, 0], [4, 30, 15, 1])
    assert np.bincount(list(val.values()), minlength=4).tolist() == split.val
    for group in split.duplicates:
        assert len({path in val for path in group}) == 1
    assert sorted(map(len, split.duplicates)) == [2, 4]
    assert split.conflicts == [["bird/02 x.png", "cat/07 x.png"]]
    assert "50 training images, 16 validation images" in split.text()
    data = ImageNetDataset(image_root=str(folder), cls_label_path=str(folder / "val_list.txt"), class_num=4)
    assert all(data[index][0] for index in range(len(data)))


def test_the_split_depends_on_the_seed(folder):
    def val(seed):
        split_folder(folder, seed=seed, overwrite=True)
        return set(lists(folder)[1])

    assert val(1) == val(1)
    assert val(1) != val(2)


def test_lists_are_replaced_only_with_overwrite(folder):
    split_folder(folder)
    before = (folder / "val_list.txt").read_bytes()
    with pytest.raises(DataError, match=r"train_list\.txt exists"):
        split_folder(folder, seed=9)
    assert (folder / "val_list.txt").read_bytes() == before


def test_folders_that_cannot_be_split_are_rejected(tmp_path):
    with pytest.raises(DataError, match="no class folders"):
        split_folder(tmp_path)
    save(tmp_path / "train" / "cat" / "1.png", 0)
    save(tmp_path / "val" / "cat" / "1.png", 1)
    with pytest.raises(DataError, match=r"got train, val in .* which looks like a split"):
        split_folder(tmp_path)
    save(tmp_path / "a\nb" / "1.png", 2)
    with pytest.raises(DataError, match="rename") as caught:
        split_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.txt"))
    for options in ({"val_fraction": 0}, {"val_fraction": 1}, {"seed": -1}):
        with pytest.raises(ConfigError):
            split_folder(tmp_path, **options)


@pytest.fixture
def mixed(tmp_path):
    """A folder with one image for each kind of problem."""
    root = tmp_path / "mixed"
    save(root / "a" / "fine.png", 1)
    save(root / "a" / "same.png", 1)
    save(root / "b" / "other class.png", 1)
    save(root / "a" / "jpeg.png", 2, kind="JPEG")
    save(root / "a" / "gray.png", 3, mode="L")
    save(root / "a" / "palette.png", 4, mode="P")
    save(root / "a" / "alpha.png", 5, mode="RGBA")
    save(root / "a" / "cmyk.jpg", 6, kind="JPEG", mode="CMYK")
    save(root / "b" / "tiny.png", 7, size=(8, 40))
    save(root / "b" / "long.png", 8, size=(40, 400))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "b" / "turned.jpg", 9, kind="JPEG", exif=exif)
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(root / "b" / "moves.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(root / "b" / "deep.png")
    complete = (root / "a" / "fine.png").read_bytes()
    (root / "b" / "cut.png").write_bytes(complete[: len(complete) // 2])
    (root / "b" / "empty.png").write_bytes(b"")
    (root / "b" / "page.jpg").write_bytes(b"<html>")
    return root


def names(places):
    return sorted(place.rsplit("/", 1)[1] for place in places)


def test_all_broken_and_unusual_images_are_reported(mixed):
    found = inspect_dataset(ImageFolder(image_root=str(mixed)), class_num=2)
    assert not found.is_sound
    assert names(found.broken) == ["cut.png", "empty.png", "page.jpg"]
    assert [names(group) for group in found.duplicates] == [["fine.png", "other class.png", "same.png"]]
    assert found.conflicts == found.duplicates
    assert {kind: names(places) for kind, places in found.unusual.items()} == {
        "JPEG files with another extension": ["jpeg.png"],
        "gray": ["gray.png"],
        "palette": ["moves.gif", "palette.png"],
        "alpha channel": ["alpha.png"],
        "CMYK": ["cmyk.jpg"],
        "smaller than 32 pixels": ["tiny.png"],
        "aspect ratio above 5": ["long.png"],
        "rotated by EXIF": ["turned.jpg"],
        "several frames": ["moves.gif"],
        "16 bits": ["deep.png"],
        "all pixels have the same value": ["deep.png", "moves.gif"],
    }
    assert found.histogram.tolist() == [7, 9]
    assert found.sizes.max() == 400
    text = found.text()
    for part in (
        "16 images in 2 classes",
        "broken images: 3",
        "page.jpg",
        "width 40 to 400, median",
        "identical images",
    ):
        assert part in text


def test_labels_out_of_range_are_reported(tmp_path, mixed):
    (tmp_path / "list.txt").write_text("a/fine.png 0\na/gray.png 7\nb/long.png 2\n")
    data = ImageNetDataset(image_root=str(mixed), cls_label_path=str(tmp_path / "list.txt"))
    found = inspect_dataset(data, class_num=2)
    assert list(found.out_of_range.values()) == [7, 2]
    assert found.histogram.tolist() == [1, 0]
    assert "labels outside [0, 2): 2" in found.text()
    assert not found.is_sound


def test_images_in_both_training_and_evaluation_data_are_found(tmp_path, mixed):
    (tmp_path / "train.txt").write_text("a/fine.png 0\na/gray.png 0\n")
    (tmp_path / "val.txt").write_text("a/same.png 0\nb/long.png 1\n")
    sides = [
        inspect_dataset(ImageNetDataset(image_root=str(mixed), cls_label_path=str(tmp_path / f"{name}.txt")), name=name)
        for name in ("train", "val")
    ]
    assert shared_images(*sides) == [(str(mixed / "a" / "fine.png"), str(mixed / "a" / "same.png"))]
    assert all(side.is_sound for side in sides)


def test_decoded_and_multi_label_data_can_be_inspected(tmp_path, mixed):
    clothes = inspect_dataset(FashionMNIST(mode="test"), class_num=10)
    assert clothes.is_sound
    assert clothes.histogram.tolist() == [100] * 10
    assert clothes.sizes[0].tolist() == [28, 28]
    (tmp_path / "many.txt").write_text("a/fine.png\t1,0,1\na/gray.png\t1,-1,0\n")
    data = MultiLabelDataset(image_root=str(mixed), cls_label_path=str(tmp_path / "many.txt"))
    assert inspect_dataset(data).histogram.tolist() == [2, 0, 1]


def test_the_report_does_not_depend_on_the_number_of_threads(mixed):
    one, many = (inspect_dataset(ImageFolder(image_root=str(mixed)), workers=workers) for workers in (1, 7))
    assert one.text() == many.text()


def test_unbalanced_classes_get_a_warning_with_a_fix():
    assert imbalance_warning(np.array([100, 6, 0])) is None
    assert "ClassBalancedSampler" in imbalance_warning(np.array([100, 5, 0]))
    assert imbalance_warning(np.array([0, 0])) is None


def test_a_file_that_only_opencv_reads_does_not_stop_the_inspection(mixed):
    file = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue", "green")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    for cut in range(60, len(file.getvalue()), 37):
        (mixed / "b" / "moves.gif").write_bytes(file.getvalue()[:cut])
        assert inspect_dataset(ImageFolder(image_root=str(mixed))).count == 16


def test_a_split_that_fails_creates_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for label, name in enumerate(("cat", "dog")):
        save(tmp_path / "images" / name / "1.png", label)
    (tmp_path / "list.txt").write_text("images/cat/1.png 0\nimages/dog/1.png 1\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert main(["data", "split", "list.txt", "--output", "lists"]) == 2
    assert "expected a class with two images that are not copies of each other" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
