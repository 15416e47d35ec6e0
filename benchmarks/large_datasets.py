"""Time and memory for very large datasets: a list file of 14 million images, without and with eight workers.

    python benchmarks/large_datasets.py                  # 14 million lines; the list takes 630 MB in --folder
    python benchmarks/large_datasets.py --samples 1000000 --workers 4

Each round reads the list in a new process and loads 40 shuffled batches of 64 JPEGs at 224 pixels, without training:
once without workers and once with them. "PSS" is the proportional set size (/proc/PID/smaps_rollup: a page that n
processes share counts as 1/n in each) of the process and its workers together after the batches, PaddlePaddle included.
"peak RSS" is the largest resident set size of the process that reads the list (VmHWM). Finally, a dataset of empty
files in class folders is indexed; --files is their number. Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import comparison
import numpy as np

from ppzoo.native.env_settings import find_missing_settings

CLASSES = 21_841
BATCH, BATCHES = 64, 40
LINES_PER_WRITE = 100_000


def write_list(file: Path, samples: int) -> None:
    with open(file, "w", encoding="ascii") as text:
        for start in range(0, samples, LINES_PER_WRITE):
            numbers = ((number, number % CLASSES) for number in range(start, min(samples, start + LINES_PER_WRITE)))
            text.write("".join(f"train/n{c:08d}/n{c:08d}_{number}.JPEG {c}\n" for number, c in numbers))


def write_folders(folder: Path, files: int, classes: int = 100) -> None:
    for label in range(classes):
        (folder / f"class_{label:03d}").mkdir(parents=True)
    for number in range(files):
        (folder / f"class_{number % classes:03d}" / f"image_{number:08d}.jpg").touch()


def measure_list(file: Path, workers: int) -> dict[str, float]:
    """Return the seconds to read the list, the PSS of all processes in MB after the batches, and the peak RSS in MB."""
    import cv2

    from ppzoo.data import Compose, DistributedBatchSampler, ImageNetDataset, Samples
    from ppzoo.data.loader import Loader
    from ppzoo.data.transforms import DecodeImage, NormalizeImage, RandCropImage

    image = file.with_name("image.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    image.write_bytes(cv2.imencode(".jpg", cv2.GaussianBlur(noise, (5, 5), 0))[1].tobytes())

    class OneImage(ImageNetDataset):
        """A dataset that looks up the path of each sample, but reads the same file for all of them."""

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
    return {"seconds": seconds, "megabytes": sum(map(pss, processes)), "peak": peak_rss()}


def measure_folders(folder: Path) -> dict[str, float]:
    """Return the number of files found, the seconds it took, and the growth of this process in MB."""
    from ppzoo.data import ImageFolder

    before, started = pss(os.getpid()), time.perf_counter()
    dataset = ImageFolder(image_root=str(folder))
    seconds = time.perf_counter() - started
    return {"samples": len(dataset), "seconds": seconds, "megabytes": pss(os.getpid()) - before}


def pss(process: int) -> float:
    """Return the proportional set size of a process in MB."""
    return kilobytes(Path(f"/proc/{process}/smaps_rollup"), "Pss:") / 1000


def peak_rss() -> float:
    """Return the largest resident set size that this process has had, in MB."""
    return kilobytes(Path("/proc/self/status"), "VmHWM:") / 1000


def kilobytes(file: Path, key: str) -> int:
    """Return the value of an entry of a /proc file."""
    (line,) = (line for line in file.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


def run(*arguments: str) -> dict[str, float]:
    """Run this program in a new process and return its measurements."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(comparison.run_subprocess(command, " ".join(arguments), find_missing_settings(os.environ)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=14_000_000, help="lines of the list (default: 14 million)")
    parser.add_argument("--workers", type=int, default=8, help="worker processes (default: 8)")
    parser.add_argument("--files", type=int, default=100_000, help="files in class folders (default: 100,000)")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="folder for the temporary files"
    )
    parser.add_argument("--measure", choices=["list", "folders"], help=argparse.SUPPRESS)
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    if options.measure:
        if options.measure == "list":
            print(json.dumps(measure_list(options.folder / "list.txt", options.workers)))
        else:
            print(json.dumps(measure_folders(options.folder)))
        return
    table = comparison.Table({"measurement": 34, "median (range)": comparison.RATIO_WIDTH})
    cases = {}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ppzoo-") as folder:
        write_list(Path(folder, "list.txt"), options.samples)
        names = {"no workers": 0, f"{options.workers} workers": options.workers}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.pairs):
            for name, workers in names.items():
                runs[name].append(run("--measure", "list", "--folder", folder, "--workers", str(workers)))
        results = {name: [values["megabytes"] for values in rounds] for name, rounds in runs.items()}
        cases[f"{options.samples} samples"] = results
        all_runs = [values for rounds in runs.values() for values in rounds]
        seconds = comparison.summarize([values["seconds"] for values in all_runs], ".1f")
        table.print_row(f"reading {options.samples:,} samples", f"{seconds} s")
        table.print_row("peak RSS", f"{comparison.summarize([values['peak'] for values in all_runs], '.0f')} MB")
        for name, megabytes in results.items():
            table.print_row(f"PSS, {name}", f"{comparison.summarize(megabytes, '.0f')} MB")
        without_workers, with_workers = results.values()
        ratio = comparison.ratios(with_workers, without_workers)
        table.print_row("PSS, with workers / without", comparison.summarize(ratio, ".3f"))
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ppzoo-") as folder:
        write_folders(Path(folder), options.files)
        scans = [run("--measure", "folders", "--folder", folder) for _ in range(options.pairs)]
        seconds = comparison.summarize([scan["seconds"] for scan in scans], ".1f")
        table.print_row(f"indexing {options.files:,} files in folders", f"{seconds} s")
        growth = comparison.summarize([scan["megabytes"] for scan in scans], ".0f")
        table.print_row("memory of that index", f"{growth} MB")
    comparison.write_results(options, "Memory of a large list (PSS)", "MB", cases)


if __name__ == "__main__":
    main()
