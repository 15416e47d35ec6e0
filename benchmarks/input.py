"""The input pipeline on one core: JPEGs of 500 x 375 to training batches of 224 x 224, beside PaddleClas's operators.

    python benchmarks/input.py                           # beside the same steps as PaddleClas does them, restated here
    python benchmarks/input.py --peer PATH               # beside PaddleClas's own: PATH holds the package ppcls
    python benchmarks/input.py --images FOLDER           # with JPEGs of yours

Decoding, a random part resized, a random flip, normalization, and 32 images made into one N x C x H x W array, from
files in memory. Each round runs every contestant in turn, in a process of its own on the same core with the same
environment, which warms up and answers the median of its batches. "reduced 0.5" decodes at half the size or less where
that leaves half a pixel for each pixel of the result, in either direction (`DecodeImage: {reduced: 0.5}`), "reduced
0.25" where it leaves a quarter: those pixels differ.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import comparison
import cv2
import numpy as np

from ppzoo.native.env_settings import find_missing_settings

WIDTH, HEIGHT, SIZE, BATCH = 500, 375, 224, 32
WARM_UP, TIMED = 2, 8
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
QUALITIES = ("80", "90", "95")
OURS = {"ppzoo": None, "reduced 0.5": 0.5, "reduced 0.25": 0.25}
CONTESTANTS = (*OURS, "PaddleClas")
Files = list[bytes]


def photographs(quality: int, count: int = 2 * BATCH) -> Files:
    """JPEGs with about as much detail at each scale as photographs have, of 60 to 120 KB."""
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
    """The JPEGs of a quality, or of a folder."""
    if source.isdigit():
        return photographs(int(source))
    files = [file.read_bytes() for file in sorted(Path(source).rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg")]
    if not files:
        raise SystemExit(f"{source}: expected JPEGs, found none")
    return files


# --- ppzoo -----------------------------------------------------------------------------------------------------------


class InMemory:
    """A data set of files that have been read."""

    def __init__(self, files: Files) -> None:
        self.files, self.labels, self.classes = files, np.zeros(len(files), np.int64), None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        return self.files[index], 0

    def describe(self, index: int) -> str:
        return str(index)


def ours(files: Files, reduced: float | None) -> Callable[[int], np.ndarray]:
    from ppzoo.data import Compose, Samples
    from ppzoo.data.reading import Reader, Request, Step
    from ppzoo.data.transforms import DecodeImage, NormalizeImage, RandCropImage, RandFlipImage

    steps = [DecodeImage(reduced=reduced), RandCropImage(size=SIZE), RandFlipImage()]
    steps += [NormalizeImage(scale="1.0/255.0", mean=MEAN, std=STD, order="")]
    samples = Samples(InMemory(files), Compose(steps), seed=0)
    reader = Reader(samples, [], "raise")

    def batch(number: int) -> np.ndarray:
        keys = [(number, (number * BATCH + place) % len(files)) for place in range(BATCH)]
        return samples.normalize(reader(Request(Step(0, number, 0), keys)).arrays.images)

    return batch


# --- the peer --------------------------------------------------------------------------------------------------------


def restated() -> list[Callable]:
    """PaddleClas's steps, as its documentation and its results tell them: each by itself, an array from an array."""

    def decode(data: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    def crop(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        ratio = random.uniform(3 / 4, 4 / 3)
        largest = min(width / height / ratio, height / width * ratio)
        area = width * height * random.uniform(min(0.08, largest), min(1.0, largest))
        columns, rows = int(math.sqrt(area * ratio)), int(math.sqrt(area / ratio))
        left, top = random.randint(0, width - columns), random.randint(0, height - rows)
        return cv2.resize(image[top : top + rows, left : left + columns], (SIZE, SIZE))

    def flip(image: np.ndarray) -> np.ndarray:
        return cv2.flip(image, 1) if random.random() < 0.5 else image

    mean, std = (np.array(values, np.float32).reshape(1, 1, 3) for values in (MEAN, STD))

    def normalize(image: np.ndarray) -> np.ndarray:
        return (image.astype(np.float32) * np.float32(1 / 255) - mean) / std

    return [decode, crop, flip, normalize]


def theirs(path: str) -> list[Callable]:
    """PaddleClas's own operators."""
    sys.path.insert(0, path)
    from ppcls.data import preprocess  # type: ignore[import-not-found]

    return [
        preprocess.DecodeImage(to_rgb=True, channel_first=False),
        preprocess.RandCropImage(size=SIZE),
        preprocess.RandFlipImage(flip_code=1),
        preprocess.NormalizeImage(scale=1 / 255, mean=MEAN, std=STD, order=""),
    ]


def peer(files: Files, operators: list[Callable]) -> Callable[[int], np.ndarray]:
    random.seed(0)

    def sample(image: bytes) -> np.ndarray:
        result = image
        for operator in operators:
            result = operator(result)
        return result.transpose((2, 0, 1))

    return lambda number: np.stack([sample(files[(number * BATCH + place) % len(files)]) for place in range(BATCH)])


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(contestant: str, source: str, path: str | None) -> float:
    """Images a second of this process, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    files = read_files(source)
    if contestant == "PaddleClas":
        batch = peer(files, theirs(path) if path else restated())
    else:
        batch = ours(files, OURS[contestant])
    times = []
    for number in range(WARM_UP + TIMED):
        started = time.perf_counter()
        images = batch(number)
        times.append(time.perf_counter() - started)
        assert images.shape == (BATCH, 3, SIZE, SIZE) and images.dtype == np.float32
    return BATCH / statistics.median(times[WARM_UP:])


def run(contestant: str, source: str, path: str | None) -> float:
    command = [sys.executable, __file__, "--measure", contestant, "--images", source]
    command += ["--peer", path] if path else []
    return float(comparison.last_line(command, contestant, find_missing_settings(os.environ)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PATH", help="folder with PaddleClas's package ppcls")
    parser.add_argument("--images", metavar="FOLDER", help="JPEGs to read; made ones of several qualities by default")
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    comparison.add_outputs(parser)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure, options.images, options.peer))
        return
    cases = {}
    for source in [options.images] if options.images else QUALITIES:
        kilobytes = statistics.mean(map(len, read_files(source))) / 1000
        contestants = {name: lambda name=name, source=source: run(name, source, options.peer) for name in CONTESTANTS}
        figures = comparison.rounds(contestants, options.pairs)
        title = f"{Path(source).name if options.images else 'quality ' + source}, {kilobytes:.0f} KB"
        cases[title] = figures
        speeds = ", ".join(f"{name} {statistics.median(values):.0f}" for name, values in figures.items())
        for name in OURS:
            speeds += f"; {name} {comparison.spread(comparison.ratios(figures[name], figures['PaddleClas']))} x"
        print(f"{title}: images/s on one core: {speeds}", flush=True)
    comparison.write(options, "Input pipeline on one core", "images/s", cases)


if __name__ == "__main__":
    main()
