"""Losses equal PaddleClas's where it is correct: indices, smoothing, soft labels, weights, several outputs."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import reference

from ppzoo.errors import ConfigError, DataError
from ppzoo.losses import LOSSES, CombinedLoss

FACTS = reference.read_json("losses_metrics.json")
CLASSES = len(FACTS["logits"][0])


def logits():
    return paddle.to_tensor(FACTS["logits"], stop_gradient=False)


def label():
    return paddle.to_tensor(FACTS["label"])


def one_hot():
    return F.one_hot(label().flatten(), CLASSES)


def loss(name, **options):
    return LOSSES[name](**options)


def value(name, output=None, target=None, **options):
    return float(loss(name, **options)(logits() if output is None else output, label() if target is None else target))


def probabilities(scores):
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def of_label(values):
    return values[np.arange(len(values)), np.ravel(FACTS["label"])]


@pytest.mark.parametrize("epsilon", [None, 0.1, 0.2])
def test_cross_entropy_equals_paddleclas(epsilon):
    expected = FACTS[f"CELoss_epsilon_{epsilon}"]
    assert value("CELoss", epsilon=epsilon) == pytest.approx(expected, rel=1e-6)
    assert value("CELoss", target=label().flatten(), epsilon=epsilon) == pytest.approx(expected, rel=1e-6)
    assert value("CELoss", target=one_hot(), epsilon=epsilon) == pytest.approx(expected, rel=1e-6)
    assert value("CELoss", output={"logits": logits()}, epsilon=epsilon) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["CELoss", "SoftTargetCELoss", "FocalLoss", "PolyLoss"])
def test_the_loss_of_a_mixed_label_is_the_mixture_of_losses(name):
    other = paddle.roll(label(), 1, 0)

    def gradient(target):
        scores = logits()
        total = loss(name)(scores, target)
        total.backward()
        return float(total), scores.grad.numpy()

    mixed = 0.3 * one_hot() + 0.7 * F.one_hot(other.flatten(), CLASSES)
    (one, one_gradient), (two, two_gradient) = gradient(label()), gradient(other)
    both, both_gradient = gradient(mixed)
    assert both == pytest.approx(0.3 * one + 0.7 * two, rel=1e-5)
    np.testing.assert_allclose(both_gradient, 0.3 * one_gradient + 0.7 * two_gradient, atol=1e-6)


def test_soft_labels_are_not_softmaxed():
    scores = logits()
    loss("CELoss")(scores, one_hot()).backward()
    np.testing.assert_allclose(
        scores.grad.numpy(), (probabilities(scores.numpy()) - one_hot().numpy()) / len(scores), atol=1e-6
    )


def test_class_weights_equal_paddlepaddles_weighted_mean():
    weights = [0.5 + index for index in range(CLASSES)]
    expected = float(F.cross_entropy(logits(), label(), weight=paddle.to_tensor(weights)))
    assert value("CELoss", class_weights=weights) == pytest.approx(expected, rel=1e-5)
    assert value("CELoss", target=one_hot(), class_weights=weights) == pytest.approx(expected, rel=1e-5)
    assert value("CELoss", class_weights=[3.0] * CLASSES, epsilon=0.1) == pytest.approx(
        value("CELoss", epsilon=0.1), rel=1e-5
    )


def test_googlenet_auxiliary_outputs_have_weight_0_3():
    outputs = [logits(), logits() * 0.5, -logits()]
    main, *sides = (value("CELoss", output) for output in outputs)
    assert value("GoogLeNetLoss", outputs) == pytest.approx(main + 0.3 * sum(sides), rel=1e-5)
    with pytest.raises(ConfigError, match="use CELoss"):
        value("GoogLeNetLoss")
    with pytest.raises(ConfigError, match="use GoogLeNetLoss"):
        value("CELoss", outputs)


def test_focal_loss_by_hand():
    p = of_label(probabilities(logits().numpy()))
    assert value("FocalLoss", gamma=1.5) == pytest.approx(float(np.mean(-((1 - p) ** 1.5) * np.log(p))), rel=1e-5)
    assert value("FocalLoss", gamma=0.0) == pytest.approx(value("CELoss"), rel=1e-6)


def test_focal_loss_has_finite_gradients_at_probability_1():
    scores = paddle.to_tensor([[100.0, 0.0, 0.0]], stop_gradient=False)
    loss("FocalLoss", gamma=0.5)(scores, paddle.to_tensor([0])).backward()
    assert np.isfinite(scores.grad.numpy()).all()


def test_poly_loss_by_hand():
    p = of_label(probabilities(logits().numpy()))
    assert value("PolyLoss", epsilon1=2.0) == pytest.approx(float(np.mean(-np.log(p) + 2 * (1 - p))), rel=1e-5)


def multi_label_case():
    random = np.random.RandomState(0)
    scores, target = random.normal(0, 2, (5, 4)).astype("float32"), random.randint(0, 2, (5, 4)).astype("float32")
    sigmoid = 1 / (1 + np.exp(-scores))
    cost = -(target * np.log(sigmoid) + (1 - target) * np.log(1 - sigmoid))
    return scores, target, cost


def test_multi_label_loss_by_hand():
    scores, target, cost = multi_label_case()
    output = paddle.to_tensor(scores)
    for shaped in (target, target[:, None]):
        assert value("MultiLabelLoss", output, paddle.to_tensor(shaped)) == pytest.approx(cost.mean(), rel=1e-5)
        summed = value("MultiLabelLoss", output, paddle.to_tensor(shaped), size_sum=True)
        assert summed == pytest.approx(cost.sum(axis=1).mean(), rel=1e-5)
    ratio = np.full_like(target, 0.2)
    weight = np.exp(np.where(target > 0.5, 0.8, 0.2))
    weighed = value("MultiLabelLoss", output, paddle.to_tensor(np.stack([target, ratio], 1)), weight_ratio=True)
    assert weighed == pytest.approx((cost * weight).mean(), rel=1e-5)
    smooth = 0.9 * target + 0.1 / 4
    expected = (cost + (target - smooth) * scores).mean()
    assert value("MultiLabelLoss", output, paddle.to_tensor(target), epsilon=0.1) == pytest.approx(expected, rel=1e-5)


MULTI_LABEL_OPTIONS = [
    {},
    {"epsilon": 0.1},
    {"size_sum": True},
    {"epsilon": 0.1, "size_sum": True},
    {"weight_ratio": True},
    {"weight_ratio": True, "epsilon": 0.1},
    {"weight_ratio": True, "size_sum": True},
]


def multi_label_value(scores, target, options):
    """The loss and its gradient."""
    output = paddle.to_tensor(scores.astype("float32"), stop_gradient=False)
    label = np.stack([target, np.full_like(target, 0.3)], 1) if options.get("weight_ratio") else target
    total = loss("MultiLabelLoss", **options)(output, paddle.to_tensor(label))
    total.backward()
    return float(total), output.grad.numpy()


@pytest.mark.parametrize("options", MULTI_LABEL_OPTIONS, ids=str)
def test_unknown_labels_have_neither_loss_nor_gradient(options):
    scores, target, _ = multi_label_case()
    unknown = np.zeros_like(target, bool)
    unknown[[0, 1, 4], [1, 3, 0]] = True
    unknown[2] = True
    target = np.where(unknown, -1, target).astype("float32")
    total, gradient = multi_label_value(scores, target, options)
    elsewhere, _ = multi_label_value(np.where(unknown, 333.0, scores), target, options)
    assert (total, total > 0) == (elsewhere, True)
    assert not gradient[unknown].any() and gradient[~unknown].all()
    if not options.get("weight_ratio"):  # PaddleClas's divides by all labels
        assert multi_label_value(scores[[0, 1, 3, 4]], target[[0, 1, 3, 4]], options)[0] == pytest.approx(total)


@pytest.mark.parametrize("options", MULTI_LABEL_OPTIONS, ids=str)
def test_a_batch_without_a_known_label_has_no_loss(options):
    scores, target, _ = multi_label_case()
    total, gradient = multi_label_value(scores, np.full_like(target, -1), options)
    assert total == 0.0
    assert not gradient.any()


def test_the_mean_is_over_the_known_labels():
    scores, target, cost = multi_label_case()
    target[:2, 1:] = -1
    total, _ = multi_label_value(scores, target, {})
    assert total == pytest.approx(cost[target >= 0].mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["CELoss", "FocalLoss", "PolyLoss"])
def test_a_batch_of_a_class_without_weight_has_no_loss(name):
    scores = logits()
    weights = [0.0] + [1.0] * (CLASSES - 1)
    total = loss(name, class_weights=weights)(scores, paddle.zeros_like(label()))
    total.backward()
    assert float(total) == 0.0
    assert not scores.grad.numpy().any()


def test_distillation_trains_on_the_teachers_softmax_without_its_gradient():
    student, teacher = logits(), paddle.to_tensor(np.roll(FACTS["logits"], 1, 0).astype("float32"), stop_gradient=False)
    total = loss("DistillationCELoss", model_name_pairs=[["Student", "Teacher"]])(
        {"Student": student, "Teacher": {"logits": teacher}}, label()
    )
    total.backward()
    p, q = probabilities(student.numpy()), probabilities(teacher.numpy())
    assert float(total) == pytest.approx(float(np.mean(np.sum(-q * np.log(p), axis=1))), rel=1e-5)
    np.testing.assert_allclose(student.grad.numpy(), (p - q) / len(p), atol=1e-6)
    assert teacher.grad is None


def test_distillation_with_ground_truth_sums_over_the_networks():
    outputs = {"Student": {"scores": logits()}, "Teacher": {"scores": -logits()}}
    total = value("DistillationGTCELoss", outputs, model_names=["Student", "Teacher"], key="scores")
    assert total == pytest.approx(value("CELoss") + value("CELoss", -logits()), rel=1e-5)
    with pytest.raises(ConfigError, match="did you mean 'Student'"):
        value("DistillationGTCELoss", outputs, model_names=["Studnet"])


def test_losses_add_up_with_their_weights():
    combined = CombinedLoss([(loss("CELoss"), 2.0), (loss("PolyLoss"), 0.5), (loss("CELoss", epsilon=0.1), 1.0)])
    result = {key: float(share) for key, share in combined(logits(), label()).items()}
    assert list(result) == ["CELoss", "PolyLoss", "CELoss_2", "loss"]
    expected = 2 * value("CELoss") + 0.5 * value("PolyLoss") + value("CELoss", epsilon=0.1)
    assert result["loss"] == pytest.approx(expected, rel=1e-6)
    assert result["CELoss"] == pytest.approx(2 * value("CELoss"), rel=1e-6)


def test_a_single_loss_is_weighted():
    scores = logits()
    total = CombinedLoss([(loss("CELoss"), 0.25)])(scores, label())["loss"]
    total.backward()
    plain = logits()
    loss("CELoss")(plain, label()).backward()
    assert float(total) == pytest.approx(0.25 * value("CELoss"), rel=1e-6)
    np.testing.assert_allclose(scores.grad.numpy(), 0.25 * plain.grad.numpy(), atol=1e-7)


def test_half_precision_logits_are_summed_in_float32():
    half = logits().astype("float16")
    total = loss("CELoss", epsilon=0.1)(half, label())
    assert total.dtype == paddle.float32
    assert float(total) == pytest.approx(value("CELoss", epsilon=0.1), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CELoss", {"epsilon": 1.0}),
        ("CELoss", {"epsilon": -0.1}),
        ("CELoss", {"class_weights": [1.0, -1.0]}),
        ("CELoss", {"class_weights": [0.0, 0.0]}),
        ("CELoss", {"class_weights": [1.0, float("nan")]}),
        ("FocalLoss", {"class_weights": [1.0, float("inf")]}),
        ("MultiLabelLoss", {"epsilon": 1.5}),
        ("FocalLoss", {"gamma": -1.0}),
        ("FocalLoss", {"gamma": float("nan")}),
        ("PolyLoss", {"epsilon1": float("inf")}),
        ("PolyLoss", {"epsilon1": -1.0}),
        ("DistillationCELoss", {"model_name_pairs": [["Student"]]}),
        ("DistillationGTCELoss", {"model_names": []}),
    ],
)
def test_values_out_of_range_are_rejected(name, options):
    with pytest.raises(ConfigError, match=r"expected .* got"):
        loss(name, **options)


def test_labels_and_weights_of_wrong_shape_are_rejected():
    with pytest.raises(DataError, match=r"16 x 1|N x 11"):
        value("CELoss", target=paddle.zeros([16, 5]))
    with pytest.raises(ConfigError, match="class_weights: expected 11"):
        value("CELoss", class_weights=[1.0, 2.0])
    with pytest.raises(DataError, match="MultiLabelLoss"):
        value("MultiLabelLoss", target=paddle.zeros([16, 2, 11]))
    with pytest.raises(DataError, match="soft labels of 0 or more, got -1; use MultiLabelLoss for unknown"):
        value("CELoss", target=paddle.concat([one_hot()[:, 1:], -paddle.ones([len(FACTS["logits"]), 1])], axis=1))
    for name, options in (("FocalLoss", {}), ("PolyLoss", {}), ("CELoss", {"class_weights": [1.0] * 11})):
        with pytest.raises(DataError, match="expected labels of 16 samples, one per output, got 1"):
            value(name, target=paddle.to_tensor([3]), **options)
    for weight in (0.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="weight: expected a number above 0"):
            CombinedLoss([(loss("CELoss"), weight)])
    with pytest.raises(ConfigError, match="at least one loss"):
        CombinedLoss([])
