"""A tiny training run that starts fast: it is forked from a process that has already imported PaddlePaddle.

The run trains MobileNetV2_x0_25 on a few of the images included in ppzoo, and saves a checkpoint after each step. The
parent must not compute with PaddlePaddle, whose threads would not survive the fork.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from ppzoo import cli
from ppzoo.data.datasets.fashion_mnist import FashionMNIST
from ppzoo.weights import read_state

ARCHITECTURE = "MobileNetV2_x0_25"
CHECKPOINT_FILES = ("*.pdparams", "*.pdopt", "*.pdstates", "*.pdema")


def make_workspace(folder: Path, *, train: int = 40, test: int = 20, epochs: int = 3, batch: int = 10) -> Path:
    """Create a folder with images by class and the configuration of a run, and return the path of `config.yaml`."""
    for mode, count in (("train", train), ("test", test)):
        images = FashionMNIST(mode=mode, class_num=10)
        for number in range(count):
            pixels, label = images[number]
            file = folder / mode / f"{label}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    for label in range(10):  # every class has a folder in both parts
        for mode in ("train", "test"):
            (folder / mode / f"{label}").mkdir(exist_ok=True)
    lists = {mode: folder / f"{mode}.txt" for mode in ("train", "test")}
    for mode, file in lists.items():
        paths = sorted((folder / mode).rglob("*.png"))
        file.write_text("".join(f"{path.relative_to(folder)} {path.parent.name}\n" for path in paths))
    normalize = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
    resize = {"ResizeImage": {"size": 32}}

    def part(mode, ops, **sampler):
        dataset = {
            "name": "ImageNetDataset",
            "image_root": str(folder),
            "cls_label_path": str(lists[mode]),
            "transform_ops": [{"DecodeImage": {}}, *ops, normalize],
        }
        sampler = {"name": "DistributedBatchSampler", "batch_size": batch, "drop_last": False, **sampler}
        return {"dataset": dataset, "sampler": sampler, "loader": {"num_workers": 0}}

    config = {
        "Global": {
            "device": "cpu",
            "native": "off",
            "epochs": epochs,
            "seed": 3,
            "image_shape": [3, 32, 32],
            "save_interval": 1,
            "keep": 2,
            "save_interval_steps": 1,
            "print_batch_step": 1,
            "use_visualdl": False,
            "output_dir": str(folder / "output"),
        },
        "Arch": {"name": ARCHITECTURE, "class_num": 10},
        "Loss": {"Train": [{"CELoss": {"weight": 1.0, "epsilon": 0.1}}], "Eval": [{"CELoss": {"weight": 1.0}}]},
        "Metric": {"Train": [{"TopkAcc": {"topk": [1, 5]}}], "Eval": [{"TopkAcc": {"topk": [1, 5]}}]},
        "Optimizer": {
            "name": "Momentum",
            "momentum": 0.9,
            "lr": {"name": "Cosine", "learning_rate": 0.05, "warmup_epoch": 0},
            "regularizer": {"name": "L2", "coeff": 0.00003},
        },
        "DataLoader": {
            "Train": part("train", [resize, {"RandFlipImage": {"flip_code": 1}}], shuffle=True),
            "Eval": part("test", [resize], shuffle=False),
        },
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def output_of(workspace: Path, name: str) -> Path:
    """Return the output folder of the run with that name in `arguments`."""
    return workspace / name / ARCHITECTURE


def arguments(config: Path, name: str, *overrides: str, resume: str = "auto") -> list[str]:
    """Return the arguments of a run that writes into `name` in the folder of its configuration."""
    options = [f"Global.output_dir={config.parent / name}", *overrides]
    return ["train", "-c", str(config), "--resume", resume, *(part for text in options for part in ("-o", text))]


def start(command: Sequence[str], log: Path, prepare: Callable[[], object] = lambda: None) -> int:
    """Fork a process that runs a command of ppzoo, and return its process ID.

    Args:
        command: the arguments of `ppzoo`.
        log: the output of the process is appended to this file.
        prepare: called first in the new process.
    """
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, errors="backslashreplace") for number in (1, 2))
        prepare()
        status = cli.main(command)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 70
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(process: int) -> int:
    """Wait for a process and return its exit status, which is negative after a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run(command: Sequence[str], log: Path, prepare: Callable[[], object] = lambda: None) -> int:
    return wait(start(command, log, prepare))


def differences(expected: Path, received: Path) -> list[str]:
    """Return the differences between two folders of runs: weights, optimizers, progress (bit-for-bit), metrics."""
    names = {
        file.name for pattern in CHECKPOINT_FILES for folder in (expected, received) for file in folder.glob(pattern)
    }
    found = [] if names else ["no weights found"]
    for name in sorted(names):
        if not ((expected / name).is_file() and (received / name).is_file()):
            found.append(f"{name} is missing in one of them")
        elif not equal(read_state(expected / name), read_state(received / name)):
            found.append(f"{name} differs")
    for name, read_metrics in (("history.jsonl", read_history), ("train.log", read_log)):
        if read_metrics(expected / name) != read_metrics(received / name):
            found.append(f"the metrics of {name} differ")
    return found + [
        f"{file.name} is left over" for file in received.iterdir() if ".new" in file.name or file.suffix == ".tmp"
    ]


def equal(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.dtype == second.dtype and first.tobytes() == second.tobytes()
    if isinstance(first, dict):
        same = isinstance(second, dict) and first.keys() == second.keys()
        return same and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return isinstance(second, type(first)) and len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and first == second


def read_history(file: Path) -> list[dict]:
    """Return the lines of `history.jsonl` without measured times."""
    lines = map(json.loads, file.read_text().splitlines())
    return [{key: line[key] for key in ("epoch", "train", "eval", "lr")} for line in lines]


def read_log(file: Path) -> dict[str, str]:
    """Return the last metrics that were logged for each step and each epoch, without speed and time."""
    metrics = {}
    for line in file.read_text().splitlines():
        found = re.search(r"(epoch \d+/\d+(?:  step \d+/\d+)?)  (.*?)(?:  \||  )\s*\d+ images/s.*?(<- best)?$", line)
        if found:
            metrics[found[1]] = f"{found[2]}{found[3] or ''}"
    return metrics


def signal_name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else str(status)
