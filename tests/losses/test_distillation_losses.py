"""Distillation losses equal PaddleClas's formulas, which are written here in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppzoo.errors import ConfigError, DataError
from ppzoo.losses import LOSSES, CombinedLoss

PAIRS = [["Student", "Teacher"]]
RANDOM = np.random.RandomState(5)
STUDENT, TEACHER = RANDOM.normal(0, 2, (2, 6, 5))
LABEL = RANDOM.randint(0, 5, 6)
MARKED = np.eye(5)[LABEL]
SEVERAL = RANDOM.randint(-1, 2, (6, 5)).astype(float)
RATIO = np.tile(RANDOM.uniform(0.1, 0.9, 5), (6, 1))


def tensor(values):
    return paddle.to_tensor(np.asarray(values, "float32"), stop_gradient=False)


def value(name, student=STUDENT, teacher=TEACHER, label=LABEL, **options):
    output = {"Student": tensor(student), "Teacher": tensor(teacher)}
    return float(LOSSES[name](model_name_pairs=PAIRS, **options)(output, paddle.to_tensor(label)))


def softmax(logits):
    exponents = np.exp(logits)
    return exponents / exponents.sum(axis=1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def symmetric(p, q):
    """PaddleClas's DMLLoss before its mean: both divergences, halved, times the number of classes."""
    return (q * np.log((q + 1e-12) / (p + 1e-12)) + p * np.log((p + 1e-12) / (q + 1e-12))) * p.shape[1] / 2


@pytest.mark.parametrize("act", ["softmax", "sigmoid", None])
@pytest.mark.parametrize("is_sum", [False, True])
def test_mutual_learning(act, is_sum):
    convert = {"softmax": softmax, "sigmoid": sigmoid, None: lambda p: p}[act]
    one, other = (STUDENT, TEACHER) if act else (softmax(STUDENT), softmax(TEACHER))
    cost = symmetric(convert(one), convert(other))
    expected = cost.sum(1).mean() if is_sum else cost.mean()
    assert value("DistillationDMLLoss", one, other, act=act, sum_across_class_dim=is_sum) == pytest.approx(
        expected, rel=1e-5
    )


def test_mutual_learning_is_the_mean_of_both_divergences():
    p, q = softmax(STUDENT), softmax(TEACHER)
    both = [(a * np.log(a / b)).sum(1).mean() for a, b in ((p, q), (q, p))]
    assert value("DistillationDMLLoss") == pytest.approx(np.mean(both), rel=1e-5)


def test_mutual_learning_weighted_by_the_fractions_of_positives():
    positive = SEVERAL > 0.5
    weight = np.exp(np.where(positive, 1 - RATIO, RATIO)) * (SEVERAL > -1)
    expected = (symmetric(softmax(STUDENT), softmax(TEACHER)) * weight).mean()
    label = np.stack([SEVERAL, RATIO], 1).astype("float32")
    assert value("DistillationDMLLoss", label=label, weight_ratio=True) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(DataError, match="6 x 2 x 5"):
        value("DistillationDMLLoss", weight_ratio=True)


@pytest.mark.parametrize("temperature", [1, 4, 2.5])
def test_softened_divergence(temperature):
    p, q = softmax(STUDENT / temperature), softmax(TEACHER / temperature)
    expected = (q * np.log(q / p)).sum() * temperature**2 / len(p)
    assert value("DistillationKLDivLoss", temperature=temperature) == pytest.approx(expected, rel=1e-5)
    plain = LOSSES["KLDivLoss"](temperature=temperature)(tensor(STUDENT), tensor(TEACHER))
    assert float(plain) == pytest.approx(expected, rel=1e-5)


def decoupled(target, temperature, alpha, beta):
    """PaddleClas's DKDLoss."""
    (p_two, p_rest), (q_two, q_rest) = (
        (
            np.stack([(softmax(x) * target).sum(1), (softmax(x) * (1 - target)).sum(1)], 1),
            softmax(np.where(target, -1000.0, x)),
        )
        for x in (STUDENT / temperature, TEACHER / temperature)
    )
    rest = (q_rest * np.log(np.where(target, 1, q_rest) / np.where(target, 1, p_rest))).sum()
    return (alpha * (q_two * np.log(q_two / p_two)).sum() + beta * rest) * temperature**2 / len(target)


@pytest.mark.parametrize(("temperature", "alpha", "beta"), [(1.0, 1.0, 1.0), (4.0, 1.0, 8.0), (2.0, 0.0, 1.0)])
def test_decoupled_distillation(temperature, alpha, beta):
    options = {"temperature": temperature, "alpha": alpha, "beta": beta}
    expected = decoupled(MARKED, **options)
    for label in (LABEL, LABEL[:, None], MARKED.astype("float32")):
        assert value("DistillationDKDLoss", label=label, **options) == pytest.approx(expected, rel=1e-5)
    predicted = decoupled(np.eye(5)[TEACHER.argmax(1)], **options)
    assert value("DistillationDKDLoss", use_target_as_gt=True, **options) == pytest.approx(predicted, rel=1e-5)


def test_decoupled_distillation_of_very_confident_networks_is_finite():
    student = tensor([[200.0, 0.0, 0.0]])
    output = {"Student": student, "Teacher": tensor([[0.0, 300.0, 0.0]])}
    total = LOSSES["DistillationDKDLoss"](model_name_pairs=PAIRS)(output, paddle.to_tensor([0]))
    total.backward()
    assert np.isfinite(float(total)) and np.isfinite(student.grad.numpy()).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_distances(reduction):
    difference = np.abs(STUDENT - TEACHER)
    huber = np.where(difference < 0.5, difference**2 / 2, 0.5 * difference - 0.125)
    reduce = np.mean if reduction == "mean" else np.sum
    for options, cost in (
        ({"mode": "l1"}, difference),
        ({"mode": "l2"}, difference**2),
        ({"mode": "smooth_l1", "delta": 0.5}, huber),
        ({"act": "softmax"}, (softmax(STUDENT) - softmax(TEACHER)) ** 2),
        ({"act": "sigmoid", "mode": "l1"}, np.abs(sigmoid(STUDENT) - sigmoid(TEACHER))),
    ):
        total = value("DistillationDistanceLoss", reduction=reduction, **options)
        assert total == pytest.approx(reduce(cost), rel=1e-5), options


def test_smooth_distance_equals_paddlepaddles():
    expected = paddle.nn.SmoothL1Loss(delta=0.7)(tensor(STUDENT), tensor(TEACHER))
    assert value("DistillationDistanceLoss", mode="smooth_l1", delta=0.7) == pytest.approx(float(expected), rel=1e-5)


def test_distance_of_inner_layers():
    output = {"Student": {"logits": tensor(STUDENT), "a": tensor(STUDENT)}, "Teacher": {"a": tensor(TEACHER)}}
    loss = LOSSES["DistillationDistanceLoss"](model_name_pairs=PAIRS, key="a")
    assert float(loss(output, None)) == pytest.approx(((STUDENT - TEACHER) ** 2).mean(), rel=1e-5)
    with pytest.raises(ConfigError, match=r"DistillationDistanceLoss.key: expected an output of Student \(logits, a\)"):
        LOSSES["DistillationDistanceLoss"](model_name_pairs=PAIRS, key="b")(output, None)
    with pytest.raises(ConfigError, match="add it to return_patterns"):
        value("DistillationDistanceLoss", key="b")
    with pytest.raises(ConfigError, match="of the same shape"):
        value("DistillationDistanceLoss", teacher=TEACHER[:, :3])


@pytest.mark.parametrize("key", [None, "logits", "output"])
def test_the_logits_have_the_same_keys_with_and_without_inner_layers(key):
    plain = {"Student": tensor(STUDENT), "Teacher": tensor(TEACHER)}
    inner = {name: {"logits": logits, "blocks3": logits * 2} for name, logits in plain.items()}
    for name in ("DistillationDMLLoss", "DistillationKLDivLoss", "DistillationCELoss"):
        loss = LOSSES[name](model_name_pairs=PAIRS, key=key)
        assert float(loss(plain, None)) == float(loss(inner, None)) > 0


@pytest.mark.parametrize("name", ["DMLLoss", "DistanceLoss"])
def test_mutual_losses_train_both_networks(name):
    output = {"Student": tensor(STUDENT), "Teacher": tensor(TEACHER)}
    LOSSES[f"Distillation{name}"](model_name_pairs=PAIRS)(output, None).backward()
    assert all(np.abs(logits.grad.numpy()).sum() > 0 for logits in output.values())


@pytest.mark.parametrize("name", ["CELoss", "KLDivLoss", "DKDLoss", "WSLLoss", "SKDLoss", "DISTLoss"])
def test_other_losses_do_not_train_the_teacher(name):
    output = {"Student": tensor(STUDENT), "Teacher": tensor(TEACHER)}
    options = {"temperature": 1.0} if name == "SKDLoss" else {}
    LOSSES[f"Distillation{name}"](model_name_pairs=PAIRS, **options)(output, paddle.to_tensor(LABEL)).backward()
    assert np.abs(output["Student"].grad.numpy()).sum() > 0
    assert output["Teacher"].grad is None


def test_several_pairs_are_summed():
    output = {"One": tensor(STUDENT), "Two": tensor(TEACHER), "Three": tensor(TEACHER * 0.5)}
    for name in ("DistillationDMLLoss", "DistillationKLDivLoss", "DistillationDKDLoss", "DistillationDistanceLoss"):
        pairs = [["One", "Two"], ["One", "Three"]]
        label = paddle.to_tensor(LABEL)
        apart = sum(float(LOSSES[name](model_name_pairs=[pair])(output, label)) for pair in pairs)
        assert float(LOSSES[name](model_name_pairs=pairs)(output, label)) == pytest.approx(apart, rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"weight_ratio": True, "size_sum": True}, {"epsilon": 0.1}])
def test_multi_label_ground_truth_is_summed_over_the_networks(options):
    output = {"Student": tensor(STUDENT), "Teacher": tensor(TEACHER)}
    label = paddle.to_tensor(np.stack([SEVERAL, RATIO], 1) if "weight_ratio" in options else SEVERAL[:, None])
    alone = LOSSES["MultiLabelLoss"](**options)
    expected = sum(float(alone(logits, label)) for logits in output.values())
    loss = LOSSES["DistillationMultiLabelLoss"](model_names=["Student", "Teacher"], **options)
    assert float(loss(output, label)) == pytest.approx(expected, rel=1e-6)
    assert loss.weight(label) == alone.weight(label)


def asymmetric(scores, target, gamma_pos=1, gamma_neg=4, clip=0.05, epsilon=1e-8):
    """PaddleClas's MultiLabelAsymmetricLoss before its reduction."""
    p = sigmoid(scores)
    negative = np.minimum(1 - p + clip, 1) if clip else 1 - p
    right = np.where(target == 1, p, negative)
    return -np.log(np.maximum(right, epsilon)) * (1 - right) ** np.where(target == 1, gamma_pos, gamma_neg)


@pytest.mark.parametrize("options", [{}, {"gamma_pos": 0, "gamma_neg": 2}, {"clip": None}, {"clip": 0, "epsilon": 0.2}])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_asymmetric_loss(options, reduction):
    target = (SEVERAL > 0).astype("float32")
    cost = asymmetric(STUDENT, target, **options)
    expected = cost.sum() if reduction == "sum" else cost.mean()
    for label in (target, target[:, None]):
        loss = LOSSES["MultiLabelAsymmetricLoss"](reduction=reduction, **options)
        assert float(loss(tensor(STUDENT), paddle.to_tensor(label))) == pytest.approx(expected, rel=1e-5)


def test_asymmetric_loss_ignores_unknown_labels():
    expected = asymmetric(STUDENT, SEVERAL)[SEVERAL >= 0]
    for reduction, total in (("sum", expected.sum()), ("mean", expected.mean())):
        scores = tensor(STUDENT)
        loss = LOSSES["MultiLabelAsymmetricLoss"](reduction=reduction)(scores, paddle.to_tensor(SEVERAL))
        loss.backward()
        assert float(loss) == pytest.approx(total, rel=1e-5)
        assert not scores.grad.numpy()[SEVERAL < 0].any()


def test_the_focusing_factor_has_a_gradient_only_if_it_is_enabled():
    target = (SEVERAL > 0).astype("float32")
    gradients = []
    for disable in (True, False):
        scores = tensor(STUDENT)
        loss = LOSSES["MultiLabelAsymmetricLoss"](disable_focal_loss_grad=disable, gamma_pos=0.5)
        loss(scores, paddle.to_tensor(target)).backward()
        gradients.append(scores.grad.numpy())
    step = 1e-5
    moved = [asymmetric(STUDENT + sign * step, target, gamma_pos=0.5) for sign in (1, -1)]
    np.testing.assert_allclose(gradients[1], (moved[0] - moved[1]) / (2 * step), atol=1e-4)
    assert np.abs(gradients[0] - gradients[1]).max() > 0.01


def layer_norm(logits):
    return (logits - logits.mean(1, keepdims=True)) / np.sqrt(logits.var(1, keepdims=True) + 1e-7)


def log_softmax(logits):
    return np.log(softmax(logits))


@pytest.mark.parametrize("is_predicted", [False, True])
def test_weighted_soft_labels(is_predicted):
    target = np.eye(5)[TEACHER.argmax(1)] if is_predicted else MARKED
    own, others = (-(target * log_softmax(x)).sum(1) for x in (STUDENT, TEACHER))
    cost = -(softmax(TEACHER / 3) * log_softmax(STUDENT / 3)).sum(1)
    expected = 9 * (cost * (1 - np.exp(-own / (others + 1e-7)))).mean()
    options = {"temperature": 3.0, "use_target_as_gt": is_predicted}
    assert value("DistillationWSLLoss", **options) == pytest.approx(expected, rel=1e-5)


def test_spherical_distillation():
    one, other = layer_norm(STUDENT) * 1.5, layer_norm(TEACHER) * 1.5
    distilled = -(softmax(other / 2) * log_softmax(one / 2)).sum(1).mean() * 4
    expected = 0.7 * distilled - 0.3 * (MARKED * log_softmax(one)).sum(1).mean()
    options = {"temperature": 2.0, "multiplier": 1.5, "alpha": 0.7}
    assert value("DistillationSKDLoss", **options) == pytest.approx(expected, rel=1e-5)


def test_correlations_of_probabilities():
    p, q = softmax(STUDENT), softmax(TEACHER)
    images = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    classes = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    expected = 0.5 * (1 - images) + 2 * (1 - classes)
    assert value("DistillationDISTLoss", beta=0.5, gamma=2.0) == pytest.approx(expected, rel=1e-5)


def test_the_correlation_within_a_batch_of_one_image_is_finite():
    student = tensor(STUDENT[:1])
    output = {"Student": student, "Teacher": tensor(TEACHER[:1])}
    LOSSES["DistillationDISTLoss"](model_name_pairs=PAIRS)(output, None).backward()
    assert np.isfinite(student.grad.numpy()).all()


def test_losses_of_one_network_evaluate_the_named_one():
    output = {"Student": tensor(STUDENT), "Teacher": tensor(TEACHER)}
    label = paddle.to_tensor(LABEL)
    terms = [(LOSSES["CELoss"](), 1.0), (LOSSES["DistillationGTCELoss"](model_names=["Teacher"]), 1.0)]
    losses = CombinedLoss(terms, network="Student")(output, label)
    assert float(losses["CELoss"]) == float(LOSSES["CELoss"]()(output["Student"], label))
    assert float(losses["DistillationGTCELoss"]) == float(LOSSES["CELoss"]()(output["Teacher"], label))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DistillationDMLLoss", {"model_name_pairs": []}),
        ("DistillationDMLLoss", {"model_name_pairs": [["a", "b", "c"]]}),
        ("DistillationKLDivLoss", {"model_name_pairs": PAIRS, "temperature": 0}),
        ("DistillationDKDLoss", {"model_name_pairs": PAIRS, "temperature": -1.0}),
        ("DistillationDKDLoss", {"model_name_pairs": PAIRS, "alpha": -1.0}),
        ("DistillationDKDLoss", {"model_name_pairs": PAIRS, "beta": float("nan")}),
        ("DistillationDistanceLoss", {"model_name_pairs": PAIRS, "delta": 0.0}),
        ("DistillationWSLLoss", {"model_name_pairs": PAIRS, "temperature": 0.0}),
        ("DistillationSKDLoss", {"model_name_pairs": PAIRS, "temperature": 1.0, "alpha": 2.0}),
        ("DistillationSKDLoss", {"model_name_pairs": PAIRS, "temperature": 1.0, "multiplier": 0.0}),
        ("DistillationDISTLoss", {"model_name_pairs": PAIRS, "beta": -1.0}),
        ("DistillationMultiLabelLoss", {"model_names": []}),
        ("KLDivLoss", {"temperature": float("inf")}),
        ("MultiLabelAsymmetricLoss", {"gamma_pos": -1}),
        ("MultiLabelAsymmetricLoss", {"gamma_neg": float("nan")}),
        ("MultiLabelAsymmetricLoss", {"clip": 1.0}),
        ("MultiLabelAsymmetricLoss", {"epsilon": 0.0}),
    ],
)
def test_values_out_of_range_are_rejected(name, options):
    with pytest.raises(ConfigError, match=r"expected .* got"):
        LOSSES[name](**options)


def test_labels_that_are_no_logits_are_rejected():
    with pytest.raises(DataError, match="KLDivLoss: expected labels that are logits of shape 6 x 5"):
        LOSSES["KLDivLoss"]()(tensor(STUDENT), paddle.to_tensor(LABEL))
    with pytest.raises(DataError, match="MultiLabelAsymmetricLoss: expected labels of shape 6 x 5"):
        LOSSES["MultiLabelAsymmetricLoss"]()(tensor(STUDENT), paddle.to_tensor(LABEL))


def smooth_absolute(difference):
    return np.where(np.abs(difference) < 1, difference**2 / 2, np.abs(difference) - 0.5).mean()


def relations(features):
    """The relations of PaddleClas's RKDLoss, image by image."""
    rows = features.reshape(len(features), -1)
    count = range(len(rows))
    distance = np.array([[max(np.sqrt(((a - b) ** 2).sum()), 1e-6) for b in rows] for a in rows])
    angle = np.zeros((len(rows),) * 3)
    for i in count:
        for j in count:
            for k in count:
                if i not in (j, k):
                    a, b = rows[j] - rows[i], rows[k] - rows[i]
                    angle[i, j, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return distance / distance.mean(), angle


@pytest.mark.parametrize("target_size", [None, 2, [2, 1]])
def test_relations_between_images(target_size):
    student, teacher = RANDOM.normal(0, 2, (5, 3, 4, 4)), RANDOM.normal(1, 2, (5, 6, 4, 4))
    output = {"Student": {"a": tensor(student)}, "Teacher": {"b": tensor(teacher)}}
    options = {"student_keepkeys": ["a"], "teacher_keepkeys": ["b"], "target_size": target_size}
    loss = LOSSES["DistillationRKDLoss"](model_name_pairs=PAIRS, **options)(output, None)
    if target_size:
        rows, columns = (2, 2) if target_size == 2 else target_size
        student, teacher = (
            x.reshape(5, -1, rows, 4 // rows, columns, 4 // columns).mean((3, 5)) for x in (student, teacher)
        )
    parts = zip(relations(student), relations(teacher), strict=True)
    assert float(loss) == pytest.approx(sum(smooth_absolute(one - other) for one, other in parts), rel=1e-4)
    loss.backward()
    assert output["Teacher"]["b"].grad is None
    assert np.isfinite(output["Student"]["a"].grad.numpy()).all()


def test_relations_of_equal_images_are_finite():
    same = tensor(np.ones((3, 4)))
    output = {"Student": {"a": same}, "Teacher": {"b": tensor(np.ones((3, 4)))}}
    options = {"student_keepkeys": ["a"], "teacher_keepkeys": ["b"]}
    loss = LOSSES["DistillationRKDLoss"](model_name_pairs=PAIRS, **options)(output, None)
    loss.backward()
    assert np.isfinite(float(loss))
    assert np.isfinite(same.grad.numpy()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student_keepkeys": ["a"], "teacher_keepkeys": []}, "teacher_keepkeys: expected as many layers"),
        ({"student_keepkeys": ["a"], "teacher_keepkeys": ["b"], "target_size": 0}, "target_size: expected null"),
    ],
)
def test_options_of_relations_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        LOSSES["DistillationRKDLoss"](model_name_pairs=PAIRS, **options)


def test_hard_labels_of_the_teacher():
    logits = STUDENT - STUDENT.max(1, keepdims=True)
    chosen = logits[np.arange(6), TEACHER.argmax(1)]
    expected = (np.log(np.exp(logits).sum(1)) - chosen).mean()
    assert value("DistillationCELoss", use_hard_label=True) == pytest.approx(expected, rel=1e-5)


def test_guided_losses_average_over_the_images_that_the_teacher_predicts():
    predicted = TEACHER.argmax(1)
    label = np.where(np.arange(6) % 3 == 0, predicted, (predicted + 1) % 5)
    guided = label == predicted
    p, q = softmax(STUDENT), softmax(TEACHER)
    both = (q * np.log(q / p) + p * np.log(p / q)).sum(1) / 2
    assert value("DistillationGuidedDMLLoss", label=label) == pytest.approx(both[guided].mean(), rel=1e-5)
    p, q = softmax(STUDENT / 3), softmax(TEACHER / 3)
    expected = (q * np.log(q / p)).sum(1)[guided].mean() * 9
    assert value("DistillationGuidedKLDivLoss", label=label, temperature=3) == pytest.approx(expected, rel=1e-5)
    wrong = (predicted + 1) % 5
    for name in ("DistillationGuidedDMLLoss", "DistillationGuidedKLDivLoss"):
        assert value(name, label=wrong) == 0
        assert value(name, label=label[:, None]) == value(name, label=label)
