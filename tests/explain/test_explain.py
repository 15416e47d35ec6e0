"""Grad-CAM heat maps, overlays and features."""

import numpy as np
import paddle
import pytest
from helpers import reference

from ppzoo import builders, explain, native
from ppzoo.errors import ConfigError, TrainingError
from ppzoo.models import MODELS, DistillationModel
from ppzoo.models.model_stats import model_stats

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


def keep_last_map(network, maps):
    """Let a forward pass append the map of the last convolution, after its activation, to `maps`; return the hook."""
    layers = {"VGGNet": "conv_block_5", "VGGCifar": "conv_block_5", "AlexNetDY": "_conv5.relu", "NIN": "block3"}
    layers |= {"GoogLeNetDY": "_ince5b", "InceptionCifar": "_ince5b", "DenseNet": "batch_norm", "LeNet": "pool2"}
    path = layers.get(type(network).__name__)
    if path == "pool2":  # its input: the activation is a function
        return network.pool2.register_forward_pre_hook(lambda layer, inputs: maps.append(inputs[0]))
    if path is not None:
        layer = dict(network.named_sublayers())[path]
        return layer.register_forward_post_hook(lambda layer, inputs, output: maps.append(output))
    pool = next(layer for layer in network.sublayers()[::-1] if isinstance(layer, paddle.nn.AdaptiveAvgPool2D))
    if type(network).__name__ == "SqueezeNet":
        pool = network._conv9
    return pool.register_forward_pre_hook(lambda layer, inputs: maps.append(inputs[0]))


def expected_maps(network, image, class_ids):
    """Grad-CAM by equations 1 and 2 of the paper, from a full forward pass without native operators."""
    maps = []
    hook = keep_last_map(network, maps)
    batch = paddle.to_tensor(image[None])
    batch.stop_gradient = False
    output = network(batch)
    hook.remove()
    logits = (output[0] if isinstance(output, list) else output)[0]
    (map_,) = maps
    for class_id in class_ids:
        slope, kept = paddle.grad(logits[class_id], map_, retain_graph=True)[0].numpy()[0], map_.numpy()[0]
        if network.data_format == "NHWC":
            slope, kept = slope.transpose(2, 0, 1), kept.transpose(2, 0, 1)
        heat = np.maximum(np.tensordot(slope.reshape(len(slope), -1).mean(1), kept, 1), 0)
        heat = axis_weights(heat.shape[0], image.shape[1]) @ heat @ axis_weights(heat.shape[1], image.shape[2]).T
        yield heat / (heat.max() or 1)


@pytest.mark.parametrize("name", sorted({*CHEAPEST.values(), "ResNet18", "EfficientNetB0", "DenseNet121"}))
def test_the_map_of_every_family_is_that_of_the_paper(name):
    network, size = build(name, class_num=4), MODELS[name].image_shape[1]
    size = size if name in ("AlexNet", "VGG11", "GoogLeNet") else min(size, 96)
    image = reference.image(1, size, 0)[0]
    network.eval()
    was_enabled = native.is_enabled()
    native.set_mode("off")
    try:
        expected = list(expected_maps(network, image, range(4)))
        assert any(heatmap.max() > 0 for heatmap in expected)
        for mode in ("off", "auto"):
            native.set_mode(mode)
            for class_id, heatmap in enumerate(expected):
                np.testing.assert_allclose(explain.grad_cam(network, image, class_id), heatmap, atol=1e-4)
    finally:
        native.set_mode("auto" if was_enabled else "off")


@pytest.mark.parametrize("name", sorted(CHEAPEST.values()))
def test_features_of_all_families(name):
    network, size = build(name), MODELS[name].image_shape[1]
    features = explain.embed(network, reference.image(1, size, 0))
    assert features.ndim == 2 and len(features) == 1 and features.dtype == np.float32


def test_the_map_is_the_one_before_the_last_max_pooling():
    """VGG16's published maps have 14 x 14 pixels."""
    network = build("VGG11", class_num=2)
    maps = []
    network.max_pool_5.register_forward_pre_hook(lambda layer, inputs: maps.append(inputs[0].shape))
    explain.grad_cam(network, reference.image(1, 224, 0), 0)
    assert maps == [[1, 512, 14, 14]] * 2  # once for the forward pass to the map, once from the map to the logits
    assert len(network.max_pool_5._forward_post_hooks) == 0


def test_only_errors_of_shapes_become_messages_about_shapes():
    network, image = build("LeNet", class_num=2), reference.image(1, 32, 0)
    for wrong in (image[:, :1], np.zeros((1, 3, 64, 64), "float32"), np.zeros((1, 3, 4, 4), "float32")):
        for call in (explain.grad_cam, explain.embed):
            with pytest.raises(ConfigError, match="images: expected images of a shape that the network can take, got"):
                call(network, wrong)
    for error in (RuntimeError("the device is lost"), ValueError("a mistake in the network"), MemoryError("full")):

        def fail(x, error=error):
            raise error

        network.forward_features = fail
        for call in (explain.grad_cam, explain.embed):
            with pytest.raises(type(error), match=str(error)):
                call(network, image)


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


@pytest.mark.parametrize(("images", "width"), [(30, 80), (80, 30), (40, 40), (2, 5), (3, 1)])
def test_projection_is_on_the_directions_of_a_singular_value_decomposition(images, width):
    random = np.random.default_rng(images)
    features = random.standard_normal((images, width)) * np.linspace(1, 3, width) + 100
    centered = features - features.mean(0)
    directions = np.linalg.svd(centered, full_matrices=False)[2][:2]
    signs = [np.sign(one[np.abs(one).argmax()]) for one in directions]
    expected = (centered @ directions.T) * signs
    np.testing.assert_allclose(explain.project(features)[:, : len(directions)], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (3, 1)])
def test_projection_of_equal_features_is_one_point(shape):
    assert not explain.project(np.ones(shape)).any()


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
