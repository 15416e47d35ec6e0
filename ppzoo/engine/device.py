"""Select the device on which PaddlePaddle computes."""

from __future__ import annotations

import logging
import os
import re
from functools import cache

import paddle

from ppzoo.errors import ConfigError, DeviceError, count_text

logger = logging.getLogger("ppzoo")

LAUNCHED = "PADDLE_TRAINER_ID"  # set by PaddlePaddle's launcher, which assigns a GPU to each process


def require_device(name: str, option: str) -> None:
    """Check a device that was requested on the command line.

    A build of PaddlePaddle without CUDA raises an error if a GPU is requested here, but not for `Global.device` (see
    `select_device`).

    Args:
        option: the command-line option that requests the device, for messages.

    Raises:
        ConfigError: the name is not that of a device.
        DeviceError: the requested GPU does not exist, or PaddlePaddle was built without CUDA.
    """
    if not re.fullmatch(r"auto|cpu|gpu(:[0-9]+)?", name):
        raise ConfigError(f"{option}: expected 'cpu', 'gpu', 'gpu:N' or 'auto', got {name!r}")
    if not name.startswith("gpu"):
        return
    if not paddle.is_compiled_with_cuda():
        raise DeviceError(
            f"{option}: expected cpu, since this PaddlePaddle build has no CUDA support, got {name}; to use a GPU,"
            " install PaddlePaddle's GPU build"
        )
    _require_gpu("gpu" if LAUNCHED in os.environ else name, option)


def select_device(name: str) -> str:
    """Select the device "auto", "cpu", "gpu" or "gpu:N" for this process, and return the selected device.

    "auto" selects a GPU if there is one. Under PaddlePaddle's launcher "gpu:N" means "gpu", the GPU that the launcher
    assigned to this process. If PaddlePaddle was built without CUDA, the CPU is used instead of a requested GPU, which
    is logged once: it is no error, since all configurations of PaddleClas request a GPU.

    Raises:
        DeviceError: PaddlePaddle was built with CUDA, but the requested GPU does not exist.
    """
    if name == "auto":
        name = _auto_device()
    if name.startswith("gpu") and LAUNCHED in os.environ:
        name = "gpu"
    if name.startswith("gpu"):
        if not paddle.is_compiled_with_cuda():
            _log_cpu(name)
            name = "cpu"
        else:
            _require_gpu(name, "Global.device")
    paddle.set_device(name)
    return name


@cache
def _auto_device() -> str:
    if not paddle.is_compiled_with_cuda():
        return "cpu"
    if paddle.device.cuda.device_count() == 0:
        logger.info("using the CPU: PaddlePaddle sees no GPU (Global.device is auto)")
        return "cpu"
    return "gpu"


@cache
def _log_cpu(name: str) -> None:
    logger.info("using the CPU: this PaddlePaddle build has no CUDA support (Global.device is %s)", name)


def enable_determinism() -> None:
    """Make computations on the selected device reproducible bit-for-bit; on the CPU they always are.

    Raises:
        ConfigError: an environment variable lets cuDNN choose algorithms by their speed, which varies between runs.
    """
    if paddle.get_device() == "cpu":
        return
    flag = "FLAGS_cudnn_exhaustive_search"
    if paddle.get_flags([flag])[flag]:
        raise ConfigError(f"Global.deterministic conflicts with {flag}=1; unset that environment variable")
    paddle.set_flags({"FLAGS_cudnn_deterministic": True, "FLAGS_embedding_deterministic": 1})


def _require_gpu(name: str, key: str) -> None:
    """Refuse a GPU that PaddlePaddle does not see.

    Raises:
        DeviceError: there is no GPU of that number.
    """
    number = int(name.partition(":")[2] or 0)
    count = paddle.device.cuda.device_count()
    if number >= count:
        raise DeviceError(
            f"{key}: expected a GPU with number {number}, but PaddlePaddle sees {count_text(count, 'GPU')}; check"
            " nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
        )
