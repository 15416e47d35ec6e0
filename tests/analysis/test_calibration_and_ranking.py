"""Temperature, calibration, coverage, ranking, and the McNemar test."""

import numpy as np
import paddle
import pytest
from scipy import stats

from ppzoo import analysis
from ppzoo.metrics import METRICS


def overconfident(images=4000, class_num=5, factor=3.0, seed=0):
    """Return logits that are `factor` times those from which the labels were drawn, and the labels."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal((images, class_num)) * 2
    noise = random.gumbel(size=logits.shape)
    return (logits * factor).astype(np.float32), (logits + noise).argmax(axis=1)


def record(scores, labels, *, batch=64, multi_label=False, order=None):
    recorder = analysis.PredictionRecorder(scores.shape[1], len(scores), multi_label=multi_label)
    order = np.arange(len(scores)) if order is None else order
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        recorder.add(part, scores[part], labels[part])
    return recorder.finish()


def cross_entropy(scores, labels, temperature):
    scaled = scores.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 3.0, 20.0])
def test_the_temperature_minimizes_the_negative_log_likelihood(factor):
    scores, labels = overconfident(factor=factor)
    temperature = analysis.fit_temperature(scores, labels)
    assert temperature == pytest.approx(factor, rel=0.1)
    best = cross_entropy(scores, labels, temperature)
    for nearby in (0.99, 0.999, 1.001, 1.01):
        assert best < cross_entropy(scores, labels, temperature * nearby)


def test_the_temperature_of_separate_labels():
    random = np.random.default_rng(0)
    logits = random.standard_normal((2000, 3)) * 2
    labels = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    assert analysis.fit_temperature(logits * 4, labels) == pytest.approx(4, rel=0.1)
    unknown = np.concatenate([labels, np.full((1000, 3), -1, np.int8)])
    scores = np.concatenate([logits * 4, np.full((1000, 3), 9.0)])
    assert analysis.fit_temperature(scores, unknown) == pytest.approx(analysis.fit_temperature(logits * 4, labels))


def test_without_a_best_temperature_there_is_none():
    scores, _ = overconfident(100)
    assert analysis.fit_temperature(scores, scores.argmax(axis=1)) is None
    assert analysis.fit_temperature(scores, scores.argmin(axis=1)) is None
    assert analysis.fit_temperature(scores[:0], np.zeros(0, int)) is None


def test_calibration_equals_the_metric_and_improves_with_the_temperature():
    scores, labels = overconfident()
    metric = METRICS["ExpectedCalibrationError"]()
    metric.update(paddle.to_tensor(scores), paddle.to_tensor(labels))
    predictions = record(scores, labels)
    error = analysis.calibration_error(predictions.bins)
    assert error == pytest.approx(metric.compute()["ExpectedCalibrationError"], abs=1e-12)
    temperature = analysis.fit_temperature(predictions.scores, predictions.labels)
    scaled = analysis.scaled_bins(predictions.scores, predictions.labels, temperature)
    assert analysis.calibration_error(scaled) < 0.3 * error
    bins = analysis.describe_bins(predictions.bins)
    assert len(bins) == 15 and sum(one["count"] for one in bins) == len(labels)
    assert all(one["lower"] <= one["confidence"] <= one["upper"] for one in bins if one["count"])
    assert all(one["confidence"] is None and one["accuracy"] is None for one in bins if not one["count"])


def test_predictions_are_in_the_order_of_the_data():
    scores, labels = overconfident(300)
    expected = record(scores, labels)
    received = record(scores, labels[:, None], order=np.random.default_rng(1).permutation(300), batch=7)
    for name in ("indices", "labels", "predicted", "confidence", "label_confidence", "loss", "right", "kept", "scores"):
        np.testing.assert_array_equal(getattr(received, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(expected.indices, np.arange(300))
    assert expected.loss.mean() == pytest.approx(cross_entropy(scores, labels, 1))
    np.testing.assert_allclose(expected.label_confidence, np.exp(-expected.loss))


def test_images_that_were_skipped_have_no_scores():
    scores, labels = overconfident(20)
    predictions = record(scores, labels, order=np.array([3, 17, 5]))
    assert predictions.indices.tolist() == [3, 5, 17]
    np.testing.assert_array_equal(predictions.scores.argmax(axis=1), scores[[3, 5, 17]].argmax(axis=1))


def test_of_many_images_the_scores_of_evenly_spaced_ones_are_kept(monkeypatch):
    monkeypatch.setattr(analysis.predictions, "MAX_KEPT_SCORES", 100)
    scores, labels = overconfident(60, class_num=5)
    predictions = record(scores, labels)
    assert predictions.kept.tolist() == list(range(0, 60, 3))
    np.testing.assert_allclose(predictions.scores, scores[::3] - scores[::3].max(axis=1, keepdims=True))
    assert len(predictions) == 60


def test_predictions_with_several_labels():
    scores = np.array([[2.0, -1.0, 0.5], [-3.0, 1.0, 0.2]], np.float32)
    labels = np.array([[1, 0, 0], [0, 1, -1]], np.float32)
    predictions = record(scores, labels, multi_label=True)
    assert predictions.predicted.tolist() == [[1, 0, 1], [0, 1, 1]]
    assert predictions.right.tolist() == [False, True]
    probability = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(predictions.label_confidence, [1 - probability[0, 2], probability[1, 1]], rtol=1e-6)
    np.testing.assert_allclose(predictions.confidence, [probability[0, 2], probability[1, 2]], rtol=1e-6)
    expected = [-np.log([probability[0, 0], 1 - probability[0, 1], 1 - probability[0, 2]]).mean()]
    expected.append(-np.log([1 - probability[1, 0], probability[1, 1]]).mean())
    np.testing.assert_allclose(predictions.loss, expected, rtol=1e-6)


def test_rankings():
    scores, labels = overconfident(500)
    predictions = record(scores, labels)
    worst = analysis.highest_loss(predictions, 5)
    assert predictions.loss[worst].tolist() == sorted(predictions.loss, reverse=True)[:5]
    assert predictions.confidence[analysis.least_confident(predictions, 3)[0]] == predictions.confidence.min()
    wrong = analysis.confidently_wrong(predictions, 1000)
    assert len(wrong) == (~predictions.right).sum() and not predictions.right[wrong].any()
    assert (np.diff(predictions.confidence[wrong]) <= 0).all()


def test_coverage_is_the_share_of_images_above_the_threshold():
    scores, labels = overconfident(997)
    predictions = record(scores, labels)
    curve = analysis.coverage_curve(predictions)
    assert 45 <= len(curve) <= 50
    assert curve[0]["coverage"] == 1 and curve[0]["accuracy"] == pytest.approx(predictions.right.mean())
    for point in curve:
        kept = predictions.confidence >= point["threshold"]
        assert point["coverage"] == pytest.approx(kept.mean())
        assert point["accuracy"] == pytest.approx(predictions.right[kept].mean())
    assert [point["coverage"] for point in curve] == sorted((point["coverage"] for point in curve), reverse=True)


def test_coverage_of_one_image_and_of_equal_confidences():
    one = record(np.array([[1.0, 0.0]], np.float32), np.array([0]))
    assert [(point["coverage"], point["accuracy"]) for point in analysis.coverage_curve(one)] == [(1, 1)]
    equal = record(np.zeros((100, 2), np.float32), np.arange(100) % 2)
    assert [(point["coverage"], point["accuracy"]) for point in analysis.coverage_curve(equal)] == [(1, 0.5)]


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (5, 5), (3, 12), (40, 80), (900, 1000), (20_000, 20_400)])
def test_mcnemar_equals_the_binomial_test(one, other):
    first = np.array([True] * one + [False] * other + [True, False])
    second = np.array([False] * one + [True] * other + [True, False])
    result = analysis.mcnemar(first, second)
    assert result[:2] == (one, other)
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert result.p_value == pytest.approx(expected, rel=1e-9)
