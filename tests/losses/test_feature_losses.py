"""Losses of features whose layers are trained: values equal the papers' formulas, written here in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppzoo.errors import ConfigError
from ppzoo.losses import LOSSES

PAIRS = [["Student", "Teacher"]]
RANDOM = np.random.RandomState(3)


def tensor(values):
    return paddle.to_tensor(np.asarray(values, "float32"), stop_gradient=False)


def features(*shapes):
    return [RANDOM.normal(0.3, 1, shape) for shape in shapes]


def build(base, keys, **options):
    paddle.seed(4)
    return LOSSES["DistillationPairLoss"](
        base_loss_name=base, model_name_pairs=PAIRS, s_key=keys, t_key=keys, **options
    )


def outputs(student, teacher):
    return {
        name: {str(index): tensor(values) for index, values in enumerate(maps)}
        for name, maps in (("Student", student), ("Teacher", teacher))
    }


def array(parameter):
    return parameter.numpy().astype(float)


def convolve(x, layer):
    """The convolution of a layer with stride 1 and padding that keeps the size."""
    weight = array(layer.weight)
    side = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    height, width = x.shape[2:]
    result = 0
    for row in range(side):
        for column in range(side):
            window = padded[:, :, row : row + height, column : column + width]
            result = result + np.einsum("nchw,oc->nohw", window, weight[:, :, row, column])
    return result if layer.bias is None else result + array(layer.bias)[:, None, None]


def test_projector_ensemble():
    student, teacher = features((5, 4, 1, 1)), features((5, 6, 1, 1))
    loss = build("PEFDLoss", "0", student_channel=4, teacher_channel=6)
    both = outputs(student, teacher)
    value = loss(both, None)
    projected = np.mean([np.maximum(convolve(student[0], layer), 0) for layer in loss.layers.projectors], axis=0)
    one, other = projected.reshape(5, -1), teacher[0].reshape(5, -1)
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert float(value) == pytest.approx((1 - cosine).mean(), rel=1e-5)
    value.backward()
    assert both["Teacher"]["0"].grad is None
    assert all(np.abs(parameter.grad.numpy()).sum() > 0 for parameter in loss.layers.parameters())


def test_projections_of_0_have_finite_gradients():
    loss = build("PEFDLoss", "0", student_channel=2, teacher_channel=2)
    for layer in loss.layers.projectors:
        layer.weight.set_value(paddle.zeros_like(layer.weight))
    both = outputs([np.ones((2, 2, 1, 1))], [np.ones((2, 2, 1, 1))])
    value = loss(both, None)
    value.backward()
    assert float(value) == 1
    assert np.isfinite(both["Student"]["0"].grad.numpy()).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_masked_generation(channels):
    student, teacher = features((2, channels, 5, 5)), features((2, 4, 5, 5))
    loss = build("MGDLoss", ["0"], student_channels=channels, teacher_channels=4)
    first, _, second = loss.layers.generation
    std = float(paddle.std(first.weight))
    assert std == pytest.approx((2 / 36) ** 0.5, rel=0.2)

    def expected(mask):
        x = student[0] if channels == 4 else convolve(student[0], loss.layers.align)
        generated = convolve(np.maximum(convolve(x * mask, first), 0), second)
        return 1.756 * ((generated - teacher[0]) ** 2).mean()

    both = outputs(student, teacher)
    paddle.seed(7)
    value = float(loss(both, None))
    paddle.seed(7)
    mask = (paddle.rand([2, 4, 1, 1]) >= 0.15).numpy().astype(float)
    assert 0 < mask.sum() < 8
    assert value == pytest.approx(expected(mask), rel=1e-5)
    loss.layers.eval()
    assert float(loss(both, None)) == pytest.approx(expected(1), rel=1e-5)


def normalize(x):
    """Batch normalization in training, with initial weights."""
    return (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)


def pool(x, size, mode):
    edges = [(i * x.shape[2] // size, -(-(i + 1) * x.shape[2] // size)) for i in range(size)]
    reduce = np.mean if mode == "avg" else np.max
    return np.stack([np.stack([reduce(x[:, :, a:b, c:d], (2, 3)) for c, d in edges], -1) for a, b in edges], -2)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_knowledge_review(mode):
    student, teacher = (features((3, a, 6, 6), (3, b, 3, 3), (3, b, 1, 1)) for a, b in ((4, 5), (2, 6)))
    loss = build(
        "ReviewKDLoss",
        ["0", "1", "2"],
        student_channels=[4, 5, 5],
        teacher_channels=[2, 6, 6],
        mid_channel=8,
        hcl_mode=mode,
    )
    expected, later = 0, None
    for index in (2, 1, 0):
        fusion = loss.layers.fusions[index]
        x = normalize(convolve(student[index], fusion.conv1))
        if later is not None:
            factor = x.shape[2] // later.shape[2]
            later = later.repeat(factor, 2).repeat(factor, 3)
            weights = 1 / (1 + np.exp(-convolve(np.concatenate([x, later], 1), fusion.attention)))
            x = x * weights[:, :1] + later * weights[:, 1:]
        later = x
        one, other = normalize(convolve(x, fusion.conv2)), teacher[index]
        parts = [(((one - other) ** 2).mean(), 1.0)]
        for size in (4, 2, 1):
            if size < one.shape[2]:
                difference = pool(one, size, mode) - pool(other, size, mode)
                parts.append(((difference**2).mean(), parts[-1][1] / 2))
        expected += sum(value * weight for value, weight in parts) / sum(weight for _, weight in parts)
    assert float(loss(outputs(student, teacher), None)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        ("PEFDLoss", {"student_channel": 4}, "teacher_channel: expected a value for PEFDLoss, got nothing"),
        ("PEFDLoss", {"student_channel": 4, "teacher_channel": 0}, "teacher_channel: expected a number above 0, got 0"),
        ("MGDLoss", {"student_channel": 4}, "student_channel: MGDLoss has no such option; remove it"),
        (
            "MGDLoss",
            {"student_channels": [4], "teacher_channels": 4},
            "student_channels: expected a number for MGDLoss",
        ),
        ("ReviewKDLoss", {"student_channels": 4}, "student_channels: expected a list of one value per layer"),
        ("MGDLoss", {"student_channels": 4, "teacher_channels": 4, "lambda_mgd": 1.0}, "lambda_mgd: expected a probab"),
        ("RKDLoss", {}, "base_loss_name: expected one of AFDLoss, MGDLoss, PEFDLoss, ReviewKDLoss, got 'RKDLoss'"),
    ],
)
def test_options_are_checked(base, options, message):
    with pytest.raises(ConfigError, match=message):
        build(base, "0", **options)


def test_layers_have_to_be_given_once():
    options = {"base_loss_name": "PEFDLoss", "model_name_pairs": PAIRS, "student_channel": 1, "teacher_channel": 1}
    with pytest.raises(ConfigError, match="s_key: expected s_key or s_keys, got neither"):
        LOSSES["DistillationPairLoss"](t_key="0", **options)
    with pytest.raises(ConfigError, match="t_key: expected t_key or t_keys, got both"):
        LOSSES["DistillationPairLoss"](s_key="0", t_key="0", t_keys=["0"], **options)
    with pytest.raises(ConfigError, match="s_key: expected one layer of each network"):
        LOSSES["DistillationPairLoss"](s_key=["0", "1"], t_key="0", **options)


def linear(layer, x):
    """A linear layer and batch normalization in training, with initial weights of the latter."""
    y = x @ array(layer[0].weight) + array(layer[0].bias)
    return (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5)


def unit(x):
    flat = x.reshape(len(x), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_attention_between_all_layers_of_two_networks():
    s_shapes, t_shapes = [[3, 6, 6], [5, 3, 3]], [[4, 6, 6], [4, 3, 3], [2, 3, 3]]
    student, teacher = features(*((4, *shape) for shape in s_shapes)), features(*((4, *shape) for shape in t_shapes))
    paddle.seed(4)
    loss = LOSSES["DistillationPairLoss"](
        base_loss_name="AFDLoss",
        model_name_pairs=PAIRS,
        s_keys=["0", "1"],
        t_keys=["0", "1", "2"],
        s_shapes=s_shapes,
        t_shapes=t_shapes,
        qk_dim=6,
    )
    both, layers = outputs(student, teacher), loss.layers
    value = loss(both, None)

    queries = [linear(layer, x.mean((2, 3))) for layer, x in zip(layers.query, teacher, strict=True)]
    keys = [np.maximum(linear(layer, x.mean((2, 3))), 0) for layer, x in zip(layers.key, student, strict=True)]
    bilinear = linear(layers.bilinear, np.stack(keys, 1).reshape(8, 6)).reshape(4, 2, 3, 6)
    position = array(layers.p_t) @ array(layers.p_s).T
    logits = (np.einsum("bstq,btq->bts", bilinear, np.stack(queries, 1)) + position) / 6**0.5
    attention = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    expected = 0
    for t, target in enumerate(teacher):
        for s, source in enumerate(student):
            energy = (source**2).mean(1, keepdims=True)
            size = target.shape[2]
            resized = pool(energy, size, "avg")
            squares = ((unit(resized) - unit((target**2).mean(1))) ** 2).mean(1)
            expected += (squares * attention[:, t, s]).mean()
    assert float(value) == pytest.approx(expected, rel=1e-5)
    value.backward()
    assert all(both["Teacher"][key].grad is None for key in "012")
    trained = [parameter for parameter in layers.parameters() if not parameter.stop_gradient]
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in trained)
    assert np.abs(layers.p_t.grad.numpy()).sum() > 0


def test_attention_requires_the_shapes_of_the_layers():
    options = {"base_loss_name": "AFDLoss", "model_name_pairs": PAIRS, "s_key": "0", "t_key": "0"}
    with pytest.raises(ConfigError, match=r"t_shapes: expected a list of \[channels, height, width\], got \[\[4\]\]"):
        LOSSES["DistillationPairLoss"](**options, s_shapes=[[3, 2, 2]], t_shapes=[[4]])
    loss = LOSSES["DistillationPairLoss"](**options, s_shapes=[[3, 2, 2]], t_shapes=[[4, 2, 2]])
    both = outputs(features((2, 3, 5, 5)), features((2, 4, 2, 2)))
    with pytest.raises(ConfigError, match=r"s_shapes: expected the shapes of the layers, \[\[3, 5, 5\]\], got"):
        loss(both, None)
