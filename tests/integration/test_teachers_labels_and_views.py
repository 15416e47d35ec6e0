"""Distillation, several labels an image, test-time augmentation, and what is found in the data: from end to end."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.pictures import COLORS, paint
from PIL import Image

import ppzoo
from ppzoo import builders
from ppzoo.cli import main
from ppzoo.weights import read_pdparams, read_state

DECODE = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
CROPPED = [DECODE, {"ResizeImage": {"resize_short": 36}}, {"CropImage": {"size": 32}}, NORMALIZE]
PAIR = [["Student", "Teacher"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images of three colors in class folders, images of one to three with a list, and a configuration."""
    folder = tmp_path_factory.mktemp("place")
    for name, color in COLORS.items():
        (folder / "images" / name).mkdir(parents=True)
        for number in range(8):
            paint(folder / "images" / name / f"{number}.png", color, seed=number)
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

    def split(ops, **sampler):
        dataset = {"name": "ImageFolder", "image_root": str(folder / "images"), "transform_ops": ops}
        return {"dataset": dataset, "sampler": {"name": "DistributedBatchSampler", "drop_last": False, **sampler}}

    config = {
        "Global": {
            "device": "cpu",
            "native": "off",
            "epochs": 3,
            "seed": 1,
            "output_dir": str(folder / "output"),
            "save_inference_dir": str(folder / "inference"),
            "image_shape": [3, 32, 32],
        },
        "Arch": {"name": "LeNet"},
        "Loss": {"Train": [{"CELoss": None}], "Eval": [{"CELoss": None}]},
        "Optimizer": {"name": "Momentum", "lr": {"name": "Constant", "learning_rate": 0.02}},
        "DataLoader": {
            "Train": split([DECODE, {"ResizeImage": {"size": 32}}, NORMALIZE], batch_size=8, shuffle=True),
            "Eval": split(CROPPED, batch_size=5, shuffle=False),
        },
        "Infer": {
            "infer_imgs": str(folder / "images"),
            "batch_size": 5,
            "transforms": [*CROPPED, {"ToCHWImage": None}],
            "PostProcess": {"name": "Topk", "topk": 2},
        },
        "Metric": {"Train": [{"TopkAcc": {"topk": [1]}}], "Eval": [{"TopkAcc": {"topk": [1]}}]},
    }
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
    return [task, "-c", str(config), *(part for text in overrides for part in ("-o", text))]


def printed_figures(capsys) -> dict[str, float]:
    words = capsys.readouterr().out.split()
    return dict(zip(words[::2], map(float, words[1::2]), strict=True))


def answers(capsys, *arguments: str) -> list[dict]:
    assert main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def teacher(place):
    """The folder of a run whose configuration says nothing of the classes."""
    assert main(command("train", place / "plain.yaml")) == 0
    return place / "output" / "LeNet"


@pytest.fixture(scope="module")
def distilled(place, teacher):
    assert main(command("train", place / "distillation.yaml")) == 0
    return place / "output" / "DistillationModel"


@pytest.fixture(scope="module")
def several(place):
    assert main(command("train", place / "several.yaml")) == 0
    return place / "several" / "LeNet"


def test_classes_and_their_names_are_found_in_a_folder(place, teacher, capsys):
    assert yaml.safe_load((teacher / "config.yaml").read_text())["Arch"]["class_num"] == 3
    assert (teacher / "labels.txt").read_text() == "0 blue\n1 green\n2 red\n"
    weights = f"Global.pretrained_model={teacher / 'best_model'}"  # with the configuration that says nothing
    assert set(answers(capsys, *command("infer", place / "plain.yaml", weights))[0]["label_names"]) <= set(COLORS)
    assert main(command("export", place / "plain.yaml", weights)) == 0


def test_the_learning_rate_of_a_run_is_scaled_to_its_batch_when_asked(place, tmp_path):
    wishes = ("Optimizer.lr.reference_batch=64", "Global.update_freq=2", f"Global.output_dir={tmp_path}")
    assert main(command("train", place / "plain.yaml", *wishes, "Global.epochs=1")) == 0
    log = (tmp_path / "LeNet" / "train.log").read_text()
    assert "lr 0.00500" in log  # 0.02 for 64 images is 0.005 for 8 x 2


def test_a_checkpoint_of_a_distillation_has_paddleclas_s_names_and_an_unchanged_teacher(teacher, distilled):
    whole = read_pdparams(distilled / "best_model.pdparams")
    own = read_pdparams(teacher / "best_model.pdparams")
    assert set(whole) == {f"{name}.{key}" for name in ("Teacher", "Student") for key in own}
    assert all(np.array_equal(whole[f"Teacher.{key}"], own[key]) for key in own)
    student = read_pdparams(distilled / "best_model_student.pdparams")
    assert all(np.array_equal(whole[f"Student.{key}"], student[key]) for key in student)
    assert set(student) == set(own)


def test_a_teacher_of_other_classes_is_refused(place, teacher, tmp_path, capsys):
    shutil.copytree(place / "images", tmp_path / "images")
    (tmp_path / "images" / "red").rename(tmp_path / "images" / "yellow")
    roots = [f"DataLoader.{split}.dataset.image_root={tmp_path / 'images'}" for split in ("Train", "Eval")]
    overrides = (*roots, "Arch.class_num=3", f"Global.output_dir={tmp_path / 'out'}")
    assert main(command("train", place / "distillation.yaml", *overrides)) == 2
    said = capsys.readouterr().err
    assert "on the classes of the training data (blue, green, yellow), got " in said
    assert "LeNet/best_model, trained on blue, green, red" in said
    assert not (tmp_path / "out").exists()


def test_a_student_learns_from_its_teacher_alone(place, teacher, distilled, capsys):
    assert main(command("eval", place / "plain.yaml", f"Global.pretrained_model={teacher / 'best_model'}")) == 0
    expected = printed_figures(capsys)["top1"]
    assert main(command("eval", place / "distillation.yaml", f"Global.pretrained_model={distilled / 'latest'}")) == 0
    assert printed_figures(capsys)["top1"] >= expected - 0.1 > 0.8


def test_only_the_student_of_a_distillation_answers_and_is_exported(place, distilled, capsys):
    best, student = (f"Global.pretrained_model={distilled / name}" for name in ("best_model", "best_model_student"))
    asked = answers(capsys, *command("infer", place / "distillation.yaml", best))
    assert asked == answers(capsys, *command("infer", place / "distillation.yaml", student))
    assert asked == answers(capsys, *command("infer", place / "plain.yaml", student, "Arch.class_num=3"))
    assert main(command("export", place / "distillation.yaml", best)) == 0
    folder = place / "inference"
    assert yaml.safe_load((folder / "inference.yml").read_text())["Global"]["model_name"] == "LeNet"
    predicted = ppzoo.Predictor(folder).predict([answer["file_name"] for answer in asked], topk=2)
    assert [answer["class_ids"] for answer in predicted] == [answer["class_ids"] for answer in asked]


def test_a_student_is_evaluated_from_its_own_weights_unless_a_figure_is_about_the_teacher(place, distilled, capsys):
    figures = []
    for name in ("best_model", "best_model_student"):
        arguments = (place / "distillation.yaml", f"Global.pretrained_model={distilled / name}")
        assert main(command("eval", *arguments)) == 0
        figures.append(printed_figures(capsys))
    assert figures[0] == figures[1]
    both = "Metric.Eval=[{DistillationTopkAcc: {model_key: Student}}, {DistillationTopkAcc: {model_key: Teacher}}]"
    assert main(command("eval", *arguments, both)) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_resumed_distillation_ends_where_an_uninterrupted_one_does(place, teacher, distilled, tmp_path):
    """In a process of its own, as after a crash; two networks of one kind must not share the optimizer's state."""
    both = "{weight: 1.0, model_name_pairs: [[Student, Teacher], [Teacher, Student]]}"
    mutual = ("Arch.freeze_params_list=null", f"Loss.Train.0.DistillationCELoss={both}")
    for number, checkpoint in enumerate(("null", str(tmp_path / "0" / "DistillationModel" / "epoch_1"))):
        overrides = (*mutual, f"Global.output_dir={tmp_path / str(number)}", f"Global.checkpoints={checkpoint}")
        tool = Path(__file__).parents[2] / "tools" / "train.py"
        arguments = command("train", place / "distillation.yaml", *overrides, "Global.epochs=2")[1:]
        subprocess.run([sys.executable, str(tool), *arguments], check=True, capture_output=True)
    first, second = (tmp_path / number / "DistillationModel" / "latest" for number in "01")
    expected, received = read_pdparams(f"{first}.pdparams"), read_pdparams(f"{second}.pdparams")
    assert all(np.array_equal(expected[key], received[key]) for key in expected)
    velocities = [key for key in read_state(f"{first}.pdopt") if "velocity" in key]
    assert len(velocities) == len(read_pdparams(teacher / "best_model.pdparams")) * 2


def test_several_labels_an_image_are_learnt_and_answered_each_for_itself(place, several, capsys, monkeypatch):
    monkeypatch.setenv("PPZOO_NATIVE", "off")
    weights = f"Global.pretrained_model={several / 'best_model'}"
    assert main(command("eval", place / "several.yaml", weights)) == 0
    figures = printed_figures(capsys)
    assert set(figures) == {"loss", "AccuracyScore", "HammingDistance", "MultiLabelMAP"}
    assert figures["AccuracyScore"] == pytest.approx(1 - figures["HammingDistance"], abs=1e-4)
    assert figures["AccuracyScore"] > 0.8
    asked = answers(capsys, *command("infer", place / "several.yaml", weights))
    assert max(sum(answer["scores"]) for answer in asked) > 1.2  # no softmax
    assert all(score >= 0.4 for answer in asked for score in answer["scores"])
    assert main(command("export", place / "several.yaml", weights)) == 0
    predicted = ppzoo.Predictor(place / "inference").predict([answer["file_name"] for answer in asked])
    for exported, answer in zip(predicted, asked, strict=True):
        assert exported["label_names"] == answer["label_names"]
        np.testing.assert_allclose(exported["scores"], answer["scores"], atol=1e-5)
    assert main([*command("export", place / "several.yaml", weights), "--format", "safetensors"]) == 0
    capsys.readouterr()
    images = str(place / "mixed")
    assert asked == answers(capsys, "infer", "--weights", str(place / "inference" / "LeNet.safetensors"), images)


def test_evaluation_gives_the_figures_with_and_without_test_time_augmentation(place, teacher, capsys):
    weights = f"Global.pretrained_model={teacher / 'best_model'}"

    def figures(*overrides: str) -> dict[str, float]:
        return builders.evaluate(builders.read_config(str(place / "plain.yaml"), [weights, *overrides], "eval"))

    plain, off, flip, crops = (
        figures(),
        figures("TTA.flip=false"),
        figures("TTA.flip=true"),
        figures("TTA.ten_crop=true"),
    )
    assert off == plain
    for found in (flip, crops):
        assert {name: found[name] for name in plain} == plain
        assert set(found) == {*plain, *(f"{name}_tta" for name in plain)}
    assert len({plain["loss"], flip["loss_tta"], crops["loss_tta"]}) == 3
    assert main(command("eval", place / "plain.yaml", weights, "TTA.flip=true")) == 0
    assert {"top1", "top1_tta"} < set(printed_figures(capsys))


def test_answers_are_the_mean_over_the_views(place, teacher, capsys, tmp_path):
    """Against the mirror image saved as a file of its own, and against the corners of an image cut out before."""
    weights = f"Global.pretrained_model={teacher / 'best_model'}"
    source = Image.open(place / "images" / "red" / "0.png")
    halves = Image.new("RGB", (44, 36))
    halves.paste(source.crop((0, 0, 20, 36)), (0, 0))
    halves.paste(Image.open(place / "images" / "blue" / "1.png").crop((0, 0, 24, 36)), (20, 0))
    (tmp_path / "parts").mkdir()
    halves.save(tmp_path / "image.png")
    corners = [(x, y, x + 32, y + 32) for x, y in ((0, 0), (12, 0), (0, 4), (12, 4), (6, 2))]
    for number, box in enumerate(corners):
        part = halves.crop(box)
        part.save(tmp_path / "parts" / f"{number}.png")
        part.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "parts" / f"{number}m.png")

    def scores(images: Path, *overrides: str) -> np.ndarray:
        asked = answers(
            capsys,
            *command("infer", place / "plain.yaml", weights, "Infer.PostProcess.topk=3", *overrides),
            str(images),
        )
        return np.array([np.array(answer["scores"])[np.argsort(answer["class_ids"])] for answer in asked])

    parts = scores(tmp_path / "parts", "Infer.transforms.1={ResizeImage: {size: 32}}")
    np.testing.assert_allclose(scores(tmp_path / "image.png", "TTA.ten_crop=true")[0], parts.mean(0), atol=1e-6)
    np.testing.assert_allclose(scores(tmp_path / "image.png", "TTA.flip=true")[0], parts[8:].mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["TTA.ten_crop=true", "Infer.transforms.2={ResizeImage: {size: 32}}"], "TTA.ten_crop: expected CropImage"),
        (["TTA.sizes=[0]"], "TTA.sizes.0: expected an integer of at least 1"),
        (["TTA.sizes=[64]"], "expected images that LeNet can take"),
        (["TTA.mirror=true"], "TTA.mirror: unknown key"),
    ],
)
def test_views_that_cannot_be_had_are_refused(place, teacher, capsys, overrides, said):
    weights = f"Global.pretrained_model={teacher / 'best_model'}"
    assert main(command("infer", place / "plain.yaml", weights, *overrides)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert said in line
