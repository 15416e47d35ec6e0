"""A pickle cannot make the reader execute code or allocate much memory: it is read, or refused in one line."""

import io
import pickle
import random
import struct
import tracemalloc

import numpy as np
import pytest

from ppzoo.errors import WeightsError
from ppzoo.safe_pickle.reader import unpickle


def read(data):
    return unpickle(io.BytesIO(data), "model.pdparams")


def refusal(data):
    """Return the one-line error message for a pickle."""
    with pytest.raises(WeightsError) as caught:
        read(data)
    message = str(caught.value)
    assert message.startswith("model.pdparams ") and "\n" not in message and len(message) < 500
    return message


def array_pickle(shape, dtype="f4", data=b"\0" * 8, state_dtype=(3, "<", None, None, None, -1, -1, 0)):
    """Build a pickle of an array with arbitrary parts, which NumPy would not write."""
    return b"".join(
        [
            b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01",
            pickle.dumps(shape, 2)[2:-1].replace(b"q\x00", b""),
            b"cnumpy\ndtype\n" + pickle.dumps((dtype, False, True), 2)[2:-1].split(b"q")[0] + b"\x89\x88\x87R",
            pickle.dumps(state_dtype, 0)[:-1].replace(b"p0\n", b""),
            b"b\x89B" + struct.pack("<I", len(data)) + data + b"tb.",
        ]
    )


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("dtype", ["f4", "f2", "f8", "i8", "u1", "u2", "?", ">f4"])
def test_arrays_of_every_protocol_are_read_exactly(protocol, dtype):
    values = {
        "plain": np.arange(12).reshape(3, 4).astype(dtype),
        "columns": np.asfortranarray(np.arange(12).reshape(3, 4).astype(dtype)),
        "scalar": np.array(1, dtype),
        "empty": np.zeros((0, 3), dtype),
        "long": (np.arange(100_000) % 100).reshape(10, -1).astype(dtype),
        "number": np.ones(1, dtype)[0],
        "nested": [{"epoch": 3, "lr": 0.1, "none": None, "big": 2**70}, (True, "é", -5)],
    }
    found = read(pickle.dumps(values, protocol))
    assert found["nested"] == values["nested"]
    assert found["number"] == 1
    for key in ("plain", "columns", "scalar", "empty", "long"):
        assert found[key].dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(found[key], values[key])
        assert found[key].flags.writeable and found[key].flags.c_contiguous


def test_numpy_1_names_are_allowed():
    data = pickle.dumps(np.ones(3), 2)
    np.testing.assert_array_equal(read(data.replace(b"numpy._core", b"numpy.core")), np.ones(3))


def test_python_2_strings_are_read_as_latin_1():
    data = (
        b"\x80\x02}q\x00U\x01wq\x01cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x80\x3f\x00\x00\x00\xc0tbs."
    )
    np.testing.assert_array_equal(read(data)["w"], np.array([1, -2], "f4"))


def test_dense_tensor_pickled_with_eval_is_read():
    data = pickle.dumps({"w": Call(eval, "data", {"data": np.ones(2)})}, 4)
    np.testing.assert_array_equal(read(data)["w"], np.ones(2))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (__import__("os").system, ("touch /tmp/ppzoo-was-here",), "posix.system"),
        (eval, ("__import__('os').system('id')", {}), "builtins.eval"),
        (eval, ("data", {"data": 1}), "builtins.eval"),
        (getattr, (dict, "__class__"), "builtins.getattr"),
        (__import__("subprocess").check_output, (["id"],), ".check_output"),
        (np.load, ("x",), "numpy.load"),
        (np.fromfile, ("/dev/zero",), "fromfile"),
        (np.zeros, (10**12,), "zeros"),
        (np.frombuffer, (b"abcd",), "frombuffer"),
        (np.ndarray, ((10**6, 10**6),), "numpy.ndarray"),
        (bytearray, (10**12,), "builtins.bytearray"),
        (bytes, (10**12,), "builtins.bytes"),
    ],
)
def test_refused_call_is_named(protocol, function, arguments, name):
    assert name in refusal(pickle.dumps({"w": Call(function, *arguments)}, protocol))


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'id'\ntR.",
        b"(S'id'\nios\nsystem\n.",
        b"(cos\nsystem\nS'id'\no.",
        b"\x80\x02cos\nsystem\n)\x81.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",
        b"\x80\x04}\x8c\x01w\x8c\x02os\x8c\x06system\x93s.",
    ],
    ids=["REDUCE", "INST", "OBJ", "NEWOBJ", "STACK_GLOBAL", "NEWOBJ_EX", "value"],
)
def test_every_call_opcode_is_refused(data):
    assert "calls os.system" in refusal(data)


@pytest.mark.parametrize(
    ("data", "clause"),
    [
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Pidentity\n.", "outside the file"),
        (b"\x80\x02K\x01Q.", "outside the file"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"\x80\x04ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02]}b.", "state of an unknown object"),
        (b"\x80\x02}K\x01b.", "state of an unknown object"),
        (b"\x80\x02}}K\x01s.", "key that is a dict"),
        (b"\x80\x02}]K\x01s.", "key that is a list"),
        (b"\x80\x02](K\x01u.", "not a dictionary"),
        (b"\x80\x02}K\x01a.", "not a list"),
        (b"\x80\x02K\x01)R.", "not a function"),
        (b"\x80\x02ccollections\nOrderedDict\n]R.", "without a tuple"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "not a sequence"),
        (b"\x80\x02cnumpy\ndtype\n.", "numpy.dtype in place of a value"),
        (b"\x80\x63.", "protocol 99"),
        (b"\x80\x02\xff.", "damaged or not a weight file"),
        (b"\x80\x02h\x05.", "invalid pickle"),
        (b"\x80\x02.", "invalid pickle"),
        (b"\x80\x02t.", "invalid pickle"),
        (b"\x80\x02X\x02\x00\x00\x00\xff\xfe.", "invalid pickle"),
        (b"\x80\x02}X\1\0\0\0aK\1sX\1\0\0\0aK\2s.", "the entry 'a' twice"),
        (b"\x80\x02}(X\1\0\0\0aK\1X\1\0\0\0aK\2u.", "the entry 'a' twice"),
        (b"\x80\x02(X\1\0\0\0aK\1X\1\0\0\0aK\2d.", "the entry 'a' twice"),
        (b"\x80\x02}(K\1K\1\x88K\2u.", "the entry 'True' twice"),
        (b"\x80\x02ccollections\nOrderedDict\n](X\1\0\0\0aK\1\x86X\1\0\0\0aK\2\x86e\x85R.", "the entry 'a' twice"),
        (b"", "truncated"),
        (b"\x80\x02cevil\x1b[31m\rmodule\nname\n.", "calls 'evil"),
    ],
)
def test_unused_opcodes_and_types_are_refused(data, clause):
    assert clause in refusal(data)


@pytest.mark.parametrize(
    ("data", "clause"),
    [
        (array_pickle((10**5, 10**5)), "more memory than the file"),
        (array_pickle((3,)), "does not match"),
        (array_pickle((1,)), "does not match"),
        (array_pickle((-2,)), "not a tuple of sizes"),
        (array_pickle((2**62, 2**62, 0)), "not a tuple of sizes"),
        (array_pickle((1,) * 40 + (2,)), "not a tuple of sizes"),
        (array_pickle((True, 2)), "not a tuple of sizes"),
        (array_pickle([2]), "not a tuple of sizes"),
        (array_pickle((1,), "O8"), "not a plain number"),
        (array_pickle((2,), "V4"), "not a plain number"),
        (array_pickle((2,), "M8"), "not a plain number"),
        (array_pickle((2,), "f4,f4"), "not a plain number"),
        (array_pickle((2,), state_dtype=(3, "<", None, ("a",), {"a": 1}, 4, 4, 0)), "not a plain number"),
        (array_pickle((2,), state_dtype=(9, "<", None, None, None, -1, -1, 0)), "not a plain number"),
        (array_pickle((2,), state_dtype=(3, "x", None, None, None, -1, -1, 0)), "not a plain number"),
        (array_pickle((2,), state_dtype=7), "invalid pickle"),
        (pickle.dumps(np.array([{}, []], dtype=object)), "not a plain number"),
        (pickle.dumps(np.array(["text"])), "not a plain number"),
    ],
)
def test_invalid_array_is_refused(data, clause):
    assert clause in refusal(data)


def test_valid_handwritten_array_is_read():
    np.testing.assert_array_equal(read(array_pickle((2,), data=struct.pack("<2f", 1, 2))), [1, 2])


@pytest.mark.parametrize(
    ("data", "clause"),
    [
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "integer of 2147483647 bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\xff.", "integer of -1 bytes"),
        (b"I" + b"9" * 5000 + b"\n.", "40 digits"),
        (b"\x80\x02T\xff\xff\xff\xff.", "length of -1"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "truncated"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "truncated"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\xff.", "truncated"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", "truncated"),
        (b"\x80\x02Kr" + b"r\xff\xff\xff\xff.", None),
        (b"\x80\x02]" + b"\x85" * 100_000 + b".", "nested more than 64"),
        (b"]" * 100_000 + b"a" * 99_999 + b".", "nested more than 64"),
        (b"(" * 1_100_000, "operations"),
        (b"]" * 1_100_000, "operations"),
        (b"]q\x00h\x00a.", "nested more than 64"),
        (b"]" + b"q\x00h\x00\x86" * 60 + b".", "more than 200000 values"),
        (b")" + b"2\x86" * 60 + b".", "more than 200000 values"),
        (b"}" + b")" + b"2\x86" * 60 + b"Ns.", "key that is a tuple"),
        (
            b"\x80\x02(" + b"N" * 200_000 + b"lq\x00" + b"cbuiltins\ntuple\nq\x01" + b"h\x01h\x00\x85R" * 100_000,
            "more memory than the file",
        ),
        (b"\x80\x02X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b".", "a DeferredBytes in place of a value"),
    ],
)
def test_pickle_bombs_are_refused(data, clause):
    if clause is None:
        assert read(data) == ord("r")  # a memo index of 4 * 10**9 allocates nothing
    else:
        assert clause in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        array_pickle((10**5, 10**5)),
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x80\x02Nr\xff\xff\xff\xff",
    ],
)
def test_refused_lengths_are_not_allocated(data):
    tracemalloc.start()
    try:
        refusal(data)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_long_bytes_cannot_be_used_repeatedly():
    blob = struct.pack("<I", 2_000_000) + b"\0" * 2_000_000
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R"
    array = b"cnumpy.core.numeric\n_frombuffer\n(h\x00h\x01J\x80\x84\x1e\x00\x85X\x01\x00\x00\x00CtR"
    once = b"\x80\x04B" + blob + b"\x94" + dtype + b"\x94" + array
    assert read(once + b".").shape == (2_000_000,)
    assert "more memory than the file" in refusal(once + array * 3 + b".")


@pytest.fixture(scope="module", params=[2, 4, 5])
def valid_pickle(request):
    content = {f"layer{n}.weight": np.random.RandomState(n).normal(size=(n, 5)).astype("f4") for n in range(6)}
    content["StructuredToParameterName@@"] = {key: key.replace(".", "_") for key in content}
    return pickle.dumps(content, request.param)


def test_truncated_pickle_is_reported(valid_pickle):
    for length in range(len(valid_pickle)):
        message = refusal(valid_pickle[:length]) if length % 50 == 0 else ""
        with pytest.raises(WeightsError, match="truncated"):
            read(valid_pickle[:length])
        assert length % 50 or "truncated" in message


def test_random_damage_is_read_or_refused_in_one_line(valid_pickle):
    generator = random.Random(7)
    outcomes = set()
    for _ in range(3000):
        data = bytearray(valid_pickle)
        for _ in range(generator.choice([1, 1, 2, 8])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            read(bytes(data))
            outcomes.add("read")
        except WeightsError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
