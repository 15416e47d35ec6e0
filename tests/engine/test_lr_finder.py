"""The learning-rate range test: its rates, its end, and what it suggests for curves of known shape."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.toy import Batches, make_state, make_trainer, tensors

from ppzoo.engine import ExponentialRange, StepLoader, run_range_test
from ppzoo.engine.lr_finder import LossAverage, Suggestion, suggest_rates
from ppzoo.errors import NotFiniteError
from ppzoo.events import Callback
from ppzoo.optim import OPTIMIZERS

STEPS = 40


def make_test_trainer(lower=1e-4, upper=1.0, steps=STEPS):
    state = make_state()
    state.scheduler = ExponentialRange(lower, upper, steps)
    state.optimizer = OPTIMIZERS["Momentum"]().build(state.model, state.scheduler)
    return make_trainer(state)


def test_rates_grow_by_the_same_factor():
    trainer = make_test_trainer()
    result = run_range_test(trainer, STEPS)
    assert len(result.rates) == len(result.losses) == len(result.smoothed) == STEPS
    assert result.rates[0] == pytest.approx(1e-4) and result.rates[-1] == pytest.approx(1.0)
    np.testing.assert_allclose(np.diff(np.log(result.rates)), np.log(1e4) / (STEPS - 1))
    assert result.end == "the highest learning rate was reached"


def test_losses_are_those_of_training_with_these_rates():
    result = run_range_test(make_test_trainer(), STEPS)
    state = make_state()
    state.optimizer = OPTIMIZERS["Momentum"]().build(state.model, 0.1)
    state.scheduler = SimpleNamespace(step=lambda: None)
    reference, losses = make_trainer(state), []
    state.model.train()
    while len(losses) < STEPS:
        for batches in reference.steps.epoch(state.progress.epoch):
            state.optimizer.set_lr(result.rates[len(losses)])
            losses.append(reference._train_step(batches)[0]["loss"])
        state.progress.epoch, state.progress.step = state.progress.epoch + 1, 0
    assert result.losses == losses


def test_data_of_fewer_steps_are_repeated_and_callbacks_are_not_called():
    class Fails(Callback):
        def on_step_end(self, report):
            raise AssertionError

    trainer = make_test_trainer(steps=25)
    trainer.steps = StepLoader(Batches((4, 4)))
    trainer.callbacks.append(Fails())
    result = run_range_test(trainer, 25)
    assert len(result.rates) == 25
    assert (trainer.state.progress.epoch, trainer.state.progress.step) in {(12, 1), (13, 0)}


def test_accumulated_batches_are_one_step():
    trainer = make_test_trainer(steps=20)
    trainer.steps = StepLoader(Batches((4,) * 6), update_freq=3)
    before = tensors(trainer.state)
    assert len(run_range_test(trainer, 20).rates) == 20
    assert any(not np.array_equal(before[key], value) for key, value in tensors(trainer.state).items())


def test_a_growing_loss_ends_the_test():
    result = run_range_test(make_test_trainer(upper=1e6), STEPS)
    assert len(result.rates) < STEPS
    assert "exceeded 4 times its minimum" in result.end or "not finite" in result.end
    assert all(map(np.isfinite, result.losses))


def test_a_loss_that_is_not_finite_ends_the_test(monkeypatch):
    trainer = make_test_trainer()
    train_step, steps = trainer._train_step, []

    def fails(batches):
        steps.append(batches)
        if len(steps) == 15:
            raise NotFiniteError("the loss is nan")
        return train_step(batches)

    monkeypatch.setattr(trainer, "_train_step", fails)
    result = run_range_test(trainer, STEPS)
    assert len(result.rates) == 14
    assert "not finite at the learning rate 0.0027" in result.end


def test_steps_without_images_are_skipped(monkeypatch):
    trainer = make_test_trainer()
    train_step, steps = trainer._train_step, []
    monkeypatch.setattr(
        trainer, "_train_step", lambda batches: train_step(steps.append(0) or batches * (len(steps) % 2))
    )
    result = run_range_test(trainer, STEPS)
    assert len(steps) == STEPS and len(result.rates) == STEPS // 2
    np.testing.assert_allclose(np.diff(np.log(result.rates)), 2 * np.log(1e4) / (STEPS - 1))


def test_the_average_is_corrected_for_its_start():
    average = LossAverage(100)
    assert [average.update(2.5) for _ in range(5)] == pytest.approx([2.5] * 5)
    average, values = LossAverage(100), [3.0, 1.0, 2.0]
    weights = np.array([0.81, 0.9, 1.0])
    received = [average.update(value) for value in values][-1]
    assert received == pytest.approx(float(weights @ values / weights.sum()))


def curve(*points, count=100, noise=0.0):
    """Return rates and losses, interpolated linearly between `points`, each of which is (log10 of the rate, loss)."""
    logs = np.linspace(points[0][0], points[-1][0], count)
    losses = np.interp(logs, *zip(*points, strict=True)) + noise * np.random.default_rng(1).standard_normal(count)
    return 10**logs, losses


def suggest(rates, losses):
    average = LossAverage(len(rates))
    return suggest_rates(rates, losses, [average.update(loss) for loss in losses], average.deviation)


def test_suggestion_of_one_descent():
    suggestion = suggest(*curve((-6, 2.3), (-4, 2.3), (-3, 1.3), (-2, 1.2), (1, 9)))
    assert isinstance(suggestion, Suggestion)
    assert 1e-4 < suggestion.steepest < 2e-3
    assert 1e-4 < suggestion.rate < 1e-2
    assert 1e-3 < suggestion.below_minimum < 3e-3


def test_suggestion_is_after_an_early_descent():
    """A network with outputs that are too large first shrinks them."""
    suggestion = suggest(*curve((-6, 4.0), (-4.5, 4.0), (-3, 2.0), (-2.5, 2.0), (-1, 0.8), (1, 20)))
    assert suggestion.steepest < 2e-3
    assert 0.01 < suggestion.rate < 0.2


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_a_flat_curve_suggests_nothing(noise):
    problem = suggest(*curve((-6, 2.3), (-1, 2.3), noise=noise))
    assert isinstance(problem, str) and "did not fall clearly" in problem


def test_a_curve_that_only_rises_suggests_nothing():
    assert "did not fall clearly" in suggest(*curve((-6, 2.3), (-1, 9)))


def test_a_test_of_few_steps_suggests_nothing():
    assert suggest(*curve((0, 2.3), (1, 1.0), count=3)) == "the test ended after 3 steps; lower --min"
    too_wide = suggest(*curve((-6, 2.3), (2, 1.0), count=5))
    assert too_wide == "the test ended after 5 steps; lower --max, or use more --steps"
    assert suggest([], []).startswith("the test ended after 0 steps")


def test_no_suggestion_where_the_loss_only_rises_after_its_first_values():
    rates = np.geomspace(1e-4, 1.0, 20)
    assert "the loss did not fall clearly" in suggest(rates, [2.0, 1.9, 1.0, *np.full(17, 9.0)])
