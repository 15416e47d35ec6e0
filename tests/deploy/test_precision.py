"""Lower precisions: accuracy is measured, a drop is refused or layers stay in float32, "auto" compares on images."""

import logging

import cv2
import numpy as np
import paddle
import pytest
from helpers.needs import needs_engine

import ppzoo
from ppzoo.deploy import CheckImages, ExportOptions, LowerPrecision, export_formats, open_export, precision, run_engine
from ppzoo.deploy.engines import open_engine
from ppzoo.deploy.onnx_engines import supports_bfloat16
from ppzoo.errors import ConfigError

SETTINGS = {
    "PreProcess": {"transform_ops": [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 5, "label_list": ["cat", "dog", "owl"]}},
}
IMAGES = np.random.default_rng(0).standard_normal((24, 3, 16, 16), dtype=np.float32)


def network():
    paddle.seed(3)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 8, 3, stride=2),
        paddle.nn.ReLU(),
        paddle.nn.Conv2D(8, 8, 3),
        paddle.nn.Flatten(),
        paddle.nn.Linear(200, 3),
    )


def write(folder, kinds, kind, *, max_drop=1.0, accuracies=None):
    """Export with a lower precision; `accuracies` replaces the results of the evaluations."""
    model = network()
    labels = model(paddle.to_tensor(IMAGES)).numpy().argmax(1)
    results = iter(accuracies or ())

    def evaluate(engines):
        if accuracies is not None:
            return {name: next(results) for name in engines}  # float32 comes first, in the first evaluation only
        return {
            name: float((run_engine(engine, IMAGES, None)[0].argmax(1) == labels).mean())
            for name, engine in engines.items()
        }

    calibration = CheckImages(IMAGES, None, "the training data") if kind == "int8" else None
    lower = LowerPrecision(kind, calibration, evaluate, max_drop)
    export_formats(model, folder, [3, 16, 16], SETTINGS, ExportOptions(kinds), lower=lower)
    return folder


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    needs_engine("onnxruntime")
    needs_engine("openvino")
    return write(tmp_path_factory.mktemp("int8") / "inference", ("paddle", "onnx", "openvino"), "int8")


def test_int8_is_added_and_predicts_nearly_the_same(quantized):
    exported = open_export(quantized)
    assert exported.int8_formats == ("onnx", "openvino")
    stated = exported.settings["Deployment"]["int8"]
    assert stated["top1_float32"] == 1 and stated["top1_onnx"] > 0.8 and stated["top1_openvino"] > 0.8
    assert stated["calibration"] == {"images": 24, "source": "the training data"}
    pixels = list(np.random.default_rng(1).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8))
    scores = {}
    for engine, kind in (("paddle", "float32"), ("onnxruntime", "int8"), ("openvino", "int8")):
        predictor = ppzoo.Predictor(quantized, engine=engine, precision=kind)
        assert predictor.precision == kind
        scores[engine] = np.array([row["scores"][0] for row in predictor.predict(pixels)])
    for engine in ("onnxruntime", "openvino"):
        difference = np.abs(scores[engine] - scores["paddle"]).max()
        assert 0 < difference < 0.2


def test_probabilities_in_int8_are_not_rounded(quantized):
    pixels = list(np.random.default_rng(1).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8))
    for engine in ("onnxruntime", "openvino"):
        found = ppzoo.Predictor(quantized, engine=engine, precision="int8").probabilities(pixels)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_openvino_normalizes_the_pixels_of_a_quantized_model(quantized):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    predictor = ppzoo.Predictor(quantized, engine="openvino", precision="int8")
    assert predictor.engine.takes_pixels
    normalized = np.stack([predictor.preprocess(image, np.random.default_rng(0)) for image in pixels])
    expected = open_engine("openvino", open_export(quantized), 16, precision="int8")(normalized)
    np.testing.assert_allclose(predictor.probabilities(list(pixels)), expected, atol=1e-5)


def test_weights_are_quantized_per_channel(quantized):
    import onnx

    model = onnx.load(str(quantized / "inference_int8.onnx"))
    scales = {array.name: len(onnx.numpy_helper.to_array(array).ravel()) for array in model.graph.initializer}
    weights = [node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert sorted(scales[name] for name in weights if scales.get(name, 1) > 1)[-2:] == [8, 8]


def test_the_precision_of_the_export_is_the_default_where_the_engine_has_it(quantized, caplog):
    assert ppzoo.Predictor(quantized, engine="openvino").precision == "int8"
    assert ppzoo.Predictor(quantized, engine="paddle").precision == "float32"
    assert "using float32 instead of int8: precision: expected engine onnxruntime or openvino" in caplog.text
    assert ppzoo.Predictor(quantized, engine="openvino", precision="auto").precision == "float32"


def test_precisions_can_be_compared_on_one_image(quantized, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = tmp_path / "photo.png"
    file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    for images in (str(file), [str(file)], file.read_bytes(), image):
        predictor = ppzoo.Predictor(quantized, engine="openvino", precision="auto", images=images)
        assert predictor.precision in ("float32", "bfloat16", "int8")


def test_a_float32_export_that_the_engine_cannot_run_is_one_error(tmp_path, caplog):
    folder = tmp_path / "inference"
    export_formats(network(), folder, [3, 16, 16], SETTINGS)
    with pytest.raises(ConfigError, match="engine: expected one of auto"):
        ppzoo.Predictor(folder, engine="nothing")
    assert "instead of" not in caplog.text


def test_a_drop_is_reduced_by_layers_in_float32(tmp_path):
    needs_engine("onnxruntime")
    folder = write(tmp_path / "inference", ("onnx",), "int8", max_drop=0.01, accuracies=[0.9, 0.8, 0.895])
    stated = open_export(folder).settings["Deployment"]["int8"]
    assert len(stated["float32_layers"]) == 1 and stated["top1_onnx"] == 0.895


def test_a_drop_that_remains_is_refused_and_nothing_is_written(tmp_path):
    needs_engine("onnxruntime")
    with pytest.raises(
        ConfigError, match=r"--precision int8: .* got 0\.1000 \(0\.9000 to 0\.8000\), also with"
    ) as error:
        write(tmp_path / "inference", ("onnx",), "int8", max_drop=0.01, accuracies=[0.9, *[0.8] * 9])
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_bfloat16(tmp_path):
    needs_engine("openvino")
    if not supports_bfloat16():
        with pytest.raises(ConfigError, match="expected a processor with bfloat16"):
            write(tmp_path / "inference", ("openvino",), "bfloat16")
        return
    folder = write(tmp_path / "inference", ("openvino",), "bfloat16")
    assert open_export(folder).settings["Deployment"]["bfloat16"]["top1_openvino"] > 0.9
    predictor = ppzoo.Predictor(folder)
    assert (predictor.precision, predictor.engine.name) == ("bfloat16", "openvino")
    with pytest.raises(ConfigError, match=r"got 0\.5000 \(0\.9000 to 0\.4000\); nothing was exported"):
        write(tmp_path / "other", ("openvino",), "bfloat16", max_drop=0.1, accuracies=[0.9, 0.4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision: expected one of auto, float32, bfloat16, int8, got 'int4'"),
        ({"precision": "int8", "engine": "paddle"}, "precision: expected engine onnxruntime or openvino for int8"),
        ({"precision": "bfloat16", "engine": "onnxruntime"}, "precision: expected engine openvino for bfloat16"),
        ({"images": ["a.png"]}, "images: expected precision='auto' with images, got None"),
        ({"max_drop": 2}, "max_drop: expected 0 to 1, got 2"),
        ({"max_drop": "1%"}, "max_drop: expected 0 to 1, got '1%'"),
        ({"batch_size": 2.0}, "batch_size: expected an integer of at least 1, got 2.0"),
        ({"batch_size": "4"}, "batch_size: expected an integer of at least 1, got '4'"),
    ],
)
def test_mistakes_are_one_line(quantized, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        ppzoo.Predictor(quantized, **options)
    assert "\n" not in str(error.value)


def test_int8_without_a_quantized_export_is_refused(tmp_path):
    export_formats(network(), tmp_path / "inference", [3, 16, 16], SETTINGS)
    with pytest.raises(ConfigError, match=r"expected an export with an int8 model, got .* --precision int8`"):
        ppzoo.Predictor(tmp_path / "inference", precision="int8")


@pytest.mark.parametrize(("fastest", "expected"), [("int8", "int8"), ("float32", "float32")])
def test_auto_uses_the_fastest_that_agrees(quantized, monkeypatch, caplog, fastest, expected):
    caplog.set_level(logging.INFO, "ppzoo")
    monkeypatch.setattr(precision, "measure", lambda engines, shape: {name: float(name != fastest) for name in engines})
    images = list(np.random.default_rng(1).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8))
    options = {"precision": "auto", "engine": "openvino", "images": images}
    assert ppzoo.Predictor(quantized, **options, max_drop=1.0).precision == expected
    assert f"using precision {expected}: float32 agrees with float32 on 100.0%" in caplog.text


def test_auto_does_not_use_a_precision_that_disagrees(monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda engines, shape: {name: float(name != "int8") for name in engines})
    classes = {"float32": np.array([0, 1, 2, 0]), "int8": np.array([0, 1, 2, 1])}
    engines = {"float32": "slow", "int8": "fast"}
    assert precision.fastest_precision(engines, classes, (1, 3, 8, 8), 0.24) == ("float32", "slow")
    assert precision.fastest_precision(engines, classes, (1, 3, 8, 8), 0.25) == ("int8", "fast")
