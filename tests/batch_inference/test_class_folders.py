"""Images sorted into class folders: valid names, no overwriting, no second copy, nothing outside of the folder."""

import errno
import io
import os
from pathlib import Path

import pytest

from ppzoo.batch_inference import ClassFolders
from ppzoo.errors import ConfigError, DataError, OutputError

HOSTILE = [
    *("../evil", "..", ".", "", "/etc/passwd", "a/b", "a_b", "a:b", "a\\b", "con", "CON.txt", ".git", "name.", "name"),
    *("line\nend", "\x1b[31m", "x" * 400, "日本語" * 100, "a_b-0123456789ab", "\udcff", "Cat", "cat", "CAT"),
]


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "photos" / "day" / "a.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"pixels")
    os.utime(file, ns=(1_000_000_000, 2_000_000_000))
    return file


def files_below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir())


@pytest.mark.parametrize("by", ["copy", "link"])
def test_every_class_gets_a_separate_folder_inside(tmp_path, image, by):
    root = tmp_path / "sorted"
    folders = ClassFolders(root, by, HOSTILE)
    for name in HOSTILE:
        folders.add(str(image), "day/a.jpg", name)
    names = [path.name for path in root.iterdir()]
    assert len({name.casefold() for name in names}) == len(names) == len(HOSTILE)
    assert not any(name.startswith(".") or len(os.fsencode(name)) > 255 for name in names)
    assert (root / "name" / "day" / "a.jpg").read_bytes() == b"pixels"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "sorted"]
    assert files_below(tmp_path / "photos") == ["day/a.jpg"]


def test_names_do_not_depend_on_the_order(tmp_path):
    one, other = (ClassFolders(tmp_path, "copy", HOSTILE) for _ in range(2))
    assert [one.folder_name(name) for name in HOSTILE] == [other.folder_name(name) for name in HOSTILE[::-1]][::-1]


@pytest.mark.parametrize("by", ["copy", "link"])
def test_an_image_is_sorted_once(tmp_path, image, by):
    for _ in range(3):  # as after interruptions
        ClassFolders(tmp_path / "sorted", by).add(str(image), "day/a.jpg", "cat")
    assert files_below(tmp_path / "sorted") == ["cat/day/a.jpg"]
    copy = tmp_path / "sorted" / "cat" / "day" / "a.jpg"
    assert copy.is_symlink() == (by == "link")
    assert copy.stat().st_mtime_ns == 2_000_000_000


@pytest.mark.parametrize("by", ["copy", "link"])
def test_existing_files_are_never_overwritten(tmp_path, image, by):
    other = tmp_path / "sorted" / "cat" / "day" / "a.jpg"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another")
    for _ in range(2):
        ClassFolders(tmp_path / "sorted", by).add(str(image), "day/a.jpg", "cat")
    assert files_below(tmp_path / "sorted") == ["cat/day/a-2.jpg", "cat/day/a.jpg"]
    assert other.read_bytes() == b"another" and other.with_name("a-2.jpg").read_bytes() == b"pixels"


def test_an_interrupted_copy_is_written_again(tmp_path, image, monkeypatch):
    parts = iter([b"pix"])

    def interrupt(source, name):
        try:
            return next(parts)
        except StopIteration:
            raise KeyboardInterrupt from None

    with monkeypatch.context() as patch:
        patch.setattr("ppzoo.batch_inference.class_folders._read_part", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ClassFolders(tmp_path / "sorted", "copy").add(str(image), "a.jpg", "cat")
    assert not (tmp_path / "sorted" / "cat" / "a.jpg").exists()
    ClassFolders(tmp_path / "sorted", "copy").add(str(image), "a.jpg", "cat")
    assert files_below(tmp_path / "sorted") == ["cat/a.jpg"]


def test_links_below_the_folder_are_not_followed(tmp_path, image):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted" / "cat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link or a file, not a folder; remove it"):
        ClassFolders(tmp_path / "sorted", "copy").add(str(image), "a.jpg", "cat")
    assert not files_below(tmp_path / "elsewhere")


def test_an_image_that_has_disappeared_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg: cannot read the image: No such file"):
        ClassFolders(tmp_path / "sorted", "copy").add(str(tmp_path / "gone.jpg"), "gone.jpg", "cat")
    assert not (tmp_path / "sorted" / "cat" / "gone.jpg").exists()


def test_an_image_that_cannot_be_read_is_a_data_error(tmp_path, image, monkeypatch):
    class Broken(io.BytesIO):
        def read(self, size):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("ppzoo.batch_inference.class_folders.open_plain_file", lambda path: Broken())
    with pytest.raises(DataError, match=r"day/a\.jpg: cannot read the image: Input/output error"):
        ClassFolders(tmp_path / "sorted", "copy").add(str(image), "a.jpg", "cat")
    assert not (tmp_path / "sorted" / "cat" / "a.jpg").exists()


def test_only_one_process_sorts_into_a_folder(tmp_path, image):
    with ClassFolders(tmp_path / "sorted", "copy") as folders:
        with (
            pytest.raises(ConfigError, match=r"--sort-into: another process sorts into .*sorted; wait for it"),
            ClassFolders(tmp_path / "sorted", "copy"),
        ):
            pass
        folders.add(str(image), "a.jpg", "cat")
    with ClassFolders(tmp_path / "sorted", "copy") as folders:
        folders.add(str(image), "a.jpg", "cat")
    assert files_below(tmp_path / "sorted") == ["cat/a.jpg"]


def test_a_file_instead_of_the_folder_is_an_output_error(tmp_path):
    (tmp_path / "sorted").write_text("")
    with pytest.raises(OutputError, match=r"sort-into.*Not a directory"), ClassFolders(tmp_path / "sorted", "copy"):
        pass
