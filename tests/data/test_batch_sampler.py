"""DistributedBatchSampler: every sample once per epoch, in an order given by seed and epoch, on several processes."""

from itertools import zip_longest

import pytest

from ppzoo.data import DistributedBatchSampler
from ppzoo.errors import ConfigError


def epoch(number=0, start=0, **options):
    """Indices of each batch."""
    sampler = DistributedBatchSampler(**options)
    batches = list(sampler.batches(number, start))
    assert len(batches) == max(len(sampler) - start, 0)
    assert all(of == number for batch in batches for of, _ in batch)
    return [[index for _, index in batch] for batch in batches]


def flat(batches):
    return [index for batch in batches for index in batch]


def test_every_sample_is_drawn_once():
    assert epoch(batch_size=4, length=10) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert epoch(batch_size=4, length=10, drop_last=True) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    shuffled = epoch(batch_size=4, length=1001, shuffle=True)
    assert sorted(flat(shuffled)) == list(range(1001))
    assert flat(shuffled) != list(range(1001))


def test_the_order_depends_on_seed_and_epoch():
    options = {"batch_size": 8, "length": 100, "shuffle": True}
    assert epoch(3, seed=1, **options) == epoch(3, seed=1, **options)
    assert epoch(3, seed=1, **options) != epoch(4, seed=1, **options)
    assert epoch(3, seed=1, **options) != epoch(3, seed=2, **options)


def test_an_epoch_can_resume_from_any_step():
    options = {"batch_size": 8, "length": 100, "shuffle": True, "seed": 5}
    for start in (0, 1, 12, 13, 20):
        assert epoch(2, start, **options) == epoch(2, **options)[start:]


@pytest.mark.parametrize("length", [1, 2, 7, 12, 23, 24, 25, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_evaluation_on_several_processes_sees_every_sample_once(length, world_size):
    shares = [
        epoch(batch_size=4, length=length, rank=rank, world_size=world_size, pad=False) for rank in range(world_size)
    ]
    assert sorted(index for share in shares for index in flat(share)) == list(range(length))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(batch for share in shares for batch in share)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_evaluation_on_several_processes_has_the_batches_of_one_process(world_size, drop_last):
    options = {"batch_size": 4, "length": 23, "pad": False, "drop_last": drop_last}
    shares = [epoch(rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    dealt = [batch for turn in zip_longest(*shares) for batch in turn if batch is not None]
    assert dealt == epoch(**options)


@pytest.mark.parametrize("length", [1, 2, 7, 12, 23, 24, 25, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_training_on_several_processes_takes_equal_steps(length, world_size):
    options = {"batch_size": 4, "length": length, "world_size": world_size, "shuffle": True}
    shares = [epoch(rank=rank, **options) for rank in range(world_size)]
    sizes = [[len(batch) for batch in share] for share in shares]
    assert all(size == sizes[0] for size in sizes)
    seen = [index for share in shares for index in flat(share)]
    assert set(seen) == set(range(length))
    assert len(seen) - length < world_size


def test_several_processes_see_the_samples_of_one_with_a_larger_batch():
    one = epoch(1, batch_size=12, length=60, shuffle=True)
    three = [epoch(1, batch_size=4, length=60, shuffle=True, rank=rank, world_size=3) for rank in range(3)]
    assert [flat(parts) for parts in zip(*three, strict=True)] == one


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"batch_size": 64, "drop_last": True}, {"batch_size": 4, "seed": -1}],
)
def test_invalid_sizes_are_rejected(options):
    with pytest.raises(ConfigError):
        DistributedBatchSampler(length=50, **options)
