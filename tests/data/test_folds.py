"""Splitting images into folds: by classes, by groups, and with a test list."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from helpers.small_runs import paint_class_folders

from ppzoo.cli import main
from ppzoo.data import read_folds, read_list
from ppzoo.data.fold_groups import assign_parts

CLASSES = ("blue", "green", "red")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder, with 10 images per class of 5 patients, and a table of them."""
    monkeypatch.chdir(tmp_path)
    paint_class_folders(tmp_path / "photos", CLASSES, count=10, file="{number}.png")
    for color in CLASSES:
        for number in range(10):
            file = tmp_path / "photos" / color / f"{number}.png"
            file.rename(file.with_name(f"p{number // 2}_{number}.png"))
    rows = [f"photos/{color}/p{n // 2}_{n}.png,{color},p{n // 2}" for color in CLASSES for n in range(10)]
    (tmp_path / "scans.csv").write_text("\n".join(["path,label,patient", *rows]) + "\n")
    return tmp_path


def split(*arguments):
    return main(["data", "split", *map(str, arguments)])


def images(list_file):
    index = read_list(str(list_file))
    return {index.path(number): int(index.labels[number]) for number in range(len(index))}


def parts(folds_folder, count):
    """The images of the validation lists, after checking each against its training list."""
    test = images(folds_folder / "test_list.txt") if (folds_folder / "test_list.txt").exists() else {}
    pairs = [
        tuple(images(folds_folder / f"fold_{number}" / name) for name in ("train_list.txt", "val_list.txt"))
        for number in range(1, count + 1)
    ]
    everything = {path for _, val in pairs for path in val}
    for train, val in pairs:
        assert not train.keys() & val.keys()
        assert train.keys() | val.keys() == everything
        assert not test.keys() & everything
    assert sum(len(val) for _, val in pairs) == len(everything)
    return [val for _, val in pairs], test


def test_each_fold_has_its_share_of_each_class(folder, capsys):
    assert split("photos", "--folds", 3, "--test", 0.1) == 0
    assert "3 classes, 30 images\nphotos_folds/fold_1: 18 training images, 9 validation" in capsys.readouterr().out
    folds, test = parts(folder / "photos_folds", 3)
    assert Counter(test.values()) == {0: 1, 1: 1, 2: 1}
    assert all(Counter(fold.values()) == {0: 3, 1: 3, 2: 3} for fold in folds)
    labels = "0 blue\n1 green\n2 red\n"
    assert (folder / "photos_folds" / "label_list.txt").read_text() == labels
    assert (folder / "photos_folds" / "fold_2" / "label_list.txt").read_text() == labels
    assert read_folds(folder / "photos_folds")[1:] == (str(folder / "photos"), 3)


@pytest.mark.parametrize(
    "arguments", [("scans.csv", "--group-by", "patient"), ("photos", "--group-pattern", r"/(p\d)_")]
)
def test_a_group_is_in_one_fold_or_in_the_test_list(folder, arguments):
    assert split(*arguments, "--folds", 4, "--test", 0.2, "--output", "folds") == 0
    folds, test = parts(folder / "folds", 4)
    patients = [{path.rsplit("/", 1)[1][:2] for path in part} for part in (*folds, test)]
    assert sorted(patient for part in patients for patient in part) == ["p0", "p1", "p2", "p3", "p4"]


def test_uneven_groups_are_never_divided_and_classes_stay_even():
    generator = np.random.default_rng(0)
    groups = np.sort(generator.integers(0, 60, 2000))
    labels = np.where(generator.random(2000) < 0.5, groups % 4, generator.integers(0, 4, 2000))
    found = assign_parts(labels, groups.tolist(), [0.1, *[0.18] * 5], seed=0)
    assert all(len(set(found[groups == group])) == 1 for group in range(60))
    for label in range(4):
        shares = np.bincount(found[labels == label], minlength=6) / (labels == label).sum()
        np.testing.assert_allclose(shares, [0.1, *[0.18] * 5], atol=0.04)


def test_the_seed_determines_the_folds(folder):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert split("photos", "--folds", 3, "--seed", seed, "--output", name) == 0
    a, b, c = ([images(folder / name / f"fold_{n}" / "val_list.txt") for n in (1, 2, 3)] for name in "abc")
    assert a == b != c


def test_copies_are_in_the_same_fold(folder):
    for number in (3, 5, 9):
        shutil.copy(folder / "photos/red/p0_0.png", folder / "photos/red" / f"p{number // 2}_{number}.png")
    assert split("photos", "--folds", 3) == 0
    folds, _ = parts(folder / "photos_folds", 3)
    copies = {f"red/p{number // 2}_{number}.png" for number in (0, 3, 5, 9)}
    assert sorted(len(copies & fold.keys()) for fold in folds) == [0, 0, 4]


def test_a_class_that_one_group_has_is_reported(folder, capsys):
    rows = [f"photos/{color}/p{n // 2}_{n}.png,{color},{color}{n % 3}" for color in CLASSES[:2] for n in range(10)]
    rows += [f"photos/red/p{n // 2}_{n}.png,red,only" for n in range(10)]
    (folder / "scans.csv").write_text("\n".join(["path,label,patient", *rows]) + "\n")
    assert split("scans.csv", "--folds", 3, "--group-by", "patient") == 0
    assert capsys.readouterr().out.count("  no validation images of red: too few groups") == 2


def test_a_parquet_list_with_columns_of_other_names(folder):
    pyarrow = pytest.importorskip("pyarrow", reason="needs ppzoo[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {"name": [], "diagnosis": [], "patient": []}
    for color in CLASSES:
        for n in range(10):
            for column, value in zip(table, (f"{color}/p{n // 2}_{n}.png", color, n // 2), strict=True):
                table[column].append(value)
    parquet.write_table(pyarrow.table(table), folder / "scans.parquet")
    columns = ("--path-column", "name", "--label-column", "diagnosis", "--image-root", "photos")
    assert split("scans.parquet", *columns, "--folds", 5, "--group-by", "patient") == 0
    folds, _ = parts(folder / "scans_folds", 5)
    assert all(Counter(fold.values()) == {0: 2, 1: 2, 2: 2} for fold in folds)


def test_a_list_without_folds_is_split_into_two_lists(folder):
    assert split("scans.csv", "--output", "lists") == 0
    train, val = (images(folder / "lists" / f"{name}_list.txt") for name in ("train", "val"))
    assert (len(train), len(val)) == (24, 6) and not train.keys() & val.keys()


def test_overwriting_removes_the_folds_that_are_no_more(folder, capsys):
    assert split("photos", "--folds", 5, "--test", 0.2) == 0
    assert split("photos", "--folds", 3) == 2
    assert "--output: 'photos_folds' has an earlier split: remove it, or use --overwrite" in capsys.readouterr().err
    assert split("photos", "--folds", 3, "--overwrite") == 0
    names = sorted(path.name for path in (folder / "photos_folds").iterdir())
    assert names == ["fold_1", "fold_2", "fold_3", "label_list.txt", "split.json"]


def test_folders_with_other_files_stay_as_they_are(folder, capsys):
    assert split("photos", "--folds", 3) == 0
    (folder / "photos_folds" / "fold_2" / "notes.txt").write_text("mine")
    assert split("photos", "--folds", 2, "--overwrite") == 2
    assert "--output: expected an empty folder, got 'photos_folds' with other files (fold_2)" in capsys.readouterr().err
    assert json.loads((folder / "photos_folds" / "split.json").read_text())["folds"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photos", "--folds", 1), "--folds: expected 2 or more, got 1"),
        (("photos", "--folds", 11), "--folds: expected at least 11 images of each class, got 10 of 'blue'"),
        (("scans.csv", "--folds", 6, "--group-by", "patient"), "--folds: expected at least 6 groups, got 5"),
        (
            ("scans.csv", "--folds", 5, "--group-by", "patient", "--test", 0.1),
            "--folds: expected at least 5 groups and one for --test, got 5",
        ),
        (("photos", "--folds", 3, "--test", 1), "--test: expected a number above 0 and below 1, got 1"),
        (("photos", "--folds", 3, "--test", "nan"), "--test: expected a number above 0 and below 1, got nan"),
        (("photos", "--folds", 3, "--test", 0.001), "--test: expected a fraction of at least one image or group"),
        (
            ("photos", "--folds", 3, "--test", 0.9),
            "--folds: expected at least 3 images of each class outside the test list, got 0 of 'blue'",
        ),
        (("photos", "--test", 0.1), "--test: expected --folds together with it"),
        (("photos", "--folds", 3, "--val", 0.1), "--val: expected either --val or --folds, got both"),
        (("photos", "--folds", 3, "--group-by", "patient"), "--group-by: expected a list file as FOLDER_OR_LIST"),
        (
            ("scans.csv", "--folds", 3, "--group-by", "patiant"),
            "--group-by: expected one of the columns 'path', 'label', 'patient', got 'patiant'",
        ),
        (
            ("scans.csv", "--folds", 3, "--label-column", "labels"),
            "--label-column: expected one of the columns 'path', 'label', 'patient', got 'labels'",
        ),
        (("photos", "--folds", 3, "--group-pattern", "("), "--group-pattern: expected a regular expression, got '('"),
        (("photos", "--folds", 3, "--group-pattern", "p"), "--group-pattern: expected parentheses around the text"),
        (
            ("photos", "--folds", 3, "--group-pattern", "(p[0-3])_"),
            "--group-pattern: expected a match in every path, got none for '(p[0-3])_' in 'blue/p4_8.png' (6 paths",
        ),
        (("photos", "--folds", 3, "--output", "."), "--output: expected an empty folder, got '.' with other files"),
        (("photos", "--folds", 3, "--output", "photos/folds"), "--output: expected a folder outside of 'photos'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(folder, capsys, arguments, message):
    before = sorted(folder.rglob("*"))
    assert split(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert sorted(folder.rglob("*")) == before
