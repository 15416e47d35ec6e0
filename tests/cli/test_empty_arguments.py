"""An empty argument, such as that of a shell variable that is not set, is refused in one line."""

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
