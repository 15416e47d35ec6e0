"""CIFAR-10 and CIFAR-100 from the archives that PaddlePaddle fetches and keeps.

Their files are pickles, which are read by `ppzoo.weights.unpickle`: nothing in them is ever executed. (Where the images
lie as files, one folder a class, `ImageFolder` reads them.)
"""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ppzoo.data.datasets.base import DATASETS, check_class_count
from ppzoo.errors import ConfigError, DataError, WeightsError
from ppzoo.weights.unpickle import unpickle

PADDLE_CACHE = Path("~/.cache/paddle/dataset/cifar")
MAX_MEMBER_BYTES = 1 << 28
PIXELS = 3 * 32 * 32


class _CIFAR:
    """What the two have in common: 32 x 32 colour images; each subclass says how its archive is laid out.

    Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", 2009.

    Args:
        data_file: the archive, or the folder that was unpacked from it; None: PaddlePaddle's own copy, which
            `paddle.vision.datasets.Cifar10()` or `Cifar100()` fetches.
        mode: which part.
        class_num: number of classes of the network. None: not checked.

    Raises:
        ConfigError: another mode.
        DataError: the archive is missing, damaged or not CIFAR's; or there are more classes than `class_num`.
    """

    archive: str
    folder: str
    parts: dict[str, list[str]]
    label_key: str
    names: tuple[str, str]
    count: int
    paddle_name: str

    def __init__(
        self,
        *,
        data_file: str | None = None,
        mode: Literal["train", "test"] = "train",
        class_num: int | None = None,
    ) -> None:
        if mode not in self.parts:
            raise ConfigError(f"{type(self).__name__}.mode: expected 'train' or 'test', received {mode!r}")
        check_class_count(self.count, class_num, f"{type(self).__name__} has")
        self.mode = mode
        self.file = Path(data_file) if data_file else PADDLE_CACHE.expanduser() / self.archive
        if not self.file.exists():
            raise DataError(
                f"expected {self.archive} at {str(self.file)!r}, nothing is there: correct dataset.data_file, or "
                f"leave it out and run `python -c 'import paddle; paddle.vision.datasets.{self.paddle_name}()'`"
            )
        meta, key = self.names
        contents = self._read([meta, *self.parts[mode]])
        self.classes = self._field(contents[0], key, self.count)
        batches = [self._batch(content) for content in contents[1:]]
        self.images = np.concatenate([images for images, _ in batches])
        self.labels = np.concatenate([labels for _, labels in batches])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index].reshape(3, 32, 32).transpose(1, 2, 0).copy(), int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"sample {index} of {type(self).__name__} ({self.mode})"

    def _read(self, names: list[str]) -> list[Any]:
        """What is pickled in some files of the archive, or of the folder."""
        if self.file.is_dir():
            root = self.file if (self.file / names[0]).is_file() else self.file / self.folder
            return [self._unpickle((root / name).read_bytes(), name) for name in names if self._is_file(root / name)]
        found = {}
        try:
            with tarfile.open(self.file, "r:gz") as archive:
                for member in archive:
                    name = member.name.removeprefix(f"{self.folder}/")
                    if name in names and member.isreg() and member.size <= MAX_MEMBER_BYTES:
                        stream = archive.extractfile(member)
                        found[name] = self._unpickle(stream.read() if stream else b"", name)
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
            raise DataError(f"{self.file}: cannot be read as an archive ({error}): fetch it again") from error
        missing = [name for name in names if name not in found]
        if missing:
            raise DataError(f"{self.file}: expected {self.folder}/{missing[0]} in it, which is missing: fetch it again")
        return [found[name] for name in names]

    def _is_file(self, path: Path) -> bool:
        if not path.is_file():
            raise DataError(f"expected the file {str(path)!r}, which is missing: unpack {self.archive} again")
        return True

    def _unpickle(self, content: bytes, name: str) -> Any:
        try:
            return unpickle(io.BytesIO(content), f"{self.file}: {name}")
        except WeightsError as error:
            raise DataError(f"{error}; fetch {self.archive} again") from error

    def _field(self, content: Any, key: str, count: int | None = None) -> list[Any]:
        values = content.get(key) if isinstance(content, dict) else None
        if not isinstance(values, list) or (count is not None and len(values) != count):
            raise DataError(f"{self.file}: expected a list called {key!r}, which is missing or wrong: fetch it again")
        return values

    def _batch(self, content: Any) -> tuple[np.ndarray, np.ndarray]:
        labels = self._field(content, self.label_key)
        images = content.get("data")
        right = all(type(label) is int and 0 <= label < self.count for label in labels)
        if not (
            right
            and isinstance(images, np.ndarray)
            and images.dtype == np.uint8
            and images.shape == (len(labels), PIXELS)
        ):
            raise DataError(f"{self.file}: its images and labels do not fit each other: fetch it again")
        return images, np.array(labels)


@DATASETS.register
class CIFAR10(_CIFAR):
    """50,000 + 10,000 images of ten classes; the options are those of `_CIFAR`."""

    archive, folder = "cifar-10-python.tar.gz", "cifar-10-batches-py"
    parts = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    label_key, names = "labels", ("batches.meta", "label_names")
    count, paddle_name = 10, "Cifar10"


@DATASETS.register
class CIFAR100(_CIFAR):
    """50,000 + 10,000 images of a hundred classes; the options are those of `_CIFAR`."""

    archive, folder = "cifar-100-python.tar.gz", "cifar-100-python"
    parts = {"train": ["train"], "test": ["test"]}
    label_key, names = "fine_labels", ("meta", "fine_label_names")
    count, paddle_name = 100, "Cifar100"
