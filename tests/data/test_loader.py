"""Batches are the same with any number of workers; errors are reported in one line; workers end with their loader."""

import errno
import json
import multiprocessing
import os
import platform
import re
import signal
import subprocess
import sys
from contextlib import closing
from itertools import islice

import numpy as np
import paddle
import pytest

from ppzoo.data import Compose, DistributedBatchSampler, FashionMNIST, Samples
from ppzoo.data.batch_reader import SKIP_HINT
from ppzoo.data.loader import Loader, normalize_on_device
from ppzoo.data.shared_memory import SharedArrays
from ppzoo.data.transforms import NormalizeImage, RandCropImage, RandFlipImage
from ppzoo.errors import ConfigError, DataError, TrainingError

WORKERS = [0, 1, 2]


class Clothes(FashionMNIST):
    """The first 100 test images; number `broken` cannot be read, and reading `fatal` kills the process."""

    def __init__(self, broken=None, fatal=None):
        super().__init__(mode="test")
        self.broken, self.fatal = broken, fatal

    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index == self.broken:
            raise DataError("cannot read the image 'boot.jpg': replace it")
        if index == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def loader(workers, dataset=None, transforms=None, shared=True, errors=None, **options):
    transforms = transforms or [RandCropImage(size=16), RandFlipImage(), NormalizeImage(order="")]
    sampler = DistributedBatchSampler(batch_size=16, length=100, **options)
    samples = Samples(dataset or Clothes(), Compose(transforms), seed=3)
    return Loader(samples, sampler, num_workers=workers, use_shared_memory=shared, **(errors or {}))


def arrays(batches):
    return [[field.numpy() for field in batch] for batch in batches]


def test_batches_are_tensors_of_images_labels_and_indices():
    batches = loader(0)
    first = next(batches.epoch(0))
    assert len(batches) == 7
    assert first.images.shape == [16, 3, 16, 16]
    assert first.images.numpy().dtype == np.float32
    assert first.labels.numpy().dtype == first.indices.numpy().dtype == np.int64
    assert first.indices.numpy().tolist() == list(range(16))
    assert first.labels.numpy().tolist() == Clothes().labels[:16].tolist()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shared", [True, False])
def test_batches_are_bit_identical_with_any_number_of_workers(workers, shared):
    expected = arrays(loader(0, shuffle=True).epoch(2))
    found = arrays(loader(workers, shuffle=True, shared=shared).epoch(2))
    assert len(found) == len(expected) == 7
    for batch, other in zip(found, expected, strict=True):
        for field, reference_field in zip(batch, other, strict=True):
            np.testing.assert_array_equal(field, reference_field)


@pytest.mark.parametrize("workers", WORKERS)
def test_an_epoch_resumes_from_a_step_and_differs_from_other_epochs(workers):
    batches = loader(workers, shuffle=True)
    complete, rest, other = arrays(batches.epoch(1)), arrays(batches.epoch(1, start_step=5)), arrays(batches.epoch(2))
    assert len(rest) == 2
    for batch, tail in zip(rest, complete[5:], strict=True):
        np.testing.assert_array_equal(batch[0], tail[0])
    assert not np.array_equal(complete[0][2], other[0][2])


@pytest.mark.parametrize("workers", WORKERS)
def test_the_error_of_a_broken_image_is_raised(workers):
    seen = 0
    with pytest.raises(DataError) as caught:
        for _ in loader(workers, Clothes(broken=40)).epoch(0):
            seen += 1
    assert str(caught.value) == f"cannot read the image 'boot.jpg': replace it; {SKIP_HINT}"
    assert seen == 2
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_shapes_are_an_error(workers):
    class Ragged(Clothes):
        def __getitem__(self, index):
            return np.zeros((20, 20 + index, 3), np.uint8), 0

    with pytest.raises(DataError, match=r"one shape in a batch.*CropImage"):
        next(loader(workers, Ragged(), [NormalizeImage(order="")]).epoch(0))


def test_the_exit_code_of_a_dead_worker_is_reported():
    with pytest.raises(TrainingError, match="exit code -9"):
        list(loader(1, Clothes(fatal=50)).epoch(0))
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_between_two_batches_is_detected_at_once():
    epoch = loader(2).epoch(0)
    next(epoch)
    _, other = multiprocessing.active_children()
    next(epoch)
    other.kill()
    other.join()
    with pytest.raises(TrainingError, match="exit code -9"):
        next(epoch)
    assert not multiprocessing.active_children()


def test_workers_that_cannot_be_started_are_an_error(monkeypatch):
    fork, allowed = os.fork, iter([True])

    def limited():
        if next(allowed, False):
            return fork()
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", limited)
    with pytest.raises(TrainingError, match=r"Resource temporarily unavailable.: lower loader.num_workers"):
        next(loader(2).epoch(0))
    assert not multiprocessing.active_children()


def test_closed_shared_memory_is_freed_while_another_process_has_it_open():
    arrays = SharedArrays()
    arrays.write([np.ones(1 << 20)])
    inherited = os.dup(arrays.file)
    arrays.close()
    with os.fdopen(inherited) as file:
        assert not os.fstat(file.fileno()).st_blocks


def readers():
    return {process.pid for process in multiprocessing.active_children()}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_stay_from_epoch_to_epoch_and_end_with_their_loader(workers):
    batches = loader(workers)
    list(batches.epoch(0))
    first = readers()
    assert len(first) == workers
    with closing(batches.epoch(1)) as epoch:
        assert len(list(islice(epoch, len(batches)))) == len(batches)
    list(batches.epoch(2))
    assert readers() == first
    del batches
    assert not readers()


def test_workers_end_with_an_abandoned_epoch_and_are_restarted():
    batches = loader(2, shuffle=True)
    epoch = batches.epoch(0)
    next(epoch)
    assert len(readers()) == 2
    epoch.close()
    assert not readers()
    assert len(list(batches.epoch(0))) == 7


def test_workers_end_when_the_loader_is_closed_and_start_again_with_the_next_epoch():
    batches = loader(2, shuffle=True)
    first = arrays(batches.epoch(0))
    batches.close()
    assert not readers()
    for batch, other in zip(arrays(batches.epoch(0)), first, strict=True):
        np.testing.assert_array_equal(batch[0], other[0])
    assert len(readers()) == 2


def test_two_epochs_can_be_read_at_the_same_time():
    batches = loader(1, shuffle=True)
    found = [(first, second) for first, second in zip(batches.epoch(1), batches.epoch(2), strict=True)]
    for number in (1, 2):
        expected = loader(0, shuffle=True).epoch(number)
        for batch, other in zip(expected, (pair[number - 1] for pair in found), strict=True):
            np.testing.assert_array_equal(batch.images.numpy(), other.images.numpy())


def test_batches_of_different_sizes_reuse_the_buffers():
    class Growing(Clothes):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return np.tile(image, (1 + index // 16, 1, 1)), label

    def batches(workers):
        return arrays(loader(workers, Growing(), [NormalizeImage(order="")]).epoch(0))

    for batch, other in zip(batches(2), batches(0), strict=True):
        np.testing.assert_array_equal(batch[0], other[0])


def test_a_batch_keeps_its_values_when_later_ones_are_read():
    kept = list(loader(2, shuffle=True).epoch(3))
    for batch, other in zip(kept, loader(0, shuffle=True).epoch(3), strict=True):
        np.testing.assert_array_equal(batch.images.numpy(), other.images.numpy())


def test_normalization_on_the_device_rounds_as_on_the_host():
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 3), dtype=np.uint8)
    for options in ({}, {"scale": "1/127.5", "mean": [1.0, 0.9, 1.1], "std": [0.3, 1.0, 7.0]}):
        normalize = NormalizeImage(order="", **options)
        found = normalize_on_device(normalize, paddle.to_tensor(images)).numpy()
        np.testing.assert_array_equal(found, normalize.batch(images))
        for image, planes in zip(images, found, strict=True):
            np.testing.assert_array_equal(planes, normalize(image, None).transpose(2, 0, 1))


PROGRAM = """
import multiprocessing, os, signal, subprocess
import numpy as np
from ppzoo.data import Compose, DistributedBatchSampler, Samples
from ppzoo.data.loader import Loader

class Black:
    def __len__(self):
        return 200
    def __getitem__(self, index):
        return np.zeros((3, 8, 8), np.float32), 0

loader = Loader(Samples(Black(), Compose([]), 0), DistributedBatchSampler(batch_size=4, length=200), num_workers=2)
batches = loader.epoch(0)
next(batches)
"""


def run_program(rest, at_first="", **environment):
    """Runs PROGRAM and `rest` in a separate process group; returns when its workers have ended too."""
    command = [sys.executable, "-c", at_first + PROGRAM + rest]
    return subprocess.run(
        command, start_new_session=True, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_workers_keep_reading_when_the_process_group_receives_a_stop_signal(name):
    done = run_program(
        f"signal.signal(signal.{name}, lambda *_: None)\n"
        f"subprocess.run(['sh', '-c', 'kill -{name[3:]} 0'])\n"
        "print(1 + len(list(batches)), len(multiprocessing.active_children()))\n"
    )
    assert (done.stdout, done.returncode) == ("50 2\n", 0), done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_workers_survive_stop_signals_during_startup(name):
    done = run_program(
        "print(1 + len(list(batches)))\n",
        at_first="import multiprocessing.util, os, signal\n"
        "close = multiprocessing.util._close_stdin\n"  # what a new process does first
        f"multiprocessing.util._close_stdin = lambda: (os.kill(os.getpid(), signal.{name}), close())\n",
    )
    assert (done.stdout, done.returncode) == ("50\n", 0), done.stderr


@pytest.mark.parametrize(
    "death",
    ["os.kill(os.getpid(), signal.SIGKILL)", "[worker.terminate() for worker in multiprocessing.active_children()]"],
)
def test_workers_end_when_their_parent_is_killed_or_terminates_them(death):
    done = run_program(f"print('alive', len(multiprocessing.active_children()), flush=True)\n{death}\n")
    assert done.stdout == "alive 2\n", done.stderr


def test_nothing_stays_in_shared_memory_when_a_run_is_killed():
    if not os.path.isdir("/dev/shm"):
        pytest.skip("this system has no /dev/shm")
    done = run_program(
        "for _ in range(10): next(batches)\n"
        "print(os.getpid(), *(worker.pid for worker in multiprocessing.active_children()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pids = done.stdout.split()
    assert len(pids) == 3
    assert not [name for name in os.listdir("/dev/shm") if set(pids) & set(re.split(r"\W|_", name))]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep less of what was freed")
def test_freed_memory_is_returned_to_the_system_before_workers_are_forked():
    done = run_program(
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20\n"
        "megabytes = [np.ones(1 << 17) for _ in range(100)]\n"
        "del megabytes[:-1]\n"
        "before = resident()\n"
        "next(Loader(loader.samples, loader.sampler, num_workers=1).epoch(0))\n"
        "print(before - resident())\n",
        MALLOC_MMAP_THRESHOLD_=str(1 << 30),
    )
    assert int(done.stdout) > 90, done.stderr


class Dirty(Clothes):
    """Every image whose number is a multiple of 30 is broken."""

    def __getitem__(self, index):
        if index % 30 == 0:
            raise DataError(f"image {index} is broken: replace it")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", WORKERS)
def test_broken_images_are_skipped_and_recorded_once(workers):
    batches = loader(workers, Dirty(), errors={"on_error": "skip"}, shuffle=True)
    for epoch in (1, 2):
        found = arrays(batches.epoch(epoch))
        indices = np.concatenate([batch[2] for batch in found])
        assert sorted(indices) == [index for index in range(100) if index % 30]
        for images, labels, numbers in found:
            assert len(images) == len(labels) == len(numbers)
        assert sorted(batches.bad) == [0, 30, 60, 90]
    assert batches.bad_files()["sample 30 of FashionMNIST (test)"] == "image 30 is broken: replace it"
    expected = arrays(loader(0, Dirty(), errors={"on_error": "skip"}, shuffle=True).epoch(2))
    for batch, other in zip(found, expected, strict=True):
        for field, reference_field in zip(batch, other, strict=True):
            np.testing.assert_array_equal(field, reference_field)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_broken_images_are_an_error(workers):
    limits = {"on_error": "skip", "max_bad_fraction": 0.02}
    with pytest.raises(DataError, match=r"3 of 100 images cannot be read, more than.*0\.02.*image 60 is broken"):
        list(loader(workers, Dirty(), errors=limits).epoch(0))


def test_images_that_another_process_cannot_read_are_counted():
    errors = {"on_error": "skip", "max_bad_fraction": 0.02}
    batches = loader(0, Clothes(broken=3), errors={**errors, "pool": lambda own: [*own, *[(90, "gone")] * len(own)]})
    next(batches.epoch(0))
    assert sorted(batches.bad) == [3, 90]
    with pytest.raises(DataError, match="3 of 100 images cannot be read, more than"):
        batches.record_failures([(91, "gone")])


@pytest.mark.parametrize("workers", WORKERS)
def test_a_batch_of_broken_images_is_none_and_with_several_processes_an_error(workers):
    class Rotten(Clothes):
        def __getitem__(self, index):
            if index < 32:
                raise DataError("gone")
            return super().__getitem__(index)

    errors = {"on_error": "skip", "max_bad_fraction": 0.32}
    found = list(loader(workers, Rotten(), errors=errors).epoch(0))
    assert [batch and len(batch.labels) for batch in found] == [None, None, 16, 16, 16, 16, 4]
    with pytest.raises(DataError, match="no image of a batch could be read; the first one: gone"):
        next(loader(workers, Rotten(), errors={**errors, "pool": lambda own: own}).epoch(0))


@pytest.mark.parametrize("options", [{"on_error": "replace"}, {"max_bad_fraction": 2.0}])
def test_invalid_error_handling_options_are_rejected(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        loader(0, errors=options)


def test_a_negative_number_of_workers_is_rejected():
    with pytest.raises(ConfigError, match=r"loader\.num_workers"):
        loader(-1)


def test_skipped_samples_are_restored_when_a_run_resumes():
    first = loader(0, Dirty(), errors={"on_error": "skip"})
    list(first.epoch(0))
    second = loader(0, Dirty(), errors={"on_error": "skip", "max_bad_fraction": 0.04})
    second.restore(json.loads(json.dumps(first.state())))
    assert second.bad == first.bad
    list(second.epoch(1))
    with pytest.raises(DataError, match="5 of 100 images cannot be read"):
        second.record_failures([(1, "gone too")])


@pytest.mark.parametrize("index", [-1, 100])
def test_skipped_samples_outside_of_the_dataset_are_refused(index):
    with pytest.raises(ValueError, match=f"expected skipped samples from 0 to 99, got {index}"):
        loader(0, Dirty()).restore({"bad": [[index, "gone"]]})
