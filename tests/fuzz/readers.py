"""The fuzz targets: one function per reader of untrusted bytes. Only ppzoo's own errors are allowed.

`test_readers.py` runs them with hypothesis, `fuzz.py` with atheris; `corpus/NAME/` contains valid files and inputs of
earlier failures.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ppzoo.config.loading import load
from ppzoo.config.overrides import override
from ppzoo.data.datasets.tar_shards import TarShards
from ppzoo.data.idx_files import read_idx
from ppzoo.data.index import read_list
from ppzoo.data.transforms import Compose, DecodeImage, RandCropImage
from ppzoo.deploy.allowed_operators import require_allowed_operators
from ppzoo.errors import ConfigError, DataError, PpzooError, WeightsError
from ppzoo.weights import read, read_state
from ppzoo.yaml_io import dump, parse

CORPUS = Path(__file__).parent / "corpus"
SOME_CONFIG = b"Global: {epochs: 3, size: [3, 32, 32]}\nArch: {name: LeNet}\nops:\n- A: {b: 1}\n- C:\n"
MEMBER_PARTS = 3


def config(data: bytes, folder: Path) -> None:
    """A configuration file; writing and reading its content again must not change it."""
    file = folder / "config.yaml"
    file.write_bytes(data)
    content = load(file)
    again = parse(dump(content), "again")
    assert repr(again) == repr(content), "dump and parse do not agree"


def override_of(data: bytes, folder: Path) -> None:
    """Overrides of a small configuration, one per line."""
    content = parse(SOME_CONFIG, "base")
    for line in os.fsdecode(data).split("\n"):
        with contextlib.suppress(ConfigError):
            override(content, line)
    dump(content)


def list_file(data: bytes, folder: Path) -> None:
    """A list file; every entry of its index must match a line."""
    file = folder / "list.txt"
    file.write_bytes(data[1:])
    delimiter, class_num = [None, ",", " ", ";"][data[0] % 4 if data else 0], [None, 10][bool(data and data[0] & 4)]
    index = read_list(file, class_num=class_num, delimiter=delimiter)
    lines = data[1:].split(b"\n")
    for number in range(len(index)):
        assert index.path(number).encode() in lines[index.line(number) - 1]
        assert 0 <= index.labels[number] < (class_num or 2**31)


def idx(data: bytes, folder: Path) -> None:
    """An IDX file, plain or gzipped by its first byte."""
    (folder / ("images.gz" if data[:1] == b"z" else "images")).write_bytes(data[1:])
    array = read_idx(folder, "images", 3)
    assert array.dtype == np.uint8 and array.ndim == 3 and array.size


def weights(data: bytes, folder: Path) -> None:
    """A weight file of any format."""
    file = folder / "model.pdparams"
    file.write_bytes(data)
    for name, array in _weights_of(file).items():
        assert isinstance(name, str) and array.dtype.kind in "biuf"


def state(data: bytes, folder: Path) -> None:
    """The state of an optimizer or a run."""
    (folder / "model.pdopt").write_bytes(data)
    read_state(folder / "model.pdopt")


def packed_weights(data: bytes, folder: Path) -> None:
    """Archives (`.npz`, `.pth`) and inference models; only members are fuzzed, since checksums stop a fuzzer."""
    kind, parts = data[:1], data[1:].split(b"\0|\0|", MEMBER_PARTS - 1)
    parts += [b""] * (MEMBER_PARTS - len(parts))
    file = folder / "model"
    if kind == b"i":
        (folder / "model.pdiparams").write_bytes(parts[0])
        (folder / ("model.json" if parts[1][:1] == b"{" else "model.pdmodel")).write_bytes(parts[1])
        if parts[2]:
            (folder / "model.pdiparams.info").write_bytes(parts[2])
        file = folder / "model.pdiparams"
    else:
        names = ["w.npy", "b.npy", "c.npy"] if kind == b"n" else ["m/data.pkl", "m/data/0", "m/data/1"]
        with zipfile.ZipFile(file, "w") as archive:
            for name, part in zip(names, parts, strict=True):
                archive.writestr(name, part)
    _weights_of(file)


def _weights_of(file: Path) -> dict[str, np.ndarray]:
    before = file.read_bytes()
    arrays = read(file).arrays
    assert file.read_bytes() == before
    return arrays


def tar(data: bytes, folder: Path) -> None:
    """A tar shard; if it is accepted, its images can be read."""
    (folder / "a.tar").write_bytes(data)
    shards = TarShards(image_root=str(folder))
    for number in range(len(shards)):
        content, label = shards[number]
        assert content in data and 0 <= label < 10**9
        assert shards.describe(number)


def image(data: bytes, folder: Path) -> None:
    """An image file, decoded by both decoders and at reduced size."""
    pipelines = [[DecodeImage()], [DecodeImage(backend="pil")], [DecodeImage(reduced=1), RandCropImage(size=8)]]
    refused = 0
    for pipeline in pipelines:
        try:
            assert Compose(pipeline)(data, np.random.default_rng(0)).size
        except DataError as error:
            refused += 1
            last = error
    if refused == len(pipelines):
        raise last


def program(data: bytes, folder: Path) -> None:
    """The program of an export, in PaddlePaddle's two formats."""
    file = folder / ("inference.json" if data.lstrip()[:1] == b"{" else "inference.pdmodel")
    file.write_bytes(data)
    require_allowed_operators(file)


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "config": config,
    "override": override_of,
    "list": list_file,
    "idx": idx,
    "weights": weights,
    "state": state,
    "packed_weights": packed_weights,
    "tar": tar,
    "image": image,
    "program": program,
}
ALLOWED_ERRORS = {
    "config": ConfigError,
    **dict.fromkeys(("list", "idx", "tar", "image"), DataError),
    "program": PpzooError,
}


def feed(name: str, data: bytes) -> None:
    """Run a reader on `data`; its allowed errors are caught, and must have one line."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        try:
            READERS[name](data, Path(folder))
        except ALLOWED_ERRORS.get(name, WeightsError) as error:
            lines = error.problems if isinstance(error, ConfigError) else [str(error)]
            assert lines and all(line and "\n" not in line for line in lines), "the error has several lines"
            assert max(map(len, lines)) < 2000, "the error is too long"
            io.StringIO().write(str(PpzooError(error)))


def seeds(name: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]


def damage(data: bytes, rng: random.Random, count: int) -> bytes:
    """Change, remove, repeat or replace bytes at random, in `count` places."""
    changed = bytearray(data)
    for _ in range(count):
        start, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 4, 8, 40))
        new = (
            rng.randbytes(length),
            bytes(length),
            b"\xff" * length,
            changed[: rng.randrange(len(changed) + 1)][-length:],
            b"",
        )
        changed[start : start + rng.choice((0, length))] = rng.choice(new)
    return bytes(changed)
