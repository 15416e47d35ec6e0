"""Time of a training with VisualDL, compared with the same training without a logger.

    python benchmarks/loggers.py                        # five rounds of three epochs of the README's first training
    python benchmarks/loggers.py --config FILE --epochs 5 --loggers visualdl,tensorboard

Both trainings run at the same time, each on a separate core, so that changes of the machine's speed affect both.
A round runs them twice, the second time with the cores exchanged; its ratio is the geometric mean of the two. Times
are those of complete commands. Linux only, at least two cores.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import comparison

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FLAGS_paddle_num_threads"), "1")


def training_seconds(config: str, epochs: int, loggers: str, core: int) -> float:
    """Return the seconds of `ppzoo train` on one core; the calling thread is restricted to this core, too."""
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
        command = [sys.executable, "-m", "ppzoo", "train", "-c", config, "-o", f"Global.epochs={epochs}"]
        command += ["-o", f"Global.loggers=[{loggers}]", "-o", f"Global.output_dir={folder}/run"]
        os.sched_setaffinity(0, {core})  # of this thread; the subprocess inherits it
        started = time.perf_counter()
        comparison.run_subprocess(command, config, THREADS)
        return time.perf_counter() - started


def run_simultaneously(config: str, epochs: int, loggers: str, cores: tuple[int, int]) -> tuple[float, float]:
    """Return the times with `loggers`, on the first core, and without a logger, on the second one."""
    with ThreadPoolExecutor(2) as pool:
        logged = pool.submit(training_seconds, config, epochs, loggers, cores[0])
        plain = pool.submit(training_seconds, config, epochs, "", cores[1])
        return logged.result(), plain.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mobilenet_v2_x0_5", help="what to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each training (default: %(default)s)")
    parser.add_argument("--loggers", default="visualdl", help="separated by commas (default: %(default)s)")
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    first, second = sorted(os.sched_getaffinity(0))[:2]
    run_simultaneously(options.config, 1, options.loggers, (first, second))  # compile the operators, fill the caches

    results: comparison.Results = {options.loggers: [], "no logger": []}
    table = comparison.Table({"round": 6, "with": 8, "without": 8, "ratio": 8})
    for number in range(1, options.pairs + 1):
        pairs = [
            run_simultaneously(options.config, options.epochs, options.loggers, cores)
            for cores in ((first, second), (second, first))
        ]
        logged, plain = (math.prod(times) ** 0.5 for times in zip(*pairs, strict=True))
        results[options.loggers].append(logged)
        results["no logger"].append(plain)
        table.print_row(str(number), f"{logged:.1f} s", f"{plain:.1f} s", f"{logged / plain:.3f}")
    ratios = comparison.ratios(results[options.loggers], results["no logger"])
    print(f"ratio: {comparison.summarize(ratios, '.3f')}")
    comparison.write_results(options, "Training with loggers", "seconds", {options.config: results})


if __name__ == "__main__":
    main()
