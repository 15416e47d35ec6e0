"""`ppzoo export`: formats, checks on the evaluation images, int8, Triton; and every mistake in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.needs import needs_engine

import ppzoo
from ppzoo.cli import main


@pytest.fixture
def run(run_folder, tmp_path, monkeypatch):
    """A copy of the run as output/LeNet in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, tmp_path / "output" / "LeNet")
    return "output/LeNet"


def export(run, *arguments):
    return main(["export", run, "-o", "Global.save_inference_dir=out", "--device", "cpu", *arguments])


def deployment():
    with open("out/inference.yml", encoding="utf-8") as file:
        return yaml.safe_load(file)["Deployment"]


def test_the_folder_of_a_run_is_no_export_folder(run_folder, capsys):
    """Commands that take a folder would use the export from then on, also after the run has been resumed."""
    files = sorted(run_folder.iterdir())
    assert main(["export", str(run_folder), "-o", f"Global.save_inference_dir={run_folder}"]) == 2
    expected = f"a folder other than that of a run, such as {run_folder / 'export'}, got {run_folder}"
    assert f"error: Global.save_inference_dir: expected {expected}" in capsys.readouterr().err
    assert sorted(run_folder.iterdir()) == files


def test_formats_are_checked_on_images_of_the_evaluation_data(run, photos, capsys):
    needs_engine("openvino")
    formats = ["paddle", "onnx", "openvino", "safetensors"]
    assert export(run, "--with-preprocessing", *(word for name in formats for word in ("--format", name))) == 0
    out = capsys.readouterr().out
    for name in formats[:3]:
        assert deployment()["checks"][name]["top1_agreement"] == 1
        assert f"  {name}: max. absolute difference " in out
    assert f"100.0% of {deployment()['checks']['images']} images of the evaluation data" in out
    assert deployment()["checks"]["source"] == "the evaluation data"
    photo = str(photos / "red" / "1.png")
    found = [ppzoo.Predictor("out", engine=name).predict(photo)[0] for name in ("paddle", "openvino")]
    assert found[0]["class_ids"] == found[1]["class_ids"]


def test_without_evaluation_images_random_numbers_are_used_and_logged(run, capsys):
    assert export(run, "-o", "DataLoader.Eval.dataset.image_root=nowhere") == 0
    printed = capsys.readouterr()
    assert f"100.0% of {deployment()['checks']['images']} images of random numbers" in printed.out
    assert "checking the export with random numbers instead of images of the evaluation data" in printed.err
    assert deployment()["checks"]["source"] == "random numbers"


def test_int8_and_triton(run, photos, capsys):
    needs_engine("openvino")
    assert export(run, "--format", "onnx", "--features", "--precision", "int8", "--triton", "--max-drop", "1") == 0
    out = capsys.readouterr().out
    assert "  onnx in int8: top-1 " in out and "model repository for Triton: out/triton" in out
    stated = deployment()["int8"]
    assert 0 <= stated["top1_onnx"] <= 1 and stated["calibration"]["source"] == "the training data"
    (folder,) = Path("out/triton").iterdir()
    assert (folder / "1" / "model.onnx").read_bytes() == (folder / "../../inference_int8.onnx").read_bytes()
    assert (folder / "labels.txt").read_text().splitlines() == sorted(path.name for path in photos.iterdir())
    require_triton_config(folder / "config.pbtxt")


def test_triton_uses_onnx_in_any_order_of_the_formats(run):
    needs_engine("openvino")
    assert export(run, "--format", "openvino", "--format", "onnx", "--triton") == 0
    (folder,) = Path("out/triton").iterdir()
    assert [file.name for file in (folder / "1").iterdir()] == ["model.onnx"]


def require_triton_config(file):
    """Parse the file in another process: other packages also define protobuf messages in the package `inference`."""
    code = (
        "import sys; from google.protobuf import json_format, text_format;"
        "from tritonclient.grpc.model_config_pb2 import ModelConfig;"
        "print(json_format.MessageToJson(text_format.Parse(open(sys.argv[1]).read(), ModelConfig())))"
    )
    parsed = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert parsed.returncode == 0, parsed.stderr
    config = json.loads(parsed.stdout)
    assert (config["name"], config["backend"]) == ("LeNet", "onnxruntime") and config["maxBatchSize"] > 1
    assert config["input"][0]["dims"][0] == "3"
    assert [output["name"] for output in config["output"]] == ["probabilities", "features"]
    assert config["output"][0]["dims"] == ["3"]


def test_a_calibration_folder_is_used(run, photos):
    needs_engine("onnxruntime")
    folder = str(photos / "red")
    assert export(run, "--format", "onnx", "--precision", "int8", "--calibration", folder, "--max-drop", "1") == 0
    assert deployment()["int8"]["calibration"] == {"images": 10, "source": folder}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--legacy", "--format", "onnx"],
            "export: expected --legacy together with --format paddle, got --format onnx",
        ),
        (["--opset", "17"], "export: expected --opset together with --format onnx or openvino, got --format paddle"),
        (
            ["--features", "--format", "safetensors"],
            "export: expected --features together with --format paddle or onnx",
        ),
        (["--triton"], "export: expected --triton together with --format onnx or openvino"),
        (["--precision", "int8"], "export: expected --precision int8 together with --format onnx or openvino"),
        (["--calibration", "x"], "export: expected --calibration together with --precision int8, got float32"),
        (["--max-drop", "0.1"], "export: expected --max-drop together with --precision int8 or bfloat16, got float32"),
    ],
)
def test_options_without_their_format_are_refused(run, capsys, arguments, message):
    assert export(run, *arguments) == 2
    assert message in capsys.readouterr().err


def test_an_opset_of_zero_is_not_the_default(run, capsys):
    needs_engine("onnxruntime")
    assert export(run, "--format", "onnx", "--opset", "0") == 2
    assert "--opset: expected 13 to" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--format", "tensorrt"], ["--max-drop", "2"], ["--precision", "int4"]])
def test_invalid_values_are_refused(run, arguments):
    with pytest.raises(SystemExit) as error:
        export(run, *arguments)
    assert error.value.code == 2


def test_the_earlier_name_of_the_format_paddle_still_works(run):
    assert export(run, "--format", "program") == 0
    assert deployment()["checks"].keys() >= {"paddle"}
