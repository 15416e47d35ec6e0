"""Messages about mistakes on the command line: one line each, which names the argument, and exit status 2."""

import pytest

from ppzoo.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "split", "{photos}", "--val", "2"], "--val: expected a number above 0 and below 1, got 2"),
        (["data", "split", "{photos}", "--seed", "-1"], "--seed: expected an integer of at least 0, got -1"),
        (
            ["data", "split", "nowhere"],
            "FOLDER: expected a folder with one subfolder per class, got 'nowhere'",
        ),
        (
            ["models", "--summary"],
            "models: expected the name of an architecture together with --summary; `ppzoo models` lists them",
        ),
        (
            ["weights", "get", "LeNet"],
            "LeNet has no official weights; `ppzoo weights list` lists those that exist",
        ),
        (["check", "-c", "nofile"], "no configuration file nofile; `ppzoo configs` lists all names"),
        (
            ["check", "-c", "lenet", "-o", "Loss.Train.7.CELoss.weight=2"],
            "-o Loss.Train.7: Loss.Train is a list; expected index 0, got '7'",
        ),
    ],
)
def test_mistake_is_reported_in_one_line(photos, capsys, arguments, message):
    assert main([argument.format(photos=photos) for argument in arguments]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_invalid_yaml_names_its_line_and_what_to_check(tmp_path, capsys):
    file = tmp_path / "bad.yaml"
    file.write_text("Global:\n  epochs: 3\n epochs: 4\n")
    assert main(["check", "-c", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}, line 3: expected valid YAML, got an error ")
    assert error.endswith("; check the indentation, quotes and colons\n")


def test_same_mistake_in_training_and_evaluation_is_reported_once(capsys):
    lines = [
        "check",
        "-c",
        "lenet",
        "-o",
        "Optimizer.weight_decay=1",
        "-o",
        "Optimizer.regularizer={name: L2, coeff: 1}",
    ]
    assert main(lines) == 2
    assert capsys.readouterr().err.count("\n") == 1
