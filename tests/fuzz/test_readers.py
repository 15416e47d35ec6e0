"""For any bytes, a reader returns or raises one of ppzoo's errors, with one line."""

import random

import pytest
import readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHORT = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NAMES = sorted(readers.READERS)


@pytest.mark.parametrize("name", NAMES)
def test_corpus(name):
    for data in readers.seeds(name):
        readers.feed(name, data)


@pytest.mark.parametrize("name", NAMES)
@SHORT
@given(data=st.binary(max_size=400))
def test_random_bytes(name, data):
    readers.feed(name, data)


@pytest.mark.parametrize("name", NAMES)
@SHORT
@given(seed=st.integers(0, 2**32), damages=st.integers(1, 6))
def test_damaged_files(name, seed, damages):
    rng = random.Random(seed)
    readers.feed(name, readers.damage(rng.choice(readers.seeds(name)), rng, damages))


words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


@SHORT
@given(content=st.dictionaries(words, plain, min_size=1, max_size=5))
def test_yaml_round_trip_of_plain_data(content):
    text = readers.dump(content)
    assert repr(readers.parse(text, "x")) == repr(content)


@SHORT
@given(rows=st.lists(st.tuples(words.filter(lambda word: word.split()), st.integers(0, 999)), min_size=1))
def test_list_file_round_trip(rows, tmp_path_factory):
    rows = [(" ".join(path.split()), label) for path, label in rows]
    file = tmp_path_factory.mktemp("list") / "list.txt"
    file.write_bytes("".join(f"{path} {label}\n" for path, label in rows).encode())
    index = readers.read_list(file)
    assert [(index.path(number), int(index.labels[number])) for number in range(len(index))] == rows
