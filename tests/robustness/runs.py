"""A tiny training run that can be started often: it is forked off a process that has PaddlePaddle imported already.

The run is a MobileNetV2_x0_25 on a few of the images that ship with ppzoo, saved after each step. The parent must not
compute with PaddlePaddle itself, for its threads would not survive the fork.
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
OURS = ("*.pdparams", "*.pdopt", "*.pdstates", "*.pdema")


def make_place(folder: Path, *, train: int = 40, test: int = 20, epochs: int = 3, batch: int = 10) -> Path:
    """A folder with images by class and the configuration of a run, `config.yaml`; the run's output goes elsewhere."""
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


def output_of(place: Path, name: str) -> Path:
    """Where the run that `arguments` calls so writes."""
    return place / name / ARCHITECTURE


def arguments(config: Path, name: str, *overrides: str, resume: str = "auto") -> list[str]:
    """The command line of a run that writes into `name` beside its configuration."""
    options = [f"Global.output_dir={config.parent / name}", *overrides]
    return ["train", "-c", str(config), "--resume", resume, *(part for text in options for part in ("-o", text))]


def start(command: Sequence[str], said: Path, prepare: Callable[[], object] = lambda: None) -> int:
    """Fork a process that carries out a command line, and answer its number; what it says is appended to `said`.

    Args:
        prepare: is called in the new process first.
    """
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
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
    """The exit status of a process; that of a signal is negative."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def run(command: Sequence[str], said: Path, prepare: Callable[[], object] = lambda: None) -> int:
    return wait(start(command, said, prepare))


def differences(expected: Path, received: Path) -> list[str]:
    """What two folders of runs differ in: weights, optimizers and progress, to the bit, and logged figures."""
    names = {file.name for pattern in OURS for folder in (expected, received) for file in folder.glob(pattern)}
    found = [] if names else ["there are no weights"]
    for name in sorted(names):
        if not ((expected / name).is_file() and (received / name).is_file()):
            found.append(f"{name} is in one of the two only")
        elif not equal(read_state(expected / name), read_state(received / name)):
            found.append(f"{name} differs")
    for name, figures in (("history.jsonl", history), ("train.log", logged)):
        if figures(expected / name) != figures(received / name):
            found.append(f"the figures of {name} differ")
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


def history(file: Path) -> list[dict]:
    """The lines of `history.jsonl` without what was measured with a clock."""
    lines = map(json.loads, file.read_text().splitlines())
    return [{key: line[key] for key in ("epoch", "train", "eval", "lr")} for line in lines]


def logged(file: Path) -> dict[str, str]:
    """The last figures that a log has of each step and each epoch: all but speed and time."""
    figures = {}
    for line in file.read_text().splitlines():
        found = re.search(r"(epoch \d+/\d+(?:  step \d+/\d+)?)  (.*?)(?:  \||  )\s*\d+ images/s.*?(<- best)?$", line)
        if found:
            figures[found[1]] = f"{found[2]}{found[3] or ''}"
    return figures


def signal_name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else str(status)
