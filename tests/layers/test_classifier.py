"""The base class of the networks: cases that no registered network covers."""

import paddle
import pytest
from paddle import nn

from ppzoo.errors import ConfigError
from ppzoo.layers import Classifier


class Patches(Classifier):
    """A network whose head is a convolution with all options."""

    head_layers = ("head",)

    def __init__(self, class_num: int = 4) -> None:
        super().__init__()
        self.body = nn.Conv2D(3, 8, 3)
        self.head = nn.Conv2D(
            8,
            class_num,
            (3, 1),
            stride=2,
            padding=(1, 0),
            groups=2,
            weight_attr=paddle.ParamAttr(name="head_w", learning_rate=0.5, regularizer=paddle.regularizer.L2Decay(0.0)),
        )

    def forward_features(self, x):
        return self.body(x)

    def forward_head(self, features):
        return self.head(features)


@pytest.fixture
def network():
    with paddle.utils.unique_name.guard():
        return Patches()


def test_reset_convolution_keeps_its_options_and_parameter_attributes(network):
    images = paddle.ones([2, 3, 9, 9])
    before = network(images).shape
    names = [value.name for value in network.head.parameters()]
    network.reset_classifier(6)
    assert network(images).shape == [2, 6, *before[2:]]
    assert network.head.weight.shape == [6, 4, 3, 1]
    assert [value.name for value in network.head.parameters()] == names
    assert network.head.weight.optimize_attr["learning_rate"] == 0.5
    assert network.head.weight.regularizer._coeff == 0.0


def test_frozen_head_is_trainable_after_a_reset(network):
    network.freeze("*")
    network.reset_classifier(6)
    assert [key for key, value in network.named_parameters() if not value.stop_gradient] == ["head.weight", "head.bias"]


def test_freeze_returns_each_name_once_and_a_wrong_pattern_freezes_nothing(network):
    with pytest.raises(ConfigError, match=r"no parameter matches 'boby\.\*'"):
        network.freeze("head.*", "boby.*")
    assert not any(value.stop_gradient for value in network.parameters())
    assert network.freeze("head.*", "*.weight") == ["body.weight", "head.weight", "head.bias"]
