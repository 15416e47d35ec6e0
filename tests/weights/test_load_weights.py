"""`load_weights`: strict by default; every exception is reported."""

import pickle

import numpy as np
import paddle
import pytest

from ppzoo.errors import ConfigError, WeightsError
from ppzoo.weights import best_fit, load_weights, save_pdparams


class Tiny(paddle.nn.Layer):
    """A minimal classifier: convolution, norm, head."""

    head_layers = ("out",)

    def __init__(self, class_num=10, width=4):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, width, 3, weight_attr=paddle.ParamAttr(name="conv1_weights"))
        self.bn = paddle.nn.BatchNorm(width)
        self.out = paddle.nn.Linear(width, class_num)

    def forward(self, x):
        return self.out(self.bn(self.conv(x)).mean([2, 3]))


def build(class_num=10, width=4, seed=0):
    paddle.seed(seed)
    with paddle.utils.unique_name.guard():
        return Tiny(class_num, width)


def values(network):
    return {key: tensor.numpy().copy() for key, tensor in network.state_dict().items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.fixture
def file(tmp_path):
    save_pdparams(build(seed=1).state_dict(), tmp_path / "net.pdparams")
    return tmp_path / "net.pdparams"


@pytest.fixture
def source_values():
    return values(build(seed=1))


@pytest.mark.parametrize("suffix", ["", ".pdparams"])
def test_file_is_loaded_completely(file, source_values, suffix):
    network = build()
    report = load_weights(network, str(file.with_suffix(suffix)))
    assert_same(values(network), source_values)
    assert report.loaded == list(source_values) and report.complete
    assert not (report.missing or report.unexpected or report.mismatched or report.reinitialised)
    assert str(report) == f"loaded 8 entries from {file.with_suffix(suffix)}"


def test_file_with_parameter_names_is_loaded(tmp_path, source_values):
    by_name = {tensor.name: source_values[key] for key, tensor in build().state_dict().items()}
    assert "conv1_weights" in by_name
    (tmp_path / "old.pdparams").write_bytes(pickle.dumps(by_name, 2))
    network = build()
    assert load_weights(network, tmp_path / "old").loaded == list(source_values)
    assert_same(values(network), source_values)
    by_name["stray"] = np.ones(3)
    with pytest.raises(WeightsError, match=r"1 unexpected \(stray\)"):
        load_weights(network, by_name)


def test_arrays_and_tensors_are_loaded(source_values):
    for source in (source_values, build(seed=1).state_dict()):
        network = build()
        load_weights(network, source)
        assert_same(values(network), source_values)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_are_cast(source_values, dtype):
    network = build()
    load_weights(network, {key: value.astype(dtype) for key, value in source_values.items()})
    for key, value in values(network).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, source_values[key].astype(dtype).astype("float32"))


def test_bfloat16_round_trip(source_values):
    narrow = build(seed=1)
    narrow.to(dtype="bfloat16")
    wide = build()
    load_weights(wide, narrow.state_dict())
    again = build(seed=2)
    again.to(dtype="bfloat16")
    load_weights(again, wide.state_dict())
    assert_same(values(again), values(narrow))


def test_values_that_the_dtype_cannot_represent_are_refused(source_values):
    network = build()
    before = values(network)
    for key, value in {"bn.weight": np.full(4, 1e300), "bn.bias": np.arange(4)}.items():
        expected = rf"'{key}': expected floating-point values that float32 can represent, got {value.dtype}"
        with pytest.raises(WeightsError, match=expected):
            load_weights(network, {**source_values, key: value})
    assert_same(values(network), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("bn._mean"), r"1 missing \(bn._mean\)"),
        (lambda w: w.update(extra=np.ones(2)), r"1 unexpected \(extra\)"),
        (
            lambda w: w.update({"conv.weight": np.ones((4, 3, 5, 5))}),
            r"1 mismatched \(conv.weight: 4x3x5x5 in the weights, 4x3x3x3 in the network\)",
        ),
        (lambda w: w.update({"out.weight": np.ones((5, 10))}), r"out.weight: 5x10 in the weights, 4x10 in the network"),
        (lambda w: w.update({"out.bias": np.ones(())}), r"out.bias: scalar in the weights, 10 in the network"),
        (lambda w: w.update({"out.weight": np.ones((4, 7))}), r"out.weight: 4x7 in the weights, 4x10 in the network"),
        (lambda w: w.update({"bn.bias": np.array([np.nan] * 4)}), r"'bn.bias': expected finite values, got nan"),
        (lambda w: w.update({"bn.bias": "text"}), r"'bn.bias': expected an array of numbers, got a str"),
        (lambda w: w.clear(), r"8 missing .*no entry matches"),
    ],
)
def test_mismatch_is_an_error_and_changes_nothing(source_values, change, message):
    network = build()
    before = values(network)
    change(source_values)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(network, source_values)
    assert "\n" not in str(caught.value)
    assert_same(values(network), before)


def test_head_with_another_class_number_is_reinitialised_and_reported(file, source_values):
    network = build(class_num=3)
    before = values(network)
    report = load_weights(network, file)
    after = values(network)
    assert report.reinitialised == ["out.weight", "out.bias"]
    assert "2 re-initialized" in str(report) and "out.weight" in str(report)
    for key in after:
        np.testing.assert_array_equal(after[key], before[key] if key in report.reinitialised else source_values[key])


def test_strict_head_with_another_class_number_is_refused(file):
    network = build(class_num=3)
    before = values(network)
    with pytest.raises(WeightsError, match=r"2 mismatched .*; the weights are for (\d+) classes: set class_num to \1"):
        load_weights(network, file, head="strict")
    assert_same(values(network), before)


def test_non_strict_loading_reports_mismatches(source_values):
    source_values["extra"] = np.ones(3)
    source_values["conv.weight"] = np.ones((1, 1))
    del source_values["bn._mean"]
    network = build()
    before = values(network)
    report = load_weights(network, source_values, strict=False)
    assert (report.missing, report.unexpected) == (["bn._mean"], ["extra"])
    assert report.mismatched == {"conv.weight": ((1, 1), (4, 3, 3, 3))}
    assert len(report.loaded) == 6 and not report.complete
    for text in ("loaded 6 entries", "1 missing (bn._mean)", "1 unexpected (extra)", "conv.weight: 1x1"):
        assert text in str(report)
    for key, value in values(network).items():
        np.testing.assert_array_equal(value, source_values[key] if key in report.loaded else before[key])


def test_non_strict_loading_needs_a_matching_entry(source_values):
    with pytest.raises(WeightsError, match="no entry matches"):
        load_weights(build(), {"other": np.ones(3)}, strict=False)


def test_skipped_entries_are_neither_loaded_nor_missing(source_values):
    del source_values["out.bias"]
    source_values["extra.table"] = np.ones(2)
    network = build()
    before = values(network)
    report = load_weights(network, source_values, skip=["out.*", "extra.*"])
    assert report.skipped == ["out.weight", "out.bias"] and report.complete
    np.testing.assert_array_equal(network.out.weight.numpy(), before["out.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "no"}, "head: expected 'auto' or 'strict', got 'no'"),
        ({"skip": ["uot.*"]}, r"'uot.\*' matches no entry"),
        ({"skip": "out.*"}, "expected a list"),
    ],
)
def test_invalid_options_are_refused(source_values, options, message):
    with pytest.raises(ConfigError, match=message):
        load_weights(build(), source_values, **options)


def shapes(width):
    return {key: tuple(value.shape) for key, value in build(width=width).state_dict().items()}


def test_best_fit_shares_the_most_entries():
    candidates = [(f"width {width}", shapes(width)) for width in (2, 4, 8)]
    assert best_fit(shapes(4), candidates) == ("width 4", 1.0)
    name, share = best_fit({**shapes(8), "out.weight": (8, 3), "out.bias": (3,)}, candidates)
    assert name == "width 8" and share == pytest.approx(6 / 8)
    assert best_fit({"other": (3,)}, candidates) is None


def test_error_names_no_network_that_hardly_fits():
    source = {**values(build(width=8)), **{f"other.{i}": np.zeros(3, np.float32) for i in range(20)}}
    with pytest.raises(WeightsError, match=r"(does|do) not fit") as caught:
        load_weights(build(), source, candidates=lambda size: [("width 8", shapes(8))])
    assert "look like" not in str(caught.value)


def test_error_names_the_network_that_fits_better():
    source = values(build(width=8))
    with pytest.raises(WeightsError, match="the weights look like those of width 8"):
        load_weights(
            build(), source, candidates=lambda size: ((f"width {width}", shapes(width)) for width in (2, 4, 8))
        )
    del source["bn.weight"]
    with pytest.raises(WeightsError, match="1 missing") as caught:
        load_weights(build(width=8), source, candidates=lambda size: [("width 4", shapes(4))])
    assert "look like" not in str(caught.value)


@pytest.mark.parametrize("source", [3, None, b"weights"])
def test_a_source_that_is_no_path_is_named(source):
    with pytest.raises(ConfigError, match=rf"source: expected the path of a weight file .*, got {source!r}"):
        load_weights(paddle.nn.Linear(2, 2), source)
