"""A network that is only asked answers by its export after some images, with the same figures."""

import numpy as np
import paddle
import pytest

import ppzoo
from ppzoo import deploy
from ppzoo.deploy import acceleration
from ppzoo.errors import TrainingError


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(acceleration, "PATIENCE", 4)


@pytest.mark.parametrize(
    ("name", "size"), [("MobileNetV2_x0_25", 64), pytest.param("GoogLeNet", 224, marks=pytest.mark.slow)]
)
def test_the_export_answers_what_the_network_answers(name, size, monkeypatch):
    network = ppzoo.create_model(name, class_num=7)
    network.eval()
    fast = deploy.accelerated(network)
    fast.eval()
    with paddle.no_grad():
        for batch in (4, 3, 1, 2):  # the export from the second on
            images = paddle.randn([batch, 3, size, size])
            answers, expected = fast(images), network(images)
            assert type(answers) is type(expected)
            several = isinstance(expected, list)
            for answer, wanted in zip(*((answers, expected) if several else ([answers], [expected])), strict=True):
                scores = wanted.numpy()
                np.testing.assert_allclose(answer.numpy(), scores, atol=1e-4 * np.abs(scores).max())
        monkeypatch.setattr(type(network), "forward", lambda self, images: pytest.fail("the network was asked"))
        fast(paddle.randn([1, 3, size, size]))


def test_images_of_several_shapes_have_an_export_each():
    network = ppzoo.create_model("MobileNetV2_x0_25", class_num=7)
    fast = deploy.accelerated(network)
    fast.eval()
    with paddle.no_grad():
        for size in (32, 64, 32, 64):
            images = paddle.randn([4, 3, size, size])
            np.testing.assert_allclose(fast(images).numpy(), network(images).numpy(), atol=1e-4)
    assert len(fast._programs) == 2


def test_a_network_that_is_trained_is_asked_itself():
    network = ppzoo.create_model("LeNet", class_num=7)
    fast = deploy.accelerated(network)
    fast.train()
    for _ in range(2):
        fast(paddle.randn([4, 3, 32, 32]))
    assert not fast._programs


def test_an_export_that_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(acceleration, "TOLERANCE", -1.0)
    network = ppzoo.create_model("LeNet", class_num=7)
    fast = deploy.accelerated(network)
    fast.eval()
    with pytest.raises(TrainingError, match="the exported network differs") as error, paddle.no_grad():
        fast(paddle.randn([5, 3, 32, 32]))
    assert "\n" not in str(error.value)


def test_other_layers_than_classifiers_are_left_as_they_are():
    layer = paddle.nn.Linear(2, 2)
    assert deploy.accelerated(layer) is layer
