"""Inspecting every image of a dataset before training: broken, unusual, duplicate and wrongly labeled images."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from ppzoo.data.datasets import Dataset
from ppzoo.data.duplicates import digest_content, group_by, map_in_threads
from ppzoo.data.image_formats import FORMAT_SUFFIXES
from ppzoo.data.transforms.decode import ORIENTATION, PILLOW_ERRORS, DecodeImage
from ppzoo.errors import DataError, one_line

MAX_LISTED = 10
SMALL_SIDE = 32
MAX_ASPECT_RATIO = 5
UNUSUAL_MODES = {  # Pillow's modes
    "1": "black and white",
    "L": "gray",
    "LA": "gray with alpha channel",
    "P": "palette",
    "PA": "palette",
    "RGBA": "alpha channel",
    "CMYK": "CMYK",
    "YCCK": "CMYK",
    "I": "16 bits",
    "F": "floating-point pixels",
}


class ImageReport(NamedTuple):
    """Digest, size and unusual properties of an image, or the reason why it cannot be decoded."""

    digest: bytes
    width: int = 0
    height: int = 0
    unusual: tuple[str, ...] = ()
    broken: str | None = None


@dataclass
class DatasetReport:
    """The results of inspecting a dataset. An image's location is what `Dataset.describe` returns, such as its path.

    Attributes:
        name: name of the dataset in the report.
        count: number of samples.
        broken: location of each image that cannot be decoded -> reason.
        unusual: unusual property -> locations of the images that have it; such images can be used.
        duplicates: groups of locations with equal content.
        conflicts: the groups of `duplicates` whose images have different labels.
        out_of_range: location of each image whose label is negative or not below the number of classes -> label.
        histogram: number of images of each class, from class 0 on; images with several labels count several times.
        sizes: (N, 2) widths and heights of the images that are not broken.
        digests: digest of the content -> location of the first image with that content.
        classes: names of the classes; None if they are not known.
    """

    name: str
    count: int
    broken: dict[str, str] = field(default_factory=dict)
    unusual: dict[str, list[str]] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    out_of_range: dict[str, int] = field(default_factory=dict)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    digests: dict[bytes, str] = field(default_factory=dict)
    classes: list[str] | None = None

    @property
    def is_sound(self) -> bool:
        """Whether all images can be decoded and all labels are in range."""
        return not (self.broken or self.out_of_range)

    def text(self) -> str:
        """Return the report as text."""
        lines = [f"{self.name}: {self.count} images in {np.count_nonzero(self.histogram)} classes"]
        if len(self.sizes):
            low, median, high = (np.percentile(self.sizes, percent, axis=0).astype(int) for percent in (0, 50, 100))
            lines.append(
                f"  width {low[0]} to {high[0]}, median {median[0]}; height {low[1]} to {high[1]}, median {median[1]}"
            )
        lines += self._class_lines()
        lines += _section("broken images", [f"{location}: {reason}" for location, reason in self.broken.items()])
        lines += _section(
            f"labels outside [0, {len(self.histogram)})",
            [f"{location}: {label}" for location, label in self.out_of_range.items()],
        )
        lines += _section("identical images with different labels", [", ".join(group) for group in self.conflicts])
        lines += _section("groups of identical images", [", ".join(group) for group in self.duplicates])
        for kind, locations in self.unusual.items():
            lines.append(f"  {kind}: {len(locations)}, e.g. {locations[0]}")
        return "\n".join(map(one_line, lines))

    def _class_lines(self) -> list[str]:
        if not self.histogram.any():
            return []
        lines = ["  images per class:"]
        order = np.argsort(-self.histogram, kind="stable")
        shown = order if len(order) <= 2 * MAX_LISTED else np.concatenate([order[:MAX_LISTED], order[-MAX_LISTED:]])
        largest = self.histogram.max()
        for position, label in enumerate(shown):
            if position == MAX_LISTED and len(order) > 2 * MAX_LISTED:
                lines.append(f"    ... {len(order) - 2 * MAX_LISTED} more classes ...")
            name = self.classes[label] if self.classes and label < len(self.classes) else ""
            bar = "#" * round(30 * self.histogram[label] / largest)
            lines.append(f"    {label:>5} {self.histogram[label]:>8}  {bar} {name}".rstrip())
        warning = imbalance_warning(self.histogram)
        return [*lines, f"  {warning}"] if warning else lines


def inspect_dataset(
    dataset: Dataset, *, name: str = "data", class_num: int | None = None, workers: int | None = None
) -> DatasetReport:
    """Read and decode every image of a dataset once, in parallel.

    Args:
        dataset: built without `class_num`, so that labels out of range are reported here instead of raising an error.
        class_num: labels must be below it (only checked with one label per image); None: not checked.
        workers: number of threads; None: one per processor.
    """
    report = DatasetReport(name, len(dataset), classes=dataset.classes)
    labels = np.asarray(dataset.labels)
    report.histogram = _histogram(labels, class_num)
    if labels.ndim == 1 and class_num is not None:
        report.out_of_range = {
            dataset.describe(int(index)): int(labels[index])
            for index in np.flatnonzero((labels < 0) | (labels >= class_num))
        }
    sizes, digests = [], []
    inspect, label = partial(_inspect_image, dataset), f"checking {name}"
    images = map_in_threads(inspect, range(len(dataset)), workers=workers, label=label)
    for index, image in enumerate(images):
        if image.broken is not None:
            report.broken[dataset.describe(index)] = image.broken
            continue
        sizes.append((image.width, image.height))
        digests.append((image.digest, index))
        for kind in image.unusual:
            report.unusual.setdefault(kind, []).append(dataset.describe(index))
    report.sizes = np.array(sizes, np.int64).reshape(-1, 2)
    for key, indices in group_by(digests).items():
        locations = [dataset.describe(index) for index in indices]
        report.digests[key] = locations[0]
        if len(indices) > 1:
            report.duplicates.append(locations)
            if len({labels[index].tobytes() for index in indices}) > 1:
                report.conflicts.append(locations)
    return report


def shared_images(training: DatasetReport, evaluation: DatasetReport) -> list[tuple[str, str]]:
    """Return (training location, evaluation location) of the images that both datasets contain."""
    shared = training.digests.keys() & evaluation.digests.keys()
    return sorted((training.digests[key], evaluation.digests[key]) for key in shared)


def imbalance_warning(counts: np.ndarray, ratio: float = 20) -> str | None:
    """Return a warning with a fix if the largest class has at least `ratio` times the images of the smallest.

    Classes without images are ignored.
    """
    nonempty = counts[counts > 0]
    if not len(nonempty) or nonempty.max() < ratio * nonempty.min():
        return None
    return (
        f"classes are unbalanced: the largest has {nonempty.max()} images, the smallest {nonempty.min()}; "
        "set sampler.name to ClassBalancedSampler to draw all classes equally often"
    )


def _inspect_image(dataset: Dataset, index: int) -> ImageReport:
    try:
        source, _ = dataset[index]
        pixels = DecodeImage()(source, np.random.default_rng(0))
    except DataError as error:
        return ImageReport(b"", broken=str(error))
    height, width = pixels.shape[:2]
    unusual: tuple[str, ...] = ("all pixels have the same value",) if (pixels == pixels[0, 0]).all() else ()
    if isinstance(source, np.ndarray):
        return ImageReport(digest_content(source.tobytes()), width, height, unusual)
    unusual += tuple(_unusual_properties(source, dataset.describe(index), width, height))
    return ImageReport(digest_content(source), width, height, unusual)


def _unusual_properties(source: bytes, path: str, width: int, height: int) -> list[str]:
    found = []
    try:
        with Image.open(io.BytesIO(source)) as image:
            suffix = os.path.splitext(path)[1].lower()
            if suffix not in FORMAT_SUFFIXES.get(image.format or "", (suffix,)):
                found.append(f"{image.format} files with another extension")
            kind = UNUSUAL_MODES.get(image.mode.split(";")[0])
            if kind:
                found.append(kind)
            if getattr(image, "n_frames", 1) > 1:
                found.append("several frames")
            if image.getexif().get(ORIENTATION, 1) != 1:
                found.append("rotated by EXIF")
    except PILLOW_ERRORS:
        found.append("damaged metadata, or damaged frames after the first")
    if min(width, height) < SMALL_SIDE:
        found.append(f"smaller than {SMALL_SIDE} pixels")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        found.append(f"aspect ratio above {MAX_ASPECT_RATIO}")
    return found


def _histogram(labels: np.ndarray, class_num: int | None) -> np.ndarray:
    """Return the number of images of each class; with several labels per image, the number of labels that are 1."""
    if labels.ndim == 2:
        return (labels == 1).sum(axis=0)
    known = labels[(labels >= 0) & (labels < (class_num or np.inf))]
    return np.bincount(known, minlength=class_num or 0)


def _section(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"    ... and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return [f"  {title}: {len(lines)}", *(f"    {line}" for line in lines[:MAX_LISTED]), *more]
