"""Formats other than `.pdparams`: read exactly, recognized by content, and safely."""

import collections
import io
import json
import pickle
import random
import shutil
import struct
import sys
import types
import warnings
import zipfile

import numpy as np
import paddle
import pytest

from ppzoo.errors import WeightsError
from ppzoo.weights import load_weights, read, save_safetensors
from ppzoo.weights.pytorch import LEGACY_START

VALUES = {
    "conv.weight": np.random.RandomState(0).normal(size=(4, 3, 3, 3)).astype("f4"),
    "half": np.arange(5, dtype="f2"),
    "double": np.arange(6, dtype="f8").reshape(2, 3),
    "steps": np.array(7, "i8"),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 3), "f4"),
}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape
        np.testing.assert_array_equal(found[key], value)


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# PyTorch: the format of torch.save, written without PyTorch.


class Storage:
    """Placeholder of a PyTorch storage during pickling."""

    def __init__(self, kind, key, values):
        self.kind, self.key, self.values = kind, key, values


class Call:
    """Pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.fixture
def torch(monkeypatch):
    """A module `torch` with the names that pickles use."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "HalfStorage", "DoubleStorage", "BFloat16Storage", "LongStorage", "BoolStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_qtensor"):
        function = types.FunctionType((lambda *arguments: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


class Writer:
    """Writes a tree of tensors in one of the two formats of `torch.save`."""

    def __init__(self, torch, legacy):
        self.torch, self.legacy, self.count, self.storages = torch, legacy, 0, {}

    def storage(self, values):
        kinds = {"f4": "Float", "f2": "Half", "f8": "Double", "u2": "BFloat16", "i8": "Long", "b1": "Bool"}
        kind = getattr(self.torch, kinds[values.dtype.str[1:]] + "Storage")
        self.count += 1
        return Storage(kind, str(self.count), values)

    def tensor(self, storage, shape, strides, offset=0):
        rebuild = self.torch._utils._rebuild_tensor_v2
        return Call(rebuild, storage, offset, shape, strides, False, collections.OrderedDict())

    def of(self, array):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        return self.tensor(self.storage(array.reshape(-1)), array.shape, strides)

    def dumps(self, tree):
        buffer = io.BytesIO()
        identify = self.identify

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                return identify(value)

        Pickler(buffer, 2).dump(tree)
        return buffer.getvalue()

    def identify(self, value):
        if isinstance(value, Storage):
            self.storages[value.key] = value
            identifier = ("storage", value.kind, value.key, "cpu", value.values.size)
            return (*identifier, None) if self.legacy else identifier
        return None

    def write(self, path, tree):
        self.storages = {}
        tree = self.dumps(tree)
        storages = list(self.storages.values())
        if self.legacy:
            system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
            head = [LEGACY_START, pickle.dumps(1001, 2), pickle.dumps(system, 2), tree]
            keys = [storage.key for storage in storages[::-1]]
            tail = [struct.pack("<q", s.values.size) + s.values.tobytes() for s in storages[::-1]]
            path.write_bytes(b"".join([*head, pickle.dumps(keys, 2), *tail]))
            return path
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", tree)
            archive.writestr("net/byteorder", b"little")
            for storage in storages:
                archive.writestr(f"net/data/{storage.key}", storage.values.tobytes())
            archive.writestr("net/version", b"3\n")
        return path


@pytest.fixture(params=["zip", "legacy"])
def writer(request, torch):
    return Writer(torch, legacy=request.param == "legacy")


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_pytorch_tensors_are_read_by_name(writer, tmp_path, nested):
    tree = collections.OrderedDict((key, writer.of(value)) for key, value in VALUES.items())
    tree._metadata = collections.OrderedDict({"": {"version": 1}})
    if nested:
        tree = {"epoch": 3, "args": None, nested: tree, "optimizer": {"param_groups": [{"lr": 0.1}]}}
    assert_same(read(writer.write(tmp_path / "net.pth", tree)).arrays, VALUES)


def test_strides_offsets_and_shared_storages(writer, tmp_path):
    base = np.arange(24, dtype="f4")
    storage = writer.storage(base)
    tree = {
        "whole": writer.tensor(storage, (4, 6), (6, 1)),
        "transposed": writer.tensor(storage, (6, 4), (1, 6)),
        "part": writer.tensor(storage, (2, 3), (6, 2), offset=7),
        "expanded": writer.tensor(storage, (3, 2), (0, 1), offset=5),
        "parameter": Call(writer.torch._utils._rebuild_parameter, writer.of(base[:2]), True, collections.OrderedDict()),
    }
    grid = base.reshape(4, 6)
    expected = {
        "whole": grid,
        "transposed": grid.T,
        "part": base[7:][[[0, 2, 4], [6, 8, 10]]],
        "expanded": np.array([[5, 6]] * 3, "f4"),
        "parameter": base[:2],
    }
    assert_same(read(writer.write(tmp_path / "net.pth", tree)).arrays, expected)


def test_pytorch_bfloat16_becomes_float32(writer, tmp_path):
    tree = {"w": writer.of(np.array([0x3F80, 0xC020], "u2"))}
    assert_same(read(writer.write(tmp_path / "net.pth", tree)).arrays, {"w": np.array([1, -2.5], "f4")})


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "message"),
    [
        ((9,), (1,), 0, "exceeds its storage"),
        ((2, 2), (7, 1), 0, "exceeds its storage"),
        ((1,), (1,), 8, "exceeds its storage"),
        ((2,), (-1,), 4, "unknown format"),
        ((2,), (1,), -1, "unknown format"),
        ((2, 2), (1,), 0, "unknown format"),
        ((10**6, 10**6), (0, 0), 0, "more memory than the file"),
    ],
)
def test_tensor_beyond_its_storage_is_refused(writer, tmp_path, shape, strides, offset, message):
    tree = {"w": writer.tensor(writer.storage(np.ones(8, "f4")), shape, strides, offset)}
    assert message in refusal(writer.write(tmp_path / "net.pth", tree))


def test_pytorch_files_with_other_objects_are_refused(writer, tmp_path):
    tensor = writer.of(np.ones(2, "f4"))
    for call, name in [
        (Call(eval, "1"), "builtins.eval"),
        (Call(writer.torch._utils._rebuild_qtensor, 1), "torch._utils._rebuild_qtensor"),
        (Call(writer.torch.FloatStorage, 10), "torch.FloatStorage"),
        (types.SimpleNamespace(a=1), "types.SimpleNamespace|copyreg"),
    ]:
        message = refusal(writer.write(tmp_path / "net.pth", {"w": tensor, "x": call}))
        assert any(f"calls {part}" in message for part in name.split("|")), message
    assert "expected a state dict" in refusal(writer.write(tmp_path / "net.pth", {"epoch": 3}))
    assert "entry 'lr': expected a tensor, got a float" in refusal(
        writer.write(tmp_path / "net.pth", {"w": tensor, "lr": 0.5})
    )
    assert "'w': expected finite values, got nan" in refusal(
        writer.write(tmp_path / "net.pth", {"w": writer.of(np.array([np.nan], "f4"))})
    )


def test_missing_storage_is_refused(torch, tmp_path):
    writer = Writer(torch, legacy=False)
    path = writer.write(tmp_path / "net.pth", {"w": writer.of(np.ones(8, "f4"))})
    with zipfile.ZipFile(path) as archive:
        tree = archive.read("net/data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", tree)
    assert "damaged PyTorch archive" in refusal(path)


# safetensors and NumPy.


def test_safetensors_round_trip(tmp_path):
    values = {**VALUES, "é": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))}
    save_safetensors(values, tmp_path / "net.bin", {"architecture": "MobileNetV2"})
    file = read(tmp_path / "net.bin")
    assert_same(file.arrays, {**values, "é": values["é"].astype("i4")})
    assert file.metadata == {"architecture": "MobileNetV2"}


def test_safetensors_follow_the_specification(tmp_path):
    save_safetensors({"a": np.array([1, 2], "f4"), "b": np.array([3], "u1")}, tmp_path / "x", {"k": "v"})
    content = (tmp_path / "x").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    assert length % 8 == 0 and content[8 + length :] == struct.pack("<2fB", 1, 2, 3)
    assert json.loads(content[8 : 8 + length]) == {
        "__metadata__": {"k": "v"},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "U8", "shape": [1], "data_offsets": [8, 9]},
    }


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_bfloat16_and_unsigned_integers_are_distinguished(tmp_path):
    header = {
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        "u": {"dtype": "U16", "shape": [1], "data_offsets": [4, 6]},
    }
    (tmp_path / "x").write_bytes(safetensors(header, struct.pack("<3H", 0x3F80, 0xC020, 5)))
    assert_same(read(tmp_path / "x").arrays, {"b": np.array([1, -2.5], "f4"), "u": np.array([5], "u2")})


@pytest.mark.parametrize(
    "content",
    [
        safetensors(entry(), bytes(7)),
        safetensors(entry(shape=(3,)), bytes(8)),
        safetensors(entry(shape=(10**9, 10**9)), bytes(8)),
        safetensors(entry(offsets=(4, 12)), bytes(12)),
        safetensors(entry(offsets=(8, 0)), bytes(8)),
        safetensors(entry(dtype="F8_E4M3"), bytes(8)),
        safetensors(entry(shape=(-2,)), bytes(8)),
        safetensors(entry(shape=(True, 2)), bytes(8)),
        safetensors({"w": 3}),
        safetensors(b'{"w": [' + b"[" * 100_000),
        safetensors(b'{"__metadata__": {"a": 1}}'),
        safetensors(b'{"w": 1, "w": 2}'),
        safetensors(entry(), bytes(9)),
        safetensors(entry(), bytes(8 + (1 << 20))),
        safetensors({}, b"x"),
        safetensors({**entry(), "v": entry()["w"]}, bytes(8)),
        safetensors({**entry(), "v": {**entry()["w"], "data_offsets": [12, 20]}}, bytes(20)),
        safetensors(b'{"w": {"dtype": "F32", "dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8)),
        safetensors(b'{"__metadata__": {"a": "1", "a": "2"}}'),
        safetensors(b"{]"),
        struct.pack("<Q", 9 << 20) + b"{" + bytes(9 << 20),
    ],
)
def test_inconsistent_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    assert "damaged or truncated safetensors" in refusal(tmp_path / "x.safetensors")


def npz(folder, members):
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "x.npz", "w") as archive:
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate name
        for name, content in members:
            archive.writestr(name, content)
    return folder / "x.npz"


def npy(array, surplus=b""):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue() + surplus


def test_archive_with_surplus_bytes_or_duplicate_names_is_refused(tmp_path):
    one, other = npy(np.zeros(2, "f4")), npy(np.ones(2, "f4"))
    assert "two members with the same name" in refusal(npz(tmp_path, [("w.npy", one), ("w.npy", other)]))
    assert "is damaged" in refusal(npz(tmp_path, [("w.npy", npy(np.zeros(2, "f4"), b"x"))]))
    file = npz(tmp_path, [("w.npy", one)])
    valid = file.read_bytes()
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"x" * 100
    assert "before or after its members" in refusal(file)
    for content in (valid + b"x", valid + bytes(22), valid + valid, one.join([valid, valid])):
        file.write_bytes(content)
        assert "refused" in refusal(file) or "damaged" in refusal(file)


def test_pytorch_file_with_surplus_bytes_or_pickles_is_refused(writer, tmp_path):
    tensor = {"w": writer.of(np.zeros(3, "f4"))}
    file = writer.write(tmp_path / "x.pth", tensor)
    valid = file.read_bytes()
    read(file)
    file.write_bytes(valid + b"x")
    refusal(file)
    file.write_bytes(valid)
    if not writer.legacy:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("other/data.pkl", writer.dumps(tensor))
        assert "expected one member data.pkl, got 2" in refusal(file)


def test_pickle_with_surplus_bytes_is_refused(tmp_path):
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": np.zeros(2, "f4")}, 4) + b"x")
    assert "bytes after its pickle" in refusal(tmp_path / "x.pdparams")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read(tmp_path, save):
    values = {**VALUES, "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    save(tmp_path / "net.npz", **values)
    assert_same(read(tmp_path / "net.npz").arrays, values)


def test_npz_with_objects_or_bombs_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    assert "not an array of numbers" in refusal(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", a=np.array(["text"]))
    assert "not an array of numbers" in refusal(tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(40_000_000, "f4"))
    assert "unpacks to at most" in refusal(tmp_path / "x.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(8))
    assert "is damaged" in refusal(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "in the zip archive, got neither" in refusal(tmp_path / "x.npz")


# PaddlePaddle's inference models.


@pytest.fixture
def network():
    with paddle.utils.unique_name.guard():
        return paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm(4), paddle.nn.Linear(6, 2))


@pytest.fixture
def exported(network, tmp_path):
    network.eval()
    spec = [paddle.static.InputSpec([None, 3, 8, 8])]
    paddle.jit.save(network, str(tmp_path / "model" / "inference"), input_spec=spec)
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["", "inference", "inference.pdiparams"])
def test_an_exported_model_is_read_by_parameter_name(exported, network, name):
    found = read(exported / name).arrays
    named = (exported / "inference.pdiparams.info").exists()  # PaddlePaddle 2.6 saves the structured names too
    expected = sorted(network.state_dict().items(), key=lambda item: item[1].name)
    assert_same(found, {key if named else tensor.name: tensor.numpy() for key, tensor in expected})


def test_an_exported_model_can_be_loaded(exported, network):
    with paddle.utils.unique_name.guard():
        other = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm(4), paddle.nn.Linear(6, 2))
    assert load_weights(other, exported).complete
    np.testing.assert_array_equal(other[2].weight.numpy(), network[2].weight.numpy())


def proto(number, value):
    """Encode a field of a protocol buffer."""
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value):
    head = bytearray()
    while value > 127:
        head.append(value & 127 | 128)
        value >>= 7
    return bytes([*head, value])


def program(names):
    """Encode a ProgramDesc whose first block has persistable tensors with these names, an activation, and a feed."""
    kinds = [(name, 7, 1) for name in names] + [("relu_0.tmp_0", 7, 0), ("feed", 9, 1)]
    variables = [
        proto(1, name.encode()) + proto(2, proto(1, kind)) + proto(3, persistable) for name, kind, persistable in kinds
    ]
    return proto(1, proto(1, 0) + b"".join(proto(3, variable) for variable in variables))


def tensor(array, code=5):
    description = proto(1, code) + b"".join(proto(2, size) for size in array.shape)
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + array.tobytes()


@pytest.mark.parametrize("name", [{}, [], 1, None])
def test_parameter_without_a_name_is_refused(tmp_path, name):
    content = {"program": {"regions": [{"blocks": [{"ops": [{"#": "p", "A": [0, 1, 1, name]}]}]}]}}
    (tmp_path / "x.json").write_text(json.dumps(content))
    (tmp_path / "x.pdiparams").write_bytes(bytes(40))
    assert "is damaged or not a program" in refusal(tmp_path / "x.pdiparams")


def test_paddle_2_model_is_read_by_structured_name(tmp_path):
    first, second = np.arange(6, dtype="f4").reshape(2, 3), np.ones(300, "f4")
    (tmp_path / "inference.pdiparams").write_bytes(tensor(first) + tensor(second))
    assert "put its program inference.json or inference.pdmodel next to it" in refusal(tmp_path / "inference.pdiparams")
    (tmp_path / "inference.pdmodel").write_bytes(program(["b_weights", "a_weights"]))
    assert_same(read(tmp_path).arrays, {"a_weights": first, "b_weights": second})
    names = {"a_weights": {"structured_name": "a.weight"}, "b_weights": {"structured_name": "b.weight"}}
    (tmp_path / "inference.pdiparams.info").write_bytes(pickle.dumps(names, 2))
    file = read(tmp_path)
    assert_same(file.arrays, {"a.weight": first, "b.weight": second})
    assert file.parameter_names == {"a.weight": "a_weights", "b.weight": "b_weights"}
    (tmp_path / "inference.pdmodel").write_bytes(program(["a_weights"]))
    assert "more tensors than the program" in refusal(tmp_path)
    (tmp_path / "inference.pdmodel").write_bytes(program(["a", "b", "c"]))
    assert "does not belong to the program" in refusal(tmp_path)


def test_folder_with_one_file_per_variable_is_read(tmp_path):
    bfloat16 = np.array([0x3F80, 0xC020], "u2")
    (tmp_path / "conv1_weights").write_bytes(tensor(VALUES["conv.weight"]))
    (tmp_path / "fc_offset").write_bytes(tensor(bfloat16, code=22))
    (tmp_path / "__model__").write_bytes(program(["conv1_weights"]))
    expected = {"conv1_weights": VALUES["conv.weight"], "fc_offset": np.array([1, -2.5], "f4")}
    assert_same(read(tmp_path).arrays, expected)
    (tmp_path / "fc_offset").write_bytes(tensor(bfloat16, code=22)[:-1])
    assert "is damaged or not a variable" in refusal(tmp_path)


# All formats.


@pytest.fixture(params=["zip", "legacy", "safetensors", "npz", "pdiparams", "pdmodel", "json", "info"])
def valid_file(request, torch, tmp_path, monkeypatch):
    """A valid file of each format, to be damaged, and the path to read."""
    values = {"a": np.arange(4, dtype="f4"), "b": np.ones((2, 3), "f8")}
    folder = tmp_path / "valid"
    folder.mkdir()
    if request.param in ("zip", "legacy"):
        writer = Writer(torch, legacy=request.param == "legacy")
        path = writer.write(folder / "net", {key: writer.of(value) for key, value in values.items()})
    elif request.param == "safetensors":
        path = folder / "net"
        save_safetensors(values, path)
    elif request.param == "npz":
        path = folder / "net.npz"
        np.savez_compressed(path, **values)
    else:
        path = folder / "net.pdiparams"
        path.write_bytes(tensor(values["a"]) + tensor(values["b"], 6))
        names = {key: {"structured_name": f"layer.{key}"} for key in values}
        path.with_name("net.pdiparams.info").write_bytes(pickle.dumps(names, 2))
        if request.param == "json":
            operations = [{"#": "p", "A": [0, 1, 1, key], "O": {"%": 1}} for key in values]
            content = {"program": {"regions": [{"blocks": [{"ops": operations}]}]}}
            path.with_suffix(".json").write_text(json.dumps(content))
        else:
            path.with_suffix(".pdmodel").write_bytes(program(list(values)))
        damaged = {"info": path.with_name("net.pdiparams.info"), "pdiparams": path}
        return damaged.get(request.param, path.with_suffix("." + request.param)), path
    return path, path


def test_random_damage_is_read_or_refused_in_one_line(valid_file):
    damaged, path = valid_file
    original = damaged.read_bytes()
    assert len(read(path).arrays) == 2
    generator = random.Random(11)
    mutations = [original[:length] for length in range(0, len(original), max(1, len(original) // 60))]
    for _ in range(250):
        data = bytearray(original)
        for _ in range(generator.choice([1, 1, 2, 8])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        mutations.append(bytes(data))
    refused = 0
    for data in mutations:
        damaged.write_bytes(data)
        try:
            read(path)
        except WeightsError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


def test_format_is_recognized_without_the_suffix(tmp_path):
    save_safetensors(VALUES, tmp_path / "net.safetensors")
    shutil.copy(tmp_path / "net.safetensors", tmp_path / "net.pdparams")
    assert_same(read(tmp_path / "net").arrays, VALUES)
