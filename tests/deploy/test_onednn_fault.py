"""A program that PaddlePaddle 3.3 cannot run with oneDNN is loaded again without it; other errors are raised."""

import logging
from typing import ClassVar

import numpy as np
import paddle
import pytest

import ppzoo
from ppzoo.deploy import PaddleEngine, export, open_export
from ppzoo.deploy.paddle_engine import InferenceProgram, log_disabled_onednn
from ppzoo.errors import DataError, PpzooError

SETTINGS = {
    "PreProcess": {"transform_ops": [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 5, "label_list": ["cat", "dog", "owl"]}},
}
IMAGES = np.random.default_rng(0).standard_normal((2, 3, 8, 8), dtype=np.float32)
FAULT = NotImplementedError(
    "(Unimplemented) ConvertPirAttribute2RuntimeAttribute not support [pir::ArrayAttribute<pir::DoubleAttribute>]"
    "  (at /paddle/paddle/fluid/framework/new_executor/instruction/onednn/onednn_instruction.cc:116)"
)


def export_network(folder, *layers):
    paddle.seed(0)
    export(paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), *layers), folder, [3, 8, 8], SETTINGS)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onednn") / "inference"
    return export_network(folder, paddle.nn.Flatten(), paddle.nn.Linear(4 * 36, 3))


@pytest.fixture(autouse=True)
def onednn_log(caplog):
    log_disabled_onednn.cache_clear()
    caplog.set_level(logging.INFO, "ppzoo")
    return lambda: [record.getMessage() for record in caplog.records if "without oneDNN" in record.getMessage()]


@pytest.fixture
def predictors(monkeypatch):
    """Let loads with oneDNN raise errors; return the class with the errors, and whether each load had oneDNN."""
    create, loads = paddle.inference.create_predictor, []

    class Faulty:
        errors: ClassVar = {}  # "creation" or "run" -> what it raises

        def __init__(self, config):
            self.has_onednn = config.mkldnn_enabled()
            loads.append(self.has_onednn)
            self.fail("creation")
            self.predictor = create(config)

        def fail(self, where):
            if self.has_onednn and where in self.errors:
                raise self.errors[where]

        def run(self):
            self.fail("run")
            return self.predictor.run()

        def __getattr__(self, name):
            return getattr(self.predictor, name)

    monkeypatch.setattr(paddle.inference, "create_predictor", Faulty)
    return Faulty, loads


def test_a_network_that_paddlepaddle_cannot_run_with_onednn(tmp_path, onednn_log):
    """PaddlePaddle 3.3 fails at the first run of an interpolation; other versions run it with oneDNN."""
    layers = paddle.nn.Upsample(scale_factor=2.0), paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten()
    folder = export_network(tmp_path / "inference", *layers, paddle.nn.Linear(4, 3))
    (prediction,) = ppzoo.Predictor(folder, engine="paddle").predict(np.zeros((8, 8, 3), np.uint8))
    assert len(prediction["class_ids"]) == 3
    if paddle.__version__.startswith("3.3."):
        assert len(onednn_log()) == 2  # the program is loaded before and after the export is moved into its folder


@pytest.mark.parametrize("where", ["creation", "run"])
def test_the_program_is_loaded_again_without_onednn(exported, predictors, onednn_log, where):
    expected = PaddleEngine(open_export(exported))(IMAGES)
    faulty, loads = predictors
    loads.clear()
    faulty.errors[where] = FAULT
    for _ in range(2):
        engine = PaddleEngine(open_export(exported))
        for _ in range(2):
            np.testing.assert_allclose(engine(IMAGES), expected, atol=1e-6)
    assert loads == [True, False] * 2
    (message,) = onednn_log()
    assert str(exported) in message and paddle.__version__ in message


@pytest.mark.parametrize("where", ["creation", "run"])
def test_other_errors_are_raised(exported, predictors, onednn_log, where):
    faulty, loads = predictors
    faulty.errors[where] = RuntimeError("another error")
    model = open_export(exported)
    with pytest.raises(RuntimeError, match="another error"):
        InferenceProgram(model.program, model.parameters)(IMAGES)
    with pytest.raises((PpzooError, DataError)):
        PaddleEngine(model)(IMAGES)
    assert loads == [True] * 2 and not onednn_log()


def test_a_fault_without_onednn_is_raised(exported, predictors, monkeypatch):
    model = open_export(exported)
    program = InferenceProgram(model.program, model.parameters)
    monkeypatch.setattr(program, "_run", lambda images: (_ for _ in ()).throw(FAULT))
    with pytest.raises(NotImplementedError):
        program(IMAGES)
