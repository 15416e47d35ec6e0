"""The recall of each class is counted without becoming a metric of the evaluation."""

import numpy as np
import paddle

from ppzoo.metrics import METRICS, ClassRecall, MetricList, describe_weakest


def scores(*predicted, classes=4):
    return paddle.to_tensor(np.eye(classes, dtype=np.float32)[list(predicted)])


def recall_of(*batches):
    recall = ClassRecall(4)
    for output, labels in batches:
        recall.update(output, labels)
    assert recall.compute() == {}
    return recall


def test_recall_over_several_batches():
    first = (scores(0, 0, 1), paddle.to_tensor([0, 1, 1]))
    second = (scores(2, 2, 0), paddle.to_tensor([[0], [2], [0]]))
    np.testing.assert_array_equal(recall_of(first, second).recalls[-1], [2 / 3, 0.5, 1.0, np.nan])


def test_soft_labels_and_ignored_labels():
    soft = (scores(0, 1), paddle.to_tensor([[0.9, 0.1, 0, 0], [0.6, 0.4, 0, 0]]))
    np.testing.assert_array_equal(recall_of(soft).recalls[-1][0], 0.5)
    ignored = (scores(0, 1, 2), paddle.to_tensor([-1, 1, 1]))
    np.testing.assert_array_equal(recall_of(ignored).recalls[-1], [np.nan, 0.5, np.nan, np.nan])


def test_outputs_that_have_no_single_score_per_class_are_ignored():
    labels = paddle.to_tensor([0, 1])
    assert recall_of(({"logits": scores(0, 0)}, labels)).recalls[-1][1] == 0
    for output in ([scores(0, 0), scores(0, 0)], {"Student": scores(0, 0), "Teacher": scores(0, 0)}):
        assert not recall_of((output, labels)).recalls


def test_the_metrics_of_a_list_stay_the_same_also_when_processes_are_merged():
    def build():
        return MetricList([METRICS["TopkAcc"](topk=[1])])

    plain, counted, other = build(), build(), build()
    counted.metrics.append(ClassRecall(4))
    other.metrics.append(ClassRecall(4))
    batches = [(scores(0, 1), paddle.to_tensor([0, 0])), (scores(2, 2), paddle.to_tensor([2, 3]))]
    for batch in batches:
        plain.update(*batch)
    counted.update(*batches[0])
    other.update(*batches[1])
    counted.merge(other.state())
    assert counted.compute() == plain.compute()
    assert counted.main == plain.main
    np.testing.assert_array_equal(counted.metrics[1].recalls[-1], [0.5, np.nan, 1.0, 0.0])


def test_the_last_two_evaluations_are_kept():
    recall = ClassRecall(4)
    for predicted in (0, 1, 0):
        recall.reset()
        recall.update(scores(predicted), paddle.to_tensor([0]))
        recall.compute()
    assert [values[0] for values in recall.recalls] == [0.0, 1.0]


def test_the_weakest_classes():
    names = ["[red]", "cat", "猫", "dog", "bird"]
    assert describe_weakest(np.array([0.5, 1.0, 0.25, np.nan, 0.75]), names) == "猫 0.25, [red] 0.50, bird 0.75"
    assert describe_weakest(np.array([0.5, 0.9, 0.25, 0.0, 0.75]), names) == "dog 0.00, 猫 0.25, [red] 0.50"
    assert describe_weakest(np.array([1.0, 1.0, np.nan, 1.0, 1.0]), names) == ""
