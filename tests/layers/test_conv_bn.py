"""ConvBNLayer: parameter names, padding, layouts, activations."""

import numpy as np
import paddle
import pytest

from ppzoo.layers import ConvBNLayer, NamedConvBNLayer, activation


def test_generated_parameter_names():
    with paddle.utils.unique_name.guard():
        state = ConvBNLayer(3, 8, 3).state_dict()
    assert list(state) == ["conv.weight", "bn.weight", "bn.bias", "bn._mean", "bn._variance"]
    assert [value.name for value in state.values()][:2] == ["conv2d_0.w_0", "batch_norm_0.w_0"]


def test_explicit_parameter_names():
    with paddle.utils.unique_name.guard():
        state = NamedConvBNLayer(3, 8, 3, name="stem").state_dict()
    assert {key: value.name for key, value in state.items()} == {
        "_conv.weight": "stem_weights",
        "_batch_norm.weight": "stem_bn_scale",
        "_batch_norm.bias": "stem_bn_offset",
        "_batch_norm._mean": "stem_bn_mean",
        "_batch_norm._variance": "stem_bn_variance",
    }


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_default_padding_keeps_the_size(kernel_size):
    block = ConvBNLayer(2, 4, kernel_size)
    assert block(paddle.zeros([1, 2, 9, 11])).shape == [1, 4, 9, 11]


def test_layouts_agree():
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    with paddle.utils.unique_name.guard():
        first = ConvBNLayer(3, 8, 3, stride=2)
    with paddle.utils.unique_name.guard():
        last = ConvBNLayer(3, 8, 3, stride=2, data_format="NHWC")
    last.set_state_dict(first.state_dict())
    expected = first(paddle.to_tensor(images)).numpy()
    received = last(paddle.to_tensor(images.transpose(0, 2, 3, 1))).numpy()
    np.testing.assert_allclose(received.transpose(0, 3, 1, 2), expected, atol=1e-5)


def test_activation_by_name():
    values = paddle.to_tensor([-1.0, 3.0, 9.0])
    assert activation("relu6")(values).tolist() == [0.0, 3.0, 6.0]
    assert activation(None)(values).tolist() == values.tolist()
