"""Learning rates are scaled with the batch size if the configuration gives a reference batch."""

import logging

import pytest

from ppzoo import builders
from ppzoo.errors import ConfigError

SCHEDULES = [
    ({"name": "Constant", "learning_rate": 0.1}, 0.1),
    ({"name": "Piecewise", "learning_rate": 0.1, "decay_epochs": [1], "values": [0.1, 0.01]}, 0.1),
    ({"name": "Cyclic", "base_learning_rate": 0.1, "max_learning_rate": 0.2, "step_size_up": 2}, 0.1),
    ({"name": "OneCycleLR", "max_learning_rate": 2.5, "divide_factor": 25.0}, 0.1),
    ({"name": "Cosine", "learning_rate": 0.1, "eta_min": 0.001}, 0.1),
]


def schedule(cfg, **batch):
    return builders.build_lr_schedule(cfg, epochs=4, steps_per_epoch=5, **batch)


@pytest.mark.parametrize(("cfg", "first"), SCHEDULES, ids=[cfg["name"] for cfg, _ in SCHEDULES])
def test_the_rates_are_multiplied_by_the_ratio_of_the_batches(cfg, first, caplog):
    assert schedule(cfg, total_batch=64)() == pytest.approx(first)
    with caplog.at_level(logging.INFO, "ppzoo"):
        assert schedule({**cfg, "reference_batch": 256}, total_batch=64)() == pytest.approx(first / 4)
    assert "for batches of 256 to" in caplog.text


def test_all_rates_of_a_piecewise_schedule_are_scaled():
    scaled = schedule({**SCHEDULES[1][0], "reference_batch": 32}, total_batch=64)
    for _ in range(5):
        scaled.step()
    assert scaled() == pytest.approx(0.02)


def test_the_last_rate_of_a_decay_is_not_scaled():
    scaled = schedule({**SCHEDULES[4][0], "reference_batch": 32}, total_batch=64)
    for _ in range(20):
        scaled.step()
    assert scaled() == pytest.approx(0.001)


def test_scaling_needs_the_batch_size():
    with pytest.raises(ConfigError, match="reference_batch: expected a known batch"):
        schedule({**SCHEDULES[0][0], "reference_batch": 32})
