"""Samples are bit-identical with `dataset.cache`; damaged, outdated and foreign cached images are not used."""

import errno
import logging
import os
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.forks import succeeds_when_forked
from PIL import Image

from ppzoo.builders import build_transforms
from ppzoo.data import CachedImages, DistributedBatchSampler, FashionMNIST, ImageFolder, Samples, TarShards
from ppzoo.data import match_classes as rename_classes
from ppzoo.data.cache import disk, memory
from ppzoo.data.cache.cached_images import CLOCK_TICK_NS
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, DataError, OutputError

KINDS = ["memory", "disk"]
COUNT = 6
NORMALIZE = {"NormalizeImage": {"order": ""}}
AUGMENTED = [
    {"DecodeImage": {}},
    {"RandCropImage": {"size": 20}},
    {"RandFlipImage": {}},
    {"AutoAugment": {}},
    NORMALIZE,
]
RESIZED = [{"DecodeImage": {}}, {"ResizeImage": {"resize_short": 30}}, {"CropImage": {"size": 24}}]
LISTS = {
    "random crop": AUGMENTED,
    "evaluation": [*RESIZED, NORMALIZE, {"ToCHWImage": {}}],
    "resized, then random": [*RESIZED, {"RandFlipImage": {}}, {"RandomErasing": {}}, NORMALIZE],
    "reduced": [{"DecodeImage": {"reduced": 1.0}}, {"ResizeImage": {"size": 24}}, {"RandFlipImage": {}}, NORMALIZE],
    "gray": [{"DecodeImage": {"channels": 1}}, {"RandCropImage": {"size": 20}}],
    "padded": [{"DecodeImage": {}}, {"Pad": {"padding": 3}}, {"RandomCropImage": {"size": 20}}, NORMALIZE],
    "only decoded": [{"DecodeImage": {}}, {"ResizeImage": {"size": 16}}],
}


def age(path: Path) -> None:
    """Wait until the last change of a file is long enough ago for it to be cached."""
    while os.stat(path).st_ctime_ns + CLOCK_TICK_NS > time.time_ns():
        time.sleep(0.02)


def draw(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    Image.fromarray(pixels).resize(size).save(path)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    folder = tmp_path / "photos"
    for number in range(COUNT):
        (folder / f"class {number % 2}").mkdir(parents=True, exist_ok=True)
        path = folder / f"class {number % 2}" / f"{number}.jpg"
        draw(path, number, (64 + 8 * number, 48))
    age(path)
    return folder


def samples(folder, kind=None, ops=AUGMENTED, seed=3, dataset=None):
    images = dataset or ImageFolder(image_root=str(folder))
    transforms = build_transforms(ops)
    return Samples(images, transforms, seed, CachedImages(kind, images, transforms) if kind else None)


def read_epochs(source, epochs=2):
    return [source[epoch, index] for epoch in range(epochs) for index in range(len(source))]


def require_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.image.dtype, one.label, one.index) == (other.image.dtype, other.label, other.index)


def cached_files(tmp_path):
    return sorted(path for path in (tmp_path / "home" / "images").rglob("*") if path.is_file())


def forbid_decoding(source, monkeypatch):
    """Raise an error when an image is read from its file."""

    def fail(index):
        raise AssertionError(f"image {index} was read from its file")

    monkeypatch.setattr(source.cache, "_decode", fail)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LISTS)
def test_samples_are_bit_identical_with_a_cache(photos, kind, name, monkeypatch):
    cached = samples(photos, kind, LISTS[name])
    require_equal(read_epochs(cached, 1), read_epochs(samples(photos, ops=LISTS[name]), 1))
    forbid_decoding(cached, monkeypatch)
    require_equal(read_epochs(cached, 3), read_epochs(samples(photos, ops=LISTS[name]), 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_bit_identical_with_workers_and_when_an_epoch_is_resumed(photos, kind, workers):
    def batches(source, count, start):
        sampler = DistributedBatchSampler(batch_size=2, length=COUNT, shuffle=True, seed=5)
        loader = Loader(source, sampler, num_workers=count)
        found = list(loader.epoch(0)) if not start else []
        found += loader.epoch(1, start)
        return [field.numpy() for batch in found for field in batch]

    for start in (0, 2):
        expected = batches(samples(photos), 0, start)
        for found, other in zip(batches(samples(photos, kind), workers, start), expected, strict=True):
            np.testing.assert_array_equal(found, other)


def test_workers_share_the_memory(photos, monkeypatch):
    source = samples(photos, "memory")
    assert succeeds_when_forked(lambda: len(read_epochs(source, 1)) == COUNT)
    forbid_decoding(source, monkeypatch)
    require_equal(read_epochs(source), read_epochs(samples(photos)))


def test_a_later_run_reads_the_disk(photos, monkeypatch):
    read_epochs(samples(photos, "disk"), 1)
    source = samples(photos, "disk")
    forbid_decoding(source, monkeypatch)
    require_equal(read_epochs(source), read_epochs(samples(photos)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_decoded_again(photos, kind):
    source = samples(photos, kind)
    before = read_epochs(source, 1)
    path = photos / "class 0" / "0.jpg"
    draw(path, 99, (64, 48))
    age(path)
    after = read_epochs(source, 1)
    assert not np.array_equal(after[0].image, before[0].image)
    require_equal(after, read_epochs(samples(photos), 1))
    require_equal(read_epochs(source, 1), after)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_the_old_size_and_time_is_decoded_again(photos, kind):
    path = photos / "class 0" / "0.jpg"
    status, content = path.stat(), path.read_bytes()
    source = samples(photos, kind, LISTS["evaluation"])
    before = read_epochs(source, 1)
    assert content[-400:-300] != content[-300:-200]
    path.write_bytes(content[:-400] + content[-300:-200] + content[-300:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    after = read_epochs(source, 1)
    require_equal(after, read_epochs(samples(photos, ops=LISTS["evaluation"]), 1))
    assert not np.array_equal(after[0].image, before[0].image)


def test_a_file_that_changed_just_now_is_not_cached(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("ppzoo.data.cache.cached_images.CLOCK_TICK_NS", 10**18)
    read_epochs(samples(photos, "disk"), 1)
    assert not cached_files(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_or_removed_file_is_the_same_error(photos, kind):
    source = samples(photos, kind)
    source[0, 1], source[0, 2]
    (photos / "class 0" / "2.jpg").write_bytes(b"no image")
    (photos / "class 0" / "4.jpg").unlink()
    for index in (1, 1, 2):
        with pytest.raises(DataError) as expected:
            samples(photos, dataset=source.dataset)[0, index]
        with pytest.raises(DataError) as found:
            source[0, index]
        assert str(found.value) == str(expected.value)


def test_other_transforms_or_options_use_other_files(photos, tmp_path):
    folders = set()
    for ops in ({"size": 24}, {"size": 25}, {"size": 24, "interpolation": "nearest"}, {"resize_short": 24}):
        read_epochs(
            samples(photos, "disk", [{"DecodeImage": {}}, {"ResizeImage": ops}, {"CropImage": {"size": 20}}]), 1
        )
        folders |= {path.parent.parent.name for path in cached_files(tmp_path)}
    assert len(folders) == 4
    random_crops = [
        samples(photos, "disk", [{"DecodeImage": {}}, {"RandCropImage": {"size": size}}]) for size in (8, 9)
    ]
    assert random_crops[0].cache.store.folder == random_crops[1].cache.store.folder  # both cache decoded images
    assert samples(photos, "disk", [{"DecodeImage": {"to_rgb": False}}]).cache.store.folder.name not in folders


DAMAGES = {
    "empty": lambda content: b"",
    "no header": lambda content: content[:10],
    "truncated": lambda content: content[: len(content) // 2],
    "zeros": lambda content: content[:64] + bytes(len(content) - 64),
    "one bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "longer": lambda content: content + b"x",
    "other magic": lambda content: b"x" + content[1:],
    "huge": lambda content: content[:40] + b"\xff" * 12 + content[52:],
    "no pixels": lambda content: content[:40] + bytes(12) + content[52:64],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_written_again(photos, tmp_path, damage, monkeypatch):
    expected = read_epochs(samples(photos, "disk"), 1)
    before = [path.read_bytes() for path in cached_files(tmp_path)]
    for path in cached_files(tmp_path):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    source = samples(photos, "disk")
    require_equal(read_epochs(source, 1), expected)
    assert [path.read_bytes() for path in cached_files(tmp_path)] == before
    forbid_decoding(source, monkeypatch)
    require_equal(read_epochs(source, 1), expected)


def test_files_of_two_images_cannot_be_exchanged(photos, tmp_path):
    source = samples(photos, "disk", LISTS["evaluation"])
    expected = read_epochs(source, 1)
    first, second = cached_files(tmp_path)[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    require_equal(read_epochs(samples(photos, "disk", LISTS["evaluation"]), 1), expected)


def test_two_processes_write_the_same_images(photos, tmp_path):
    def read():
        require_equal(read_epochs(samples(photos, "disk"), 20), read_epochs(samples(photos), 20))
        return True

    children = [os.fork() for _ in range(2)]
    if 0 in children:
        done = False
        try:
            done = read()
        finally:
            os._exit(0 if done else 1)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert len(cached_files(tmp_path)) == COUNT


def test_temporary_files_of_killed_processes_are_removed(photos, tmp_path):
    folder = samples(photos, "disk").cache.store.folder / "temporary"
    old, new = folder / "old", folder / "new"
    for file in (old, new):
        file.write_bytes(b"x")
    os.utime(old, (0, 0))
    samples(photos, "disk")
    assert [path.name for path in folder.iterdir()] == ["new"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_caching_with_one_message(photos, tmp_path, monkeypatch, caplog, error):
    source, written, write = samples(photos, "disk"), [], os.write

    def failing_write(file, data):
        written.append(file)
        if len(written) > 5:
            raise OSError(error, os.strerror(error))
        return write(file, data[:100])

    with monkeypatch.context() as patched, caplog.at_level(logging.INFO, "ppzoo"):
        patched.setattr(os, "write", failing_write)
        require_equal(read_epochs(source), read_epochs(samples(photos)))
        for _ in range(3):
            source.cache.report()
    assert caplog.messages == [
        f"dataset.cache: {source.cache.store.folder}: {os.strerror(error)}; the other 6 of 6 images are decoded in each"
        " epoch"
    ]
    assert not cached_files(tmp_path)


def test_space_is_left_on_the_disk(photos, tmp_path, monkeypatch, caplog):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk, "MIN_FREE_BYTES", usage.free * 2)
    source = samples(photos, "disk")
    require_equal(read_epochs(source), read_epochs(samples(photos)))
    source.cache.report()
    assert "less than 1 GiB would stay free on the disk; the other 6 of 6 images" in caplog.text
    assert not cached_files(tmp_path)


@pytest.mark.parametrize("limits", [{"capacity": 30_000}, {"kept_bytes": 1 << 60}])
def test_full_memory_ends_caching_with_one_message(photos, monkeypatch, caplog, limits):
    source = samples(photos, "memory")
    source.cache.store = memory.MemoryCache(COUNT, **limits)
    require_equal(read_epochs(source), read_epochs(samples(photos)))
    stored = 2 if "capacity" in limits else 0
    for _ in range(2):
        source.cache.report()
    assert caplog.messages == [
        f"dataset.cache: memory: the memory for it is full; the other {COUNT - stored} of {COUNT} images are decoded in"
        " each epoch"
    ]


def test_a_worker_reports_a_full_disk_through_its_parent(photos, monkeypatch, caplog):
    monkeypatch.setattr(disk, "MIN_FREE_BYTES", 1 << 60)
    loader = Loader(samples(photos, "disk"), DistributedBatchSampler(batch_size=2, length=COUNT), num_workers=2)
    for epoch in range(2):
        assert len(list(loader.epoch(epoch))) == 3
    assert [message for message in caplog.messages if "dataset.cache" in message] == [
        f"dataset.cache: {loader.samples.cache.store.folder}: less than 1 GiB would stay free on the disk; the other 6"
        " of 6 images are decoded in each epoch"
    ]


def test_the_number_of_images_is_reported_when_it_changes(photos, caplog):
    caplog.set_level(logging.INFO, "ppzoo")
    loader = Loader(samples(photos, "memory"), DistributedBatchSampler(batch_size=2, length=COUNT))
    for epoch in range(3):
        list(loader.epoch(epoch))
    assert caplog.messages == ["dataset.cache: memory: 6 of 6 images"]


@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_a_folder_that_others_can_write_is_refused(photos, tmp_path, mode):
    folder = tmp_path / "home" / "images"
    folder.mkdir(parents=True)
    folder.chmod(0o755 | mode)
    with pytest.raises(ConfigError, match=r"images: expected a file or folder that only you can write"):
        samples(photos, "disk")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_folder_of_another_user_is_refused(photos, tmp_path):
    folder = tmp_path / "home" / "images"
    folder.mkdir(parents=True)
    os.chown(folder, 54321, -1)
    with pytest.raises(ConfigError, match=r"got one owned by user 54321; set PPZOO_HOME"):
        samples(photos, "disk")


def test_a_file_instead_of_the_folder_is_an_error(photos, tmp_path):
    (tmp_path / "home").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        samples(photos, "disk")


@pytest.mark.parametrize("kind", KINDS)
def test_images_in_tar_files_and_renamed_classes_are_cached(photos, tmp_path, kind, monkeypatch):
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as shard:
        for path in sorted(photos.rglob("*.jpg")):
            shard.add(path, path.name)
            label = tmp_path / f"{path.stem}.cls"
            label.write_text(path.parent.name)
            shard.add(label, label.name)
    age(tmp_path / "shards" / "0.tar")
    shards = TarShards(image_root=str(tmp_path / "shards"))
    for dataset in (shards, rename_classes(shards, ["class 1", "class 0"])):
        source = samples(None, kind, dataset=dataset)
        expected = read_epochs(samples(None, dataset=dataset))
        require_equal(read_epochs(source), expected)
        forbid_decoding(source, monkeypatch)
        require_equal(read_epochs(source), expected)


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([NORMALIZE], "expected DecodeImage as the first transform"),
        ([{"DecodeImage": {"reduced": 0.5}}, {"RandCropImage": {"size": 8}}], "expected DecodeImage without reduced"),
    ],
)
def test_transforms_that_cannot_be_cached_are_an_error(photos, ops, message):
    with pytest.raises(ConfigError, match=message):
        samples(photos, "memory", ops)


def test_images_in_memory_are_not_cached():
    with pytest.raises(ConfigError, match=r"expected a dataset of image files"):
        samples(None, "memory", dataset=FashionMNIST())


def test_spawned_workers_use_the_disk_only(photos):
    def batches(kind):
        sampler = DistributedBatchSampler(batch_size=2, length=COUNT)
        loader = Loader(samples(photos, kind), sampler, num_workers=1, start_method="spawn")
        return [batch.images.numpy() for batch in loader.epoch(0)]

    np.testing.assert_array_equal(batches("disk"), batches(None))
    with pytest.raises(ConfigError, match=r"dataset\.cache: expected disk, got memory"):
        batches("memory")
