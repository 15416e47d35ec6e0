"""End-to-end tests of distillation, multi-label classification, test-time augmentation and classes from the data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.pictures import COLORS, paint
from helpers.quick import override_options
from helpers.small_runs import NORMALIZE, paint_class_folders, small_config, split_config
from PIL import Image

import ppzoo
from ppzoo import builders
from ppzoo.cli import main
from ppzoo.weights import read_pdparams, read_state

DECODE = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
CROPPED = [DECODE, {"ResizeImage": {"resize_short": 36}}, {"CropImage": {"size": 32}}, NORMALIZE]
PAIR = [["Student", "Teacher"]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Images of three colors in class folders, images of one to three colors each with a list, and a configuration."""
    folder = tmp_path_factory.mktemp("workspace")
    images = paint_class_folders(folder / "images")
    (folder / "mixed").mkdir()
    lines = []
    for number in range(1, 8):
        flags = [number >> bit & 1 for bit in range(3)]
        chosen = [color for color, flag in zip(COLORS.values(), flags, strict=True) if flag]
        for copy in range(3):
            name = f"{number}_{copy}.png"
            paint(folder / "mixed" / name, *chosen, seed=copy)
            lines.append(f"{name}\t{','.join(map(str, flags))}\n")
    (folder / "mixed.txt").write_text("".join(lines))

    config = small_config(folder, "LeNet", ops=CROPPED, topk=2)
    config["Global"]["epochs"] = 3
    config["Optimizer"]["lr"]["learning_rate"] = 0.02
    config["DataLoader"] = {
        "Train": split_config(images, [DECODE, {"ResizeImage": {"size": 32}}, NORMALIZE], batch_size=8, shuffle=True),
        "Eval": split_config(images, CROPPED, batch_size=5, shuffle=False),
    }
    config["Infer"]["batch_size"] = 5
    config["Metric"]["Train"] = [{"TopkAcc": {"topk": [1]}}]
    write(folder / "plain.yaml", config)
    distillation = {
        **config,
        "Arch": {
            "name": "DistillationModel",
            "pretrained_list": None,
            "freeze_params_list": [True, False],
            "models": [
                {"Teacher": {"name": "LeNet", "pretrained": str(folder / "output" / "LeNet" / "best_model")}},
                {"Student": {"name": "LeNet", "pretrained": False}},
            ],
            "infer_model_name": "Student",
        },
        "Loss": {
            "Train": [{"DistillationCELoss": {"weight": 1.0, "model_name_pairs": PAIR}}],
            "Eval": [{"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}}],
        },
        "Metric": {
            split: [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1]}}] for split in ("Train", "Eval")
        },
        "Infer": {**config["Infer"], "PostProcess": {"name": "DistillationPostProcess", "func": "Topk", "topk": 2}},
    }
    write(folder / "distillation.yaml", distillation)
    several = json.loads(json.dumps(config))
    several["Global"] |= {"use_multilabel": True, "output_dir": str(folder / "several"), "epochs": 12}
    several["Loss"] = {split: [{"MultiLabelLoss": {"weight": 1.0}}] for split in ("Train", "Eval")}
    several["Metric"] = {split: [{"AccuracyScore": None}, {"HammingDistance": None}] for split in ("Train", "Eval")}
    several["Metric"]["Eval"].append({"MultiLabelMAP": None})
    listed = {
        "name": "MultiLabelDataset",
        "image_root": str(folder / "mixed"),
        "cls_label_path": str(folder / "mixed.txt"),
    }
    for part in several["DataLoader"].values():
        part["dataset"] |= listed
    several["Infer"] |= {
        "infer_imgs": str(folder / "mixed"),
        "PostProcess": {"name": "MultiLabelThreshOutput", "threshold": 0.4, "label_list": list(COLORS)},
    }
    write(folder / "several.yaml", several)
    return folder


def write(path: Path, config: dict) -> None:
    path.write_text(yaml.safe_dump(config))


def command(task: str, config: Path, *overrides: str) -> list[str]:
    return [task, "-c", str(config), *override_options(*overrides)]


def printed_metrics(capsys) -> dict[str, float]:
    words = capsys.readouterr().out.split()
    return dict(zip(words[::2], map(float, words[1::2]), strict=True))


def predict(capsys, *arguments: str) -> list[dict]:
    assert main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def teacher(workspace):
    """The folder of a run whose configuration has no class names."""
    assert main(command("train", workspace / "plain.yaml")) == 0
    return workspace / "output" / "LeNet"


@pytest.fixture(scope="module")
def distilled(workspace, teacher):
    assert main(command("train", workspace / "distillation.yaml")) == 0
    return workspace / "output" / "DistillationModel"


@pytest.fixture(scope="module")
def several(workspace):
    assert main(command("train", workspace / "several.yaml")) == 0
    return workspace / "several" / "LeNet"


def test_classes_and_their_names_are_read_from_the_folder(workspace, teacher, capsys):
    assert yaml.safe_load((teacher / "config.yaml").read_text())["Arch"]["class_num"] == 3
    assert (teacher / "labels.txt").read_text() == "0 blue\n1 green\n2 red\n"
    weights = f"Global.pretrained_model={teacher / 'best_model'}"  # the configuration has no class names
    assert set(predict(capsys, *command("infer", workspace / "plain.yaml", weights))[0]["label_names"]) <= set(COLORS)
    assert main(command("export", workspace / "plain.yaml", weights)) == 0


def test_the_learning_rate_is_scaled_to_the_batch_size(workspace, tmp_path):
    overrides = ("Optimizer.lr.reference_batch=64", "Global.update_freq=2", f"Global.output_dir={tmp_path}")
    assert main(command("train", workspace / "plain.yaml", *overrides, "Global.epochs=1")) == 0
    log = (tmp_path / "LeNet" / "train.log").read_text()
    assert "lr 0.00500" in log  # 0.02 for 64 images is 0.005 for 8 x 2


def test_a_checkpoint_of_a_distillation_has_paddleclas_s_names_and_an_unchanged_teacher(teacher, distilled):
    complete = read_pdparams(distilled / "best_model.pdparams")
    own = read_pdparams(teacher / "best_model.pdparams")
    assert set(complete) == {f"{name}.{key}" for name in ("Teacher", "Student") for key in own}
    assert all(np.array_equal(complete[f"Teacher.{key}"], own[key]) for key in own)
    student = read_pdparams(distilled / "best_model_student.pdparams")
    assert all(np.array_equal(complete[f"Student.{key}"], student[key]) for key in student)
    assert set(student) == set(own)


def test_a_teacher_of_other_classes_is_refused(workspace, teacher, tmp_path, capsys):
    shutil.copytree(workspace / "images", tmp_path / "images")
    (tmp_path / "images" / "red").rename(tmp_path / "images" / "yellow")
    roots = [f"DataLoader.{split}.dataset.image_root={tmp_path / 'images'}" for split in ("Train", "Eval")]
    overrides = (*roots, "Arch.class_num=3", f"Global.output_dir={tmp_path / 'out'}")
    assert main(command("train", workspace / "distillation.yaml", *overrides)) == 2
    error = capsys.readouterr().err
    assert "on the classes of the training data (blue, green, yellow), got " in error
    assert "LeNet/best_model, trained on blue, green, red" in error
    assert not (tmp_path / "out").exists()


def test_a_student_learns_only_from_its_teacher(workspace, teacher, distilled, capsys):
    assert main(command("eval", workspace / "plain.yaml", f"Global.pretrained_model={teacher / 'best_model'}")) == 0
    expected = printed_metrics(capsys)["top1"]
    assert (
        main(command("eval", workspace / "distillation.yaml", f"Global.pretrained_model={distilled / 'latest'}")) == 0
    )
    assert printed_metrics(capsys)["top1"] >= expected - 0.1 > 0.8


def test_only_the_student_of_a_distillation_predicts_and_is_exported(workspace, distilled, capsys):
    best, student = (f"Global.pretrained_model={distilled / name}" for name in ("best_model", "best_model_student"))
    predictions = predict(capsys, *command("infer", workspace / "distillation.yaml", best))
    assert predictions == predict(capsys, *command("infer", workspace / "distillation.yaml", student))
    assert predictions == predict(capsys, *command("infer", workspace / "plain.yaml", student, "Arch.class_num=3"))
    assert main(command("export", workspace / "distillation.yaml", best)) == 0
    folder = workspace / "inference"
    assert yaml.safe_load((folder / "inference.yml").read_text())["Global"]["model_name"] == "LeNet"
    predicted = ppzoo.Predictor(folder).predict([prediction["file_name"] for prediction in predictions], topk=2)
    assert [prediction["class_ids"] for prediction in predicted] == [
        prediction["class_ids"] for prediction in predictions
    ]


def test_a_student_is_evaluated_with_its_own_weights_unless_a_metric_needs_the_teacher(workspace, distilled, capsys):
    results = []
    for name in ("best_model", "best_model_student"):
        arguments = (workspace / "distillation.yaml", f"Global.pretrained_model={distilled / name}")
        assert main(command("eval", *arguments)) == 0
        results.append(printed_metrics(capsys))
    assert results[0] == results[1]
    both = "Metric.Eval=[{DistillationTopkAcc: {model_key: Student}}, {DistillationTopkAcc: {model_key: Teacher}}]"
    assert main(command("eval", *arguments, both)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_resumed_run_completes_the_student_s_weights(workspace, teacher, distilled, tmp_path):
    """As after a kill between saving a checkpoint and saving the student's weights."""
    run = shutil.copytree(distilled, tmp_path / "DistillationModel")
    students = [run / f"{name}_student.pdparams" for name in ("latest", "best_model")]
    expected = [file.read_bytes() for file in students]
    students[0].unlink()
    students[1].write_bytes(b"stale")
    resume = command("train", workspace / "distillation.yaml", f"Global.output_dir={tmp_path}")
    assert main([*resume, "--resume", "auto"]) == 0
    assert [file.read_bytes() for file in students] == expected


@pytest.mark.slow
def test_resume_of_a_distillation_is_bit_identical(workspace, teacher, distilled, tmp_path):
    """In a separate process, as after a crash; two equal networks must not share optimizer states."""
    both = "{weight: 1.0, model_name_pairs: [[Student, Teacher], [Teacher, Student]]}"
    mutual = ("Arch.freeze_params_list=null", f"Loss.Train.0.DistillationCELoss={both}")
    for number, checkpoint in enumerate(("null", str(tmp_path / "0" / "DistillationModel" / "epoch_1"))):
        overrides = (*mutual, f"Global.output_dir={tmp_path / str(number)}", f"Global.checkpoints={checkpoint}")
        tool = Path(__file__).parents[2] / "tools" / "train.py"
        arguments = command("train", workspace / "distillation.yaml", *overrides, "Global.epochs=2")[1:]
        subprocess.run([sys.executable, str(tool), *arguments], check=True, capture_output=True)
    first, second = (tmp_path / number / "DistillationModel" / "latest" for number in "01")
    expected, received = read_pdparams(f"{first}.pdparams"), read_pdparams(f"{second}.pdparams")
    assert all(np.array_equal(expected[key], received[key]) for key in expected)
    velocities = [key for key in read_state(f"{first}.pdopt") if "velocity" in key]
    assert len(velocities) == len(read_pdparams(teacher / "best_model.pdparams")) * 2


def test_multi_label_classification_end_to_end(workspace, several, capsys, monkeypatch):
    monkeypatch.setenv("PPZOO_NATIVE", "off")
    weights = f"Global.pretrained_model={several / 'best_model'}"
    assert main(command("eval", workspace / "several.yaml", weights)) == 0
    metrics = printed_metrics(capsys)
    assert set(metrics) == {"loss", "AccuracyScore", "HammingDistance", "MultiLabelMAP"}
    assert metrics["AccuracyScore"] == pytest.approx(1 - metrics["HammingDistance"], abs=1e-4)
    assert metrics["AccuracyScore"] > 0.8
    predictions = predict(capsys, *command("infer", workspace / "several.yaml", weights))
    assert max(sum(prediction["scores"]) for prediction in predictions) > 1.2  # no softmax
    assert all(score >= 0.4 for prediction in predictions for score in prediction["scores"])
    assert main(command("export", workspace / "several.yaml", weights)) == 0
    predicted = ppzoo.Predictor(workspace / "inference").predict(
        [prediction["file_name"] for prediction in predictions]
    )
    for exported, prediction in zip(predicted, predictions, strict=True):
        assert exported["label_names"] == prediction["label_names"]
        np.testing.assert_allclose(exported["scores"], prediction["scores"], atol=1e-5)
    assert main([*command("export", workspace / "several.yaml", weights), "--format", "safetensors"]) == 0
    capsys.readouterr()
    images = str(workspace / "mixed")
    assert predictions == predict(
        capsys, "infer", "--weights", str(workspace / "inference" / "LeNet.safetensors"), images
    )


def test_evaluation_returns_metrics_with_and_without_test_time_augmentation(workspace, teacher, capsys):
    weights = f"Global.pretrained_model={teacher / 'best_model'}"

    def evaluate(*overrides: str) -> dict[str, float]:
        return builders.evaluate(builders.read_config(str(workspace / "plain.yaml"), [weights, *overrides], "eval"))

    plain, off, flip, crops = (
        evaluate(),
        evaluate("TTA.flip=false"),
        evaluate("TTA.flip=true"),
        evaluate("TTA.ten_crop=true"),
    )
    assert off == plain
    for found in (flip, crops):
        assert {name: found[name] for name in plain} == plain
        assert set(found) == {*plain, *(f"{name}_tta" for name in plain)}
    assert len({plain["loss"], flip["loss_tta"], crops["loss_tta"]}) == 3
    assert main(command("eval", workspace / "plain.yaml", weights, "TTA.flip=true")) == 0
    assert {"top1", "top1_tta"} < set(printed_metrics(capsys))


def test_predictions_are_the_mean_over_the_views(workspace, teacher, capsys, tmp_path):
    """Compared with files of the mirrored image and of the crops."""
    weights = f"Global.pretrained_model={teacher / 'best_model'}"
    source = Image.open(workspace / "images" / "red" / "0.png")
    halves = Image.new("RGB", (44, 36))
    halves.paste(source.crop((0, 0, 20, 36)), (0, 0))
    halves.paste(Image.open(workspace / "images" / "blue" / "1.png").crop((0, 0, 24, 36)), (20, 0))
    (tmp_path / "parts").mkdir()
    halves.save(tmp_path / "image.png")
    corners = [(x, y, x + 32, y + 32) for x, y in ((0, 0), (12, 0), (0, 4), (12, 4), (6, 2))]
    for number, box in enumerate(corners):
        part = halves.crop(box)
        part.save(tmp_path / "parts" / f"{number}.png")
        part.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "parts" / f"{number}m.png")

    def scores(images: Path, *overrides: str) -> np.ndarray:
        predictions = predict(
            capsys,
            *command("infer", workspace / "plain.yaml", weights, "Infer.PostProcess.topk=3", *overrides),
            str(images),
        )
        return np.array(
            [np.array(prediction["scores"])[np.argsort(prediction["class_ids"])] for prediction in predictions]
        )

    parts = scores(tmp_path / "parts", "Infer.transforms.1={ResizeImage: {size: 32}}")
    np.testing.assert_allclose(scores(tmp_path / "image.png", "TTA.ten_crop=true")[0], parts.mean(0), atol=1e-6)
    np.testing.assert_allclose(scores(tmp_path / "image.png", "TTA.flip=true")[0], parts[8:].mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["TTA.ten_crop=true", "Infer.transforms.2={ResizeImage: {size: 32}}"],
            "TTA.ten_crop: expected a CropImage in Infer.transforms",
        ),
        (["TTA.sizes=[0]"], "TTA.sizes.0: expected an integer of at least 1"),
        (["TTA.sizes=[64]"], "expected images that LeNet can take"),
        (["TTA.mirror=true"], "TTA.mirror: unknown key"),
    ],
)
def test_impossible_views_are_refused(workspace, teacher, capsys, overrides, message):
    weights = f"Global.pretrained_model={teacher / 'best_model'}"
    assert main(command("infer", workspace / "plain.yaml", weights, *overrides)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert message in line


@pytest.mark.parametrize("size", [8, 64])
def test_a_size_that_the_network_cannot_take_is_refused_by_eval(workspace, teacher, capsys, size):
    weights = f"Global.pretrained_model={teacher / 'best_model'}"
    assert main(command("eval", workspace / "plain.yaml", weights, f"TTA.sizes=[{size}]")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: TTA.sizes: expected images that LeNet can take (by default 3 x 32 x 32 float32), ")
    assert error.endswith(f"got 3 x {size} x {size} float32; use other sizes, or remove the key")
