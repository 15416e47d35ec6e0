"""YAML is read as plain data: hostile and ambiguous documents are refused with source and line."""

import math

import pytest

from ppzoo.errors import ConfigError
from ppzoo.yaml_io import MAX_BYTES, dump, parse


def refusal(text):
    with pytest.raises(ConfigError) as error:
        parse(text, "a.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("3E4", 3e4),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("-7", -7),
        ("1.0/255.0", "1.0/255.0"),
        ("010", "010"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("True", True),
        ("~", None),
        ("", None),
        ("=", "="),
        ("'1e-5'", "1e-5"),
        ("{a: &x {q: 1}, b: {<<: *x, q: 2}}", {"a": {"q": 1}, "b": {"q": 2}}),
    ],
)
def test_words_and_numbers(text, value):
    assert parse(text, "") == value
    assert type(parse(text, "")) is type(value)


def test_a_key_that_comes_twice_is_named_with_its_lines():
    assert refusal("A:\n  x: 1\n  y: 2\n  x: 3\n") == "a.yaml, line 4: duplicate key 'x' (first in line 2)"


@pytest.mark.parametrize(("text", "key"), [("{1: a}", "'1'"), ("on: a", "'on'"), ("{[1]: a}", "a collection")])
def test_a_key_is_text(text, key):
    assert refusal(text) == f"a.yaml, line 1: a key must be a string, got {key} (quote it)"


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!set", "!!binary", "!x"]
)
def test_tags_that_create_objects_are_refused(tag, tmp_path):
    text = f"x: {tag} ['touch {tmp_path / 'created'}']"
    assert "is not allowed: a configuration can only contain plain data" in refusal(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\n", "line 3"),
        ("a: 1\n\tb: 2", "line 2"),
        ("a: b: c", "line 1"),
        ("a: *b", "line 1"),
        ("a: 1\n---\nb: 1", "line 2"),
        ("a: !!int x", "line 1"),
        ("a: !!bool maybe", "line 1"),
    ],
)
def test_syntax_errors_are_reported_with_their_line(text, line):
    assert refusal(text).startswith(f"a.yaml, {line}: ")


def test_bytes_that_are_no_text_are_refused():
    assert refusal(b"a: \xff\xff").startswith("a.yaml: expected YAML in UTF-8, got other bytes; ")


def test_aliases_that_multiply_are_refused():
    levels = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert "with aliases expanded, more than" in refusal(f"a: &a [x]\n{levels}")


def test_aliases_that_nest_are_refused():
    levels = "".join(f"n{i}: &n{i} [[[[[*n{i - 1}]]]]]\n" for i in range(1, 12))
    assert "with aliases expanded, more than" in refusal(f"n0: &n0 [x]\n{levels}")


def test_an_alias_to_what_contains_it_is_refused():
    assert refusal("a: &a [*a]") == "a.yaml, line 1: an alias refers to itself"


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "".join(f"{' ' * i}a:\n" for i in range(100))])
def test_deep_nesting_is_refused(text):
    assert "nested deeper than 40 levels" in refusal(text)


def test_documents_above_the_size_limit_are_refused():
    assert f"at most {MAX_BYTES} bytes" in refusal(b"#" * (MAX_BYTES + 1))


def test_values_of_aliases_are_copies():
    value = parse("a: &x [1]\nb: *x", "")
    value["a"].append(2)
    assert value["b"] == [1]


def test_dump_round_trip():
    shared = [1, 2.5, 1e-5, 3e20, -0.0, math.inf]
    config = {
        "z": {"b": shared, "a": shared, "empty": {}, "none": [], "null": None},
        "texts": [
            "1e-5",
            "1",
            "true",
            "null",
            "~",
            "",
            " ",
            "a: b",
            "#x",
            "010",
            "12:30",
            "2024-01-01",
            "=",
            "<<",
            "ü\n\n",
        ],
        "ops": [{"DecodeImage": {"to_rgb": True}}, {"ToCHWImage": None}],
    }
    again = parse(dump(config), "")
    assert again == config
    assert list(again) == list(config)
    assert "&" not in dump(config)
