"""An exported program, loaded and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from ppzoo.errors import PpzooError

PROGRAM = "inference"
SETTINGS = "inference.yml"


class Program:
    """The program of an export folder: images in, probabilities out.

    Args:
        folder: what `export` wrote.

    Raises:
        PpzooError: the folder is not an export.
    """

    def __init__(self, folder: Path) -> None:
        names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        has_program = names & {f"{PROGRAM}.json", f"{PROGRAM}.pdmodel"}
        if not (has_program and f"{PROGRAM}.pdiparams" in names and SETTINGS in names):
            raise PpzooError(
                f"{folder}: expected a folder with {PROGRAM}.json (or .pdmodel), {PROGRAM}.pdiparams and {SETTINGS},"
                f" received {sorted(names) or 'nothing'}; tools/export_model.py makes one"
            )
        self.settings: dict[str, Any] = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
        self._layer = paddle.jit.load(str(folder / PROGRAM))
        self._layer.eval()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, N x class_num, of preprocessed images, N x C x H x W float32."""
        return run(self._layer, images)


def run(layer: paddle.nn.Layer, images: np.ndarray) -> np.ndarray:
    """What a layer in evaluation mode answers to an array, without gradients."""
    with paddle.no_grad():
        return layer(paddle.to_tensor(images)).numpy()
