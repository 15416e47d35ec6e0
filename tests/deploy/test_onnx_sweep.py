"""The sweep over all architectures passes for small ones, finds a wrong operator, and can be resumed."""

import json

import numpy as np
import onnx_sweep
import pytest
from helpers.needs import needs_engine
from PIL import Image

from ppzoo.deploy import FormatCheck, onnx_operators

ONE = "LeNet"
SMALL = "LeNet|MobileNetV1_x0_25"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def engine():
    needs_engine("onnxruntime")


def sweep(photos, output, only):
    status = onnx_sweep.main([str(photos), "--output", str(output), "--only", only])
    return status, [json.loads(line) for line in output.read_text().splitlines()]


def test_small_architectures_pass_and_a_second_run_continues(photos, tmp_path):
    output = tmp_path / "sweep.jsonl"
    status, results = sweep(photos, output, ONE)
    assert (status, [result["name"] for result in results]) == (0, [ONE])
    status, results = sweep(photos, output, SMALL)
    assert (status, [result["name"] for result in results]) == (0, [ONE, "MobileNetV1_x0_25"])
    for result in results:
        for batch in (7, 1):
            difference, equal = result[f"onnx, batch {batch}"]
            assert 0 < difference <= 1e-4 and equal == 100


def test_a_wrong_operator_is_a_failure(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(onnx_operators.CONVERTERS, "relu", onnx_operators._one_to_one("Abs"))
    status, (result,) = sweep(photos, tmp_path / "sweep.jsonl", ONE)
    assert status == 1 and "differs from the network" in result["error"]
    # Without the check of the export itself, the comparison on the photos finds it.
    monkeypatch.setattr("ppzoo.deploy.exporter.check_format", lambda *rest: FormatCheck("onnx", 0.0, 1.0))
    status, (result,) = sweep(photos, tmp_path / "other.jsonl", ONE)
    assert status == 1 and result["onnx, batch 7"][0] > 1e-4 and not result["onnx is rounding"]


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"expected a folder with \.jpg or \.png files"):
        onnx_sweep.crop_photos(tmp_path, 32)
