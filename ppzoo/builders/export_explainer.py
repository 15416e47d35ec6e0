"""Explain the images that a service receives, with the network of an export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from ppzoo import deploy, explain
from ppzoo.builders.component_factory import build_transforms
from ppzoo.builders.explaining import Canvas, InputReader
from ppzoo.builders.rebuilding import NotRebuiltError, config_of_export, require_weights
from ppzoo.errors import ConfigError


class ExportExplainer:
    """Draws Grad-CAM overlays of images with the network of an export; one thread at a time can use it.

    The network is rebuilt for the first image, in float32 and on the CPU.

    Raises:
        ConfigError: the network cannot be rebuilt.
    """

    def __init__(self, exported: deploy.ExportedModel) -> None:
        self._exported, self._photo = exported, _ReceivedPhoto()
        self._reader: InputReader | None = None
        with _errors_with_reason_only():
            config = config_of_export(exported, "cpu")
            require_weights(exported)
        # The first use of native operators can compile them, which would take too long for a request.
        self._config = replace(config, Global=replace(config.Global, native="off"))
        self._canvas = Canvas(build_transforms(exported.transform_ops).transforms)

    def __call__(self, image: bytes, class_id: int | None = None) -> np.ndarray:
        """Return an image with the overlay of a class, by default the predicted one; H x W x 3 uint8.

        Raises:
            DataError: it is not an image.
            ConfigError: the network cannot be rebuilt or has no such class, or the image has another shape than the
                images before it.
        """
        self._photo.content = image
        with _errors_with_reason_only():
            if self._reader is None:
                self._require_unchanged()
                self._reader = InputReader(self._config, self._photo, self._exported)
            result = self._reader.read(0)
        heatmap = explain.grad_cam(self._reader.network, result.image, class_id)
        return self._canvas.draw_both(image, result.pixels, heatmap)[1]

    def _require_unchanged(self) -> None:
        """Raise NotRebuiltError if the files of the export have changed since it was opened."""
        folder = self._exported.folder
        if deploy.open_export(folder).identity != self._exported.identity:
            raise NotRebuiltError(folder, "its files have changed since it was loaded")


@contextmanager
def _errors_with_reason_only() -> Iterator[None]:
    """Replace a `NotRebuiltError` by its reason: the folder and the fix in its message are for the command line."""
    try:
        yield
    except NotRebuiltError as error:
        raise ConfigError(error.reason) from error


class _ReceivedPhoto:
    """The bytes of one image file as a dataset, which change from one reading to the next."""

    def __init__(self) -> None:
        self.content = b""
        self.labels = np.zeros(1, np.int64)
        self.classes: list[str] | None = None

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        return self.content, 0

    def describe(self, index: int) -> str:
        return "image"
