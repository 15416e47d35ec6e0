"""eval, infer and export with the folder of a run; infer with the folder of an export."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.quick import QUICK

from ppzoo.cli import main
from ppzoo.weights import read_pdparams

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(run_folder, tmp_path, monkeypatch):
    """A copy of the run as output/LeNet in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, tmp_path / "output" / "LeNet")
    return tmp_path / "output" / "LeNet"


@pytest.fixture
def photo(photos):
    return str(photos / "red" / "1.png")


@pytest.mark.parametrize("folder", ["output/LeNet", "output/LeNet/", "output"])
def test_commands_find_configuration_and_weights(run, photo, capsys, folder):
    explicit = ["-c", "output/LeNet/config.yaml", "-o", "Global.pretrained_model=output/LeNet/best_model"]
    assert main(["infer", *explicit, photo]) == 0
    expected = capsys.readouterr().out
    assert main(["infer", folder, photo]) == 0
    assert capsys.readouterr().out == expected
    assert main(["eval", *explicit]) == 0
    expected = capsys.readouterr().out
    assert main(["eval", folder]) == 0
    assert capsys.readouterr().out == expected
    for number, source in enumerate(([folder], explicit)):
        assert main(["export", *source, "-o", f"Global.save_inference_dir=export{number}"]) == 0
    first, second = (Path(f"export{number}/inference.pdiparams").read_bytes() for number in range(2))
    assert first == second


def test_without_best_weights_the_latest_are_used(run, photo, capsys):
    for file in run.glob("best_model.*"):
        file.unlink()
    assert main(["infer", "output", photo]) == 0
    assert "output/LeNet/latest" in capsys.readouterr().err


def test_overrides_come_after_the_run(run, photo, capsys):
    assert main(["infer", "output", photo, "-o", "Global.pretrained_model=output/LeNet/latest"]) == 0
    assert "output/LeNet/latest" in capsys.readouterr().err


def test_a_run_that_was_moved_aside_does_not_count(run, photo):
    shutil.copytree(run, run.with_name("LeNet.earlier-1"))
    assert main(["infer", "output", photo]) == 0


def test_images_of_the_configuration_are_the_default(run, photo, capsys):
    assert main(["infer", "output", "-o", f"Infer.infer_imgs={photo}"]) == 0
    assert capsys.readouterr().out.startswith(f"{photo}: ")


def test_what_is_no_run_is_an_error(run, photo, capsys):
    shutil.copytree(run, run.with_name("Other"))
    (Path("empty") / "run").mkdir(parents=True)
    (Path("empty") / "run" / "config.yaml").write_text("Arch: {name: LeNet}")
    for command, message in {
        ("eval",): "eval: expected either RUN_FOLDER or -c CONFIG, got nothing",
        ("eval", "output", "-c", "lenet"): "eval: expected either RUN_FOLDER or -c CONFIG, got both",
        ("eval", "missing"): "RUN_FOLDER: expected the folder of a run, such as output/LeNet, got a path that does not"
        " exist: missing",
        ("eval", photo): f"RUN_FOLDER: expected the folder of a run, such as output/LeNet, got a file: {photo}",
        ("export", "output"): "RUN_FOLDER: expected the folder of one run, got output, which contains the runs LeNet,"
        " Other; use one of them, such as output/LeNet",
        ("export", "."): "RUN_FOLDER: expected a folder in which training wrote config.yaml, got .; use the"
        " folder of a run, such as output/LeNet",
        ("eval", "empty"): "RUN_FOLDER: expected weights (best_model.pdparams or latest.pdparams) in empty/run, found"
        " none; resume its training, or use the folder of another run",
        ("infer",): "infer: expected RUN_FOLDER, EXPORT_FOLDER, -c CONFIG or --weights FILE, got nothing",
        (
            "infer",
            photo,
        ): f"infer: expected RUN_FOLDER, EXPORT_FOLDER, -c CONFIG or --weights FILE before the images, got {photo}",
        ("infer", "-c", "lenet", "--weights", "x"): "infer: expected either -c CONFIG or --weights FILE, got both",
    }.items():
        assert main(list(command)) == 2, command
        assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_a_run_in_a_path_that_is_not_utf8_is_refused(run, capsys):
    renamed = run.rename(run.with_name("LeNet\udcff"))
    assert main(["eval", str(renamed)]) == 2
    assert capsys.readouterr().err.startswith("error: RUN_FOLDER: expected printable text, got ")


def test_infer_takes_the_folder_of_an_export(run, photos, photo, capsys):
    assert main(["infer", "output", str(photos / "red"), "--json"]) == 0
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    assert "exported to exported (max. absolute difference from the network: " in capsys.readouterr().out
    assert main(["infer", "exported", str(photos / "red"), "--json", "--device", "cpu"]) == 0
    received = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["file_name"] for result in received] == [result["file_name"] for result in expected]
    for one, other in zip(received, expected, strict=True):
        assert one["label_names"] == other["label_names"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)
    assert main(["infer", "exported", photo, "-o", "Global.seed=1"]) == 2
    assert "got it with an export" in capsys.readouterr().err
    assert main(["infer", "exported"]) == 2
    assert main(["infer", "exported", photo, "--device", "tpu"]) == 2
    assert "tpu" in capsys.readouterr().err


def test_infer_with_an_export_reports_images_that_cannot_be_read(run, photo, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    shutil.copy(photo, tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.png").write_bytes(b"no image")
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    capsys.readouterr()
    assert main(["infer", "exported", "images"]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("images/a.png: ") and len(printed.out.splitlines()) == 1
    assert "images/b.png" in printed.err.splitlines()[-1]


def test_the_run_of_a_tool_is_used_by_a_tool(run, photo):
    command = [sys.executable, str(ROOT / "tools" / "infer.py"), "output", photo]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and done.stdout.startswith(f"{photo}: ")


@pytest.mark.parametrize("command", ["train", "eval", "infer", "export", "check"])
def test_every_command_that_computes_takes_a_device(command, run, photo, capsys):
    config = ["-c", "output/LeNet/config.yaml"]
    source = config if command in ("train", "check") else ["output", *([photo] if command == "infer" else [])]
    assert main([command, *source, "--device", "tpu"]) == 2
    assert capsys.readouterr().err.startswith("error: --device: expected 'cpu', 'gpu', 'gpu:N' or 'auto', got 'tpu'")
    assert main([command, *source, *QUICK]) == 0


def test_a_resumed_run_continues(run, capsys):
    config = ["-c", "output/LeNet/config.yaml", "-o", "Global.output_dir=output"]
    before = read_pdparams(run / "latest.pdparams")
    assert main(["train", *config, "--resume", "auto", "-o", "Global.epochs=2"]) == 0
    after = read_pdparams(run / "latest.pdparams")
    assert before.keys() == after.keys()
    assert any((before[key] != after[key]).any() for key in before)


def test_weights_without_the_configuration_are_reported(run, capsys):
    (run / "config.yaml").unlink()
    assert main(["eval", "output/LeNet"]) == 2
    assert capsys.readouterr().err == (
        "error: RUN_FOLDER: expected a folder in which training wrote config.yaml, got output/LeNet, which has weights,"
        " but no config.yaml; copy it from the folder of the run\n"
    )


@pytest.mark.parametrize("command", ["infer", "explain", "embed"])
def test_the_folder_of_a_run_or_export_is_not_read_as_images(run, photos, capsys, command):
    (run / "curves.png").write_bytes((photos / "red" / "1.png").read_bytes())
    use = ["--output", "features.npz"] if command == "embed" else []
    weights = ["-o", "Global.pretrained_model=output/LeNet/best_model", *use]
    assert main([command, "output/LeNet", "-c", "output/LeNet/config.yaml", *weights]) == 2
    assert capsys.readouterr().err == (
        f"error: {command}: expected either RUN_FOLDER or -c CONFIG, got both: output/LeNet; remove one of them\n"
    )
    Path("exported").mkdir()
    Path("exported/inference.yml").touch()
    options = ["--weights", "x"] if command == "infer" else ["-c", "lenet"]
    assert main([command, "exported", str(photos), *options, *use]) == 2
    assert "expected either EXPORT_FOLDER or " in capsys.readouterr().err
