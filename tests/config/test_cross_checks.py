"""Contradictions between keys are reported with their key, before data is read."""

import pytest
import yaml
from helpers.quick import override_options

from ppzoo import builders, config
from ppzoo.cli import main

NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "order": ""}}
OPS = [{"DecodeImage": None}, {"ResizeImage": {"size": 32}}, NORMALIZE]
SPLIT = {
    "dataset": {"name": "ImageNetDataset", "image_root": "nowhere", "cls_label_path": "none", "transform_ops": OPS},
    "sampler": {"batch_size": 8},
}
PLAIN = {
    "Global": {"epochs": 5, "device": "cpu", "image_shape": [3, 32, 32]},
    "Arch": {"name": "ResNet18", "class_num": 4},
    "Loss": {"Train": [{"CELoss": {}}], "Eval": [{"CELoss": {}}]},
    "Optimizer": {"name": "Momentum", "lr": {"name": "Cosine", "learning_rate": 0.1}},
    "DataLoader": {"Train": SPLIT, "Eval": SPLIT},
    "Infer": {"transforms": OPS, "PostProcess": {"name": "Topk"}},
    "Metric": {"Train": [{"TopkAcc": {"topk": [1]}}], "Eval": [{"TopkAcc": {"topk": [1]}}]},
}
ONE = {"Train": [{"DistillationTopkAcc": {"model_key": "Student"}}]}
DISTILLATION = {
    **PLAIN,
    "Arch": {
        "name": "DistillationModel",
        "freeze_params_list": [True, False],
        "models": [
            {"Teacher": {"name": "ResNet34", "class_num": 4}},
            {"Student": {"name": "ResNet18", "class_num": 4}},
        ],
    },
    "Loss": {"Train": [{"DistillationCELoss": {"model_name_pairs": [["Student", "Teacher"]]}}]},
    "Metric": ONE,
}
SEVERAL = {
    **PLAIN,
    "Global": {**PLAIN["Global"], "use_multilabel": True},
    "Loss": {"Train": [{"MultiLabelLoss": {}}]},
    "Metric": {"Train": [{"AccuracyScore": {}}]},
    "DataLoader": {"Train": {**SPLIT, "dataset": {**SPLIT["dataset"], "name": "MultiLabelDataset"}}},
}
BASES = {"plain": PLAIN, "distillation": DISTILLATION, "several": SEVERAL}
DATA = "DataLoader.Train.dataset"
LR = "Optimizer.lr"

BY_KEYS = [
    ("plain", [f"{LR}.warmup_epoch=5"], f"{LR}.warmup_epoch: expected less than Global.epochs (5), got 5"),
    ("plain", [f"{LR}.eta_min=0.2"], f"{LR}.eta_min: expected less than learning_rate (0.1), got 0.2"),
    ("plain", [f"{LR}.name=ReduceOnPlateau", "DataLoader.Eval=null"], f"{LR}.name: ReduceOnPlateau needs evaluations"),
    (
        "plain",
        [f"{LR}.name=ReduceOnPlateau", "Global.eval_during_train=false"],
        f"{LR}.name: ReduceOnPlateau needs evaluations",
    ),
    (
        "plain",
        [f"{LR}.name=ReduceOnPlateau", f"{LR}.mode=max", "Metric.Eval=[{ExpectedCalibrationError: null}]"],
        f"{LR}.mode: max requires a first metric in Metric.Eval whose higher values are better, got Expected",
    ),
    (
        "plain",
        [f"{LR}.name=ReduceOnPlateau", f"{LR}.mode=max", "Metric=null"],
        f"{LR}.mode: max observes the first metric of Metric.Eval, which has none; add one",
    ),
    ("plain", [f"{LR}.reference_batch=0"], f"{LR}.reference_batch: expected an integer of at least 1"),
    (
        "plain",
        ["Optimizer={name: AdamW, lr: {learning_rate: 0.1}, regularizer: {name: L2, coeff: 0.1}}"],
        "Optimizer.regularizer: expected null, since AdamW has decoupled weight decay",
    ),
    ("plain", ["EMA.decay=1.5"], "EMA.decay: expected a number from 0 to below 1, got 1.5"),
    ("plain", ["Global.image_channel=4"], "Global.image_channel: expected the channels of Global.image_shape (3)"),
    ("plain", ["Arch.input_image_channel=4"], "Arch.input_image_channel: expected the channels of Global.image_shape"),
    ("plain", ["Arch.use_ssld=true"], "Arch.use_ssld: requires Arch.pretrained: true, got Arch.pretrained: null"),
    ("plain", ["Loss.Train.0.CELoss.class_weights=[1.0]"], "Loss.Train.0.CELoss.class_weights: expected 4 weights"),
    ("plain", ["Metric.Eval.0.TopkAcc.topk=[5]"], "Metric.Eval.0.TopkAcc.topk: expected at most 4 (Arch.class_num)"),
    ("plain", ["Metric.Eval.0.TopkAcc.topk=5"], "Metric.Eval.0.TopkAcc.topk: expected at most 4 (Arch.class_num)"),
    ("plain", ["Infer.PostProcess.label_list=[a, b]"], "Infer.PostProcess.label_list: expected 4 names, one per class"),
    ("plain", [f"{DATA}.name=MultiLabelDataset"], f"{DATA}.name: MultiLabelDataset is for several labels per image"),
    ("plain", ["Loss.Eval=[{MultiLabelLoss: null}]"], "Loss.Eval.0.MultiLabelLoss: MultiLabelLoss is for several"),
    ("plain", ["Metric.Eval=[{MultiLabelMAP: null}]"], "Metric.Eval.0.MultiLabelMAP: MultiLabelMAP is for several"),
    ("plain", ["Infer.PostProcess.name=MultiLabelThreshOutput"], "Infer.PostProcess.name: MultiLabelThreshOutput is"),
    ("plain", ["Loss.Train=[{GoogLeNetLoss: null}]"], "Loss.Train.0.GoogLeNetLoss: expected a network with three"),
    ("plain", ["Metric={Eval: [{GoogLeNetTopkAcc: null}]}"], "Metric.Eval.0.GoogLeNetTopkAcc: expected a network with"),
    (
        "plain",
        ["Loss.Train=[{DistillationGTCELoss: {model_names: [a]}}]"],
        "Loss.Train.0.DistillationGTCELoss: expected Arch.name DistillationModel",
    ),
    ("plain", ["Infer.PostProcess.name=DistillationPostProcess"], "Infer.PostProcess.name: expected Arch.name Dist"),
    ("several", [f"{DATA}.name=ImageNetDataset"], f"{DATA}.name: expected MultiLabelDataset, since"),
    ("several", ["Loss.Train=[{CELoss: null}]"], "Loss.Train.0.CELoss: expected MultiLabelLoss or"),
    ("several", ["Metric.Train=[{TopkAcc: null}]"], "Metric.Train.0.TopkAcc: expected HammingDistance, AccuracyScore"),
    (
        "several",
        [f"{DATA}.batch_transform_ops=[{{MixupOperator: null}}]"],
        f"{DATA}.batch_transform_ops: expected none, since Global.use_multilabel is true",
    ),
    ("distillation", ["Arch.infer_model_name=Pupil"], "Arch.infer_model_name: expected the name of a network in Arch"),
    ("distillation", ["Arch.pretrained_list=[null]"], "Arch.pretrained_list: expected 2 entries, one per network"),
    ("distillation", ["Arch.freeze_params_list=[true]"], "Arch.freeze_params_list: expected 2 entries, one per"),
    ("distillation", ["Arch.freeze_params_list=[true, true]"], "Arch.freeze_params_list: expected false for Student"),
    ("distillation", ["Arch.freeze_params_list=null"], "Arch.freeze_params_list: expected true for Teacher, which no"),
    ("distillation", ["Arch.pretrained=true"], "Arch.pretrained: set this on each network in Arch.models"),
    ("distillation", ["Arch.clas_num=4"], "Arch.clas_num: unknown key; did you mean"),
    ("distillation", ["Arch.models.1.Student.scale=2"], "Arch.models.1.Student.scale: unknown key"),
    ("distillation", ["Arch.models.1.Student.name=ResNet17"], "Arch.models.1.Student.name: expected the name of an"),
    (
        "distillation",
        ["Arch.models.0.Teacher.name=GoogLeNet"],
        "Arch.models.0.Teacher.name: expected a network with one output, got GoogLeNet",
    ),
    (
        "distillation",
        ["Loss.Train=[{CELoss: null}]"],
        "Loss.Train.0.CELoss: expected DistillationCELoss, DistillationGTCELoss,",
    ),
    (
        "distillation",
        ["Loss.Train=[{DistillationDMLLoss: {model_name_pairs: [Student, Teacher]}}]"],
        "Loss.Train.0.DistillationDMLLoss.model_name_pairs: expected a list of lists of texts, got the list ['Student',"
        ' \'Teacher\']; did you mean [["Student", "Teacher"]]?',
    ),
    ("distillation", ["Metric.Train=[{TopkAcc: null}]"], "Metric.Train.0.TopkAcc: expected DistillationTopkAcc, whose"),
    (
        "distillation",
        ["Metric.Train.0.DistillationTopkAcc.model_key=Studnet"],
        "Metric.Train.0.DistillationTopkAcc.model_key: expected the name of a network in Arch.models, got"
        " 'Studnet'; did you mean 'Student'?",
    ),
]
BY_VALUES = [
    ("plain", ["Loss.Train.0.CELoss.epsilon=1.5"], "CELoss.epsilon: expected a number in [0, 1), got 1.5"),
    ("plain", ["Loss.Train.0.CELoss.weight=0"], "CELoss.weight: expected a number above 0"),
    ("plain", [f"{LR}.learning_rate=-1"], "Optimizer.lr.learning_rate: expected a number above 0"),
    (
        "plain",
        [f"{LR}.warmup_epoch=2", f"{LR}.warmup_start_lr=1"],
        "Optimizer.lr.warmup_start_lr: expected a rate below 0.1",
    ),
    (
        "plain",
        [f"{LR}={{name: Piecewise, decay_epochs: [1, 2], values: [0.1]}}"],
        "Optimizer.lr.values: expected 3 rates",
    ),
    ("plain", ["Optimizer.momentum=1"], "Optimizer.momentum: expected a number of at least 0 and below 1"),
    (
        "plain",
        ["Optimizer.weight_decay=0.1", "Optimizer.regularizer={name: L2, coeff: 0.1}"],
        "Optimizer.weight_decay: expected null, since regularizer",
    ),
    (
        "plain",
        ["Optimizer.clip_norm=1.0", "Optimizer.grad_clip={name: ClipGradByNorm}"],
        "Optimizer.grad_clip: expected null, since clip_norm",
    ),
    ("plain", ["Optimizer.grad_clip={name: ClipGradByValue, max: a}"], "Optimizer.grad_clip.max: expected a number"),
    ("plain", ["Optimizer.learning_rate_factors={a: b}"], "Optimizer.learning_rate_factors.a: expected a number"),
    ("plain", [f"{LR}.learning_rate=1e999"], f"{LR}.learning_rate: expected a finite number, got inf"),
    ("plain", [f"{DATA}.transform_ops.1.ResizeImage.resize_short=8"], "expected either size or resize_short, got both"),
    (
        "plain",
        ["DataLoader.Eval.sampler.name=ClassBalancedSampler", "DataLoader.Eval.sampler.shuffle=True"],
        "DataLoader.Eval.sampler: ClassBalancedSampler: expected training data, got evaluation data",
    ),
    (
        "plain",
        ["DataLoader.Eval.sampler.name=RASampler"],
        "DataLoader.Eval.sampler: RepeatedAugSampler: expected training data, got evaluation data",
    ),
    ("plain", ["Metric.Train.0.TopkAcc.topk=[]"], "topk: expected integers of 1 or more"),
    ("plain", ["Infer.PostProcess.topk=0"], "topk: expected at least 1"),
    ("plain", ["TTA.ten_crop=true"], "TTA.ten_crop: expected a CropImage in DataLoader.Eval.dataset.transform_ops"),
    ("several", ["Infer.PostProcess={name: MultiLabelThreshOutput, threshold: 2}"], "threshold: expected 0 to 1"),
]


@pytest.fixture
def file(tmp_path, request):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(BASES[request.param]))
    return path


@pytest.fixture(scope="module")
def components():
    return builders.components()


@pytest.mark.parametrize(("file", "overrides", "start"), BY_KEYS, indirect=["file"])
def test_contradictory_keys_are_refused(file, overrides, start, components):
    assert config.check(config.load(file), components) == []
    (line,) = config.check(config.load(file, overrides), components)
    assert line.startswith(start)


def test_ssld_has_no_effect_without_pretrained_weights(tmp_path, components):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(PLAIN), encoding="utf-8")
    assert config.check(config.load(file, ["Arch.use_ssld=true", "Arch.pretrained=false"]), components) == []


@pytest.mark.parametrize(("file", "overrides", "text"), BY_VALUES, indirect=["file"])
def test_values_out_of_range_are_refused_before_data_is_read(file, overrides, text, capsys):
    arguments = ["-c", str(file), *override_options(*overrides)]
    assert main(["train", *arguments]) == 2  # the data does not exist
    lines = capsys.readouterr().err.splitlines()
    assert text in lines[0]
    assert all(line.startswith("error: ") for line in lines)
    assert main(["check", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_networks_of_a_distillation_must_have_the_same_number_of_classes(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(DISTILLATION))
    arguments = ["check", "-c", str(tmp_path / "config.yaml")]
    assert main(arguments) == 0
    assert main([*arguments, "-o", "Arch.models.0.Teacher.class_num=5"]) == 2
    assert "expected networks with the same number of classes, got Teacher 5, Student 4" in capsys.readouterr().err
