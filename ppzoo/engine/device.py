"""Which device PaddlePaddle computes on."""

from __future__ import annotations

import logging
import os
from functools import cache

import paddle

from ppzoo.errors import ConfigError, DeviceError

logger = logging.getLogger("ppzoo")


def select_device(name: str) -> str:
    """Make `name` ("auto", "cpu", "gpu" or "gpu:N") the device of this process and return the one in use.

    Under PaddlePaddle's launcher "gpu:N" is "gpu", the one that the launcher chose for this process.

    "auto" is "gpu" where there is one, else "cpu", which it logs once if PaddlePaddle is built for GPUs.
    A build of PaddlePaddle without CUDA computes on the CPU whatever is asked for, and says so once: PaddleClas's files
    all ask for a GPU.

    Raises:
        DeviceError: a CUDA build that sees no GPU, or not as many as asked for.
    """
    if name == "auto":
        name = _any_device()
    if name.startswith("gpu") and "PADDLE_TRAINER_ID" in os.environ:
        name = "gpu"  # the launcher gives each process its own
    if name.startswith("gpu"):
        if not paddle.is_compiled_with_cuda():
            _say_cpu(name)
            name = "cpu"
        else:
            _require_gpu(name)
    paddle.set_device(name)
    return name


@cache
def _any_device() -> str:
    if not paddle.is_compiled_with_cuda():
        return "cpu"
    if paddle.device.cuda.device_count() == 0:
        logger.info("using the CPU: PaddlePaddle sees no GPU (Global.device is auto)")
        return "cpu"
    return "gpu"


@cache
def _say_cpu(name: str) -> None:
    logger.info("Global.device is %s, but this PaddlePaddle is built for the CPU: going on there", name)


def enable_determinism() -> None:
    """Let the device in use give the same bits for the same computation; the CPU does already.

    Raises:
        ConfigError: cuDNN is asked to choose its algorithms by their times, which are never the same.
    """
    if paddle.get_device() == "cpu":
        return
    search = "FLAGS_cudnn_exhaustive_search"
    if paddle.get_flags([search])[search]:
        raise ConfigError(f"Global.deterministic: expected the environment without {search}, got it; unset it")
    paddle.set_flags({"FLAGS_cudnn_deterministic": True, "FLAGS_embedding_deterministic": 1})


def _require_gpu(name: str) -> None:
    number = int(name.partition(":")[2] or 0)
    count = paddle.device.cuda.device_count()
    if number >= count:
        raise DeviceError(
            f"Global.device: expected a GPU numbered {number}, got a machine on which PaddlePaddle sees {count}"
            " (look at nvidia-smi and CUDA_VISIBLE_DEVICES); or set Global.device=cpu"
        )
