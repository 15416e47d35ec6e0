"""ATTRMetric and TprAtFpr equal values computed by hand, over uneven batches and several processes."""

import numpy as np
import paddle
import pytest

from ppzoo.errors import ConfigError
from ppzoo.metrics import METRICS

SCORES = np.array([[2.0, -1.0, 0.3], [-2.0, 1.0, 0.4], [1.0, 1.0, -3.0], [-1.0, -1.0, 2.0]], "float32")
TRUTH = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0], [1, -1, 1]], "float32")


def gather(metric, scores, label, sizes):
    start = 0
    for size in sizes:
        metric.update(paddle.to_tensor(scores[start : start + size]), paddle.to_tensor(label[start : start + size]))
        start += size
    return metric


def test_attributes_equal_values_computed_by_hand():
    # Of the labels: true positives 1, 2, 2 of 2, 2, 2; true negatives 1, 1, 1 of 2, 1, 2; predicted 2, 2, 3.
    computed = gather(METRICS["ATTRMetric"](), SCORES, TRUTH, [4]).compute()
    recalls, negative = [1 / 2, 1, 1], [1 / 2, 1, 1 / 2]
    assert computed["label_pos_recall"] == pytest.approx(np.mean(recalls))
    assert computed["label_neg_recall"] == pytest.approx(np.mean(negative))
    assert computed["ma"] == pytest.approx((np.mean(recalls) + np.mean(negative)) / 2)
    assert computed["label_f1"] == pytest.approx(np.mean([1 / 2, 1, 4 / 5]))
    # Of the images: 1 of {0, 2} and {0}; {1, 2} of both; {1} of {0, 1} and {1}; {2} of {2} and {0, 2}.
    assert computed["instance_acc"] == pytest.approx(np.mean([1 / 2, 1, 1 / 2, 1 / 2]))
    precision, recall = np.mean([1 / 2, 1, 1 / 2, 1]), np.mean([1, 1, 1, 1 / 2])
    assert (computed["instance_prec"], computed["instance_recall"]) == pytest.approx((precision, recall))
    assert computed["instance_f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_threshold_applies_to_probabilities():
    high = gather(METRICS["ATTRMetric"](threshold=0.6), SCORES, TRUTH, [4]).compute()
    assert high["label_pos_recall"] == pytest.approx(np.mean([1 / 2, 1, 1 / 2]))  # sigmoid(0.4) is 0.599
    with pytest.raises(ConfigError, match="threshold: expected 0 to 1, got 2"):
        METRICS["ATTRMetric"](threshold=2)


def test_the_ratio_row_of_labels_is_ignored():
    both = np.stack([TRUTH, np.full_like(TRUTH, 0.25)], axis=1)
    plain = gather(METRICS["ATTRMetric"](), SCORES, TRUTH, [4]).compute()
    assert gather(METRICS["ATTRMetric"](), SCORES, both, [4]).compute() == plain


def two_classes(probabilities):
    values = np.array(probabilities)
    return np.log(np.stack([1 - values, values], axis=1)).astype("float32")


POSITIVE, NEGATIVE = [0.9, 0.8, 0.6, 0.3], [0.7, 0.5, 0.2, 0.1]


@pytest.mark.parametrize(
    ("max_fpr", "rate", "threshold"), [(0.0, 0.5, 0.7), (0.25, 0.75, 0.5), (0.5, 1.0, 0.2), (1, 1, 0)]
)
def test_the_highest_rate_of_true_positives_is_found(max_fpr, rate, threshold):
    scores, label = two_classes(POSITIVE + NEGATIVE), np.array([1] * 4 + [0] * 4)
    computed = gather(METRICS["TprAtFpr"](max_fpr=max_fpr), scores, label, [8]).compute()
    assert computed == pytest.approx({"TprAtFpr": rate, "threshold": threshold})


def test_one_class_of_images_has_no_rate():
    assert gather(METRICS["TprAtFpr"](), two_classes(POSITIVE), np.ones(4, "int64"), [4]).compute() == {}


def test_networks_of_other_sizes_are_refused():
    with pytest.raises(ConfigError, match="TprAtFpr: expected a network of 2 classes, got 3"):
        gather(METRICS["TprAtFpr"](), SCORES, np.array([0, 1, 1, 0]), [4])


@pytest.mark.parametrize("name", ["ATTRMetric", "TprAtFpr"])
def test_metrics_are_exact_over_batches_and_processes(name):
    scores, label = (SCORES, TRUTH) if name == "ATTRMetric" else (two_classes(POSITIVE + NEGATIVE), np.arange(8) % 2)
    whole = gather(METRICS[name](), scores, label, [len(scores)])
    parts = [
        gather(METRICS[name](), scores[:3], label[:3], [1, 2]),
        gather(METRICS[name](), scores[3:], label[3:], [1, len(scores) - 4]),
    ]
    merged = METRICS[name]()
    for part in parts:
        merged.merge(part.state())
    assert merged.compute() == pytest.approx(whole.compute())
