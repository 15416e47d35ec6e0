"""ClassBalancedSampler and WeightedRandomSampler: class frequencies in every epoch and on every process."""

import numpy as np
import pytest

from ppzoo.data import SAMPLERS, ClassBalancedSampler, WeightedRandomSampler
from ppzoo.errors import ConfigError


def skewed():
    """10,000 samples of class 0, 100 of class 1, 900 of class 3; class 2 does not occur."""
    return np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [10_000, 100, 900]))


def epoch(sampler, number=0, start=0):
    return np.array([index for batch in sampler.batches(number, start) for _, index in batch])


def test_unbalanced_classes_are_drawn_equally_often():
    labels = skewed()
    sampler = ClassBalancedSampler(batch_size=64, labels=labels)
    for number in range(3):
        order = epoch(sampler, number)
        counts = np.bincount(labels[order], minlength=4)
        assert len(order) == 11_000
        assert counts[2] == 0
        assert counts[[0, 1, 3]].max() - counts[[0, 1, 3]].min() <= 1
        rare = np.bincount(order, minlength=len(labels))[labels == 1]
        assert rare.max() - rare.min() <= 1
    halves = np.bincount(labels[order[:5500]], minlength=4)[[0, 1, 3]]
    assert halves.min() > 0.93 * halves.max()


def test_classes_are_drawn_by_their_weights():
    labels = skewed()
    counts = np.bincount(labels[epoch(WeightedRandomSampler(batch_size=64, labels=labels, weights=[1, 3, 9, 0]))])
    assert counts.tolist()[2:] == []
    assert counts[1] / counts[0] == pytest.approx(3, rel=0.08)


@pytest.mark.parametrize(
    ("kind", "options"), [(ClassBalancedSampler, {}), (WeightedRandomSampler, {"weights": [1] * 4})]
)
def test_order_depends_on_seed_and_epoch_and_can_start_at_any_step(kind, options):
    def order(number, seed=0, start=0, **others):
        return epoch(kind(batch_size=16, labels=skewed()[:500], seed=seed, **options, **others), number, start).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, seed=5)
    assert order(1, start=7) == order(1)[7 * 16 :]
    shares = [order(1, rank=rank, world_size=2) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == sorted(order(1))


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("ClassBalancedSampler", {"shuffle": False}, "expected True"),
        ("ClassBalancedSampler", {"labels": np.zeros((5, 3), np.int8)}, "one class per image"),
        ("ClassBalancedSampler", {"batch_size": 0}, "batch_size"),
        ("ClassBalancedSampler", {"pad": False}, "expected training data, got evaluation data"),
        ("WeightedRandomSampler", {"weights": [1.0, 2.0]}, r"one weight per class \(4\), got 2"),
        ("WeightedRandomSampler", {"weights": [1.0, -1.0, 1.0, 1.0]}, "0 or more"),
        ("WeightedRandomSampler", {"weights": [0.0] * 4}, "at least one above 0"),
    ],
)
def test_invalid_sampler_options_are_rejected(name, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        SAMPLERS[name](**{"batch_size": 4, "labels": skewed(), **options})
