"""DiverseBranchBlock is equivalent to one convolution in evaluation, at the borders as well."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ppzoo.errors import ConfigError
from ppzoo.layers import DiverseBranchBlock
from ppzoo.models import MODELS


@pytest.mark.parametrize("stride", [1, 2])
def test_branches_are_equivalent_to_one_convolution(stride):
    paddle.seed(0)
    block = DiverseBranchBlock(2, 3, 3, stride=stride, act=None)
    for key, value in block.state_dict().items():
        value.set_value(paddle.rand(value.shape) + (0.5 if key.endswith("_variance") else -0.2))
    block.eval()
    with paddle.no_grad():
        bias = block(paddle.zeros([1, 2, 5, 5]))[0, :, 1, 1]
        kernel = np.zeros((3, 2, 3, 3), np.float32)
        for channel, row, column in np.ndindex(2, 3, 3):
            impulse = paddle.zeros([1, 2, 5, 5])
            impulse[0, channel, row + stride - 1, column + stride - 1] = 1.0
            kernel[:, channel, row, column] = (block(impulse)[0, :, 1, 1] - bias).numpy()
        images = paddle.rand([2, 2, 8, 8])
        expected = F.conv2d(images, paddle.to_tensor(kernel), bias, stride=stride, padding=1)
        np.testing.assert_allclose(block(images).numpy(), expected.numpy(), atol=1e-4)


def test_residual_is_added_before_the_activation():
    block = DiverseBranchBlock(4, 4, 3)
    block.eval()
    x = paddle.rand([1, 4, 6, 6])
    assert float(block(x, paddle.full([1, 4, 6, 6], -100.0)).max()) == 0.0


def test_resnet_with_diverse_branch_blocks():
    network = MODELS["ResNet18"].build(class_num=3, layer_type="DiverseBranchBlock", use_first_short_conv=False)
    keys = set(network.state_dict())
    assert {"blocks.2.conv0.dbb_1x1_kxk.idconv1.weight", "blocks.2.short.conv.weight", "stem.0.conv.weight"} <= keys
    network(paddle.rand([2, 3, 32, 32])).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if not parameter.stop_gradient)
    with pytest.raises(ConfigError, match="layer_type: expected ConvBNLayer for depth 50"):
        MODELS["ResNet50"].build(layer_type="DiverseBranchBlock")
