"""Each format of an export has the network's outputs, and an export folder contains nothing of an earlier one."""

import json
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from helpers.needs import needs_engine

import ppzoo
from ppzoo import deploy
from ppzoo.deploy import ExportOptions, export_formats, formats, open_export
from ppzoo.deploy.engines import open_engine
from ppzoo.errors import BatchError, ConfigError, PpzooError
from ppzoo.explain import embed

NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
SETTINGS = {
    "Global": {"model_name": "LeNet"},
    "PreProcess": {"transform_ops": [NORMALIZE, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 5, "label_list": ["\u732b", 'a "dog"', "<owl>"]}},
}
NORMALIZATION = deploy.Normalization(np.full(3, 2 / 255, np.float32), np.full(3, -1, np.float32))
ENGINES = {"paddle": ["paddle"], "onnx": ["onnxruntime", "openvino"], "openvino": ["openvino"]}


def network(name="LeNet", seed=0, **options):
    with paddle.utils.unique_name.guard():
        paddle.seed(seed)
        return ppzoo.create_model(name, class_num=3, **options)


def write(folder, options=None, model=None, size=32):
    export_formats(model or network(), folder, [3, size, size], SETTINGS, options)
    return folder


def pixels(count=9, size=32):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def expected_outputs(model, images):
    """Return probabilities and features of the network itself."""
    ready = NORMALIZATION(images)
    model.eval()
    with paddle.no_grad():
        scores = model(paddle.to_tensor(ready))
    return paddle.nn.functional.softmax(scores).numpy(), embed(model, ready)


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", ["LeNet", "SqueezeNet1_1", "MobileNetV3_small_x0_35"])
def test_predictions_and_features_of_every_format_are_the_networks(tmp_path, kind, name):
    for engine in ENGINES[kind]:
        needs_engine(engine)
    size = 32 if name == "LeNet" else 64
    model, images = network(name), pixels(size=size)
    folder = write(tmp_path / "inference", ExportOptions((kind,), features=True), model, size)
    assert open_export(folder).formats == (kind,)
    probabilities, features = expected_outputs(model, images)
    for engine in ENGINES[kind]:
        predictor = ppzoo.Predictor(folder, batch_size=7, engine=engine)
        found = predictor.predict(list(images), topk=3)
        scores = [
            [dict(zip(row["class_ids"], row["scores"], strict=True))[index] for index in range(3)] for row in found
        ]
        np.testing.assert_allclose(scores, probabilities, atol=1e-4)
        np.testing.assert_allclose(predictor.features(list(images)), features, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(predictor.features(images[0]), features[:1], atol=1e-4, rtol=1e-4)


def test_exporting_with_features_leaves_the_network_as_it_was(tmp_path):
    model = network()
    write(tmp_path / "inference", ExportOptions(features=True), model)
    assert not any(layer._forward_pre_hooks for layer in model.sublayers())


def test_an_export_without_features_says_how_to_get_them(tmp_path):
    predictor = ppzoo.Predictor(write(tmp_path / "inference"), engine="paddle")
    with pytest.raises(ConfigError, match=r"^features: .* `ppzoo export --features`"):
        predictor.features(pixels(1)[0])


def test_features_name_images_that_cannot_be_read_and_return_the_others(tmp_path):
    predictor = ppzoo.Predictor(write(tmp_path / "inference", ExportOptions(features=True)), engine="paddle")
    with pytest.raises(BatchError) as error:
        predictor.features([pixels(1)[0], "missing.png"])
    assert list(error.value.errors) == [1] and len(error.value.results[0]) > 3
    assert predictor.features([]).shape == (0, 0)


def test_an_export_replaces_all_formats_of_an_earlier_one(tmp_path):
    needs_engine("openvino")
    folder = write(tmp_path / "inference", ExportOptions(("paddle", "onnx", "openvino")))
    assert open_export(folder).formats == ("paddle", "onnx", "openvino")
    write(folder, ExportOptions(("onnx",)))
    assert sorted(file.name for file in folder.iterdir()) == ["inference.onnx", "inference.yml"]
    with pytest.raises(ConfigError, match=r"export the network again with `--format paddle`"):
        ppzoo.Predictor(folder, engine="paddle")


def test_settings_state_how_each_format_was_checked(tmp_path):
    needs_engine("onnxruntime")
    folder = write(tmp_path / "inference", ExportOptions(("paddle", "onnx")))
    checks = open_export(folder).settings["Deployment"]["checks"]
    assert checks["source"] == "random numbers" and checks["images"] >= 10
    for kind in ("paddle", "onnx"):
        assert 0 <= checks[kind]["max_difference"] < 1e-4 and checks[kind]["top1_agreement"] == 1


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_onnx_models_have_the_opset_dynamic_batches_and_metadata(tmp_path, opset):
    needs_engine("onnxruntime")
    import onnx

    model = network("ShuffleNetV2_x0_25")
    folder = write(tmp_path / "inference", ExportOptions(("onnx",), opset=opset), model, 64)
    loaded = onnx.load(str(folder / "inference.onnx"))
    onnx.checker.check_model(loaded, full_check=True)
    assert loaded.opset_import[0].version == opset
    assert loaded.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    metadata = {entry.key: entry.value for entry in loaded.metadata_props}
    assert json.loads(metadata["class_names"]) == SETTINGS["PostProcess"]["Topk"]["label_list"]
    assert json.loads(metadata["preprocessing"]) == SETTINGS["PreProcess"]["transform_ops"]
    assert metadata["architecture"] == "LeNet"


def test_an_opset_that_does_not_exist_is_refused(tmp_path):
    needs_engine("onnxruntime")
    with pytest.raises(ConfigError, match=r"opset: expected 13 to .*, got 12"):
        write(tmp_path / "inference", ExportOptions(("onnx",), opset=12))
    assert not list(tmp_path.iterdir())


def test_preprocessing_in_the_model_takes_pixels(tmp_path):
    needs_engine("openvino")
    import onnxruntime

    model, images = network(), pixels()
    folder = write(tmp_path / "inference", ExportOptions(("onnx", "openvino"), normalization=NORMALIZATION), model)
    probabilities, _ = expected_outputs(model, images)
    session = onnxruntime.InferenceSession(folder / "inference.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": images})[0], probabilities, atol=1e-5)
    for engine in ("onnxruntime", "openvino"):
        predicted = ppzoo.Predictor(folder, engine=engine).predict(list(images))
        assert [row["class_ids"][0] for row in predicted] == probabilities.argmax(1).tolist()


LOAD_LEGACY = """
import sys, numpy as np, paddle
from pathlib import Path
from ppzoo.deploy import PaddleEngine, open_export
print(PaddleEngine(open_export(Path(sys.argv[1])))(np.zeros((2, 3, 32, 32), np.float32)).tolist())
"""


def test_the_legacy_format_predicts_the_same_and_the_next_export_has_the_usual_format(tmp_path):
    model = network()
    legacy = write(tmp_path / "legacy", ExportOptions(legacy=True), model)
    assert (legacy / "inference.pdmodel").is_file() and not (legacy / "inference.json").exists()
    usual = write(tmp_path / "usual", None, model)
    outputs = [
        subprocess.run([sys.executable, "-c", LOAD_LEGACY, folder], capture_output=True, text=True, check=True).stdout
        for folder in (legacy, usual)
    ]
    np.testing.assert_allclose(*map(json.loads, outputs), atol=1e-6)
    assert paddle.in_dynamic_mode()


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_a_missing_package_is_one_line_before_anything_is_written(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("ppzoo.deploy.engines.is_installed", lambda name: name == "paddle")
    with pytest.raises(ConfigError, match=rf"format: {kind}: .* `pip install 'ppzoo\[\w+\]'`") as error:
        write(tmp_path / "inference", ExportOptions((kind,)))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_int8_for_openvino_needs_onnxruntime(monkeypatch):
    monkeypatch.setattr("ppzoo.deploy.engines.is_installed", lambda name: name != "onnxruntime")
    with pytest.raises(ConfigError, match=r"precision: int8: onnxruntime is not installed: run `pip install"):
        formats.require_format_packages(ExportOptions(("openvino",)), "int8")


def test_a_format_that_differs_is_not_exported(tmp_path, monkeypatch):
    needs_engine("onnxruntime")
    monkeypatch.setattr(formats, "onnx_model", lambda *_, **__: wrong_model(tmp_path))
    with pytest.raises(ppzoo.errors.TrainingError, match="onnx model differs from the network"):
        write(tmp_path / "inference", ExportOptions(("onnx",)))
    assert not (tmp_path / "inference").exists()


def wrong_model(folder):
    """Return the model of another network."""
    from ppzoo.deploy.onnx_model import onnx_model

    model = network(seed=1)
    model.parameters()[-1].set_value(paddle.to_tensor([3.0, 0.0, -3.0]))
    other = write(folder / "other", None, model)
    result = onnx_model(open_export(other))
    shutil.rmtree(other)
    return result


@pytest.mark.parametrize("name", ["inference.onnx", "inference.xml", "inference.bin"])
def test_damaged_models_are_one_line(tmp_path, name):
    needs_engine("openvino")
    folder = write(tmp_path / "inference", ExportOptions(("onnx", "openvino")))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(PpzooError, match=f"{name} is damaged"):
        open_export(folder)
    settings = (folder / "inference.yml").read_text()
    (folder / "inference.yml").write_text(settings.partition("SHA256")[0])  # no digest reveals it
    with pytest.raises(PpzooError) as error:
        open_engine("onnxruntime" if name.endswith("onnx") else "openvino", open_export(folder), 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["3", "{image_shape: [3, 32], with_preprocessing: false, precision: float32}"])
def test_damaged_deployment_settings_are_one_line(tmp_path, value):
    folder = write(tmp_path / "inference")
    text = (folder / "inference.yml").read_text()
    start, end = text.index("Deployment:"), text.index("SHA256:")
    (folder / "inference.yml").write_text(f"{text[:start]}Deployment: {value}\n{text[end:]}")
    with pytest.raises(PpzooError, match="Deployment: expected image_shape") as error:
        open_export(folder)
    assert "\n" not in str(error.value)


def test_a_folder_can_be_text_and_nothing_else_but_a_path(tmp_path):
    write(str(tmp_path / "inference"))
    assert open_export(tmp_path / "inference").architecture == "LeNet"
    with pytest.raises(ConfigError, match=r"folder: expected a path \(str or Path\), got 3"):
        write(3)
    with pytest.raises(ConfigError, match=r"export_dir: expected a path \(str or Path\), got None"):
        ppzoo.Predictor(None)
