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
            "FOLDER_OR_LIST: expected a folder with one subfolder per class, or a list file, got 'nowhere', which does"
            " not exist",
        ),
        (
            ["models", "--summary"],
            "models: expected the name of an architecture together with --summary; `ppzoo models` lists them",
        ),
        (
            ["weights", "get", "LeNet"],
            "LeNet has no official weights; `ppzoo weights list` lists those that exist",
        ),
        (["check", "-c", "nofile"], "-c: no configuration file nofile; `ppzoo configs` lists all names"),
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
    assert error.startswith(f"error: -c: {file}, line 3: expected valid YAML, got an error ")
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["convert", "nofile", "x.pdparams", "--arch", "LeNet"],
            "IN: expected weights, got 'nofile', which does not exist (nor does nofile.pdparams)",
        ),
        (
            ["convert", "nofile", "x.txt", "--arch", "LeNet"],
            "OUT: expected a path that ends in .pdparams or .safetensors, got 'x.txt'",
        ),
        (
            ["convert", "nofile", "x.pdparams", "--arch", "Foo"],
            "--arch: unknown architecture 'Foo'; `ppzoo models` lists all names",
        ),
        (["models", "--max-params", "five"], "--max-params: expected a number above 0 such as 5M, got 'five'"),
        (["models", "--max-flops", "0"], "--max-flops: expected a number above 0 such as 0.3G, got '0'"),
        (["models", "--sort", "best"], "--sort: expected name, params, flops or top1, got 'best'"),
        (["models", "Foo"], "unknown architecture 'Foo'; `ppzoo models` lists all names"),
        (
            ["check", "-c", "lenet", "-o", "Arch.name=Foo"],
            "Arch.name: expected the name of an architecture, got 'Foo'; `ppzoo models` lists all names",
        ),
        (["check", "-c", "nothing"], "-c: no configuration file nothing; `ppzoo configs` lists all names"),
        (
            ["infer", "--weights", "nofile.safetensors", "x.png"],
            "--weights: expected weights, got 'nofile.safetensors', which does not exist",
        ),
        (
            ["check", "-c", "lenet", "-o", "Optimizer.momentum=2"],
            "Optimizer.momentum: expected a number of at least 0 and below 1, got 2",
        ),
        (["data", "check", "nothing"], "CONFIG: no configuration file nothing; `ppzoo configs` lists all names"),
        (
            ["check", "-c", "lenet", "-o", "Arch.class_num=0"],
            "Arch.class_num: expected an integer of at least 1, got 0",
        ),
        (
            ["check", "-c", "lenet", "--device", "tpu"],
            "--device: expected 'cpu', 'gpu', 'gpu:N' or 'auto', got 'tpu'",
        ),
    ],
)
def test_mistake_names_its_argument_or_key(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_requested_gpu_is_an_error_with_a_cpu_build(monkeypatch, capsys):
    monkeypatch.setattr("paddle.is_compiled_with_cuda", lambda: False)
    assert main(["check", "-c", "lenet", "--device", "gpu:3"]) == 2
    assert (
        "--device: expected cpu, since this PaddlePaddle build has no CUDA support, got gpu:3"
        in capsys.readouterr().err
    )
    assert main(["check", "-c", "lenet", "-o", "Global.device=gpu:3"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epocs", "3"], "unrecognized arguments: --epocs 3; see `ppzoo train --help`"),
        (["serve"], "the following arguments are required: EXPORT; see `ppzoo serve --help`"),
        (["infer", "--top", "x"], "argument --top: invalid int value: 'x'; see `ppzoo infer --help`"),
        (["data", "check", "x", "--a\x1b\nb"], "unrecognized arguments: --a\\u001b\\nb; see `ppzoo data check --help`"),
        ([], "the following arguments are required: COMMAND; see `ppzoo --help`"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"
