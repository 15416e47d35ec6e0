"""Impossible paths, sizes and streams are reported in one line, without a traceback, and nothing is written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from runs import arguments, make_workspace, output_of

import ppzoo
from ppzoo.builders import build_metrics, build_transforms, class_names, read_config
from ppzoo.cli import main
from ppzoo.data import MultiLabelDataset, TarShards
from ppzoo.deploy.postprocess import Topk
from ppzoo.errors import ConfigError, DataError, PpzooError, WeightsError
from ppzoo.files import local_path, write_atomically
from ppzoo.host import cache_home
from ppzoo.weights import read_pdparams

ROOT = Path(__file__).parent.parent.parent
LONG = "x" * 300


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A configuration, and the override for its trained weights."""
    config = make_workspace(tmp_path_factory.mktemp("edges"), train=20, test=10, epochs=1)
    text = yaml.safe_load(config.read_text())
    ops = text["DataLoader"]["Eval"]["dataset"]["transform_ops"]
    text["Infer"] = {"infer_imgs": str(config.parent / "test"), "transforms": [*ops, {"ToCHWImage": None}]}
    config.write_text(yaml.safe_dump(text))
    assert main(arguments(config, "trained")) == 0
    return config, f"Global.pretrained_model={output_of(config.parent, 'trained') / 'latest'}"


def one_error(capsys):
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("Arch.class_num=2000000000", "Arch.class_num: expected at most 1000000, got 2000000000"),
        ("DataLoader.Train.loader.num_workers=5000", "num_workers: expected an integer of at most 256, got 5000"),
        ("Global.update_freq=99999999999999999999", "Global.update_freq: expected an integer of at most 2147483647"),
        ("Global.image_shape=[3, 100000, 100000]", "Global.image_shape: expected at most 178000000 pixels"),
        ("TTA.sizes=[100000]", "TTA.sizes.0: expected an integer of at most 13341"),
    ],
)
def test_sizes_have_limits(trained, capsys, override, expected):
    assert main(["check", "-c", str(trained[0]), "-o", override]) == 2
    assert expected in one_error(capsys)


@pytest.mark.parametrize(
    "op",
    [
        {"ResizeImage": {"size": 100_000}},
        {"ResizeImage": {"resize_short": 100_000}},
        {"ResizeImage": {"size": 99_999_999_999}},
        {"CropImage": {"size": 100_000}},
        {"RandCropImage": {"size": 100_000}},
        {"Pad": {"padding": 100_000}},
        {"Padv2": {"size": 100_000}},
        {"CropImageAtRatio": {"size": 100_000, "pad": 1}},
    ],
)
def test_transforms_with_too_large_results_are_refused(op):
    with pytest.raises(ConfigError, match="expected at most 178000000 pixels"):
        build_transforms([op])


@pytest.mark.parametrize(
    ("op", "key"),
    [
        ({"RandAugment": {"num_layers": 10**9}}, "RandAugment.num_layers"),
        ({"RandAugmentV2": {"num_layers": 10**9}}, "RandAugmentV2.num_layers"),
        ({"TimmAutoAugment": {"config_str": "rand-m9-n1000000000"}}, "TimmAutoAugment.config_str: n"),
        ({"TimmAutoAugment": {"config_str": "augmix-w1000000000"}}, "TimmAutoAugment.config_str: w"),
        ({"TimmAutoAugment": {"config_str": "augmix-d1000000000"}}, "TimmAutoAugment.config_str: d"),
        ({"AugMix": {"mixture_width": 10**9}}, "AugMix.mixture_width"),
        ({"AugMix": {"mixture_depth": 10**9}}, "AugMix.mixture_depth"),
        ({"RandomErasing": {"attempt": 10**9}}, "RandomErasing.attempt"),
        ({"Cutout": {"n_holes": 10**9}}, "Cutout.n_holes"),
        ({"BlurImage": {"motion_max_ksize": 10**9}}, "BlurImage.motion_max_ksize"),
        ({"BlurImage": {"gaussian_max_ksize": 10**9}}, "BlurImage.gaussian_max_ksize"),
    ],
)
def test_numbers_with_which_an_image_takes_minutes_are_refused(op, key):
    with pytest.raises(ConfigError, match=rf"{key}: expected a number from -?\d+ to \d+, got 1000000000"):
        build_transforms([op])


def test_a_number_of_bins_that_takes_all_memory_is_refused():
    with pytest.raises(ConfigError, match="bins: expected a number from 1 to 100000, got 1000000000"):
        build_metrics([{"ExpectedCalibrationError": {"bins": 10**9}}])


def test_resizing_to_a_too_large_image_is_refused():
    with pytest.raises(DataError, match="expected a result of at most 178000000 pixels, got 256 x 1280000"):
        build_transforms([{"ResizeImage": {"resize_short": 256}}])(np.zeros((5000, 1, 3), np.uint8))


def test_a_too_large_label_is_named(trained, tmp_path, capsys):
    image = min((trained[0].parent / "train").rglob("*.png"))
    (tmp_path / "list.txt").write_text(f"{image} 0\n{image} 999999999\n")
    data = f"DataLoader.Train.dataset.cls_label_path={tmp_path / 'list.txt'}"
    assert main([*arguments(trained[0], "label"), "-o", data, "-o", "Arch={name: LeNet}"]) == 2
    assert "got training data with 1000000000 classes (highest label + 1): label 999999999" in one_error(capsys)
    assert not (trained[0].parent / "label").exists()


def test_too_many_labels_per_image_are_an_error_about_the_list(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(class_names, "MAX_CLASSES", 3)
    image = min((trained[0].parent / "train").rglob("*.png"))
    (tmp_path / "list.txt").write_text(f"{image}\t0,1,0,1\n")
    data = f"{{name: MultiLabelDataset, image_root: /, cls_label_path: {tmp_path / 'list.txt'}}}"
    options = [f"DataLoader.Train.dataset={data}", "Arch={name: LeNet}", "Global.use_multilabel=true"]
    options += ["Loss.Train=[{MultiLabelLoss: {weight: 1}}]", "Loss.Eval=null", "Metric=null", "DataLoader.Eval=null"]
    read = read_config(str(trained[0]), options, "train")
    with pytest.raises(DataError) as caught:
        class_names.add_classes_of_data(read)
    assert caught.value.line == (
        "Arch.class_num: expected at most 3, got training data with 4 labels per image: correct the list file, or, if"
        " it is a table, set DataLoader.Train.dataset.label_columns"
    )


@pytest.mark.parametrize("topk", [None, "2", 2.0, True])
def test_topk_is_an_integer(topk):
    with pytest.raises(ConfigError, match="topk: expected an integer of at least 1, got"):
        Topk(topk=topk)


@pytest.mark.parametrize("name", [LONG, "a/" * 3000, "a\0b"])
def test_impossible_file_names_are_errors(name):
    for use in (read_pdparams, ppzoo.Predictor, lambda name: ppzoo.create_model("LeNet", name)):
        with pytest.raises(PpzooError):
            use(name)


def test_infer_with_a_name_that_is_too_long(trained, capsys):
    config, weights = trained
    for key, given in (("IMAGE", [LONG]), ("Infer.infer_imgs", ["-o", f"Infer.infer_imgs={LONG}"])):
        assert main(["infer", "-c", str(config), "-o", weights, *given]) == 2
        assert f"{key}: expected an image, a folder of images or a pattern" in one_error(capsys)


@pytest.mark.parametrize("kind", ["safetensors", "pdparams"])
@pytest.mark.parametrize("path", ["file/x", "file/sub/x", LONG])
def test_converting_to_an_impossible_path(trained, tmp_path, capsys, kind, path):
    (tmp_path / "file").write_text("")
    source = trained[1].partition("=")[2] + ".pdparams"
    target = tmp_path / f"{path}.{kind}"
    assert main(["convert", source, str(target), "--arch", "MobileNetV2_x0_25"]) == 2
    assert one_error(capsys).startswith(f"error: OUT: cannot write {target}: ")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_exporting_weights_to_an_impossible_path(trained, tmp_path, capsys):
    config, weights = trained
    (tmp_path / "file").write_text("")
    export_dir = f"Global.save_inference_dir={tmp_path / 'file'}"
    assert main(["export", "--format", "safetensors", "-c", str(config), "-o", weights, "-o", export_dir]) == 2
    assert one_error(capsys).endswith("MobileNetV2_x0_25.safetensors: Not a directory")


def test_the_longest_possible_name_can_be_written(tmp_path):
    name = tmp_path / ("y" * 250)
    write_atomically(name, lambda file: file.write(b"content"))
    assert name.read_bytes() == b"content"
    with pytest.raises(OSError, match="File name too long") as caught:
        write_atomically(tmp_path / LONG, lambda file: None)
    assert caught.value.filename == str(tmp_path / LONG) and caught.value.errno == errno.ENAMETOOLONG


def test_shards_that_are_circular_links_or_pipes_are_named(tmp_path):
    (tmp_path / "a.tar").symlink_to("a.tar")
    with pytest.raises(DataError, match=r"cannot read the shard '.*a\.tar' \(Too many levels of symbolic links\)"):
        TarShards(image_root=str(tmp_path))
    (tmp_path / "a.tar").unlink()
    os.mkfifo(tmp_path / "b.tar")
    with pytest.raises(DataError, match="it is a pipe or a device"):
        TarShards(image_root=str(tmp_path))


def test_pipes_instead_of_files_are_refused_without_waiting(trained, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert main(["check", "-c", str(pipe)]) == 2
    assert "it is a pipe or a device" in one_error(capsys)
    with pytest.raises(DataError, match="it is a pipe or a device"):
        MultiLabelDataset(image_root=str(tmp_path), cls_label_path=str(pipe))
    with pytest.raises(WeightsError):
        read_pdparams(pipe)


def test_without_a_home_folder_the_variable_is_named(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("PPZOO_HOME", "~no_such_user/x")
    with pytest.raises(ConfigError, match=r"HOME is not set.*; set PPZOO_HOME to a writable folder"):
        cache_home()


def test_an_output_folder_of_an_unknown_user_is_refused(trained, tmp_path, capsys, monkeypatch):
    config, weights = trained
    monkeypatch.chdir(tmp_path)
    for key, command in (
        ("Global.output_dir", ["train"]),
        ("Global.save_inference_dir", ["export", "-o", weights]),
        ("Global.save_inference_dir", ["export", "--format", "safetensors", "-o", weights]),
    ):
        assert main([*command, "-c", str(config), "-o", f"{key}=~no_such_user/x"]) == 2
        assert one_error(capsys).startswith(f"error: {key}: found no home folder for '~no_such_user/x'")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_folders_instead_of_weights_and_checkpoints_are_refused(trained, tmp_path, capsys, path):
    config, _ = trained
    for override, expected in (
        (f"Global.pretrained_model={path}", "Global.pretrained_model: expected a .pdparams file, got the folder"),
        (f"Global.checkpoints={path}", "Global.checkpoints: expected a checkpoint"),
    ):
        output = f"Global.output_dir={tmp_path}"
        assert main(["train", "-c", str(config), "-o", output, "-o", override]) == 2
        assert expected in one_error(capsys)
    assert not list(tmp_path.iterdir())


def test_weights_that_the_disk_cannot_return_are_named(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    file = tmp_path / "x.pdparams"
    file.write_bytes(b"\x80\x04}.")
    monkeypatch.setattr("ppzoo.weights.pdparams.unpickle", fail)
    for read in (read_pdparams, lambda path: ppzoo.load_weights(ppzoo.create_model("LeNet"), path)):
        with pytest.raises(WeightsError, match=r"cannot read .*x\.pdparams: Input/output error") as error:
            read(file)
        assert error.value.exit_status == 1


def test_a_nul_character_in_the_name_of_a_checkpoint_is_refused():
    with pytest.raises(ConfigError, match=r"^--resume: expected a path, got .*, which contains a NUL character"):
        local_path("a\0b", "--resume")


def test_a_url_instead_of_a_path_is_refused(trained, capsys):
    config, weights = trained
    url = "https://example.invalid/a/b"
    for command in (
        ["check", "-c", url],
        ["train", "-c", str(config), "--resume", url],
        ["train", "-c", str(config), "-o", f"Global.output_dir={url}"],
        ["export", "-c", str(config), "-o", weights, "-o", f"Global.save_inference_dir={url}"],
        ["convert", "unused", f"{url}.pdparams", "--arch", "LeNet"],
    ):
        assert main(command) == 2
        assert f"expected a local path, got the URL '{url}" in one_error(capsys)


def shell(line, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, env=environment, timeout=120)


SPLIT = f'"{sys.executable}" -c "from ppzoo.cli import console; console()" data split'


def test_closed_full_and_broken_standard_streams(tmp_path):
    for name in ("grün", "rot"):
        (tmp_path / "bäume" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "bäume" / name / f"{number}.png").write_bytes(f"{name}{number}".encode())
    split = f"{SPLIT} --overwrite '{tmp_path / 'bäume'}'"
    for ending, status, message in (
        (">&-", 0, b""),
        (">&- 2>&- <&-", 0, b""),
        ("2>/dev/full", 0, b""),
        (">/dev/full", 1, b"error: cannot write to standard output: No space left on device\n"),
        ("| true", 141, b""),
    ):
        done = shell(f"{split} {ending}")
        assert (done.returncode, done.stderr) == (status, message), ending
    assert (tmp_path / "bäume" / "label_list.txt").read_text(encoding="utf-8") == "0 grün\n1 rot\n"


def test_names_are_utf8_under_an_ascii_locale(tmp_path):
    (tmp_path / "grün" / "blätter").mkdir(parents=True)
    (tmp_path / "grün" / "blätter" / "ä.png").write_bytes(b"1")
    (tmp_path / "grün" / "blätter" / "b.png").write_bytes(b"2")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = shell(f"{SPLIT} '{tmp_path / 'grün'}'", **ascii_only)
    assert (done.returncode, done.stderr) == (0, b"")
    lists = [(tmp_path / "grün" / f"{part}_list.txt").read_text(encoding="utf-8") for part in ("train", "val")]
    assert sorted(lists) == ["blätter/b.png 0\n", "blätter/ä.png 0\n"]


@pytest.mark.parametrize("threads", ["100000", "99999999999999999999", "100000,2"])
def test_a_number_of_threads_with_which_openmp_crashes_is_refused(monkeypatch, capsys, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert main(["check", "-c", "lenet"]) == 2
    assert one_error(capsys) == f"error: OMP_NUM_THREADS: expected at most 4096 threads, got {threads!r}"
