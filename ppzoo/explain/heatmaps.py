"""Grad-CAM: which pixels of an image raise the score of a class.

Selvaraju et al.: "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", arXiv:1610.02391.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import paddle

from ppzoo.errors import ConfigError
from ppzoo.explain.networks import network_to_explain, shape_errors, to_batch
from ppzoo.finite import require_finite
from ppzoo.layers import Classifier, evaluation_mode

ToLogits = Callable[[paddle.Tensor], paddle.Tensor]


def grad_cam(model: paddle.nn.Layer, image: Any, class_id: int | None = None) -> np.ndarray:
    """Return the Grad-CAM heat map of one image; see `grad_cams`.

    Args:
        image: a preprocessed array or tensor, C x H x W or 1 x C x H x W.
        class_id: index of the class to explain; by default the predicted one.

    Returns:
        H x W, float32.
    """
    image = image[None] if image.ndim == 3 else image
    if image.ndim != 4 or image.shape[0] != 1:
        raise ConfigError(f"image: expected an array of shape C x H x W, got {list(image.shape)}")
    return grad_cams(model, image, None if class_id is None else [class_id])[0]


def grad_cams(model: paddle.nn.Layer, images: Any, class_ids: Sequence[int] | None = None) -> np.ndarray:
    """Return the Grad-CAM heat maps of a batch.

    The feature map is that of the last convolution before the head, after its activation: the output of the network's
    `forward_features`, or, where that ends with max pooling (LeNet, AlexNet, VGG, NIN), the input of this pooling, as
    in the paper: 14 x 14 pixels in VGG16, not 7 x 7. The head of NIN and SqueezeNet begins with the convolutions that
    replace linear layers. The map's channels are weighted by the mean gradient of the class's logit, added, and
    negative sums are set to 0 (equations 1 and 2 of the paper). The map is resized to the
    size of the images by bilinear interpolation with centers of pixels at half-integers, and then divided by its
    maximum; a map without positive values is 0 everywhere. The network computes in evaluation mode; its modes,
    parameters and gradients are unchanged afterwards.

    Args:
        images: preprocessed images, N x C x H x W.
        class_ids: index of the class to explain for each image; by default the predicted ones.

    Returns:
        N x H x W, float32, in [0, 1].

    Raises:
        ConfigError: the images or classes do not fit the network, or it has no map with a height and a width.
        TrainingError: the network's output is not finite.
    """
    network, batch = network_to_explain(model), to_batch(images)
    with evaluation_mode(network), shape_errors(batch):
        features, to_logits = _last_map(network, batch)
        if features.ndim != 4:
            raise ConfigError(f"model: expected a network with a feature map, got features of shape {features.shape}")
        gradients = _gradients(features, to_logits, class_ids)
    maps, slopes = (_channels_first(network, tensor) for tensor in (features, gradients))
    sums = np.maximum((maps * slopes.mean((2, 3), keepdims=True)).sum(1), 0)
    return np.stack([_resize(heatmap, *batch.shape[2:]) for heatmap in sums])


def _last_map(network: Classifier, batch: paddle.Tensor) -> tuple[paddle.Tensor, ToLogits]:
    """Return the last feature map, without history, and the function from it to the logits."""
    poolings: list[tuple[paddle.nn.Layer, paddle.Tensor, paddle.Tensor]] = []  # the latest, with input and output

    def keep(layer: paddle.nn.Layer, inputs: tuple[paddle.Tensor, ...], output: paddle.Tensor) -> None:
        poolings[:] = [(layer, inputs[0], output)]

    layers = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.MaxPool2D)]
    hooks = [layer.register_forward_post_hook(keep) for layer in layers]
    try:
        with paddle.no_grad():
            features = network.forward_features(network.to_inner_layout(batch))
    finally:
        for hook in hooks:
            hook.remove()
    if not poolings or poolings[0][2] is not features:
        return features.detach(), network.forward_head
    pooling, before, _ = poolings[0]
    return before.detach(), lambda before: network.forward_head(pooling(before))


def _gradients(features: paddle.Tensor, to_logits: ToLogits, class_ids: Sequence[int] | None) -> paddle.Tensor:
    """Return the gradients of the classes' logits with respect to the feature maps."""
    features.stop_gradient = False
    with paddle.set_grad_enabled(True):
        logits = to_logits(features)
        require_finite(logits)
        chosen = paddle.nn.functional.one_hot(paddle.to_tensor(_choose(logits, class_ids)), logits.shape[1])
        # An image's logits depend on its own features only, so the gradient of the sum is that of each image.
        (gradients,) = paddle.grad((logits * chosen).sum(), features)
    return gradients


def _channels_first(network: Classifier, maps: paddle.Tensor) -> np.ndarray:
    """Return feature maps in the layout of the network as N x channels x height x width, float32."""
    array = maps.numpy().astype(np.float32)
    return array.transpose(0, 3, 1, 2) if network.data_format == "NHWC" else array


def _choose(logits: paddle.Tensor, class_ids: Sequence[int] | None) -> np.ndarray:
    """Return the index of the class to explain for each image.

    Raises:
        ConfigError: `class_ids` has another length than the batch, or the network has no such class.
    """
    count, classes = logits.shape
    if class_ids is None:
        return logits.numpy().argmax(1)
    if len(class_ids) != count:
        raise ConfigError(f"class_ids: expected one class for each of {count} images, got {len(class_ids)}")
    for class_id in class_ids:
        is_index = isinstance(class_id, (int, np.integer)) and not isinstance(class_id, bool)
        if not is_index or not 0 <= class_id < classes:
            raise ConfigError(f"class_id: expected an integer from 0 to {classes - 1}, got {class_id!r}")
    return np.array(class_ids, np.int64)


def _resize(heatmap: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)
    highest = resized.max()
    return resized / highest if highest > 0 else np.zeros_like(resized)
