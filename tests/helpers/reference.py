"""Reference values of PaddleClas (`fixtures/reference`), and the weights and images with which they were measured."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent.parent / "fixtures" / "reference"
LIGHT = FOLDER / "paddleclas_light"  # with `gain`: kernels are `fill(key, shape) * gain`
FILES = {file.stem: file for folder in ("paddleclas", LIGHT.name) for file in (FOLDER / folder).glob("*.npz")}
STATISTICS = FILES.pop("init")  # of the initial weights of the networks in LIGHT
ARCHITECTURES = sorted(FILES)


def architecture(name: str) -> dict[str, np.ndarray]:
    """Return `keys`, `names`, `shapes`, `size`, `logits_0`, ... of one architecture."""
    with np.load(FILES[name]) as file:
        return dict(file)


def initial_statistics(name: str) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of the initial values of large tensors, by structured name."""
    with np.load(STATISTICS if FILES[name].parent == LIGHT else FOLDER / "init.npz") as file:
        pairs = zip(file[f"{name}/keys"].tolist(), file[f"{name}/mean_std"].tolist(), strict=True)
        return {key: (mean, std) for key, (mean, std) in pairs}


def read_json(name: str):
    return json.loads((FOLDER / name).read_text())


def read_npz(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name) as file:
        return dict(file)


def fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the float32 value of the state-dict entry `key` in the measurements."""
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if key.endswith("._variance"):
        value = random.uniform(0.5, 1.5, shape)
    elif key.endswith("._mean"):
        value = random.normal(0.0, 0.1, shape)
    elif len(shape) == 4:
        value = random.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape)
    elif len(shape) == 2:
        value = random.normal(0.0, np.sqrt(1.0 / shape[0]), shape)
    elif key.endswith(("weight", "scale")):
        value = random.uniform(0.8, 1.2, shape)
    else:
        value = random.normal(0.0, 0.1, shape)
    return value.astype("float32")


def fill_network(network, gain: float = 1.0) -> None:
    """Set every entry of the state dict to its reference value; kernels are multiplied by `gain`."""
    values = {key: fill(key, tuple(value.shape)) for key, value in network.state_dict().items()}
    missing, unexpected = network.set_state_dict(
        {key: (value * gain).astype("float32") if value.ndim == 4 else value for key, value in values.items()}
    )
    assert not missing and not unexpected


def image(batch: int, size: int, seed: int) -> np.ndarray:
    """Return normalized images, N x 3 x size x size float32."""
    return np.random.RandomState(seed).normal(0.0, 1.0, (batch, 3, size, size)).astype("float32")
