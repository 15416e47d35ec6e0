"""Per-class metrics equal scikit-learn's; confusion counts; the weakest class."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ppzoo.analysis import (
    count_confusion,
    count_label_confusion,
    find_weakest_class,
    score_classes,
    score_labels,
)


def noisy_predictions(class_num, images, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, class_num, images)
    return labels, np.where(random.random(images) < 0.6, labels, random.integers(0, class_num, images))


@pytest.mark.parametrize(("class_num", "images"), [(2, 1), (2, 50), (10, 500), (200, 300), (1000, 20_000)])
def test_per_class_metrics_equal_scikit_learn(class_num, images):
    labels, predicted = noisy_predictions(class_num, images)
    scores = score_classes(count_confusion(labels, predicted, class_num), class_num)
    expected = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(class_num), zero_division=np.nan
    )
    for ours, theirs in zip(scores, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("class_num", [2, 10, 200])
def test_confusion_equals_scikit_learn(class_num):
    labels, predicted = noisy_predictions(class_num, 400)
    confusion = count_confusion(labels, predicted, class_num)
    assert (confusion[:, 2] > 0).all()
    dense = np.zeros((class_num, class_num), int)
    dense[confusion[:, 0], confusion[:, 1]] = confusion[:, 2]
    np.testing.assert_array_equal(
        dense, sklearn_metrics.confusion_matrix(labels, predicted, labels=np.arange(class_num))
    )


def test_confusion_of_many_classes_is_sparse():
    labels, predicted = noisy_predictions(50_000, 1000)
    assert len(count_confusion(labels, predicted, 50_000)) <= 1000


def test_metrics_of_labels_equal_scikit_learn():
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 2, (300, 7)), random.integers(0, 2, (300, 7))
    confusion = count_label_confusion(labels, predicted)
    matrices = sklearn_metrics.multilabel_confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(confusion[:, 1:], [[m[1, 1], m[0, 1], m[1, 0], m[0, 0]] for m in matrices])
    expected = sklearn_metrics.precision_recall_fscore_support(labels, predicted)
    for ours, theirs in zip(score_labels(confusion), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_unknown_labels_are_not_counted():
    confusion = count_label_confusion(np.array([[1, -1], [0, -1], [-1, 1]]), np.array([[1, 1], [1, 0], [0, 0]]))
    assert confusion.tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 1, 0]]


def test_the_weakest_class_and_what_it_is_predicted_as():
    labels = np.array([0] * 10 + [1] * 4 + [2] * 4)
    predicted = np.array([0] * 10 + [1, 1, 0, 2] + [1, 1, 1, 0])
    weakest = find_weakest_class(count_confusion(labels, predicted, 4), 4)
    assert weakest == (2, 0.0, 1, 0.75)
    predicted[labels == 2] = 2
    assert find_weakest_class(count_confusion(labels, predicted, 4), 4) == (1, 0.5, 0, 0.25)
    assert find_weakest_class(count_confusion(labels, labels, 4), 4) is None


def test_of_equally_weak_classes_the_one_with_more_images_is_reported():
    labels, predicted = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 1, 1, 0, 0])
    assert find_weakest_class(count_confusion(labels, predicted, 2), 2).label == 1
