"""All engines agree with the network, "auto" measures once and caches, and a missing engine is an error."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers.needs import needs_engine

import ppzoo
from ppzoo.deploy import engine_autotune, engines, export, open_export
from ppzoo.deploy.batch import Batch
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.errors import ConfigError, DataError, PpzooError

SETTINGS = {
    "PreProcess": {"transform_ops": [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 5, "label_list": ["cat", "dog", "owl"]}},
}
ONNX_ENGINES = ["onnxruntime", "openvino"]


def export_network(network, folder, image_shape=(3, 8, 8)):
    export(network, folder, image_shape, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    paddle.seed(0)
    network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.Flatten(), paddle.nn.Linear(4 * 36, 3))
    return export_network(network, tmp_path_factory.mktemp("engines") / "inference")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "engines"


class Fake(engines.OnnxEngine):
    """An engine that returns the outputs of Paddle Inference plus `error`."""

    name, error = "openvino", 0.0

    def _load(self, model):
        pass

    def _batch(self, shape):
        return Batch(np.empty(shape, np.float32), lambda images: [self.program(images) + self.error])


@pytest.fixture
def fake(monkeypatch, exported):
    """Replace `openvino` by a fake engine, whether it is installed or not."""
    program = PaddleEngine(open_export(exported))
    kind = type("FakeOpenVino", (Fake,), {"program": staticmethod(program)})
    monkeypatch.setattr(engines, "onnx_model", lambda exported: (b"", [3, 8, 8]))
    monkeypatch.setattr(engines, "ONNX_ENGINES", {"openvino": kind})
    monkeypatch.setattr(engines, "ENGINE_NAMES", ("paddle", "openvino"))
    monkeypatch.setattr(engine_autotune, "is_installed", lambda name: True)
    monkeypatch.setattr(engines, "is_pir_program", lambda exported: True)
    monkeypatch.setattr(engines, "is_installed", lambda name: True)
    monkeypatch.setattr(engine_autotune, "package_versions", lambda name: {name: "1.0"})
    return kind


@pytest.mark.parametrize("name", ONNX_ENGINES)
def test_an_engine_that_is_not_installed_is_an_error_with_its_extra(exported, monkeypatch, name):
    monkeypatch.setattr(engines, "is_installed", lambda name: False)
    with pytest.raises(ConfigError, match=rf"pip install 'ppzoo\[{name}\]'") as error:
        ppzoo.Predictor(exported, engine=name)
    assert "\n" not in str(error.value) and error.value.exit_status == 2


def test_an_unknown_engine_is_refused(exported):
    with pytest.raises(ConfigError, match="engine: expected one of auto, paddle, onnxruntime, openvino, got"):
        ppzoo.Predictor(exported, engine="tensorrt")


def test_an_engine_whose_outputs_differ_is_refused(exported, fake):
    fake.error = 2e-4
    with pytest.raises(PpzooError, match=r"engine: openvino differs from Paddle Inference by 0\.0002") as error:
        ppzoo.Predictor(exported, engine="openvino")
    assert "\n" not in str(error.value)
    fake.error = 5e-5
    assert ppzoo.Predictor(exported, engine="openvino").engine.name == "openvino"


def test_auto_uses_the_faster_engine_logs_it_and_caches_it(exported, fake, cache, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "ppzoo")
    monkeypatch.setattr(
        engine_autotune, "measure", lambda engines, shape: {name: 1.0 * (name == "paddle") for name in engines}
    )
    assert ppzoo.Predictor(exported).engine.name == "openvino"
    assert "using engine openvino: paddle 1000.0 ms, openvino 0.0 ms for 16 images; cached in" in caplog.text
    (file,) = cache.iterdir()
    assert json.loads(file.read_text())["seconds"] == {"paddle": 1.0, "openvino": 0.0}

    monkeypatch.setattr(engine_autotune, "measure", lambda engines, shape: pytest.fail("measured again"))
    assert ppzoo.Predictor(exported).engine.name == "openvino"
    monkeypatch.setattr(
        engine_autotune, "measure", lambda engines, shape: {name: 1.0 * (name != "paddle") for name in engines}
    )
    assert ppzoo.Predictor(exported, batch_size=1).engine.name == "paddle"
    monkeypatch.setattr(engine_autotune, "package_versions", lambda name: {name: "1.1"})
    assert ppzoo.Predictor(exported).engine.name == "paddle"
    file.write_text("{")
    monkeypatch.setattr(engine_autotune, "package_versions", lambda name: {name: "1.0"})
    assert ppzoo.Predictor(exported).engine.name == "paddle"
    assert len(list(cache.iterdir())) == 3


def test_auto_measures_the_engines_and_skips_one_that_fails(exported, fake, cache, monkeypatch, caplog):
    monkeypatch.setattr(engine_autotune, "PAUSE", 0.0)
    monkeypatch.setattr(engine_autotune, "MIN_SECONDS", 0.0)
    assert ppzoo.Predictor(exported).engine.name in ("paddle", "openvino")
    (file,) = cache.iterdir()
    assert set(json.loads(file.read_text())["seconds"]) == {"paddle", "openvino"}
    file.unlink()
    fake.error = 1.0
    assert ppzoo.Predictor(exported).engine.name == "paddle"
    assert "skipping engine openvino: engine: openvino differs from Paddle Inference by 1" in caplog.text


def test_a_cache_that_cannot_be_written_is_only_a_warning(exported, fake, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(engine_autotune, "PAUSE", 0.0)
    monkeypatch.setattr(engine_autotune, "MIN_SECONDS", 0.0)
    ppzoo.Predictor(exported)
    assert "cannot write" in caplog.text and "set PPZOO_HOME to a writable folder" in caplog.text


def with_random_statistics(network):
    """Set random running statistics; the initial ones hide mistakes."""
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm):
            layer._mean.set_value(0.1 * paddle.randn(layer._mean.shape))
            layer._variance.set_value(paddle.uniform(layer._variance.shape, min=0.5, max=1.5))
    return network


# Together they have every operator of the exports of the model zoo.
FAMILIES = {
    "LeNet": 32,
    "AlexNet": 224,
    "SqueezeNet1_1": 64,
    "GoogLeNet": 224,
    "ResNet18_vd": 64,
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "MobileNetV2_x0_25": 64,
    "MobileNetV3_small_x0_35": 64,
    "SE_ResNet18_vd": 64,
    "ShuffleNetV1_g3": 64,
    "ShuffleNetV2_swish": 64,
    "ESNet_x0_25": 64,
    "FasterNet_T0": 64,
    "FasterNet_T2": 64,
    "GhostNet_x0_5": 64,
    "MobileNetV4_conv_small": 64,
    "MobileNetV4_hybrid_medium": 64,
    "PPHGNetV2_B0": 64,
    "PPHGNet_tiny": 64,
    "PPLCNetV2_small": 64,
    "PPLCNet_x0_25": 64,
    "RepVGG_A0": 64,
    "StarNet_S1": 64,
}
FAST_WITH_OPENVINO = {"LeNet", "MobileNetV2_x0_25", "ResNet18_vd", "ShuffleNetV2_swish", "PPLCNet_x0_25"}


def families_and_engines():
    """Return all pairs; those that are slow are marked: OpenVINO compiles large graphs for seconds."""
    for family, size in FAMILIES.items():
        for engine in ONNX_ENGINES:
            is_fast = size <= 64 and (engine != "openvino" or family in FAST_WITH_OPENVINO)
            yield pytest.param(family, engine, marks=[] if is_fast else pytest.mark.slow)


@pytest.mark.parametrize(("family", "name"), list(families_and_engines()))
def test_all_engines_agree_for_every_family(tmp_path, family, name):
    needs_engine(name)
    size = FAMILIES[family]
    with paddle.utils.unique_name.guard():
        paddle.seed(0)
        network = with_random_statistics(ppzoo.create_model(family, class_num=7))
    folder = export_network(network, tmp_path / "inference", (3, size, size))
    engine = engines.open_engine(name, open_export(folder), 3)
    images = np.random.default_rng(1).standard_normal((3, 3, size, size), dtype=np.float32)
    network.eval()
    with paddle.no_grad():
        scores = network(paddle.to_tensor(images))
    scores = scores[0] if isinstance(scores, (list, tuple)) else scores
    expected = paddle.nn.functional.softmax(scores).numpy()
    np.testing.assert_allclose(engine(images), expected, atol=1e-4)
    with pytest.raises(DataError, match=f"got 1 x 3 x {size + 1} x {size}"):
        engine(np.zeros((1, 3, size + 1, size), np.float32))


SEND_SIGNAL = """
import os, signal, sys
from pathlib import Path
from ppzoo.deploy import open_engine, open_export

signal.signal(signal.SIGTERM, lambda number, frame: print("received"))
opened = [open_engine("openvino", open_export(Path(sys.argv[1])), 4) for _ in range(3)]
while opened:
    del opened[0]
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_signals_work_after_engines_were_deleted_in_the_order_of_their_creation(exported):
    needs_engine("openvino")
    done = subprocess.run([sys.executable, "-c", SEND_SIGNAL, exported], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "received\n")


def test_an_export_of_paddlepaddle_2_is_refused_by_the_onnx_engines(exported, fake, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(engines, "is_installed", lambda name: True)
    found = open_export(exported)
    older = type(found)(found.folder, Path("inference.pdmodel"), found.parameters, found.settings, found.identity)
    with pytest.raises(ConfigError, match="expected an export of PaddlePaddle 3"):
        engines.open_engine("openvino", older, 1)


def test_an_unsupported_operator_is_an_error_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda name: True)
    network = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(192, 3), paddle.nn.Softplus())
    needs_engine("onnxruntime")
    folder = export_network(network, tmp_path / "inference")
    with pytest.raises(ConfigError, match=r"got pd_op\.softplus; use engine='paddle'") as error:
        engines.open_engine("onnxruntime", open_export(folder), 1)
    assert "\n" not in str(error.value)


def test_batches_and_single_images_have_the_same_predictions(exported):
    images = list(np.random.default_rng(0).integers(0, 256, (21, 8, 8, 3), dtype=np.uint8))
    predictor = ppzoo.Predictor(exported, batch_size=8, engine="paddle")
    alone = [predictor.predict(image)[0] for image in images]
    for one, other in zip(predictor.predict(images), alone, strict=True):
        assert one["class_ids"] == other["class_ids"]
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-6)
