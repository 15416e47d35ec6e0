"""Time and memory of very large data sets: a list file of 14 million images, without and with eight workers.

    python benchmarks/memory.py                          # 14 million lines; the file takes 630 MB of --folder
    python benchmarks/memory.py --samples 1000000 --workers 4

Each round reads the list in a fresh process and trains nothing: it draws shuffled batches of 64 JPEGs at 224 pixels,
first in the process itself, in another one with workers. Memory is the proportional set size (PSS, of
/proc/PID/smaps_rollup: a page shared by n processes counts as 1/n in each) of the process and its workers together,
PaddlePaddle included, after the batches; "peak" is the largest resident size of the process that reads the list
(VmHWM). Then as many empty files as --files says are found in class folders. Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import comparison
import numpy as np

from ppzoo.native.env_settings import find_missing_settings

CLASSES = 21_841
BATCH, BATCHES = 64, 40
CHUNK = 100_000


def write_list(file: Path, samples: int) -> None:
    with open(file, "w", encoding="ascii") as text:
        for start in range(0, samples, CHUNK):
            numbers = ((number, number % CLASSES) for number in range(start, min(samples, start + CHUNK)))
            text.write("".join(f"train/n{c:08d}/n{c:08d}_{number}.JPEG {c}\n" for number, c in numbers))


def write_folders(folder: Path, files: int, classes: int = 100) -> None:
    for label in range(classes):
        (folder / f"class_{label:03d}").mkdir(parents=True)
    for number in range(files):
        (folder / f"class_{number % classes:03d}" / f"image_{number:08d}.jpg").touch()


def measure_list(file: Path, workers: int) -> dict[str, float]:
    """Seconds to read the list, megabytes of all processes after some batches, peak of this one."""
    import cv2

    from ppzoo.data import Compose, DistributedBatchSampler, ImageNetDataset, Samples
    from ppzoo.data.loader import Loader
    from ppzoo.data.transforms import DecodeImage, NormalizeImage, RandCropImage

    image = file.with_name("image.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    image.write_bytes(cv2.imencode(".jpg", cv2.GaussianBlur(noise, (5, 5), 0))[1].tobytes())

    class OneImage(ImageNetDataset):
        """Looks up the path of every sample, and reads the same file for all of them."""

        def describe(self, index: int) -> str:
            assert super().describe(index).endswith(f"_{index}.JPEG")
            return str(image)

    started = time.perf_counter()
    dataset = OneImage(image_root=str(file.parent), cls_label_path=str(file), class_num=CLASSES)
    seconds = time.perf_counter() - started
    transforms = Compose([DecodeImage(), RandCropImage(size=224), NormalizeImage(order="")])
    sampler = DistributedBatchSampler(batch_size=BATCH, shuffle=True, length=len(dataset))
    batches = Loader(Samples(dataset, transforms, 0), sampler, num_workers=workers).epoch(0)
    for _ in range(BATCHES):
        next(batches)
    processes = [os.getpid(), *(process.pid for process in multiprocessing.active_children())]
    assert len(processes) == workers + 1
    return {"seconds": seconds, "megabytes": sum(map(pss, processes)), "peak": status("VmHWM")}


def measure_folders(folder: Path) -> dict[str, float]:
    """Seconds to find the files, and how many megabytes this process has grown by."""
    from ppzoo.data import ImageFolder

    before, started = pss(os.getpid()), time.perf_counter()
    dataset = ImageFolder(image_root=str(folder))
    seconds = time.perf_counter() - started
    return {"samples": len(dataset), "seconds": seconds, "megabytes": pss(os.getpid()) - before}


def pss(process: int) -> float:
    return kilobytes(Path(f"/proc/{process}/smaps_rollup"), "Pss:") / 1000


def status(key: str) -> float:
    return kilobytes(Path("/proc/self/status"), f"{key}:") / 1000


def kilobytes(file: Path, key: str) -> int:
    (line,) = (line for line in file.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


def run(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments]
    return json.loads(comparison.last_line(command, " ".join(arguments), find_missing_settings(os.environ)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=14_000_000, help="lines of the list; 14 million by default")
    parser.add_argument("--workers", type=int, default=8, help="8 by default")
    parser.add_argument("--files", type=int, default=100_000, help="files in folders; 100,000 by default")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room for them")
    parser.add_argument("--measure", choices=["list", "folders"], help=argparse.SUPPRESS)
    comparison.add_outputs(parser)
    options = parser.parse_args()
    if options.measure:
        answer = (
            measure_list(options.folder / "list.txt", options.workers)
            if options.measure == "list"
            else measure_folders(options.folder)
        )
        print(json.dumps(answer))
        return
    cases = {}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ppzoo-") as folder:
        write_list(Path(folder, "list.txt"), options.samples)
        names = {"no workers": 0, f"{options.workers} workers": options.workers}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.pairs):
            for name, workers in names.items():
                found[name].append(run("--measure", "list", "--folder", folder, "--workers", str(workers)))
        figures = {name: [answer["megabytes"] for answer in answers] for name, answers in found.items()}
        cases[f"{options.samples} samples"] = figures
        several = list(figures.values())[1]
        answers = [answer for answers in found.values() for answer in answers]
        print(f"{options.samples} samples read in {comparison.spread([a['seconds'] for a in answers], '.1f')} s")
        print(f"largest resident size on the way {comparison.spread([a['peak'] for a in answers], '.0f')} MB")
        for name, values in figures.items():
            print(f"PSS with {name}: {comparison.spread(values, '.0f')} MB")
        ratio = comparison.ratios(several, figures["no workers"])
        print(f"with workers over without: {comparison.spread(ratio, '.3f')} x")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ppzoo-") as folder:
        write_folders(Path(folder), options.files)
        scans = [run("--measure", "folders", "--folder", folder) for _ in range(options.pairs)]
        print(f"{options.files} files in folders found in {comparison.spread([s['seconds'] for s in scans], '.1f')} s,")
        print(f"in {statistics.median(scan['megabytes'] for scan in scans):.0f} MB")
    comparison.write(options, "Memory of a large list (PSS)", "MB", cases)


if __name__ == "__main__":
    main()
