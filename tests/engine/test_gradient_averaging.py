"""Gradients are averaged in buckets during the backward pass, in the same order by all processes."""

import numpy as np
import paddle
import pytest

from ppzoo.engine.gradient_averaging import BucketAverager, split_into_buckets

FLOATS = 4  # bytes of a float32


class Transfers:
    """A simulated all-reduce with another process, whose gradients are all 1; the sum is set when it is waited for."""

    def __init__(self, network):
        self.network = network
        self.started = []  # number of values of each transfer, and the parameters that had a gradient when it started

    def __call__(self, tensor):
        names = {name for name, parameter in self.network.named_parameters() if parameter.grad is not None}
        self.started.append((tensor.size, names))
        return lambda: tensor.set_value(tensor + 1)


@pytest.fixture
def network():
    paddle.seed(0)
    return paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.Linear(3, 2), paddle.nn.Linear(2, 5))


def averager(network, transfers, **options):
    return BucketAverager(network.parameters(), 2, transfers, max_bytes=8 * FLOATS, **options)


def gradients(network):
    return {name: one.grad.numpy() for name, one in network.named_parameters() if one.grad is not None}


def backward(network, seed=0):
    network(paddle.to_tensor(np.random.default_rng(seed).standard_normal((6, 4)), "float32")).square().mean().backward()


def assert_means(network, own):
    averaged = gradients(network)
    assert averaged.keys() == own.keys()
    for name, gradient in own.items():
        np.testing.assert_array_equal(averaged[name], (gradient + np.float32(1)) / np.float32(2), err_msg=name)


def test_buckets_have_a_maximum_size_and_one_data_type_and_begin_with_the_last_parameter():
    shapes = [(3,), (100,), (2, 2), (4,), (5,)]
    parameters = [paddle.zeros(shape, "float32") for shape in shapes] + [paddle.zeros([2], "float64")]
    buckets = split_into_buckets(parameters, 10 * FLOATS)
    assert [[one.shape for one in bucket] for bucket in buckets] == [[[2]], [[5], [4]], [[2, 2]], [[100]], [[3]]]
    assert [bucket[0].dtype for bucket in buckets] == [paddle.float64] + [paddle.float32] * 4
    assert split_into_buckets([], 10) == []


@pytest.mark.parametrize("overlap", [True, False])
def test_each_gradient_becomes_the_mean(network, overlap):
    backward(network)
    own = gradients(network)
    network.clear_gradients()
    means = averager(network, Transfers(network), overlap=overlap)
    for _ in range(2):
        means.start()
        backward(network)
        means.finish()
        assert_means(network, own)
        network.clear_gradients()


def test_a_bucket_is_transferred_before_the_gradients_of_earlier_layers_are_computed(network):
    transfers = Transfers(network)
    means = averager(network, transfers)
    means.start()
    for parameter in network.parameters():
        parameter.clear_gradient(False)
    backward(network)
    sizes, computed = zip(*transfers.started, strict=True)
    assert sizes == (5, 10, 8, 3, 12)  # bias, weights, bias and weights of the middle layer, bias, weights
    assert not any(name.startswith("0.") for name in computed[0] | computed[1] | computed[2])
    means.finish()
    assert len(transfers.started) == 5


def test_without_overlap_nothing_is_transferred_during_the_backward_pass(network):
    transfers = Transfers(network)
    means = averager(network, transfers, overlap=False)
    means.start()
    backward(network)
    assert not transfers.started
    means.finish()
    assert [size for size, _ in transfers.started] == [5, 10, 8, 3, 12]


def test_accumulated_gradients_are_averaged_once(network):
    for seed in (1, 2):
        backward(network, seed)
    own = gradients(network)
    network.clear_gradients()
    transfers = Transfers(network)
    means = averager(network, transfers)
    backward(network, 1)
    assert not transfers.started
    means.start()
    backward(network, 2)
    means.finish()
    assert_means(network, own)


def test_parameters_without_a_gradient_are_skipped(network):
    network[0].weight.stop_gradient = True
    transfers = Transfers(network)
    means = averager(network, transfers)
    means.start()
    network[1](paddle.ones([2, 3])).sum().backward()  # does not depend on the other layers
    means.finish()
    assert gradients(network).keys() == {"1.weight", "1.bias"}
    assert [size for size, _ in transfers.started] == [8]


def test_a_failed_transfer_is_reported_by_finish(network):
    def fail():
        raise RuntimeError("connection closed by peer")

    means = averager(network, lambda tensor: fail)
    means.start()
    backward(network)
    with pytest.raises(RuntimeError, match="connection closed"):
        means.finish()
