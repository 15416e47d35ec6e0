"""The features before the classifier: compute them, draw them in two dimensions, find similar images."""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

import numpy as np
import paddle

from ppzoo.errors import ConfigError, errors_with_key
from ppzoo.explain.networks import network_to_explain, shape_errors, to_batch
from ppzoo.finite import require_finite
from ppzoo.layers import evaluation_mode
from ppzoo.layers.classifier import HeadInput

MIN_VARIANCE = 1e-12  # of a direction of the linear projection, relative to the largest variance
PERPLEXITY = 30.0  # of t-SNE; lower for fewer than 91 images


def embed(model: paddle.nn.Layer, images: Any) -> np.ndarray:
    """Return the features of each image: the input of the network's first head layer, usually its last linear layer.

    If that layer is a convolution (NIN, SqueezeNet), the features are the mean of its input over height and width.

    Args:
        images: preprocessed images, N x C x H x W.

    Returns:
        N x D, float32.

    Raises:
        ConfigError: the images do not fit the network.
        TrainingError: the features are not finite.
    """
    network, batch = network_to_explain(model), to_batch(images)
    head_input = HeadInput(network)
    try:
        with evaluation_mode(network), shape_errors(batch), paddle.no_grad():
            network.forward_head(network.forward_features(network.to_inner_layout(batch)))
            features = head_input.take().numpy().astype(np.float32)
    finally:
        head_input.remove()
    require_finite(features)
    return features


Projection = Literal["pca", "tsne"]


def require_projection(method: str) -> None:
    """Check that `project` can use a method.

    Raises:
        ConfigError: an unknown method, or scikit-learn is missing.
    """
    if method not in get_args(Projection):
        raise ConfigError(f"expected pca or tsne, got {method!r}")
    if method == "tsne":
        _import_tsne()


def _import_tsne() -> Any:
    # scikit-learn sets this to FALSE unless it is set, and a forked process that uses OpenMP then hangs.
    os.environ.setdefault("KMP_INIT_AT_FORK", "TRUE")
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ConfigError(
            "tsne needs scikit-learn, which is not installed: run `pip install 'ppzoo[explain]'`"
            " (in a clone: `pip install -e '.[explain]'`)"
        ) from error
    return TSNE


def project(features: np.ndarray, method: Projection = "pca", seed: int = 0) -> np.ndarray:
    """Return a point in the plane for each feature vector: similar vectors are near each other.

    Args:
        features: N x D.
        method: "pca": the two directions of the largest variance; of each, the component with the largest absolute
            value is positive. "tsne": t-SNE of scikit-learn, after `pip install 'ppzoo[explain]'`.
        seed: seed of t-SNE.

    Returns:
        N x 2, float32.

    Raises:
        ConfigError: an unknown method, features of another shape or not finite, or scikit-learn is missing.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1] or not np.isfinite(features).all():
        raise ConfigError(f"features: expected finite numbers, N x D with N of at least 2, got {list(features.shape)}")
    with errors_with_key("method"):
        require_projection(method)
    if method == "pca":
        return _project_linearly(features)
    tsne = _import_tsne()(perplexity=min(PERPLEXITY, (len(features) - 1) / 3), init="random", random_state=seed)
    return np.asarray(tsne.fit_transform(features), np.float32)


def _project_linearly(features: np.ndarray) -> np.ndarray:
    centered = features - features.mean(0)
    directions = _principal_directions(centered)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    points = centered @ (directions * np.where(largest < 0, -1, 1)).T
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))).astype(np.float32)  # D can be 1


def _principal_directions(centered: np.ndarray) -> np.ndarray:
    """Return the two directions of the largest variance, one per row; of N x 1 features there is only one.

    They are computed from the products of the rows or of the columns, whichever are fewer. For 1,000 x 2,048 features,
    this takes a sixth of the time of a singular value decomposition. If rows are fewer, a direction without variance
    is 0.
    """
    if len(centered) >= centered.shape[1]:
        return np.linalg.eigh(centered.T @ centered)[1][:, :-3:-1].T
    variances, combinations = (array[..., :-3:-1] for array in np.linalg.eigh(centered @ centered.T))
    directions = combinations.T @ centered
    lengths = np.sqrt(np.where(variances > MIN_VARIANCE * variances[0], variances, np.inf))
    return directions / lengths[:, None]


def nearest(features: np.ndarray, query: np.ndarray, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices and the cosine similarities of the `k` feature vectors most similar to a query, best first.

    A vector of zeros has the similarity 0 to all others; with fewer than `k` vectors, all are returned.

    Args:
        features: N x D.
        query: D values.

    Raises:
        ConfigError: the shapes do not fit, or `k` is below 1.
    """
    features, query = np.asarray(features, np.float64), np.asarray(query, np.float64)
    if features.ndim != 2 or query.shape != features.shape[1:]:
        raise ConfigError(
            f"query: expected as many values as the features have, {list(features.shape[1:])}, got {list(query.shape)}"
        )
    if k < 1:
        raise ConfigError(f"k: expected at least 1, got {k}")
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(query)
    products = features @ query
    similarities = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    order = np.argsort(-similarities, kind="stable")[:k]
    return order, similarities[order]
