"""int8 models: weights that do not overflow on any processor, and biases corrected for their rounding."""

import numpy as np
import pytest
from helpers.needs import needs_engine

from ppzoo.deploy.bias_correction import mean_changes, subtract_from_biases
from ppzoo.deploy.onnx_graph import INPUT
from ppzoo.deploy.quantization import Quantizer

CHANNELS = 64
IMAGES = np.random.default_rng(0).uniform(0, 2, (20, CHANNELS, 5, 5)).astype("float32")


def write_model():
    """Return an ONNX model with a 1x1, a depthwise and a grouped convolution, and a linear layer."""
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.default_rng(1)

    def weights(name, *shape):
        return numpy_helper.from_array(random.normal(0.1, 1, shape).astype("float32"), name)

    constants = [
        weights("pointwise_w", CHANNELS, CHANNELS, 1, 1),
        weights("depthwise_w", CHANNELS, 1, 3, 3),
        weights("grouped_w", 8, CHANNELS // 2, 3, 3),
        weights("grouped_b", 8),
        weights("linear_w", 8, 3),
        weights("linear_b", 3),
    ]
    nodes = [
        helper.make_node("Conv", [INPUT, "pointwise_w"], ["a"], name="pointwise"),
        helper.make_node("Conv", ["a", "depthwise_w"], ["b"], name="depthwise", group=CHANNELS),
        helper.make_node("Conv", ["b", "grouped_w", "grouped_b"], ["c"], name="grouped", group=2),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "linear_w", "linear_b"], ["e"], name="linear"),
        helper.make_node("Softmax", ["e"], ["y"]),
    ]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in ((INPUT, ["n", CHANNELS, 5, 5]), ("y", ["n", 3]))
    ]
    graph = helper.make_graph(nodes, "test", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@pytest.fixture(scope="module")
def model():
    needs_engine("onnxruntime")
    return write_model()


@pytest.fixture(scope="module")
def quantized(model):
    return Quantizer(model.SerializeToString(), IMAGES).quantize()


def constants_of(model):
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def run(model, output, images=IMAGES):
    """Return the values of a tensor, computed without merging QuantizeLinear nodes into integer operators."""
    import onnx
    import onnxruntime

    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([output], {INPUT: images})[0]


def test_only_weights_of_depthwise_convolutions_have_8_bits(quantized):
    """Two products of 8-bit activations and 7-bit weights fit into 16 bits: 2 * 255 * 64 < 2**15."""
    import onnx

    found = constants_of(onnx.load_from_string(quantized))
    largest = {name: np.abs(found[f"{name}_w_quantized"].astype(int)).max() for name in ("pointwise", "depthwise")}
    assert largest == {"pointwise": 64, "depthwise": 127}
    assert np.abs(found["grouped_w_quantized"].astype(int)).max() == 64
    assert np.abs(found["linear_w_quantized"].astype(int)).max() == 64


def test_sums_that_would_overflow_with_8_bits_are_right():
    """All activations and weights at their largest values, in integer operators of this processor."""
    import onnx
    import onnxruntime

    needs_engine("onnxruntime")
    model = write_model()
    ones = onnx.numpy_helper.from_array(np.ones((CHANNELS, CHANNELS, 1, 1), "float32"), "pointwise_w")
    del model.graph.node[1:], model.graph.output[:], model.graph.initializer[:]
    model.graph.initializer.append(ones)
    model.graph.output.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, ["n", CHANNELS, 5, 5]))
    images = np.full((3, CHANNELS, 5, 5), 2, "float32")
    images[0, 0] = 0
    quantized = Quantizer(model.SerializeToString(), images).quantize()
    session = onnxruntime.InferenceSession(quantized, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {INPUT: images})[0][1:], 2 * CHANNELS, rtol=0.02)


@pytest.mark.parametrize(("layer", "output"), [("pointwise", "a"), ("depthwise", "b"), ("grouped", "c")])
def test_changes_of_the_means_of_convolutions(model, layer, output):
    """Each layer alone: its input is that of the model in float32."""
    import onnx

    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    quantized = Quantizer(model.SerializeToString(), IMAGES).quantize()
    values = constants_of(onnx.load_from_string(quantized))
    scale = values[f"{layer}_w_scale"].reshape(-1, 1, 1, 1)
    for tensor in rounded.graph.initializer:
        if tensor.name == f"{layer}_w":
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(values[f"{layer}_w_quantized"].astype("float32") * scale, tensor.name)
            )
    # Images that are equal at all pixels, so that the mean at each tap of a filter is that of the channel.
    images = np.broadcast_to(IMAGES.mean(axis=(2, 3), keepdims=True), IMAGES.shape).copy()
    expected = (run(rounded, output, images) - run(model, output, images)).mean(axis=(0, 2, 3))
    found = mean_changes(model, quantized, images)[layer]
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(run(model, output, images)).max())
    assert np.abs(expected).max() > 1e-3


def test_corrected_biases_keep_the_means_of_the_channels(model, quantized, monkeypatch):
    import onnx

    monkeypatch.setattr("ppzoo.deploy.quantization.mean_changes", lambda *_: {})
    uncorrected = Quantizer(model.SerializeToString(), IMAGES).quantize()
    expected = run(model, "a").mean(axis=(0, 2, 3))
    errors = [
        np.abs(run(onnx.load_from_string(found), "a").mean(axis=(0, 2, 3)) - expected).mean()
        for found in (quantized, uncorrected)
    ]
    assert errors[0] < 0.3 * errors[1]


def test_layers_without_a_bias_get_one(model):
    corrected = subtract_from_biases(model, {"pointwise": np.arange(CHANNELS, dtype="float32")})
    difference = run(corrected, "a") - run(model, "a")
    np.testing.assert_allclose(difference.mean(axis=(0, 2, 3)), -np.arange(CHANNELS), atol=1e-4)
    assert len(model.graph.node[0].input) == 2


def test_layers_in_float32_keep_their_biases(model):
    import onnx

    quantized = onnx.load_from_string(Quantizer(model.SerializeToString(), IMAGES).quantize(["linear"]))
    assert "linear_corrected_bias" not in constants_of(quantized)
    np.testing.assert_array_equal(constants_of(quantized)["linear_b"], constants_of(model)["linear_b"])


def test_replaced_biases_are_removed(model):
    """ONNX Runtime prints a warning about each constant that no node reads."""
    corrected = subtract_from_biases(model, {"linear": np.zeros(3, "float32")})
    assert constants_of(corrected).keys() ^ constants_of(model).keys() == {"linear_b", "linear_corrected_bias"}


def test_several_outputs_per_group_of_one_channel_have_7_bits():
    """ONNX Runtime and OpenVINO have a special operator only for one output per channel."""
    import onnx

    needs_engine("onnxruntime")
    model = write_model()
    weights = np.random.default_rng(2).normal(0, 1, (2 * CHANNELS, 1, 3, 3)).astype("float32")
    del model.graph.node[2:], model.graph.output[:], model.graph.initializer[1:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "depthwise_w"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None))
    found = constants_of(onnx.load_from_string(Quantizer(model.SerializeToString(), IMAGES).quantize()))
    assert np.abs(found["depthwise_w_quantized"].astype(int)).max() == 64
