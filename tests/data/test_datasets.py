"""Datasets return images and labels, and reject invalid folders, lists and files before training."""

import gzip
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from ppzoo.data import FashionMNIST, ImageFolder, ImageNetDataset
from ppzoo.data.datasets.fashion_mnist import SHIPPED_FASHION_MNIST
from ppzoo.errors import ConfigError, DataError


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((5, 7, 3), value, np.uint8)).save(path)


def test_a_list_dataset_returns_files_and_labels(tmp_path):
    save(tmp_path / "images" / "a b.png", 10)
    save(tmp_path / "images" / "c.png", 20)
    (tmp_path / "list.txt").write_text("a b.png 4\nc.png 1\n")
    data = ImageNetDataset(image_root=str(tmp_path / "images"), cls_label_path=str(tmp_path / "list.txt"), class_num=5)
    assert len(data) == 2
    assert data[0] == ((tmp_path / "images" / "a b.png").read_bytes(), 4)
    assert data.describe(1) == str(tmp_path / "images" / "c.png")
    assert data.labels.tolist() == [4, 1]


def test_relabeled_classes_are_numbered_from_zero(tmp_path):
    (tmp_path / "list.txt").write_text("a 70\nb 5\nc 70\nd 300\n")
    options = {"image_root": str(tmp_path), "cls_label_path": str(tmp_path / "list.txt"), "relabel": True}
    assert ImageNetDataset(**options, class_num=3).labels.tolist() == [1, 0, 1, 2]
    with pytest.raises(DataError, match="3 classes, but class_num is 2"):
        ImageNetDataset(**options, class_num=2)


def test_a_missing_image_is_reported_with_its_line(tmp_path):
    (tmp_path / "list.txt").write_text("\ngone.jpg 0\n")
    data = ImageNetDataset(image_root=str(tmp_path), cls_label_path=str(tmp_path / "list.txt"))
    with pytest.raises(DataError, match=r"gone\.jpg.*list\.txt, line 2"):
        data[0]


def test_a_missing_folder_is_an_error_before_anything_is_read(tmp_path):
    for build in (
        lambda root: ImageNetDataset(image_root=root, cls_label_path="none.txt"),
        lambda root: ImageFolder(image_root=root),
        lambda root: FashionMNIST(image_root=root),
    ):
        with pytest.raises(DataError, match="image_root"):
            build(str(tmp_path / "none"))


def test_class_folders_are_sorted_and_read_recursively(tmp_path):
    for name in ("zebra/1.png", "ant/b.JPG", "ant/deep/er/a.jpeg", "cat/x.WebP"):
        save(tmp_path / name)
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "ant" / "._b.jpg").write_bytes(b"no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.md").write_text("no class")
    data = ImageFolder(image_root=str(tmp_path), class_num=3)
    assert data.classes == ["ant", "cat", "zebra"]
    found = [data.describe(i).removeprefix(f"{tmp_path}/") for i in range(len(data))]
    assert found == ["ant/b.JPG", "ant/deep/er/a.jpeg", "cat/x.WebP", "zebra/1.png"]
    assert data.labels.tolist() == [0, 0, 1, 2]
    assert data[3] == ((tmp_path / "zebra" / "1.png").read_bytes(), 2)
    assert len(ImageFolder(image_root=str(tmp_path), class_num=10)) == 4


def test_folders_without_a_dataset_are_rejected(tmp_path):
    with pytest.raises(DataError, match="no class folders"):
        ImageFolder(image_root=str(tmp_path))
    save(tmp_path / "cat" / "1.png")
    save(tmp_path / "dog" / "1.png")
    with pytest.raises(DataError, match=r"2 classes, but class_num is 1: set Arch\.class_num to 2"):
        ImageFolder(image_root=str(tmp_path), class_num=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty.*has no images"):
        ImageFolder(image_root=str(tmp_path))


@pytest.mark.parametrize("name", [b"two\nlines", b"carriage\rreturn", b" blank", b"blank ", b"\xff"])
def test_class_names_that_label_files_cannot_contain_are_rejected(tmp_path, name):
    save(tmp_path / "cat" / "0.png")
    save(tmp_path / os.fsdecode(name) / "0.png")
    with pytest.raises(DataError, match="which label files cannot contain: rename it"):
        ImageFolder(image_root=str(tmp_path))


def test_links_to_themselves_are_ignored(tmp_path):
    save(tmp_path / "cat" / "0.png")
    (tmp_path / "dog").symlink_to("dog")
    (tmp_path / "cat" / "inner").symlink_to(".")
    (tmp_path / "cat" / "1.png").symlink_to("1.png")
    data = ImageFolder(image_root=str(tmp_path))
    assert (data.classes, len(data)) == (["cat"], 2)
    with pytest.raises(DataError, match=r"1\.png.*Too many levels of symbolic links"):
        data[1]


def test_pipes_and_devices_are_rejected(tmp_path):
    (tmp_path / "cat").mkdir()
    os.mkfifo(tmp_path / "cat" / "0.png")
    (tmp_path / "cat" / "1.png").symlink_to("/dev/zero")
    data = ImageFolder(image_root=str(tmp_path))
    for index in (0, 1):
        with pytest.raises(DataError, match=rf"{index}\.png.*it is a pipe or a device"):
            data[index]


def test_an_unreadable_folder_is_reported(tmp_path, monkeypatch):
    save(tmp_path / "cat" / "inner" / "0.png")
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match=r"cannot read the folder '.*inner' \(Permission denied\)"):
        ImageFolder(image_root=str(tmp_path))


@pytest.mark.parametrize(("mode", "count"), [("train", 6000), ("test", 1000)])
def test_fashion_mnist_ships_with_the_package(mode, count):
    data = FashionMNIST(mode=mode, class_num=10)
    image, label = data[3]
    assert (len(data), image.shape, image.dtype) == (count, (28, 28, 3), np.uint8)
    assert (image[:, :, 0] == image[:, :, 2]).all()
    assert label == data.labels[3]
    assert np.bincount(data.labels).tolist() == [count // 10] * 10
    assert (data.classes[0], data.classes[9]) == ("T-shirt/top", "Ankle boot")
    assert FashionMNIST(mode=mode, channels=1)[3][0].shape == (28, 28, 1)
    assert data.describe(3) == f"sample 3 of FashionMNIST ({mode})"


def test_the_license_of_the_shipped_images_is_included():
    assert "MIT" in (SHIPPED_FASHION_MNIST / "LICENSE").read_text()


def test_fashion_mnist_is_read_from_a_folder_plain_or_compressed(tmp_path):
    for file in SHIPPED_FASHION_MNIST.glob("t10k*.gz"):
        (tmp_path / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    plain, packed = FashionMNIST(image_root=str(tmp_path), mode="test"), FashionMNIST(mode="test")
    assert (plain.images == packed.images).all()
    assert (plain.labels == packed.labels).all()
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        FashionMNIST(image_root=str(tmp_path), mode="train")


@pytest.mark.parametrize("options", [{"mode": "val"}, {"channels": 2}])
def test_fashion_mnist_has_two_parts_and_one_or_three_channels(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        FashionMNIST(**options)


def test_too_few_classes_for_fashion_mnist_are_rejected():
    with pytest.raises(DataError, match="10 classes, but class_num is 7"):
        FashionMNIST(class_num=7)


def idx(*shape, count=None, magic=None):
    size = int(np.prod(shape)) if count is None else count
    return (magic or bytes([0, 0, 8, len(shape)])) + np.array(shape, ">u4").tobytes() + bytes(size)


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (idx(3, 4, 4), None),
        (b"", "got nothing"),
        (b"\0\0", "expected an IDX file"),
        (idx(3, 4, 4, magic=b"\0\0\x0d\x03"), "got 00000d03"),
        (idx(3, 4, 4, magic=b"<htm"), "expected an IDX file"),
        (idx(3, 4, 4, count=47), "expected 48 bytes after the header, got 47"),
        (idx(3, 4, 4, count=49), "expected 48 bytes after the header, got more"),
        (idx(0, 4, 4), r"shape \(0, 4, 4\)"),
        (idx(2**32 - 1, 2**32 - 1, 2**32 - 1, count=0), "does not fit the file's size"),
        (idx(2**31, 1, 1, count=5), "does not fit the file's size"),
        (idx(5_000, 1, 1, count=5), "got 5"),
        (idx(2, 4, 4), "2 test images, but 3 labels"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_must_match_its_header(tmp_path, images, complaint, packed):
    pack, suffix = (gzip.compress, ".gz") if packed else (bytes, "")
    (tmp_path / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(images))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(3))
    if complaint is None:
        assert len(FashionMNIST(image_root=str(tmp_path), mode="test")) == 3
        return
    with pytest.raises(DataError, match=complaint) as caught:
        FashionMNIST(image_root=str(tmp_path), mode="test")
    assert "\n" not in str(caught.value)


def test_a_truncated_or_damaged_archive_is_an_error(tmp_path):
    shutil.copytree(SHIPPED_FASHION_MNIST, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    complete = file.read_bytes()
    middle = len(complete) // 2
    for broken in (
        complete[:middle],
        complete[:middle] + b"\xff" * 99 + complete[middle + 99 :],
        b"<html>no such file</html>",
    ):
        file.write_bytes(broken)
        with pytest.raises(DataError, match="t10k-images-idx3-ubyte"):
            FashionMNIST(image_root=str(tmp_path), mode="test")


def test_labels_above_nine_are_rejected_by_fashion_mnist(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(1, 2, 2))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(1, count=0) + b"\x0a")
    with pytest.raises(DataError, match=r"label 10 is outside \[0, 10\)"):
        FashionMNIST(image_root=str(tmp_path), mode="test")
