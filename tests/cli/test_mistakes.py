"""Mistakes with paths and contradicting options: one line with a fix that works, and nothing is written or computed."""

import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.quick import QUICK

from ppzoo import builders, files
from ppzoo.cli import main
from ppzoo.errors import ConfigError
from ppzoo.migration.sources import find_sources

LONG = "x" * 300


@pytest.fixture
def folder(photos, run_folder, tmp_path, monkeypatch):
    """The current folder, with copies of the photos and of the run, an archive and a list of missing images."""
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(run_folder, tmp_path / "output/LeNet")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(photos / "red/0.png")
    lines = [f"{color}/{number}.png {label}\n" for label, color in enumerate(("red", "blue")) for number in range(3)]
    (tmp_path / "missing.txt").write_text("".join(lines))
    (tmp_path / "blocked/trace.json").mkdir(parents=True)
    (tmp_path / "blocked/comparison.json").mkdir()
    (tmp_path / "broken").symlink_to("nothing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(capsys, arguments):
    """Return the error of a command that must fail as a user's mistake."""
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


RUN, PHOTOS = "output/LeNet", ["--arch", "LeNet", "--data", "photos"]
NOT_DONE = "cannot write {long}: File name too long"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--arch", "LeNet", "--data", "photos.zip"], "the archive photos.zip: extract it"),
        (["data", "split", "photos.zip"], "the archive 'photos.zip': extract it"),
        (["report", RUN, "--data", "photos.zip"], "the archive 'photos.zip': extract it"),
        (["infer", RUN, "photos.zip"], "IMAGE: expected an image, got 'photos.zip': extract the images of the archive"),
        (
            ["infer", RUN, "photos/*/*.jpg"],
            "IMAGE: expected an image, a folder of images or a pattern, got 'photos/*/*.jpg', which matches no file",
        ),
        (["infer", RUN, "https://x.org/a.png"], "got 'https://x.org/a.png', which is a URL: download it"),
        (
            ["infer", "--weights", RUN, "photos"],
            f"--weights: expected a .safetensors file, got the folder {RUN}; `ppzoo infer RUN_FOLDER IMAGE` takes the"
            " folder of a run or an export",
        ),
        (["eval", f"{RUN}/best_model"], f"got a path that does not exist: {RUN}/best_model; use {RUN}"),
        (["explain", RUN, "photos", "--class", "9" * 5000], f"an index from 0 to 2, got {'9' * 60}"),
        (["explain", RUN, "photos", "--output", LONG], "--output: " + NOT_DONE),
        (["explain", RUN, "photos", "--output", "broken"], "--output: expected a folder, got the broken link broken"),
        (
            ["embed", RUN, "photos", "--output", f"{LONG}.npz"],
            "--output: cannot write ./{long}.npz: File name too long",
        ),
        (["lr-find", *PHOTOS, "--output", LONG], "--output: " + NOT_DONE),
        (["profile", *PHOTOS, "--output", "blocked"], "--output: cannot write blocked/trace.json: Is a directory"),
        (
            ["compare", RUN, RUN, "--output", "blocked"],
            "--output: cannot write blocked/comparison.json: Is a directory",
        ),
        (["report", RUN, "--output", f"{RUN}/config.yaml"], f"expected a folder, got the file {RUN}/config.yaml"),
        (["infer", RUN, "photos", "--output", f"{LONG}.csv"], "--output: cannot write {long}.csv: File name too long"),
        (["data", "split", "photos", "--output", LONG], "--output: " + NOT_DONE),
        (["configs", "lenet", "--copy", LONG], "--copy: " + NOT_DONE),
        (
            ["configs", "lenet", "--copy", "photos.zip/x.yaml"],
            "--copy: cannot write photos.zip/x.yaml: Not a directory",
        ),
        (["migrate", f"{RUN}/config.yaml", "-o", "photos.zip/x.yaml"], "-o: cannot write photos.zip/x.yaml: Not a dir"),
        (
            ["convert", f"{RUN}/latest.pdparams", "photos.zip/x.pdparams", "--arch", "LeNet"],
            "OUT: cannot write photos.zip/x.pdparams: Not a directory",
        ),
        (
            ["convert", f"{RUN}/latest", f"{RUN}/latest.pdparams", "--arch", "LeNet"],
            f"OUT: expected a file other than IN, got '{RUN}/latest.pdparams' for both",
        ),
        (
            ["train", *PHOTOS, *QUICK, "-o", "Global.output_dir=photos.zip"],
            "Global.output_dir: cannot write photos.zip/photos-split-",
        ),
        (
            ["train", *PHOTOS, *QUICK, "-o", f"Global.output_dir={LONG}"],
            "Global.output_dir: cannot write {long}/photos",
        ),
        (
            ["data", "split", "missing.txt"],
            "FOLDER_OR_LIST: cannot read the image './red/0.png' (No such file or directory; missing.txt, line 1):"
            " restore the file or correct --image-root",
        ),
        (
            ["data", "split", "missing.txt", "--folds", "2"],
            "missing.txt, line 1): restore the file or correct --image-root",
        ),
        (
            ["train", "--arch", "LeNet", "--data", "missing.txt"],
            "--data: cannot read the image './red/0.png' (No such file or directory; missing.txt, line 1): restore the"
            " file or correct its path in the list",
        ),
        (["models", "LeNet", "--summary", "--json"], "--json: expected it without --summary, got both"),
        (["models", "LeNet", "--summary", "--max-params", "5M"], "--max-params: expected it without --summary"),
        (["lr-find", *PHOTOS, "--steps", "3"], "--steps: expected at least 20, got 3"),
        (["lr-find", *PHOTOS, "--min", "nan"], "--min, --max: expected 0 < min < max, got nan and 10"),
        (
            ["lr-find", *PHOTOS, "--max", "1e308"],
            "--max: expected a learning rate of at most 3.4e+38 (float32), got 1e+308",
        ),
        (["profile", *PHOTOS, "--steps", "0"], "--steps: expected at least 1, got 0"),
    ],
)
def test_a_mistake_is_found_before_the_work_with_a_fix(folder, capsys, monkeypatch, arguments, message):
    work = ("build_trainer", "evaluate_run", "find_learning_rate", "profile_training", "explain_images", "embed_images")
    for name in work if message.startswith(("--output", "--steps", "--min", "--max")) else ():
        monkeypatch.setattr(builders, name, lambda *_, name=name, **__: pytest.fail(f"{name} is called first"))
    before = sorted(folder.rglob("*"))
    assert message.format(long=LONG) in error_of(capsys, arguments)
    assert sorted(folder.rglob("*")) == before


def test_the_suggested_fix_of_a_missing_image_works(folder, capsys):
    assert main(["data", "split", "missing.txt", "--image-root", "photos"]) == 0
    assert "4 training images, 2 validation images" in capsys.readouterr().out


def test_a_file_that_begins_with_a_dash_is_written_with_its_folder(folder, capsys):
    shutil.copy("photos/red/0.png", "-x.png")
    with pytest.raises(SystemExit):
        main(["infer", RUN, "-x.png"])
    assert "; write ./-x.png for the file of that name; see" in capsys.readouterr().err
    assert main(["infer", RUN, "./-x.png"]) == 0


@pytest.mark.parametrize("value", ["abc", "1%", "nan", "2"])
def test_a_fraction_that_is_no_number_from_0_to_1(capsys, value):
    with pytest.raises(SystemExit):
        main(["export", RUN, "--max-drop", value])
    assert f"argument --max-drop: expected a number from 0 to 1, got {value!r}; see" in capsys.readouterr().err


def test_calibration_names_the_image_that_cannot_be_read(folder, capsys):
    Path("calibration").mkdir()
    Path("calibration/bad.png").write_bytes(b"no image")
    command = ["export", RUN, "--format", "openvino", "--precision", "int8", "--calibration", "calibration"]
    pytest.importorskip("openvino")
    assert "--calibration: calibration/bad.png: expected an image" in error_of(capsys, command)


@pytest.mark.parametrize("host", ["a..b", LONG])
def test_a_host_that_is_no_name(folder, capsys, host):
    Path("output/LeNet/vdlrecords.1.log").touch()
    pytest.importorskip("visualdl")
    assert "--host: expected an address of this machine, got" in error_of(capsys, ["board", "output", "--host", host])


def test_weights_that_are_a_broken_link_are_not_suggested(folder, capsys):
    best = Path("output/LeNet/best_model.pdparams")
    best.unlink()
    best.symlink_to("nothing")
    assert main(["eval", RUN]) == 0
    assert "loaded 10 entries from output/LeNet/latest" in capsys.readouterr().err


def test_damaged_checkpoint_names_the_option_that_finds_another_one(folder, capsys):
    Path("output/LeNet/latest.pdopt").write_bytes(b"")
    command = ["train", *PHOTOS, *QUICK, "-o", "Global.epochs=2", "--resume"]
    error = error_of(capsys, [*command, "output/LeNet/latest"])
    assert error.endswith("got 0; use another checkpoint, or --resume auto for the newest complete one of the run")
    assert main([*command, "auto"]) == 0


@pytest.fixture
def locked(folder, monkeypatch):
    """A folder `locked` that the user may not open. Root may open any folder, so the system's checks are replaced."""
    shutil.copytree("output", "locked/output")
    stat, access = os.stat, os.access

    def is_in(path):
        return isinstance(path, (str, os.PathLike)) and Path(path).is_relative_to("locked")

    def denied_stat(path, *arguments, **options):
        if is_in(path) and Path(path) != Path("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", denied_stat)
    monkeypatch.setattr(os, "access", lambda path, mode, **options: not is_in(path) and access(path, mode, **options))


DENIED = "cannot be accessed (Permission denied)"
UNREADABLE = "cannot read the folder 'locked' (Permission denied): correct its permissions, or name another folder"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["eval", "locked/output"],
            f"RUN_FOLDER: expected the folder of a run, such as output/LeNet, got a path that {DENIED}",
        ),
        (["eval", "locked"], f"RUN_FOLDER: {UNREADABLE}"),
        (["board", "locked/output"], f"got a path that {DENIED}: locked/output"),
        (["board", "locked"], f"RUNS: {UNREADABLE}"),
        (["train", "--arch", "LeNet", "--data", "locked/photos"], f"got 'locked/photos', which {DENIED}"),
        (["train", "--arch", "LeNet", "--data", "locked"], f"--data: {UNREADABLE}"),
        (
            ["train", *PHOTOS, *QUICK, "-o", "Global.pretrained_model=locked/a/best"],
            f"got 'locked/a/best', which {DENIED}",
        ),
        (["train", *PHOTOS, *QUICK, "--resume", "locked/latest"], f"but locked/latest.pdparams {DENIED}"),
        (["infer", RUN, "locked/photos"], f"got 'locked/photos', which {DENIED}"),
        (["convert", "locked/a.pdparams", "x.pdparams", "--arch", "LeNet"], f"'locked/a.pdparams', which {DENIED}"),
        (["data", "split", "locked/photos"], f"got 'locked/photos', which {DENIED}"),
        (["embed", RUN, "photos", "--like", "locked/a.png"], f"got 'locked/a.png', which {DENIED}"),
        (["migrate", "locked/a.yaml"], f"got locked/a.yaml, which {DENIED}"),
    ],
)
def test_a_path_without_permission_is_not_called_missing(locked, capsys, arguments, message):
    error = error_of(capsys, arguments)
    assert message in error and "does not exist" not in error and "there is no folder" not in error


def test_a_folder_without_permission_is_not_called_empty(tmp_path, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr(os, "walk", walk)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(ConfigError, match=r"^SOURCE: cannot read the folder '.*' \(Permission denied\): correct"):
        find_sources(tmp_path)


def test_a_read_only_file_system_is_reported_as_what_it_is(tmp_path, monkeypatch):
    assert files.find_write_error(tmp_path) is None
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert str(files.find_write_error(tmp_path)) == f"[Errno 13] Permission denied: '{tmp_path}'"
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert str(files.find_write_error(tmp_path)) == f"[Errno 30] Read-only file system: '{tmp_path}'"
