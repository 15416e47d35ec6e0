"""Entry names of other PaddlePaddle projects are recognized; reports contain the names of the file."""

import numpy as np
import pytest

import ppzoo
from ppzoo.errors import WeightsError


def arrays(network, prefix="", rename=lambda key: key):
    return {prefix + rename(key): value.numpy() for key, value in network.state_dict().items()}


@pytest.fixture
def source():
    return ppzoo.create_model("MobileNetV3_small_x0_35", class_num=5)


def test_common_prefix_is_ignored(source):
    report = ppzoo.load_weights(ppzoo.create_model("MobileNetV3_small_x0_35", class_num=5), arrays(source, "backbone."))
    assert len(report.loaded) == len(source.state_dict())


def test_paddleocr_names_are_recognized_and_its_head_is_reported(source):
    def paddleocr(key):
        for ours, theirs in (("conv.", "conv1."), ("last_second_conv.", "conv2.")):
            if key.startswith(ours):
                return f"backbone.{theirs}{key.removeprefix(ours)}"
        return f"head.{key}" if key.startswith("fc.") else f"backbone.{key}"

    target = ppzoo.create_model("MobileNetV3_small_x0_35")
    entries = arrays(source, rename=paddleocr)
    with pytest.raises(WeightsError, match="2 missing"):
        ppzoo.load_weights(target, entries)
    report = ppzoo.load_weights(target, entries, strict=False)
    assert set(report.unexpected) == {"head.fc.weight", "head.fc.bias"}
    assert set(report.missing) == {"fc.weight", "fc.bias"}
    for key in ("conv.conv.weight", "blocks.3.expand_conv.bn._mean", "last_second_conv.conv.weight"):
        np.testing.assert_array_equal(target.state_dict()[key].numpy(), source.state_dict()[key].numpy())
