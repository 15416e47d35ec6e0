"""All formats in which PaddlePaddle pickles weights are read; other files are refused."""

import gzip
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import paddle
import pytest

from ppzoo.errors import WeightsError
from ppzoo.weights import read_entries, read_pdparams, read_state, save_pdparams, save_state


@pytest.fixture
def layer():
    paddle.seed(3)
    with paddle.utils.unique_name.guard():
        return paddle.nn.Sequential(paddle.nn.Conv2D(2, 3, 3), paddle.nn.BatchNorm(3))


def assert_same(found, layer):
    expected = {key: tensor.numpy() for key, tensor in layer.state_dict().items()}
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_files_of_paddle_save_are_read_with_parameter_names(layer, tmp_path, protocol):
    paddle.save(layer.state_dict(), str(tmp_path / "net.pdparams"), protocol=protocol)
    assert_same(read_pdparams(tmp_path / "net"), layer)
    file = read_entries(tmp_path / "net.pdparams")
    assert file.parameter_names == {key: tensor.name for key, tensor in layer.state_dict().items()}


def test_pairs_of_name_and_array_are_read(layer, tmp_path):
    pairs = {key: (tensor.name, tensor.numpy()) for key, tensor in layer.state_dict().items()}
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps(pairs, 2))
    assert_same(read_pdparams(tmp_path / "net"), layer)
    assert read_entries(tmp_path / "net").parameter_names["0.weight"] == layer[0].weight.name


def test_dense_tensors_are_read(layer, tmp_path):
    tensors = [layer[0].weight.get_tensor()]  # in a list, so that paddle.save does not take it for a state dict
    paddle.save({"w": tensors}, str(tmp_path / "net.pdopt"))
    assert b"eval" in (tmp_path / "net.pdopt").read_bytes()
    np.testing.assert_array_equal(read_state(tmp_path / "net.pdopt")["w"][0], layer[0].weight.numpy())


def test_sliced_arrays_are_joined(tmp_path):
    joined = np.arange(60, dtype="f4").reshape(3, 4, 5)
    flat = joined.reshape(-1)
    content = {
        "first": np.ones(2),
        "w@@.0": flat[:25],
        "w@@.1": flat[25:50],
        "w@@.2": flat[50:],
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (3, 4, 5), "slices": ["w@@.0", "w@@.1", "w@@.2"]}},
    }
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps(content, 2))
    found = read_pdparams(tmp_path / "net.pdparams")
    assert sorted(found) == ["first", "w"]
    np.testing.assert_array_equal(found["w"], joined)


@pytest.mark.parametrize(
    "table",
    [
        {"w": {"OriginShape": (3, 5), "slices": ["a"]}},
        {"w": {"OriginShape": (8,), "slices": ["a", "a"]}},
        {"w": {"OriginShape": (4,), "slices": ["gone"]}},
        {"w": {"OriginShape": (4,), "slices": []}},
        {"w": {"OriginShape": "4", "slices": ["a"]}},
        {"w": {"OriginShape": (4,), "slices": ["table"]}},
        {"w": 3},
        [1],
    ],
)
def test_invalid_slice_table_is_refused(tmp_path, table):
    content = {"a": np.ones(4), "table": {}, "UnpackBigParamInfor@@": table}
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(WeightsError, match="UnpackBigParamInfor@@ does not match"):
        read_pdparams(tmp_path / "net.pdparams")


def test_float16_is_kept_and_bfloat16_becomes_float32(layer, tmp_path):
    values = paddle.to_tensor([1.0, -2.5, 3e38])
    paddle.save({"b": values.astype("bfloat16")}, str(tmp_path / "b.pdparams"))
    paddle.save({"h": values[:2].astype("float16")}, str(tmp_path / "h.pdparams"))
    wide, half = read_pdparams(tmp_path / "b")["b"], read_pdparams(tmp_path / "h")["h"]
    assert (wide.dtype, half.dtype) == (np.float32, np.float16)
    np.testing.assert_array_equal(wide, values.astype("bfloat16").astype("float32").numpy())
    np.testing.assert_array_equal(half, [1, -2.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_error_names_the_entry_that_is_not_finite(tmp_path, bad, dtype):
    array = np.ones((3, 4), dtype)
    array[1, 2] = bad
    save_pdparams({"fine": np.ones(2), "conv.weight": array}, tmp_path / "net.pdparams")
    with pytest.raises(
        WeightsError, match=r"entry 'conv.weight': expected finite values, got -?(nan|inf) \(element 6\)"
    ):
        read_pdparams(tmp_path / "net")


@pytest.mark.parametrize("value", [3, "text", [np.ones(2)], {"inner": np.ones(2)}, None])
def test_error_names_the_entry_that_is_not_an_array(tmp_path, value):
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps({"fine": np.ones(2), "odd": value}))
    with pytest.raises(WeightsError, match=f"entry 'odd': expected an array, got an? {type(value).__name__}"):
        read_pdparams(tmp_path / "net")


def _zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "x")
    return buffer.getvalue()


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf\n <html>", "web page"),
        (_zip(), "zip archive"),
        (_tar(), "tar archive"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"hello, world", "not a weight file|refused"),
        (b"\x00\x01\x02" + b"\xff" * 500, "is damaged or not a weight file"),
        (pickle.dumps([np.ones(2)]), "expected a dictionary of names and arrays, got a list"),
        (pickle.dumps({"w": np.ones(200)}, 4)[:-30], "truncated"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "net.pdparams").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_pdparams(tmp_path / "net")
    assert "\n" not in str(caught.value) and "net.pdparams" in str(caught.value)


def test_error_for_a_missing_file_suggests_the_nearest_name(tmp_path):
    save_pdparams({"w": np.ones(2)}, tmp_path / "best_model.pdparams")
    for name in ("bets_model", "best-model.pdparams", "epoch_25", ""):
        with pytest.raises(WeightsError, match=rf"did you mean '{tmp_path / 'best_model'}'\?"):
            read_pdparams(tmp_path / name)
    with pytest.raises(WeightsError, match="there is no folder"):
        read_pdparams(tmp_path / "nowhere" / "best_model")
    with pytest.raises(WeightsError, match=r"expected a \.pdparams file, got the folder"):
        read_pdparams(tmp_path)


def test_file_is_found_next_to_a_folder_of_the_same_name(tmp_path):
    (tmp_path / "best_model").mkdir()
    save_pdparams({"w": np.ones(2)}, tmp_path / "best_model.pdparams")
    assert list(read_pdparams(tmp_path / "best_model")) == ["w"]


def test_paddle_load_reads_saved_weights(layer, tmp_path):
    save_pdparams(layer.state_dict(), tmp_path / "net.pdparams")
    loaded = paddle.load(str(tmp_path / "net.pdparams"))
    for key, tensor in layer.state_dict().items():
        assert isinstance(loaded[key], paddle.Tensor) and loaded[key].name == tensor.name
        np.testing.assert_array_equal(loaded[key].numpy(), tensor.numpy())
    assert list(loaded) == list(layer.state_dict())
    assert_same(read_pdparams(tmp_path / "net"), layer)


def test_optimizer_state_round_trip(tmp_path):
    linear = paddle.nn.Linear(4, 3)
    schedule = paddle.optimizer.lr.PiecewiseDecay([2, 4], [0.1, 0.01, 0.001])
    optimizer = paddle.optimizer.Momentum(schedule, parameters=linear.parameters())
    linear(paddle.ones([2, 4])).sum().backward()
    optimizer.step()
    master = linear.weight.clone()  # what a GPU adds in mixed precision
    state = {**optimizer.state_dict(), "master_weights": {linear.weight.name: master}}
    velocity = next(key for key in state if "_velocity_" in key)
    paddle.save(state, str(tmp_path / "paddle.pdopt"))
    save_state(state, tmp_path / "ppzoo.pdopt")
    for path in tmp_path.iterdir():
        found = read_state(path)
        assert found.keys() == state.keys() and found["LR_Scheduler"] == state["LR_Scheduler"]
        np.testing.assert_array_equal(found["master_weights"][linear.weight.name], master.numpy())
        np.testing.assert_array_equal(found[velocity], state[velocity].numpy())
        loaded = paddle.load(str(path))
        assert isinstance(loaded[velocity], paddle.Tensor) and loaded[velocity].name == state[velocity].name


def test_training_state_is_read(tmp_path):
    state = {"epoch": 3, "metric": 0.5, "history": [1, 2.5], "best": {"epoch": 2, "name": "top1"}, "done": False}
    paddle.save(state, str(tmp_path / "a.pdstates"))
    save_state(state, tmp_path / "b.pdstates")
    assert read_state(tmp_path / "a.pdstates") == read_state(tmp_path / "b.pdstates") == state


def test_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "net.pdparams"
    save_pdparams({"w": np.ones(2)}, path)
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        save_state({"big": np.ones(100_000), "no": lambda: None}, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.pdparams"]


def test_large_values_whose_sum_overflows_are_accepted(tmp_path):
    large = np.full(100, 3e38, np.float32)
    save_pdparams({"weight": large}, tmp_path / "large.pdparams")
    np.testing.assert_array_equal(read_pdparams(tmp_path / "large.pdparams")["weight"], large)
