"""From the command to the end of the first training step, beside PaddlePaddle's own import.

    python benchmarks/startup.py                        # the README's default run
    python benchmarks/startup.py --config FILE

Each round runs both in turn. The native operators are compiled beforehand, files are in the system's cache. What is
between the two is ppzoo's: starting anew with the settings that PaddlePaddle needs, configuration, data, network,
optimizer, the trial, the first step, and whatever it imports.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

import comparison

ROOT = comparison.Path(__file__).resolve().parent.parent
FIRST_STEP = "step 1/"


def import_seconds() -> float:
    """The time that a process takes which imports PaddlePaddle and does nothing with it."""
    started = time.perf_counter()
    environment = {**os.environ, "GLOG_minloglevel": "2"}
    subprocess.run([sys.executable, "-c", "import paddle"], env=environment, capture_output=True, check=True)
    return time.perf_counter() - started


def first_step_seconds(config: str) -> float:
    """The time from the command until the log tells of the first step; the training is ended then."""
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
        started = time.perf_counter()
        command = [sys.executable, "-u", "tools/train.py", "-c", config, "-o", "Global.print_batch_step=1"]
        command += ["-o", f"Global.output_dir={folder}"]
        said = []
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if FIRST_STEP in line:
                    seconds = time.perf_counter() - started
                    process.kill()
                    return seconds
    raise SystemExit(f"{config}: the training ended before its first step: {(said or ['it said nothing'])[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/mobilenet_v2_x0_5.yaml", help="a configuration that trains")
    comparison.add_outputs(parser)
    options = parser.parse_args()
    first_step_seconds(options.config)  # compiles, and fills the caches
    contestants = {"import paddle": import_seconds, "first step": lambda: first_step_seconds(options.config)}
    figures = comparison.rounds(contestants, options.pairs)
    beyond = [step - alone for step, alone in zip(figures["first step"], figures["import paddle"], strict=True)]
    for name, values in {**figures, "beyond the import": beyond}.items():
        print(f"{name:18} {comparison.spread(values)} s")
    comparison.write(options, "Start-up", "seconds", {options.config: figures})


if __name__ == "__main__":
    main()
