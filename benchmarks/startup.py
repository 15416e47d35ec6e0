"""Time from starting the training command to the end of its first step, compared with importing PaddlePaddle alone.

    python benchmarks/startup.py                        # the first training of the README
    python benchmarks/startup.py --config FILE

Each round measures both times. Before the first round, the native operators are compiled, and all files are read once,
so that they are in the page cache.

The difference between the two times is the time of ppzoo: restarting the process with the environment variables that
PaddlePaddle needs, its own imports, the configuration, data, network, optimizer, the trial run of the network, and the
first step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

import comparison

FIRST_STEP = "step 1/"


def import_seconds() -> float:
    """Return the time that a process needs to import PaddlePaddle and exit."""
    started = time.perf_counter()
    environment = {**os.environ, "GLOG_minloglevel": "2"}
    subprocess.run([sys.executable, "-c", "import paddle"], env=environment, capture_output=True, check=True)
    return time.perf_counter() - started


def first_step_seconds(config: str) -> float:
    """Return the time from starting the command until the first step is logged; the training is then killed."""
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
        started = time.perf_counter()
        command = [sys.executable, "-u", "tools/train.py", "-c", config, "-o", "Global.print_batch_step=1"]
        command += ["-o", f"Global.output_dir={folder}"]
        lines = []
        with subprocess.Popen(
            command, cwd=comparison.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if FIRST_STEP in line:
                    seconds = time.perf_counter() - started
                    process.kill()
                    return seconds
    raise SystemExit(f"{config}: the training ended before its first step: {(lines or ['no output'])[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", default="configs/mobilenet_v2_x0_5.yaml", help="the configuration to train (default: %(default)s)"
    )
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    first_step_seconds(options.config)  # compile the operators and fill the caches
    measurements = {"import paddle": import_seconds, "first step": lambda: first_step_seconds(options.config)}
    results = comparison.run_rounds(measurements, options.pairs)
    difference = [step - alone for step, alone in zip(results["first step"], results["import paddle"], strict=True)]
    table = comparison.Table({"measurement": 14, "seconds": comparison.RATIO_WIDTH})
    for name, values in {**results, "difference": difference}.items():
        table.print_row(name, comparison.summarize(values))
    comparison.write_results(options, "Start-up", "seconds", {options.config: results})


if __name__ == "__main__":
    main()
