"""A difference between the preprocessing of inference and evaluation is reported with the first step that differs."""

from pathlib import Path

import pytest
import yaml

from ppzoo import config as configuration
from ppzoo.builders.component_factory import components
from ppzoo.builders.preprocessing import find_preprocessing_difference
from ppzoo.cli import main

DECODE, CHW = {"DecodeImage": {"to_rgb": True, "channel_first": False}}, {"ToCHWImage": None}
RESIZE, CROP = {"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}
NORMALIZE = {
    "NormalizeImage": {
        "scale": "1.0/255.0",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "order": "",
    }
}
PHOTOS = Path(__file__).parents[2] / "configs" / "_base_" / "photos.yaml"
EVAL = [DECODE, RESIZE, CROP, NORMALIZE]
IDENTITY = {"NormalizeImage": {"scale": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3, "order": ""}}


def difference(evaluation, inference):
    dataset = {"name": "ImageFolder", "image_root": "images", "transform_ops": evaluation}
    raw = {
        "Arch": {"name": "LeNet"},
        "DataLoader": {"Eval": {"dataset": dataset, "sampler": {"batch_size": 1}}},
        "Infer": {"transforms": inference},
    }
    return find_preprocessing_difference(configuration.Config.parse(raw, components(), task=None))


@pytest.mark.parametrize(
    "inference",
    [
        [*EVAL, CHW],
        [{"DecodeImage": None}, RESIZE, CROP, {"NormalizeImage": {"order": ""}}, CHW],
        [
            DECODE,
            {"ResizeImage": {"resize_short": 256, "interpolation": None}},
            {"CropImage": {"size": [224, 224]}},
            CHW,
            {"NormalizeImage": {"order": "chw"}},
        ],
        [
            {"DecodeImage": {"to_np": True}},
            RESIZE,
            CROP,
            {"NormalizeImage": {"order": "hwc", "scale": 0.00392157}},
            CHW,
        ],
        [{"DecodeImage": {"backend": "pil"}}, *EVAL[1:], CHW],
        [*EVAL[:3], {"NormalizeImage": {"order": "", "output_fp16": True}}, CHW],
        None,
        [],
    ],
)
def test_equivalent_lists_do_not_differ(inference):
    assert difference(EVAL, inference) is None


@pytest.mark.parametrize(
    ("inference", "complaint"),
    [
        (
            [DECODE, {"ResizeImage": {"size": 224}}, NORMALIZE, CHW],
            "Infer.transforms.1: expected ResizeImage(size=None, resize_short=256), as in"
            " DataLoader.Eval.dataset.transform_ops.1, got ResizeImage(size=224, resize_short=None)",
        ),
        (
            [DECODE, RESIZE, {"CropImage": {"size": 192}}, NORMALIZE, CHW],
            "Infer.transforms.2: expected CropImage(size=224), as in DataLoader.Eval.dataset.transform_ops.2,"
            " got CropImage(size=192)",
        ),
        (
            [DECODE, RESIZE, NORMALIZE, CHW],
            "transforms.2: expected CropImage(size=224), as .* got NormalizeImage(",
        ),
        ([DECODE, RESIZE, CROP, CHW], "Infer.transforms.4: expected NormalizeImage(scale='1.0/255.0', "),
        ([*EVAL, IDENTITY, CROP, CHW], None),
        (
            [DECODE, RESIZE, CROP, {"NormalizeImage": {"order": "", "mean": [0.5] * 3}}, CHW],
            "Infer.transforms.3: expected NormalizeImage(",
        ),
        (
            [{"DecodeImage": {"to_rgb": False}}, *EVAL[1:], CHW],
            "Infer.transforms.0: expected DecodeImage(to_rgb=True), ",
        ),
        ([DECODE, CROP, RESIZE, NORMALIZE, CHW], "Infer.transforms.1: expected ResizeImage(resize_short=256), "),
    ],
)
def test_first_difference_is_reported(inference, complaint):
    text = difference(EVAL, inference)
    if complaint is None:
        assert text is None
        return
    for part in complaint.split(" .* "):
        assert part in text
    assert len(text.splitlines()) == 1


def test_decoded_datasets_need_no_decoding():
    normalize = {"NormalizeImage": {"mean": [0.5], "std": [0.5], "order": ""}}
    gray = {"DecodeImage": {"channels": 1}}
    assert difference([normalize], [gray, normalize, CHW]) is None
    assert difference([NORMALIZE], [DECODE, NORMALIZE, CHW]) is None
    text = difference([{"ResizeImage": {"size": 28}}, normalize], [gray, normalize, CHW])
    assert "Infer.transforms.1: expected ResizeImage(size=28), as in DataLoader.Eval.dataset.transform_ops.0" in text


def test_transforms_that_fail_are_compared_by_their_options():
    large, larger = {"CropImage": {"size": 2000}}, {"CropImage": {"size": 2001}}
    assert difference([DECODE, large, NORMALIZE], [DECODE, large, NORMALIZE, CHW]) is None
    assert "expected CropImage(size=2000)" in difference([DECODE, large, NORMALIZE], [DECODE, larger, NORMALIZE, CHW])


def test_check_warns_of_a_difference(tmp_path, capsys):
    config = configuration.load(str(PHOTOS))
    ((name, options),) = config["Infer"]["transforms"][1].items()
    other = {name: {**options, **{key: value - 16 for key, value in options.items() if isinstance(value, int)}}}
    config["Infer"]["transforms"][1] = other
    config["Arch"] = {"name": "MobileNetV1_x0_25", "class_num": 3}
    for split in ("Train", "Eval"):
        config["DataLoader"][split]["dataset"]["image_root"] = str(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["check", "-c", str(tmp_path / "config.yaml")]) == 0
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("Infer.transforms.1: expected ") == 1


def test_check_reports_transforms_of_files_that_do_not_decode(tmp_path, capsys):
    raw = yaml.safe_load(PHOTOS.read_text())
    del raw["Infer"]["transforms"][0]
    del raw["DataLoader"]["Train"]["dataset"]["transform_ops"][0]
    for split in ("Train", "Eval"):
        raw["DataLoader"][split]["dataset"]["image_root"] = "images"
    raw |= {"_BASE_": str(PHOTOS.with_name("common.yaml")), "Arch": {"name": "MobileNetV1_x0_25", "class_num": 3}}
    file = tmp_path / "photos.yaml"
    file.write_text(yaml.safe_dump(raw))
    assert main(["check", "-c", str(file)]) == 2
    errors = capsys.readouterr().err
    for path in ("Infer.transforms", "DataLoader.Train.dataset.transform_ops"):
        assert f"error: {path}: expected DecodeImage as the first transform, since the images are files, got " in errors
    assert "DataLoader.Eval.dataset.transform_ops: expected DecodeImage" not in errors


def test_arrays_need_no_decoding(capsys):
    assert main(["check", "-c", "lenet"]) == 0  # Fashion-MNIST
    assert "no mistakes found" in capsys.readouterr().out
