"""Kills training runs repeatedly and checks that nothing is lost: `python tests/robustness/kills.py [COUNT]`.

Each run is killed at random moments: one third by time, two thirds at a random file operation (before it, after it, or
with half of the file written). Signals other than KILL are sent by time only. The run is resumed with `--resume auto`
until it ends. Its weights, optimizer, progress and logged metrics must then be bit-identical to those of an undisturbed
run, and no run may resume from a checkpoint older than the last one that was saved.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from runs import arguments, differences, make_workspace, output_of, run, signal_name, start, wait

OPERATIONS = ("replace", "link", "unlink", "fsync", "rename")


class CheckpointLog:
    """A file in which runs record the checkpoints that they save and restore, one per line."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def watch(self) -> None:
        """Record what the current process saves and restores."""
        from ppzoo import engine
        from ppzoo.engine.checkpoint import checkpoint

        save, restore = checkpoint.save_checkpoint, engine.load_checkpoint

        def saved(state, prefix):
            save(state, prefix)
            self._record("saved", state)

        def restored(state, prefix):
            restore(state, prefix)
            self._record("restored", state)

        checkpoint.save_checkpoint, engine.load_checkpoint = saved, restored

    def _record(self, what: str, state) -> None:
        with open(self.file, "a") as file:
            file.write(f"{what} {state.progress.epoch} {state.progress.step}\n")

    def lost(self) -> list[str]:
        """Return every resumption from an older checkpoint than the last one that was saved."""
        last, found = (0, 0), []
        for line in self.file.read_text().splitlines() if self.file.exists() else []:
            what, epoch, step = line.split()
            progress = (int(epoch), int(step))
            if what == "restored" and progress < last:
                found.append(f"resumed from {progress}, though {last} had been saved")
            last = max(last, progress)
        return found


def count_operations(file: Path):
    """Count the file operations of the current process, and write their number to a file."""
    counted = Counter()

    def counting(name, call):
        def counted_call(*args, **kwargs):
            counted["all"] += 1
            file.write_text(str(counted["all"]))
            return call(*args, **kwargs)

        return counted_call

    for name in OPERATIONS:
        setattr(os, name, counting(name, getattr(os, name)))


def die_at(number: int, way: str):
    """Kill the current process at its file operation `number`: "before" it, "after" it, or "torn", with half a file."""
    left = [number]

    def deadly(call):
        def dying(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0 and way != "after":
                if way == "torn" and call is fsync:
                    with contextlib.suppress(OSError):  # a folder
                        os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return dying

    fsync = os.fsync
    for name in OPERATIONS:
        setattr(os, name, deadly(getattr(os, name)))


def kill_run(
    config: Path, name: str, signals: tuple[signal.Signals, ...], chance: random.Random, reference: dict, kills: int
):
    """Kill a run up to `kills` times, resume it until it ends, and return its exit statuses and the problems found."""
    folder = config.parent
    log, checkpoints = folder / f"{name}.txt", CheckpointLog(folder / f"{name}.checkpoints")
    command, died = arguments(config, name), []
    while True:
        if len(died) == kills:
            began = time.time()
            status = run(command, log, checkpoints.watch)
            reference["seconds"] = min(reference["seconds"], time.time() - began)
        elif signal.SIGKILL in signals and chance.random() < 2 / 3:
            number, way = chance.randint(1, reference["operations"] // 2), chance.choice(("before", "after", "torn"))

            def prepare(number=number, way=way):
                checkpoints.watch()
                die_at(number, way)

            status = run(command, log, prepare)
        else:
            process = start(command, log, checkpoints.watch)
            time.sleep(chance.uniform(reference["start"] * 0.5, reference["seconds"]))
            os.kill(process, chance.choice(signals))
            status = wait(process)
        if status == 0:
            break
        died.append(status)
        if -status not in signals and status - 128 not in signals:
            return died, [f"it ended with {status}: {log.read_text()[-2000:]}"]
    return died, checkpoints.lost() + differences(output_of(folder, "reference"), output_of(folder, name))


def measure_undisturbed(config: Path) -> dict:
    """Make an undisturbed run; return its number of file operations, its seconds, and the seconds until it starts."""
    folder, began = config.parent, time.time()
    file = folder / "operations"
    status = run(arguments(config, "reference"), folder / "reference.txt", lambda: count_operations(file))
    if status:
        sys.exit(f"the undisturbed run ended with {signal_name(status)}: {(folder / 'reference.txt').read_text()}")
    first = min(path.stat().st_mtime for path in [output_of(folder, "reference") / "config.yaml"])
    return {"operations": int(file.read_text()), "seconds": time.time() - began, "start": first - began}


def kill_repeatedly(folder: Path, count: int, signals: tuple[signal.Signals, ...], seed: int = 0):
    """Kill runs `count` times in total; return the number of exits by signal or exit status, and all problems."""
    config, chance = make_workspace(folder), random.Random(seed)
    reference = measure_undisturbed(config)
    died, wrong, number = Counter(), [], 0
    while sum(died.values()) < count:
        number += 1
        left = count - sum(died.values())
        deaths, problems = kill_run(config, f"run{number}", signals, chance, reference, min(left, 8))
        died.update(map(signal_name, deaths))
        wrong += [f"run {number}: {problem}" for problem in problems]
        print(
            f"run {number}: {len(deaths)} deaths, {sum(died.values())} in all; {problems or 'nothing lost'}", flush=True
        )
    return died, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=100)
    parser.add_argument("--signals", default="KILL", help="KILL, TERM, INT, or several with commas")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signals = tuple(signal.Signals[f"SIG{name}"] for name in options.signals.split(","))
    import paddle  # noqa: F401  # once for all runs

    with tempfile.TemporaryDirectory() as folder:
        died, wrong = kill_repeatedly(Path(folder), options.count, signals, options.seed)
    print(dict(died), *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
