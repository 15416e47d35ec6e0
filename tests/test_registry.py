"""A registry refuses duplicate names and suggests the most likely name for an unknown one."""

import pytest

from ppzoo import builders
from ppzoo.config.section import KINDS
from ppzoo.errors import UnknownNameError, suggestion
from ppzoo.registry import Registry
from ppzoo.synonyms import SYNONYMS


def test_duplicate_names_are_refused():
    registry: Registry[int] = Registry("loss")
    registry.add("CELoss", 1)
    with pytest.raises(ValueError, match="'CELoss' is registered twice"):
        registry.add("CELoss", 2)


def test_an_unknown_name_suggests_the_most_similar():
    registry: Registry[int] = Registry("architecture")
    for name in ("MobileNetV2", "MobileNetV2_x0_5", "ResNet18"):
        registry.add(name, 1)
    with pytest.raises(UnknownNameError, match=r"unknown architecture 'mobilenetv2_x05'"):
        registry["mobilenetv2_x05"]
    with pytest.raises(UnknownNameError, match="unknown architecture 'zebra'; `ppzoo models` lists all names"):
        registry["zebra"]


def test_patterns_ignore_case():
    registry: Registry[int] = Registry("architecture")
    for name in ("ResNet50", "MobileNetV2", "MobileNetV1"):
        registry.add(name, 1)
    assert registry.matching("mobilenet*") == ["MobileNetV1", "MobileNetV2"]


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("loss", "CrossEntropy", "'CELoss'"),
        ("loss", "cross_entropy", "'CELoss'"),
        ("loss", "CrossEntropyLoss", "'CELoss'"),
        ("loss", "LabelSmoothingCrossEntropy", "'CELoss' with epsilon"),
        ("loss", "BCEWithLogitsLoss", "'MultiLabelLoss'"),
        ("loss", "FocalLos", "'FocalLoss'"),
        ("optimizer", "sgd", "'SGD'"),
        ("optimizer", "Nesterov", "'Momentum' with use_nesterov: true"),
        ("lr", "CosineAnnealingLR", "'Cosine'"),
        ("lr", "StepLR", "'Step'"),
        ("transform", "Resize", "'ResizeImage'"),
        ("transform", "ToTensor", "'NormalizeImage' followed by ToCHWImage"),
        ("transform", "CenterCrop", "'CropImage'"),
        ("transform", "RandomResizedCrop", "'RandCropImage'"),
        ("transform", "RandomHorizontalFlip", "'RandFlipImage'"),
        ("transform", "Mixup", "'MixupOperator' in batch_transform_ops"),
        ("batch_transform", "Mixup", "'MixupOperator'"),
        ("metric", "Accuracy", "'TopkAcc'"),
        ("metric", "F1Score", "'PrecisionRecallF1'"),
        ("dataset", "DatasetFolder", "'ImageFolder'"),
        ("dataset", "Folder", "'ImageFolder'"),
    ],
)
def test_the_name_of_another_library_suggests_the_component(kind, name, expected):
    assert suggestion(name, builders.components()[kind], KINDS[kind]) == f"; did you mean {expected}?"


@pytest.mark.parametrize(("kind", "name"), [("loss", "TripletLoss"), ("transform", "RandomAffine")])
def test_a_component_that_shares_only_a_common_word_is_not_suggested(kind, name):
    assert suggestion(name, builders.components()[kind], KINDS[kind]).startswith("; available: ")


def test_synonyms_belong_to_components_and_are_no_names_of_them():
    components = {KINDS[kind]: {name.lower(): name for name in table} for kind, table in builders.components().items()}
    for kind, rows in SYNONYMS.items():
        names = [name for text in rows.values() for name in text.split()]
        assert len(names) == len(set(names))
        assert components[kind].keys().isdisjoint(names)
        for text in rows:
            component, _, use = text.partition(" ")
            table = components["batch transform"] if "batch_transform_ops" in use else components[kind]
            assert component in table.values()
