"""Unreadable images are found before training, and hidden files are skipped."""

import tarfile

import pytest
from helpers.pictures import COLORS, paint

from ppzoo.builders.inference import find_images
from ppzoo.cli import main
from ppzoo.data import (
    Compose,
    ImageFolder,
    ImageNetDataset,
    Samples,
    TarShards,
    find_unreadable,
    iter_images,
    readability,
)
from ppzoo.data.class_names import RelabeledFiles
from ppzoo.data.transforms import DecodeImage

HIDDEN = ("._0.png", ".hidden.png", ".ipynb_checkpoints/0.png", "a/.git/0.png", "a/._0.PNG")


@pytest.fixture
def folder(tmp_path):
    """Two classes of four images, and hidden files in each."""
    root = tmp_path / "photos"
    for name in ("blue", "red"):
        (root / name / "a").mkdir(parents=True)
        for number in range(3):
            paint(root / name / f"{number}.png", COLORS[name], seed=number)
        paint(root / name / "a" / "3.PNG", COLORS[name], seed=3)
        for path in HIDDEN:
            (root / name / path).parent.mkdir(exist_ok=True)
            (root / name / path).write_bytes(b"no image")
    (root / ".ipynb_checkpoints").mkdir()
    (root / ".ipynb_checkpoints" / "0.png").write_bytes(b"no image")
    return root


def visible(root):
    return sorted(
        str(root / name / file) for name in ("blue", "red") for file in ("0.png", "1.png", "2.png", "a/3.PNG")
    )


def test_hidden_files_and_folders_are_skipped(folder, capsys):
    assert sorted(iter_images(str(folder))) == visible(folder)
    assert [str(file) for file in find_images(str(folder))] == visible(folder)
    assert [str(file) for file in find_images(f"{folder}/**/*.png")] == [
        file for file in visible(folder) if file.endswith("png")
    ]
    hidden = str(folder / "red" / "._0.png")
    assert [str(file) for file in find_images(hidden)] == [hidden]  # since it is named explicitly
    data = ImageFolder(image_root=str(folder))
    assert data.classes == ["blue", "red"]
    assert sorted(map(data.describe, range(len(data)))) == visible(folder)
    assert main(["data", "split", str(folder)]) == 0
    assert sum((folder / name).read_text().count("\n") for name in ("train_list.txt", "val_list.txt")) == 8


def test_a_hidden_folder_given_by_name_is_searched(folder):
    (folder / "red" / ".ipynb_checkpoints" / "0.png").unlink()
    moved = folder.rename(folder.with_name(".photos"))
    assert len(list(iter_images(str(moved)))) == 8
    assert len(ImageFolder(image_root=str(moved))) == 8


def test_hidden_members_of_shards_and_hidden_shards_are_skipped(tmp_path):
    for name in ("0.png", "._0.png"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("0.cls", "._0.cls"):
        (tmp_path / name).write_text("1" if name == "0.cls" else "\0\5\x16\7")
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        for name in ("._0.png", "0.png", "._0.cls", "0.cls"):
            shard.add(tmp_path / name, f"./{name}")
    (tmp_path / "._0.tar").write_bytes(b"no tar")
    shards = TarShards(image_root=str(tmp_path))
    assert len(shards) == 1
    assert shards.describe(0).endswith("0.tar: ./0.png")


def listed(root, *names, relabeled=False):
    (root / "list.txt").write_text("".join(f"{name} 0\n" for name in names))
    data = ImageNetDataset(image_root=str(root), cls_label_path=str(root / "list.txt"))
    if relabeled:
        data = RelabeledFiles(data, data.labels, ["all"])
    return Samples(data, Compose([DecodeImage()]), 0)


@pytest.mark.parametrize("relabeled", [False, True])
@pytest.mark.parametrize("is_small", [True, False])
def test_unreadable_samples_are_found(folder, monkeypatch, is_small, relabeled):
    monkeypatch.setattr(readability, "MAX_DECODED", 1000 if is_small else 1)
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "red" / "0.png").read_bytes()[:300])
    (folder / "folder.png").mkdir()
    names = ["red/0.png", "none.png", "empty.png", "cut.png", "folder.png", "blue/0.png"] * 20
    samples = listed(folder, *names, relabeled=relabeled)
    found = {failure.sample: failure.reason for failure in find_unreadable(samples)}
    broken = {1, 2, 3, 4} if is_small else {1, 2, 4}
    assert found.keys() == {index for index in range(120) if index % 6 in broken}
    assert "none.png" in found[1] and "No such file" in found[1] and "list.txt, line 2" in found[1]
    shares = [find_unreadable(samples, part=part, parts=3) for part in range(3)]
    assert {failure.sample for share in shares for failure in share} == found.keys()
    assert sum(map(len, shares)) == len(found)
