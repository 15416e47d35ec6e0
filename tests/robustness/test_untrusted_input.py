"""Malicious configurations, shards and weight files are refused in one line, fast, and without much memory."""

import io
import json
import logging
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ppzoo import builders, report
from ppzoo.cli import main
from ppzoo.config.loading import load
from ppzoo.config.overrides import override
from ppzoo.data.datasets.tar_shards import TarShards
from ppzoo.errors import ConfigError, DataError, PpzooError, WeightsError
from ppzoo.weights import read
from ppzoo.yaml_io import parse


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('a: "\\UFFFFFFFF"', "an invalid escape sequence or YAML version"),
        (f"%YAML 1.{'9' * 5000}\n---\na: 1", "an invalid escape sequence or YAML version"),
        ('a: "\\uD800"', "expected printable text"),
        ('a: "\\0"', "expected printable text"),
        ('a: !!int ""', "expected a value of type int, got ''"),
        ('a: !!float ""', "expected a value of type float, got ''"),
        (f"[{'a,' * 120_000}]", "more than 20000 values"),
    ],
)
def test_malformed_yaml_is_refused(text, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse(text, "a.yaml")
    assert len(caught.value.problems) == 1 and "\n" not in caught.value.problems[0]


def test_the_length_of_an_override_is_limited():
    with pytest.raises(ConfigError, match="at most 40 keys, got 5000"):
        override({}, ".".join(["a"] * 5000) + "=1")


def test_line_ends_in_names_are_escaped_in_errors(tmp_path):
    (tmp_path / "a.yaml").write_text('_BASE_: "b\\nc.yaml"')
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "a.yaml")
    assert "b\\nc.yaml" in str(caught.value) and "\n" not in str(caught.value)


def member(name, content, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    return info.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % 512)


SAMPLE = member("a.jpg", b"x") + member("a.cls", b"3")


def refusal_of_shard(folder, content):
    (folder / "a.tar").write_bytes(content)
    with pytest.raises(DataError) as caught:
        TarShards(image_root=str(folder))
    return str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_takes_tarfile_minutes_is_refused(tmp_path, kind):
    assert "got a broken one" in refusal_of_shard(tmp_path, member("h", b"1" * 300_000, kind) + SAMPLE)


@pytest.mark.parametrize(
    ("extension", "complaint"),
    [
        (b"20 path=/etc/x.jpg\n\0", "got a broken one"),
        (b"19 path=/etc/x.jpg\n", "outside of the shard"),
        (b"20 path=../../x.jpg\n", "outside of the shard"),
        (b"22 size=999999999999\n\0", "got a broken one"),
        (b"21 size=999999999999\n", "truncated within 'a.jpg'"),
        (b"11 size=-1\n", "got a broken one"),
        (b"99 path=x\n", "got a broken one"),
        (b"22 GNU.sparse.major=1\n", "sparse"),
    ],
)
def test_pax_headers_are_validated(tmp_path, extension, complaint):
    assert complaint in refusal_of_shard(tmp_path, member("h", extension, tarfile.XHDTYPE) + SAMPLE)


def test_a_label_of_non_ascii_digits_is_refused(tmp_path):
    assert "class index" in refusal_of_shard(tmp_path, member("a.jpg", b"x") + member("a.cls", "³".encode()))


def test_names_in_shards_need_not_be_utf8(tmp_path):
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / "a.tar").write_bytes(member(f"{name}.jpg", b"x") + member(f"{name}.cls", b"3"))
    assert TarShards(image_root=str(tmp_path))[0] == (b"x", 3)


def refusal(path, content):
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_integers_with_equal_hashes_are_refused(tmp_path):
    modulus = (1 << 61) - 1
    assert "too large a number" in refusal(tmp_path / "x", pickle.dumps({modulus * n: 0 for n in range(1, 50)}, 4))
    assert "an invalid memo index" in refusal(tmp_path / "x", b"]p%d\n." % modulus)


@pytest.mark.parametrize(
    "header", [b"(" * 9000, b"{'descr': '<f4'", b"{" * 200, b"\xff" * 10, b"1", b"__import__('os')"]
)
@pytest.mark.filterwarnings("error")
def test_invalid_numpy_headers_are_refused(tmp_path, header):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x02\0" + struct.pack("<I", len(header)) + header)
    assert "is damaged or not an array of numbers" in refusal(tmp_path / "x.npz", file.getvalue())


def test_numpy_headers_written_with_python_2_are_read(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(8))
    np.testing.assert_array_equal(read(tmp_path / "x.npz").arrays["w"], np.zeros((2, 1), "f4"))


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_archives_with_unusual_compression_are_refused(tmp_path, packing):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        archive.writestr("w.npy", b"")
    assert "expected members that are stored or deflated" in refusal(tmp_path / "x.npz", file.getvalue())


HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b1m\x7f\u202eb\u2066\r"


def is_harmless(text):
    return not set(text) & set(HOSTILE) - set("a]0;title[2J1mb")


def test_control_characters_in_names_are_escaped(tmp_path, capsys, monkeypatch):
    """In errors, in the log and its file, and in the output of the commands."""
    for error in (WeightsError(f"entry {HOSTILE}"), ConfigError(HOSTILE, HOSTILE), PpzooError(HOSTILE)):
        assert is_harmless(str(error).replace("\n", "")) and "\\u001b]0;title" in str(error)

    monkeypatch.setattr(logging.getLogger("ppzoo"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("ppzoo"), "propagate", True)
    report.log_to_console()
    console = report.Console(tmp_path / "train.log", every=1)
    logging.getLogger("ppzoo").warning("class %s\nforged line", HOSTILE)
    console.close()
    for text in (capsys.readouterr().err, (tmp_path / "train.log").read_text()):
        assert text.endswith("\\nforged line\n") and text.count("\n") == 1
        assert is_harmless(text.replace("\n", "").replace("\t", ""))

    found = {"class_ids": [0], "scores": [0.5], "label_names": [HOSTILE]}
    monkeypatch.setattr(builders, "read_config", lambda *given: {})
    monkeypatch.setattr(builders, "predict", lambda config, images: [(Path(HOSTILE), found)])
    for options in ([], ["--json"]):
        assert main(["infer", "-c", "x.yaml", *options]) == 0
        printed = capsys.readouterr().out
        assert printed.count("\n") == 1 and is_harmless(printed.replace("\n", ""))
    assert json.loads(printed) == {"file_name": HOSTILE, **found}

    monkeypatch.setattr(builders, "inspect_data", lambda config: [(f"{HOSTILE}\n", True)])
    assert main(["data", "check", "x.yaml"]) == 0
    assert is_harmless(capsys.readouterr().out.replace("\n", ""))


def test_names_in_other_scripts_are_printed_unchanged():
    for name in ("grün", "猫", "кот", "a\tb", "👩‍🔬", "caf\u00e9\u3000x", "\udcff"):
        assert str(PpzooError(name)) == name
