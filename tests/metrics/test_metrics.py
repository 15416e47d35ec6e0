"""Metrics are exact over uneven batches and several processes, and equal values computed by hand."""

import numpy as np
import paddle
import pytest
from helpers import reference

from ppzoo.errors import ConfigError, DataError
from ppzoo.metrics import METRICS, MetricList

FACTS = reference.read_json("losses_metrics.json")
LOGITS = np.array(FACTS["logits"], "float32")
LABEL = np.array(FACTS["label"])
CLASSES = LOGITS.shape[1]
MULTI = np.random.RandomState(3).randint(0, 2, LOGITS.shape)

SINGLE_LABEL = {
    "TopkAcc": {"topk": [1, 3, 5]},
    "PrecisionRecallF1": {"per_class": True},
    "AveragePrecision": {},
    "ExpectedCalibrationError": {"bins": 4},
}
MULTI_LABEL = {"ATTRMetric": {}, "HammingDistance": {}, "AccuracyScore": {"base": "sample"}, "MultiLabelMAP": {}}


def gather(metric, scores, label, sizes=None, output=lambda scores: scores):
    """`metric` after batches of these sizes."""
    start = 0
    for size in sizes or [len(scores)]:
        part = slice(start, start + size)
        metric.update(output(paddle.to_tensor(scores[part])), paddle.to_tensor(label[part]))
        start += size
    return metric


def compute(name, scores=LOGITS, label=LABEL, output=lambda scores: scores, **options):
    return gather(METRICS[name](**options), scores, label, output=output).compute()


def test_top_k_equals_paddleclas():
    assert compute("TopkAcc", topk=[1, 5]) == FACTS["TopkAcc"]
    assert compute("TopkAcc", label=LABEL.ravel()) == FACTS["TopkAcc"]
    assert compute("TopkAcc", topk=5) == {"top5": FACTS["TopkAcc"]["top5"]}
    assert compute("TopkAcc", output=lambda scores: {"logits": scores}) == FACTS["TopkAcc"]
    assert compute("GoogLeNetTopkAcc", output=lambda scores: [scores, -scores, scores]) == FACTS["TopkAcc"]
    networks = {"Student": {"scores": None}}
    values_by_name = compute(
        "DistillationTopkAcc",
        output=lambda scores: {**networks, "Student": {"scores": scores}, "Teacher": -scores},
        model_key="Student",
        feature_key="scores",
    )
    assert values_by_name == FACTS["TopkAcc"]


def test_an_unknown_key_of_a_network_in_a_distillation_is_an_error():
    with pytest.raises(ConfigError, match="feature_key: expected one of logits, which Student returns, got 'scores'"):
        compute(
            "DistillationTopkAcc",
            output=lambda scores: {"Student": {"logits": scores}},
            model_key="Student",
            feature_key="scores",
        )


def cases():
    for names, label in ((SINGLE_LABEL, LABEL), (MULTI_LABEL, MULTI)):
        for name, options in names.items():
            yield pytest.param(METRICS[name], options, label, id=name)


@pytest.mark.parametrize(("metric", "options", "label"), list(cases()))
def test_metrics_are_exact_over_uneven_batches_and_processes(metric, options, label):
    undivided = gather(metric(**options), LOGITS, label).compute()
    assert gather(metric(**options), LOGITS, label, [5, 1, 7, 3]).compute() == pytest.approx(undivided, rel=1e-12)

    first = gather(metric(**options), LOGITS[:5], label[:5], [4, 1])
    second = gather(metric(**options), LOGITS[5:], label[5:])
    idle = metric(**options)
    for other in (second, idle):
        first.merge(other.state())
    assert first.compute() == pytest.approx(undivided, rel=1e-12)

    first.reset()
    assert gather(first, LOGITS, label).compute() == undivided


@pytest.mark.parametrize("name", list(METRICS))
def test_the_main_metric_is_computed(name):
    options = {"model_key": "Student"} if name == "DistillationTopkAcc" else {}
    metric = METRICS[name](**options)
    outputs = {"GoogLeNetTopkAcc": lambda scores: [scores], "DistillationTopkAcc": lambda scores: {"Student": scores}}
    scores, label = LOGITS, MULTI if name in MULTI_LABEL else LABEL
    if name == "TprAtFpr":
        scores, label = LOGITS[:, :2], LABEL % 2
    gather(metric, scores, label, output=outputs.get(name, lambda scores: scores))
    assert metric.main in metric.compute()


def test_a_k_above_the_class_count_is_ignored_with_one_warning(caplog):
    metric = METRICS["TopkAcc"](topk=[1, 5])
    gather(metric, LOGITS[:, :3], LABEL % 3, [8, 8])
    metric.reset()
    gather(metric, LOGITS[:, :3], LABEL % 3)
    assert list(metric.compute()) == ["top1"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "top-5" in caplog.text
    assert "3 classes" in caplog.text
    with pytest.raises(ConfigError, match="at most 3"):
        compute("TopkAcc", LOGITS[:, :3], LABEL % 3, topk=[5])


def test_the_class_of_soft_labels_is_the_most_probable_one():
    soft = 0.6 * np.eye(CLASSES)[LABEL.ravel()] + 0.4 * np.eye(CLASSES)[(LABEL.ravel() + 1) % CLASSES]
    assert compute("TopkAcc", label=soft.astype("float32")) == FACTS["TopkAcc"]


def test_equal_scores_are_ordered_as_in_paddlepaddles_accuracy():
    scores = np.round(LOGITS / 3)
    for k in (1, 2, 5):
        expected = float(paddle.metric.accuracy(paddle.to_tensor(scores), paddle.to_tensor(LABEL), k=k))
        assert compute("TopkAcc", scores, topk=[k])[f"top{k}"] == pytest.approx(expected)


def test_precision_recall_and_f1_by_hand():
    # Labels 0 0 0 1 1 2, predictions 0 0 1 1 0 0; class 3 occurs nowhere.
    predicted, truth = [0, 0, 1, 1, 0, 0], np.array([0, 0, 0, 1, 1, 2])
    metric = gather(METRICS["PrecisionRecallF1"](per_class=True), np.eye(4, dtype="float32")[predicted], truth)
    precision, recall = np.array([2 / 4, 1 / 2, 0]), np.array([2 / 3, 1 / 2, 0])
    f1 = np.array([4 / 7, 1 / 2, 0])
    values_by_name = metric.compute()
    for name, values in {"precision": precision, "recall": recall, "f1": f1}.items():
        assert values_by_name[f"{name}_macro"] == pytest.approx(values.mean())
        assert values_by_name[f"{name}_weighted"] == pytest.approx((values * [3, 2, 1]).sum() / 6)
        np.testing.assert_allclose(metric.per_class()[name], [*values, 0])
        assert values_by_name[f"{name}_class1"] == pytest.approx(values[1])
    assert metric.per_class()["support"].tolist() == [3, 2, 1, 0]


def test_the_state_of_precision_and_recall_is_linear_in_the_classes():
    scores = np.zeros((2, 300_000), "float32")
    scores[0, 7], scores[1, 9] = 1, 1
    metric = gather(METRICS["PrecisionRecallF1"](), scores, np.array([7, 8]))
    assert sum(value.size for value in metric.state().values()) == 3 * 300_000
    assert metric.compute()["recall_weighted"] == pytest.approx(0.5)


def test_average_precision_by_hand_with_equal_scores():
    # One class against the other by scores 4 3 3 2 1, positive + - + + -: precision 1, 2/3, 3/4 at recall 1/3, 2/3, 1.
    scores = np.array([[4, 0], [3, 0], [3, 0], [2, 0], [1, 0]], "float32")
    target = np.array([[1, 0], [0, 0], [1, 0], [1, 0], [0, 0]])
    expected = (1 + 2 / 3 + 3 / 4) / 3
    assert compute("MultiLabelMAP", scores, target)["MultiLabelMAP"] == pytest.approx(expected)
    eleven = (4 * 1 + 7 * 3 / 4) / 11
    assert compute("MultiLabelMAP", scores, target, map_type="11point")["MultiLabelMAP"] == pytest.approx(eleven)
    metric = gather(METRICS["AveragePrecision"](), scores, 1 - target[:, 0])
    assert metric.per_class()[0] == pytest.approx(expected)


def test_multi_label_accuracy_by_hand():
    scores = np.array([[2.0, -1.0], [-3.0, 4.0], [1.0, 1.0]], "float32")
    target = np.array([[1, 0], [1, 1], [1, 1]])
    for shaped in (target, target[:, None]):
        assert compute("HammingDistance", scores, shaped) == {"HammingDistance": pytest.approx(1 / 6)}
        assert compute("AccuracyScore", scores, shaped) == {"AccuracyScore": pytest.approx(5 / 6)}
        assert compute("AccuracyScore", scores, shaped, base="sample") == {"AccuracyScore": pytest.approx(2 / 3)}
    with pytest.raises(DataError, match="N x 2"):
        compute("HammingDistance", scores, np.zeros((3, 5)))


def test_unknown_labels_are_ignored():
    scores = np.array([[2.0, -1.0], [-3.0, 4.0], [1.0, 1.0], [5.0, 5.0]], "float32")
    target = np.array([[1, 0], [1, -1], [-1, 1], [-1, -1]])
    assert compute("HammingDistance", scores, target) == {"HammingDistance": pytest.approx(1 / 4)}
    assert compute("AccuracyScore", scores, target) == {"AccuracyScore": pytest.approx(3 / 4)}
    assert compute("AccuracyScore", scores, target, base="sample") == {"AccuracyScore": pytest.approx(2 / 3)}
    # By class: positives by rank 1 and 2 of 2, and the positive before the negative.
    assert compute("MultiLabelMAP", scores, target) == {"MultiLabelMAP": pytest.approx(1.0)}
    target[0, 0] = 0
    assert compute("MultiLabelMAP", scores, target) == {"MultiLabelMAP": pytest.approx((1 / 2 + 1) / 2)}


@pytest.mark.parametrize("name", MULTI_LABEL)
def test_batches_without_a_known_label_have_no_metric(name):
    unknown = np.full_like(MULTI, -1)
    assert compute(name, label=unknown) == {}
    both = gather(METRICS[name](**MULTI_LABEL[name]), LOGITS, unknown)
    gather(both, LOGITS, MULTI)
    assert both.compute() == compute(name, label=MULTI, **MULTI_LABEL[name])


def test_calibration_error_does_not_depend_on_the_order_of_batches():
    def states(size):
        starts = range(0, len(LOGITS), size)
        return [
            gather(METRICS["ExpectedCalibrationError"](), LOGITS[i : i + size], LABEL[i : i + size]) for i in starts
        ]

    values = set()
    for parts in (states(1), states(1)[::-1], states(5)):
        undivided = METRICS["ExpectedCalibrationError"]()
        for part in parts:
            undivided.merge(part.state())
        values.add(undivided.compute()["ExpectedCalibrationError"])
    assert len(values) == 1


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.45, 0.55]])
    values_by_name = compute(
        "ExpectedCalibrationError", np.log(probabilities).astype("float32"), np.array([0, 1, 0, 1]), bins=4
    )
    # Of four bins two are used: (0.5, 0.75] has accuracy 2/2 at confidence 0.575, (0.75, 1] 1/2 at 0.85.
    expected = (abs(1.0 - 0.575) * 2 + abs(0.5 - 0.85) * 2) / 4
    assert values_by_name["ExpectedCalibrationError"] == pytest.approx(expected, rel=1e-5)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_one():
    confidence, label = np.array([0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9]), np.array([0, 1, 0, 0, 1, 0, 0, 0])
    scores = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype("float32")
    values_by_name = compute("ExpectedCalibrationError", scores, label, bins=10)
    # Correct predictions and the sum of the confidences, in (0.5, 0.6], (0.6, 0.7], (0.7, 0.8] and (0.8, 0.9].
    expected = (abs(1 - 1.2) + abs(2 - 1.4) + abs(1 - 1.6) + abs(2 - 1.8)) / 8
    assert values_by_name["ExpectedCalibrationError"] == pytest.approx(expected, rel=1e-5)


def test_a_metric_list_returns_all_metrics_and_the_first_is_the_main_one():
    def metrics():
        return MetricList([METRICS["ExpectedCalibrationError"](), METRICS["TopkAcc"](topk=[1]), METRICS["TopkAcc"]()])

    undivided = gather(metrics(), LOGITS, LABEL)
    assert list(undivided.compute()) == ["ExpectedCalibrationError", "top1", "top1_2", "top5"]
    assert (undivided.main, undivided.higher_is_better) == ("ExpectedCalibrationError", False)
    first, second = gather(metrics(), LOGITS[:9], LABEL[:9]), gather(metrics(), LOGITS[9:], LABEL[9:])
    first.merge(second.state())
    assert first.compute() == pytest.approx(undivided.compute(), rel=1e-12)
    first.reset()
    with pytest.raises(DataError, match="got none"):
        first.compute()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TopkAcc", {"topk": [0]}),
        ("TopkAcc", {"topk": []}),
        ("AccuracyScore", {"base": "samples"}),
        ("MultiLabelMAP", {"map_type": "12point"}),
        ("ExpectedCalibrationError", {"bins": 0}),
    ],
)
def test_values_out_of_range_are_rejected(name, options):
    with pytest.raises(ConfigError, match=r"expected .* got"):
        METRICS[name](**options)


def test_outputs_of_the_wrong_network_are_rejected():
    with pytest.raises(ConfigError, match="use GoogLeNetTopkAcc"):
        compute("TopkAcc", output=lambda scores: [scores, scores])
    with pytest.raises(ConfigError, match="use TopkAcc"):
        compute("GoogLeNetTopkAcc")
    with pytest.raises(ConfigError, match="did you mean 'Student'"):
        compute("DistillationTopkAcc", output=lambda scores: {"Student": scores}, model_key="student")


def test_an_empty_metric_list_returns_nothing():
    metric = MetricList([])
    metric.update(paddle.zeros([2, 3]), paddle.zeros([2], "int64"))
    assert metric.compute() == {}
    assert metric.main == ""
