"""A look at every image of a dataset before it is trained on: what is broken, odd, double, or labeled wrongly."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from ppzoo.data.datasets import Dataset
from ppzoo.data.fingerprint import digest, group_by, in_parallel
from ppzoo.data.image_formats import SUFFIXES
from ppzoo.data.transforms.decode import BROKEN, DecodeImage
from ppzoo.errors import DataError, one_line

SHOWN = 10
TINY = 32
LONG = 5
ORIENTATION = 0x0112
ODD_MODES = {
    "1": "black and white",
    "L": "gray",
    "LA": "gray with transparency",
    "P": "with a palette",
    "PA": "with a palette",
    "RGBA": "with transparency",
    "CMYK": "CMYK",
    "YCCK": "CMYK",
    "I": "16 bits",
    "F": "floating-point pixels",
}


class Look(NamedTuple):
    """What is known of one image."""

    digest: bytes
    width: int = 0
    height: int = 0
    odd: tuple[str, ...] = ()
    broken: str | None = None


@dataclass
class Inspection:
    """What was found in a dataset.

    Attributes:
        name: what the report calls it.
        count: number of samples.
        broken: place of each image that cannot be decoded, and why.
        odd: kind of oddity and the places of the images that have it; they can be used.
        duplicates: groups of places with equal content.
        conflicts: those groups that are labeled differently.
        out_of_range: places with a label that is not below the number of classes, and the label.
        histogram: number of images of each class, from class 0 on.
        sizes: (N, 2) widths and heights of those that are not broken.
        digests: fingerprint of each readable image's content and its place.
    """

    name: str
    count: int
    broken: dict[str, str] = field(default_factory=dict)
    odd: dict[str, list[str]] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    out_of_range: dict[str, int] = field(default_factory=dict)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    digests: dict[bytes, str] = field(default_factory=dict)
    classes: list[str] | None = None

    @property
    def is_sound(self) -> bool:
        """Whether all images can be decoded and all labels are classes."""
        return not (self.broken or self.out_of_range)

    def text(self) -> str:
        """The report."""
        lines = [f"{self.name}: {self.count} images in {np.count_nonzero(self.histogram)} classes"]
        if len(self.sizes):
            low, middle, high = (np.percentile(self.sizes, share, axis=0).astype(int) for share in (0, 50, 100))
            lines.append(
                f"  width {low[0]} to {high[0]}, median {middle[0]}; height {low[1]} to {high[1]}, median {middle[1]}"
            )
        lines += self._classes_text()
        lines += _listing("broken", [f"{place}: {reason}" for place, reason in self.broken.items()])
        lines += _listing(
            f"labels outside [0, {len(self.histogram)})",
            [f"{place}: {label}" for place, label in self.out_of_range.items()],
        )
        lines += _listing("equal images with different labels", [", ".join(group) for group in self.conflicts])
        lines += _listing("groups of equal images", [", ".join(group) for group in self.duplicates])
        for kind, places in self.odd.items():
            lines.append(f"  {kind}: {len(places)}, such as {places[0]}")
        return "\n".join(map(one_line, lines))

    def _classes_text(self) -> list[str]:
        if not self.histogram.any():
            return []
        lines = ["  images of each class:"]
        order = np.argsort(-self.histogram, kind="stable")
        shown = order if len(order) <= 2 * SHOWN else np.concatenate([order[:SHOWN], order[-SHOWN:]])
        widest = self.histogram.max()
        for place, label in enumerate(shown):
            if place == SHOWN and len(order) > 2 * SHOWN:
                lines.append(f"    ... {len(order) - 2 * SHOWN} classes between them ...")
            name = self.classes[label] if self.classes and label < len(self.classes) else ""
            bar = "#" * round(30 * self.histogram[label] / widest)
            lines.append(f"    {label:>5} {self.histogram[label]:>8}  {bar} {name}".rstrip())
        warning = imbalance(self.histogram)
        return [*lines, f"  {warning}"] if warning else lines


def inspect_dataset(
    dataset: Dataset, *, name: str = "data", class_num: int | None = None, workers: int | None = None
) -> Inspection:
    """Read and decode every image of a dataset once, in parallel.

    Args:
        dataset: built without `class_num`, so that wrong labels are found here and not refused.
        class_num: labels must be below it; None: not checked.
        workers: threads; None: one a processor.
    """
    found = Inspection(name, len(dataset), classes=dataset.classes)
    labels = np.asarray(dataset.labels)
    found.histogram = _histogram(labels, class_num)
    if labels.ndim == 1 and class_num is not None:
        found.out_of_range = {
            dataset.describe(int(index)): int(labels[index])
            for index in np.flatnonzero((labels < 0) | (labels >= class_num))
        }
    sizes, digests = [], []
    looks = in_parallel(partial(_look, dataset), range(len(dataset)), workers=workers, label=name)
    for index, look in enumerate(looks):
        if look.broken is not None:
            found.broken[dataset.describe(index)] = look.broken
            continue
        sizes.append((look.width, look.height))
        digests.append((look.digest, index))
        for kind in look.odd:
            found.odd.setdefault(kind, []).append(dataset.describe(index))
    found.sizes = np.array(sizes, np.int64).reshape(-1, 2)
    for key, indices in group_by(digests).items():
        places = [dataset.describe(index) for index in indices]
        found.digests[key] = places[0]
        if len(indices) > 1:
            found.duplicates.append(places)
            if len({labels[index].tobytes() for index in indices}) > 1:
                found.conflicts.append(places)
    return found


def leaks(training: Inspection, evaluation: Inspection) -> list[tuple[str, str]]:
    """Places in the training and in the evaluation data of images with equal content."""
    shared = training.digests.keys() & evaluation.digests.keys()
    return sorted((training.digests[key], evaluation.digests[key]) for key in shared)


def imbalance(counts: np.ndarray, ratio: float = 20) -> str | None:
    """A sentence that names the mend where the largest class has `ratio` times the images of the smallest, or more."""
    filled = counts[counts > 0]
    if not len(filled) or filled.max() < ratio * filled.min():
        return None
    return (
        f"classes are uneven: the largest has {filled.max()} images, the smallest {filled.min()}; "
        "sampler.name: ClassBalancedSampler draws them equally often"
    )


def _look(dataset: Dataset, index: int) -> Look:
    try:
        source, _ = dataset[index]
        pixels = DecodeImage()(source, np.random.default_rng(0))
    except DataError as error:
        return Look(b"", broken=str(error))
    height, width = pixels.shape[:2]
    odd: tuple[str, ...] = ("of a single value in all pixels",) if (pixels == pixels[0, 0]).all() else ()
    if isinstance(source, np.ndarray):
        return Look(digest(source.tobytes()), width, height, odd)
    odd += tuple(_oddities(source, dataset.describe(index), width, height))
    return Look(digest(source), width, height, odd)


def _oddities(source: bytes, place: str, width: int, height: int) -> list[str]:
    found = []
    try:
        with Image.open(io.BytesIO(source)) as image:
            suffix = os.path.splitext(place)[1].lower()
            if suffix not in SUFFIXES.get(image.format or "", (suffix,)):
                found.append(f"{image.format} files with another ending")
            kind = ODD_MODES.get(image.mode.split(";")[0])
            if kind:
                found.append(kind)
            if getattr(image, "n_frames", 1) > 1:
                found.append("with several frames")
            if image.getexif().get(ORIENTATION, 1) != 1:
                found.append("turned by EXIF")
    except BROKEN:
        found.append("with damaged parts beside the first frame")
    if min(width, height) < TINY:
        found.append(f"smaller than {TINY} pixels")
    if max(width, height) > LONG * min(width, height):
        found.append(f"more than {LONG} times as long as wide")
    return found


def _histogram(labels: np.ndarray, class_num: int | None) -> np.ndarray:
    """Images of each class; of several labels an image, those that are 1."""
    if labels.ndim == 2:
        return (labels == 1).sum(axis=0)
    known = labels[(labels >= 0) & (labels < (class_num or np.inf))]
    return np.bincount(known, minlength=class_num or 0)


def _listing(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"    ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"  {title}: {len(lines)}", *(f"    {line}" for line in lines[:SHOWN]), *more]
