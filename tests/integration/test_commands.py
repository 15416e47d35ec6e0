"""The commands as a user runs them: train, eval, infer, export, resume; and every mistake in one line."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.pictures import COLORS, paint
from helpers.small_runs import NORMALIZE, OPS, command, paint_class_folders, small_config, split_config
from PIL import Image

import ppzoo
from ppzoo.cli import main
from ppzoo.errors import WeightsError
from ppzoo.weights import read_pdparams, read_state


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with 24 images of three colors, their list files, and a configuration."""
    folder = tmp_path_factory.mktemp("workspace")
    images = paint_class_folders(folder / "images", file="{name} {number}.png")
    config = small_config(folder, "MobileNetV2_x0_25", topk=2)
    config["Global"] |= {"epochs": 4, "save_interval": 2, "print_batch_step": 1, "use_visualdl": True}
    config["Arch"]["class_num"] = 3
    config["Loss"]["Train"] = [{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]
    config["Optimizer"] = {
        "name": "Momentum",
        "momentum": 0.9,
        "lr": {"name": "Cosine", "learning_rate": 0.05},
        "regularizer": {"name": "L2", "coeff": 0.00003},
    }
    ops = [OPS[0], {"RandCropImage": {"size": 32}}, {"RandFlipImage": {"flip_code": 1}}, NORMALIZE]
    config["DataLoader"] = {
        "Train": {
            **split_config(images, ops, batch_size=8, shuffle=True),
            "loader": {"num_workers": 0, "use_shared_memory": True},
        },
        "Eval": split_config(images, batch_size=5, shuffle=False),
    }
    config["Infer"]["batch_size"] = 5
    config["Metric"] = {split: [{"TopkAcc": {"topk": [1, 2]}}] for split in ("Train", "Eval")}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def trained(workspace):
    """The folder of a finished run."""
    assert main(["train", "-c", str(workspace / "config.yaml")]) == 0
    return workspace / "output" / "MobileNetV2_x0_25"


def best(trained):
    return f"Global.pretrained_model={trained / 'best_model'}"


def test_training_writes_its_files(trained):
    names = {file.name for file in trained.iterdir()}
    prefixes = ("latest", "best_model", "epoch_2", "epoch_4")
    assert {f"{prefix}.{suffix}" for prefix in prefixes for suffix in ("pdparams", "pdopt", "pdstates")} <= names
    assert {"train.log", "config.yaml", "labels.txt", "curves.png", "history.jsonl", "vdl"} <= names
    assert (trained / "labels.txt").read_text() == "0 blue\n1 green\n2 red\n"
    log = (trained / "train.log").read_text()
    assert "epoch 4/4  step 3/3  loss" in log
    assert "images/s" in log
    assert yaml.safe_load((trained / "config.yaml").read_text())["Arch"]["class_num"] == 3
    assert len((trained / "history.jsonl").read_text().splitlines()) == 4


def test_eval_reproduces_the_metrics_of_training(workspace, trained, capsys):
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    expected = max(entry["eval"]["top1"] for entry in history)
    assert main(command("eval", workspace, best(trained))) == 0
    printed = capsys.readouterr().out
    assert f"top1 {expected:.4f}" in printed
    assert "top2" in printed
    assert "loss" in printed


def test_infer_export_and_predictor_agree(workspace, trained, capsys):
    assert main([*command("infer", workspace, best(trained)), "--json"]) == 0
    predictions = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    files = sorted(str(file) for file in (workspace / "images").rglob("*.png"))
    assert [prediction["file_name"] for prediction in predictions] == files
    assert set(predictions[0]["label_names"]) <= set(COLORS)

    assert main(command("export", workspace, best(trained))) == 0
    predictor = ppzoo.Predictor(workspace / "inference")
    from_paths = predictor.predict(files, topk=2)
    assert [prediction["class_ids"] for prediction in from_paths] == [
        prediction["class_ids"] for prediction in predictions
    ]
    np.testing.assert_allclose(from_paths[3]["scores"], predictions[3]["scores"], atol=1e-5)
    from_bytes = predictor.predict(Path(files[0]).read_bytes(), topk=1)
    from_array = predictor.predict([np.asarray(Image.open(files[0]))], topk=1)
    assert from_bytes == from_array
    assert from_bytes[0]["label_names"] == from_paths[0]["label_names"][:1]


def test_safetensors_weights_need_no_configuration(workspace, trained, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_NATIVE", "off")
    images = str(workspace / "images" / "red")
    assert main([*command("infer", workspace, best(trained)), "--json", images]) == 0
    expected = capsys.readouterr().out
    folder = f"Global.save_inference_dir={tmp_path}"
    assert main([*command("export", workspace, best(trained), folder), "--format", "safetensors"]) == 0
    capsys.readouterr()
    file = tmp_path / "MobileNetV2_x0_25.safetensors"
    assert main(["infer", "--weights", str(file), "--json", images]) == 0
    assert capsys.readouterr().out == expected
    assert main(["infer", "--weights", str(file), "--device", "cpu", "--json", images]) == 0
    assert capsys.readouterr().out == expected
    assert main(["infer", "--weights", str(file), "--device", "tpu", images]) == 2
    assert "--device: expected 'cpu', 'gpu', 'gpu:N' or 'auto', got 'tpu'" in capsys.readouterr().err
    assert main(["infer", "--weights", str(trained / "best_model.pdparams"), images]) == 2
    assert "ppzoo export --format safetensors" in capsys.readouterr().err


def test_device_overrides_the_configuration(workspace, trained, capsys):
    images = str(workspace / "images" / "red")
    infer = [*command("infer", workspace, best(trained), "Global.device=gpu:7"), "--json", images]
    assert main([*infer, "--device", "cpu"]) == 0
    assert "gpu:7" not in capsys.readouterr().err
    assert main([*infer, "--device", "tpu"]) == 2
    assert "got 'tpu'" in capsys.readouterr().err


@pytest.mark.slow
def test_every_command_with_a_network_with_several_outputs(workspace, tmp_path, capsys):
    size = "DataLoader.{}.dataset.transform_ops.1={{ResizeImage: {{size: 224}}}}"
    overrides = [
        f"Global.output_dir={tmp_path}",
        f"Global.save_inference_dir={tmp_path / 'export'}",
        "Global.image_shape=[3, 224, 224]",
        "Global.epochs=1",
        "Arch.name=GoogLeNet",
        "Optimizer.lr.learning_rate=0.0001",
        size.format("Train"),
        size.format("Eval"),
        "Infer.transforms.1={ResizeImage: {size: 224}}",
        "Loss={Train: [{GoogLeNetLoss: null}], Eval: [{GoogLeNetLoss: null}]}",
        "Metric={Train: [{GoogLeNetTopkAcc: {topk: [1]}}], Eval: [{GoogLeNetTopkAcc: {topk: [1]}}]}",
    ]
    assert main(command("train", workspace, *overrides)) == 0
    overrides.append(f"Global.pretrained_model={tmp_path / 'GoogLeNet' / 'latest'}")
    for task in ("eval", "infer", "export"):
        assert main(command(task, workspace, *overrides)) == 0


def test_an_image_given_twice_is_predicted_twice(workspace, trained, capsys):
    image = str(workspace / "images" / "red" / "red 0.png")
    assert main([*command("infer", workspace, best(trained)), image, image]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_unreadable_image_does_not_stop_training(workspace, tmp_path):
    for name in COLORS:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(8):
            paint(tmp_path / "images" / name / f"{number}.png", COLORS[name], seed=number)
    broken = tmp_path / "images" / "blue" / "0.png"
    broken.write_bytes(b"no image")
    images = f"DataLoader.Train.dataset.image_root={tmp_path / 'images'}"
    overrides = (images, f"Global.output_dir={tmp_path}", "Global.epochs=1")
    assert main(command("train", workspace, *overrides)) == 0
    listed = (tmp_path / "MobileNetV2_x0_25" / "bad_files.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == [str(broken)]


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_evaluation_images_are_reported_before_training(workspace, tmp_path, capsys, workers):
    root = tmp_path / "images"
    shutil.copytree(workspace / "images", root)
    broken = [root / "green" / "green 7.png", root / "red" / "red 2.png"]
    for file in broken:
        file.write_bytes(file.read_bytes()[:300])
    settings = (f"DataLoader.Eval.dataset.image_root={root}", f"DataLoader.Eval.loader={{num_workers: {workers}}}")
    arguments = command("train", workspace, *settings, f"Global.output_dir={tmp_path / 'output'}", "Global.epochs=1")
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: DataLoader.Eval: 2 of 24 images cannot be read: ")
    assert all(str(file) in line for file in broken) and "on_error: skip" in line and "`ppzoo data check" in line
    assert not (tmp_path / "output").exists()
    skip = "DataLoader.Eval.dataset.on_error=skip"
    assert main([*arguments, "-o", skip]) == 2
    assert "2 of 24 images cannot be read, more than dataset.max_bad_fraction (0.05)" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()
    assert main([*arguments, "-o", skip, "-o", "DataLoader.Eval.dataset.max_bad_fraction=0.1"]) == 0
    assert "evaluation: skipped 2 images that could not be read" in capsys.readouterr().err


def test_eval_reports_how_to_skip_an_unreadable_image(workspace, trained, tmp_path, capsys):
    root = tmp_path / "images"
    shutil.copytree(workspace / "images", root)
    (root / "red" / "red 2.png").write_bytes(b"no image")
    assert main(command("eval", workspace, best(trained), f"DataLoader.Eval.dataset.image_root={root}")) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "red 2.png: " in line and line.endswith("to skip such images, or list them with `ppzoo data check CONFIG`")


def test_a_checkpoint_of_another_optimizer_or_seed_is_refused(workspace, trained, tmp_path, capsys):
    for override, difference in (
        (
            "Optimizer={name: Adam, lr: {name: Constant, learning_rate: 0.1}}",
            "expected optimizer 'Adam' as in the configuration, got 'Momentum'",
        ),
        ("Global.seed=2", "expected seed 2 as in the configuration, got 1"),
    ):
        checkpoint = f"Global.checkpoints={trained / 'epoch_2'}"
        assert main(command("train", workspace, checkpoint, override, f"Global.output_dir={tmp_path}")) == 2
        assert difference in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_infer_reports_an_unreadable_image_and_predicts_the_others(workspace, trained, capsys, tmp_path):
    for number, name in enumerate(("a.png", "c.png")):
        paint(tmp_path / name, COLORS["red"], seed=number)
    (tmp_path / "b.png").write_bytes(b"no image")
    assert main(command("infer", workspace, best(trained), f"Infer.infer_imgs={tmp_path}")) == 2
    printed = capsys.readouterr()
    assert [line.split(":")[0] for line in printed.out.splitlines()] == [
        str(tmp_path / "a.png"),
        str(tmp_path / "c.png"),
    ]
    assert str(tmp_path / "b.png") in printed.err


def test_resume_is_bit_identical(workspace, trained, tmp_path):
    """In a separate process, as after a crash; the optimizer's state must match by name."""
    overrides = [f"Global.output_dir={tmp_path}", f"Global.checkpoints={trained / 'epoch_2'}"]
    tool = Path(__file__).parents[2] / "tools" / "train.py"
    arguments = command("train", workspace, *overrides)[1:]
    subprocess.run([sys.executable, str(tool), *arguments], check=True, capture_output=True, cwd=tmp_path)
    resumed = tmp_path / "MobileNetV2_x0_25"
    expected, received = read_pdparams(trained / "latest.pdparams"), read_pdparams(resumed / "latest.pdparams")
    assert all(np.array_equal(expected[key], received[key]) for key in expected)
    assert read_state(resumed / "latest.pdstates") == read_state(trained / "latest.pdstates")


def test_training_with_all_settings(workspace, tmp_path):
    settings = (
        f"Global.output_dir={tmp_path}",
        "AMP={use_amp: true, level: O1, scale_loss: 128.0, use_dynamic_loss_scaling: true}",
        "EMA={decay: 0.99}",
        "Global.update_freq=2",
        "Global.iter_per_epoch=4",
        "Global.early_stopping={patience: 1, min_gain: 1.0}",
        "Arch.freeze=['conv1.*']",
    )
    assert main(command("train", workspace, *settings)) == 0
    folder = tmp_path / "MobileNetV2_x0_25"
    log = (folder / "train.log").read_text()
    assert "epoch 1/4  step 2/2  loss" in log
    assert "stopping early after epoch 2: 1 evaluation without an improvement of more than 1 in top1" in log
    entries = history(folder)
    assert len(entries) == 2
    assert {"loss", "top1", "loss_ema", "top1_ema"} <= entries[0]["eval"].keys()
    best = ["Global.pretrained_model=" + str(folder / "best_model"), "Arch.freeze=false"]
    assert main(command("eval", workspace, *best)) == 0
    weights, averages = (read_pdparams(folder / f"latest.{suffix}") for suffix in ("pdparams", "pdema"))
    assert weights.keys() == averages.keys()
    still = {key for key in weights if key.endswith("_mean") and not weights[key].any()}
    assert still == {"conv1._batch_norm._mean"}


def test_an_earlier_run_is_moved_aside(workspace, trained, tmp_path):
    arguments = command(
        "train", workspace, f"Global.output_dir={tmp_path}", "Global.epochs=1", "Global.use_visualdl=false"
    )
    assert main(arguments) == 0
    (tmp_path / "MobileNetV2_x0_25" / "mark").touch()
    assert main(arguments) == 0
    assert (tmp_path / "MobileNetV2_x0_25.earlier-1" / "mark").exists()
    assert not (tmp_path / "MobileNetV2_x0_25" / "mark").exists()


def contents(folder):
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()}


def test_a_finished_checkpoint_is_refused_without_changing_files(workspace, trained, tmp_path, capsys):
    elsewhere, own = tmp_path / "elsewhere", tmp_path / "output" / trained.name
    shutil.copytree(trained, elsewhere)
    shutil.copytree(trained, own)
    before, output = contents(tmp_path), f"Global.output_dir={tmp_path / 'output'}"
    hint = "to continue training, add -o Global.epochs="
    for number, setting, words in ((8, "Global.epochs=4", "4 of 4 epochs"), (5, "Global.epochs=1", "4 epochs (of 1)")):
        checkpoint = f"Global.checkpoints={elsewhere / 'latest'}"
        assert main(command("train", workspace, output, setting, checkpoint)) == 2
        line = f"{elsewhere / 'latest'} has already trained {words}; {hint}{number}"
        assert capsys.readouterr().err.splitlines()[-1] == f"error: Global.checkpoints: {line}"
        assert main([*command("train", workspace, output, setting), "--resume", "auto"]) == 0
        assert capsys.readouterr().err.splitlines()[-1] == line.replace(str(elsewhere), str(own))
    assert contents(tmp_path) == before
    assert main(command("train", workspace, output, "Global.epochs=5", checkpoint, "Global.use_visualdl=false")) == 0
    assert (tmp_path / "output" / f"{trained.name}.earlier-1").exists()


@pytest.mark.parametrize("name", ["history.jsonl", "train.log"])
def test_a_file_of_the_run_that_cannot_be_continued_is_refused_without_changing_files(
    workspace, trained, tmp_path, capsys, name
):
    own = tmp_path / trained.name
    shutil.copytree(trained, own)
    (own / name).unlink()
    (own / name).mkdir()
    before = contents(tmp_path)
    settings = (f"Global.output_dir={tmp_path}", "Global.epochs=5", "Optimizer.lr.learning_rate=0.01")
    assert main([*command("train", workspace, *settings), "--resume", "auto"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"{own / name}: Is a directory")
    left = contents(tmp_path)
    left.pop(own / ".lock", None)
    assert left == before


def test_a_resumed_run_with_another_main_metric_starts_over_with_the_best_value(workspace, trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / trained.name)
    settings = (f"Global.output_dir={tmp_path}", "Global.epochs=5", "Metric.Eval=[]", "Global.use_visualdl=false")
    assert main([*command("train", workspace, *settings), "--resume", "auto"]) == 0
    output = capsys.readouterr().err
    assert "the main metric changed from top1 to loss" in output
    assert re.search(r"best loss [0-9.]+ in epoch 5", output)
    assert read_state(tmp_path / trained.name / "best_model.pdstates")["epoch"] == 5


def test_files_that_a_kill_after_the_last_epoch_prevented_are_written_by_the_next_run(workspace, trained, tmp_path):
    own = tmp_path / trained.name
    shutil.copytree(trained, own)
    for file in (*own.glob("epoch_4.*"), own / "curves.png"):
        file.unlink()
    assert main([*command("train", workspace, f"Global.output_dir={tmp_path}"), "--resume", "auto"]) == 0
    assert {file.name for file in own.iterdir()} == {file.name for file in trained.iterdir()}


def test_a_run_that_stopped_early_reports_how_to_continue(workspace, tmp_path, capsys):
    stopping = "Global.early_stopping={patience: 1, min_gain: 1.0}"
    settings = (f"Global.output_dir={tmp_path}", stopping, "Global.use_visualdl=false")
    assert main(command("train", workspace, *settings)) == 0
    capsys.readouterr()
    assert main([*command("train", workspace, *settings), "--resume", "auto"]) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    assert "stopped early after 2 of 4 epochs" in line
    hint = line.rpartition(" -o ")[2]
    assert hint == "Global.early_stopping.patience=2"
    assert main([*command("train", workspace, *settings, hint), "--resume", "auto"]) == 0
    assert len(history(tmp_path / "MobileNetV2_x0_25")) == 3


def next_steps(printed):
    return printed.partition("What to do next:\n")[2].splitlines()


@pytest.mark.parametrize("way", [pytest.param("ppzoo", marks=pytest.mark.slow), "tools"])
def test_printed_next_steps_work_when_they_are_pasted(workspace, tmp_path, way, monkeypatch):
    """Also with spaces in paths, and from outside of the clone."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ppzoo_command = tmp_path / "bin" / "ppzoo"
    ppzoo_command.parent.mkdir()
    ppzoo_command.write_text(f"#!{sys.executable}\nfrom ppzoo.cli import console\nconsole()\n")
    ppzoo_command.chmod(0o755)
    starts = {"ppzoo": [str(ppzoo_command), "train"], "tools": [sys.executable, str(root / "tools" / "train.py")]}
    settings = ("Global.output_dir=out put", "Global.save_inference_dir=in ference", "Global.epochs=1")
    photo = workspace / "images" / "red" / "red 1.png"

    def run(command):
        options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
        return subprocess.run(command, check=True, shell=isinstance(command, str), **options).stdout

    infer, export = next_steps(run([*starts[way], *command("train", workspace, *settings)[1:]]))
    assert run(infer.replace("PHOTO_OR_FOLDER", f"'{photo}'")).startswith(f"{photo}: ")
    infer_export, _, python = next_steps(run(export))
    assert run(infer_export.replace("PHOTO_OR_FOLDER", f"'{photo}'")).startswith(f"{photo}: ")
    run([sys.executable, "-c", python.strip().replace("photo.jpg", str(photo))])
    (weights,) = next_steps(run(f"{export} --format safetensors"))
    assert run(weights.replace("PHOTO_OR_FOLDER", f"'{photo}'")).startswith(f"{photo}: ")


def test_next_steps_without_transforms_for_inference(workspace, tmp_path, capsys):
    settings = (f"Global.output_dir={tmp_path}", "Global.epochs=1", "Infer=null")
    assert main(command("train", workspace, *settings)) == 0
    (line,) = next_steps(capsys.readouterr().out)
    assert "Infer.transforms" in line


def test_missing_weights_are_reported_with_the_weights_of_the_run(workspace, trained, capsys):
    assert main(command("eval", workspace)) == 2
    assert capsys.readouterr().err.endswith(f"got nothing; did you mean {trained / 'best_model'}?\n")


def test_hints_for_python_are_not_printed_by_the_command_line(workspace, trained, capsys):
    assert main(command("eval", workspace, best(trained), "Arch.class_num=4")) == 2
    assert "strict" not in capsys.readouterr().err
    network = ppzoo.create_model("MobileNetV2_x0_25", class_num=4)
    with pytest.raises(
        WeightsError, match=r"; use ppzoo.load_weights\(..., strict=False\) to load the 265 entries that match$"
    ):
        ppzoo.load_weights(network, trained / "best_model", head="strict")


def test_pretrained_weights_with_another_head(workspace, trained, tmp_path):
    overrides = (f"Global.output_dir={tmp_path}", "Global.epochs=1", f"Arch.pretrained={trained / 'best_model'}")
    frozen = "Optimizer.learning_rate_factors={'*': 0.0}"
    assert main(command("train", workspace, *overrides, frozen, "Arch.class_num=4")) == 0
    start, end = (read_pdparams(path) for path in (trained / "best_model", tmp_path / "MobileNetV2_x0_25" / "latest"))
    assert np.array_equal(start["conv1._conv.weight"], end["conv1._conv.weight"])
    assert end["out.weight"].shape == (1280, 4)


@pytest.mark.parametrize("task", ["eval", "infer", "export"])
def test_weights_of_another_head_are_refused_after_training(workspace, trained, task, capsys):
    assert main(command(task, workspace, best(trained), "Arch.class_num=4")) == 2
    assert "3 in the weights, 4 in the network" in capsys.readouterr().err.replace("1280x", "")


@pytest.mark.parametrize("task", ["eval", "infer", "export"])
def test_random_weights_are_refused_after_training(workspace, task, capsys):
    assert main(command(task, workspace)) == 2
    assert "Global.pretrained_model: expected the weights to use, got nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Global.epohcs=3", "error: Global.epohcs: unknown key; did you mean Global.epochs?"),
        ("Arch.class_num=ten", "error: Arch.class_num: expected an integer, got 'ten'"),
        ("Arch.name=MobileNetV2_x05", "did you mean 'MobileNetV2_x0_5'"),
        ("Arch.class_num=2", "3 class"),
        (
            "Arch.name=AlexNet",
            "expected images that AlexNet can take (by default 3 x 224 x 224 float32), got 3 x 32",
        ),
        ("DataLoader.Train.dataset.image_root=/nowhere", "DataLoader.Train.dataset.image_root: expected a folder"),
        ("Global.pretrained_model=/nowhere/weights", "Global.pretrained_model: expected weights"),
        ("Global.checkpoints=/nowhere/latest", "Global.checkpoints: expected"),
        ("Loss.Train.0.CELoss.epsilon=1.5", "epsilon"),
        ("Loss.Train=[{GoogLeNetLoss: null}]", "Loss.Train.0.GoogLeNetLoss: "),
        ("Loss.Eval=null", "Loss.Eval: expected a list of losses, got nothing"),
        ("DataLoader.Eval.dataset.transform_ops.2.NormalizeImage.output_fp16=true", "expected images that"),
        ("DataLoader.Train.dataset.transform_ops.0.DecodeImage.backend=svn", "backend"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(workspace, tmp_path, capsys, override, message):
    assert main(command("train", workspace, f"Global.output_dir={tmp_path / 'output'}", override)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert lines[0].startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_a_label_that_is_too_large_is_reported_with_file_and_line(workspace, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("blue/blue 0.png 0\nred/red 1.png 3\n")
    dataset = {
        "name": "ImageNetDataset",
        "image_root": str(workspace / "images"),
        "cls_label_path": str(tmp_path / "list.txt"),
    }
    overrides = (f"Global.output_dir={tmp_path / 'output'}", f"DataLoader.Train.dataset={json.dumps(dataset)}")
    assert main(command("train", workspace, *overrides)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "list.txt" in line and "line 2" in line and "3" in line
    assert not (tmp_path / "output").exists()


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_weight_file_executes_nothing(workspace, tmp_path, capsys):
    mark = tmp_path / "it-ran"
    (tmp_path / "evil.pdparams").write_bytes(pickle.dumps({"conv1._conv.weight": Evil(mark)}))
    assert main(command("eval", workspace, f"Global.pretrained_model={tmp_path / 'evil'}")) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "system" in line
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"<html><body>404</body></html>", pickle.dumps({"a": np.ones(9)})[:60]])
def test_a_file_without_weights_is_refused_in_one_line(workspace, tmp_path, capsys, content):
    (tmp_path / "weights.pdparams").write_bytes(content)
    assert main(command("eval", workspace, f"Global.pretrained_model={tmp_path / 'weights'}")) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]) == 1


def test_a_loss_that_is_not_finite_stops_the_run(workspace, tmp_path, capsys):
    overrides = (f"Global.output_dir={tmp_path}", "Optimizer.lr.learning_rate=1.0e+30", "Optimizer.lr.name=ConstLR")
    assert main(command("train", workspace, *overrides)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: the loss is") and "epoch 1, step" in error and "learning rate 1e+30" in error


@pytest.mark.parametrize("killed", [False, True])
def test_rollback_after_nonfinite_values_also_across_a_kill(workspace, tmp_path, monkeypatch, killed):
    """Gradients are not finite in epoch 3 until the run was rolled back twice."""
    from ppzoo import engine
    from ppzoo.errors import NotFiniteError

    train_step = engine.Trainer._train_step
    steps = []

    def wrong_at_times(self, batches):
        progress = self.state.progress
        if (progress.epoch, progress.step) == (2, 1) and progress.rollbacks < 2:
            raise NotFiniteError("the loss is nan")
        steps.append(progress.rollbacks)
        if killed and steps.count(2) == 2:
            os.kill(os.getpid(), 15)
        return train_step(self, batches)

    settings = (f"Global.output_dir={tmp_path}", "Global.on_nan=rollback", "Global.save_interval_steps=1")
    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "_train_step", wrong_at_times)
        if killed:
            assert main(command("train", workspace, *settings)) == 143
            killed = False
            assert main([*command("train", workspace, *settings), "--resume", "auto"]) == 0
        else:
            assert main(command("train", workspace, *settings)) == 0
    folder = tmp_path / "MobileNetV2_x0_25"
    log = (folder / "train.log").read_text()
    for number, factor in ((1, 0.5), (2, 0.25)):
        line = f"the loss is nan; rolled back to epoch 3, step 1 ({number} of 3): new shuffle, learning rate x"
        assert f"{line} {factor}" in log
    state = read_state(folder / "latest.pdstates")
    assert (state["epoch"], state["rollbacks"]) == (4, 2)
    rates = [entry["lr"] for entry in history(folder)]
    assert rates[2] < 0.3 * rates[1]
    content = (folder / "latest.pdparams").read_bytes()
    earlier = workspace / "rolled_back.pdparams"
    assert not earlier.exists() or earlier.read_bytes() == content
    earlier.write_bytes(content)


def test_a_run_stops_after_three_rollbacks(workspace, tmp_path, capsys):
    settings = (f"Global.output_dir={tmp_path}", "Global.on_nan=rollback", "Optimizer.lr.learning_rate=1e30")
    assert main(command("train", workspace, *settings)) == 1
    log = (tmp_path / "MobileNetV2_x0_25" / "train.log").read_text()
    assert log.count("rolled back to epoch 1, step 0") == 3
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: the ")


@pytest.mark.slow
def test_a_static_program_trains_to_the_same_weights(workspace, trained, tmp_path):
    assert main(command("train", workspace, f"Global.output_dir={tmp_path}", "Global.to_static=true")) == 0
    static, eager = (folder / "latest.pdparams" for folder in (tmp_path / "MobileNetV2_x0_25", trained))
    expected = read_pdparams(eager)
    assert all(np.array_equal(value, expected[key]) for key, value in read_pdparams(static).items())


def test_check_reports_all_mistakes_at_once(workspace, capsys):
    assert main(command("check", workspace)) == 0
    assert (
        main(command("check", workspace, "Global.epohcs=3", "Arch.class_num=ten", "Metric.Eval.0.TopkAcc.topk=x")) == 2
    )
    assert len(capsys.readouterr().err.strip().splitlines()) == 3


def test_a_folder_without_images_is_an_error(workspace, trained, tmp_path, capsys):
    assert main(command("infer", workspace, best(trained), f"Infer.infer_imgs={tmp_path}")) == 2
    assert "expected an image, a folder of images or a pattern" in capsys.readouterr().err


def test_weights_do_not_depend_on_the_number_of_workers(workspace, trained, tmp_path):
    arguments = command("train", workspace, f"Global.output_dir={tmp_path}", "DataLoader.Train.loader.num_workers=2")
    assert main(arguments) == 0
    expected = read_pdparams(trained / "latest.pdparams")
    received = read_pdparams(tmp_path / "MobileNetV2_x0_25" / "latest.pdparams")
    assert all(np.array_equal(expected[key], received[key]) for key in expected)


@pytest.mark.slow
def test_resume_after_repeated_kills_is_bit_identical(workspace, trained, tmp_path):
    """The run is killed at random moments, also while it saves, and resumed in new processes; the last one finishes."""
    overrides = (f"Global.output_dir={tmp_path}", "Global.save_interval_steps=1", "Global.use_visualdl=false")
    tool = Path(__file__).parents[2] / "tools" / "train.py"
    arguments = [sys.executable, str(tool), *command("train", workspace, *overrides)[1:], "--resume", "auto"]
    random = np.random.default_rng(0)
    for _ in range(6):
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in process.stderr:  # once a step has been logged, the kill comes within a few steps
            if "step" in line and "images/s" in line:
                break
        time.sleep(random.uniform(0, 0.4))
        process.kill()
        process.communicate()
    subprocess.run(arguments, check=True, capture_output=True)
    killed = tmp_path / "MobileNetV2_x0_25"
    expected, received = read_pdparams(trained / "latest.pdparams"), read_pdparams(killed / "latest.pdparams")
    assert all(np.array_equal(expected[key], received[key]) for key in expected)
    assert [line["eval"] for line in history(killed)] == [line["eval"] for line in history(trained)]
    assert [line["train"] for line in history(killed)] == [line["train"] for line in history(trained)]


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def state_of(folder):
    """Return names, contents and modification times of everything in a folder."""
    return {
        file.relative_to(folder): (file.lstat().st_mtime_ns, file.is_symlink() or file.is_dir() or file.read_bytes())
        for file in folder.rglob("*")
    }


@pytest.mark.slow
def test_a_folder_that_is_only_read_does_not_change(workspace, trained, tmp_path, capsys):
    """Also with files of an interrupted save and a link in it."""
    run, valuable = tmp_path / "downloaded", tmp_path / "valuable"
    shutil.copytree(trained, run)
    valuable.write_text("text")
    (run / ".lock").symlink_to(valuable)
    for name in ("latest.new.pdopt", ".latest.new.pdopt.abcd1234.tmp", "epoch_2.new.pdparams", "other.new.manifest"):
        (run / name).write_text("half")
    before = state_of(run)
    weights, config = f"Global.pretrained_model={run / 'best_model'}", str(run / "config.yaml")
    elsewhere = ("-o", f"Global.output_dir={tmp_path / 'new'}", "-o", f"Global.save_inference_dir={tmp_path / 'out'}")
    for number, (name, *options) in enumerate(
        [
            ("eval", "-o", weights),
            ("infer", "-o", weights, str(workspace / "images")),
            ("export", "-o", weights, *elsewhere),
            ("export", "-o", weights, *elsewhere, "--format", "safetensors"),
            ("train", "--resume", str(run / "latest"), *elsewhere, "-o", "Global.epochs=5"),
            ("train", "--resume", str(run / "latest"), *elsewhere, "-o", "Arch.name=MobileNetV1_x0_25"),
            ("train", "-o", f"Global.checkpoints={run / 'nothing'}", *elsewhere),
        ]
    ):
        assert main([name, "-c", config, *options]) == (0 if number < 5 else 2), (name, capsys.readouterr().err)
        assert state_of(run) == before, name
    assert valuable.read_text() == "text"
