"""A program with an operator that does not only compute is refused before it is run, in both formats."""

import json
import os
import pickle
import shutil
import struct

import paddle
import pytest

import ppzoo
from ppzoo.deploy import export, open_export
from ppzoo.deploy.allowed_operators import ALLOWED, require_allowed_operators
from ppzoo.deploy.engines import ONNX_ENGINES, is_installed
from ppzoo.errors import PpzooError

SETTINGS = {
    "PreProcess": {"transform_ops": [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 5, "label_list": ["cat", "dog", "owl"]}},
}
HOSTILE = [
    "save",
    "save_combine",
    "load",
    "load_combine",
    "py_func",
    "print",
    "run_program",
    "read_file",
    "assert",
    "while",
    "conditional_block",
    "if",
    "select_input",
    "send",
    "recv",
    "c_allreduce_sum",
    "distributed_lookup_table",
    "lookup_table",
    "custom_op",
    "enqueue",
    "read",
    "create_py_reader",
    "fused_custom",
    "tensorrt_engine",
    "lite_engine",
    "cinn_launch",
    "set_value",
    "uniform_random",
    "decode_jpeg",
    "dequeue",
    "feed_custom",
]


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number, content):
    """Encode a protocol buffer field: bytes or an integer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def operator(name, number=3):
    return field(4, field(number, name.encode()))


def pdmodel(*blocks):
    """Encode a ProgramDesc with blocks of these operators."""
    content = [field(1, 0) + field(2, 0) + b"".join(map(operator, block)) for block in blocks]
    return b"".join(field(1, block) for block in content) + field(4, field(1, 0))


def json_program(*names):
    """Return a program of PaddlePaddle 3 with these operators in its only block."""
    block = {"#": "block_0", "args": [], "ops": [{"#": name, "A": [], "I": [], "O": []} for name in names]}
    return {"base_code": {"magic": "pir"}, "program": {"regions": [{"#": "region_0", "blocks": [block]}]}}


def refusal(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(PpzooError) as caught:
        require_allowed_operators(folder / name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_operator_that_is_not_allowed_is_refused_by_name(tmp_path, name):
    message = f"is refused: expected operators that only compute, got '{name}'"
    assert message in refusal(tmp_path, "a.pdmodel", pdmodel(["feed", "conv2d", name, "fetch"]))
    assert message in refusal(tmp_path, "a.pdmodel", pdmodel(["feed", "fetch"], [], ["relu", name]))
    for written, shown in ((f"1.{name}", name), (f"1.{name}_", name), (f"0.{name}", name)):
        assert f"got '{shown}'" in refusal(tmp_path, "a.json", json_program("p", "1.data", written, "1.fetch"))
    inner = json_program("1.relu", f"1.{name}")["program"]["regions"]
    outer = json_program("1.data", "1.relu")
    outer["program"]["regions"][0]["blocks"][0]["ops"][1]["regions"] = inner
    assert message in refusal(tmp_path, "a.json", outer)
    outer = json_program("1.data")
    outer["program"]["regions"] += inner
    assert message in refusal(tmp_path, "a.json", outer)


@pytest.mark.parametrize(
    "name", ["2.conv2d", "3.relu", "pd_op.conv2d", "custom_op.relu", "11.relu", "1.1.relu", "", "1."]
)
def test_only_the_dialects_of_paddlepaddle_are_allowed(tmp_path, name):
    assert "expected operators that only compute" in refusal(tmp_path, "a.json", json_program(name))


def test_an_ambiguous_encoding_is_refused(tmp_path):
    twice = field(1, field(4, field(3, b"relu") + field(3, b"save")))
    assert "damaged" in refusal(tmp_path, "a.pdmodel", twice)
    for number in (1 << 29, 1 << 31):  # PaddlePaddle's parser uses the lower 29 bits
        hidden = varint((number | 4) << 3 | 2) + varint(6) + field(3, b"save")
        assert "damaged" in refusal(tmp_path, "a.pdmodel", field(1, hidden))
    for text in (
        b'{"program": {"regions": []}, "program": {"regions": []}}',
        b'{"program": {"ops": [{"#": "1.relu", "#": "1.save"}]}}',
        b'{"program": {"ops": [{"#": 1}]}}',
        b'{"program": {"ops": {"#": "1.save"}}}',
        b'{"program": {"ops": ["1.save"]}}',
        b"[" * 100_000,
        b"",
        b"\xff\xfe{",
        "{}".encode("utf-16"),
    ):
        assert "damaged" in refusal(tmp_path, "a.json", text)


def test_control_characters_in_a_name_are_escaped(tmp_path):
    for name, content in (("a.json", json_program("1.\x1b[2J")), ("a.pdmodel", pdmodel(["\x1b[2J"]))):
        assert "\x1b" not in refusal(tmp_path, name, content)


def test_no_allowed_operator_accesses_files_or_code():
    suspicious = (
        "save",
        "load",
        "file",
        "func",
        "print",
        "program",
        "read",
        "write",
        "custom",
        "send",
        "recv",
        "queue",
    )
    assert not [name for name in ALLOWED for word in suspicious if word in name]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operators") / "inference"
    layers = [paddle.nn.Conv2D(3, 4, 3), paddle.nn.Hardswish(), paddle.nn.Flatten(), paddle.nn.Linear(4 * 36, 3)]
    export(paddle.nn.Sequential(*layers), folder, [3, 8, 8], SETTINGS)
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "inference")


def test_predictor_does_not_run_a_refused_program(folder, tmp_path, monkeypatch):
    program = next(file for file in folder.iterdir() if file.suffix in (".json", ".pdmodel"))
    if program.suffix == ".json":
        content = json.loads(program.read_bytes())
        operators = content["program"]["regions"][0]["blocks"][0]["ops"]
        operators.append({**operators[-1], "#": "1.print"})
        program.write_text(json.dumps(content))
    else:
        program.write_bytes(program.read_bytes() + pdmodel(["print"]))
    (folder / "inference.yml").write_text(json.dumps(SETTINGS))
    monkeypatch.setattr(paddle.inference, "create_predictor", lambda config: pytest.fail("it was run"))
    monkeypatch.setattr(paddle.jit, "load", lambda path: pytest.fail("it was loaded"))
    with pytest.raises(PpzooError, match="got 'print'"):
        ppzoo.Predictor(folder)


class CreatesFolder:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("engine", ["paddle", *ONNX_ENGINES])
def test_other_files_in_the_folder_are_not_read(folder, tmp_path, engine):
    """PaddlePaddle can unpickle `.pdiparams.info`, and can read other programs in the same folder."""
    if not (engine == "paddle" or is_installed(engine)) or open_export(folder).program.suffix != ".json":
        pytest.skip(f"{engine} cannot run this export here")
    for name in ("inference.pdiparams.info", "inference.other.json", "inference.pdmodel", "inference.other.pdmodel"):
        (folder / name).write_bytes(pickle.dumps(CreatesFolder(tmp_path / "run")))
    ppzoo.Predictor(folder, engine=engine)
    assert not (tmp_path / "run").exists()


def test_a_program_that_is_too_large_is_refused(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(33 << 20)
    with pytest.raises(PpzooError, match="at most 32 MB"):
        require_allowed_operators(tmp_path / "a.json")


def test_a_damaged_program_is_a_one_line_error(exported, tmp_path):
    program = open_export(exported).program
    content = program.read_bytes()
    for offset in range(0, len(content), max(1, len(content) // 200)):
        damaged = content[:offset] + struct.pack("<H", 0xFF80) + content[offset + 2 :]
        (tmp_path / program.name).write_bytes(damaged)
        try:
            require_allowed_operators(tmp_path / program.name)
        except PpzooError as error:
            assert "\n" not in str(error)
