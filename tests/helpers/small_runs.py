"""Images of one color per class, and the configuration of a run that trains on them in seconds."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from helpers.pictures import COLORS, paint
from helpers.quick import override_options
from ppzoo.cli import main

NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
OPS = [{"DecodeImage": {}}, {"ResizeImage": {"size": 32}}, NORMALIZE]
CLASS_COLORS = {**COLORS, "yellow": (230, 220, 30)}
GRAY = (128, 128, 128)


def paint_class_folders(
    root: Path, names: Iterable[str] = tuple(COLORS), *, count: int = 8, seed: int = 0, file: str = "{number}.png"
) -> Path:
    """Create a folder of `count` images per class; the color is that of the class name in lower case, or else gray."""
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            path = root / name / file.format(name=name, number=number)
            paint(path, CLASS_COLORS.get(name.lower(), GRAY), seed=seed + number)
    return root


def split_config(root: Path, ops: list = OPS, **sampler: Any) -> dict[str, Any]:
    """Return a section of `DataLoader` for the class folders in `root`."""
    dataset = {"name": "ImageFolder", "image_root": str(root), "transform_ops": copy.deepcopy(ops)}
    return {"dataset": dataset, "sampler": {"batch_size": 4, "drop_last": False, **sampler}}


def small_config(folder: Path, arch: str, *, ops: list = OPS, topk: int = 1) -> dict[str, Any]:
    """Return the configuration of a run of one epoch with its outputs in `folder`.

    It trains, evaluates and predicts the class folders in `folder/images` with the transforms `ops`.
    """
    images = folder / "images"
    return {
        "Global": {
            "device": "cpu",
            "native": "off",
            "epochs": 1,
            "seed": 1,
            "output_dir": str(folder / "output"),
            "save_inference_dir": str(folder / "inference"),
            "image_shape": [3, 32, 32],
        },
        "Arch": {"name": arch},
        "Loss": {"Train": [{"CELoss": None}], "Eval": [{"CELoss": None}]},
        "Optimizer": {"name": "Momentum", "lr": {"name": "Constant", "learning_rate": 0.0001}},
        "DataLoader": {"Train": split_config(images, ops), "Eval": split_config(images, ops)},
        "Infer": {
            "infer_imgs": str(images),
            "transforms": [*ops, {"ToCHWImage": None}],
            "PostProcess": {"name": "Topk", "topk": topk},
        },
        "Metric": {"Eval": [{"TopkAcc": {"topk": [1]}}]},
    }


def command(name: str, workspace: Path, *overrides: str) -> list[str]:
    """Return the arguments that run a command with `config.yaml` in a folder and values of -o."""
    return [name, "-c", str(workspace / "config.yaml"), *override_options(*overrides)]


def train_config(folder: Path, config: dict[str, Any]) -> None:
    """Write a configuration as `config.yaml` and train it."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    assert main(["train", "-c", str(file)]) == 0
