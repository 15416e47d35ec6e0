"""The check reports all mistakes of a configuration, one line each with its key path and a suggestion."""

import copy
from pathlib import Path

import pytest
import yaml
from helpers import reference

from ppzoo import builders
from ppzoo.config import (
    AmpConfig,
    Component,
    Config,
    GlobalConfig,
    LoaderConfig,
    check,
    check_files,
    known_keys,
    load,
    parse_log_ranks,
)
from ppzoo.config.type_checks import accepts
from ppzoo.config.unsupported import unsupported_name
from ppzoo.errors import ConfigFileError

PADDLECLAS = Path(__file__).parent.parent / "fixtures" / "paddleclas_mobilenet_v2_x0_5.yaml"
OPS = "DataLoader.Train.dataset.transform_ops"
KNOWN_OF_ARCH = (
    "; known keys of MobileNetV2_x0_5: class_num, data_format, freeze, in_channels, infer_add_softmax,"
    " infer_output_key, name, pretrained, use_ssld, use_sync_bn"
)


@pytest.fixture
def lines(components):
    def lines(*overrides, task="train"):
        return check(load(PADDLECLAS, overrides), components, task)

    return lines


def test_paddleclas_configuration_has_no_mistakes(lines):
    assert lines() == []


@pytest.mark.parametrize(
    ("override", "path", "text"),
    [
        ("Global.epohcs=3", "Global.epohcs", "unknown key; did you mean Global.epochs?"),
        ("epochs=3", "epochs", "unknown key; did you mean Global.epochs?"),
        (
            "Metric.Eval=[{TopkAcc: {topk:5}}]",
            "Metric.Eval.0.TopkAcc.topk:5",
            "unknown key; write a space after the colon: 'topk: 5'",
        ),
        (
            "Optimizer.learning_rate=0.1",
            "Optimizer.learning_rate",
            "unknown key; did you mean Optimizer.lr.learning_rate?",
        ),
        (
            "Global.class_num=10",
            "Global.class_num",
            "unknown key; did you mean Arch.class_num?",
        ),
        (
            "Loss.Train.0.CELoss.epsilonn=0.1",
            "Loss.Train.0.CELoss.epsilonn",
            "unknown key; did you mean Loss.Train.0.CELoss.epsilon?",
        ),
        ("Arch.class_num=ten", "Arch.class_num", "expected an integer, got 'ten'"),
        (
            "Arch.class_num='10'",
            "Arch.class_num",
            "expected an integer, got '10'; did you mean 10, without quotes?",
        ),
        ("Arch.class_num=1e1", "Arch.class_num", "expected an integer, got 10.0; did you mean 10?"),
        ("Arch.class_num=true", "Arch.class_num", "expected an integer, got true"),
        ("Arch.class_num=null", "Arch.class_num", "expected an integer, got null"),
        ("Arch.class_num=[1]", "Arch.class_num", "expected an integer, got the list [1]"),
        (
            "Arch.infer_add_softmax='false'",
            "Arch.infer_add_softmax",
            "expected true or false, got 'false'; did you mean false, without quotes?",
        ),
        (
            "Arch.data_format=nhwc",
            "Arch.data_format",
            "expected one of 'NCHW', 'NHWC', got 'nhwc'; did you mean 'NHWC'?",
        ),
        ("Arch.scale=0.5", "Arch.scale", "unknown key" + KNOWN_OF_ARCH),
        (
            "Arch.name=MobileNet_V2",
            "Arch.name",
            "expected the name of an architecture, got 'MobileNet_V2'; did you mean 'MobileNetV2'?",
        ),
        (
            "Arch=ResNet50",
            "Arch",
            "expected a mapping with the name of an architecture and its options, got 'ResNet50'; set Arch.name to"
            " 'ResNet50'",
        ),
        ("Global.output_dir=", "Global.output_dir", "expected a path, got null"),
        ("Global.output_dir=null", "Global.output_dir", "expected a path, got null"),
        (
            "Global.checkpoints=None",
            "Global.checkpoints",
            "expected a path or null, got 'None'; did you mean null?",
        ),
        ("Global.device=cuda", "Global.device", "expected 'auto', 'cpu', 'gpu' or 'gpu:N', got 'cuda'"),
        ("Global.epochs=0", "Global.epochs", "expected an integer of at least 1 or null, got 0"),
        (
            "Global.image_shape=[3,224]",
            "Global.image_shape",
            "expected three sizes of at least 1, [channels, height, width], got the list [3, 224]",
        ),
        (
            "Global.image_channel=4",
            "Global.image_channel",
            "expected the channels of Global.image_shape (3), got 4",
        ),
        ("AMP.level=O3", "AMP.level", "expected one of 'O1', 'O2', got 'O3'"),
        ("Loss.Train=CELoss", "Loss.Train", "expected a list of mappings {Name: options}, got 'CELoss'"),
        (
            "Loss.Train.0=CELoss",
            "Loss.Train.0",
            "expected one mapping {Name: options}, got 'CELoss'; did you mean 'CELoss:', with a colon?",
        ),
        (
            "Loss.Train.0={CELoss: null, weight: 1.0}",
            "Loss.Train.0",
            "expected one mapping {Name: options}, got the keys 'CELoss, weight'; indent the options below CELoss",
        ),
        (
            "Loss.Train.0={CEloss: null}",
            "Loss.Train.0.CEloss",
            "expected the name of a loss, got 'CEloss'; did you mean 'CELoss'?",
        ),
        ("Loss.Train.0.CELoss=3", "Loss.Train.0.CELoss", "expected a mapping of options or null, got 3"),
        ("Loss.Train=[]", "Loss.Train", "expected a list of losses, got an empty list; required to train"),
        (
            "Global.epochs=null",
            "Global.epochs",
            "expected the number of epochs, got nothing; required to train",
        ),
        ("Optimizer=null", "Optimizer", "expected an optimizer, got nothing; required to train"),
        ("Optimizer.lr={name: Cosine}", "Optimizer.lr.learning_rate", "expected a number, got nothing"),
        (
            "Optimizer.lr.epochs=3",
            "Optimizer.lr.epochs",
            "unknown key; did you mean Global.epochs?",
        ),
        (
            "Optimizer.lr.eta_min=240",
            "Optimizer.lr.eta_min",
            "expected less than learning_rate (0.1), got 240",
        ),
        (
            "DataLoader.Train.sampler={}",
            "DataLoader.Train.sampler.batch_size",
            "expected an integer of at least 1, got nothing",
        ),
        (
            "Global.class_names=names.txt",
            "Global.class_names",
            "expected a list of non-empty text or null, got 'names.txt'; write the list itself, such as [cat, dog], not"
            " the name of a file",
        ),
        (
            "Global.class_names=cat, dog",
            "Global.class_names",
            'expected a list of non-empty text or null, got \'cat, dog\'; did you mean ["cat", "dog"]?',
        ),
        (
            "DataLoader.Train.loader=4",
            "DataLoader.Train.loader",
            "expected a mapping of num_workers, use_shared_memory, got 4",
        ),
        (
            f"{OPS}.3.NormalizeImage.mean=0.5",
            f"{OPS}.3.NormalizeImage.mean",
            "expected a list of numbers or null, got 0.5; did you mean [0.5]?",
        ),
        (
            f"{OPS}.3.NormalizeImage.mean.1=x",
            f"{OPS}.3.NormalizeImage.mean.1",
            "expected a number, got 'x'",
        ),
        (
            f"{OPS}.2.RandFlipImage.flip_code=2",
            f"{OPS}.2.RandFlipImage.flip_code",
            "expected one of -1, 0, 1, got 2",
        ),
        (
            "Infer.transforms.1.ResizeImage={size: [1, 2, 3]}",
            "Infer.transforms.1.ResizeImage.size",
            "expected an integer, a list of 2 integers or null, got the list [1, 2, 3]",
        ),
        (
            "Global.epo\\tchs=1",
            "Global.epo\\tchs",
            "unknown key; did you mean Global.epochs?",
        ),
    ],
)
def test_mistakes_are_reported(lines, override, path, text):
    assert lines(override) == [f"{path}: {text}"]


@pytest.mark.parametrize(
    "override",
    [
        "Global.device=gpu:1",
        "Global.seed=0",
        "Arch.pretrained=true",
        "Arch.pretrained=weights/a",
        "Optimizer.lr.learning_rate=1",
        "Optimizer.regularizer=null",
        "Loss.Train.0.CELoss=null",
        "Loss.Eval=null",
        "Metric=null",
        "Metric.Train=null",
        "DataLoader.Eval=null",
        "DataLoader.Train.loader=null",
        f"{OPS}.3.NormalizeImage.scale=0.00392157",
        f"{OPS}=null",
        "AMP=null",
        "EMA=null",
        "Infer=null",
        "Global.to_static=true",
        "Global.on_nan=rollback",
        "Global.deterministic=true",
        "Global.use_dali=true",
        "Global.eval_mode=classification",
        "AMP={level: O2, dtype: bfloat16}",
        "EMA={decay: 0.9999, warmup: false}",
        "Global.update_freq=4",
        "Global.iter_per_epoch=12",
        "Global.iter_per_epoch=null",
        "Global.early_stopping={patience: 3}",
        "Global.early_stopping=null",
        "Arch.freeze=true",
        "Arch.freeze=['conv1.*']",
        "DataLoader.Train.dataset.batch_transform_ops=null",
    ],
)
def test_valid_values_are_accepted(lines, override):
    assert lines(override) == []


FIXED = [(GlobalConfig, "Global."), (AmpConfig, "AMP."), (LoaderConfig, "DataLoader.Train.loader.")]


@pytest.mark.parametrize(("section", "prefix"), FIXED)
def test_keys_and_values_of_paddleclas_files_are_known(section, prefix):
    known = known_keys(section)
    for path, facts in reference.read_json("config_schema.json").items():
        if path.startswith(prefix):
            hint = known[path.removeprefix(prefix)].hint
            assert all(accepts(example, hint) for example in facts["examples"]), path


def test_a_key_in_the_wrong_place_of_the_evaluation_data(lines):
    assert lines("DataLoader.Eval.batch_size=4") == [
        "DataLoader.Eval.batch_size: unknown key; did you mean DataLoader.Eval.sampler.batch_size?"
    ]


def test_an_option_of_the_other_splits_dataset_is_not_suggested(components):
    def digits(*, mode: str = "train"): ...

    components["dataset"]["Digits"] = Component.of(digits, (), "Digits")
    overrides = ["DataLoader.Train.dataset.mode=train", "DataLoader.Eval.dataset.name=Digits"]
    found = check(load(PADDLECLAS, overrides), components, "train")
    (line,) = (line for line in found if line.startswith("DataLoader.Train.dataset.mode: "))
    assert line.startswith(
        "DataLoader.Train.dataset.mode: unknown key; known keys of ImageNetDataset: batch_transform_ops, cache,"
    )


def test_all_mistakes_are_reported_at_once(lines):
    found = lines(
        "Global.epohcs=3",
        "Arch.class_num=ten",
        "Loss.Train.0.CELoss.epsilon=x",
        "Global.feature_normalize=true",
        "EMA.decay=1.5",
    )
    assert [line.split(":")[0] for line in found] == [
        "Global.feature_normalize",
        "Global.epohcs",
        "Arch.class_num",
        "Loss.Train.0.CELoss.epsilon",
        "EMA.decay",
    ]


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("Global.eval_mode=retrieval", "Global.eval_mode: retrieval and feature models"),
        (
            "Arch={name: RecModel, Backbone: {name: MobileNetV1}, Head: {name: FC}}",
            "Arch.name: retrieval and feature models",
        ),
        (
            "DataLoader.Eval={Query: {dataset: {name: VeriWild}}, Gallery: null}",
            "DataLoader.Eval.Query: retrieval and feature",
        ),
        ("TRAIN={batch_size: 20}", "TRAIN: configurations of PaddleClas 1.x"),
        ("Slim={quant: {name: pact}}", "Slim: pruning and quantization in training are not supported"),
        ("Global.ema={enable: true, decay: 0.99}", "Global.ema: write the section EMA"),
        ("Global.AMP={scale_loss: 128.0}", "Global.AMP: write the section AMP"),
    ],
)
def test_unsupported_features_are_reported(lines, override, start):
    (found,) = lines(override)
    assert found.startswith(start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Global: {inference_model_dir: models, use_gpu: true}", "configurations of PaddleClas's deploy/configs"),
        ("Global: {det_inference_model_dir: models}", "retrieval and feature models"),
        ("Arch: {name: LeNet}\nPreProcess: {transform_ops: []}", "settings of an export (inference.yml)"),
        ("Global: {model: PP-LCNet_x1_0}\nTrain: {num_classes: 4}", "configurations of PaddleX"),
    ],
)
def test_files_that_train_nothing_are_refused_in_one_line(text, message, components):
    (found,) = check(yaml.safe_load(text), components)
    assert message in found


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ResNeXt101_64x4d",
            "DarkNet53",
            "MobileNeXt_x1_0",
            "MixNet_S",
            "EfficientNetV2_S",
            "SVTR_tiny",
            "WideResNet",
        ),
        *("ResNet50_last_stage_stride1", "VGG19Sigmoid", "PPLCNetV2_base_ShiTu", "cae_base_patch16_224"),
    ],
)
def test_another_network_of_paddleclas_is_not_taken_for_a_misspelled_one(lines, name):
    (found,) = lines(f"Arch.name={name}")
    assert found.endswith("ppzoo does not have this network of PaddleClas, choose one that `ppzoo models` lists")


def test_no_component_of_ppzoo_is_taken_for_an_unsupported_one():
    """Otherwise its misspelled name would be reported as one that ppzoo does not have."""
    every = builders.components().items()
    assert not [name for kind, known in every for name in known if unsupported_name(kind, name)]


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("DataLoader.Train.dataset.name=MixDataset", "write one list for ImageNetDataset, with the lines of all its"),
        ("DataLoader.Train.dataset.name=VeriWild", "it is for retrieval"),
        ("DataLoader.Train.sampler.name=PKSampler", "it is for retrieval"),
        ("Loss.Train=[{TripletLossV2: {weight: 1.0}}]", "it is for retrieval"),
        ("Metric.Eval=[{Recallk: {topk: [1, 5]}}]", "it is for retrieval"),
    ],
)
def test_components_that_only_paddleclas_has_are_explained(lines, override, hint):
    found = lines(override)
    assert any(hint in line for line in found) and not any("did you mean" in line for line in found)


@pytest.mark.parametrize(("value", "ranks"), [("0", [0]), (2, [2]), ("'0,1'", [0, 1]), ("[3, 0]", [3, 0])])
def test_log_ranks_are_a_number_or_a_list(lines, value, ranks):
    assert lines(f"Global.log_ranks={value}") == []
    assert parse_log_ranks(yaml.safe_load(str(value))) == ranks


@pytest.mark.parametrize("value", ["all", "-1", "[]", "'0,'", "[0, -2]"])
def test_invalid_log_ranks_are_refused(lines, value):
    (found,) = lines(f"Global.log_ranks={value}")
    assert found.startswith("Global.log_ranks: expected ranks such as 0 or '0,1', got ")


def test_tasks_require_only_their_sections(lines):
    without_training = ["Global.epochs=null", "Loss=null", "Optimizer=null", "DataLoader.Train=null"]
    assert len(lines(*without_training)) == 4
    assert lines(*without_training, task="eval") == []
    assert lines("DataLoader.Eval=null", task="eval") == [
        "DataLoader.Eval: expected the evaluation data, got nothing; required to evaluate"
    ]
    assert lines(*without_training, "DataLoader=null", "Metric=null", task="export") == []
    assert lines("Infer=null", task="export") == [
        "Infer.transforms: expected a list of transforms, got nothing; required to export"
    ]


ODD = [None, -1, "x\ny" * 200, [None], [{}], {"name": []}, {"": None}, float("nan"), 10**400]


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def test_check_reports_any_value_without_crashing(components):
    clean = load(PADDLECLAS)
    del clean["DataLoader"]["Eval"], clean["Infer"]["transforms"]  # same structure as DataLoader.Train
    for path in list(paths(clean))[1:]:
        for odd in ODD:
            config = copy.deepcopy(clean)
            place = config
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = odd
            for line in check(config, components):
                assert "\n" not in line


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (float("inf"), "a finite number, got inf"),
        (float("-inf"), "a finite number, got -inf"),
        (float("nan"), "a finite number, got nan"),
        (1e39, "a number from -3.4e+38 to 3.4e+38, got 1e+39"),
        (10**400, "a number from -3.4e+38 to 3.4e+38, got 1000"),
    ],
)
def test_numbers_that_are_not_finite_in_float32_are_refused(components, number, expected):
    clean = load(PADDLECLAS, ["Optimizer.regularizer.coeff=1", "Global.early_stopping={patience: 2, min_gain: 1}"])
    clean["Arch"]["anything"] = {"deep": [[1.0]]}
    numbers = [path for path in paths(clean) if isinstance(at(clean, path), int | float)]
    assert len(numbers) > 30
    for path in numbers:
        config = copy.deepcopy(clean)
        at(config, path[:-1])[path[-1]] = number
        place = ".".join(map(str, path))
        found = [line for line in check(config, components) if line.startswith(f"{place}: ")]
        assert len(found) == 1
        if "image_shape" not in path:  # reported for the list
            assert found[0].startswith(f"{place}: expected {expected}")


def at(config, path):
    for key in path:
        config = config[key]
    return config


def test_options_are_read_from_the_signature():
    class Loss:
        def __init__(self, needed: int, *extra, gamma: float = 2.0, epochs: int = 1, anything=None, **rest) -> None: ...

    component = Component.of(Loss, fixed=["epochs"])
    assert component.name == "Loss"
    assert list(component.options) == ["needed", "gamma", "anything"]
    assert component.options["needed"].required
    assert not component.options["gamma"].required


def test_missing_files_are_reported_with_the_nearest_name(components, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "train_list.txt").touch()
    (tmp_path / "best_model.pdparams").touch()
    dataset = "DataLoader.Train.dataset"
    good = [
        f"{dataset}.image_root={tmp_path}/images",
        f"{dataset}.cls_label_path={tmp_path}/train_list.txt",
        "DataLoader.Eval=null",
    ]

    def found(*overrides):
        return check_files(Config.parse(load(PADDLECLAS, [*good, *overrides]), components))

    assert found() == []
    assert found(f"Global.pretrained_model={tmp_path}/best_model", "Arch.pretrained=https://somewhere/a.pdparams") == []
    assert found(f"{dataset}.image_root={tmp_path}/image", f"{dataset}.cls_label_path={tmp_path}/trainlist.txt") == [
        f"{dataset}.cls_label_path: expected a list file, got '{tmp_path}/trainlist.txt', which does not exist"
        f"; did you mean '{tmp_path}/train_list.txt'?",
        f"{dataset}.image_root: expected a folder of images, got '{tmp_path}/image', which does not exist"
        f"; did you mean '{tmp_path}/images'?",
    ]
    for number in (3, 10):
        (tmp_path / f"epoch_{number}.pdparams").touch()
    wrong = "expected weights, got '{}', which does not exist; did you mean '{}'?"
    names = ("epoch_25", "best_model"), ("bset_model", "best_model"), ("x", "best_model")
    for name, meant in (*names, ("latset.pdparams", "latest"), ("epoch_4", "latest"), ("epoch_1", "epoch_10")):
        if meant == "latest":
            (tmp_path / "latest.pdparams").touch()
            (tmp_path / "best_model.pdparams").unlink(missing_ok=True)
        elif meant != "best_model":
            (tmp_path / "latest.pdparams").unlink()
        line = wrong.format(tmp_path / name, tmp_path / meant)
        assert found(f"Global.pretrained_model={tmp_path / name}") == [f"Global.pretrained_model: {line}"]
    (tmp_path / "best_model.pdparams").touch()
    line = wrong.format(tmp_path / "epoch_4", tmp_path / "epoch_10").replace(
        "expected weights", "expected a checkpoint, such as output/LeNet/latest, or auto"
    )
    assert found(f"Global.checkpoints={tmp_path / 'epoch_4'}") == [f"Global.checkpoints: {line}"]
    assert found(f"Arch.pretrained={tmp_path}/none/best") == [
        f"Arch.pretrained: expected weights, got '{tmp_path}/none/best', which does not exist"
        f"; the folder '{tmp_path}/none' does not exist"
    ]
    (tmp_path / "latest.pdparams").touch()
    line = wrong.format(tmp_path / "best", tmp_path / "best_model")
    assert found(f"Global.pretrained_model={tmp_path / 'best'}") == [f"Global.pretrained_model: {line}"]
    for url in ("ftp://host/a.pdparams", "file:///a/b.pdparams"):
        line = f"expected weights as a local path or an http(s) URL, got '{url}'"
        assert found(f"Arch.pretrained={url}") == [f"Arch.pretrained: {line}"]
    assert found("Arch.pretrained=imagenet") == [
        "Arch.pretrained: expected weights, got 'imagenet', which does not exist; set it to true for the official"
        " weights"
    ]
    (line,) = found("Arch.pretrained=no_folder/best")
    assert line.endswith("; the folder 'no_folder' does not exist; relative paths start from the current folder")


def test_a_configuration_that_does_not_exist(tmp_path, monkeypatch):
    """A name of another case is preferred to a similar file; a base starts from the folder of its file."""
    monkeypatch.chdir(tmp_path)
    Path("resnext.yaml").write_text("Global: {}\n")
    with pytest.raises(ConfigFileError, match=r"did you mean 'imagenet/ResNet/ResNet50'\?"):
        load("resnet50")
    with pytest.raises(ConfigFileError, match=r"did you mean 'resnext.yaml'\?"):
        load("resnex")
    Path("child.yaml").write_text("_BASE_: none/base.yaml\n")
    with pytest.raises(ConfigFileError, match="relative paths start from the folder of the file that names them"):
        load("child.yaml")
