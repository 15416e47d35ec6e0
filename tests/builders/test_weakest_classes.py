"""The weakest classes at the end of a run are those of the best weights, which can be averaged weights."""

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.toy import make_state, make_trainer

from ppzoo.builders.callbacks import build_weakest
from ppzoo.engine import Plan
from ppzoo.engine.ema import ExponentialMovingAverage

NAMES = ["blue", "green", "red"]


@pytest.mark.parametrize(
    ("has_average", "of_average", "expected"),
    [(True, True, "red 0.10"), (True, False, "blue 0.50"), (False, False, "red 0.10")],
)
def test_the_evaluation_is_that_of_the_weights(has_average, of_average, expected):
    """The averaged weights are evaluated last; without them, the last evaluation is the only one of its epoch."""
    recall = SimpleNamespace(recalls=deque([np.array([0.5, 1, 1]), np.array([1, 1, 0.1])], maxlen=2))
    config = SimpleNamespace(Global=SimpleNamespace(class_names=NAMES))
    assert build_weakest(config, recall, has_average=has_average)(of_average) == expected


def test_without_evaluations_or_with_several_labels_per_image_there_are_none():
    config = SimpleNamespace(Global=SimpleNamespace(class_names=NAMES))
    assert build_weakest(config, None, has_average=True)(True) == ""
    assert build_weakest(config, SimpleNamespace(recalls=deque(maxlen=2)), has_average=False)(False) == ""


def test_the_averaged_weights_are_evaluated_last():
    evaluated = []
    state = make_state()
    state.ema = ExponentialMovingAverage(state.model, 0.5)
    weights = state.model.conv.weight

    def evaluate():
        evaluated.append(weights.numpy().copy())
        return {"loss": 1.0, "top1": 0.5}

    trainer = make_trainer(state, evaluate=evaluate, plan=Plan(1))
    trainer.fit()
    first, last = evaluated
    np.testing.assert_array_equal(first, weights.numpy())
    assert np.abs(last - first).max() > 0
