"""Messages about mistakes on the command line: one line each, which names the argument, and exit status 2."""

import shutil
from pathlib import Path

import pytest

from ppzoo.cli import build_parser, main
from ppzoo.data.index import read_list
from ppzoo.errors import DataError


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "-c", "photos"],
            "-c: expected a YAML file or the name of a configuration, got the folder photos; `ppzoo train --arch NAME"
            " --data photos` trains on images in a folder",
        ),
        (
            ["check", "-c", "output/LeNet"],
            "-c: expected a YAML file or the name of a configuration, got the folder output/LeNet; use"
            " output/LeNet/config.yaml",
        ),
        (
            ["data", "check", "photos/red/0.png"],
            "CONFIG: photos/red/0.png: expected YAML in UTF-8, got other bytes; use a YAML file, or save this one as"
            " UTF-8",
        ),
        (
            ["check", "-c", "lenet", "-o", "Global=5"],
            "Global: expected a mapping with keys such as epochs, device, native, got 5",
        ),
        (
            ["check", "-c", "lenet", "-o", "Arch=ResNet18"],
            "Arch: expected a mapping with the name of an architecture and its options, got 'ResNet18'; set Arch.name"
            " to 'ResNet18'",
        ),
        (
            ["check", "-c", "lenet", "-o", "Loss.Train=[{CrossEntropy: null}]"],
            "Loss.Train.0.CrossEntropy: expected the name of a loss, got 'CrossEntropy'; did you mean 'CELoss'?",
        ),
        (
            ["check", "-c", "lenet", "-o", "Metric.Eval[0].TopkAcc.topk=[1]"],
            "-o Metric.Eval[0]: expected an index after a dot; write Metric.Eval.0",
        ),
        (
            ["check", "-c", "lenet", "-o", "Global.use_gpu=True"],
            "Global.use_gpu: unknown key, remove it: PaddleClas 2 does not read it; Global.device selects the device",
        ),
        (
            ["check", "-c", "lenet", "-o", "use_gpu=True"],
            "use_gpu: unknown key, remove it: PaddleClas 2 does not read it; Global.device selects the device",
        ),
        (
            ["check", "-c", "lenet", "-o", "Loss.Train={CELoss: null}"],
            "Loss.Train: expected a list of mappings {Name: options}, got the keys 'CELoss'; write '- ' before each"
            " name",
        ),
        (
            [
                "train",
                "-c",
                "lenet",
                "-o",
                "DataLoader.Eval.dataset={name: ImageFolder, image_root: photos/red/0.png}",
            ],
            "DataLoader.Eval.dataset.image_root: expected a folder of images, got 'photos/red/0.png', which is a file",
        ),
        (
            ["eval", "exported"],
            "RUN_FOLDER: expected a folder in which training wrote config.yaml, got the export exported;"
            " use the folder of a run, such as output/LeNet",
        ),
        (
            ["infer", "half", "photos"],
            "RUN_FOLDER or EXPORT_FOLDER: expected a folder with config.yaml (a run) or inference.yml (an export), got"
            " an export without inference.yml: half; use a folder that `ppzoo train` or `ppzoo export` wrote",
        ),
        (
            ["explain", "photos", "photos"],
            "RUN_FOLDER or EXPORT_FOLDER: expected a folder with config.yaml (a run) or inference.yml (an export), got"
            " photos; use a folder that `ppzoo train` or `ppzoo export` wrote",
        ),
        (
            ["serve", "output/LeNet"],
            "output/LeNet: expected the folder of an export (inference.yml, and inference.json or .pdmodel with"
            " inference.pdiparams, or inference.onnx, or inference.xml), got the folder of a run; `ppzoo export` writes"
            " an export",
        ),
        (["serve", "half", "--token-file", "none"], "--token-file: cannot read none: No such file or directory"),
        (
            ["data", "split", "table.xlsx"],
            "FOLDER_OR_LIST: expected a list file (.txt, .csv or .parquet), got 'table.xlsx'; save the table as CSV in"
            " UTF-8",
        ),
        (
            ["data", "split", "photos", "--folds", "20"],
            "--folds: expected at least 20 images of each class, got 10 of 'blue' (and too few of 2 other classes): use"
            " fewer folds or add images",
        ),
        (
            ["convert", "photos/red/0.png", "x.pdparams", "--arch", "LeNet"],
            "IN: photos/red/0.png: expected weights (.pdparams, .safetensors, .npz or PyTorch's .pth), got a PNG image",
        ),
        (
            ["convert", "model.onnx", "x.pdparams", "--arch", "LeNet"],
            "IN: model.onnx: expected weights (.pdparams, .safetensors, .npz or PyTorch's .pth), got an ONNX model",
        ),
        (
            ["convert", "output/LeNet/latest.pdopt", "x.pdparams", "--arch", "LeNet"],
            "IN: expected weights, got training state: output/LeNet/latest.pdopt; use output/LeNet/latest.pdparams",
        ),
        (
            ["convert", "model.onnx", "./model.onnx", "--arch", "LeNet"],
            "OUT: expected a file other than IN, got './model.onnx' for both",
        ),
        (
            ["models", "--summary", "Mobile*"],
            "models: expected the name of an architecture together with --summary, got the pattern 'Mobile*';"
            " `ppzoo models` lists them",
        ),
        (
            ["models", "LeNet", "--summary", "--in-channels", "0"],
            "--in-channels: expected an integer from 1 to 1024, got 0",
        ),
        (
            ["models", "LeNet", "--in-channels", "4"],
            "--in-channels: expected it together with --summary and the name of an architecture, got no --summary",
        ),
        (
            ["data", "split", "photos/red/0.png"],
            "FOLDER_OR_LIST: expected a folder with one subfolder per class, or a list file, got the image"
            " 'photos/red/0.png'",
        ),
        (
            ["data", "split", "photos", "--output", "model.onnx"],
            "--output: expected a folder, got the file 'model.onnx'",
        ),
        (
            ["data", "split", "照片 folder"],
            "FOLDER_OR_LIST: cannot split 1 image: expected a class with two images that are not copies of each"
            " other, found none; add images",
        ),
        (
            ["train", "--arch", "LeNet", "--data", "空"],
            "--data: expected images in 空/CLASS/, got '空', which has no class folders",
        ),
        (
            ["train", "--arch", "LeNet", "--data", "照片 folder"],
            "--data: expected images of two classes or more, got one class in 照片 folder",
        ),
        (
            ["train", "--arch", "LeNet", "--data", "link"],
            "--data: expected a folder of images or a list file, got 'link', which cannot be accessed (Too"
            " many levels of symbolic links)",
        ),
        (
            ["configs", "lenet", "--copy", "no/x.yaml"],
            "--copy: cannot write no/x.yaml: there is no folder no; create it",
        ),
        (["check", "-c", "nowhere.yaml"], "-c: no configuration file nowhere.yaml; `ppzoo configs` lists all names"),
        (
            ["infer", "exported", "photos", "--output", "model.onnx/x.csv"],
            "--output: expected a file in a folder, got model.onnx/x.csv: {cwd}/model.onnx is not a folder",
        ),
        (
            ["infer", "exported", "photos", "--output", "x.csv", "--sort-into", "photos/sub"],
            "--sort-into: expected a folder that is not in photos and does not contain it, got photos/sub",
        ),
        (
            ["infer", "exported", "photos", "photos", "--output", "x.csv"],
            "infer: expected one folder of images, one video file or the number of a camera with --output, got 2"
            " arguments",
        ),
        (
            ["serve", "exported", "exported"],
            "EXPORT: expected different names, got 'exported' twice; use NAME=FOLDER",
        ),
        (["serve", "exported", "--port", "99999"], "--port: expected 0 to 65535, got 99999"),
        (["compare", "output/LeNet"], "compare: expected two runs or more, got 1"),
        (
            ["compare", "output/LeNet", "exported"],
            "RUN_FOLDER: expected a folder in which training wrote config.yaml, got the export exported;"
            " use the folder of a run, such as output/LeNet",
        ),
        (
            ["board", "empty.yaml"],
            "RUNS: expected folders of runs, such as output/LeNet, got a file: empty.yaml",
        ),
        (
            ["migrate", "空"],
            "SOURCE: expected YAML files or the train.log of a run in 空, got neither",
        ),
        (
            ["check", "-c", "empty.yaml"],
            "-c: empty.yaml: expected a mapping of sections such as Global and Arch, got nothing",
        ),
        (
            ["embed", "output/LeNet", "photos", "--output", "x.csv"],
            "--output: expected a file with a name that ends in .npz, got 'x.csv'",
        ),
        (["models", "*Foo*"], "models: no architecture matches '*Foo*'; `ppzoo models` lists all names"),
        (
            ["embed", "output/LeNet", "photos", "--like", "photos/red"],
            "--like: expected an image, got 'photos/red', which is a folder",
        ),
        (
            ["lr-find", "-c", "lenet", "--output", "model.onnx"],
            "--output: expected a folder, got the file model.onnx",
        ),
        (
            ["check", "-c", "lenet", "-o", "Global:epochs=3"],
            "-o: expected KEY.PATH=VALUE, such as Global.epochs=10, got 'Global:epochs=3'",
        ),
        (
            ["infer", "exported", "photos", "--output", "x.csv", "--sort-into", "model.onnx"],
            "--sort-into: expected a folder, got the file model.onnx; use another path",
        ),
        (["serve", "=exported"], "EXPORT: expected a name, got ''; use NAME=FOLDER"),
        (
            ["check", "-c", "lenet", "-o", "Loss.Train.0.FocalLoss.gamma=1"],
            "-o Loss.Train.0.FocalLoss: Loss.Train.0 is CELoss; write Loss.Train.0.CELoss.OPTION to set its options",
        ),
        (
            ["train", "-c", "lenet", "-o", "Global.checkpoints=nowhere"],
            "Global.checkpoints: expected a checkpoint, such as output/LeNet/latest, or auto, got 'nowhere', which does"
            " not exist",
        ),
        (
            ["infer", "--weights", "damaged.safetensors", "photos"],
            "--weights: damaged.safetensors: expected safetensors, got a damaged or other file; restore or download it",
        ),
    ],
)
def test_mistake_of_a_beginner_is_one_line_and_writes_nothing(
    photos, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    for file in ("exported/inference.yml", "half/inference.json", "output/LeNet/config.yaml"):
        path = Path(file)
        path.parent.mkdir(parents=True)
        path.touch()
    Path("output/LeNet/latest.pdopt").touch()
    Path("model.onnx").write_bytes(b"\x08\x07")
    Path("damaged.safetensors").write_bytes(b"\xff" * 50)
    Path("table.xlsx").write_bytes(b"PK\x03\x04")
    Path("empty.yaml").touch()
    Path("link").symlink_to("link")
    Path("空").mkdir()
    shutil.copytree("photos/red", "照片 folder/猫", ignore=lambda folder, names: set(names) - {"0.png"})
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"error: {message.replace('{cwd}', str(tmp_path))}\n"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("1.ResizeImage.size=0", "1.ResizeImage.size: expected a positive integer or [width, height], got 0"),
        ("2.NormalizeImage.std=[0, 1, 1]", "2.NormalizeImage.std: expected no value of 0, got [0, 1, 1]"),
    ],
)
def test_check_reports_an_option_out_of_range_once(capsys, override, message):
    path = "DataLoader.Train.dataset.transform_ops"
    ops = "[{DecodeImage: null}, {ResizeImage: {size: 32}}, {NormalizeImage: null}]"
    assert main(["check", "-c", "lenet", "-o", f"{path}={ops}", "-o", f"{path}.{override}"]) == 2
    assert capsys.readouterr().err == f"error: {path}.{message}\n"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("red/0.png,0", ", or set dataset.delimiter to ','"),
        ("red/0.png;0", ", or set dataset.delimiter to ';'"),
        ("a", ""),
    ],
)
def test_line_with_another_delimiter_names_the_key(tmp_path, line, fix):
    file = tmp_path / "list.txt"
    file.write_text(f"{line}\n")
    with pytest.raises(DataError) as error:
        read_list(file)
    assert str(error.value).endswith(f"expected a path, a space and a label, got {line!r}: correct the line{fix}")


@pytest.mark.parametrize(
    ("command", "fix"),
    [
        (["data", "split", "paths.csv"], "name it with --path-column, or add a header"),
        (["data", "split", "labels.csv", "--folds", "2"], "name it with --label-column, or add a header"),
        (["data", "split", "commas.txt"], "or save the list as .csv with the header 'path,label'"),
        (["data", "split", "labels.csv", "--label-column", "x"], "expected one of the columns 'path', 'kind', got 'x'"),
        (
            ["data", "split", "commas.txt", "--path-column", "x"],
            "--path-column: expected a .csv or .parquet list, got 'commas.txt', which has no columns",
        ),
        (
            ["data", "split", "labels.csv", "--label-column", "kind", "--image-root", "no"],
            "--image-root: expected a folder of images, got 'no', which is not a folder",
        ),
        (["train", "--arch", "LeNet", "--data", "paths.csv"], "rename the column, or add a header"),
        (["train", "--arch", "LeNet", "--data", "commas.txt"], "or save the list as .csv with the header 'path,label'"),
    ],
)
def test_list_on_the_command_line_is_fixed_without_a_configuration(tmp_path, monkeypatch, capsys, command, fix):
    monkeypatch.chdir(tmp_path)
    lists = {"paths.csv": "img,label\na.png,x\n", "labels.csv": "path,kind\na.png,x\n", "commas.txt": "a.png,0\n"}
    for name, text in lists.items():
        Path(name).write_text(text)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"{fix}\n") and "dataset." not in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(lists)


def test_classes_without_names_are_explained(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("red/0.png 0\nblue/0.png 1\n")
    ops = '[{DecodeImage: null}, {ResizeImage: {size: 32}}, {NormalizeImage: {order: ""}}]'
    datasets = {
        "Train": f"{{name: ImageNetDataset, cls_label_path: list.txt, image_root: {photos}, transform_ops: {ops}}}",
        "Eval": f"{{name: ImageFolder, image_root: {photos}, transform_ops: {ops}}}",
    }
    options = [part for key, text in datasets.items() for part in ("-o", f"DataLoader.{key}.dataset={text}")]
    assert main(["train", "-c", "lenet", *options, "-o", "DataLoader.Train.sampler.drop_last=false"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(
        "error: DataLoader.Eval.dataset: cannot match 3 class names (blue, green, red) with the 10 classes of the"
        " training data, whose names are unknown: set Global.class_names to their names in the order of the class"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt"]


def test_invalid_yaml_names_its_line_and_what_to_check(tmp_path, capsys):
    file = tmp_path / "bad.yaml"
    file.write_text("Global:\n  epochs: 3\n epochs: 4\n")
    assert main(["check", "-c", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: -c: {file}, line 3: expected valid YAML, got an error ")
    assert error.endswith("; check the indentation, quotes and colons\n")
    file.write_text("Arch: name: LeNet\n")
    assert main(["check", "-c", str(file)]) == 2
    assert ", got an error while parsing a block mapping: " in error
    assert "line 1: expected valid YAML, got an error: mapping values are not allowed here; " in capsys.readouterr().err


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
        (
            ["models", "*Net*", "--max-params", "5", "--family", "resnet"],
            "models: no architecture matches '*Net*', --family resnet, --max-params 5; `ppzoo models` lists all",
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
        (
            ["train", "--epochs", "3"],
            "unrecognized arguments: --epochs 3; keys of the configuration are set with -o, such as -o"
            " Global.epochs=10; see `ppzoo train --help`",
        ),
        (
            ["train", "--devise=cpu"],
            "unrecognized arguments: --devise=cpu; did you mean --device?; see `ppzoo train --help`",
        ),
        (["models", "--famly"], "unrecognized arguments: --famly; did you mean --family?; see `ppzoo models --help`"),
        (["doctor", "--verbose"], "unrecognized arguments: --verbose; see `ppzoo doctor --help`"),
        (
            ["train", "lenet"],
            "unrecognized arguments: lenet; write -c before the name of a configuration: -c lenet; see `ppzoo train"
            " --help`",
        ),
        (
            ["train", "-c", "lenet", "Global.epochs=3"],
            "unrecognized arguments: Global.epochs=3; keys of the configuration are set with -o: -o Global.epochs=3;"
            " see `ppzoo train --help`",
        ),
        (["train", "-c", "lenet", "mobilenet"], "unrecognized arguments: mobilenet; see `ppzoo train --help`"),
        (
            ["data", "check", "-c", "lenet"],
            "unrecognized arguments: -c; write the configuration without -c; see `ppzoo data check --help`",
        ),
        (["migrate", "a", "="], "unrecognized arguments: =; see `ppzoo migrate --help`"),
        (["serve"], "the following arguments are required: EXPORT; see `ppzoo serve --help`"),
        (["infer", "--top", "x"], "argument --top: expected an integer, got 'x'; see `ppzoo infer --help`"),
        (["lr-find", "--max", "x"], "argument --max: expected a number, got 'x'; see `ppzoo lr-find --help`"),
        (
            ["data", "check", "x", "--a\x1b\nb"],
            "unrecognized arguments: --a\\u001b\\nb; keys of the configuration are set with -o, such as -o"
            " Global.epochs=10; see `ppzoo data check --help`",
        ),
        (
            ["train", "--Global.epochs=3"],
            "unrecognized arguments: --Global.epochs=3; keys of the configuration are set with -o: -o Global.epochs=3;"
            " see `ppzoo train --help`",
        ),
        (
            ["train", "-o", "Global.epochs", "=", "3"],
            "unrecognized arguments: = 3; write -o KEY.PATH=VALUE without spaces around =; see `ppzoo train --help`",
        ),
        (
            ["infer", "run", "-o", "Global.epochs", "=", "3"],
            "unrecognized arguments: = 3; write -o KEY.PATH=VALUE without spaces around =; see `ppzoo infer --help`",
        ),
        (
            ["export", "run", "--max-drop", "x"],
            "argument --max-drop: expected a number from 0 to 1, got 'x'; see `ppzoo export --help`",
        ),
        (
            ["export", "run", "--format", "tensorrt"],
            "argument --format: invalid choice: 'tensorrt' (choose from 'paddle', 'onnx', 'openvino', 'safetensors');"
            " did you mean 'safetensors'?; see `ppzoo export --help`",
        ),
        (
            ["train", "-c", "lenet", "-o", "Loss.Train=[{CELoss:", "null}]"],
            "unrecognized arguments: null}]; put quotes around a value of -o that contains spaces: -o"
            " 'Loss.Train=[{CELoss: null}]'; see `ppzoo train --help`",
        ),
        (
            ["train", "-c", "lenet", "-o", "Global.class_names=[a,", "b", "--quiet"],
            "unrecognized arguments: b; put quotes around a value of -o that contains spaces: -o 'KEY.PATH=VALUE'; see"
            " `ppzoo train --help`",
        ),
        (
            ["train", "-c", "lenet", "-o", "Global.epochs", "3"],
            "unrecognized arguments: 3; write -o Global.epochs=3; see `ppzoo train --help`",
        ),
        (
            ["eval", "output/LeNet", "output/ResNet18"],
            "unrecognized arguments: output/ResNet18; expected a single RUN_FOLDER; see `ppzoo eval --help`",
        ),
        (["trian"], "argument COMMAND: invalid choice: 'trian'; did you mean 'train'?; see `ppzoo --help`"),
        ([], "the following arguments are required: COMMAND; see `ppzoo --help`"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "key", "expected"),
    [
        (["infer", "RUN", "--json", "a.png", "--quiet", "b.png"], "inputs", ["RUN", "a.png", "b.png"]),
        (["infer", "RUN", "--output", "x.csv", "~/photos"], "inputs", ["RUN", str(Path("~/photos").expanduser())]),
        (["serve", "a", "--port", "1", "b=c"], "exports", ["a", "b=c"]),
    ],
)
def test_a_list_of_arguments_continues_after_options(arguments, key, expected):
    assert getattr(build_parser().parse_args(arguments), key) == expected


def test_a_missing_checkpoint_is_reported_before_data_and_operators_are_prepared(monkeypatch, capsys):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("ppzoo.builders.training.load_training_data", fail)
    monkeypatch.setattr("ppzoo.native.set_mode", fail)
    assert main(["train", "-c", "lenet", "--resume", "nowhere/latest"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        "error: --resume: expected a checkpoint (nowhere/latest.pdparams, .pdopt and .pdstates), but"
        " nowhere/latest.pdparams does not exist; use --resume auto for the newest one of the run, if any"
    )


def test_a_missing_file_of_class_names_is_reported_with_its_key(run_folder, photos, capsys):
    override = "Infer.PostProcess.class_id_map_file=ppcls/utils/PULC_label_list/none.txt"
    assert main(["infer", str(run_folder), str(photos), "--device", "cpu", "-o", override]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: Infer.PostProcess.class_id_map_file: cannot read the label file 'ppcls/utils/PULC_")
