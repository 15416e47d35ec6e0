"""Classes are matched by name: evaluation, resuming and fine-tuning keep the numbering of the training."""

import json
import shutil
import unicodedata

import numpy as np
import pytest
import yaml
from helpers.quick import override_options
from helpers.small_runs import OPS, paint_class_folders, small_config, split_config, train_config

from ppzoo import builders
from ppzoo.builders import class_names
from ppzoo.builders.component_factory import class_count
from ppzoo.cli import main
from ppzoo.weights import read_pdparams

NAMES = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Images of three colors, a configuration without `class_num`, and a finished run of it."""
    folder = tmp_path_factory.mktemp("workspace")
    paint_class_folders(folder / "train", NAMES)
    paint_class_folders(folder / "val", NAMES, seed=50, count=4)
    config = small_config(folder, "MobileNetV1_x0_25")
    config["DataLoader"] = {"Train": split_config(folder / "train"), "Eval": split_config(folder / "val")}
    del config["Infer"]["infer_imgs"]
    train_config(folder, config)
    return folder


@pytest.fixture
def run(workspace):
    return workspace / "output" / "MobileNetV1_x0_25"


@pytest.fixture
def command(workspace, run):
    """Return a function that runs a command with the weights of the run and overrides."""

    def start(task, *overrides, weights=run / "latest"):
        texts = [f"Global.pretrained_model={weights}", *overrides] if weights else overrides
        return main([task, "-c", str(workspace / "config.yaml"), *override_options(*texts)])

    return start


def evaluated(workspace, folder, weights):
    """Return the label that evaluation assigns to the images of each class folder."""
    overrides = [f"Global.pretrained_model={weights}", f"DataLoader.Eval.dataset.image_root={folder}"]
    config = class_names.add_classes_of_run(builders.read_config(str(workspace / "config.yaml"), overrides, "eval"))
    images = builders.build_loader(
        config.DataLoader.Eval,
        class_num=class_count(config.Arch),
        seed=0,
        training=False,
        classes=class_names.find_evaluation_names(config, config.DataLoader.Eval.dataset),
    ).samples.dataset
    assert [int(images[index][1]) for index in range(len(images))] == images.labels.tolist()
    return {images.describe(index).split("/")[-2]: int(images.labels[index]) for index in range(len(images))}


def eval_root(path):
    return f"DataLoader.Eval.dataset.image_root={path}"


def train_root(path):
    return f"DataLoader.Train.dataset.image_root={path}"


def test_training_writes_class_names(run):
    assert (run / "labels.txt").read_text() == "0 blue\n1 green\n2 red\n"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["Global"]["class_names"], config["Arch"]["class_num"]) == (NAMES, 3)


def test_missing_class_does_not_change_the_labels_of_others(workspace, run, command, tmp_path, capsys):
    paint_class_folders(tmp_path / "val", ["blue", "red"], seed=50, count=4)
    assert evaluated(workspace, tmp_path / "val", run / "latest") == {"blue": 0, "red": 2}
    assert command("eval", eval_root(tmp_path / "val")) == 0
    printed = capsys.readouterr()
    line = "DataLoader.Eval.dataset: 1 of the 3 classes has no images: class green"
    assert (printed.err + printed.out).splitlines().count(line) == 1


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["blue", "zebra"], "unknown class 'zebra'; the classes of the network are blue, green, red"),
        ([*NAMES, "yellow"], "unknown class 'yellow'; the classes of the network are blue, green, red"),
        (["Blue", "red"], "unknown class 'Blue' (did you mean 'blue'?)"),
        (["train", "val"], "which looks like a split"),
        (["cat", "dog"], "unknown classes 'cat', 'dog'"),
    ],
)
def test_unknown_class_is_an_error(command, tmp_path, capsys, names, complaint):
    paint_class_folders(tmp_path / "val", names, count=4)
    for task, options in (("eval", {}), ("train", {"weights": None})):
        overrides = [eval_root(tmp_path / "val"), f"Global.output_dir={tmp_path / 'out'}"]
        assert command(task, *overrides, **options) == 2
        (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error")]
        assert line.startswith("error: DataLoader.Eval.dataset: ")
        assert complaint in line
        assert "class_num" not in line
        assert not (tmp_path / "out").exists()


def test_names_are_compared_in_normalized_unicode(workspace, command, tmp_path):
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    paint_class_folders(tmp_path / "train", [composed, "red"], count=4)
    paint_class_folders(tmp_path / "val", [apart, "red", "apple"], count=4)
    shutil.rmtree(tmp_path / "val" / "apple")
    overrides = [train_root(tmp_path / "train"), eval_root(tmp_path / "val"), f"Global.output_dir={tmp_path / 'out'}"]
    assert command("train", *overrides, weights=None) == 0
    found = evaluated(workspace, tmp_path / "val", tmp_path / "out" / "MobileNetV1_x0_25" / "latest")
    assert found == {apart: 0, "red": 1}


def test_evaluation_in_training_equals_evaluation_afterwards(command, tmp_path):
    """The loss of the evaluation during training is that of evaluating the saved weights."""
    paint_class_folders(tmp_path / "val", ["green", "red"], seed=50, count=4)
    assert command("train", eval_root(tmp_path / "val"), f"Global.output_dir={tmp_path / 'out'}", weights=None) == 0
    run = tmp_path / "out" / "MobileNetV1_x0_25"
    config = builders.read_config(str(run / "config.yaml"), [f"Global.pretrained_model={run / 'best_model'}"], "eval")
    found = builders.evaluate(config)["loss"]
    (entry,) = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    assert entry["eval"]["loss"] == pytest.approx(found, abs=1e-5)


def test_relabeled_list_files_use_their_numbers_as_names(workspace, command, tmp_path, capsys):
    lines = [f"{name}/{number}.png {label}\n" for label, name in enumerate(NAMES, 1) for number in range(4)]
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "val.txt").write_text("".join(line for line in lines if not line.endswith(" 1\n")))

    def lists(train, val):
        options = {"name": "ImageNetDataset", "image_root": str(workspace / "val"), "transform_ops": OPS}
        files = {"Train": ("train.txt", train), "Eval": ("val.txt", val)}
        sections = {
            split: {**options, "cls_label_path": str(tmp_path / name), "relabel": relabel}
            for split, (name, relabel) in files.items()
        }
        texts = [f"DataLoader.{split}.dataset={json.dumps(section)}" for split, section in sections.items()]
        return [*texts, f"Global.output_dir={tmp_path / 'out'}"]

    assert command("train", *lists(True, True), weights=None) == 0
    run = tmp_path / "out" / "MobileNetV1_x0_25"
    assert (run / "labels.txt").read_text() == "0 1\n1 2\n2 3\n"
    assert "1 of the 3 classes has no images: class 1" in (run / "train.log").read_text() + capsys.readouterr().err
    assert command("train", *lists(True, False), weights=None) == 2
    assert "DataLoader.Eval.dataset.relabel: expected true" in capsys.readouterr().err
    assert command("train", *lists(False, False), weights=None) == 0
    printed = capsys.readouterr().err
    assert "DataLoader.Train.dataset: 1 of the 4 classes has no images: class 0; labels are 1 to 3" in printed
    assert "set DataLoader.Train.dataset.relabel to true" in printed


def test_run_without_names_is_evaluated_on_folders_by_label_names(workspace, run, command, tmp_path, capsys):
    paint_class_folders(tmp_path / "val", ["blue", "red"], count=4)
    shutil.copy(run / "latest.pdparams", tmp_path)
    (tmp_path / "list.txt").write_text("".join(f"{name}/0.png {label}\n" for label, name in enumerate(NAMES)))
    listed = [
        f"DataLoader.Train.dataset={{name: ImageNetDataset, image_root: {workspace / 'val'}, cls_label_path:"
        f" {tmp_path / 'list.txt'}}}",
        eval_root(tmp_path / "val"),
        "Arch.class_num=3",
    ]
    weights = tmp_path / "latest"
    assert command("eval", *listed, weights=weights) == 2
    assert "of the training data, whose names are unknown" in capsys.readouterr().err
    assert command("eval", *listed, "Infer.PostProcess.label_list=[blue, green, red]", weights=weights) == 0
    assert command("eval", *listed, "Global.class_names=[blue, green, red]", weights=weights) == 0
    capsys.readouterr()
    assert command("eval", *listed, "Infer.PostProcess.label_list=[blue, green, pink]", weights=weights) == 2
    assert "unknown class 'red'" in capsys.readouterr().err


def test_lists_with_label_files_are_matched_by_name(workspace, command, tmp_path, capsys):
    """Two folders that were split separately number their classes differently."""
    for part, names in (("a", NAMES), ("b", ["blue", "red"]), ("c", ["red", "yellow"])):
        paint_class_folders(tmp_path / part, names, count=4)
        assert main(["data", "split", str(tmp_path / part), "--val", "0.5"]) == 0

    def lists(train, val):
        files = {"Train": f"{train}/train_list.txt", "Eval": f"{val}/val_list.txt"}
        sections = {
            split: {
                "name": "ImageNetDataset",
                "image_root": str((tmp_path / file).parent),
                "cls_label_path": str(tmp_path / file),
                "transform_ops": OPS,
            }
            for split, file in files.items()
        }
        texts = [f"DataLoader.{split}.dataset={json.dumps(section)}" for split, section in sections.items()]
        return [*texts, f"Global.output_dir={tmp_path / 'out'}"]

    assert command("train", *lists("a", "b"), weights=None) == 0
    assert "DataLoader.Eval.dataset: 1 of the 3 classes has no images: class green" in capsys.readouterr().err
    run = tmp_path / "out" / "MobileNetV1_x0_25"
    assert (run / "labels.txt").read_text() == "0 blue\n1 green\n2 red\n"
    config = builders.read_config(str(run / "config.yaml"), [f"Global.pretrained_model={run / 'latest'}"], "eval")
    images = builders.build_loader(
        config.DataLoader.Eval,
        class_num=3,
        seed=0,
        training=False,
        classes=class_names.find_evaluation_names(config, config.DataLoader.Eval.dataset),
    ).samples.dataset
    assert {images.describe(index).split("/")[-2]: images[index][1] for index in range(4)} == {"blue": 0, "red": 2}
    assert command("eval", *lists("a", "c"), weights=run / "latest") == 2
    assert "DataLoader.Eval.dataset: unknown class 'yellow'" in capsys.readouterr().err


def test_class_names_that_differ_from_the_weights_are_refused(command, capsys):
    assert command("eval", "Global.class_names=[red, green, blue]") == 2
    assert "Global.class_names: expected the classes that" in capsys.readouterr().err


def test_label_names_in_another_order_are_refused(command, capsys, tmp_path):
    wrong = "Infer.PostProcess.label_list=[red, green, blue]"
    for task, weights in (("export", {}), ("train", {"weights": None})):
        assert command(task, wrong, f"Global.output_dir={tmp_path}", **weights) == 2
        assert "got 'red' for class 0, which is 'blue'" in capsys.readouterr().err
    assert command("export", "Infer.PostProcess.label_list=[Blau, Gr\u00fcn, Rot]") == 0


def test_training_uses_the_order_of_class_names(workspace, command, tmp_path, capsys):
    out = f"Global.output_dir={tmp_path}"
    stated = "Global.class_names=[red, yellow, green, blue]"
    assert command("train", stated, out, weights=None) == 0
    assert "DataLoader.Train.dataset: 1 of the 4 classes has no images: class yellow" in capsys.readouterr().err
    weights = tmp_path / "MobileNetV1_x0_25" / "latest"
    assert (weights.parent / "labels.txt").read_text() == "0 red\n1 yellow\n2 green\n3 blue\n"
    assert evaluated(workspace, workspace / "val", weights) == {"red": 0, "green": 2, "blue": 3}
    assert command("train", "Global.class_names=[red, green]", out, weights=None) == 2
    assert "unknown class 'blue'; the classes of the network are red, green: add it to Global.class_names" in (
        capsys.readouterr().err
    )


def test_fine_tuning_keeps_the_classes_of_the_head(workspace, run, command, tmp_path, capsys):
    paint_class_folders(tmp_path / "part", ["blue", "red"], count=4)
    paint_class_folders(tmp_path / "other", ["blue", "red", "yellow"], count=4)
    head = read_pdparams(run / "latest.pdparams")
    head = {key: value for key, value in head.items() if key.startswith("fc.")}
    common = ["Arch.class_num=3", f"Global.output_dir={tmp_path / 'out'}", "Optimizer.lr.learning_rate=0.0000001"]
    weights = tmp_path / "out" / "MobileNetV1_x0_25" / "latest.pdparams"

    def head_is_kept():
        return all(np.allclose(value, read_pdparams(weights)[key], atol=1e-4) for key, value in head.items())

    assert command("train", train_root(tmp_path / "part"), eval_root(tmp_path / "part"), *common) == 0
    assert (weights.parent / "labels.txt").read_text() == "0 blue\n1 green\n2 red\n"
    assert head_is_kept()
    capsys.readouterr()
    assert command("train", train_root(tmp_path / "other"), eval_root(tmp_path / "other"), *common) == 0
    assert (weights.parent / "labels.txt").read_text() == "0 blue\n1 red\n2 yellow\n"
    assert "was trained on other classes (green): initializing the head" in capsys.readouterr().err
    assert not head_is_kept()


def test_run_is_not_resumed_with_other_classes(run, command, tmp_path, capsys):
    paint_class_folders(tmp_path / "train", ["blue", "green", "yellow"])
    overrides = [train_root(tmp_path / "train"), eval_root(tmp_path / "train"), f"Global.checkpoints={run / 'latest'}"]
    assert command("train", *overrides, f"Global.output_dir={tmp_path / 'out'}", "Global.epochs=2", weights=None) == 2
    printed = capsys.readouterr().err
    assert "as in the configuration, got ['blue', 'green', 'red']" in printed
    assert "['blue', 'green', 'yellow']" in printed


def test_single_class_is_refused(command, tmp_path, capsys):
    paint_class_folders(tmp_path / "train" / "colors", ["blue", "red"], count=4)
    out = f"Global.output_dir={tmp_path / 'out'}"
    for overrides in ([], ["Arch.class_num=3"]):
        assert command("train", train_root(tmp_path / "train"), out, *overrides, weights=None) == 2
        printed = capsys.readouterr().err
        assert "expected images of two classes or more, got 8 of class 'colors' only" in printed
        assert f"if its folders (blue, red) are the classes, set image_root to '{tmp_path}/train/colors'" in printed
    assert command("train", "Arch.class_num=1", out, weights=None) == 2
    error = capsys.readouterr().err
    assert "Arch.class_num: expected 2 or more" in error and "to train one yes-or-no label, set" in error
    assert not (tmp_path / "out").exists()


def test_data_check_reports_classes_and_skipped_files(workspace, tmp_path, capsys):
    paint_class_folders(tmp_path / "val", ["blue", "zebra"], count=4)
    (tmp_path / "val" / "blue" / "photo.heic").write_bytes(b"x")
    (tmp_path / "val" / "blue" / "readme").write_bytes(b"x")
    assert main(["data", "check", str(workspace / "config.yaml"), "-o", eval_root(tmp_path / "val")]) == 2
    printed = capsys.readouterr().out
    assert "DataLoader.Eval: unknown class 'zebra'" in printed
    assert "skipped 2 files without an image extension: .heic (1), without extension (1)" in printed
