"""Kills a training run again and again and looks whether anything was lost: `python tests/robustness/kills.py [COUNT]`.

Each run is killed at random moments, a third of the time by the clock and otherwise at a file operation of its own
(before it, after it, or with half of the file written), and resumed with `--resume auto` until it ends. Its weights,
optimizer, progress and logged figures must then be those of a run that was left alone, to the bit; and no resumption
may begin before a checkpoint that had been announced.
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

sys.path.insert(0, str(Path(__file__).parent))

from runs import arguments, differences, make_place, output_of, run, signal_name, start, wait

OPERATIONS = ("replace", "link", "unlink", "fsync", "rename")


class Announcements:
    """What the runs of a folder have saved and gone on from: a line each, written by them, in a file beside it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def watch(self) -> None:
        """Within a run: note what it saves and restores."""
        from ppzoo import engine
        from ppzoo.engine.checkpoint import checkpoint

        save, restore = checkpoint.save_checkpoint, engine.load_checkpoint

        def saved(state, prefix):
            save(state, prefix)
            self._note("saved", state)

        def restored(state, prefix):
            restore(state, prefix)
            self._note("restored", state)

        checkpoint.save_checkpoint, engine.load_checkpoint = saved, restored

    def _note(self, what: str, state) -> None:
        with open(self.file, "a") as file:
            file.write(f"{what} {state.progress.epoch} {state.progress.step}\n")

    def lost(self) -> list[str]:
        """Every resumption from before what had been announced."""
        furthest, found = (0, 0), []
        for line in self.file.read_text().splitlines() if self.file.exists() else []:
            what, epoch, step = line.split()
            place = (int(epoch), int(step))
            if what == "restored" and place < furthest:
                found.append(f"went on from {place}, though {furthest} had been saved")
            furthest = max(furthest, place)
        return found


def count_operations(file: Path):
    """Within a run: count its file operations, into a file at the end."""
    counted = Counter()

    def counting(name, call):
        def counted_call(*given, **named):
            counted["all"] += 1
            file.write_text(str(counted["all"]))
            return call(*given, **named)

        return counted_call

    for name in OPERATIONS:
        setattr(os, name, counting(name, getattr(os, name)))


def die_at(number: int, way: str):
    """Within a run: kill it at its file operation of that number, `way`: before, after, or torn."""
    left = [number]

    def deadly(call):
        def dying(*given, **named):
            left[0] -= 1
            if left[0] == 0 and way != "after":
                if way == "torn" and call is fsync:
                    with contextlib.suppress(OSError):  # a folder
                        os.ftruncate(given[0], os.fstat(given[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            answer = call(*given, **named)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return dying

    fsync = os.fsync
    for name in OPERATIONS:
        setattr(os, name, deadly(getattr(os, name)))


def kill_run(
    config: Path, name: str, signals: tuple[signal.Signals, ...], chance: random.Random, whole: dict, kills: int
):
    """Run it to its end through up to `kills` kills; answers how it died each time, and what is wrong afterwards."""
    place = config.parent
    said, announced = place / f"{name}.txt", Announcements(place / f"{name}.announced")
    command, died = arguments(config, name), []
    while True:
        if len(died) == kills:
            began = time.time()
            status = run(command, said, announced.watch)
            whole["seconds"] = min(whole["seconds"], time.time() - began)
        elif signal.SIGKILL in signals and chance.random() < 2 / 3:
            number, way = chance.randint(1, whole["operations"] // 2), chance.choice(("before", "after", "torn"))

            def prepare(number=number, way=way):
                announced.watch()
                die_at(number, way)

            status = run(command, said, prepare)
        else:
            process = start(command, said, announced.watch)
            time.sleep(chance.uniform(whole["start"] * 0.5, whole["seconds"]))
            os.kill(process, chance.choice(signals))
            status = wait(process)
        if status == 0:
            break
        died.append(status)
        if -status not in signals and status - 128 not in signals:
            return died, [f"it ended with {status}: {said.read_text()[-2000:]}"]
    return died, announced.lost() + differences(output_of(place, "whole"), output_of(place, name))


def measure_whole(config: Path) -> dict:
    """Let a run alone, and say what it takes: file operations and seconds, `start` of them before the first step."""
    place, began = config.parent, time.time()
    file = place / "operations"
    status = run(arguments(config, "whole"), place / "whole.txt", lambda: count_operations(file))
    if status:
        sys.exit(f"the run that is left alone ended with {signal_name(status)}: {(place / 'whole.txt').read_text()}")
    first = min(path.stat().st_mtime for path in [output_of(place, "whole") / "config.yaml"])
    return {"operations": int(file.read_text()), "seconds": time.time() - began, "start": first - began}


def kill_again_and_again(folder: Path, count: int, signals: tuple[signal.Signals, ...], seed: int = 0):
    """`count` kills, over as many runs as they take.

    Returns:
        how often the runs died of what, and all that was wrong.
    """
    config, chance = make_place(folder), random.Random(seed)
    whole = measure_whole(config)
    died, wrong, number = Counter(), [], 0
    while sum(died.values()) < count:
        number += 1
        left = count - sum(died.values())
        deaths, problems = kill_run(config, f"run{number}", signals, chance, whole, min(left, 8))
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
    import paddle  # noqa: F401  # once, for all runs

    with tempfile.TemporaryDirectory() as folder:
        died, wrong = kill_again_and_again(Path(folder), options.count, signals, options.seed)
    print(dict(died), *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
