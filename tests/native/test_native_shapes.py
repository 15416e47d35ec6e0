"""Native operators check all shapes and options, and raise ValueError as PaddlePaddle's operators do.

An operator is one entry of `CALLS`: adding it enrolls the operator in the checks of shapes, types and options.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np
import paddle
import pytest
from paddle import nn

from ppzoo import layers, native
from ppzoo.host import instruction_sets
from ppzoo.installation import release_of
from ppzoo.layers import native_layers
from ppzoo.models.mobilenet_v3 import SMALL, ResidualUnit
from ppzoo.models.repvgg import RepVGGBlock
from ppzoo.native import compilation
from ppzoo.native.operators import BFLOAT16_OPERATORS
from ppzoo.paddle_internals import run_custom_op

GEOMETRY = [1, 1, 1, 1, 1, 1, 1, 1, 1]
POINTWISE = [1, 1, 0, 0, 0, 0, 1, 1, 1]
DEPTHWISE = [1, 1, 1, 1, 1, 1, 1, 1, 16]
POOL = [3, 3, 2, 2, 1, 1, 1, 1, 0]


def norm(channels: int) -> list[paddle.Tensor]:
    """Scale, offset, running mean and running variance."""
    return [paddle.rand([channels]) + 0.5 for _ in range(4)]


def in_bfloat16(make: Callable[[], list], images: tuple[int, ...]) -> list:
    """Return the arguments that `make` returns, with `images` in bfloat16."""

    def convert(value):
        return list(map(convert, value)) if isinstance(value, list) else value.astype("bfloat16")

    return [convert(value) if place in images else value for place, value in enumerate(make())]


# Valid arguments of each operator. Tensors are N x H x W x C.
CALLS = {
    "conv": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([8, 4, 3, 3]), GEOMETRY, True],
    "conv_bias": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([8, 4, 3, 3]), paddle.rand([8]), GEOMETRY, True, 1],
    "linear": lambda: [paddle.rand([5, 4]), paddle.rand([4, 3]), paddle.rand([3]), True],
    "norm": lambda: [paddle.rand([2, 6, 5, 4]), *norm(4), 0.9, 1e-5, 1],
    "norm_add": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([2, 6, 5, 4]), *norm(4), 0.9, 1e-5, 1],
    "conv_norm": lambda: [
        *(paddle.rand([2, 6, 5, 4]), paddle.rand([8, 4, 3, 3]), *norm(8)),
        *(GEOMETRY, True, 0.9, 1e-5, 1),
    ],
    "conv_norm_add": lambda: [
        *(paddle.rand([2, 6, 5, 4]), paddle.rand([8, 4, 3, 3]), paddle.rand([2, 6, 5, 8]), *norm(8)),
        *(GEOMETRY, True, 0.9, 1e-5, 1),
    ],
    "conv_norm_affine": lambda: [
        *(paddle.rand([2, 6, 5, 4]), paddle.rand([8, 4, 3, 3]), *norm(8)[:2], paddle.rand([1]), paddle.rand([1])),
        *(*norm(8)[:2], GEOMETRY, True, 0.9, 1e-5, 1),
    ],
    "inverted_residuals": lambda: [
        paddle.rand([2, 6, 5, 4]),
        [paddle.rand(shape) for _ in range(2) for shape in ([16, 4, 1, 1], [16, 1, 3, 3], [4, 16, 1, 1])],
        *map(list, zip(*(norm(channels) for channels in (16, 16, 4, 16, 16, 4)), strict=True)),
        *(DEPTHWISE * 2, [1, 1, 0] * 2, [0, 1], True, [0.9] * 6, [1e-5] * 6),
    ],
    "inverted_residual_se": lambda: [
        paddle.rand([2, 6, 5, 4]),
        [paddle.rand([16, 4, 1, 1]), paddle.rand([16, 1, 3, 3]), paddle.rand([4, 16, 1, 1])],
        *map(list, zip(*(norm(channels) for channels in (16, 16, 4)), strict=True)),
        *(paddle.rand([3, 16, 1, 1]), paddle.rand([3]), paddle.rand([16, 3, 1, 1]), paddle.rand([16])),
        *(DEPTHWISE, [1, 1, 0], True, True, [0.9] * 3, [1e-5] * 3, 1, 1, 0.2, 0.5),
    ],
    "conv_norm_sequence": lambda: [
        paddle.rand([2, 6, 5, 4]),
        [paddle.rand([16, 4, 3, 3]), paddle.rand([16, 1, 3, 3]), paddle.rand([4, 16, 1, 1])],
        *map(list, zip(*(norm(channels) for channels in (16, 16, 4)), strict=True)),
        *(GEOMETRY + DEPTHWISE + POINTWISE, [1, 3, 0], True, [0.9] * 3, [1e-5] * 3),
    ],
    "repvgg": lambda: [
        *(paddle.rand([2, 6, 5, 8]), [paddle.rand([8, 8, 3, 3]), paddle.rand([8, 8, 1, 1])]),
        *map(list, zip(*(norm(8), norm(8), norm(8)), strict=True)),
        *(GEOMETRY, True, [0.9] * 3, [1e-5] * 3),
    ],
    "norm_inference": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([2, 6, 5, 4]), *norm(4), 1e-5, 1],
    "max_pool": lambda: [paddle.rand([2, 6, 5, 4]), POOL],
    "average_pool": lambda: [paddle.rand([2, 6, 5, 4]), POOL, False],
    "channels_last": lambda: [paddle.rand([2, 4, 6, 5])],
    "activate": lambda: [paddle.rand([2, 6, 5, 4]), 1],
    "add_activate": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([2, 6, 5, 4]), 1],
    "add_scaled": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([2, 6, 5, 4]), paddle.rand([2])],
    "affine": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([1]), paddle.rand([1])],
    "scale_channels": lambda: [paddle.rand([2, 6, 5, 4]), paddle.rand([2, 4])],
    "squeeze_excite": lambda: [
        *(paddle.rand([2, 6, 5, 4]), paddle.rand([3, 4, 1, 1]), paddle.rand([3]), paddle.rand([4, 3, 1, 1])),
        *(paddle.rand([4]), 1, 1, 0.2, 0.5, True),
    ],
    "concat": lambda: [[paddle.rand([2, 6, 5, 4]), paddle.rand([2, 6, 5, 4])], True],
    "split_halves": lambda: [paddle.rand([2, 6, 5, 4])],
    "momentum": lambda: [
        *([paddle.rand([3]), paddle.rand([2, 5])] for _ in range(3)),
        *([0.1, 0.1], [0.0, 0.0], 0.9, False),
    ],
    "all_finite": lambda: [[paddle.rand([3]), paddle.rand([2, 5])]],
    "update_ema": lambda: [[paddle.rand([3]), paddle.rand([2, 5])], [paddle.rand([3]), paddle.rand([2, 5])], 0.9, 0.1],
}
# Operators whose weights can have another size of the filter.
ANY_FILTER = {"conv", "conv_bias", "conv_norm_affine", "conv_norm_sequence"}
# Operators with one tensor, which can have any shape.
ANY_SHAPE = {
    "activate",
    "all_finite",
    "channels_last",
    "max_pool",
    "average_pool",
    "split_halves",
    "bfloat16_use_twice",
}
if "avx512_bf16" in instruction_sets().split():
    # The positions of the arguments of each operator that are images, which are bfloat16 in its version for bfloat16.
    IMAGES = dict.fromkeys(sorted(BFLOAT16_OPERATORS), (0,)) | {
        "norm_add": (0, 1),
        "conv_norm_add": (0, 2),
        "add_activate": (0, 1),
        "add_scaled": (0, 1),
        "channels_last": (),
    }
    CALLS |= {f"bfloat16_{name}": partial(in_bfloat16, CALLS[name], images) for name, images in IMAGES.items()}
    CALLS["bfloat16_use_twice"] = lambda: [paddle.rand([2, 6, 5, 4]).astype("bfloat16")]
    ANY_SHAPE |= {f"bfloat16_{name}" for name in ANY_SHAPE & BFLOAT16_OPERATORS}
    ANY_FILTER |= {f"bfloat16_{name}" for name in ANY_FILTER & BFLOAT16_OPERATORS}


def changed_shape(shape: list[int], random: np.random.Generator) -> list[int]:
    """Return another shape: one axis is longer, shorter, removed or added."""
    axis, other = int(random.integers(len(shape))), list(shape)
    match random.integers(4):
        case 0:
            other[axis] += int(random.integers(1, 40))
        case 1:
            other[axis] = int(random.integers(shape[axis]))
        case 2:
            del other[axis]
        case 3:
            other.insert(axis, int(random.integers(1, 4)))
    return other


def is_list_of_tensors(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], paddle.Tensor)


def tensors_of(arguments: list) -> list[tuple[list, int]]:
    """Return where the tensors of a call are: a list, and the index in it."""
    places = [(arguments, index) for index, value in enumerate(arguments) if isinstance(value, paddle.Tensor)]
    for value in arguments:
        if is_list_of_tensors(value):
            places += [(value, index) for index in range(len(value))]
    return places


def call(name: str, arguments: list) -> list[paddle.Tensor]:
    return run_custom_op(f"ppzoo_{name}", *arguments)


def test_every_operator_has_a_call():
    sources = [path.read_text() for path in compilation.source_files() if path.parent.name == compilation.OPS]
    names = set(re.findall(r"PD_BUILD_OP\((?:ppzoo_|prefix##)(\w+)\)", "".join(sources)))
    in_bfloat16 = {name for name in CALLS.keys() | names if name.startswith("bfloat16_")}
    assert names | in_bfloat16 == CALLS.keys() | in_bfloat16


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_valid(name, native_on):
    outputs = call(name, CALLS[name]())
    if name in ("inverted_residuals", "inverted_residual_se", "conv_norm_sequence", "repvgg"):
        outputs = outputs[:1]  # the saved values have alignment gaps, which are not initialized
    assert all(np.isfinite(out.numpy()).all() for out in outputs if out.dtype == paddle.float32)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - ANY_SHAPE))
def test_wrong_shape_is_an_error(name, native_on):
    """The batch or a spatial size can change if only one tensor has it; then the operator returns a result."""
    random, errors = np.random.default_rng(0), 0
    for _ in range(60):
        arguments = CALLS[name]()
        places = tensors_of(arguments)
        holder, index = places[random.integers(len(places))]
        shape, kind = changed_shape(holder[index].shape, random), holder[index].dtype
        holder[index] = (paddle.rand(shape) if shape else paddle.rand([])).astype(kind)
        try:
            found = call(name, arguments)
        except ValueError:
            errors += 1
        else:
            is_filter = name in ANY_FILTER and (holder is arguments[1] or (holder is arguments and index == 1))
            assert is_filter or (holder is arguments and index == 0)
            assert np.isfinite(found[0].astype("float32").numpy()).all()
    assert errors >= 30


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("kind", ["float64", "int64", "bfloat16", "float32"])
def test_wrong_type_is_an_error(name, kind, native_on):
    for place in range(len(tensors_of(CALLS[name]()))):
        arguments = CALLS[name]()
        holder, index = tensors_of(arguments)[place]
        if str(holder[index].dtype).endswith(f".{kind}"):
            continue
        holder[index] = holder[index].astype(kind)
        with pytest.raises(ValueError, match=r"expected a dense (float32|bfloat16) tensor"):
            call(name, arguments)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_invalid_option_is_an_error(name, native_on):
    for place, option in enumerate(CALLS[name]()):
        if isinstance(option, bool) or not isinstance(option, (int, list)) or isinstance(option, paddle.Tensor):
            continue
        if isinstance(option, list) and not isinstance(option[0], (int, float)):
            continue
        if isinstance(option, list):
            wrong = [[], option * 2, *([[-1] * len(option)] if isinstance(option[0], int) else [])]
        else:
            wrong = [-1, 5, 99, 1 << 30]
        for value in wrong:
            arguments = CALLS[name]()
            arguments[place] = value
            with pytest.raises(ValueError):
                call(name, arguments)


@pytest.mark.parametrize(
    "name", [name for name, arguments in CALLS.items() if any(map(is_list_of_tensors, arguments()))]
)
def test_no_tensors_are_an_error(name, native_on):
    arguments = [[] if is_list_of_tensors(value) else value for value in CALLS[name]()]
    with pytest.raises((ValueError, RuntimeError), match=r"expected|[Ee]mpty"):
        call(name, arguments)


@pytest.mark.parametrize("missing", range(5))
@pytest.mark.parametrize(
    ("name", "count"), [("inverted_residuals", 6), ("inverted_residual_se", 3), ("conv_norm_sequence", 3)]
)
def test_lists_of_the_wrong_length_are_an_error(name, count, missing, native_on):
    arguments = CALLS[name]()
    arguments[1 + missing] = arguments[1 + missing][:-1]
    with pytest.raises(ValueError, match=rf"expected {count} .*, got {count - 1}"):
        call(name, arguments)


def test_a_sequence_has_no_dense_convolutions_after_the_first(native_on):
    arguments = CALLS["conv_norm_sequence"]()
    arguments[1][1] = paddle.rand([16, 16, 3, 3])
    arguments[6] = GEOMETRY + GEOMETRY + POINTWISE
    with pytest.raises(ValueError, match="expected only 1x1 and depthwise ones after the first"):
        call("conv_norm_sequence", arguments)


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("count", [1, 4])
def test_lists_of_the_wrong_length_for_a_repvgg_block_are_an_error(count, missing, native_on):
    arguments = CALLS["repvgg"]()
    arguments[missing] = (arguments[missing] * 2)[:count]
    with pytest.raises(ValueError, match=rf"RepVGG block: expected .*, got {count}"):
        call("repvgg", arguments)


# Changes of a valid call: the places of arguments and their new values.
REPVGG_MISFITS = {
    "groups": {1: [(8, 4, 3, 3), (8, 4, 1, 1)], 6: [1, 1, 1, 1, 1, 1, 1, 1, 2]},
    "the second filter is not 1x1": {1: [(8, 8, 3, 3), (8, 8, 3, 3)]},
    "output channels of the branches": {1: [(8, 8, 3, 3), (6, 8, 1, 1)]},
    "sizes of the branches": {6: [1, 1, 0, 0, 0, 0, 1, 1, 1]},
    "the identity with a stride": {6: [2, 2, 1, 1, 1, 1, 1, 1, 1]},
}


@pytest.mark.parametrize("name", REPVGG_MISFITS)
def test_branches_that_do_not_fit_are_an_error(name, native_on):
    arguments = CALLS["repvgg"]()
    for place, value in REPVGG_MISFITS[name].items():
        arguments[place] = [paddle.rand(shape) for shape in value] if place == 1 else value
    with pytest.raises(ValueError, match=r"(RepVGG block|convolution): expected"):
        call("repvgg", arguments)


def test_gradient_of_the_wrong_shape_is_an_error(native_on):
    x = paddle.rand([2, 3, 8, 8])
    x.stop_gradient = False
    y = native_layers.Conv2D(3, 8, 3)(x)
    with pytest.raises((ValueError, RuntimeError)):
        paddle.grad([y], [x], [paddle.rand([2, 8, 5, 5])])


# Calls with tensors that do not match the layer.
MISFITS = {
    "gray images": lambda: native_layers.Conv2D(3, 8, 3)(paddle.rand([2, 1, 8, 8])),
    "four channels": lambda: native_layers.Conv2D(3, 8, 3)(paddle.rand([2, 4, 8, 8])),
    "depthwise": lambda: native_layers.Conv2D(32, 32, 3, groups=32)(paddle.rand([2, 16, 8, 8])),
    "pointwise": lambda: native_layers.Conv2D(32, 64, 1, bias_attr=False)(paddle.rand([2, 64, 8, 8])),
    "features": lambda: native_layers.Linear(4, 3)(paddle.rand([2, 6])),
    "norm": lambda: native_layers.BatchNorm(8)(paddle.rand([2, 64, 5, 5])),
    "narrow norm": lambda: native_layers.BatchNorm(64)(paddle.rand([2, 8, 5, 5])),
    "concatenation": lambda: native_layers.concat([paddle.rand([2, 3, 5, 5]), paddle.rand([2, 3, 4, 5])]),
    "sum": lambda: native_layers.add(paddle.rand([2, 3, 5, 5]), paddle.rand([2, 3, 4, 5])),
    "gate": lambda: native_layers.scale_channels(paddle.rand([2, 3, 5, 5]), paddle.rand([2, 4, 1, 1])),
    "squeeze-and-excitation": lambda: layers.SELayer(32)(paddle.rand([2, 64, 5, 5])),
    "squeeze-and-excitation by convolutions": lambda: layers.ConvSqueezeExcite(32, 8, act=nn.ReLU(), gate=nn.Sigmoid())(
        paddle.rand([2, 16, 5, 5])
    ),
    "halves": lambda: native_layers.halve(paddle.rand([2, 3, 5, 5])),
    "block": lambda: layers.ConvBNLayer(3, 8, 3)(paddle.rand([2, 4, 8, 8])),
    "residual": lambda: layers.ConvBNLayer(3, 8, 3)(paddle.rand([2, 3, 8, 8]), paddle.rand([2, 8, 4, 8])),
    "small map": lambda: native_layers.Conv2D(3, 8, 5)(paddle.rand([2, 3, 2, 8])),
    "map that shrinks to nothing": lambda: native_layers.Conv2D(3, 8, 3)(paddle.rand([2, 3, 2, 8])),
    "map that shrinks to nothing in a pool": lambda: native_layers.AvgPool2D(3, 2)(paddle.rand([2, 3, 1, 5])),
    "small map to pool": lambda: native_layers.MaxPool2D(3, 1)(paddle.rand([2, 3, 1, 1])),
    "five axes to pool": lambda: native_layers.MaxPool2D(2)(paddle.rand([1, 2, 3, 8, 8])),
    "two axes to pool": lambda: native_layers.AvgPool2D(2, padding="SAME")(paddle.rand([8, 8])),
}


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("name", MISFITS)
def test_layers_raise_for_tensors_that_do_not_match(name, mode, learns, native_on):
    native.set_mode(mode)
    with paddle.set_grad_enabled(learns), pytest.raises((ValueError, RuntimeError)):
        MISFITS[name]()


# Tensors that PaddlePaddle broadcasts, and tensors without elements.
ODD = {
    "no images": lambda x: native_layers.Conv2D(3, 8, 3)(x[:0]),
    "no images for a norm": lambda x: native_layers.BatchNorm(3)(x[:0]),
    "no images to pool": lambda x: native_layers.MaxPool2D(2)(x[:0]),
    "no images to average": lambda x: native_layers.AdaptiveAvgPool2D(1)(x[:0]),
    "no images for a block": lambda x: layers.ConvBNLayer(3, 8, 3)(x[:0]),
    "no features": lambda x: native_layers.Linear(4, 3)(x[:0, 0, 0, :4]),
    "a filter larger than the map, with a stride": lambda x: native_layers.Conv2D(3, 8, 3, stride=2)(x[:, :, :2]),
    "a window larger than the map": lambda x: native_layers.MaxPool2D(3, 2)(x[:, :, :2, :2]),
    "a residual of one image": lambda x: layers.ConvBNLayer(3, 3, 3)(x, x[:1]),
    "a residual of one pixel": lambda x: layers.ConvBNLayer(3, 3, 3)(x, x[:, :, :1, :1]),
    "a gate of one image": lambda x: native_layers.scale_channels(x, x[:1, :, :1, :1]),
    "a gate of every pixel": lambda x: native_layers.scale_channels(x, x[:, :1]),
    "no images to scale": lambda x: layers.SELayer(3, 1)(x[:0]),
    "a sum with one channel": lambda x: native_layers.add(x, x[:, :1]),
    "an empty part": lambda x: native_layers.concat([x, x[:, :0]]),
}


EMPTY_BATCHES = release_of(paddle.__version__) is None or release_of(paddle.__version__).empty_batches


@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("name", [name for name in ODD if name.startswith("no ")])
@pytest.mark.skipif(EMPTY_BATCHES, reason="for PaddlePaddle 2.6, which does not support batches without images")
def test_batches_without_images_are_refused(name, mode, native_on):
    native.set_mode(mode)
    with pytest.raises(ValueError):
        ODD[name](paddle.randn([2, 3, 7, 6]))


@pytest.mark.parametrize("name", [name for name in ODD if EMPTY_BATCHES or not name.startswith("no ")])
def test_unsupported_tensors_use_paddlepaddles_operators(name, native_on):
    found = {}
    for mode in ("on", "off"):
        native.set_mode(mode)
        paddle.seed(1)
        x = paddle.randn([2, 3, 7, 6])
        x.stop_gradient = False
        y = ODD[name](x)
        (gradient,) = paddle.grad([y], [x], [paddle.ones_like(y)], allow_unused=True)
        found[mode] = [y.numpy(), None if gradient is None else gradient.numpy()]
    for ours, theirs in zip(*found.values(), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["on", "off"])
def test_running_statistics_that_are_strided_views_are_an_error(mode, native_on):
    """PaddlePaddle passes a copy of a strided view to its operators: the update would be lost."""
    native.set_mode(mode)
    layer = native_layers.BatchNorm(4)
    layer._parameters["_mean"] = paddle.zeros([4, 2])[:, 0]
    x = paddle.randn([3, 4, 5, 5])
    with pytest.raises(ValueError, match="strided view"):
        layer(x)
    with pytest.raises(ValueError, match="strided view"):
        native_layers.conv_norm_act(native_layers.Conv2D(4, 4, 1, bias_attr=False), layer, nn.ReLU(), x)
    layer.eval()
    with paddle.no_grad():
        np.testing.assert_allclose(layer(x).numpy(), x.numpy(), rtol=1e-4)


def test_in_place_updates_of_strided_views_are_an_error(native_on):
    from ppzoo.native import operators

    with pytest.raises(ValueError, match="strided view"):
        operators.update_ema([paddle.zeros([4, 2])[:, 0]], [paddle.ones([4])], decay=0.5, weight=0.5)


@pytest.mark.parametrize("missing", ["param_attr", "bias_attr", "both"])
@pytest.mark.parametrize("training", [True, False])
def test_norm_without_scale_or_offset_uses_paddlepaddles_operator(training, missing, native_on):
    options = dict.fromkeys(["param_attr", "bias_attr"] if missing == "both" else [missing], False)
    found = []
    for mode in ("on", "off"):
        native.set_mode(mode)
        paddle.seed(1)
        block = nn.Sequential(native_layers.Conv2D(3, 4, 3), native_layers.BatchNorm(4, **options))
        block.train() if training else block.eval()
        x = paddle.randn([2, 3, 6, 6])
        found.append(block(x).numpy())
        found.append(native_layers.conv_norm_act(block[0], block[1], nn.ReLU(), x).numpy())
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[1], found[3], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalize", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("mode", ["on", "off"])
def test_weights_that_a_hook_computes_are_used(mode, normalize, native_on):
    native.set_mode(mode)
    block = layers.ConvBNLayer(3, 8, 3, act=None)
    normalize(block.conv)
    block.eval()
    x = paddle.randn([2, 3, 6, 6])
    y = block(x)
    expected = block.bn(nn.functional.conv2d(x, block.conv.weight, padding=1))
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in block.conv.parameters() if not parameter.stop_gradient)


def doubled(layer: nn.Layer) -> None:
    """Replace the forward of the object."""
    computed = layer.forward
    layer.forward = lambda *inputs: computed(*inputs) * 2


@pytest.mark.parametrize("part", ["conv", "bn", "act"])
@pytest.mark.parametrize("mode", ["on", "off"])
def test_forward_of_an_instance_is_called(part, mode, native_on):
    native.set_mode(mode)
    paddle.seed(3)
    block = layers.ConvBNLayer(3, 8, 3)
    x = paddle.randn([2, 3, 6, 6])
    before = block(x)
    doubled(getattr(block, part))
    after = block(x)
    same = part == "conv"  # the norm cancels the factor
    np.testing.assert_allclose(after.numpy(), before.numpy() * (1 if same else 2), rtol=1e-3, atol=1e-4)


class Halved(native_layers.Conv2D):
    def forward(self, x):
        return super().forward(x) / 2 + 1


def test_forward_of_a_subclass_is_called(native_on):
    block = layers.ConvBNLayer(3, 8, 3, act=None)
    block.conv = Halved(3, 8, 3, bias_attr=False)
    block.eval()
    x = paddle.randn([2, 3, 6, 6])
    with paddle.no_grad():
        expected = block.bn(block.conv(x))
        np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-6)
    block.train()
    block(x)
    np.testing.assert_allclose(block.bn._mean.numpy(), 0.1 * block.conv(x).mean([0, 2, 3]).numpy(), rtol=1e-3)


def affine_block(channels: int, out_channels: int, x: paddle.Tensor) -> paddle.Tensor:
    block = layers.ConvBNLayer(channels, out_channels, 3)
    return layers.conv_norm_act_affine(*block.parts, layers.LearnableAffineBlock(), x)


# Layers whose second derivative is requested.
SECOND = {
    "convolution": lambda x: native_layers.Conv2D(16, 8, 3)(x),
    "norm": lambda x: native_layers.BatchNorm(16)(x),
    "block": lambda x: layers.ConvBNLayer(16, 8, 3)(x),
    "residual block": lambda x: layers.ConvBNLayer(16, 16, 3)(x, x),
    "max pooling": lambda x: native_layers.MaxPool2D(2)(x),
    "affine block": lambda x: layers.LearnableAffineBlock()(x),
    "convolution and affine block": lambda x: affine_block(16, 8, x),
    "block of RepVGG": lambda x: RepVGGBlock(16, 16, stride=1, groups=1, squeeze_excite=False)(x),
    "average pooling": lambda x: native_layers.AdaptiveAvgPool2D(1)(x),
    "activation": lambda x: native_layers.relu(x),
    "sum": lambda x: native_layers.add(x, x),
    "gate": lambda x: native_layers.scale_channels(x, x[:, :, :1, :1]),
    "concatenation": lambda x: native_layers.concat([x, x]),
    "halves": lambda x: native_layers.halve(x)[1],
    "linear": lambda x: native_layers.Linear(16, 3)(x.mean([2, 3])),
    "sequence of convolutions": lambda x: layers.conv_sequence(
        [layers.ConvBNLayer(16, 8, 1), layers.ConvBNLayer(8, 8, 1)], x
    ),
    "inverted residual with squeeze-and-excitation": lambda x: ResidualUnit(16, 24, 16, SMALL[0])(x),
}


@pytest.mark.parametrize("memory", ["channels-last", "channels-first"])
@pytest.mark.parametrize("name", SECOND)
def test_second_derivative_is_an_error(name, memory, native_on):
    x = paddle.randn([2, 6, 6, 16] if memory == "channels-last" else [2, 16, 6, 6])
    x.stop_gradient = False
    y = SECOND[name](x.transpose([0, 3, 1, 2]) if memory == "channels-last" else x)
    (slope,) = paddle.grad([(y * y).sum()], [x], create_graph=True)
    with pytest.raises(NotImplementedError, match="PPZOO_NATIVE=off"):
        (slope * slope).sum().backward()


def test_second_derivative_works_without_native_operators(native_off):
    x = paddle.randn([2, 3, 6, 6])
    x.stop_gradient = False
    y = native_layers.Conv2D(3, 8, 3)(x)
    (slope,) = paddle.grad([(y * y).sum()], [x], create_graph=True)
    (slope * slope).sum().backward()
    assert float(x.grad.abs().max()) > 0


@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("shape", [(), (4,), (4, 5), (4, 5, 6), (1, 2, 4, 5, 6)], ids=str)
def test_convolutions_name_the_number_of_axes(shape, mode, native_on):
    native.set_mode(mode)
    with pytest.raises(ValueError, match=r"should|4-D"):
        native_layers.Conv2D(4, 6, 3)(paddle.rand(shape))


@pytest.mark.parametrize("shape, dtype", [([1, 1], "float32"), ([4, 1, 1], "float32"), ([1], "float64")])
def test_affine_block_with_replaced_parameters_uses_paddlepaddles_operators(shape, dtype, native_on):
    block = layers.affine.LearnableAffineBlock()
    block._parameters["scale"] = paddle.rand(shape).astype(dtype)
    conv, norm, x = (
        native_layers.Conv2D(4, 4, 3, bias_attr=False),
        native_layers.BatchNorm2D(4),
        paddle.rand([2, 4, 5, 5]),
    )
    for compute in (block, lambda x: layers.affine.conv_norm_act_affine(conv, norm, nn.ReLU(), block, x)):
        native.set_mode("off")
        expected = compute(x)
        native.set_mode("on")
        np.testing.assert_allclose(compute(x).numpy(), expected.numpy(), rtol=0, atol=1e-5)
