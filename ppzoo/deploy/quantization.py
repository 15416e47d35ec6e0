"""Quantize an ONNX model to int8 after training, with ONNX Runtime's quantizer.

Weights are quantized per channel, activations per tensor by the range of their values for the calibration images. The
result has QuantizeLinear and DequantizeLinear nodes, which ONNX Runtime and OpenVINO both turn into integer operators.

Weights have 7 bits, except for those of depthwise convolutions: on x86 processors without VNNI, both engines add pairs
of products in 16 bits, which overflows without an error for weights of 8 bits. Biases are corrected for the rounding of
the weights.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo.deploy.bias_correction import layer_attributes, mean_changes, subtract_from_biases
from ppzoo.deploy.onnx_graph import INPUT
from ppzoo.progress import track

LAYERS = ("Conv", "MatMul", "Gemm")
RANKING_IMAGES = 16


class Quantizer:
    """Quantizes a model on calibration images, one or several times with different layers in float32.

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
        self._weights = _weight_options(self._folded)
        rounded = _quantize(self._folded, images[:1], self._weights, nodes_to_exclude=self._last)
        self._changes = mean_changes(self._folded, rounded, images)

    def quantize(self, float_layers: Sequence[str] = ()) -> bytes:
        """Return the quantized model; its outputs are not rounded to the 256 values of int8.

        Args:
            float_layers: the layers that are not quantized.
        """
        layers = [name for name in self.layers if name not in float_layers]
        return self._quantize(self.images, layers, nodes_to_exclude=[*float_layers, *self._last])

    def rank_layers(self) -> list[str]:
        """Return the layers, first the one whose quantization alone changes the outputs most."""
        few = self.images[:RANKING_IMAGES]
        expected = _outputs(self._folded.SerializeToString(), few)
        errors = {
            name: float(np.abs(_outputs(self._quantize(few, [name], nodes_to_quantize=[name]), few) - expected).mean())
            for name in track(self.layers, len(self.layers), "comparing layers")
        }
        return sorted(self.layers, key=lambda name: -errors[name])

    def _quantize(self, images: np.ndarray, layers: Sequence[str], **options: Any) -> bytes:
        """Return the model whose `layers` have corrected biases, quantized with the options of `quantize_static`."""
        changes = {name: self._changes[name] for name in layers if name in self._changes}
        return _quantize(subtract_from_biases(self._folded, changes), images, self._weights, **options)


def _quantize(model: Any, images: np.ndarray, weights: Mapping[str, Any], **options: Any) -> bytes:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="ppzoo-") as name, _without_advice():
        source, target = Path(name) / "float32.onnx", Path(name) / "int8.onnx"
        source.write_bytes(model.SerializeToString())
        quantize_static(
            str(source),
            str(target),
            _calibration_reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": dict(weights)},
            **options,
        )
        return target.read_bytes()


def _weight_options(model: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the options of ONNX Runtime's quantizer for the weights that are quantized to 7 bits."""
    from onnxruntime.quantization import QuantType

    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    options = {}
    for node in model.graph.node:
        if node.op_type not in LAYERS or node.input[1] not in shapes:
            continue
        attributes, shape = layer_attributes(node), shapes[node.input[1]]
        # With several outputs per input channel, the engines compute a depthwise convolution like other grouped ones.
        depthwise = shape[0] == attributes.get("group", 1) > 1 and shape[1] == 1
        if not depthwise:
            output_axis = 0 if node.op_type == "Conv" or attributes.get("transB", 0) else len(shape) - 1
            options[node.input[1]] = [
                {"quant_type": QuantType.QInt8, "reduce_range": True, "symmetric": True, "axis": output_axis}
            ]
    return options


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
