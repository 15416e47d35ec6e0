"""`ppzoo explain` and `ppzoo embed`: pictures, features, similar images, and mistakes."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import COLORS
from PIL import Image

from ppzoo import builders, explain
from ppzoo.builders import inference, rebuilding
from ppzoo.builders.explaining import find_class
from ppzoo.cli import main
from ppzoo.cli.explain import FOLDER
from ppzoo.errors import ConfigError

LINE = re.compile(r"(?P<photo>.+): (?P<label>\w+) (?P<score>[01]\.\d\d) -> (?P<picture>.+)")


@pytest.fixture(autouse=True)
def folder(run_folder, photos, tmp_path, monkeypatch):
    """The current folder, with a copy of the run in output/LeNet and of its photos in photos."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, "output/LeNet")
    shutil.copytree(photos, "photos")
    return tmp_path


def run(command, *arguments):
    return main([command, "output", *map(str, arguments), "--device", "cpu"])


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_pictures_show_the_photo_and_the_overlay_of_the_predicted_class(capsys):
    images = ["photos/red/1.png", "photos/blue/1.png"]
    assert run("infer", *images) == 0
    predicted = [line.split(": ")[1].split(",")[0].split() for line in capsys.readouterr().out.splitlines()]
    assert run("explain", *images) == 0
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(line["photo"] for line in lines) == sorted(images)
    assert len({line["picture"] for line in lines}) == 2
    for line, (label, score) in zip(lines, predicted, strict=True):
        assert line["label"] == label and float(line["score"]) == pytest.approx(float(score), abs=0.006)
        assert line["picture"].startswith(f"{FOLDER}/1-{label}")
        check_picture(line["photo"], line["picture"], label)


def trained(*overrides):
    return builders.read_config(
        "output/LeNet/config.yaml", ["Global.pretrained_model=output/LeNet/best_model", *overrides], "infer"
    )


def heatmap_of(photo, label):
    config = trained()
    image = builders.build_transforms(config.Infer.transforms)(Path(photo).read_bytes())
    return explain.grad_cam(inference.load_inference_network(config), image, sorted(COLORS).index(label))


def check_picture(photo, picture, label):
    """Check both halves of a picture of a photo of 48 x 40 pixels, of which the network sees the center.

    The transforms resize it to 44 x 37 pixels and crop 32 x 32.
    """
    expected, found = pixels(photo), pixels(picture)
    assert found.shape == (40, 2 * 48 + 4, 3)
    left, right = found[:, :48], found[:, -48:]
    assert (left == expected).all()
    columns, rows = slice(7, 41), slice(2, 37)  # 6 * 48 / 44 = 6.5, and 35 wide; 2 * 40 / 37 = 2.2, and 35 high
    shown = explain.overlay(expected[rows, columns], heatmap_of(photo, label))
    difference = np.abs(right[rows, columns].astype(int) - shown).mean()
    assert difference < 2
    outside = np.ones(right.shape[:2], bool)
    outside[1:38, 6:42] = False
    assert (right[outside] >= 175).all() and (right[rows, columns].min(axis=2) < 150).all()


@pytest.mark.parametrize("chosen", ["green", "1"])
def test_a_class_is_given_by_name_or_index(chosen, capsys):
    assert run("explain", "photos/red/1.png", "--class", chosen, "--output", "new/pictures") == 0
    line = LINE.fullmatch(capsys.readouterr().out.strip())
    assert line["label"] == "green" and line["picture"] == "new/pictures/1-green.png"
    check_picture("photos/red/1.png", line["picture"], "green")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gren", "--class: expected the name or index of a class, got 'gren'; did you mean 'green'?"),
        ("3", "--class: expected the name of a class or an index from 0 to 2, got 3"),
        ("-1", "--class: expected the name or index of a class, got '-1'; available: blue, green, red"),
    ],
)
def test_an_unknown_class_is_an_error_and_nothing_is_written(name, expected, capsys):
    assert run("explain", "photos/red/1.png", "--class", name) == 2
    assert capsys.readouterr().err == f"error: {expected}\n"
    assert not os.path.exists(FOLDER)


def test_a_name_that_several_classes_have_is_an_error():
    with pytest.raises(ConfigError, match="of the classes"):
        find_class("crane", ["crane", "cat", "crane"])
    assert find_class("1", ["1", "0"]) == 0


def test_unreadable_images_are_reported_and_the_others_are_explained(capsys):
    Path("photos/red/1.png").write_bytes(b"no image")
    assert run("explain", "photos/red/0.png", "photos/red/1.png", "photos/red/2.png") == 2
    printed = capsys.readouterr()
    assert [LINE.fullmatch(line)["photo"] for line in printed.out.splitlines()] == [
        "photos/red/0.png",
        "photos/red/2.png",
    ]
    assert "error: photos/red/1.png: " in printed.err
    assert len(os.listdir(FOLDER)) == 2


def test_pictures_do_not_replace_each_other_or_the_images(capsys):
    Path("mixed/a").mkdir(parents=True)
    shutil.copy("photos/red/1.png", "mixed/x.png")
    shutil.copy("photos/red/2.png", "mixed/a/X.png")
    shutil.copy("photos/red/3.png", "mixed/x-red.png")
    before = {path: path.read_bytes() for path in Path("mixed").rglob("*.png")}
    assert run("explain", "mixed", "--class", "red", "--output", "mixed") == 0
    pictures = {LINE.fullmatch(line)["picture"] for line in capsys.readouterr().out.splitlines()}
    assert len({picture.casefold() for picture in pictures}) == 3
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow such names")
@pytest.mark.parametrize("name", ['.."<b>\x1b[31m\n|*?', "猫 一", "-rf", "." * 5 + "a", "é" * 120])
def test_names_of_photos_can_be_anything(name, capsys):
    shutil.copy("photos/red/1.png", f"{name}.png")
    assert run("explain", f"./{name}.png") == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1 and "\x1b" not in printed
    (picture,) = os.listdir(FOLDER)
    assert re.fullmatch(r'[^\x00-\x1f<>:"/\\|?*.]+\.png', picture)
    assert pixels(Path(FOLDER, picture)).shape[2] == 3


def test_a_link_in_the_output_folder_is_replaced_not_followed():
    os.mkdir(FOLDER)
    Path("other.txt").write_text("kept")
    os.symlink(Path("other.txt").resolve(), f"{FOLDER}/1-red.png")
    assert run("explain", "photos/red/1.png", "--class", "red") == 0
    assert Path("other.txt").read_text() == "kept" and not os.path.islink(f"{FOLDER}/1-red.png")


def test_the_features_of_a_folder(capsys):
    assert run("embed", "photos", "--output", "new/features.npz") == 0
    assert re.fullmatch(r"30 images, \d+ features each: new/features\.npz\n", capsys.readouterr().out)
    with np.load("new/features.npz") as arrays:
        features, files, labels = (arrays[name] for name in ("features", "files", "labels"))
    assert features.dtype == np.float32 and len(features) == 30 and np.isfinite(features).all()
    assert files.tolist() == [f"photos/{name}/{number}.png" for name in sorted(COLORS) for number in range(10)]
    assert labels.tolist() == [name for name in sorted(COLORS) for _ in range(10)]
    assert run("embed", "photos/red/4.png", "--output", "one.npz") == 0
    with np.load("one.npz") as arrays:
        np.testing.assert_allclose(arrays["features"][0], features[24], rtol=1e-3, atol=1e-4)


def test_similar_images_are_printed_best_first_without_the_image_itself(capsys):
    shutil.copy("photos/red/3.png", "photos/blue/copy.png")
    assert run("embed", "photos", "--like", "photos/red/3.png", "--top", "4") == 0
    rows = [line.rsplit(": ", 1) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 4 and rows[0] == ["photos/blue/copy.png", "1.000"]
    assert "photos/red/3.png" not in [file for file, _ in rows]
    values = [float(value) for _, value in rows]
    assert values == sorted(values, reverse=True)


def test_embed_skips_unreadable_images(capsys):
    Path("photos/red/1.png").write_bytes(b"no image")
    assert run("embed", "photos/red", "--output", "features.npz") == 2
    assert "error: photos/red/1.png: " in capsys.readouterr().err
    with np.load("features.npz") as arrays:
        assert len(arrays["features"]) == 9 and "photos/red/1.png" not in arrays["files"]
    assert run("embed", "photos/blue", "--like", "photos/red/1.png", "--output", "other.npz") == 2
    assert not os.path.exists("other.npz")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["photos"], "embed: expected --output FILE.npz, --like IMAGE or both, got neither"),
        (["photos", "--output", "f.npz", "--top", "3"], "embed: expected --top together with --like"),
        (["photos", "--like", "photos/red/1.png", "--top", "0"], "--top: expected at least 1, got 0"),
        (["photos", "--output", "features"], "--output: expected a file with a name that ends in .npz"),
        (["--output", "f.npz"], "embed: expected RUN_FOLDER, EXPORT_FOLDER or -c CONFIG, and images, got only output"),
        (["nothing", "--output", "f.npz"], "IMAGE: expected an image, a folder of images or a pattern"),
    ],
)
def test_mistakes_of_embed(arguments, expected, capsys):
    before = sorted(os.listdir())
    assert run("embed", *arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {expected}")
    assert sorted(os.listdir()) == before


@pytest.fixture(scope="module")
def export_folder(run_folder, tmp_path_factory):
    """An export of the run."""
    folder = tmp_path_factory.mktemp("export") / "lenet"
    assert main(["export", str(run_folder), "-o", f"Global.save_inference_dir={folder}", "--device", "cpu"]) == 0
    return folder


def test_an_export_is_explained_as_its_run(export_folder, capsys):
    assert run("explain", "photos/red/1.png", "--output", "of_run") == 0
    expected = capsys.readouterr().out
    assert main(["explain", str(export_folder), "photos/red/1.png", "--output", "of_export", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == expected.replace("of_run", "of_export")
    (picture,) = os.listdir("of_run")
    assert np.abs(pixels(f"of_run/{picture}").astype(int) - pixels(f"of_export/{picture}")).max() <= 1
    assert run("embed", "photos", "--output", "run.npz") == 0
    assert main(["embed", str(export_folder), "photos", "--output", "export.npz", "--device", "cpu"]) == 0
    with np.load("run.npz") as one, np.load("export.npz") as other:
        np.testing.assert_allclose(one["features"], other["features"], atol=1e-4)
    assert main(["embed", str(export_folder), "photos", "--output", "e.npz", "-o", "Global.seed=1"]) == 2
    assert "embed: expected -o together with a run folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("AlexNet", "its weights do not fit AlexNet with these options ("),
        ("<b>", "inference.yml names the architecture '<b>', which is unknown"),
    ],
)
def test_an_export_that_cannot_be_rebuilt_names_the_folder_to_use(name, reason, export_folder, capsys):
    shutil.copytree(export_folder, "export")
    settings = Path("export/inference.yml")
    settings.write_text(settings.read_text().replace("name: LeNet", f"name: {name}"))
    for command in (("explain",), ("embed", "--output", "features.npz")):
        assert main([command[0], "export", "photos/red/1.png", *command[1:], "--device", "cpu"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            "error: RUN_FOLDER: expected a run, or an export whose network can be rebuilt, got the export export:"
            f" {reason}"
        )
        assert line.endswith("; use the folder of the run that was exported, such as output/LeNet")
    assert not os.path.exists(FOLDER) and not os.path.exists("features.npz")


def test_an_export_with_options_that_no_weight_shows_is_not_explained_wrongly(export_folder, capsys, monkeypatch):
    """The network that is built from the name differs from the exported one, but has the same weights."""
    original = rebuilding.build_model

    def with_other_activation(arch, **options):
        network = original(arch, **options)
        head = network.forward_head
        network.forward_head = lambda features: head(-features)
        return network

    monkeypatch.setattr(rebuilding, "build_model", with_other_activation)
    assert main(["explain", str(export_folder), "photos/red/1.png", "--device", "cpu"]) == 2
    assert (
        "its probabilities are not those of LeNet with these options (max. absolute difference"
        in capsys.readouterr().err
    )


TRANSFORMS = (
    "Infer.transforms=[{DecodeImage: {}}, {Pad: {padding: 4}}, {ResizeImage: {size: 32}},"
    " {NormalizeImage: {order: ''}}, {ToCHWImage: {}}]"
)


def test_transforms_that_do_not_show_their_part_of_the_photo_show_the_input(capsys):
    assert run("explain", "photos/red/1.png", "-o", TRANSFORMS) == 0
    printed = capsys.readouterr()
    assert (
        "the pictures show the network's input instead of the photos, since Pad is in Infer.transforms" in printed.err
    )
    assert pixels(LINE.fullmatch(printed.out.strip())["picture"]).shape == (32, 2 * 32 + 4, 3)


def test_large_photos_are_scaled_down(capsys):
    Image.fromarray(np.zeros((300, 3000, 3), np.uint8)).save("wide.png")
    assert run("explain", "wide.png") == 0
    assert pixels(LINE.fullmatch(capsys.readouterr().out.strip())["picture"]).shape == (102, 2 * 1024 + 4, 3)


@pytest.mark.parametrize("command", [("explain",), ("embed", "--output", "features.npz"), ("infer",)])
def test_archives_are_no_images(command, capsys):
    os.mkdir("shards")
    Path("shards/0.tar").write_bytes(b"")
    for images, reason in {
        "shards": "a pattern, got 'shards', which contains .tar files: extract their images",
        "shards/0.tar": "an image, got 'shards/0.tar': extract the images of the archive",
    }.items():
        assert run(command[0], images, *command[1:]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert line.endswith(reason)
    assert sorted(os.listdir()) == ["output", "photos", "shards"]
