"""Evaluation and inference run the export of a network where that is worthwhile, with the same metrics."""

import numpy as np
import paddle
import pytest

import ppzoo
from ppzoo import deploy
from ppzoo.deploy import eval_via_export
from ppzoo.errors import TrainingError

MANY = eval_via_export.MIN_IMAGES


@pytest.mark.parametrize(
    ("name", "size"), [("MobileNetV2_x0_25", 64), pytest.param("GoogLeNet", 224, marks=pytest.mark.slow)]
)
def test_the_export_answers_what_the_network_answers(name, size, monkeypatch):
    network = ppzoo.create_model(name, class_num=7)
    network.eval()
    fast = deploy.accelerate_eval(network)
    fast.eval()
    deploy.export_if_worthwhile(fast, MANY, paddle.randn([2, 3, size, size]))
    with paddle.no_grad():
        for batch in (4, 3, 1, 2):
            images = paddle.randn([batch, 3, size, size])
            answers, expected = fast(images), network(images)
            assert type(answers) is type(expected)
            several = isinstance(expected, list)
            for answer, wanted in zip(*((answers, expected) if several else ([answers], [expected])), strict=True):
                scores = wanted.numpy()
                np.testing.assert_allclose(answer.numpy(), scores, atol=1e-4 * np.abs(scores).max())
        monkeypatch.setattr(type(network), "forward", lambda self, images: pytest.fail("the network was asked"))
        fast(paddle.randn([1, 3, size, size]))


def test_an_image_has_the_same_output_wherever_it_stands():
    """On several processes each has other batches before it."""
    network = ppzoo.create_model("MobileNetV2_x0_25", class_num=7)
    network.eval()
    images = [paddle.randn([64, 3, 32, 32]) for _ in range(9)]

    def outputs(order, count):
        fast = deploy.accelerate_eval(network)
        fast.eval()
        deploy.export_if_worthwhile(fast, count, images[0][:2])
        with paddle.no_grad():
            return {number: fast(images[number]).numpy().tobytes() for number in order}

    for count in (MANY - 1, MANY):
        one = outputs(range(9), count)
        assert outputs(range(8, -1, -1), count) == one
        assert {**outputs(range(0, 9, 2), count), **outputs(range(1, 9, 2), count)} == one


def test_few_images_are_not_worth_an_export():
    fast = deploy.accelerate_eval(ppzoo.create_model("LeNet", class_num=7))
    deploy.export_if_worthwhile(fast, MANY - 1, paddle.randn([2, 3, 32, 32]))
    assert not fast._programs


def test_images_of_several_shapes_have_an_export_each_or_go_through_the_network():
    network = ppzoo.create_model("MobileNetV2_x0_25", class_num=7)
    fast = deploy.accelerate_eval(network)
    fast.eval()
    for size in (32, 64):
        deploy.export_if_worthwhile(fast, MANY, paddle.randn([1, 3, size, size]))
    with paddle.no_grad():
        for size in (32, 64, 96, 32, 64):
            images = paddle.randn([4, 3, size, size])
            np.testing.assert_allclose(fast(images).numpy(), network(images).numpy(), atol=1e-4)
    assert len(fast._programs) == 2


def test_a_network_that_is_trained_is_asked_itself(monkeypatch):
    network = ppzoo.create_model("LeNet", class_num=7)
    fast = deploy.accelerate_eval(network)
    deploy.export_if_worthwhile(fast, MANY, paddle.randn([2, 3, 32, 32]))
    monkeypatch.setattr(eval_via_export.InferenceProgram, "__call__", lambda *_: pytest.fail("the export was asked"))
    fast.train()
    fast(paddle.randn([4, 3, 32, 32]))


def test_a_network_within_another_layer_is_found():
    fast = deploy.accelerate_eval(ppzoo.create_model("LeNet", class_num=7))
    deploy.export_if_worthwhile(deploy.Probabilities(fast, multi_label=False), MANY, paddle.randn([2, 3, 32, 32]))
    assert len(fast._programs) == 1


def test_an_export_that_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(eval_via_export, "TOLERANCE", -1.0)
    network = ppzoo.create_model("LeNet", class_num=7)
    fast = deploy.accelerate_eval(network)
    with pytest.raises(TrainingError, match="the exported network differs") as error:
        deploy.export_if_worthwhile(fast, MANY, paddle.randn([5, 3, 32, 32]))
    assert "\n" not in str(error.value)


def test_other_layers_than_classifiers_are_left_as_they_are():
    layer = paddle.nn.Linear(2, 2)
    assert deploy.accelerate_eval(layer) is layer
