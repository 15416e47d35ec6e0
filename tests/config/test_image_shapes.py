"""`ppzoo check` compares the shape of the transformed images, `Global.image_shape` and the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppzoo.builders.dry_run import dry_run_config
from ppzoo.errors import ConfigError

QUICK = str(Path(__file__).parents[2] / "configs" / "lenet.yaml")
NORMALIZE = "{NormalizeImage: {order: ''}}"
DECODE = "{DecodeImage: {channels: 1}}"
GRAY = "{NormalizeImage: {mean: [0.5], std: [0.5], order: ''}}"


def problems(*overrides: str) -> list[str]:
    try:
        dry_run_config(QUICK, overrides)
    except ConfigError as error:
        return list(error.problems)
    return []


def test_a_valid_configuration_has_no_problems():
    assert problems() == []


@pytest.mark.parametrize("split", ["Train", "Eval"])
def test_gray_images_for_a_network_of_three_channels(split):
    path = f"DataLoader.{split}.dataset.transform_ops"
    found = problems(f"{path}=[{DECODE}, {{ResizeImage: {{size: 32}}}}, {GRAY}]")
    expected = f"{path}: expected images of 3 channels (Arch.in_channels), got 1; set DecodeImage.channels"
    assert found == [f"{expected}, and as many values of NormalizeImage.mean and std"]


def test_image_size_that_the_network_cannot_take():
    path = "DataLoader.Eval.dataset.transform_ops"
    found = problems(f"{path}=[{{ResizeImage: {{size: 48}}}}, {NORMALIZE}]")
    assert len(found) == 1
    assert found[0].startswith(f"{path}: expected images that LeNet can take")
    assert found[0].endswith("got 3 x 48 x 48 float32")


def test_image_shape_that_differs_from_the_inference_transforms():
    found = problems("Global.image_shape=[3,48,48]")
    assert found[0].startswith("Global.image_shape: expected images that LeNet can take")
    assert found[1] == "Infer.transforms: expected images of Global.image_shape [3, 48, 48], got [3, 32, 32]"


def test_sizes_that_depend_on_the_images_are_not_compared():
    path = "DataLoader.Train.dataset.transform_ops"
    assert problems(f"{path}=[{NORMALIZE}]") == []
    found = problems(f"Infer.transforms=[{{DecodeImage: {{}}}}, {{ResizeImage: {{resize_short: 32}}}}, {NORMALIZE}]")
    assert found == ["Infer.transforms: expected images of Global.image_shape [3, 32, 32], got [3, any, any]"]


def test_transforms_that_cannot_be_applied():
    path = "DataLoader.Train.dataset.transform_ops"
    found = problems(f"{path}=[{{NormalizeImage: {{mean: [0.5, 0.5], std: [0.5, 0.5], order: ''}}}}]")
    assert len(found) == 1
    assert found[0].startswith(f"{path}: ")
