"""Folders in the form of PaddleX and PaddleOCR are read by `Predictor`, `load_weights`, `infer` and `explain`."""

import json

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

import ppzoo
from ppzoo import builders
from ppzoo.builders.rebuilding import config_of_export, rebuild_network, require_output_of_export
from ppzoo.cli import main
from ppzoo.deploy import export, find_architecture, open_export
from ppzoo.errors import ConfigError, PpzooError
from ppzoo.models import MODELS

NORMALIZE = {
    "NormalizeImage": {
        "channel_num": 3,
        "mean": [0.485, 0.456, 0.406],
        "order": "",
        "scale": 0.00392156862745098,
        "std": [0.229, 0.224, 0.225],
    }
}
SHORT = [{"ResizeImage": {"resize_short": 40}}, {"CropImage": {"size": 32}}, NORMALIZE, {"ToCHWImage": None}]
WIDE = [{"ResizeImage": {"size": [64, 32]}}, NORMALIZE, {"ToCHWImage": None}]
KINDS = {
    "PP-LCNet_x0_25_doc_ori": (SHORT, [3, 32, 32], ["0", "90", "180", "270"]),
    "PP-LCNet_x0_25_textline_ori": (WIDE, [3, 32, 64], ["0_degree", "180_degree"]),
}


def write_settings(folder, name, ops, postprocess):
    """Write an `inference.yml` as PaddleX does, with anchors and the options of PaddleX."""
    shape = [1, 3, 32, 32]
    hpi = {
        "backend_configs": {
            key: {"dynamic_shapes": {"x": [shape, shape, shape]}} for key in ("paddle_infer", "tensorrt")
        }
    }
    content = {
        "Global": {"model_name": name},
        "Hpi": hpi,
        "PreProcess": {"transform_ops": ops},
        "PostProcess": postprocess,
    }
    (folder / "inference.yml").write_text(yaml.dump(content), encoding="utf-8")


def write_paddlex(folder, name, ops, shape, labels, *, postprocess=None, multi_label=False, seed=0):
    paddle.seed(seed)
    arch = find_architecture(name)
    network = ppzoo.create_model(arch.pop("name"), class_num=len(labels), **arch)
    random = np.random.default_rng(seed)
    network.fc.weight.set_value(random.normal(0, 1, network.fc.weight.shape).astype("float32"))  # scores that differ
    network.eval()
    section = {"Topk": {"label_list": labels, "topk": 1}}
    export(
        network, folder, shape, {"PreProcess": {"transform_ops": ops}, "PostProcess": section}, multi_label=multi_label
    )
    write_settings(folder, name, ops, postprocess or section)
    return network


def noise(height=48, width=56):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paddlex") / f"{request.param}_infer"
    network = write_paddlex(folder, request.param, *KINDS[request.param])
    return request.param, folder, network


def test_the_predictor_equals_the_network(exported):
    name, folder, network = exported
    ops, _, labels = KINDS[name]
    (found,) = ppzoo.Predictor(folder, engine="paddle").predict(noise())
    with paddle.no_grad():
        scores = network(paddle.to_tensor(builders.build_transforms(ops)(noise(), None)[None]))
    expected = paddle.nn.functional.softmax(scores, axis=1).numpy()[0]
    order = np.argsort(-expected)
    assert found["label_names"] == [labels[index] for index in order]
    np.testing.assert_allclose(found["scores"], expected[order], atol=1e-5)


def test_weights_of_a_folder_are_loaded(exported):
    name, folder, network = exported
    arch = find_architecture(name)
    loaded = ppzoo.create_model(arch.pop("name"), class_num=len(KINDS[name][2]), **arch)
    report = ppzoo.load_weights(loaded, folder)
    assert not report.missing and not report.reinitialised
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[key].numpy(), value.numpy(), err_msg=key)


def test_images_are_predicted_and_explained_by_the_commands(exported, tmp_path, capsys):
    name, folder, _ = exported
    Image.fromarray(noise()).save(tmp_path / "page.png")
    assert main(["infer", str(folder), str(tmp_path / "page.png"), "--json", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sorted(record["label_names"]) == sorted(KINDS[name][2])
    opened = open_export(folder)
    config = config_of_export(opened, "cpu")
    rebuilt = rebuild_network(config, opened)
    images = builders.build_transforms(KINDS[name][0])(noise(), None)[None]
    require_output_of_export(config, opened, rebuilt, images)


def test_a_program_that_does_more_than_compute_is_refused(exported, tmp_path):
    _, folder, _ = exported
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    program = copy / "inference.json"
    if not program.exists():
        pytest.skip("PaddlePaddle 2 writes no inference.json")
    program.write_text(program.read_text().replace('"1.softmax"', '"1.save"'))
    with pytest.raises(PpzooError, match="expected operators that only compute, got"):
        ppzoo.Predictor(copy)


@pytest.mark.parametrize(
    ("postprocess", "names"),
    [
        ({"MultiLabelThreshOutput": {"threshold": 0.0, "label_list": ["a", "b"]}}, ["a", "b"]),
        ({"MultiLabelThreshOutput": {"threshold": {"default": 0.0, "1": 1.0}, "label_list": ["a", "b"]}}, ["a"]),
        ({"MultiLabelThreshOutput": {"threshold": [1.0, 0.0], "label_list": ["a", "b"]}}, ["b"]),
        (
            {"main_indicator": "ThreshOutput", "ThreshOutput": {"threshold": 0.0, "label_0": "no", "label_1": "yes"}},
            ["yes"],
        ),
    ],
)
def test_post_processing_of_paddlex_and_of_paddleclas_deployment(tmp_path, postprocess, names):
    write_paddlex(tmp_path / "x", "PP-LCNet_x0_25_doc_ori", SHORT, [3, 32, 32], ["a", "b"], postprocess=postprocess)
    (found,) = ppzoo.Predictor(tmp_path / "x", engine="paddle").predict(noise())
    assert found["label_names"] == names


@pytest.mark.parametrize(
    ("threshold", "problem"),
    [
        ({"1": 0.5}, "expected a value for 'default'"),
        ({"default": 0.5, "x": 0.1}, "expected 'default' and indices of classes, got 'x'"),
        ({"default": 0.5, "9": 0.1}, "expected indices of 2 classes, got '9'"),
        ([0.5], "expected 2 values, one per class, got 1"),
        ([0.5, 3], "expected 0 to 1, got 3"),
    ],
)
def test_wrong_thresholds_are_refused(threshold, problem):
    with pytest.raises(ConfigError, match=f"threshold: {problem}"):
        builders.build_postprocess({"name": "MultiLabelThreshOutput", "threshold": threshold}, {})(np.ones((1, 2)))


def test_names_of_paddlex_are_names_of_architectures():
    sizes = {
        "PP-LCNet_": "x0_25 x1_0 x2_5",
        "PP-LCNetV2_": "small base",
        "PP-HGNet_": "tiny base",
        "PP-HGNetV2-": "B0 B6",
    }
    sizes |= {"FasterNet-": "T0 L", "StarNet-": "S1 S4", "MobileNetV4_": "conv_small", "ResNet": "18 50_vd"}
    for name in (family + size for family, names in sizes.items() for size in names.split()):
        assert find_architecture(name)["name"] in MODELS, name
    assert find_architecture("PP-LCNet_x1_0_ML") == {"name": "PPLCNet_x1_0_ML"}  # another head, so not an architecture
    assert find_architecture("LeNet") == {"name": "LeNet"}
