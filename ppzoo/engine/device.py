"""Which device PaddlePaddle computes on."""

from __future__ import annotations

import logging

import paddle

from ppzoo.errors import DeviceError

logger = logging.getLogger("ppzoo")


def select_device(name: str) -> str:
    """Make `name` ("cpu", "gpu" or "gpu:N") the device of this process and answer the one in use.

    A build of PaddlePaddle without CUDA computes on the CPU whatever is asked for, and says so: PaddleClas's files all
    ask for a GPU.

    Raises:
        DeviceError: a CUDA build that sees no GPU, or not as many as asked for.
    """
    if name.startswith("gpu"):
        if not paddle.is_compiled_with_cuda():
            logger.info("Global.device is %s, but this PaddlePaddle is built for the CPU: going on there", name)
            name = "cpu"
        else:
            _require_gpu(name)
    paddle.set_device(name)
    return name


def _require_gpu(name: str) -> None:
    number = int(name.partition(":")[2] or 0)
    count = paddle.device.cuda.device_count()
    if number >= count:
        raise DeviceError(
            f"Global.device: expected a GPU numbered {number}, received a machine on which PaddlePaddle sees {count}"
            " (look at nvidia-smi and CUDA_VISIBLE_DEVICES); or set Global.device=cpu"
        )
