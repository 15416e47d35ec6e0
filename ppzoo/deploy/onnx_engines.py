"""ONNX Runtime and OpenVINO: on a CPU they are often faster than Paddle Inference, each in its own layout of images."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ppzoo.deploy.batch import Batch
from ppzoo.deploy.onnx_model import INPUT
from ppzoo.deploy.paddle_engine import shape_error
from ppzoo.host import usable_cores


class OnnxEngine:
    """What the engines that read ONNX share.

    Args:
        model: a serialized ONNX model.
        planes: C x H x W of its images.
        takes_pixels: whether the model takes H x W x C bytes; else C x H x W float32.
        batch_size: images that come at once, mostly.

    Attributes:
        image_shape: of what the model takes.
        normalizes: whether it is faster when it makes floats of pixels by itself.
    """

    name = ""
    normalizes = False

    def __init__(self, model: bytes, planes: list[int], *, takes_pixels: bool, batch_size: int) -> None:
        self.planes, self.takes_pixels = planes, takes_pixels
        self.image_shape = [*planes[1:], planes[0]] if takes_pixels else planes
        self.dtype: type[np.generic] = np.uint8 if takes_pixels else np.float32

    def __call__(self, images: np.ndarray) -> np.ndarray:
        batch = self.batch(images.shape)
        for index, image in enumerate(images):
            batch.put(index, image)
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

    def __init__(self, model: bytes, planes: list[int], *, takes_pixels: bool, batch_size: int) -> None:
        import onnxruntime

        super().__init__(model, planes, takes_pixels=takes_pixels, batch_size=batch_size)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _batch(self, shape: tuple[int, ...]) -> Batch:
        return Batch(np.empty(shape, self.dtype), lambda images: self._session.run(None, {INPUT: images})[0])


class OpenVino(OnnxEngine):
    """An export in OpenVINO, on all usable cores; in float32, where OpenVINO by itself might compute in bfloat16.

    The images of a batch are computed side by side, where the weights are few: an image's intermediate results then
    stay in its core's cache. A single image, and a batch where the weights are many, has all cores to itself.
    """

    name = "openvino"
    normalizes = True
    FEW = 64 << 20  # bytes

    def __init__(self, model: bytes, planes: list[int], *, takes_pixels: bool, batch_size: int) -> None:
        super().__init__(model, planes, takes_pixels=takes_pixels, batch_size=batch_size)
        self._has_few = len(model) < self.FEW
        one, any_number = [1, *self.image_shape], [-1, *self.image_shape]
        self._program = _compiled(model, one if self._has_few else any_number, {"PERFORMANCE_HINT": "LATENCY"})
        self._side_by_side = None
        if self._has_few and batch_size > 1:
            self._side_by_side = _compiled(model, one, {"NUM_STREAMS": min(usable_cores(), batch_size)})
        self._requests = self._open_requests((1, *self.image_shape))

    def _batch(self, shape: tuple[int, ...]) -> Batch:
        self._requests.end()
        if shape[0] != len(self._requests.images):
            self._requests = self._open_requests(shape)
        return self._requests

    def _open_requests(self, shape: tuple[int, ...]) -> _Requests:
        program = self._program if shape[0] == 1 else self._side_by_side or self._program
        return _Requests(program, np.zeros(shape, self.dtype), 1 if self._has_few else shape[0])


class _Requests(Batch):
    """What a compiled program is asked about the images of a batch, `each` of them at a time."""

    def __init__(self, program: Any, images: np.ndarray, each: int) -> None:
        import openvino

        self.images = images
        self._requests = [program.create_infer_request() for _ in range(0, len(images), each)]
        for number, request in enumerate(self._requests):
            part = images[number * each : (number + 1) * each]
            request.set_input_tensor(openvino.Tensor(part, shared_memory=True))

    def put(self, index: int, image: np.ndarray) -> None:
        self.images[index] = image
        if len(self._requests) > 1:
            self._requests[index].start_async()

    def probabilities(self) -> np.ndarray:
        if len(self._requests) == 1:
            self._requests[0].infer()  # computes in this thread, which saves handing over
            return self._requests[0].get_output_tensor().data.copy()
        self.end()
        return np.concatenate([request.get_output_tensor().data for request in self._requests])

    def end(self) -> None:
        """Wait for what was begun, of a batch that was given up too."""
        for request in self._requests:
            request.wait()


def _compiled(model: bytes, shape: list[int], options: dict[str, Any]) -> Any:
    """A program for images of that shape, whose first number may be -1: any."""
    read = _core().read_model(model)
    read.reshape(shape)
    shared = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": usable_cores()}
    return _core().compile_model(read, "CPU", {**shared, **options})


@cache
def _core() -> Any:
    """OpenVINO, once in a process.

    Each `Core` gives the thread a stack for signals and takes its predecessor's back when it goes: where several go in
    another order than they came, the stack that is left is not there any more, and the next signal ends the process.
    """
    import openvino

    return openvino.Core()
