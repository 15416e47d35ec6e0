"""The learning-rate range test: the loss while the learning rate grows exponentially.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, arXiv:1506.01186, section 3.3. The loss falls
where the learning rate is useful, and rises where it is too high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from paddle.optimizer.lr import LRScheduler

from ppzoo.engine.trainer import Trainer
from ppzoo.errors import NotFiniteError, count_text

MIN_STEPS = 20
AVERAGED_SHARE = 0.1  # fraction of the steps that the moving average of the loss covers
MAX_GROWTH = 4.0  # the test ends when the smoothed loss exceeds its minimum times this
MIN_DROP = 0.01  # smallest decrease of the loss that allows a suggestion, relative to the first values of the loss
MIN_DROP_IN_DEVIATIONS = 5.0  # the same, in standard deviations of the smoothed loss; both have to be reached
# If the last rate of a test that ended early is more than this times the first one, the rates grow too fast, because of
# --max or --steps; otherwise the first one, --min, is too high.
WIDE_RANGE = 100.0
STEEP_SHARE = 0.4  # slope of the loss at the suggested rate, as a fraction of the steepest slope
BELOW_MINIMUM = 0.1  # `Suggestion.below_minimum` / the rate where the smoothed loss is lowest

OnStep = Callable[[float, float], object]  # learning rate, smoothed loss


class ExponentialRange(LRScheduler):
    """Learning rates from `lower` to `upper` in `steps` steps; each is the same multiple of the previous one."""

    def __init__(self, lower: float, upper: float, steps: int) -> None:
        self.lower, self.upper, self.steps = lower, upper, steps
        super().__init__(lower)

    def get_lr(self) -> float:
        return self.lower * (self.upper / self.lower) ** (self.last_epoch / (self.steps - 1))


class LossAverage:
    """An exponential moving average of the losses, corrected for its initial value of 0.

    Args:
        steps: the number of steps of the test, which determines how many of the last losses count.
    """

    def __init__(self, steps: int) -> None:
        self.decay = 1 - 1 / max(AVERAGED_SHARE * steps, 1.0)
        self.total = self.weight = 0.0

    def update(self, loss: float) -> float:
        """Add a loss and return the average."""
        self.total = self.decay * self.total + (1 - self.decay) * loss
        self.weight = self.decay * self.weight + 1 - self.decay
        return self.total / self.weight

    @property
    def deviation(self) -> float:
        """The standard deviation of the average, relative to that of independent losses."""
        return float(np.sqrt((1 - self.decay) / (1 + self.decay)))


@dataclass(frozen=True)
class Suggestion:
    """Learning rates that a range test suggests.

    The rate of the steepest descent, `steepest`, is often too low: where the outputs of a new network are too large,
    the loss falls fastest while they shrink, long before the network learns most.

    Attributes:
        rate: the highest rate at which the smoothed loss falls at least 0.4 times as fast as at its steepest
            descent; `index` is the index of its step.
        steepest: the rate at which the smoothed loss, as a function of the logarithm of the rate, falls fastest.
        below_minimum: a tenth of the rate where the smoothed loss is lowest.
    """

    rate: float
    index: int
    steepest: float
    below_minimum: float


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        rates, losses, smoothed: the values of each step that computed a finite loss.
        end: why the test ended.
        suggestion: the learning rates that it suggests, or why there are none.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    end: str
    suggestion: Suggestion | str


def run_range_test(trainer: Trainer, steps: int, on_step: OnStep | None = None) -> RangeTest:
    """Train for at most `steps` steps and record the loss at each learning rate.

    The test ends early when the smoothed loss exceeds 4 times its minimum, or a loss or gradient is not finite.

    Args:
        trainer: its schedule is an `ExponentialRange` over the same number of steps.
    """
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average = LossAverage(steps)
    end = "the highest learning rate was reached"
    rate = trainer.state.optimizer.get_lr()
    try:
        for step_losses, images in trainer.run_steps(steps):
            if images:  # else no image of the step could be read
                rates.append(rate)
                losses.append(step_losses["loss"])
                smoothed.append(average.update(step_losses["loss"]))
                if on_step is not None:
                    on_step(rate, smoothed[-1])
                if smoothed[-1] > MAX_GROWTH * min(smoothed):
                    end = f"the loss exceeded {MAX_GROWTH:g} times its minimum"
                    break
            rate = trainer.state.optimizer.get_lr()
    except NotFiniteError:
        end = f"the loss or a gradient was not finite at the learning rate {rate:.2g}"
    return RangeTest(rates, losses, smoothed, end, suggest_rates(rates, losses, smoothed, average.deviation))


def suggest_rates(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], deviation: float
) -> Suggestion | str:
    """Return the learning rates that the curve suggests, or why it suggests none.

    Args:
        deviation: the standard deviation of a smoothed loss, relative to that of a loss.
    """
    if len(rates) < MIN_STEPS // 2:
        steps_are_large = len(rates) > 1 and rates[-1] > WIDE_RANGE * rates[0]
        fix = "lower --max, or use more --steps" if steps_are_large else "lower --min"
        return f"the test ended after {count_text(len(rates), 'step')}; {fix}"
    values = np.asarray(smoothed)
    start = max(len(values) // 10, 1)  # the first values are averages of few losses
    lowest = start + int(values[start:].argmin())
    noise = deviation * float(np.std(np.asarray(losses[:lowest]) - values[:lowest]))
    first = float(np.mean(losses[:start]))
    slopes = np.gradient(values, np.log(np.asarray(rates)))[: lowest + 1]
    steepest = start + int(slopes[start:].argmin())
    falls = first - values[lowest] >= max(MIN_DROP_IN_DEVIATIONS * noise, MIN_DROP * abs(first))
    if not falls or slopes[steepest] >= 0:
        return (
            f"the loss did not fall clearly between the learning rates {rates[0]:.2g} and {rates[-1]:.2g};"
            " use more --steps or another --min and --max"
        )
    index = int(np.flatnonzero(slopes <= STEEP_SHARE * slopes[steepest])[-1])
    return Suggestion(rates[index], index, rates[steepest], BELOW_MINIMUM * rates[lowest])
