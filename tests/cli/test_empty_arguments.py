"""Empty arguments, such as those of shell variables that are not set, and NUL characters are refused in one line."""

import pytest

from ppzoo.cli import main


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["train", "-c", "lenet", "--resume", ""], "--resume"),
        (["train", "-c", "lenet", "--device", ""], "--device"),
        (["train", "-c", "lenet", "-o", ""], "-o/--override"),
        (["train", "-c", ""], "-c/--config"),
        (["train", "--arch", "LeNet", "--data", ""], "--data"),
        (["infer", "--weights", "", "photo.png"], "--weights"),
        (["migrate", ""], "SOURCE"),
        (["report", ""], "RUN_FOLDER|EXPORT_FOLDER"),
        (["report", "output/LeNet", "--output", ""], "--output"),
        (["infer", "output/LeNet", ""], "IMAGE"),
        (["configs", "lenet", "--copy", ""], "--copy"),
    ],
)
def test_empty_arguments_are_refused(tmp_path, monkeypatch, capsys, arguments, option):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    expected = f"error: argument {option}: expected a value, got an empty text; see `ppzoo {arguments[0]} --help`\n"
    assert capsys.readouterr().err == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["train", "-c", "lenet", "--resume"], "--resume"),
        (["infer", "output/LeNet", "photos", "--output"], "--output"),
        (["infer", "output/LeNet", "photos", "--output", "x.csv", "--sort-into"], "--sort-into"),
        (["explain", "output/LeNet", "photo.png", "--output"], "--output"),
        (["embed", "output/LeNet", "photos", "--output"], "--output"),
        (["report", "output/LeNet", "--output"], "--output"),
        (["compare", "output/LeNet", "other", "--output"], "--output"),
        (["convert", "--arch", "LeNet", "a.pdparams"], "OUT"),
        (["data", "split", "photos", "--output"], "--output"),
        (["lr-find", "-c", "lenet", "--output"], "--output"),
        (["profile", "-c", "lenet", "--output"], "--output"),
        (["serve"], "EXPORT"),
    ],
)
def test_nul_characters_are_refused(tmp_path, monkeypatch, capsys, arguments, option):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([*arguments, "a\0b"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"error: argument {option}: expected a value, got 'a\\x00b', which contains a NUL character;"
    )
    assert not list(tmp_path.iterdir())
