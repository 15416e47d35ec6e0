"""With 5% of a folder's images broken in ten ways, training completes and lists them, and evaluation counts them."""

import io
import json
import logging
import os
import struct
import zlib

import numpy as np
import pytest
from helpers.quick import override_options
from PIL import Image
from runs import arguments, make_workspace, output_of

from ppzoo.cli import main

COUNT = 200


def encoded(kind, mode="RGB", size=(64, 48)):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file, kind)
    return file.getvalue()


def png_chunk(kind, content, checksum=None):
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width, height, pixels, checksum=None):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(pixels), checksum)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


def truncate(file):
    file.write_bytes(encoded("JPEG")[:900])


def empty(file):
    file.write_bytes(b"")


def text(file):
    file.write_text("this was to be an image\n" * 20)


def web_page(file):
    file.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")


def bomb(file):
    """The header has a size of 20,000 x 20,000 pixels."""
    file.write_bytes(png(20_000, 20_000, b"\0" * 60_001))


def broken_cmyk(file):
    file.write_bytes(encoded("JPEG", "CMYK")[:2000])


def wrong_checksum(file):
    file.write_bytes(png(8, 8, b"\0" * (8 * 25), checksum=1))


def folder(file):
    file.mkdir()


def dangling_link(file):
    file.symlink_to("nowhere.png")


def missing(file):
    """Listed, but the file does not exist."""


WAYS = [truncate, empty, text, web_page, bomb, broken_cmyk, wrong_checksum, folder, dangling_link, missing]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """A configuration of 200 images, and the paths of those that are broken."""
    workspace = tmp_path_factory.mktemp("dirty")
    config = make_workspace(workspace, train=COUNT, test=10, epochs=1, batch=32)
    images = sorted((workspace / "train").rglob("*.png"))
    broken = sorted(np.random.default_rng(1).choice(len(images), len(WAYS), replace=False))
    for number, way in zip(broken, WAYS, strict=True):
        images[number].unlink()
        way(images[number])
    return config, sorted(str(images[number]) for number in broken)


@pytest.fixture(scope="module")
def trained(dirty):
    """The output folder of a run on the images of `dirty`."""
    config, _ = dirty
    options = ("DataLoader.Train.loader.num_workers=2", "Global.save_interval_steps=3", "Global.save_interval=100")
    assert main(arguments(config, "trained", *options)) == 0
    return output_of(config.parent, "trained")


def test_training_completes_and_lists_exactly_the_broken_files(dirty, trained):
    _, broken = dirty
    lines = (trained / "bad_files.txt").read_text().splitlines()
    assert [line.partition("\t")[0] for line in lines] == broken
    assert all(line.partition("\t")[2] for line in lines)


def test_more_broken_files_than_allowed_end_the_training(dirty, capsys):
    config, _ = dirty
    assert main(arguments(config, "strict", "DataLoader.Train.dataset.max_bad_fraction=0.02")) == 2
    assert "5 of 200 images cannot be read, more than dataset.max_bad_fraction (0.02)" in capsys.readouterr().err


def test_evaluation_refuses_broken_files_unless_they_are_skipped(dirty, trained, capsys, monkeypatch):
    config, broken = dirty
    command = [
        "eval",
        *("-c", str(config)),
        *("-o", f"Global.pretrained_model={trained / 'latest'}"),
        *("-o", f"DataLoader.Eval.dataset.cls_label_path={config.parent / 'train.txt'}"),
    ]
    capsys.readouterr()
    assert main(command) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and any(file in errors[0] for file in broken)
    assert "Traceback" not in captured.err and "top1" not in captured.out
    records: list[logging.LogRecord] = []
    handler = logging.NullHandler()
    monkeypatch.setattr(handler, "handle", records.append)
    logging.getLogger("ppzoo").addHandler(handler)
    assert main([*command, "-o", "DataLoader.Eval.dataset.on_error=skip"]) == 0
    logging.getLogger("ppzoo").removeHandler(handler)
    captured = capsys.readouterr()
    assert "evaluation: skipped 10 images that could not be read" in [record.getMessage() for record in records]
    metrics = dict(zip(*[iter(captured.out.split())] * 2, strict=True))
    assert float(metrics["top1"]) * (COUNT - len(broken)) == pytest.approx(
        round(float(metrics["top1"]) * 190), abs=0.01
    )


def test_images_with_unusual_names_are_predicted(dirty, trained, tmp_path, capsys):
    config, _ = dirty
    files = [tmp_path / name for name in ("two\nlines.png", "'[a: *b, #c.png")]
    for file in files:
        file.write_bytes(encoded("PNG"))
    ops = "[{DecodeImage: {}}, {ResizeImage: {size: 32}}, {NormalizeImage: {order: ''}}, {ToCHWImage: {}}]"
    options = (f"Global.pretrained_model={trained / 'latest'}", f"Infer.transforms={ops}")
    command = ["infer", "--json", "-c", str(config), *override_options(*options)]
    capsys.readouterr()
    assert main([*command, *map(str, files)]) == 0
    assert [json.loads(line)["file_name"] for line in capsys.readouterr().out.splitlines()] == list(map(str, files))


def test_batches_with_only_a_broken_image_are_skipped(tmp_path, capsys):
    config = make_workspace(tmp_path, train=20, test=10, epochs=2, batch=1)
    for part in ("train", "test"):
        text(min((tmp_path / part).rglob("*.png")))
    options = ("Global.save_interval_steps=null", "DataLoader.Eval.dataset.on_error=skip")
    options += ("DataLoader.Eval.dataset.max_bad_fraction=0.1",)
    assert main(arguments(config, "run", *options)) == 0
    epochs = [json.loads(line) for line in (output_of(tmp_path, "run") / "history.jsonl").read_text().splitlines()]
    assert len(epochs) == 2
    for part, count in (("train", 19), ("eval", 9)):
        for line in epochs:
            correct = line[part]["top1"] * count
            assert correct == pytest.approx(round(correct), abs=1e-4)


def test_a_broken_file_with_a_name_that_is_not_utf8_is_listed(tmp_path):
    config = make_workspace(tmp_path, train=60, test=10, epochs=1)
    odd = os.fsencode(tmp_path / "train" / "0") + b"/\xff.png"
    with open(odd, "wb"):
        pass
    folder = f"DataLoader.Train.dataset={{name: ImageFolder, image_root: {tmp_path / 'train'}}}"
    ops = "DataLoader.Train.dataset.transform_ops=[{DecodeImage: {}}, {ResizeImage: {size: 32}}]"
    assert main(arguments(config, "odd", folder, ops)) == 0
    lines = (output_of(tmp_path, "odd") / "bad_files.txt").read_bytes().splitlines()
    assert [line.partition(b"\t")[0] for line in lines] == [odd]
