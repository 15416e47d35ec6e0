"""Quantize an ONNX model to int8 after training, with ONNX Runtime's quantizer.

Weights are quantized per channel, activations by the range of values that calibration images cause. The result has
QuantizeLinear and DequantizeLinear nodes, which ONNX Runtime and OpenVINO both turn into integer operators.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo.deploy.onnx_graph import INPUT
from ppzoo.progress import track

LAYERS = ("Conv", "MatMul", "Gemm")
RANKING_IMAGES = 16


class Quantizer:
    """Quantizes one model with the same calibration images.

    Args:
        model: a serialized ONNX model.
        images: the calibration images, in the layout of the model's input.

    Attributes:
        layers: names of the layers with weights that can be quantized.
    """

    def __init__(self, model: bytes, images: np.ndarray) -> None:
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.images = images
        with tempfile.TemporaryDirectory(prefix="ppzoo-") as name, _without_advice():
            source, target = Path(name) / "model.onnx", Path(name) / "folded.onnx"
            source.write_bytes(model)
            quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
            self._folded = onnx.load(str(target))
        for number, node in enumerate(self._folded.graph.node):
            node.name = node.name or f"node_{number}"
        nodes, outputs = self._folded.graph.node, {output.name for output in self._folded.graph.output}
        self.layers = [node.name for node in nodes if node.op_type in LAYERS]
        self._last = [node.name for node in nodes if outputs & set(node.output) and node.op_type not in LAYERS]

    def quantize(self, float_layers: Sequence[str] = ()) -> bytes:
        """Return the quantized model; its outputs are not rounded to the 256 values of int8.

        Args:
            float_layers: the layers that are not quantized.
        """
        return self._quantize(self.images, nodes_to_exclude=[*float_layers, *self._last])

    def rank_layers(self) -> list[str]:
        """Return the layers, first the one whose quantization alone changes the outputs most."""
        few = self.images[:RANKING_IMAGES]
        expected = _outputs(self._folded.SerializeToString(), few)
        errors = {
            name: float(np.abs(_outputs(self._quantize(few, nodes_to_quantize=[name]), few) - expected).mean())
            for name in track(self.layers, len(self.layers), "comparing layers")
        }
        return sorted(self.layers, key=lambda name: -errors[name])

    def _quantize(self, images: np.ndarray, **options: Any) -> bytes:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        with tempfile.TemporaryDirectory(prefix="ppzoo-") as name, _without_advice():
            source, target = Path(name) / "folded.onnx", Path(name) / "int8.onnx"
            source.write_bytes(self._folded.SerializeToString())
            quantize_static(
                str(source),
                str(target),
                _calibration_reader(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                **options,
            )
            return target.read_bytes()


def _calibration_reader(images: np.ndarray) -> Any:
    """Return ONNX Runtime's interface to the calibration images, one at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._remaining = iter(range(len(images)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            index = next(self._remaining, None)
            return None if index is None else {INPUT: images[index : index + 1]}

    return Reader()


def _outputs(model: bytes, images: np.ndarray) -> np.ndarray:
    """Return the probabilities of a model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: images})[0]


@contextmanager
def _without_advice() -> Iterator[None]:
    """Hide the advice that ONNX Runtime's quantizer logs."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
