"""The commands of ppzoo in the documents run, in a folder with the runs, exports and photos that they name.

Trainings are shortened. Commands that need the network, run until they are stopped, or contain a placeholder such as
CONFIG are skipped; `test_code_blocks.py` parses them, too.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.documents import DOCUMENTS, read_blocks, read_commands
from helpers.pictures import COLORS, paint
from helpers.small_runs import paint_class_folders, small_config

from ppzoo.cli import main

FIXTURES = Path(__file__).parent.parent / "fixtures"
QUICK = ("-o", "Global.epochs=2", "-o", "Global.iter_per_epoch=3", "-o", "Global.use_visualdl=false")
QUICK_BY_COMMAND = {"train": QUICK, "lr-find": ("--steps", "20"), "profile": ("--steps", "5")}
PYTHON_BLOCKS = {"explain.md": 1, "reports.md": 1}  # the first ones, which need nothing but what the commands wrote
ENDLESS = ("serve", "board")
MISSING = {  # words that name what the tests do not have
    "0": "a camera",
    "clip.mp4": "a video",
    "get": "the network",
    "imagenet/ResNet/ResNet50": "the images of ImageNet",
    "inference/tags": "an export with several labels",
    "int8": "the time for calibration",
    "MobileNetV2_x0_5.yaml": "the images of ImageNet",
    "my_photos.yaml": "the photos of docs/custom_data.md",
    "onnx": "the extra onnx",
    "output/PPLCNet_x1_0": "a run with a CropImage",
    "openvino": "the extra openvino",
    "photos_folds": "the time for five trainings",
    "output/fold_1/PPLCNet_x1_0": "these",
    "PP-LCNet_x1_0_doc_ori_infer": "the network",
    "PP-LCNet_x1_0_doc_ori_infer.tar": "the network",
    "ppcls/configs/PULC/person_exists/PPLCNet_x1_0.yaml": "the network",
    "resnet18.pth": "weights of PyTorch",
    "scans.csv": "the list of the page",
    "--group-pattern": "the names of the page",
}


def commands_to_run(document: Path) -> list[list[str]]:
    return [words[1:] for words in read_commands(document) if words[0] == "ppzoo" and is_runnable(words[1:])]


def is_runnable(words: list[str]) -> bool:
    placeholders = [word for word in words if re.fullmatch(r"[A-Z_]{2,}|.*=[A-Z_]{2,}", word)]
    return not (placeholders or words[0] in ENDLESS or set(MISSING) & set(words))


def is_followed(document: Path) -> bool:
    """Whether `test_pages_run.py` runs the commands of a document: a tutorial, or a start page with its commands."""
    return document.name.startswith(("tutorial_", "howto_", "index.", "README"))


RUNNABLE = [
    document
    for document in DOCUMENTS  # the Chinese pages have the same blocks: test_chinese_pages.py
    if commands_to_run(document) and not is_followed(document) and not document.name.endswith(".zh.md")
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with `photos`, and the runs and exports that the documents name."""
    folder = tmp_path_factory.mktemp("runs")
    paint_class_folders(folder / "photos", count=8)
    for name, color in zip(("photo.jpg", "shoe.jpg", "coat.jpg", "boot.png"), [*COLORS.values()] * 2, strict=False):
        paint(folder / name, color, seed=5)
    (folder / "photos" / "val.txt").write_text("red/1.png 2\n")
    original = folder / "ppcls/configs/ImageNet/MobileNetV2/MobileNetV2_x0_5.yaml"
    original.parent.mkdir(parents=True)
    shutil.copy(FIXTURES / "paddleclas_mobilenet_v2_x0_5.yaml", original)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for output in ("output", "output/first", "output/second"):
            Path("lenet.yaml").write_text(yaml.safe_dump(lenet_config(folder, output)))
            assert main(["train", "-c", "lenet.yaml"]) == 0
        assert main(["train", "-c", "mobilenet_v2_x0_5", *QUICK]) == 0
        assert main(["export", "output/LeNet"]) == 0
        assert main(["report", "output/first/LeNet"]) == main(["report", "output/second/LeNet"]) == 0
    return folder


def lenet_config(folder: Path, output: str) -> dict:
    config = small_config(folder, "LeNet")
    config["Global"] |= {"output_dir": output, "save_inference_dir": "inference/lenet"}
    config["Infer"]["infer_imgs"] = "photos"
    for split in config["DataLoader"].values():
        split["dataset"]["image_root"] = "photos"
    return config


@pytest.mark.slow
@pytest.mark.parametrize("document", RUNNABLE, ids=lambda path: path.name)
def test_commands_run(document, runs, tmp_path, monkeypatch, capfd):
    folder = shutil.copytree(runs, tmp_path / "work")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PPZOO_OFFLINE", "1")
    for words in commands_to_run(document):
        status = main([*words, *QUICK_BY_COMMAND.get(words[0], ())])
        assert status == 0, f"{document.name}: ppzoo {' '.join(words)}\n{capfd.readouterr().err}"
    blocks = [block.text for block in read_blocks(document) if block.language == "python"]
    for code in blocks[: PYTHON_BLOCKS.get(document.name, 0)]:
        exec(code, {})


def test_most_documents_with_commands_are_run():
    assert len(RUNNABLE) > 9
