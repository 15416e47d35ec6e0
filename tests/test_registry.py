"""A registry refuses duplicate names and suggests the most similar name for an unknown one."""

import pytest

from ppzoo.errors import UnknownNameError
from ppzoo.registry import Registry


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
