"""Compare a student trained by distillation with the same student trained without a teacher, for several seeds.

    python benchmarks/distillation.py --folder distillation
    python benchmarks/distillation.py --folder distillation --seeds 1 2 3 --epochs 15

The images are those of Fashion-MNIST that ppzoo includes. The teacher, PPLCNet_x0_5 with a total stride of 8 instead
of 32, is trained once for 20 epochs. The student, PPLCNet_x0_25, is trained twice: with the cross entropy of the labels
("alone"), and with 0.9 times the divergence from the teacher (temperature 4) plus 0.1 times this cross entropy
("distilled"). Everything else is the same: images of 32 x 32 pixels, epochs, learning rate, and for each seed the order
and the augmentation of the images. The accuracy is that after the last epoch, so that no epoch is selected with the
evaluation data. "gain" is the difference of the two accuracies. The exit status is 1 unless the mean gain exceeds both
the standard deviation and the range of the accuracies of "alone". Finished runs in the folder are not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import comparison
import yaml

TEACHER, STUDENT = "PPLCNet_x0_5", "PPLCNet_x0_25"
TEACHER_STRIDES = [1, 2, 2, 2, 1]
TEACHER_EPOCHS = 20
TEMPERATURE, TEACHER_WEIGHT = 4, 0.9
COMMAND = "import sys; from ppzoo.cli import main; sys.exit(main(sys.argv[1:]))"


def configuration(folder: Path, seed: int, epochs: int, arch: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run with its outputs in `folder`."""
    run = {
        "epochs": epochs,
        "seed": seed,
        "output_dir": str(folder),
        "save_interval": epochs,
        "use_visualdl": False,
    }
    return {"_BASE_": "_base_/fashion_mnist_32.yaml", "Global": run, "Arch": arch}


def distilled(config: dict[str, Any], teacher: Path) -> dict[str, Any]:
    """Return the configuration of a run in which the teacher with the weights in a file trains the student."""
    models = [
        {"Teacher": {"name": TEACHER, "stride_list": TEACHER_STRIDES, "pretrained": str(teacher)}},
        {"Student": {"name": STUDENT}},
    ]
    divergence = {"weight": TEACHER_WEIGHT, "temperature": TEMPERATURE, "model_name_pairs": [["Student", "Teacher"]]}
    labels = {"weight": round(1 - TEACHER_WEIGHT, 6), "model_names": ["Student"]}
    return {
        **config,
        "Arch": {"name": "DistillationModel", "class_num": 10, "freeze_params_list": [True, False], "models": models},
        "Loss": {"Train": [{"DistillationKLDivLoss": divergence}, {"DistillationGTCELoss": labels}]},
        "Metric": {"Train": [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 5]}}]},
    }


def train(config: dict[str, Any], name: str) -> float:
    """Train a configuration unless that is done, and return top-1 after the last epoch."""
    folder = Path(config["Global"]["output_dir"])
    history = folder / config["Arch"]["name"] / "history.jsonl"
    if not is_finished(history, config["Global"]["epochs"]):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-c", COMMAND, "train", "-c", str(file), "--resume", "auto"]
        comparison.run_subprocess(command, name, {})
    return float(json.loads(history.read_text(encoding="utf-8").splitlines()[-1])["eval"]["top1"])


def is_finished(history: Path, epochs: int) -> bool:
    lines = history.read_text(encoding="utf-8").splitlines() if history.is_file() else []
    return bool(lines) and json.loads(lines[-1])["epoch"] >= epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="at least two (default: 1 2 3)")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of the student (default: 15)")
    options = parser.parse_args()
    if len(options.seeds) < 2:
        parser.error("--seeds: expected at least two seeds")
    root = options.folder.resolve()
    teacher = configuration(root / "teacher", 0, TEACHER_EPOCHS, {"name": TEACHER, "stride_list": TEACHER_STRIDES})
    print(f"teacher {TEACHER}: top-1 {train(teacher, 'teacher'):.4f}", flush=True)
    table = comparison.Table({"seed": 4, "alone": 8, "distilled": 9, "gain": 8})
    alone, gains = [], []
    for seed in options.seeds:
        config = configuration(root / f"alone-{seed}", seed, options.epochs, {"name": STUDENT})
        alone.append(train(config, f"alone, seed {seed}"))
        config = configuration(root / f"distilled-{seed}", seed, options.epochs, {})
        config = distilled(config, root / "teacher" / TEACHER / "latest.pdparams")
        value = train(config, f"distilled, seed {seed}")
        gains.append(value - alone[-1])
        table.print_row(str(seed), f"{alone[-1]:.4f}", f"{value:.4f}", f"{gains[-1]:+.4f}")
    gain, deviation, spread = statistics.mean(gains), statistics.stdev(alone), max(alone) - min(alone)
    print(f"mean gain {gain:.4f}; of the student alone: standard deviation {deviation:.4f}, range {spread:.4f}")
    sys.exit(gain <= max(deviation, spread))


if __name__ == "__main__":
    main()
