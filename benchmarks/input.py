"""Throughput of the training input pipeline on one core: 500 x 375 JPEGs to batches of 224 x 224.

    pip install simplejpeg
    python benchmarks/input.py                           # compared with libjpeg-turbo and PaddleClas's operators
    python benchmarks/input.py --peer PATH               # compared with PaddleClas: PATH contains the package ppcls
    python benchmarks/input.py --images FOLDER           # with your own JPEGs

PaddleClas's operators are reimplemented here, unless --peer is given. The pipeline decodes JPEGs from memory, applies a
random resized crop, a random flip and normalization, and stacks 32 images into one N x C x H x W array. Each round runs
every implementation once, each in a separate process on the same core with the same environment variables. A process
warms up and then reports its images per second, computed from the median processor time of its batches.

- libjpeg-turbo: decodes the complete JPEGs to RGB and does nothing else (simplejpeg; without it, OpenCV)
- ppzoo: the same pixels as PaddleClas; of each JPEG, only the part that the crop needs is decoded
- complete: the same, but the complete JPEGs are decoded (PPZOO_NATIVE=off)
- reduced 0.5: `DecodeImage: {reduced: 0.5}` decodes at a reduced size where that leaves at least half a decoded pixel
  per output pixel in each direction; reduced 0.25: at least a quarter. Their pixels differ from those of PaddleClas.
- cached: epochs after the first one with `dataset.cache: memory` or `disk`; the cache contains the decoded images
- cached at 224: the same with ResizeImage and CropImage instead of the random crop, so that the cache contains
  images of 224 x 224 pixels

The table shows the median images/s, and the ratios to libjpeg-turbo and to PaddleClas: their median and range.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import comparison
import cv2
import numpy as np

from ppzoo.native.env_settings import find_missing_settings

WIDTH, HEIGHT, SIZE, BATCH = 500, 375, 224, 32
WARM_UP, TIMED = 2, 8
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
QUALITIES = ("80", "90", "95")
PEERS = DECODER, PADDLECLAS = "libjpeg-turbo", "PaddleClas"
REDUCED = {"ppzoo": None, "complete": None, "reduced 0.5": 0.5, "reduced 0.25": 0.25}  # name -> DecodeImage.reduced
CACHED = {  # name -> cache, whether the size is fixed before the random transforms
    "cached, memory": ("memory", False),
    "cached, disk": ("disk", False),
    "cached at 224, memory": ("memory", True),
    "cached at 224, disk": ("disk", True),
}
IMPLEMENTATIONS = (*PEERS, *REDUCED, *CACHED)
Files = list[bytes]


def synthetic_photos(quality: int, count: int = 2 * BATCH) -> Files:
    """Generate JPEGs of 50 to 110 KB whose detail at each scale is similar to that of photographs."""
    generator = np.random.default_rng(0)
    files = []
    for _ in range(count):
        image = np.full((HEIGHT, WIDTH, 3), 128, np.float32)
        for cells, contrast in ((4, 60), (16, 50), (64, 35), (200, 22)):
            noise = generator.normal(size=(cells * HEIGHT // WIDTH + 1, cells, 3)).astype(np.float32)
            image += contrast * cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        files.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    return files


def read_files(source: str) -> Files:
    """Return synthetic JPEGs of a quality (a number), or the JPEGs of a folder."""
    if source.isdigit():
        return synthetic_photos(int(source))
    files = [file.read_bytes() for file in sorted(Path(source).rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg")]
    if not files:
        raise SystemExit(f"{source}: expected JPEGs, found none")
    return files


# --- ppzoo -----------------------------------------------------------------------------------------------------------


class InMemory:
    """A dataset of encoded images that are in memory."""

    def __init__(self, files: Files) -> None:
        self.files, self.labels, self.classes = files, np.zeros(len(files), np.int64), None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        return self.files[index], 0

    def describe(self, index: int) -> str:
        return str(index)


def ppzoo_batch(files: Files, reduced: float | None) -> Callable[[int], np.ndarray]:
    """Return a function that builds the batch of a given number with ppzoo's pipeline."""
    from ppzoo.data import Compose, Samples
    from ppzoo.data.compiled import library
    from ppzoo.data.transforms import DecodeImage, NormalizeImage, RandCropImage, RandFlipImage

    library.prepare()
    steps = [DecodeImage(reduced=reduced), RandCropImage(size=SIZE), RandFlipImage()]
    steps += [NormalizeImage(scale="1.0/255.0", mean=MEAN, std=STD, order="")]
    return read_batches(Samples(InMemory(files), Compose(steps), seed=0))


def cached_batch(files: Files, folder: Path, kind: str, is_fixed: bool) -> Callable[[int], np.ndarray]:
    """Return a function that builds the batch of a given number from the cache, which the first epoch has filled.

    Args:
        folder: an empty folder for the files and the cache.
        is_fixed: resize to 224 x 224 instead of cropping at random.
    """
    from ppzoo.data import CachedImages, Compose, ImageFolder, Samples
    from ppzoo.data.compiled import library
    from ppzoo.data.transforms import (
        CropImage,
        DecodeImage,
        NormalizeImage,
        RandCropImage,
        RandFlipImage,
        ResizeImage,
    )

    library.prepare()
    os.environ["PPZOO_HOME"] = str(folder / "home")
    (folder / "images" / "class").mkdir(parents=True)
    for number, content in enumerate(files):
        (folder / "images" / "class" / f"{number:06}.jpg").write_bytes(content)
    time.sleep(0.2)  # images in files that have just changed are not cached
    crop = [ResizeImage(resize_short=256), CropImage(size=SIZE)] if is_fixed else [RandCropImage(size=SIZE)]
    normalize = NormalizeImage(scale="1.0/255.0", mean=MEAN, std=STD, order="")
    transforms = Compose([DecodeImage(), *crop, RandFlipImage(), normalize])
    dataset = ImageFolder(image_root=str(folder / "images"))
    samples = Samples(dataset, transforms, 0, CachedImages(kind, dataset, transforms))  # type: ignore[arg-type]
    batch = read_batches(samples)
    for number in range(math.ceil(len(files) / BATCH)):
        batch(number)
    return batch


def read_batches(samples: Any) -> Callable[[int], np.ndarray]:
    """Return a function that builds the batch of a given number from `samples`."""
    from ppzoo.data.batch_reader import BatchId, BatchReader, BatchRequest

    reader = BatchReader(samples, [], "raise")
    reader.normalizes = True  # as without worker processes

    def batch(number: int) -> np.ndarray:
        keys = [(number, (number * BATCH + place) % len(samples)) for place in range(BATCH)]
        return reader(BatchRequest(BatchId(0, number, 0), keys)).arrays.images

    return batch


# --- libjpeg-turbo ---------------------------------------------------------------------------------------------------


def decoded_batch(files: Files) -> Callable[[int], np.ndarray]:
    """Return a function that decodes the images of the batch of a given number and returns the last one."""
    try:
        from simplejpeg import decode_jpeg  # type: ignore[import-not-found]
    except ImportError:

        def decode_jpeg(data: bytes) -> np.ndarray:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

    def batch(number: int) -> np.ndarray:
        for place in range(BATCH):
            image = decode_jpeg(files[(number * BATCH + place) % len(files)])
        return image

    return batch


# --- PaddleClas ------------------------------------------------------------------------------------------------------


def reimplemented_operators() -> list[Callable]:
    """Return a reimplementation of PaddleClas's operators, each of which maps an array to an array."""

    def decode(data: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    def crop(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        ratio = random.uniform(3 / 4, 4 / 3)
        max_share = min(width / height / ratio, height / width * ratio)
        area = width * height * random.uniform(min(0.08, max_share), min(1.0, max_share))
        columns, rows = int(math.sqrt(area * ratio)), int(math.sqrt(area / ratio))
        left, top = random.randint(0, width - columns), random.randint(0, height - rows)
        return cv2.resize(image[top : top + rows, left : left + columns], (SIZE, SIZE))

    def flip(image: np.ndarray) -> np.ndarray:
        return cv2.flip(image, 1) if random.random() < 0.5 else image

    mean, std = (np.array(values, np.float32).reshape(1, 1, 3) for values in (MEAN, STD))

    def normalize(image: np.ndarray) -> np.ndarray:
        return (image.astype(np.float32) * np.float32(1 / 255) - mean) / std

    return [decode, crop, flip, normalize]


def paddleclas_operators() -> list[Callable]:
    """Return PaddleClas's operators; `ppcls` has to be importable."""
    from ppcls.data import preprocess  # type: ignore[import-not-found]

    return [
        preprocess.DecodeImage(to_rgb=True, channel_first=False),
        preprocess.RandCropImage(size=SIZE),
        preprocess.RandFlipImage(flip_code=1),
        preprocess.NormalizeImage(scale=1 / 255, mean=MEAN, std=STD, order=""),
    ]


def paddleclas_batch(files: Files, operators: list[Callable]) -> Callable[[int], np.ndarray]:
    """Return a function that builds the batch of a given number with a list of operators."""
    random.seed(0)

    def sample(image: bytes) -> np.ndarray:
        result = image
        for operator in operators:
            result = operator(result)
        return result.transpose((2, 0, 1))

    return lambda number: np.stack([sample(files[(number * BATCH + place) % len(files)]) for place in range(BATCH)])


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(implementation: str, source: str, peer: bool) -> float:
    """Return the images per second of this process on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    files = read_files(source)
    with tempfile.TemporaryDirectory() as folder:
        if implementation == PADDLECLAS:
            batch = paddleclas_batch(files, paddleclas_operators() if peer else reimplemented_operators())
        elif implementation == DECODER:
            batch = decoded_batch(files)
        elif implementation in CACHED:
            batch = cached_batch(files, Path(folder), *CACHED[implementation])
        else:
            batch = ppzoo_batch(files, REDUCED[implementation])
        times = []
        for number in range(WARM_UP + TIMED):
            started = time.process_time()
            images = batch(number)
            times.append(time.process_time() - started)
            assert implementation == DECODER or images.shape == (BATCH, 3, SIZE, SIZE)
    return BATCH / statistics.median(times[WARM_UP:])


def run(implementation: str, source: str, peer: str | None) -> float:
    """Run `measure` in a separate process; `peer` is the folder that contains PaddleClas's package."""
    command = [sys.executable, __file__, "--measure", implementation, "--images", source]
    variables = find_missing_settings(os.environ)
    if implementation == "complete":
        variables["PPZOO_NATIVE"] = "off"
    if peer:
        command += ["--peer", peer]
        variables["PYTHONPATH"] = peer
    return float(comparison.run_subprocess(command, implementation, variables))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PATH", help="folder that contains PaddleClas's package ppcls")
    parser.add_argument("--images", metavar="FOLDER", help="folder of JPEGs (default: synthetic ones)")
    parser.add_argument("--measure", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure, options.images, bool(options.peer)))
        return
    columns = {"JPEGs": 18, "implementation": 21, "images/s": 8}
    table = comparison.Table(columns | {f"/ {name}": comparison.RATIO_WIDTH for name in PEERS})
    cases = {}
    for source in [options.images] if options.images else QUALITIES:
        kilobytes = statistics.mean(map(len, read_files(source))) / 1000
        measurements = {name: partial(run, name, source, options.peer) for name in IMPLEMENTATIONS}
        results = comparison.run_rounds(measurements, options.pairs)
        title = f"{Path(source).name if options.images else 'quality ' + source}, {kilobytes:.0f} KB"
        cases[title] = results
        for name, speeds in results.items():
            ratios = [comparison.summarize(comparison.ratios(speeds, results[peer])) for peer in PEERS]
            table.print_row(title, name, f"{statistics.median(speeds):.0f}", *ratios)
    comparison.write_results(options, "Input pipeline on one core", "images/s", cases)


if __name__ == "__main__":
    main()
