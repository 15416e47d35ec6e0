"""RepeatedAugSampler: PaddleClas's order, different transforms per copy, several processes and resuming."""

import math

import numpy as np
import pytest

from ppzoo.data import SAMPLERS, Compose, RepeatedAugSampler, Samples
from ppzoo.errors import ConfigError


def epoch(number=0, start=0, **options):
    return list(RepeatedAugSampler(**{"batch_size": 16, "length": 600, **options}).batches(number, start))


def paddleclas_order(length, rank, ranks, repeats, selected_round):
    """The indices that PaddleClas takes without shuffling."""
    total = math.ceil(length * repeats / ranks) * ranks
    order = [index for index in range(length) for _ in range(repeats)]
    order += order[: total - len(order)]
    return order[rank:total:ranks][: length // selected_round * selected_round // ranks]


@pytest.mark.parametrize(("ranks", "repeats"), [(1, 3), (2, 3), (3, 2), (4, 3), (5, 1)])
def test_order_is_that_of_paddleclas(ranks, repeats):
    for rank in range(ranks):
        batches = epoch(rank=rank, world_size=ranks, num_repeats=repeats)
        indices = [key[1] for batch in batches for key in batch]
        assert indices == paddleclas_order(600, rank, ranks, repeats, 256)


def test_copies_of_an_image_differ_and_go_to_different_processes():
    parts = [[key for batch in epoch(4, rank=rank, world_size=3, shuffle=True) for key in batch] for rank in range(3)]
    for keys in zip(*parts, strict=True):
        assert len({key[1] for key in keys}) == 1
        assert len(set(keys)) == 3


def test_each_copy_is_transformed_differently():
    class Noise:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return np.zeros((4, 4, 3), np.uint8), index

    samples = Samples(Noise(), Compose([lambda image, random: image + random.random((1, 1, 1))]), seed=0)
    first, again, second = (samples[key].image for key in [(0, 1), (0, 1), (0, 1, 1)])
    assert (first == again).all()
    assert (first != second).all()


def test_order_depends_on_seed_and_epoch_and_resumes_at_any_step():
    shuffled = epoch(1, shuffle=True)
    assert shuffled == epoch(1, shuffle=True)
    assert shuffled != epoch(2, shuffle=True)
    assert shuffled != epoch(1, shuffle=True, seed=1)
    assert epoch(1, start=7, shuffle=True) == shuffled[7:]
    assert len(shuffled) == len(RepeatedAugSampler(batch_size=16, length=600)) == 32


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"length": 255}, "set selected_round to 0"),
        ({"num_repeats": 0}, "num_repeats: expected 1 or more"),
        ({"selected_round": -1}, "selected_round: expected 0 or more"),
        ({"pad": False}, "expected training data"),
    ],
)
def test_invalid_options_are_rejected(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        SAMPLERS["RASampler"](**{"batch_size": 16, "length": 600, **options})
