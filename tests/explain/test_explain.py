"""Grad-CAM heat maps, overlays and features."""

import numpy as np
import paddle
import pytest
from helpers import reference

from ppzoo import builders, explain, native
from ppzoo.errors import ConfigError, TrainingError
from ppzoo.models import MODELS, DistillationModel
from ppzoo.models.model_stats import model_stats

NAMES = ["ResNet18", "MobileNetV2_x0_25", "EfficientNetB0", "DenseNet121"]
CHEAPEST = {
    MODELS[name].network.__module__: name for name in sorted(MODELS, key=lambda name: -model_stats()[name].flops)
}


def build(name, **options):
    paddle.seed(1)
    return builders.create_model(name, **options)


def axis_weights(size, target):
    """Return target x size weights of bilinear interpolation with centers of pixels at half-integers."""
    weights = np.zeros((target, size))
    for row in range(target):
        place = min(max((row + 0.5) * size / target - 0.5, 0), size - 1)
        low = int(place)
        weights[row, low] += 1 - (place - low)
        weights[row, min(low + 1, size - 1)] += place - low
    return weights


def expected_map(network, image, class_id):
    """Grad-CAM by equations 1 and 2 of the paper, from a full forward pass without native operators."""
    kept = {}
    original = network.forward_features

    def keep(x):
        kept["map"] = original(x)
        return kept["map"]

    network.forward_features = keep
    batch = paddle.to_tensor(image[None])
    batch.stop_gradient = False
    logit = network(batch)[0, class_id]
    del network.forward_features
    slope = paddle.grad(logit, kept["map"])[0].numpy()[0]
    weights = slope.reshape(len(slope), -1).mean(1)
    heat = np.maximum(np.tensordot(weights, kept["map"].numpy()[0], 1), 0)
    heat = axis_weights(heat.shape[0], image.shape[1]) @ heat @ axis_weights(heat.shape[1], image.shape[2]).T
    return heat / heat.max()


@pytest.mark.parametrize("name", NAMES)
def test_the_map_is_that_of_the_paper(name):
    network, image = build(name, class_num=7), reference.image(1, 96, 0)[0]
    network.eval()
    was_enabled = native.is_enabled()
    classes = [class_id for class_id in range(7) if explain.grad_cam(network, image, class_id).max() > 0]
    expected = expected_map(network, image, classes[0])
    try:
        for mode in ("off", "auto"):
            native.set_mode(mode)
            np.testing.assert_allclose(explain.grad_cam(network, image, classes[0]), expected, atol=1e-4)
    finally:
        native.set_mode("auto" if was_enabled else "off")


@pytest.mark.parametrize("name", sorted(CHEAPEST.values()))
def test_all_families(name):
    network, size = build(name), MODELS[name].image_shape[1]
    image = reference.image(1, size, 0)
    heatmap = explain.grad_cam(network, image)
    assert heatmap.shape == (size, size) and heatmap.dtype == np.float32
    assert heatmap.min() >= 0 and heatmap.max() in (0, pytest.approx(1))
    features = explain.embed(network, image)
    assert features.ndim == 2 and len(features) == 1 and features.dtype == np.float32


def test_images_of_a_batch_do_not_mix():
    network, images = build("MobileNetV2_x0_25", class_num=5), reference.image(3, 64, 0)
    together = explain.grad_cams(network, images, [4, 0, 2])
    for image, class_id, heatmap in zip(images, (4, 0, 2), together, strict=True):
        np.testing.assert_allclose(explain.grad_cam(network, image, class_id), heatmap, atol=1e-4)


def state(network):
    parameters = [(p.stop_gradient, p.grad is None, p.numpy().tobytes()) for p in network.parameters()]
    layers = [
        (layer.training, len(layer._forward_pre_hooks), len(layer._forward_post_hooks))
        for layer in network.sublayers(True)
    ]
    return parameters, layers, [buffer.numpy().tobytes() for buffer in network.buffers()]


def test_the_network_is_unchanged_also_after_errors():
    network, image = build("ResNet18_cifar", class_num=3), reference.image(1, 32, 0)
    network.train()
    network.stem.eval()
    network.freeze("*")
    before = state(network)
    with paddle.no_grad():
        explain.grad_cam(network, image)
    explain.embed(network, image)
    for call in (lambda: explain.grad_cam(network, image, 3), lambda: explain.embed(network, image[:, :1])):
        with pytest.raises(ConfigError):
            call()
    assert state(network) == before


@pytest.mark.parametrize("class_id", [-1, 3, 1.5, True, "cat"])
def test_classes_that_do_not_exist(class_id):
    network = build("LeNet", class_num=3)
    with pytest.raises(ConfigError, match="class_id: expected an integer from 0 to 2, got"):
        explain.grad_cam(network, reference.image(1, 32, 0), class_id)


def test_outputs_that_are_not_finite():
    network = build("LeNet", class_num=3)
    network.fc3.bias.set_value(np.full(3, np.nan, "float32"))
    with pytest.raises(TrainingError, match="expected finite numbers"):
        explain.grad_cam(network, reference.image(1, 32, 0))


def test_a_distillation_explains_the_network_used_for_inference():
    student, image = build("LeNet", class_num=3), reference.image(1, 32, 0)
    both = DistillationModel({"T": build("LeNet", class_num=3), "S": student}, frozen=["T"], inference_arch="S")
    np.testing.assert_array_equal(explain.grad_cam(both, image, 1), explain.grad_cam(student, image, 1))


def test_overlay_has_the_size_of_the_image():
    image = np.full((20, 30, 3), 100, np.uint8)
    drawn = explain.overlay(image, np.array([[0, 1]], np.float32))
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert drawn[0, -1].tolist() == [177, 166, 68] and drawn[0, 0, 2] > drawn[0, 0, 0]  # viridis: yellow, dark blue


def test_features_times_the_last_layer_are_the_logits():
    network, images = build("MobileNetV2_x0_25", class_num=5), reference.image(2, 64, 0)
    network.eval()
    features = explain.embed(network, images)
    logits = features @ network.out.weight.numpy() + network.out.bias.numpy()
    np.testing.assert_allclose(logits, network(paddle.to_tensor(images)).numpy(), atol=1e-4)


def test_projection_keeps_distances_in_a_plane():
    plane = np.random.default_rng(0).standard_normal((20, 2))
    features = plane @ np.linalg.qr(np.random.default_rng(1).standard_normal((6, 2)))[0].T + 3
    points = explain.project(features)

    def distances(rows):
        return np.linalg.norm(rows[:, None] - rows[None], axis=2)

    np.testing.assert_allclose(distances(points), distances(plane), atol=1e-5)
    np.testing.assert_allclose(explain.project(features[::-1])[::-1], points, atol=1e-5)
    with pytest.raises(ConfigError, match="method: expected pca or tsne"):
        explain.project(features, "umap")


def test_tsne_is_repeatable():
    pytest.importorskip("sklearn")
    features = np.random.default_rng(0).standard_normal((12, 4))
    points = explain.project(features, "tsne", seed=3)
    assert points.shape == (12, 2)
    np.testing.assert_array_equal(points, explain.project(features, "tsne", seed=3))


def test_nearest_by_direction():
    features = np.array([[0, 2], [1, 1], [5, 0], [0, 0]])
    order, similarities = explain.nearest(features, np.array([1, 0]), 3)
    assert order.tolist() == [2, 1, 0]
    np.testing.assert_allclose(similarities, [1, 0.5**0.5, 0])
    with pytest.raises(ConfigError, match="query: expected as many values"):
        explain.nearest(features, np.ones(3))
