"""Values that are not finite are an error of one line in every command, never an accuracy or a probability."""

import shutil
import sys

import numpy as np
import paddle
import pytest
from helpers.needs import needs_engine
from helpers.quick import override_options
from helpers.small_runs import paint_class_folders, small_config, split_config, train_config
from helpers.toy import Batches, Network, make_state, make_trainer
from PIL import Image

import ppzoo
from ppzoo import builders, deploy, engine
from ppzoo.cli import main
from ppzoo.deploy import POSTPROCESSES
from ppzoo.errors import TrainingError, WeightsError
from ppzoo.finite import require_finite
from ppzoo.losses import LOSSES, CombinedLoss
from ppzoo.metrics import METRICS, MetricList
from ppzoo.optim import SCHEDULES
from ppzoo.weights import read_pdparams, save_pdparams, save_safetensors

OPS = [{"DecodeImage": {}}, {"ResizeImage": {"size": 32}}, {"NormalizeImage": {"order": ""}}]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Images, a configuration and the weights of a short run of it."""
    folder = tmp_path_factory.mktemp("workspace")
    images = paint_class_folders(folder / "images", count=4)
    config = small_config(folder, "MobileNetV1_x0_25", ops=OPS)
    config["Global"]["native"] = "auto"
    config["DataLoader"] = {split: split_config(images, OPS, batch_size=6) for split in ("Train", "Eval")}
    train_config(folder, config)
    return folder


@pytest.fixture
def run(workspace):
    return workspace / "output" / "MobileNetV1_x0_25"


def changed(run, target, key, value):
    """Save the weights of a run with one changed entry, whose name begins or ends with `key`."""
    arrays = dict(read_pdparams(run / "latest.pdparams"))
    name = next(name for name in arrays if name.startswith(key) or name.endswith(key))
    arrays[name] = value(arrays[name])
    save_pdparams({name: paddle.to_tensor(array) for name, array in arrays.items()}, target)
    shutil.copy(run / "config.yaml", target.parent)
    shutil.copy(run / "labels.txt", target.parent)
    return arrays


def negative(array):
    array = array.copy()
    array[1] = -0.25
    return array


def huge(array):
    return np.full_like(array, 3e38)


def command(workspace, task, weights, *overrides):
    texts = [f"Global.pretrained_model={weights}", *overrides]
    return main([*task.split(), "-c", str(workspace / "config.yaml"), *override_options(*texts)])


def errors(capsys):
    captured = capsys.readouterr()
    return [line for line in captured.err.splitlines() if line.startswith("error: ")], captured.out


@pytest.mark.parametrize("native", ["auto", "'off'"])
@pytest.mark.parametrize("task", ["train", "eval", "infer", "export"])
def test_weights_with_a_negative_running_variance_are_refused(workspace, run, tmp_path, capsys, task, native):
    changed(run, tmp_path / "bad.pdparams", "._variance", negative)
    places = [f"Global.save_inference_dir={tmp_path / 'export'}", f"Global.output_dir={tmp_path / 'out'}"]
    assert command(workspace, task, tmp_path / "bad", *places, f"Global.native={native}") == 2
    lines, printed = errors(capsys)
    assert len(lines) == 1
    assert "_variance': expected running variances of at least 0, got -0.25 (element 1)" in lines[0]
    assert not printed
    assert not (tmp_path / "export").exists()
    assert not (tmp_path / "out").exists()


def test_negative_variances_are_refused_in_every_format(workspace, run, tmp_path):
    arrays = changed(run, tmp_path / "bad.pdparams", "._variance", negative)
    save_safetensors(arrays, tmp_path / "bad.safetensors", {})
    np.savez(tmp_path / "bad.npz", **arrays)
    network = ppzoo.create_model("MobileNetV1_x0_25", class_num=3)
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    for source in (tmp_path / "bad.pdparams", tmp_path / "bad.safetensors", tmp_path / "bad.npz", arrays):
        for strict in (True, False):
            with pytest.raises(WeightsError, match="running variances of at least 0"):
                ppzoo.load_weights(network, source, strict=strict)
    with pytest.raises(WeightsError, match="running variances of at least 0"):
        ppzoo.create_model("MobileNetV1_x0_25", pretrained=str(tmp_path / "bad.pdparams"), class_num=3)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
    with pytest.raises(WeightsError, match=r"expected finite values, got nan \(element 0\)"):
        ppzoo.load_weights(network, {**arrays, "fc.bias": np.full(3, np.nan, np.float32)})


def test_a_checkpoint_with_a_negative_running_variance_is_not_resumed(workspace, run, tmp_path, capsys):
    for suffix in (".pdopt", ".pdstates"):
        shutil.copy(run / f"latest{suffix}", tmp_path / f"latest{suffix}")
    changed(run, tmp_path / "latest.pdparams", "._variance", negative)
    out = [f"Global.output_dir={tmp_path / 'out'}", "Global.epochs=2"]
    texts = [f"Global.checkpoints={tmp_path / 'latest'}", *out]
    assert main(["train", "-c", str(workspace / "config.yaml"), *override_options(*texts)]) == 2
    assert "running variances of at least 0" in errors(capsys)[0][0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("native", ["auto", "'off'"])
@pytest.mark.parametrize("several", [False, True])
def test_outputs_that_overflow_fail_every_command(workspace, run, tmp_path, capsys, native, several):
    """The weights are finite, their output is not: the command fails and names the image."""
    changed(run, tmp_path / "huge.pdparams", "fc.weight", huge)
    overrides = [f"Global.save_inference_dir={tmp_path / 'export'}", f"Global.native={native}"]
    overrides += ["TTA.flip=true"] if several else []
    for task in ("eval", "infer", "export", "export --format safetensors"):
        assert command(workspace, task, tmp_path / "huge", *overrides) == 1
        lines, printed = errors(capsys)
        assert len(lines) == 1
        assert "the network's output for " in lines[0]
        assert "expected finite numbers" in lines[0]
        assert not printed
        if task == "infer" and not several:
            assert "images/blue/0.png" in lines[0]
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("name", ["paddle", "onnxruntime", "openvino"])
def test_a_predictor_refuses_outputs_that_are_not_finite(workspace, run, tmp_path, monkeypatch, name):
    needs_engine(name)
    changed(run, tmp_path / "huge.pdparams", "fc.weight", huge)
    for module, tolerance in (("export_check", "EXPORT_TOLERANCE"), ("engines", "ENGINE_TOLERANCE")):
        # an export from another source, without these checks
        monkeypatch.setattr(sys.modules[f"ppzoo.deploy.{module}"], "require_finite", lambda *arguments: None)
        monkeypatch.setattr(sys.modules[f"ppzoo.deploy.{module}"], tolerance, np.inf)
    monkeypatch.setattr(sys.modules["ppzoo.deploy.probabilities"], "require_finite", lambda *arguments: None)
    monkeypatch.setattr(np, "abs", lambda array: np.zeros(1))
    assert command(workspace, "export", tmp_path / "huge", f"Global.save_inference_dir={tmp_path / 'export'}") == 0
    predictor = ppzoo.Predictor(tmp_path / "export", engine=name, batch_size=2)
    image = workspace / "images" / "red" / "1.png"
    for images, title in (([image], "red/1.png"), ([np.asarray(Image.open(image))] * 3, "image 1")):
        with pytest.raises(TrainingError, match=f"the network's output for .*{title} is nan, expected finite"):
            predictor.predict(images)


def test_metrics_refuse_outputs_that_are_not_finite():
    scores = paddle.to_tensor(np.array([[0.1, 0.2, 0.7], [np.nan, 0.5, 0.5]], np.float32))
    labels = paddle.to_tensor([0, 1])
    for name in ("TopkAcc", "ExpectedCalibrationError", "PrecisionRecallF1", "AveragePrecision"):
        with pytest.raises(TrainingError, match="output for image 2 of the batch is nan"):
            METRICS[name]().update(scores, labels)
    for name in ("HammingDistance", "AccuracyScore", "MultiLabelMAP"):
        with pytest.raises(TrainingError, match="output for image 2 of the batch is nan"):
            METRICS[name]().update(scores, paddle.ones([2, 3]))


@pytest.mark.parametrize(
    ("name", "options"), [("Topk", {}), ("MultiLabelThreshOutput", {}), ("ThreshOutput", {"threshold": 0.5})]
)
def test_postprocesses_refuse_probabilities_that_are_not_finite(name, options):
    with pytest.raises(TrainingError, match="output for image 2 of the batch is nan"):
        POSTPROCESSES[name](**options)(np.array([[0.5, 0.5], [0.5, np.nan]]))


def test_nan_is_no_improvement():
    early_stopping = engine.EarlyStopping(2)
    for value in (np.nan, 0.5, np.nan):
        early_stopping.update(value)
    assert (early_stopping.best, early_stopping.waited) == (0.5, 1)
    for mode in ("min", "max"):
        schedule = SCHEDULES["ReduceOnPlateau"](10, 1, learning_rate=1.0, mode=mode, patience=0)
        schedule.observe(np.nan)
        assert schedule.best is None
        assert schedule.get_lr() == pytest.approx(0.1)


def test_an_evaluation_whose_loss_is_not_finite_is_an_error(workspace, run, monkeypatch):
    config = builders.read_config(str(workspace / "config.yaml"), [f"Global.pretrained_model={run / 'latest'}"], "eval")

    class Infinite:
        def __call__(self, output, labels):
            return {"loss": paddle.to_tensor(np.inf)}

        def weights(self, labels):
            return {"CELoss": float(len(labels))}

    monkeypatch.setattr(sys.modules["ppzoo.builders.evaluation"], "build_loss", lambda section, network: Infinite())
    with pytest.raises(TrainingError, match="the evaluation's loss is inf, expected a finite number"):
        builders.evaluate(config)


def test_test_time_augmentation_does_not_hide_nonfinite_outputs():
    class Constant(paddle.nn.Layer):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, images):
            return {"main": [paddle.full([len(images), 2], self.value)]}

    images = [paddle.zeros([2, 3, 4, 4])]
    for value in (np.nan, np.inf, -np.inf):
        for multi_label in (False, True):
            with pytest.raises(TrainingError, match="expected finite numbers"):
                engine.TtaModel(Constant(value), mirror=True, multi_label=multi_label)(images)
    network = deploy.Probabilities(paddle.nn.Identity(), multi_label=True)
    with pytest.raises(TrainingError, match="output for image 2 of the batch is inf"):
        deploy.predict_probabilities(network, np.array([[0.0, 1.0], [np.inf, 0.0]], np.float32))


def test_the_first_nonfinite_image_is_named_for_every_structure_of_outputs():
    reference = np.zeros((3, 4, 5), np.float32)
    reference[1, 3, 2] = -np.inf
    for output in (reference, [np.zeros((3, 2)), reference], {"a": {"b": reference}}, paddle.to_tensor(reference)):
        with pytest.raises(TrainingError, match="output for second is -inf"):
            require_finite(output, ["first", "second", "third"].__getitem__)
    require_finite(np.zeros((0, 4)))
    require_finite({"a": [np.ones(3), np.ones((1, 2))]})


def test_an_evaluation_with_nonfinite_outputs_names_the_image_and_sets_no_best():
    class Third(Network):
        def forward(self, images):
            return super().forward(images) * paddle.to_tensor([[1.0], [1.0], [np.nan], [1.0]])

    state = make_state(network=Third)
    loss = CombinedLoss([(LOSSES["CELoss"](), 1.0)])
    with pytest.raises(TrainingError, match="the network's output for file 2 is nan"):
        engine.evaluate(state.model, Batches().epoch(0), loss, MetricList([]), describe="file {}".format)
    with pytest.raises(TrainingError, match="main metric is nan"):
        state.progress.update_best(float("nan"), higher_is_better=True)
    trainer = make_trainer(make_state(), evaluate=lambda: {"loss": float("nan"), "top1": 0.5})
    with pytest.raises(TrainingError, match="the evaluation after epoch 1's loss is nan"):
        trainer.fit()
    assert trainer.state.progress.best is None
