"""Exported models in tar archives: read like their folders, and refused if they are not safe to unpack."""

import http.server
import io
import json
import os
import tarfile
import threading

import numpy as np
import paddle
import pytest
import yaml
from helpers.pictures import paint
from helpers.small_runs import paint_class_folders, small_config
from PIL import Image

import ppzoo
from ppzoo.cli import main
from ppzoo.deploy import export
from ppzoo.errors import WeightsError
from ppzoo.weights import export_archives, is_export_archive, save_pdparams, unpack_export

NORMALIZE = {"NormalizeImage": {"scale": 1 / 255, "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
SETTINGS = {
    "PreProcess": {"transform_ops": [{"ResizeImage": {"size": 32}}, NORMALIZE, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 1, "label_list": ["a", "b", "c"]}},
}
FOLDER = "MobileNetV1_x0_25_infer"


@pytest.fixture(scope="module")
def network():
    paddle.seed(1)
    return ppzoo.create_model("MobileNetV1_x0_25", class_num=3)


@pytest.fixture(scope="module")
def archive(network, tmp_path_factory):
    root = tmp_path_factory.mktemp("archives")
    network.eval()
    export(network, root / FOLDER, [3, 32, 32], SETTINGS)
    settings = root / FOLDER / "inference.yml"
    settings.write_text(yaml.safe_dump({**SETTINGS, "Global": {"model_name": "MobileNetV1_x0_25"}}))
    (root / FOLDER / "README.md").write_text("not unpacked")
    with tarfile.open(root / f"{FOLDER}.tar", "w") as file:
        file.add(root / FOLDER, FOLDER)
    return root / f"{FOLDER}.tar"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "exports"


def equal_weights(one, other):
    state = other.state_dict()
    return all(np.array_equal(value.numpy(), state[key].numpy()) for key, value in one.state_dict().items())


def test_an_archive_is_read_like_its_folder(archive, network, cache, tmp_path, capsys):
    loaded = ppzoo.create_model("MobileNetV1_x0_25", class_num=3)
    assert ppzoo.load_weights(loaded, archive).complete
    assert equal_weights(loaded, network)
    image = tmp_path / "image.png"
    paint(image, (200, 30, 40), seed=1)
    expected = ppzoo.Predictor(archive.with_suffix(""), engine="paddle").predict(str(image))
    assert ppzoo.Predictor(archive, engine="paddle").predict(str(image)) == expected
    assert main(["infer", str(archive), str(image), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["label_names"] == expected[0]["label_names"]
    (folder,) = cache.iterdir()
    assert "README.md" not in os.listdir(folder)
    unpacked = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    unpack_export(archive)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == unpacked


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(archive, network):
    """Serves the folder of the archive on 127.0.0.1, with the weights as PaddleX's trained weights."""
    save_pdparams(network.state_dict(), archive.with_name("MobileNetV1_x0_25_pretrained.pdparams"))
    made = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: Handler(*arguments, directory=str(archive.parent))
    )
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("name", [f"{FOLDER}.tar", "MobileNetV1_x0_25_pretrained.pdparams"])
def test_training_starts_from_the_weights_of_a_url(name, server, network, tmp_path):
    paint_class_folders(tmp_path / "images", count=4)
    config = small_config(tmp_path, "MobileNetV1_x0_25")
    config["Arch"]["pretrained"] = f"{server}/{name}"
    config["Optimizer"]["lr"]["learning_rate"] = 1e-12
    config["Optimizer"]["name"] = "Momentum"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "-c", str(tmp_path / "config.yaml")]) == 0
    trained = ppzoo.create_model("MobileNetV1_x0_25", class_num=3)
    ppzoo.load_weights(trained, tmp_path / "output" / "MobileNetV1_x0_25" / "latest.pdparams")
    np.testing.assert_allclose(trained.fc.weight.numpy(), network.fc.weight.numpy(), atol=1e-6)


def write(path, *members, kind=tarfile.REGTYPE, link=""):
    """Write a tar file of (name, content) members, the first one of a kind."""
    with tarfile.open(path, "w") as file:
        for number, (name, content) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if not number:
                info.type, info.linkname = kind, link
                info.size = info.size if kind == tarfile.REGTYPE else 0
            file.addfile(info, io.BytesIO(content))
    return path


GOOD = [("m/inference.json", b"{}"), ("m/inference.pdiparams", b"0")]


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        (("m/x", b""), {"kind": tarfile.SYMTYPE, "link": "/etc/passwd"}, "got the link or device 'm/x'"),
        (("m/inference.yml", b""), {"kind": tarfile.LNKTYPE, "link": "m/x"}, "got the link or device"),
        (("m/x", b""), {"kind": tarfile.FIFOTYPE}, "got the link or device"),
        (("/m/inference.yml", b""), {}, "expected paths inside the archive, got '/m/inference.yml'"),
        (("m/../../inference.yml", b""), {}, "expected paths inside the archive"),
        (("m\\inference.yml", b""), {}, "expected paths inside the archive"),
        (("other/inference.yml", b""), {}, "in one folder"),
        (("m/inference.json", b"{}"), {}, "expected one inference.json, got several"),
    ],
)
def test_unsafe_archives_are_refused(first, options, message, tmp_path, cache):
    path = write(tmp_path / "a.tar", first, *GOOD, **options)
    assert is_export_archive(path)
    with pytest.raises(WeightsError, match=message.replace("\\", "\\\\")):
        unpack_export(path)
    assert not cache.exists()


def test_limits(tmp_path, monkeypatch, cache):
    path = write(tmp_path / "a.tar", ("m/inference.yml", b"x" * 100), *GOOD)
    assert sorted(os.listdir(unpack_export(path))) == ["inference.json", "inference.pdiparams", "inference.yml"]
    monkeypatch.setattr(export_archives, "MAX_BYTES", 50)
    with pytest.raises(WeightsError, match="expected at most 50 bytes of files, got 103"):
        unpack_export(path)
    monkeypatch.setattr(export_archives, "MAX_MEMBERS", 2)
    with pytest.raises(WeightsError, match="expected at most 2 files, got more"):
        unpack_export(path)


def test_damaged_archives_and_other_contents(tmp_path, archive, cache):
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[:200_000])
    with pytest.raises(WeightsError, match="damaged or truncated tar file"):
        unpack_export(cut)
    with pytest.raises(WeightsError, match="got none of them"):
        ppzoo.weights.read(write(tmp_path / "other.tar", ("image.png", b"1")))
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    assert not is_export_archive(tmp_path / "image.png")
    assert not is_export_archive(tmp_path)
    assert not cache.exists()
