"""Spawned workers (macOS, Windows) return the batches of the calling process, and fail and end as forked ones do."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers.pictures import COLORS, paint

from ppzoo.builders import build_transforms
from ppzoo.data import (
    BATCH_TRANSFORMS,
    TRANSFORMS,
    ClassBalancedSampler,
    Compose,
    DistributedBatchSampler,
    ImageFolder,
    Samples,
)
from ppzoo.data import worker_pool as pools
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, DataError, TrainingError

TRANSFORM_OPS = [
    {"DecodeImage": {}},
    {"RandCropImage": {"size": 16}},
    {"RandFlipImage": {}},
    {"TimmAutoAugment": {}},
    {"NormalizeImage": {"order": ""}},
    {"RandomErasing": {"EPSILON": 0.5}},
    {"ToCHWImage": {}},
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for name, color in COLORS.items():
        (root / name).mkdir()
        for number in range(8):
            paint(root / name / f"{number}.jpg", color, seed=number)
    return str(root)


class FatalImages(ImageFolder):
    """Reading an image ends the process."""

    def __getitem__(self, index):
        os._exit(7)


class UnreadableImages(ImageFolder):
    def __getitem__(self, index):
        raise DataError(f"cannot read image {index}")


def build_loader(dataset, workers, start_method="spawn", **options):
    samples = Samples(dataset, build_transforms(TRANSFORM_OPS), seed=3)
    sampler = ClassBalancedSampler(batch_size=5, labels=dataset.labels, seed=1)
    mix = BATCH_TRANSFORMS["MixupOperator"](class_num=3, alpha=0.2)
    return Loader(samples, sampler, num_workers=workers, start_method=start_method, batch_transforms=[mix], **options)


def test_spawned_workers_return_the_same_batches(photos):
    dataset = ImageFolder(image_root=photos)
    spawned = build_loader(dataset, 2)
    for epoch in (0, 1):
        batches = zip(spawned.epoch(epoch), build_loader(dataset, 0).epoch(epoch), strict=True)
        for batch, expected in batches:
            for field, expected_field in zip(batch, expected, strict=True):
                np.testing.assert_array_equal(field.numpy(), expected_field.numpy())
    assert len(multiprocessing.active_children()) == 2
    del spawned, batches
    assert not multiprocessing.active_children()


def test_the_death_of_a_spawned_worker_is_detected(photos):
    with pytest.raises(TrainingError, match="exit code 7"):
        next(build_loader(FatalImages(image_root=photos), 2).epoch(0))
    assert not multiprocessing.active_children()


def test_errors_and_skipped_images_of_spawned_workers_are_reported(photos):
    dataset = UnreadableImages(image_root=photos)
    with pytest.raises(DataError, match=r"cannot read image \d+; set `on_error: skip`"):
        next(build_loader(dataset, 1).epoch(0))
    skipping = build_loader(dataset, 1, on_error="skip", max_bad_fraction=1.0)
    assert list(skipping.epoch(0)) == [None] * 5
    assert skipping.bad == {index: f"cannot read image {index}" for index in range(24)}


def test_what_cannot_be_pickled_is_a_configuration_error(photos):
    samples = Samples(ImageFolder(image_root=photos), Compose([lambda image, random: image]), seed=0)
    sampler = DistributedBatchSampler(batch_size=4, length=len(samples))
    with pytest.raises(ConfigError, match=r"loader\.num_workers: expected .* be pickled.*set num_workers to 0"):
        next(Loader(samples, sampler, num_workers=1, start_method="spawn").epoch(0))


OPTIONS = {
    "AutoAugment": {},
    "CropCorner": {"size": 8, "corner": "top_left"},
    "CropImageAtRatio": {"size": 8, "pad": 2},
    "NormalizeImage": {"output_fp16": True, "scale": "1/255"},
    "Pad": {"padding": 1},
    "Padv2": {"size": 64},
    "RandomRotation": {"degrees": 10},
    "ResizeImage": {"resize_short": 16},
    **{name: {"size": 8} for name in ("CropImage", "RandCropImage", "RandCropImageV2", "RandomCropImage")},
}


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_every_transform_can_be_pickled(name):
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    if name == "NormalizeImage":
        image = image.transpose(2, 0, 1)
    transform = TRANSFORMS[name](**OPTIONS.get(name, {}))
    copy = pickle.loads(pickle.dumps(transform))
    for seed in range(3):
        expected = transform(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(copy(image, np.random.default_rng(seed)), expected)


PROGRAM = """
import multiprocessing, os, signal, subprocess, sys
from ppzoo.builders import build_transforms
from ppzoo.data import DistributedBatchSampler, ImageFolder, Samples
from ppzoo.data.loader import Loader

def build_loader(workers):
    dataset = ImageFolder(image_root=sys.argv[1])
    samples = Samples(dataset, build_transforms([{"DecodeImage": {}}, {"RandCropImage": {"size": 16}}]), seed=3)
    sampler = DistributedBatchSampler(batch_size=5, length=len(dataset), shuffle=True)
    return Loader(samples, sampler, num_workers=workers)
"""

HIDE_POSIX = """
import os, signal, sys
sys.modules["fcntl"] = None
del os.fork, os.memfd_create, signal.pthread_sigmask, signal.sigtimedwait
"""


def run_program(photos, rest, before=HIDE_POSIX):
    command = [sys.executable, "-c", before + PROGRAM + rest, photos]
    return subprocess.run(command, start_new_session=True, capture_output=True, text=True, timeout=120)


def test_batches_are_read_without_posix(photos):
    done = run_program(
        photos,
        "spawned = list(build_loader(2).epoch(1))\n"
        "for batch, expected in zip(spawned, build_loader(0).epoch(1), strict=True):\n"
        "    assert all(bool((a == b).all()) for a, b in zip(batch, expected, strict=True))\n"
        "print(len(spawned), len(multiprocessing.active_children()))\n",
    )
    assert (done.stdout, done.returncode) == ("5 0\n", 0), done.stderr


@pytest.mark.parametrize("before", ["", HIDE_POSIX], ids=["posix", "without_posix"])
def test_spawned_workers_end_when_their_parent_is_killed(photos, before):
    done = run_program(
        photos,
        "loader = build_loader(2)\n"
        "loader.start_method = 'spawn'\n"
        "next(loader.epoch(0))\n"
        "batches = loader.epoch(1)\n"
        "next(batches)\n"
        "print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
        before,
    )  # returns when all processes that share its standard output have ended
    assert len(done.stdout.split()) == 2, done.stderr
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_spawned_workers_keep_reading_when_the_process_group_receives_a_stop_signal(photos, name):
    done = run_program(
        photos,
        "loader = build_loader(2)\n"
        "loader.start_method = 'spawn'\n"
        "batches = loader.epoch(0)\n"
        "next(batches)\n"
        f"signal.signal(signal.{name}, lambda *_: None)\n"
        f"subprocess.run(['sh', '-c', 'kill -{name[3:]} 0'])\n"
        "print(1 + len(list(batches)), len(multiprocessing.active_children()))\n",
        before="",
    )
    assert (done.stdout, done.returncode) == ("5 2\n", 0), done.stderr


def test_linux_forks_and_macos_spawns(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert pools.default_start_method() == "fork"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert pools.default_start_method() == "spawn"
