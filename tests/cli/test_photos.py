"""Training from an architecture and a folder of photos."""

import json
import shutil

import numpy as np
import pytest
from helpers.pictures import COLORS
from helpers.quick import QUICK

from ppzoo import builders, models, weights
from ppzoo.cli import main
from ppzoo.config import ComponentSpec, load
from ppzoo.data import read_list


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(data, *options, arch="LeNet"):
    return main(["train", "--arch", arch, "--data", str(data), *QUICK, *options])


def the_split(folder):
    (split,) = folder.glob("output/*-split-*")
    return split


def images(list_file):
    index = read_list(str(list_file))
    return {(index.path(number), int(index.labels[number])) for number in range(len(index))}


@pytest.mark.parametrize("part", ["Train", "Eval"])
def test_damaged_images_of_a_folder_can_be_skipped_as_the_error_says(photos, folder, capsys, part):
    """There is no configuration file that could be changed or given to `ppzoo data check`."""
    shutil.copytree(photos, "photos")
    for name in COLORS:
        for number in (1, 4, 6, 9):
            (folder / "photos" / name / f"{number}.png").write_text(f"no image {name} {number}")
    options = ["-o", f"DataLoader.{part}.dataset.on_error=raise", "-o", "DataLoader.Eval.dataset.max_bad_fraction=0.9"]
    options += ["-o", "DataLoader.Train.dataset.max_bad_fraction=0.9"]
    skip_eval = [] if part == "Eval" else ["-o", "DataLoader.Eval.dataset.on_error=skip"]
    assert train("photos", *options, *skip_eval) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    advice = f"-o DataLoader.{part}.dataset.on_error=skip"
    assert line.startswith(f"error: DataLoader.{part}.dataset: ")
    assert line.endswith(f"replace or remove it; add {advice} to skip such images")
    assert train("photos", *options, *skip_eval, *advice.split()) == 0


def test_class_folders_are_split_and_the_lists_are_kept(photos, folder, capsys):
    assert train(photos) == 0
    printed = capsys.readouterr()
    split = the_split(folder)
    assert f"--data {photos}: 3 classes: 24 training images, 6 validation images" in printed.err
    assert "training from scratch, without pretrained weights: there are no official weights of LeNet" in printed.err
    training, evaluation = images(split / "train_list.txt"), images(split / "val_list.txt")
    expected = {(f"{name}/{number}.png", label) for label, name in enumerate(sorted(COLORS)) for number in range(10)}
    assert training | evaluation == expected and not training & evaluation
    assert np.bincount([label for _, label in evaluation]).tolist() == [2, 2, 2]
    assert (split / "label_list.txt").read_text() == "0 blue\n1 green\n2 red\n"

    config = load(folder / "output" / "LeNet" / "config.yaml")
    assert config["Arch"] == {"name": "LeNet", "pretrained": False, "class_num": 3}
    assert config["DataLoader"]["Train"]["dataset"]["cls_label_path"] == f"output/{split.name}/train_list.txt"
    assert config["DataLoader"]["Eval"]["dataset"]["cls_label_path"] == f"output/{split.name}/val_list.txt"
    assert config["Global"]["epochs"] == 1
    assert config["Global"]["image_shape"] == list(models.MODELS["LeNet"].image_shape)

    times = {file: file.stat().st_mtime_ns for file in split.iterdir()}
    assert train(photos) == 0
    assert {file: file.stat().st_mtime_ns for file in the_split(folder).iterdir()} == times


def test_a_split_of_other_images_does_not_change_the_earlier_lists(photos, folder):
    shutil.copytree(photos, folder / "photos")
    assert train("photos") == 0
    first = the_split(folder)
    before = images(first / "val_list.txt")
    (folder / "photos" / "red" / "9.png").unlink()
    assert train("photos") == 0
    assert len(list(folder.glob("output/photos-split-*"))) == 2
    assert images(first / "val_list.txt") == before


def test_every_class_of_two_images_has_one_for_evaluation(photos, folder):
    for name in ("blue", "red"):
        (folder / "few" / name).mkdir(parents=True)
        for number in range(2):
            shutil.copy(photos / name / f"{number}.png", folder / "few" / name)
    assert train("few") == 0
    assert sorted(label for _, label in images(the_split(folder) / "val_list.txt")) == [0, 1]


@pytest.mark.parametrize(("train_name", "eval_name"), [("train", "val"), ("Train", "test")])
def test_train_and_val_folders_are_used_as_they_are(photos, folder, train_name, eval_name):
    for name in (train_name, eval_name):
        shutil.copytree(photos, folder / "data" / name)
    assert train("data") == 0
    loader = load("output/LeNet/config.yaml")["DataLoader"]
    assert loader["Train"]["dataset"]["image_root"] == f"data/{train_name}"
    assert loader["Eval"]["dataset"]["image_root"] == f"data/{eval_name}"
    assert [path.name for path in (folder / "output").iterdir()] == ["LeNet"]


def test_a_train_folder_alone_is_split(photos, folder):
    shutil.copytree(photos, folder / "data" / "train")
    assert train("data") == 0
    assert load("output/LeNet/config.yaml")["DataLoader"]["Train"]["dataset"]["image_root"] == "data/train"
    assert len(images(the_split(folder) / "train_list.txt")) == 24


def test_a_class_called_train_is_a_class(photos, folder):
    for old, new in (("red", "train"), ("blue", "bus")):
        shutil.copytree(photos / old, folder / "vehicles" / new)
    assert train("vehicles") == 0
    assert (folder / "output" / "LeNet" / "labels.txt").read_text() == "0 bus\n1 train\n"


def write_lists(photos, folder, **parts):
    shutil.copytree(photos, folder / "data" / "images")
    for name, numbers in parts.items():
        lines = [f"images/{color}/{n}.png {i}\n" for i, color in enumerate(sorted(COLORS)) for n in numbers]
        (folder / "data" / f"{name}.txt").write_text("".join(lines))


@pytest.mark.parametrize("data", ["data", "data/train_list.txt"])
def test_list_files_are_used_as_they_are(photos, folder, data):
    write_lists(photos, folder, train_list=range(8), val_list=range(8, 10))
    assert train(data) == 0
    loader = load("output/LeNet/config.yaml")["DataLoader"]
    assert loader["Train"]["dataset"]["cls_label_path"] == "data/train_list.txt"
    assert loader["Eval"]["dataset"]["cls_label_path"] == "data/val_list.txt"
    assert not list(folder.glob("output/*-split-*"))


@pytest.mark.parametrize(("data", "name"), [("data", "train_list"), ("data/all.txt", "all")])
def test_a_list_file_without_an_evaluation_list_is_split(photos, folder, data, name):
    write_lists(photos, folder, **{name: range(10)})
    assert train(data) == 0
    split = the_split(folder)
    both = images(split / "train_list.txt") | images(split / "val_list.txt")
    assert both == images(folder / "data" / f"{name}.txt")
    assert not (split / "label_list.txt").exists()


def test_predictions_use_the_names_of_the_classes(photos, run_folder, capsys):
    assert main(["infer", str(run_folder), str(photos / "red" / "1.png"), "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["label_names"]) == sorted(COLORS)


@pytest.fixture
def official_weights(folder, monkeypatch):
    """MobileNetV1_x0_25 with weights in the cache, as if they had been downloaded."""
    monkeypatch.setenv("PPZOO_HOME", str(folder / "cache"))
    url = models.MODELS["MobileNetV1_x0_25"].weights.url
    file = weights.weights_folder() / url.removeprefix("https://")
    file.parent.mkdir(parents=True)
    network = models.MODELS["MobileNetV1_x0_25"].build()
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    weights.save_pdparams(arrays, file)
    return file


def test_official_weights_are_fine_tuned_where_there_are_any(photos, official_weights, capsys):
    assert train(photos, "-o", "Optimizer.lr.max_learning_rate=0.001", arch="MobileNetV1_x0_25") == 0
    assert "fine-tuning the official weights of MobileNetV1_x0_25" in capsys.readouterr().err
    config = load("output/MobileNetV1_x0_25/config.yaml")
    assert config["Arch"]["pretrained"] is True
    assert config["Optimizer"]["lr"]["max_learning_rate"] == 0.001


def test_official_weights_that_cannot_be_fetched_are_reported(photos, folder, monkeypatch, capsys):
    monkeypatch.setenv("PPZOO_HOME", str(folder / "cache"))
    assert train(photos, arch="MobileNetV1_x0_25") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training from scratch")]
    assert "PPZOO_OFFLINE is set" in line
    config = load("output/MobileNetV1_x0_25/config.yaml")
    assert config["Arch"]["pretrained"] is False and config["Optimizer"]["lr"]["max_learning_rate"] == 0.02


def test_overrides_decide_on_the_weights(photos, official_weights, run_folder, capsys):
    assert train(photos, "-o", "Arch.pretrained=false", arch="MobileNetV1_x0_25") == 0
    assert load("output/MobileNetV1_x0_25/config.yaml")["Arch"]["pretrained"] is False
    assert "pretrained" not in capsys.readouterr().err
    own = str(run_folder / "best_model")
    assert train(photos, "-o", f"Arch.pretrained={own}") == 0
    config = load("output/LeNet/config.yaml")
    assert config["Arch"]["pretrained"] == own and config["Optimizer"]["lr"]["max_learning_rate"] == 0.001


@pytest.mark.parametrize("count", [2, 7, 30, 400, 5000, 10**6])
@pytest.mark.parametrize("fine_tuning", [False, True])
def test_the_recipe_fits_the_number_of_images(count, fine_tuning):
    section = ComponentSpec("ImageFolder", {"image_root": "x"})
    recipe = builders.photo_recipe("LeNet", builders.Photos(section, section, count, 2), fine_tuning=fine_tuning)
    batch, epochs = recipe.DataLoader.Train.sampler.batch_size, recipe.Global.epochs
    assert count // batch >= 1  # a step at least, since the last incomplete batch is dropped
    assert min(count, 8) <= batch <= 64
    assert (10 if fine_tuning else 20) <= epochs <= (30 if fine_tuning else 100)


def test_training_from_scratch_takes_3000_steps_where_the_limits_of_the_epochs_allow_it():
    section = ComponentSpec("ImageFolder", {"image_root": "x"})
    recipe = builders.photo_recipe("LeNet", builders.Photos(section, section, 2000, 2))
    steps_per_epoch = 2000 // recipe.DataLoader.Train.sampler.batch_size
    assert abs(recipe.Global.epochs * steps_per_epoch - 3000) <= steps_per_epoch


@pytest.mark.parametrize("arch", ["EfficientNetB3", "MobileNetV2_x0_5", "GoogLeNet", "VGG11"])
def test_the_recipe_is_valid_for_the_architecture(arch, photos, capsys):
    recipe = builders.photo_recipe(arch, builders.find_photos(str(photos))._replace(eval=None, short_side=None))
    size = models.MODELS[arch].image_shape[1]
    assert builders.read_config(recipe.to_dict(), [], "train")
    assert sizes_of(recipe.to_dict()) == size
    has_norm = arch in ("EfficientNetB3", "MobileNetV2_x0_5")
    assert recipe.Optimizer.lr.spec.options["max_learning_rate"] == (0.02 if has_norm else 0.002)


def sizes_of(recipe):
    """The sizes of crops in a recipe, by transform."""
    train, evaluation = (recipe["DataLoader"][split]["dataset"]["transform_ops"] for split in ("Train", "Eval"))
    crops = [
        op[name]["size"]
        for op in [*train, *evaluation, *recipe["Infer"]["transforms"]]
        for name in ("RandCropImage", "CropImage")
        if name in op
    ]
    (size,) = set(crops)
    assert len(crops) == 3 and recipe["Global"]["image_shape"] == [3, size, size]
    return size


@pytest.mark.parametrize(
    ("arch", "short_side", "size"),
    [
        ("MobileNetV2_x0_5", 28, 64),
        ("MobileNetV2_x0_5", 65, 96),
        ("MobileNetV2_x0_5", 375, 224),
        ("MobileNetV2_x0_5", None, 224),
        ("EfficientNetB3", 200, 224),
        ("VGG11", 28, 224),  # its linear layers fix the image size
        ("LeNet", 28, 32),
    ],
)
def test_training_from_scratch_uses_an_image_size_that_fits_the_images(arch, short_side, size):
    section = ComponentSpec("ImageFolder", {"image_root": "x"})
    photos = builders.Photos(section, section, 100, 2, short_side)
    assert sizes_of(builders.photo_recipe(arch, photos).to_dict()) == size


@pytest.mark.parametrize(("pretrained", "size"), [(True, 224), ("output/run/best_model", 64), (None, 64)])
def test_fine_tuning_official_weights_uses_their_image_size(pretrained, size):
    section = ComponentSpec("ImageFolder", {"image_root": "x"})
    photos = builders.Photos(section, section, 100, 2, 28)
    recipe = builders.photo_recipe("MobileNetV2_x0_5", photos, pretrained=pretrained, fine_tuning=True)
    assert sizes_of(recipe.to_dict()) == size


def test_the_image_size_is_logged_and_an_override_sets_it(photos, capsys):
    assert train(photos, "-o", "Arch.pretrained=false", arch="MobileNetV1_x0_25") == 0
    assert "image size: 64 x 64 pixels (the images' median short side is 40; " in capsys.readouterr().err
    assert sizes_of(load("output/MobileNetV1_x0_25/config.yaml")) == 64
    options = ("-o", "Arch.pretrained=false", "-o", "Global.image_shape=[3, 32, 32]")
    assert train(photos, *options, arch="MobileNetV1_x0_25") == 0
    assert sizes_of(load("output/MobileNetV1_x0_25/config.yaml")) == 32


def test_unreadable_images_are_ignored_in_the_median_size(photos, folder):
    shutil.copytree(photos / "red", folder / "data" / "red")
    shutil.copytree(photos / "blue", folder / "data" / "blue")
    for number in range(4):
        (folder / "data" / "red" / f"{number}.png").write_bytes(b"no image")
    assert builders.find_photos("data").short_side == 40


MISTAKES = {
    "nothing": ([], "train: expected -c CONFIG, or --arch NAME with --data FOLDER, got nothing"),
    "arch alone": (["--arch", "LeNet"], "train: expected --data FOLDER together with --arch, got --arch alone"),
    "data alone": (["--data", "photos"], "train: expected --arch NAME together with --data, got --data alone"),
    "both": (
        ["-c", "lenet", "--arch", "LeNet"],
        "train: expected either -c CONFIG, or --arch NAME with --data FOLDER, got -c and --arch",
    ),
    "unknown arch": (
        ["--arch", "LeNett", "--data", "photos"],
        "--arch: unknown architecture 'LeNett'; did you mean 'LeNet'?",
    ),
    "missing folder": (
        ["--arch", "LeNet", "--data", "phots"],
        "--data: expected a folder of images or a list file, got 'phots', which does not exist; did you mean 'photos'?",
    ),
    "an image": (
        ["--arch", "LeNet", "--data", "photos/red/1.png"],
        "--data: expected a folder of images or a list file, got the image photos/red/1.png",
    ),
    "no class folders": (
        ["--arch", "LeNet", "--data", "photos/red"],
        "--data: expected images in photos/red/CLASS/, got 'photos/red', which has no class folders",
    ),
    "one class": (["--arch", "LeNet", "--data", "one"], "--data: expected images of two classes or more"),
    "unknown key": (["--arch", "LeNet", "--data", "photos", "-o", "Global.epohcs=3"], "Global.epohcs: "),
    "unknown device": (["--arch", "LeNet", "--data", "photos", "--device", "tpu"], "--device: "),
    "a URL": (["--arch", "LeNet", "--data", "http://host/x"], "--data: expected a local path"),
    "no folder": (
        ["--arch", "LeNet", "--data", "photos", "-o", "Global.output_dir=photos/red/1.png"],
        "Global.output_dir: cannot write photos/red/1.png/photos-split-",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_written(photos, folder, capsys, mistake):
    shutil.copytree(photos, folder / "photos")
    shutil.copytree(photos / "red", folder / "one" / "red")
    before = sorted(folder.rglob("*"))
    options, message = MISTAKES[mistake]
    assert main(["train", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert sorted(folder.rglob("*")) == before


def test_lists_are_removed_when_training_cannot_start(photos, folder, capsys):
    shutil.copytree(photos, folder / "photos")
    for file in (folder / "photos" / "red").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    assert train("photos") == 2
    assert "-o DataLoader.Eval.dataset.on_error=skip" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("channels", "mean", "std"),
    [(1, [0.449], [0.226]), (4, [0.485, 0.456, 0.406, 0.449], [0.229, 0.224, 0.225, 0.226])],
)
def test_images_of_other_channels(photos, folder, channels, mean, std):
    assert train(photos, "-o", f"Arch.in_channels={channels}") == 0
    config = load(folder / "output" / "LeNet" / "config.yaml")
    assert config["Global"]["image_shape"] == [channels, 32, 32]
    lists = [config["DataLoader"][key]["dataset"]["transform_ops"] for key in ("Train", "Eval")]
    for ops in (*lists, config["Infer"]["transforms"]):
        found = {name: options for op in ops for name, options in op.items()}
        assert found["DecodeImage"]["channels"] == channels
        assert (found["NormalizeImage"]["mean"], found["NormalizeImage"]["std"]) == (mean, std)
    assert main(["infer", "output/LeNet", str(photos / "red" / "0.png")]) == 0


def test_channels_that_image_files_do_not_have(photos, capsys):
    assert train(photos, "-o", "Arch.in_channels=2") == 2
    expected = "Arch.in_channels: expected 1, 3 or 4, the channels to which image files are decoded, got 2"
    assert expected in capsys.readouterr().err
