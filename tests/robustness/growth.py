"""Checks that long runs do not leak: `python tests/robustness/growth.py [EPOCHS] [--visualdl]`.

Compares memory, open files, processes and threads after the first tenth of the epochs (at most 20) and after the last:
memory may grow by at most 1%, the others not at all.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from runs import arguments, make_workspace, run

MAX_GROWTH = 1.01


def watch(file: Path):
    """Write memory (KiB), open files, child processes and threads of the current process to a file after each epoch."""
    from ppzoo import engine

    on_epoch_end = engine.CheckpointSaver.on_epoch_end

    def counted(checkpoints, report):
        on_epoch_end(checkpoints, report)
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        memory = int(status["VmRSS"].split()[0])
        with open(file, "a") as lines:
            print(memory, len(os.listdir("/proc/self/fd")), len(children), int(status["Threads"]), file=lines)

    engine.CheckpointSaver.on_epoch_end = counted


def measure(folder: Path, epochs: int, *overrides: str) -> list[tuple[int, ...]]:
    """Return memory (KiB), open files, child processes and threads after each epoch of a run."""
    config, file = make_workspace(folder, train=20, test=10, epochs=epochs), folder / "growth.txt"
    options = ("Global.save_interval_steps=null", "Global.print_batch_step=100", *overrides)
    status = run(arguments(config, "run", *options), folder / "log.txt", lambda: watch(file))
    assert status == 0, (folder / "log.txt").read_text()
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()]


def early_and_late(measured: list[tuple[int, ...]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the maxima of five epochs from the first tenth (at most epoch 20) on, and of the last five."""
    begin = min(20, len(measured) // 10)
    return tuple(tuple(map(max, zip(*part, strict=True))) for part in (measured[begin : begin + 5], measured[-5:]))


def main() -> None:
    import paddle  # noqa: F401

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("epochs", nargs="?", type=int, default=200)
    parser.add_argument("--visualdl", action="store_true", help="write VisualDL's scalars as well")
    options = parser.parse_args()
    epochs = options.epochs
    grew = False
    for workers in (0, 2):
        overrides = (f"DataLoader.Train.loader.num_workers={workers}", f"Global.use_visualdl={options.visualdl}")
        with tempfile.TemporaryDirectory() as folder:
            early, late = early_and_late(measure(Path(folder), epochs, *overrides))
        print(
            f"{epochs} epochs, {workers} workers: early {early}, late {late} (KiB, files, processes, threads);", end=" "
        )
        print(f"memory grew by {late[0] / early[0] - 1:.2%}")
        grew |= late[0] > MAX_GROWTH * early[0] or late[1:] > early[1:]
    sys.exit(grew)


if __name__ == "__main__":
    main()
