"""Native CPU operators: training on the CPU with kernels in C++ and channels-last memory.

PaddlePaddle's own CPU operators are slow in training, depthwise convolutions most of all. The operators here use
kernels of this package and the oneDNN library of PaddlePaddle's wheel. The networks do not depend on them: the shared
layers check `supports(x)` and call `ppzoo.native.operators` if it is true. Tensors keep their logical layout,
N x C x H x W; only their memory is channels-last, so that PaddlePaddle's operators can be used on them at any point.

PaddlePaddle's operators are always used for static programs (`to_static`, `jit.save`), `paddle.amp.auto_cast`, inputs
of other types than float32, devices other than the CPU, and on platforms other than Linux on x86-64 with AVX2. Within
`operators.autocast_bfloat16()`, some operators here compute in bfloat16. README.md describes the layers of the code and
how to add an operator.
"""

from __future__ import annotations

import gc
import logging
import os
from typing import Any, Literal, get_args

from ppzoo.errors import ConfigError, DeviceError
from ppzoo.host import instruction_sets

logger = logging.getLogger("ppzoo")

Mode = Literal["auto", "on", "off"]
MODE_VARIABLE = "PPZOO_NATIVE"

_enabled = False
_loaded = False
_unavailable_reason: str | None = None


def _is_supported(x: Any, ndim: int) -> bool:
    """Placeholder for `operators.is_supported`, which replaces it when the operators are loaded."""
    return False


def set_mode(mode: Mode = "auto") -> bool:
    """Select the native operators or PaddlePaddle's for this process, and return whether the native ones are used.

    Args:
        mode: "on", "off", or "auto", which uses the native operators if they are available. The environment variable
            `PPZOO_NATIVE` overrides it. The first use on a machine compiles the operators.

    Raises:
        ConfigError: the mode is not one of these.
        DeviceError: the mode is "on" and the native operators are not available.
    """
    global _enabled
    origin, requested = (
        (MODE_VARIABLE, os.environ[MODE_VARIABLE]) if os.environ.get(MODE_VARIABLE) else ("Global.native", str(mode))
    )
    if requested not in get_args(Mode):
        raise ConfigError(f"{origin}: expected auto, on or off, got {requested!r}")
    _enabled = False
    if requested != "off":
        reason = _load()
        if reason is not None and requested == "on":
            raise DeviceError(f"{origin}: native CPU operators are not available: {reason}; set it to auto or off")
        if reason is not None:
            logger.info("using PaddlePaddle's CPU operators: native operators are not available: %s", reason)
        _enabled = reason is None
    return _enabled


def is_enabled() -> bool:
    """Return whether the native operators are used."""
    return _enabled


def supports(x: Any, ndim: int = 4) -> bool:
    """Return whether the native operators are used for the tensor `x`, which must have `ndim` dimensions."""
    return _enabled and _is_supported(x, ndim)


def find_native_bfloat16_obstacle() -> str | None:
    """Return why the native operators cannot compute in bfloat16 in this process; None if they can."""
    if not _enabled:
        return "bfloat16 on the CPU needs the native operators, which are not used: set Global.native to on"
    if "avx512_bf16" not in instruction_sets().split():
        return "this processor has no bfloat16 instructions (AVX-512 BF16)"
    return None


def _load() -> str | None:
    """Load the operators; return None, or the reason why they are not available."""
    global _loaded, _unavailable_reason, _is_supported
    import paddle

    if not paddle.get_device().startswith("cpu"):
        return f"the device is {paddle.get_device()}"
    if not _loaded and _unavailable_reason is None:
        from ppzoo.native import compilation

        try:
            library = compilation.load()
        except compilation.NativeUnavailableError as unavailable:
            _unavailable_reason = str(unavailable)
        else:
            from ppzoo.native import operators

            operators.use_library(library)
            _is_supported, _loaded = operators.is_supported, True
            gc.freeze()  # excludes the many objects of PaddlePaddle's import from garbage collection
    return _unavailable_reason
