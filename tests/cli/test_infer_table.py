"""`ppzoo infer --output`: the predictions of a folder or a video as a table."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import ppzoo
from ppzoo.batch_inference import ClassFolders, TableSession
from ppzoo.cli import main

COMMAND = [sys.executable, "-c", "import sys; from ppzoo.cli import console; console()"]


@pytest.fixture(scope="module")
def exported(run_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    assert main(["export", str(run_folder), "--device", "cpu", "-o", f"Global.save_inference_dir={folder}"]) == 0
    return folder


@pytest.fixture
def images(photos, tmp_path):
    """The folder of photos with two files that cannot be read, and files that are skipped."""
    folder = tmp_path / "images"
    shutil.copytree(photos, folder)
    (folder / "red" / "broken.jpg").write_bytes(b"no image")
    (folder / "empty, really.png").touch()
    for skipped in (".hidden.png", "red/._1.png", ".ipynb_checkpoints/1.png", "notes.txt"):
        (folder / skipped).parent.mkdir(exist_ok=True)
        (folder / skipped).write_bytes((folder / "red" / "1.png").read_bytes())
    return folder


@pytest.fixture
def video(tmp_path):
    """A video of 40 frames, ten per second."""
    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(40):
        writer.write(np.full((48, 64, 3), (0, 0, 220) if number < 20 else (220, 0, 0), np.uint8))
    writer.release()
    return file


def infer(*arguments) -> int:
    return main(["infer", *map(str, arguments), "--device", "cpu"])


def read_csv(file):
    with open(file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def printed(capsys, *arguments):
    """Return what `infer --json` prints, by path."""
    capsys.readouterr()
    infer(*arguments, "--json")
    return {record["file_name"]: record for record in map(json.loads, capsys.readouterr().out.splitlines())}


@pytest.mark.parametrize("changed", [[], ["-o", "TTA.flip=true"]])
def test_a_run_writes_what_it_prints(run_folder, images, tmp_path, capsys, changed):
    expected = printed(capsys, run_folder, images, *changed)
    assert infer(run_folder, images, "--output", tmp_path / "t.csv", *changed) == 2
    output = capsys.readouterr()
    assert output.out == f"32 images: {tmp_path / 't.csv'}\n"
    assert "error: no prediction for 2 of 32 images; the column `error`" in output.err
    rows = read_csv(tmp_path / "t.csv")
    assert [row["path"] for row in rows if row["error"]] == ["empty, really.png", "red/broken.jpg"]
    predicted = {str(images / row["path"]): row for row in rows if not row["error"]}
    assert predicted.keys() == expected.keys()
    for file, record in expected.items():
        assert predicted[file]["class"] == record["label_names"][0]
        assert float(predicted[file]["score"]) == pytest.approx(record["scores"][0], abs=1e-5)
        assert predicted[file]["class_2"] == record["label_names"][1]
    assert not list(tmp_path.glob("*unfinished*"))


def test_an_export_writes_what_the_predictor_returns(exported, images, tmp_path):
    assert infer(exported, images, "--output", tmp_path / "t.jsonl", "--top", 2) == 2
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    good = [row for row in rows if row["error"] is None]
    expected = ppzoo.Predictor(exported).predict([images / row["path"] for row in good], topk=2)
    assert [row["class"] for row in good] == [result["label_names"][0] for result in expected]
    np.testing.assert_allclose(
        [[row["score"], row["score_2"]] for row in good], [result["scores"] for result in expected], atol=1e-5
    )
    assert list(rows[0]) == ["path", "class", "score", "class_2", "score_2", "error"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow these names")
def test_unusual_file_names(exported, photos, tmp_path):
    names = [
        "a,b.png",
        'q"x.png',
        "two\nlines.png",
        "=1+1.png",
        "日本.png",
        "x\x1b[31m.png",
        os.fsdecode(b"caf\xe9.png"),
    ]
    folder = tmp_path / "odd\nfolder"
    folder.mkdir()
    for name in names:
        shutil.copy(photos / "red" / "1.png", folder / name)
    (folder / os.fsdecode(b"broken\xff.png")).touch()
    assert infer(exported, folder, "--output", tmp_path / "t.csv", "--sort-into", tmp_path / "sorted") == 2
    rows = read_csv(tmp_path / "t.csv")
    expected = [*names[:3], "./=1+1.png", *names[4:-1], "caf\\xe9.png", "broken\\xff.png"]
    assert sorted(row["path"] for row in rows) == sorted(expected)
    assert sorted(file.name for file in (tmp_path / "sorted").rglob("*.png")) == sorted(names)


def test_several_labels(exported, photos, tmp_path, capsys):
    folder = tmp_path / "export"
    shutil.copytree(exported, folder)
    settings = yaml.safe_load((folder / "inference.yml").read_text())
    names = settings["PostProcess"]["Topk"]["label_list"]
    settings["PostProcess"] = {"MultiLabelThreshOutput": {"threshold": 0.3, "label_list": names}}
    (folder / "inference.yml").write_text(yaml.safe_dump(settings))
    assert infer(folder, photos, "--output", tmp_path / "t.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    expected = ppzoo.Predictor(folder).predict([photos / row["path"] for row in rows])
    assert [row["classes"] for row in rows] == [result["label_names"] for result in expected]
    output = (photos, "--output", tmp_path / "other.csv")
    assert infer(folder, *output, "--sort-into", tmp_path / "sorted") == 2
    assert "--sort-into: expected a network that predicts one class per image" in capsys.readouterr().err
    assert infer(folder, *output, "--top", 2) == 2
    assert "--top: expected a network with the postprocessing Topk" in capsys.readouterr().err
    assert not list(tmp_path.glob("other*")) and not (tmp_path / "sorted").exists()


@pytest.mark.parametrize("number_of_rows", [0, 7])
def test_an_interrupted_table_is_resumed_with_its_sorted_copies(
    exported, images, tmp_path, capsys, monkeypatch, number_of_rows
):
    arguments = (exported, images, "--output", tmp_path / "t.csv", "--sort-into", tmp_path / "sorted")
    write = TableSession.write

    def interrupt(self, rows):
        write(self, rows[:number_of_rows])
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(TableSession, "write", interrupt)
            assert infer(*arguments) == 130
    capsys.readouterr()
    assert infer(*arguments) == 2
    assert (f"resuming {tmp_path / 't.csv'}: 14 rows done" in capsys.readouterr().err) == (number_of_rows == 7)
    rows = read_csv(tmp_path / "t.csv")
    assert len({row["path"] for row in rows}) == len(rows) == 32
    sorted_files = {str(file.relative_to(tmp_path / "sorted")) for file in (tmp_path / "sorted").rglob("*.png")}
    assert sorted_files == {f"{row['class']}/{row['path']}" for row in rows if not row["error"]}


def test_an_image_that_disappears_before_sorting_has_no_prediction(exported, photos, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "images"
    shutil.copytree(photos / "red", folder)
    add = ClassFolders.add

    def remove_and_add(self, image, path, class_name):
        if path == "1.png":
            os.remove(image)
        add(self, image, path, class_name)

    monkeypatch.setattr(ClassFolders, "add", remove_and_add)
    assert infer(exported, folder, "--output", tmp_path / "t.csv", "--sort-into", tmp_path / "sorted") == 2
    rows = read_csv(tmp_path / "t.csv")
    assert [(row["path"], row["class"]) for row in rows if row["error"]] == [("1.png", "")]
    expected = f"error: no prediction for 1 of {len(rows)} images; the column `error` of {tmp_path / 't.csv'} names"
    assert expected in capsys.readouterr().err


def test_ctrl_c_reports_how_to_resume(exported, photos, tmp_path, capsys, monkeypatch):
    write = TableSession.write

    def interrupt(self, rows):
        write(self, rows[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(TableSession, "write", interrupt)
    assert infer(exported, photos, "--output", tmp_path / "t.csv", "--overwrite") == 130
    *_, hint, last = capsys.readouterr().err.splitlines()
    assert hint == f"{tmp_path / 't.csv'} has 3 rows so far; run the same command without --overwrite again to resume"
    assert last == "interrupted"


def test_transforms_that_do_not_fit_are_a_mistake_that_writes_nothing(run_folder, photos, tmp_path, capsys):
    image = np.zeros((30, 90, 3), np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(photos / "red" / "1.png", folder)
    cv2.imwrite(str(folder / "wide.png"), image)
    ops = "[{DecodeImage: {}}, {ResizeImage: {resize_short: 28}}, {NormalizeImage: {order: ''}}, {ToCHWImage: {}}]"
    assert infer(run_folder, folder, "--output", tmp_path / "t.csv", "-o", f"Infer.transforms={ops}") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Infer.transforms: expected images of equal shape, got")
    assert [file.name for file in tmp_path.iterdir()] == ["images"]


def test_images_are_linked_and_another_model_does_not_resume(
    run_folder, exported, photos, tmp_path, capsys, monkeypatch
):
    arguments = (photos, "--output", tmp_path / "t.csv", "--sort-into", tmp_path / "sorted", "--sort-by", "link")
    assert infer(exported, *arguments) == 0
    assert all(file.is_symlink() for file in (tmp_path / "sorted").rglob("*.png"))
    assert infer(exported, *arguments) == 2
    assert "exists; use --overwrite to start over, or write another file" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(TableSession, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        assert infer(exported, *arguments, "--overwrite") == 130
    assert infer(exported, *arguments, "--top", "1") == 2
    assert "was started with another --top (3, not 1)" in capsys.readouterr().err
    assert infer(run_folder, *arguments) == 2
    assert "was started with another model" in capsys.readouterr().err


@pytest.mark.slow
def test_each_image_has_one_row_after_two_kills(exported, photos, tmp_path):
    folder = tmp_path / "images"
    for number in range(60):
        shutil.copytree(photos, folder / f"{number:03}", copy_function=os.link)
    command = [*COMMAND, "infer", str(exported), str(folder), "--output", str(tmp_path / "t.csv")]
    for kill in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = _size(tmp_path / "t.csv") if kill == 2 else 0
        while _size(tmp_path / "t.csv") < before + 2000 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "t.csv.unfinished.json").exists(), "it was not killed in time"
    subprocess.run(command, check=True, capture_output=True)
    rows = read_csv(tmp_path / "t.csv")
    assert len({row["path"] for row in rows}) == len(rows) == 1800


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def test_frames_of_a_video(exported, video, tmp_path):
    assert infer(exported, video, "--output", tmp_path / "t.csv", "--every", 5) == 0
    rows = read_csv(tmp_path / "t.csv")
    assert [int(row["frame"]) for row in rows] == list(range(0, 40, 5))
    assert [float(row["seconds"]) for row in rows] == [number / 10 for number in range(0, 40, 5)]
    first, *_, last = rows
    red, blue = (np.full((48, 64, 3), color, np.uint8) for color in ((220, 0, 0), (0, 0, 220)))
    expected = [result["label_names"][0] for result in ppzoo.Predictor(exported).predict([red, blue])]
    assert [first["class"], last["class"]] == expected


def test_a_video_is_resumed(exported, video, tmp_path, monkeypatch):
    write = TableSession.write

    def interrupt(self, rows):
        write(self, rows[:9])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TableSession, "write", interrupt)
        assert infer(exported, video, "--output", tmp_path / "t.csv") == 130
    assert infer(exported, video, "--output", tmp_path / "t.csv") == 0
    rows = read_csv(tmp_path / "t.csv")
    assert [int(row["frame"]) for row in rows] == list(range(40))
    assert [float(row["seconds"]) for row in rows] == [number / 10 for number in range(40)]


def test_a_damaged_video_is_one_line(exported, video, tmp_path, capsys):
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    command = [*COMMAND, "infer", str(exported), str(video), "--output", str(tmp_path / "t.csv"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)  # FFmpeg can print lines, too
    assert done.returncode == 2
    assert re.fullmatch(f"error: {re.escape(str(video))}: [0-9]+ of 40 frames are missing: .*\n", done.stderr)
    assert len(read_csv(tmp_path / "t.csv")) < 40
    video.write_bytes(b"no video")
    assert infer(exported, video, "--output", tmp_path / "other.csv", "--quiet") == 2
    assert capsys.readouterr().err == (
        f"error: {video}: expected a video, got a file that is damaged or that OpenCV cannot decode; replace"
        " it, or convert it to .mp4\n"
    )
    assert not list(tmp_path.glob("other*"))


class Camera:
    """A camera of OpenCV that always sees red."""

    def __init__(self, number, *options):
        self.number = number

    def isOpened(self):
        return self.number == 0

    def get(self, key):
        return 0

    def grab(self):
        return True

    def retrieve(self):
        return True, np.full((48, 64, 3), (0, 0, 220), np.uint8)

    def release(self):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the camera is replaced in this process")
def test_a_camera_ends_with_ctrl_c(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    write = TableSession.write

    def interrupt(self, rows):
        write(self, rows)
        if self.count == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(TableSession, "write", interrupt)
    assert infer(exported, 0, "--output", "t.csv", "--every", 3) == 0
    assert [int(row["frame"]) for row in read_csv("t.csv")] == [0, 3, 6, 9]
    assert capsys.readouterr().out == "4 frames: t.csv\n"
    assert infer(exported, 7, "--output", "other.csv") == 2
    assert "camera 7: expected a camera that can be opened, got none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photos}", "--top", "2"], "--top: expected it together with --output FILE, got it alone"),
        (["{photos}", "--overwrite"], "--overwrite: expected it together with --output FILE, got it alone"),
        (["{photos}", "--output", "t.csv", "--top", "0"], "--top: expected at least 1, got 0"),
        (["{photos}", "--output", "t.csv", "--json"], "infer: expected either --json or --output FILE, got both"),
        (["--output", "t.csv"], "with --output, got 0 arguments"),
        (["{photos}", "{photos}", "--output", "t.csv"], "with --output, got 2 arguments"),
        (["nowhere", "--output", "t.csv"], "with --output, got 'nowhere', which does not exist"),
        (["{photos}", "--output", "t.csv", "--every", "2"], "--every: expected a video file or a camera, got the"),
        (["{photos}", "--output", "t.csv", "--sort-by", "link"], "--sort-by: expected it together with --sort-into"),
        (
            ["{photos}", "--output", "t.csv", "--sort-into", "{photos}/x"],
            "--sort-into: expected a folder that is not in",
        ),
        (
            ["{photos}", "--output", "t.csv", "--sort-into", "{photos}/.."],
            "--sort-into: expected a folder that is not in",
        ),
        (
            ["{photos}", "--output", "t.xlsx"],
            "--output: expected a file with a name that ends in .csv, .jsonl or .parquet",
        ),
        ([".", "--output", "t.csv"], "IMAGE: expected a folder with images, got '.'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(exported, photos, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert infer(exported, *(argument.format(photos=photos) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not os.listdir(tmp_path)


def test_an_image_is_not_a_video_of_one_frame(exported, images, tmp_path, capsys):
    assert infer(exported, images / "red" / "1.png", "--output", tmp_path / "one.csv") == 2
    assert "1.png': use its folder, or --json instead of --output" in capsys.readouterr().err
    assert not (tmp_path / "one.csv").exists()
