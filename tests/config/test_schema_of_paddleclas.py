"""Every key and value in PaddleClas's own files is accepted, or refused with the message of `unsupported`."""

import copy

import pytest
from helpers import reference

from ppzoo import builders, config

SCHEMA = reference.read_json("config_schema.json")
LEGACY = ("mode", "ARCHITECTURE", "LEARNING_RATE", "OPTIMIZER", "TRAIN", "VALID")
OPS = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"RandCropImage": {"size": 224}},
    {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}},
]
SPLIT = {
    "dataset": {"name": "ImageNetDataset", "image_root": "a", "cls_label_path": "b", "transform_ops": OPS},
    "sampler": {"name": "DistributedBatchSampler", "batch_size": 64, "drop_last": False, "shuffle": True},
    "loader": {"num_workers": 4, "use_shared_memory": True},
}
PLAIN = {
    "Global": {"epochs": 120, "image_shape": [3, 224, 224]},
    "Arch": {"name": "ResNet18", "class_num": 1000},
    "Loss": {"Train": [{"CELoss": {"weight": 1.0}}], "Eval": [{"CELoss": {"weight": 1.0}}]},
    "Optimizer": {
        "name": "Momentum",
        "lr": {"name": "Cosine", "learning_rate": 0.1},
        "regularizer": {"name": "L2", "coeff": 0.0001},
    },
    "DataLoader": {"Train": SPLIT, "Eval": SPLIT},
    "Infer": {"infer_imgs": "a.jpg", "transforms": OPS, "PostProcess": {"name": "Topk", "topk": 5}},
    "Metric": {"Train": [{"TopkAcc": {"topk": [1, 5]}}], "Eval": [{"TopkAcc": {"topk": [1, 5]}}]},
}
NETWORKS = [
    {"Teacher": {"name": "ResNet50_vd", "class_num": 100}},
    {"Student": {"name": "MobileNetV3_large_x1_0", "class_num": 100}},
]
STUDENT = [{"DistillationTopkAcc": {"model_key": "Student"}}]
DISTILLATION = {
    "Arch": {"name": "DistillationModel", "models": NETWORKS, "freeze_params_list": [True, False]},
    "Loss": {
        "Train": [{"DistillationCELoss": {"model_name_pairs": [["Student", "Teacher"]]}}],
        "Eval": [{"DistillationGTCELoss": {"model_names": ["Student"]}}],
    },
    "Metric": {"Train": STUDENT, "Eval": STUDENT},
    "Infer": {"transforms": OPS, "PostProcess": {"name": "DistillationPostProcess"}},
}
SEVERAL_DATA = {"dataset": {"name": "MultiLabelDataset", "image_root": "a", "cls_label_path": "b"}}
SEVERAL_LOSS = [{"MultiLabelLoss": None}]
SEVERAL_METRICS = [{"AccuracyScore": None}, {"HammingDistance": None}]
SEVERAL = {
    "Global": {**PLAIN["Global"], "use_multilabel": True},
    "DataLoader": {"Train": {**SPLIT, **SEVERAL_DATA}, "Eval": {**SPLIT, **SEVERAL_DATA}},
    "Loss": {"Train": SEVERAL_LOSS, "Eval": SEVERAL_LOSS},
    "Metric": {"Train": SEVERAL_METRICS, "Eval": SEVERAL_METRICS},
    "Infer": {"PostProcess": {"name": "MultiLabelThreshOutput"}},
}
THREE_OUTPUTS = {
    "Arch": {"name": "GoogLeNet", "class_num": 1000},
    "Loss": {"Train": [{"GoogLeNetLoss": None}], "Eval": [{"GoogLeNetLoss": None}]},
    "Metric": {"Train": [{"GoogLeNetTopkAcc": None}], "Eval": [{"GoogLeNetTopkAcc": None}]},
}
MULTI_STEP = {"name": "MultiStepDecay", "learning_rate": 0.1, "milestones": [20, 30, 40]}
PIECEWISE = {"name": "Piecewise", "decay_epochs": [30, 60, 90], "values": [0.01, 0.001, 0.0001, 0.00001]}
# Text in a path or value -> the sections of a configuration in which it is valid; the first match is used.
SETTINGS = [
    (("Distillation", "Arch.models", "Arch.infer_model_name", "list", "PostProcess.func"), DISTILLATION),
    (("MultiLabel", "AccuracyScore", "HammingDistance", "threshold", "delimiter", "use_multilabel"), SEVERAL),
    (("GoogLeNet",), THREE_OUTPUTS),
    (("RMSProp", "rho", "Optimizer.epsilon"), {"Optimizer": {**PLAIN["Optimizer"], "name": "RMSProp"}}),
    (("milestones", "gamma", "verbose", "MultiStepDecay"), {"Optimizer": {"lr": MULTI_STEP}}),
    (("Piecewise", "decay_epochs", "lr.values"), {"Optimizer": {"lr": PIECEWISE}}),
    (("image_channel", "channel_num"), {"Global": {"epochs": 120, "image_shape": [4, 224, 224]}}),
    (("image_shape",), {"Infer": None}),
]  # fmt: skip


def cases():
    for path, facts in SCHEMA.items():
        if path.startswith(LEGACY) or (path[0].islower() and "." not in path) or path == "classes_num":
            continue
        for value in facts["examples"]:
            if not (isinstance(value, str) and value.startswith("<list")):
                yield path, value


@pytest.fixture(scope="module")
def components():
    return builders.components()


def configuration(path: str, value: object) -> dict:
    """Return a configuration with a value at one of the schema's paths."""
    setting = next((change for marks, change in SETTINGS if any(mark in f"{path} {value}" for mark in marks)), {})
    made = copy.deepcopy({**PLAIN, **setting, "Optimizer": {**PLAIN["Optimizer"], **setting.get("Optimizer", {})}})
    *parents, last = path.split(".")
    place = made
    for key in parents:
        if (key == "Eval" and "Query" in path) or key in ("Query", "Gallery"):
            place = place.setdefault(key, {})
            continue
        if isinstance(place, list):
            place = item_of(place, key)
            continue
        name = key.removesuffix("[]")
        if place.get(name) is None:
            place[name] = [] if key.endswith("[]") else {}
        place = place[name]
    if isinstance(place, list):
        place[item_index(place, last)] = {last: value}
    elif value == "Piecewise" or value == "MultiStepDecay" or (path == "Arch.name" and value in made["Arch"].values()):
        pass
    else:
        place[last] = value
    return made


def item_of(items: list, name: str) -> dict:
    index = item_index(items, name)
    if items[index][name] is None:
        items[index][name] = {}
    return items[index][name]


def item_index(items: list, name: str) -> int:
    found = [index for index, item in enumerate(items) if name in item]
    if not found:
        items.append({name: {}})
        found = [len(items) - 1]
    return found[0]


RETRIEVAL = "retrieval and feature models (RecModel, Query and Gallery) are not supported; ppzoo trains classifiers"
OF_RETRIEVAL = (
    *("Arch.Backbone", "Arch.Neck", "Arch.Head", "Eval.Query", "Eval.Gallery", "feature_", "infer_add_softmax"),
    *("TripletLossV2", "Recallk", "Precisionk", "Metric.Eval[].mAP", "num_instances", "VeriWild", "RandomIdentity"),
    *("infer_output_key", "retrieval"),
)


@pytest.mark.parametrize(("path", "value"), list(cases()), ids=lambda part: str(part)[:60])
def test_values_of_paddleclas_files_are_accepted_or_unsupported(path, value, components):
    made = configuration(path, value)
    if any(mark in f"{path} {value}" for mark in OF_RETRIEVAL):
        made["Global"]["eval_mode"] = "retrieval"
        expected = [RETRIEVAL]
    else:
        expected = []
    assert [line.partition(": ")[2] for line in config.check(made, components)] == expected


BEYOND = [
    ("Metric.Train[].TopkAcc.topk", 5),
    ("Metric.Train[].DistillationTopkAcc.topk", 1),
    ("Loss.Train[].CELoss.reduction", "mean"),
    ("Infer.PostProcess", {"name": "Topk", "class_id_map_file": "names.txt", "delimiter": ","}),
]


@pytest.mark.parametrize(("path", "value"), BEYOND)
def test_further_options_of_paddleclas_components_are_accepted(path, value, components):
    assert config.check(configuration(path, value), components) == []


def test_configurations_of_paddleclas_1_are_unsupported(components):
    legacy = {"mode": "train", "ARCHITECTURE": {"name": "VGG16"}, "classes_num": 102, "TRAIN": {"batch_size": 20}}
    (line,) = config.check(legacy, components)
    assert line.startswith(
        "ARCHITECTURE: configurations of PaddleClas 1.x (ARCHITECTURE, TRAIN, ...) are not supported"
    )
