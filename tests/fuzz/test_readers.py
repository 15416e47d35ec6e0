"""Whatever bytes a reader gets, it answers or raises one of ppzoo's own errors, in one line."""

import random

import pytest
import readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

SHORT = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NAMES = sorted(readers.READERS)


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_endured(name):
    for data in readers.seeds(name):
        readers.feed(name, data)


@pytest.mark.parametrize("name", NAMES)
@SHORT
@given(data=some.binary(max_size=400))
def test_any_bytes_are_endured(name, data):
    readers.feed(name, data)


@pytest.mark.parametrize("name", NAMES)
@SHORT
@given(seed=some.integers(0, 2**32), damages=some.integers(1, 6))
def test_damaged_files_are_endured(name, seed, damages):
    chance = random.Random(seed)
    readers.feed(name, damaged(chance.choice(readers.seeds(name)), chance, damages))


def damaged(data: bytes, chance: random.Random, damages: int) -> bytes:
    """Bytes changed, cut out, repeated, or put in the place of others."""
    changed = bytearray(data)
    for _ in range(damages):
        place, length = chance.randrange(len(changed) + 1), chance.choice((1, 1, 2, 4, 8, 40))
        new = (
            chance.randbytes(length),
            bytes(length),
            b"\xff" * length,
            changed[: chance.randrange(len(changed) + 1)][-length:],
            b"",
        )
        changed[place : place + chance.choice((0, length))] = chance.choice(new)
    return bytes(changed)


words = some.text(some.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
plain = some.recursive(
    some.none() | some.booleans() | some.integers(-(10**20), 10**20) | some.floats() | words,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


@SHORT
@given(content=some.dictionaries(words, plain, min_size=1, max_size=5))
def test_any_plain_data_is_written_and_read_as_the_same(content):
    text = readers.dump(content)
    assert repr(readers.parse(text, "x")) == repr(content)


@SHORT
@given(rows=some.lists(some.tuples(words.filter(lambda word: word.split()), some.integers(0, 999)), min_size=1))
def test_any_list_of_files_is_read_as_it_was_written(rows, tmp_path_factory):
    rows = [(" ".join(path.split()), label) for path, label in rows]
    file = tmp_path_factory.mktemp("list") / "list.txt"
    file.write_bytes("".join(f"{path} {label}\n" for path, label in rows).encode())
    index = readers.read_list(file)
    assert [(index.path(number), int(index.labels[number])) for number in range(len(index))] == rows
