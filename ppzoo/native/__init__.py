"""The native training path: PaddlePaddle's networks on the CPU through its own oneDNN, channels-last.

PaddlePaddle's CPU operators are slow to train with, depthwise convolutions above all. Here are operators of our own
over the oneDNN library that its wheel carries. The networks know nothing of it: the shared layers ask `takes(x)` and
use `ppzoo.native.operators` where it is true. Tensors keep their logical order, N x C x H x W; only their memory is
channels-last, so that all of PaddlePaddle's operators may stand between ours.

Static programs (`to_static`, `jit.save`), mixed precision, other types than float32 and other devices than the CPU
always take PaddlePaddle's operators.
"""

from __future__ import annotations

import gc
import logging
import os
from typing import Any, Literal, get_args

from ppzoo.errors import ConfigError, DeviceError

logger = logging.getLogger("ppzoo")

Mode = Literal["auto", "on", "off"]
VARIABLE = "PPZOO_NATIVE"

_active = False
_loaded = False
_refusal: str | None = None


def _fits(x: Any, axes: int) -> bool:
    """`operators.fits`, which stands here once the operators are loaded."""
    return False


def activate(mode: Mode = "auto") -> bool:
    """Use the native operators from here on, or PaddlePaddle's, and answer which it is.

    Args:
        mode: "on", "off", or "auto": on where it is possible. `PPZOO_NATIVE` in the environment goes before it.
            The first activation on a machine compiles the operators.

    Raises:
        ConfigError: another mode.
        DeviceError: "on" where the operators cannot be used.
    """
    global _active
    origin, asked = (VARIABLE, os.environ[VARIABLE]) if os.environ.get(VARIABLE) else ("Global.native", str(mode))
    if asked not in get_args(Mode):
        raise ConfigError(f"{origin}: expected auto, on or off, got {asked!r}")
    _active = False
    if asked != "off":
        refusal = _load()
        if refusal is not None and asked == "on":
            raise DeviceError(f"{origin}: expected operators that can be used, got: {refusal}; or set it to auto")
        if refusal is not None:
            logger.info("native CPU operators are not used: %s", refusal)
        _active = refusal is None
    return _active


def active() -> bool:
    """Whether the native operators are in use."""
    return _active


def takes(x: Any, axes: int = 4) -> bool:
    """Whether the native operators are to compute on `x` now, which must be a tensor of `axes` axes."""
    return _active and _fits(x, axes)


def _load() -> str | None:
    """Why the operators cannot be used, or None once they are loaded."""
    global _loaded, _refusal, _fits
    import paddle

    if not paddle.get_device().startswith("cpu"):
        return f"they are for the CPU, and the device is {paddle.get_device()}"
    if not _loaded and _refusal is None:
        from ppzoo.native import compilation

        try:
            compilation.load()
        except compilation.NativeUnavailableError as unavailable:
            _refusal = str(unavailable)
        else:
            from ppzoo.native.operators import fits

            _fits, _loaded = fits, True
            gc.freeze()  # the collector need not walk all that PaddlePaddle's import made again and again
    return _refusal
