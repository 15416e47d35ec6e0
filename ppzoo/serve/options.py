"""The options of a service; importing them does not import FastAPI, so that the command line can show the defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ppzoo.errors import ConfigError
from ppzoo.host import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np

    from ppzoo.deploy import ExportedModel

    Explain = Callable[[bytes, int | None], np.ndarray]
    """Returns the picture of an image file with the Grad-CAM overlay of a class, or of the predicted one (None)."""
    OpenExplain = Callable[[ExportedModel], Explain]

EngineName = Literal["auto", "paddle", "onnxruntime", "openvino"]
MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a service.

    Attributes:
        max_upload: bytes of a request's body.
        max_buffered: bytes of the bodies of all requests together.
        max_pixels: width x height of an image.
        max_images: images in a request.
        queue: images that wait for a network.
        timeout: the longest time in seconds to receive the header of a request, then its body, then to compute its
            result.
        max_wait: the longest time in seconds that an image waits for others to form a batch.
    """

    max_upload: int = 16 * MEGABYTE
    max_buffered: int = 256 * MEGABYTE
    max_pixels: int = 50_000_000
    max_images: int = 64
    queue: int = 256
    timeout: float = 10.0
    max_wait: float = 0.002

    def __post_init__(self) -> None:
        for key in ("max_upload", "max_buffered", "max_pixels", "max_images", "queue", "timeout"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"{key}: expected a number above 0, got {getattr(self, key)}")
        if not 0 <= self.max_wait <= 1:
            raise ConfigError(f"max_wait: expected 0 to 1 seconds, got {self.max_wait}")
        if self.max_pixels > MAX_PIXELS:
            raise ConfigError(f"max_pixels: expected at most {MAX_PIXELS}, got {self.max_pixels}")


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """Options of a service.

    Attributes:
        exports: name -> folder.
        token: the token that requests have to send; None without one.
        reload: load an export again when its files change.
        open_explain: returns the function that draws the Grad-CAM overlays of an export, or raises a `ConfigError` with
            the reason why they cannot be drawn; None if no overlays are drawn.
    """

    exports: Mapping[str, Path]
    batch_size: int = 8
    engine: EngineName = "auto"
    token: str | None = None
    reload: bool = True
    open_explain: OpenExplain | None = None
    limits: Limits = field(default_factory=Limits)
