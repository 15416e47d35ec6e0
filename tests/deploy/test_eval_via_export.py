"""Evaluation and inference use the export of a network if it saves time, with the same metrics."""

import numpy as np
import paddle
import pytest

import ppzoo
from ppzoo import deploy
from ppzoo.deploy import eval_via_export
from ppzoo.errors import TrainingError
from ppzoo.explain import embed

MIN_IMAGES = eval_via_export.MIN_IMAGES


@pytest.mark.parametrize(
    ("name", "size"), [("MobileNetV2_x0_25", 64), pytest.param("GoogLeNet", 224, marks=pytest.mark.slow)]
)
def test_export_and_network_agree(name, size, monkeypatch):
    network = ppzoo.create_model(name, class_num=7)
    network.eval()
    fast = deploy.accelerate_eval(network)
    fast.eval()
    deploy.export_if_worthwhile(fast, MIN_IMAGES, paddle.randn([2, 3, size, size]))
    with paddle.no_grad():
        for batch in (4, 3, 1, 2):
            images = paddle.randn([batch, 3, size, size])
            outputs, expected = fast(images), network(images)
            assert type(outputs) is type(expected)
            if not isinstance(expected, list):
                outputs, expected = [outputs], [expected]
            for output, reference in zip(outputs, expected, strict=True):
                scores = reference.numpy()
                np.testing.assert_allclose(output.numpy(), scores, atol=1e-4 * np.abs(scores).max())
        monkeypatch.setattr(type(network), "forward", lambda self, images: pytest.fail("the network was run"))
        fast(paddle.randn([1, 3, size, size]))


@pytest.mark.parametrize("name", ["MobileNetV2_x0_25", "SqueezeNet1_1"])
def test_network_and_export_give_the_features_with_the_outputs(name):
    network = ppzoo.create_model(name, class_num=7)
    network.eval()
    fast, images = deploy.accelerate_eval(network), paddle.randn([4, 3, 64, 64])
    fast.eval()
    received = deploy.receive_features(fast)
    with paddle.no_grad():
        of_network = fast(images), received.take()
        deploy.export_if_worthwhile(fast, MIN_IMAGES, images)
        of_export = fast(images), received.take()
        assert fast._programs and type(of_export[0]) is type(of_network[0])
    expected = embed(network, images)
    for outputs, features in (of_network, of_export):
        np.testing.assert_allclose(outputs.numpy(), network(images).numpy(), atol=1e-4)
        np.testing.assert_allclose(features.numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_outputs_do_not_depend_on_the_position_of_an_image():
    """With several processes, each process runs other batches before it."""
    network = ppzoo.create_model("MobileNetV2_x0_25", class_num=7)
    network.eval()
    images = [paddle.randn([64, 3, 32, 32]) for _ in range(9)]

    def outputs(order, count):
        fast = deploy.accelerate_eval(network)
        fast.eval()
        deploy.export_if_worthwhile(fast, count, images[0][:2])
        with paddle.no_grad():
            return {number: fast(images[number]).numpy().tobytes() for number in order}

    for count in (MIN_IMAGES - 1, MIN_IMAGES):
        one = outputs(range(9), count)
        assert outputs(range(8, -1, -1), count) == one
        assert {**outputs(range(0, 9, 2), count), **outputs(range(1, 9, 2), count)} == one


def test_few_images_are_evaluated_without_an_export():
    fast = deploy.accelerate_eval(ppzoo.create_model("LeNet", class_num=7))
    deploy.export_if_worthwhile(fast, MIN_IMAGES - 1, paddle.randn([2, 3, 32, 32]))
    assert not fast._programs


def test_each_image_shape_has_its_own_export_or_uses_the_network():
    network = ppzoo.create_model("MobileNetV2_x0_25", class_num=7)
    fast = deploy.accelerate_eval(network)
    fast.eval()
    for size in (32, 64):
        deploy.export_if_worthwhile(fast, MIN_IMAGES, paddle.randn([1, 3, size, size]))
    with paddle.no_grad():
        for size in (32, 64, 96, 32, 64):
            images = paddle.randn([4, 3, size, size])
            np.testing.assert_allclose(fast(images).numpy(), network(images).numpy(), atol=1e-4)
    assert len(fast._programs) == 2


def test_training_uses_the_network_itself(monkeypatch):
    network = ppzoo.create_model("LeNet", class_num=7)
    fast = deploy.accelerate_eval(network)
    deploy.export_if_worthwhile(fast, MIN_IMAGES, paddle.randn([2, 3, 32, 32]))
    monkeypatch.setattr(eval_via_export.InferenceProgram, "__call__", lambda *_: pytest.fail("the export was run"))
    fast.train()
    fast(paddle.randn([4, 3, 32, 32]))


def test_a_wrapped_network_in_another_layer_is_exported():
    fast = deploy.accelerate_eval(ppzoo.create_model("LeNet", class_num=7))
    deploy.export_if_worthwhile(deploy.Probabilities(fast, multi_label=False), MIN_IMAGES, paddle.randn([2, 3, 32, 32]))
    assert len(fast._programs) == 1


def test_an_export_that_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(eval_via_export, "RELATIVE_TOLERANCE", -1.0)
    network = ppzoo.create_model("LeNet", class_num=7)
    fast = deploy.accelerate_eval(network)
    with pytest.raises(TrainingError, match="the inference program for the evaluation differs") as error:
        deploy.export_if_worthwhile(fast, MIN_IMAGES, paddle.randn([5, 3, 32, 32]))
    assert "\n" not in str(error.value)


def test_layers_other_than_classifiers_are_not_wrapped():
    layer = paddle.nn.Linear(2, 2)
    assert deploy.accelerate_eval(layer) is layer
