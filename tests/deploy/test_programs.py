"""An export folder is complete or refused; an invalid folder or image is a one-line error."""

import errno
import os
import shutil
import sys
from itertools import pairwise

import numpy as np
import paddle
import pytest
import yaml

import ppzoo
from ppzoo import yaml_io
from ppzoo.deploy import PaddleEngine, Topk, export, open_export
from ppzoo.deploy import export_dir as deploy_folder
from ppzoo.errors import ConfigError, DataError, OutputError, PpzooError

SETTINGS = {
    "PreProcess": {"transform_ops": [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 5, "label_list": ["cat", "dog", "owl"]}},
}


def network(seed=0):
    paddle.seed(seed)
    return paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.Flatten(), paddle.nn.Linear(4 * 36, 3))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy") / "inference"
    export(network(), folder, [3, 8, 8], SETTINGS)
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    """A copy that a test can damage."""
    return shutil.copytree(exported, tmp_path / "inference")


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("shape", [[1, 8, 8], [3, 9, 8], [8, 8, 3], [3, 8], [3, 0, 8]])
def test_a_wrong_image_shape_leaves_no_files(tmp_path, shape):
    with pytest.raises(ConfigError, match=r"^Global.image_shape: expected .* got") as error:
        export(network(), tmp_path / "new" / "inference", shape, SETTINGS)
    assert one_line(error).endswith(" x ".join(map(str, shape)))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["program", "parameters", "settings"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_pipes_folders_and_devices_in_an_export_are_refused_without_waiting(folder, kind, make):
    exported = open_export(folder)
    file = {"program": exported.program, "parameters": exported.parameters, "settings": folder / "inference.yml"}[kind]
    file.unlink()
    make(file)
    with pytest.raises(PpzooError, match=rf"^cannot read .*{file.name}: ") as error:
        open_export(folder)
    one_line(error)


def test_an_export_has_three_files_and_replaces_an_older_one(folder):
    export(network(), folder, [3, 8, 8], SETTINGS)
    suffixes = sorted(file.suffix for file in folder.iterdir() if file.suffix != ".info")  # PaddlePaddle 2.6's
    assert suffixes in ([".json", ".pdiparams", ".yml"], [".pdiparams", ".pdmodel", ".yml"])
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"^Global.save_inference_dir: cannot write .*/file: ") as error:
        export(network(), tmp_path / "file", [3, 8, 8], SETTINGS)
    assert error.value.exit_status == 2
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_export_to_a_full_disk_has_exit_status_1(folder, monkeypatch):
    def fail(*paths):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ppzoo.deploy.exporter.move_into_place", fail)
    with pytest.raises(OutputError, match=r"^cannot write .*: No space left on device") as error:
        export(network(), folder, [3, 8, 8], SETTINGS)
    assert error.value.exit_status == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a: [", "is damaged"),
        (b"\xff\xfe\xff", "expected YAML"),
        (
            "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopqrst")),
            "with aliases expanded",
        ),
        ("a: &a [*a]", "refers to itself"),
        ("a: " + "[" * 100, "nested deeper than 40 levels"),
        ("a: 1\na: 2", "duplicate key"),
        ("#" * (9 << 20), "at most 8388608 bytes"),
        ("a: \x1b[2J", "expected YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is damaged"),
        ("", "of which one is missing"),
        ("[1]", "of which one is missing"),
        (yaml.safe_dump({**SETTINGS, "PostProcess": {}}), "of which one is missing"),
        (yaml.safe_dump({**SETTINGS, "PostProcess": {"Topk": {"label_list": 3}}}), "label_list: expected a list"),
        (yaml.safe_dump({**SETTINGS, "PreProcess": {"transform_ops": ["Flip"]}}), "transform_ops: expected a list"),
        (yaml.safe_dump({**SETTINGS, "PostProcess": {"Topk": {"label_list": [["a"]]}}}), "label_list: expected a list"),
        (yaml.safe_dump({**SETTINGS, "PostProcess": {"Topk": {"label_list": [None]}}}), "label_list: expected a list"),
        (yaml.safe_dump({**SETTINGS, "PostProcess": {"Topk": 3}}), "of which one is missing"),
        (yaml.safe_dump({**SETTINGS, "PostProcess": {"Topk": ["label_list"]}}), "of which one is missing"),
    ],
)
def test_damaged_settings_are_a_one_line_error(folder, content, complaint):
    path = folder / "inference.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PpzooError, match=f"inference.yml.*{complaint}") as error:
        PaddleEngine(open_export(folder))
    one_line(error)


@pytest.mark.parametrize(
    ("section", "content", "complaint"),
    [
        ("PreProcess", {"transform_ops": [{"Nope": None}]}, "0.Nope: expected the name of a transform"),
        ("PreProcess", {"transform_ops": [{"CropImage": 3}]}, "0.CropImage: expected a mapping"),
        ("PreProcess", {"transform_ops": [{"CropImage": [1]}]}, "0.CropImage: expected a mapping"),
        ("PreProcess", {"transform_ops": [{"ResizeImage": {"size": 8.5}}]}, "0.ResizeImage.size: expected"),
        ("PreProcess", {"transform_ops": [{"NormalizeImage": {"mean": ["a"]}}]}, "0.NormalizeImage.mean"),
        ("PreProcess", {"transform_ops": [{"CropImage": {"sise": 8}}]}, "sise"),
        ("PostProcess", {"Topk": {"topk": "x", "label_list": ["a"]}}, "PostProcess.topk: expected an integer"),
        ("PostProcess", {"MultiLabelThreshOutput": {"threshold": "x", "label_list": ["a"]}}, "PostProcess.threshold"),
        ("PostProcess", {"Topk": {"foo": 1, "label_list": ["a"]}}, "foo"),
    ],
)
def test_settings_with_unknown_names_or_wrong_types_are_refused(folder, section, content, complaint):
    (folder / "inference.yml").write_text(yaml.safe_dump({**SETTINGS, section: content}))
    with pytest.raises(ConfigError, match=rf"inference\.yml: {section}.*") as error:
        ppzoo.Predictor(folder, engine="paddle")
    assert any(complaint in problem and "\n" not in problem for problem in error.value.problems)


@pytest.mark.parametrize("change", ["one byte less", "half", "surplus bytes", "nan"])
def test_damaged_parameters_are_refused_without_digests(folder, change):
    """PaddleClas writes no digests, and PaddlePaddle reads uninitialized memory for what is missing in a file."""
    remove_digests(folder)
    open_export(folder)
    file = folder / "inference.pdiparams"
    content = file.read_bytes()
    damaged = {
        "one byte less": content[:-1],
        "half": content[: len(content) // 2],
        "surplus bytes": content + b"x",
        "nan": content[:-4] + np.float32("nan").tobytes(),
    }
    file.write_bytes(damaged[change])
    with pytest.raises(PpzooError, match=r"inference\.pdiparams") as error:
        open_export(folder)
    one_line(error)


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_a_path_that_is_not_utf8_is_refused(folder):
    """PaddlePaddle's configuration takes no such text."""
    renamed = folder.rename(folder.with_name("inference\udcff"))
    with pytest.raises(PpzooError, match="expected a path in UTF-8") as error:
        open_export(renamed)
    one_line(error)


def test_more_label_names_than_classes_are_refused(folder):
    for count, fits in ((2, True), (3, True), (4, False), (1000, False)):
        labels = {"Topk": {"topk": 1, "label_list": [f"class {number}" for number in range(count)]}}
        (folder / "inference.yml").write_text(yaml.safe_dump({**SETTINGS, "PostProcess": labels}))
        predictor = ppzoo.Predictor(folder, engine="paddle")
        if fits:
            assert len(predictor.predict(np.zeros((8, 8, 3), np.uint8))) == 1
            continue
        with pytest.raises(ConfigError, match=rf"label_list: expected 3 names, .* got {count}") as error:
            predictor.predict(np.zeros((8, 8, 3), np.uint8))
        one_line(error)


def test_a_pipe_instead_of_settings_is_refused(folder):
    (folder / "inference.yml").unlink()
    os.mkfifo(folder / "inference.yml")
    with pytest.raises(PpzooError, match="it is a pipe"):
        open_export(folder)


def test_settings_with_too_many_values_are_refused(folder, monkeypatch):
    monkeypatch.setattr(yaml_io, "EXPORT_LIMITS", yaml_io.Limits(1 << 20, 1000))
    (folder / "inference.yml").write_text("a: [" + "1," * 1000 + "]")
    with pytest.raises(PpzooError, match="more than 1000 values"):
        open_export(folder)


@pytest.mark.slow
def test_label_names_survive_a_round_trip(tmp_path):
    """Also names that look like other YAML types; ImageNet-22k has 21,841 classes."""
    names = [
        "1e-5",
        "1_000",
        "0x1f",
        "yes",
        "null",
        "12:30",
        "2020-01-01",
        "~",
        "",
        " a ",
        "a: b",
        "猫",
        "007",
        "1",
        "#",
    ]
    names += [f"n{number:08}, and another name" for number in range(21_841 - len(names))]
    labels = {"Topk": {"topk": 5, "label_list": names}}
    export(network(), tmp_path / "inference", [3, 8, 8], {**SETTINGS, "PostProcess": labels})
    assert open_export(tmp_path / "inference").settings["PostProcess"] == labels


def remove_digests(folder):
    """Make the export look like one of PaddleClas."""
    (folder / "inference.yml").write_text(yaml.safe_dump(SETTINGS))


def test_truncated_parameters_are_an_error_with_the_file_name(folder):
    """PaddlePaddle itself reads the missing part of the last parameter as NaN, or not at all."""
    path = folder / "inference.pdiparams"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(
        PpzooError, match=r"inference\.pdiparams is damaged, or belongs to another export than inference.yml"
    ) as error:
        PaddleEngine(open_export(folder))
    one_line(error)


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """An export of the same network with other weights and another label."""
    folder = tmp_path_factory.mktemp("deploy") / "another"
    labels = {"Topk": {"topk": 5, "label_list": ["cat", "dog", "yak"]}}
    export(network(seed=1), folder, [3, 8, 8], {**SETTINGS, "PostProcess": labels})
    return folder


@pytest.mark.parametrize("mixed", ["inference.pdiparams", "inference.yml"])
def test_a_mixture_of_two_exports_is_refused(folder, another, mixed):
    shutil.copy(another / mixed, folder)
    with pytest.raises(PpzooError, match=r"is damaged, or belongs to another export than inference\.yml") as error:
        ppzoo.Predictor(folder)
    one_line(error)


@pytest.mark.parametrize("steps_done", range(6))
def test_a_killed_export_leaves_no_valid_export(folder, another, steps_done, monkeypatch):
    """The folder is refused until the last step is done."""
    steps, done = ("unlink", "replace"), []

    def interrupt(name, step):
        def wrapper(*arguments, **options):
            if len(done) == steps_done:
                raise KeyboardInterrupt
            done.append(name)
            return step(*arguments, **options)

        return wrapper

    staged = shutil.copytree(another, folder.parent / "staged")
    monkeypatch.setattr(deploy_folder.Path, "unlink", interrupt("unlink", deploy_folder.Path.unlink))
    monkeypatch.setattr(deploy_folder.os, "replace", interrupt("replace", os.replace))
    with pytest.raises(KeyboardInterrupt):
        deploy_folder.move_into_place(staged, folder)
    monkeypatch.undo()
    assert len(done) == steps_done and set(done) <= set(steps)
    if steps_done == 0:
        assert open_export(folder).settings["PostProcess"]["Topk"]["label_list"][2] == "owl"
        return
    with pytest.raises(PpzooError, match=r"expected the folder of an export \(inference\.yml") as error:
        open_export(folder)
    one_line(error)


def test_the_program_of_another_paddlepaddle_version_is_ignored(folder):
    """PaddlePaddle 2 and 3 use different file names for the program."""
    own = next(file for file in folder.iterdir() if file.suffix in (".json", ".pdmodel"))
    other = folder / ("inference.pdmodel" if own.suffix == ".json" else "inference.json")
    other.write_bytes(b"another export")
    assert open_export(folder).program == own
    export(network(), folder, [3, 8, 8], SETTINGS)
    assert not other.exists()


@pytest.mark.parametrize("kept", [0, 10, 200])
@pytest.mark.parametrize("suffix", [".pdiparams", ".json"])
def test_truncated_files_are_an_error_with_the_file_names(folder, suffix, kept):
    path = folder / f"inference{suffix}"
    path = path if path.exists() else path.with_suffix(".pdmodel")
    path.write_bytes(path.read_bytes()[:kept])
    remove_digests(folder)
    with pytest.raises(
        PpzooError, match=r"inference\.(json|pdmodel|pdiparams) is damaged|and inference\.pdiparams: one is damaged"
    ) as error:
        PaddleEngine(open_export(folder))
    one_line(error)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 9, 8), (3, 8, 8)])
def test_the_program_still_works_after_arrays_of_the_wrong_shape(exported, shape):
    program = PaddleEngine(open_export(exported))
    with pytest.raises(DataError, match="got " + " x ".join(map(str, shape))) as error:
        program(np.zeros(shape, np.float32))
    one_line(error)
    np.testing.assert_allclose(program(np.zeros((2, 3, 8, 8), np.float32)).sum(1), 1, rtol=1e-5)


def test_the_predictor_refuses_images_of_different_shapes(exported):
    predictor = ppzoo.Predictor(exported, batch_size=2)
    fitting, other = np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)
    with pytest.raises(DataError, match=r"images\[1\]: .*got 1 x 3 x 9 x 8.*ResizeImage") as error:
        predictor.predict([fitting, other])
    one_line(error)
    with pytest.raises(DataError, match="got 1 x 3 x 9 x 8") as error:
        predictor.predict(other)
    one_line(error)
    assert [len(prediction["label_names"]) for prediction in predictor.predict([fitting] * 3, topk=2)] == [2, 2, 2]


def test_values_out_of_range_are_refused(exported):
    for size in (0, -1):
        with pytest.raises(ConfigError, match=f"batch_size: expected an integer of at least 1, got {size}"):
            ppzoo.Predictor(exported, batch_size=size)
        with pytest.raises(ConfigError, match=f"topk: expected at least 1, got {size}"):
            Topk(topk=size)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.1, 0.4, 0.1, 0.4], [1, 3, 0]),
        ([-2.0, -3.0, -4.0, -5.0], [0, 1, 2]),
        ([0.7, 0.3], [0, 1]),
    ],
)
def test_topk_is_sorted_and_ties_go_to_the_lower_index(row, expected):
    scores = np.asarray([row], "float32")
    (prediction,) = Topk(topk=3)(scores)
    assert prediction["class_ids"] == expected
    np.testing.assert_array_equal(prediction["scores"], scores[0, expected])
