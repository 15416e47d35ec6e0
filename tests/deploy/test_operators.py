"""A program that does anything else than compute is refused before anything runs it, in both formats."""

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
    """A field of a protocol buffer: bytes, or an integer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def operator(name, number=3):
    return field(4, field(number, name.encode()))


def pdmodel(*blocks):
    """A ProgramDesc with the operators of some blocks."""
    content = [field(1, 0) + field(2, 0) + b"".join(map(operator, block)) for block in blocks]
    return b"".join(field(1, block) for block in content) + field(4, field(1, 0))


def in_json(*names):
    """A program of PaddlePaddle 3 with some operators in its only block."""
    block = {"#": "block_0", "args": [], "ops": [{"#": name, "A": [], "I": [], "O": []} for name in names]}
    return {"base_code": {"magic": "pir"}, "program": {"regions": [{"#": "region_0", "blocks": [block]}]}}


def refusal(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(PpzooError) as caught:
        require_allowed_operators(folder / name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_operator_that_is_not_known_to_compute_is_refused_by_name(tmp_path, name):
    said = f"is refused: expected operators that only compute, got '{name}'"
    assert said in refusal(tmp_path, "a.pdmodel", pdmodel(["feed", "conv2d", name, "fetch"]))
    assert said in refusal(tmp_path, "a.pdmodel", pdmodel(["feed", "fetch"], [], ["relu", name]))
    for written, shown in ((f"1.{name}", name), (f"1.{name}_", name), (f"0.{name}", name)):
        assert f"got '{shown}'" in refusal(tmp_path, "a.json", in_json("p", "1.data", written, "1.fetch"))
    inner = in_json("1.relu", f"1.{name}")["program"]["regions"]
    outer = in_json("1.data", "1.relu")
    outer["program"]["regions"][0]["blocks"][0]["ops"][1]["regions"] = inner
    assert said in refusal(tmp_path, "a.json", outer)
    outer = in_json("1.data")
    outer["program"]["regions"] += inner
    assert said in refusal(tmp_path, "a.json", outer)


@pytest.mark.parametrize(
    "name", ["2.conv2d", "3.relu", "pd_op.conv2d", "custom_op.relu", "11.relu", "1.1.relu", "", "1."]
)
def test_only_paddlepaddle_s_own_dialects_are_known(tmp_path, name):
    assert "expected operators that only compute" in refusal(tmp_path, "a.json", in_json(name))


def test_what_two_readers_could_read_in_two_ways_is_refused(tmp_path):
    twice = field(1, field(4, field(3, b"relu") + field(3, b"save")))
    assert "damaged" in refusal(tmp_path, "a.pdmodel", twice)
    for number in (1 << 29, 1 << 31):  # PaddlePaddle's reader takes the lower 29 bits
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


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path):
    for name, content in (("a.json", in_json("1.\x1b[2J")), ("a.pdmodel", pdmodel(["\x1b[2J"]))):
        assert "\x1b" not in refusal(tmp_path, name, content)


def test_the_list_has_nothing_that_reaches_beyond_the_program():
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


def test_a_predictor_runs_nothing_of_a_program_that_is_refused(folder, tmp_path, monkeypatch):
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


class Marks:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("engine", ["paddle", *ONNX_ENGINES])
def test_nothing_else_in_the_folder_is_opened(folder, tmp_path, engine):
    """PaddlePaddle may unpickle `.pdiparams.info`, and read other programs beside the named one."""
    if not (engine == "paddle" or is_installed(engine)) or open_export(folder).program.suffix != ".json":
        pytest.skip(f"{engine} cannot run this export here")
    for name in ("inference.pdiparams.info", "inference.other.json", "inference.pdmodel", "inference.other.pdmodel"):
        (folder / name).write_bytes(pickle.dumps(Marks(tmp_path / "run")))
    ppzoo.Predictor(folder, engine=engine)
    assert not (tmp_path / "run").exists()


def test_a_program_that_is_too_long_is_refused(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(33 << 20)
    with pytest.raises(PpzooError, match="more than 32 MB"):
        require_allowed_operators(tmp_path / "a.json")


def test_damage_is_one_line(exported, tmp_path):
    program = open_export(exported).program
    content = program.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 200)):
        damaged = content[:place] + struct.pack("<H", 0xFF80) + content[place + 2 :]
        (tmp_path / program.name).write_bytes(damaged)
        try:
            require_allowed_operators(tmp_path / program.name)
        except PpzooError as error:
            assert "\n" not in str(error)
