"""ONNX Runtime and OpenVINO, which are often faster than Paddle Inference on a CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from ppzoo.deploy.batch import Batch, Normalization
from ppzoo.deploy.onnx_model import INPUT
from ppzoo.deploy.paddle_engine import shape_error
from ppzoo.host import usable_cores

PRECISION_HINT = "INFERENCE_PRECISION_HINT"

Model = bytes | tuple[bytes, bytes]
"""A serialized ONNX model; for OpenVINO also the two files of its intermediate representation."""


class OnnxEngine:
    """Base class of the engines that run ONNX models.

    Args:
        model: see `Model`.
        chw: image shape, C x H x W.
        takes_pixels: whether the model takes H x W x C uint8 images; else C x H x W float32.
        batch_size: the usual batch size.
        precision: "float32", "bfloat16" (OpenVINO only) or "int8", for a model that is quantized.
        normalization: how to normalize H x W x C uint8 images for a model that takes C x H x W float32. It is ignored
            unless the engine `normalizes`.

    Attributes:
        normalizes: whether the engine is faster when it normalizes the pixels itself.
        image_shape: the shape of the images that the engine takes.
        takes_pixels: whether the engine takes H x W x C uint8 images; else C x H x W float32.

    Raises:
        ConfigError: the normalization has another number of channels than the model.
    """

    name = ""
    normalizes = False

    def __init__(
        self,
        model: Model,
        chw: list[int],
        *,
        takes_pixels: bool,
        batch_size: int,
        precision: str = "float32",
        normalization: Normalization | None = None,
    ) -> None:
        self.chw, self.batch_size, self.precision = chw, batch_size, precision
        self.normalization = normalization if self.normalizes and not takes_pixels else None
        self.takes_pixels = takes_pixels or self.normalization is not None
        self.image_shape = [*chw[1:], chw[0]] if self.takes_pixels else chw
        self.dtype: type[np.generic] = np.uint8 if self.takes_pixels else np.float32
        self._load(model)

    def _load(self, model: Model) -> None:
        raise NotImplementedError

    def __call__(self, images: np.ndarray) -> np.ndarray:
        batch = self.batch(images.shape)
        for index, image in enumerate(images):
            batch.set_image(index, image)
        return batch.probabilities()

    def batch(self, shape: tuple[int, ...]) -> Batch:
        if list(shape[1:]) != self.image_shape:
            raise shape_error((shape[0], shape[3], shape[1], shape[2]) if self.takes_pixels else shape)
        return self._batch(shape)

    def _batch(self, shape: tuple[int, ...]) -> Batch:
        raise NotImplementedError


class OnnxRuntime(OnnxEngine):
    """An export in ONNX Runtime, on all usable cores."""

    name = "onnxruntime"

    def _load(self, model: Model) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        if self.batch_size > 1:
            # Meanwhile, other threads or processes decode images: threads that wait in a loop would take their cores.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with _as_runtime_error():
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _batch(self, shape: tuple[int, ...]) -> Batch:
        return Batch(np.empty(shape, self.dtype), self._run)

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        with _as_runtime_error():
            return self._session.run(None, {INPUT: images})


@contextmanager
def _as_runtime_error() -> Iterator[None]:
    """Turn the errors of ONNX Runtime, which have no base class in common, into `RuntimeError`."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    try:
        yield
    except tuple(getattr(state, name) for name in names) as error:
        raise RuntimeError(str(error)) from error


class OpenVino(OnnxEngine):
    """An export in OpenVINO, on all usable cores, in float32 unless another precision is given.

    For small models the images of a batch run in parallel, one per core, so that the intermediate results of an image
    stay in the cache of its core. A single image, and a batch of a large model, uses all cores together.
    """

    name = "openvino"
    normalizes = True
    MAX_SMALL_MODEL = 64 << 20  # bytes

    def _load(self, model: Model) -> None:
        self._is_small = sum(map(len, [model] if isinstance(model, bytes) else model)) < self.MAX_SMALL_MODEL
        single, dynamic = [1, *self.image_shape], [-1, *self.image_shape]
        self._program = self._compile(model, single if self._is_small else dynamic, {"PERFORMANCE_HINT": "LATENCY"})
        self._parallel_program = None
        if self._is_small and self.batch_size > 1:
            self._parallel_program = self._compile(model, single, {"NUM_STREAMS": min(usable_cores(), self.batch_size)})
        self._requests = self._open_requests((1, *self.image_shape))

    def _compile(self, model: Model, shape: list[int], options: dict[str, Any]) -> Any:
        """Compile a model for inputs of that shape; a first dimension of -1 is dynamic."""
        loaded = read_openvino(model)
        if self.normalization is not None:
            _prepend_normalization(loaded, self.normalization, self.chw)
        loaded.reshape(shape)
        kind = "bf16" if self.precision == "bfloat16" else "f32"
        options = {"INFERENCE_NUM_THREADS": usable_cores(), PRECISION_HINT: kind, **options}
        return core().compile_model(loaded, "CPU", options)

    def _batch(self, shape: tuple[int, ...]) -> Batch:
        self._requests.wait()
        if shape[0] != len(self._requests.images):
            self._requests = self._open_requests(shape)
        return self._requests

    def _open_requests(self, shape: tuple[int, ...]) -> _Requests:
        program = self._program if shape[0] == 1 else self._parallel_program or self._program
        return _Requests(program, np.zeros(shape, self.dtype), 1 if self._is_small else shape[0])


class _Requests(Batch):
    """The inference requests of a batch, each for `images_per_request` images; they share the memory of `images`."""

    def __init__(self, program: Any, images: np.ndarray, images_per_request: int) -> None:
        import openvino

        self.images = images
        self._output_count = len(program.outputs)
        starts = range(0, len(images), images_per_request)
        self._requests = [program.create_infer_request() for _ in starts]
        for start, request in zip(starts, self._requests, strict=True):
            part = images[start : start + images_per_request]
            request.set_input_tensor(openvino.Tensor(part, shared_memory=True))

    def set_image(self, index: int, image: np.ndarray) -> None:
        self.images[index] = image
        if len(self._requests) > 1:
            self._requests[index].start_async()

    def outputs(self) -> list[np.ndarray]:
        if len(self._requests) == 1:
            self._requests[0].infer(share_outputs=True)  # runs in this thread, which avoids a thread switch
        else:
            self.wait()
        return [self._output(number) for number in range(self._output_count)]

    def _output(self, number: int) -> np.ndarray:
        # `output_tensors` would be 20 times as slow as `get_output_tensor`.
        return np.concatenate([request.get_output_tensor(number).data for request in self._requests])

    def wait(self) -> None:
        """Wait for all requests that were started, also those of an abandoned batch."""
        for request in self._requests:
            request.wait()


def _prepend_normalization(model: Any, normalization: Normalization, chw: list[int]) -> None:
    """Let an OpenVINO model of N x C x H x W float32 take N x H x W x C uint8, which it normalizes."""
    from openvino import opset13

    normalization.require_channels(chw[0])
    channels, height, width = chw
    pixels = opset13.parameter([-1, height, width, channels], np.uint8)
    # OpenVINO is slow if the last axis has only the channels.
    rows = opset13.convert(opset13.reshape(pixels, [-1, height, width * channels], False), "f32")
    scaled = opset13.multiply(rows, np.tile(normalization.scale, width))
    shifted = opset13.add(scaled, np.tile(normalization.shift, width))
    images = opset13.transpose(opset13.reshape(shifted, [-1, height, width, channels], False), [0, 3, 1, 2])
    (images_before,) = model.get_parameters()
    images_before.output(0).replace(images.output(0))
    model.add_parameters([pixels])
    model.remove_parameter(images_before)
    model.validate_nodes_and_infer_types()


def read_openvino(model: Model) -> Any:
    """Return the OpenVINO model of a serialized ONNX model or of the two files of OpenVINO's own format."""
    return core().read_model(model) if isinstance(model, bytes) else core().read_model(*model)


def supports_bfloat16() -> bool:
    """Return whether OpenVINO can compute in bfloat16 on this processor."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def core() -> Any:
    """Return OpenVINO's `Core`, of which there is only one per process.

    Each `Core` installs an alternate signal stack for the thread and restores the previous one when it is destroyed.
    If several are destroyed in another order than the reverse of their creation, a freed stack stays installed, and
    the next signal crashes the process.
    """
    import openvino

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_release_idle_threads)
    return openvino.Core()


def _release_idle_threads() -> None:
    """Let OpenVINO release the threads of models that no longer exist, which it keeps for the next model.

    A fork does not copy threads: the next model of the child would wait for them forever. OpenVINO releases them
    whenever its plugin for CPUs is unloaded, also if this was the plugin of a temporary `Core`.
    """
    import openvino

    temporary = openvino.Core()
    temporary.get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # loads the plugin
