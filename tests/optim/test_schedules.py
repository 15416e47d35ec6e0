"""Schedules equal PaddleClas's at every step, resume exactly, and reject invalid options."""

import json
import math

import pytest
from helpers import reference
from paddle.optimizer import lr

from ppzoo.errors import ConfigError
from ppzoo.optim import SCHEDULES

EPOCHS, STEPS = 6, 7
WARM = {"warmup_epoch": 1.5, "warmup_start_lr": 0.001}
COSINE = {"name": "Cosine", "learning_rate": 0.2, "eta_min": 0.01}
PIECEWISE = {"name": "Piecewise", "decay_epochs": [1, 3], "values": [0.3, 0.02, 0.007]}


def schedule(config, epochs=EPOCHS, steps=STEPS):
    options = dict(config)
    return SCHEDULES[options.pop("name")](epochs, steps, **options)


def unchecked_piecewise(boundaries, values):
    """Return PaddlePaddle's schedule with as many values as boundaries, which 2.6 and 3 refuse to construct."""
    made = lr.PiecewiseDecay(boundaries, [*values, 0.0])
    made.values = values
    return made


def rates(schedule, steps=EPOCHS * STEPS):
    rates_of_steps = []
    for _ in range(steps):
        rates_of_steps.append(schedule())
        schedule.step()
    return rates_of_steps


@pytest.mark.parametrize("case", reference.read_json("lr_schedules.json"), ids=lambda case: case["config"]["name"])
def test_rates_equal_paddleclas(case):
    ours = schedule(case["config"], case["epochs"], case["steps_per_epoch"])
    for expected in case["lr"]:
        # The reference values are those of get_lr(), which PaddleClas logs, not the rates that the optimizer used.
        assert ours.get_lr() == pytest.approx(expected, rel=1e-9)
        ours.step()


# The schedules of PaddlePaddle that PaddleClas builds, for configurations without reference values.
EQUIVALENT = {
    "cosine": (COSINE, None, lr.CosineAnnealingDecay(0.2, EPOCHS * STEPS, 0.01)),
    "cosine by complete warm-up": (
        {**COSINE, "warmup_epoch": 2, "warmup_start_lr": 0.05},
        (14, 0.05, 0.2),
        lr.CosineAnnealingDecay(0.2, 4 * STEPS, 0.01),
    ),
    "linear": (
        {"name": "Linear", "learning_rate": 0.3, "end_lr": 0.02, "power": 1.7, "warmup_epoch": 1},
        (7, 0.0, 0.3),
        lr.PolynomialDecay(0.3, 5 * STEPS, 0.02, 1.7),
    ),
    "step": (
        {"name": "Step", "learning_rate": 0.4, "step_size": 1.3, "gamma": 0.7, **WARM},
        (10, 0.001, 0.4),
        lr.StepDecay(0.4, 9, 0.7),
    ),
    "piecewise": ({**PIECEWISE, **WARM}, (10, 0.001, 0.3), lr.PiecewiseDecay([7, 21], [0.3, 0.02, 0.007])),
    "piecewise with as many values as epochs": (
        {"name": "Piecewise", "decay_epochs": [1, 2, 4], "values": [0.3, 0.02, 0.007], **WARM},
        (10, 0.001, 0.3),
        unchecked_piecewise([7, 14, 28], [0.3, 0.02, 0.007]),
    ),
    "milestones": (
        {"name": "MultiStepDecay", "learning_rate": 0.05, "milestones": [1, 2, 4], "gamma": 0.3, **WARM},
        (10, 0.001, 0.05),
        lr.MultiStepDecay(0.05, [7, 14, 28], 0.3),
    ),
    "triangular": (
        {"name": "Cyclic", "base_learning_rate": 0.01, "max_learning_rate": 0.1, "step_size_up": 5, **WARM},
        (10, 0.001, 0.01),
        lr.CyclicLR(0.01, 0.1, 5),
    ),
    "triangular2": (
        {
            "name": "Cyclic",
            "base_learning_rate": 0.01,
            "max_learning_rate": 0.1,
            "step_size_up": 3,
            "step_size_down": 8,
            "mode": "triangular2",
        },
        None,
        lr.CyclicLR(0.01, 0.1, 3, 8, mode="triangular2"),
    ),
    "exp_range": (
        {
            "name": "Cyclic",
            "base_learning_rate": 0.01,
            "max_learning_rate": 0.1,
            "step_size_up": 4,
            "mode": "exp_range",
            "exp_gamma": 0.97,
        },
        None,
        lr.CyclicLR(0.01, 0.1, 4, mode="exp_range", exp_gamma=0.97),
    ),
    "one cycle": (
        {"name": "OneCycleLR", "max_learning_rate": 0.1},
        None,
        lr.OneCycleLR(0.1, EPOCHS * STEPS, end_learning_rate=1e-10),
    ),
    "one cycle in three phases": (
        {
            "name": "OneCycleLR",
            "max_learning_rate": 0.1,
            "divide_factor": 10.0,
            "end_learning_rate": 1e-5,
            "phase_pct": 0.4,
            "anneal_strategy": "linear",
            "three_phase": True,
        },
        None,
        lr.OneCycleLR(0.1, EPOCHS * STEPS, 10.0, 1e-5, 0.4, "linear", True),
    ),
    "fixmatch": (
        {"name": "CosineFixmatch", "learning_rate": 0.03, "num_warmup_steps": 6},
        None,
        lr.LambdaDecay(
            0.03, lambda t: t / 6 if t < 6 else max(0.0, math.cos(math.pi * 7 / 16 * (t - 6) / (EPOCHS * STEPS - 6)))
        ),
    ),
}


@pytest.mark.parametrize("name", EQUIVALENT)
def test_rates_equal_paddlepaddles_schedulers(name):
    config, warmup, theirs = EQUIVALENT[name]
    if warmup:
        steps, start, end = warmup
        theirs = lr.LinearWarmup(theirs, steps, start, end)
    assert rates(schedule(config)) == pytest.approx(rates(theirs), rel=1e-9)


ALL = [
    *(config for config, *_ in EQUIVALENT.values()),
    {"name": "ConstLR", "learning_rate": 0.1, **WARM},
    {"name": "Constant", "learning_rate": 0.1},
    {**PIECEWISE, "by_epoch": True, "warmup_epoch": 1},
    {**COSINE, "by_epoch": True, "warmup_epoch": 2},
    {"name": "ReduceOnPlateau", "learning_rate": 0.1, "patience": 0, **WARM},
]


def test_all_schedules_are_tested():
    assert {config["name"] for config in ALL} == set(SCHEDULES)


@pytest.mark.parametrize("config", ALL, ids=str)
@pytest.mark.parametrize("stop", [1, 4, 11, 25])
def test_a_resumed_schedule_continues_as_without_a_stop(config, stop):
    def run(schedule, steps):
        rates_of_steps = []
        for step in steps:
            rates_of_steps.append(schedule())
            schedule.step()
            if config["name"] == "ReduceOnPlateau" and step % STEPS == STEPS - 1:
                schedule.observe(1.0 + (step // STEPS) % 2)
        return rates_of_steps

    undisturbed = run(schedule(config), range(EPOCHS * STEPS))
    stopped = schedule(config)
    run(stopped, range(stop))
    resumed = schedule(config)
    resumed.set_state_dict(json.loads(json.dumps(stopped.state_dict())))
    assert run(resumed, range(stop, EPOCHS * STEPS)) == undisturbed[stop:]


CHANGES = [
    {"epochs": 2 * EPOCHS},
    {"steps": STEPS + 3},
    {"rates": True},
    {"warmup_epoch": 2, "warmup_start_lr": 0.002},
    {"warmup_epoch": 0},
    {"by_epoch": True, "warmup_epoch": 1},
    {"by_epoch": False},
    {"last_epoch": 2},
    COSINE,
    {"name": "ReduceOnPlateau", "learning_rate": 0.07, "patience": 0},
]


def changed(config, change):
    """Return the configuration after a change, which can be that of another schedule, and the length of the run."""
    length = {"epochs": change.get("epochs", EPOCHS), "steps": change.get("steps", STEPS)}
    change = {key: value for key, value in change.items() if key not in length}
    if change.pop("rates", False):
        doubled = {key for key in config if key == "values" or key.endswith("learning_rate")}
        change = {key: [1.0, 0.1, 0.01] if key == "values" else 2 * config[key] for key in doubled}
    now = change if "name" in change else {**config, **change}
    if now["name"] == "CosineFixmatch" and now.get("by_epoch"):
        now["num_warmup_steps"] = 2
    return now, length


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("config", ALL, ids=str)
def test_a_resumed_schedule_has_the_rates_of_its_current_options(config, change):
    now, length = changed(config, change)
    fresh, resumed, stopped = schedule(now, **length), schedule(now, **length), schedule(config)
    for _ in range(17):
        fresh.step()
        stopped.step()
    resumed.set_state_dict(json.loads(json.dumps(stopped.state_dict())))
    assert rates(resumed) == rates(fresh)


def test_cosine_extended_from_four_to_eight_epochs_resumes_at_half_the_rate():
    stopped = schedule({"name": "Cosine", "learning_rate": 0.1}, epochs=4)
    rates(stopped, 4 * STEPS)
    assert stopped() == 0.0
    resumed = schedule({"name": "Cosine", "learning_rate": 0.1}, epochs=8)
    resumed.set_state_dict(stopped.state_dict())
    assert resumed() == pytest.approx(0.05)


def test_a_plateau_restores_the_number_of_reductions_not_the_rate():
    options = {"name": "ReduceOnPlateau", "patience": 0, "factor": 0.5}
    stopped = schedule({**options, "learning_rate": 0.1})
    for loss in (1.0, 1.0, 1.0):
        stopped.observe(loss)
    assert stopped() == 0.1 * 0.5 * 0.5

    def resumed(**changes):
        ours = schedule({**options, "learning_rate": 0.1, **changes})
        ours.set_state_dict(json.loads(json.dumps(stopped.state_dict())))
        return ours

    assert resumed()() == stopped()
    assert resumed(learning_rate=0.4)() == 0.4 * 0.5 * 0.5
    assert resumed(factor=0.1)() == pytest.approx(0.001)
    assert resumed(min_lr=0.03)() == 0.03
    assert (resumed().best, resumed(mode="max").best) == (1.0, None)


def test_a_state_from_before_reductions_were_counted_keeps_its_rate():
    options = {"name": "ReduceOnPlateau", "learning_rate": 0.1, "patience": 0}
    before = {"last_epoch": 9, "last_lr": 0.01, "rate": 0.1 * 0.1, "best": 1.0, "cooldown_counter": 0}
    ours = schedule(options)
    ours.set_state_dict({**before, "num_bad_epochs": 0})
    assert (ours(), ours.reductions, ours.best) == (0.1 * 0.1, 1, 1.0)


def test_by_epoch_changes_the_rate_at_the_ends_of_epochs_only():
    ours = rates(schedule({**COSINE, "by_epoch": True, "warmup_epoch": 2}))
    theirs = rates(lr.LinearWarmup(lr.CosineAnnealingDecay(0.2, 4, 0.01), 2, 0.0, 0.2), EPOCHS)
    assert ours == pytest.approx([rate for rate in theirs for _ in range(STEPS)], rel=1e-9)


def test_last_epoch_sets_the_first_step():
    undisturbed = rates(schedule(COSINE))
    assert rates(schedule({**COSINE, "last_epoch": 4}), 20) == pytest.approx(undisturbed[5:25])
    by_epoch = {**PIECEWISE, "by_epoch": True}
    assert rates(schedule({**by_epoch, "last_epoch": 1}), 28) == rates(schedule(by_epoch))[14:]


def test_piecewise_uses_values_not_learning_rate(caplog):
    assert rates(schedule({**PIECEWISE, "learning_rate": 0.3})) == rates(schedule(PIECEWISE))
    assert not caplog.records
    assert rates(schedule({**PIECEWISE, "learning_rate": 0.5})) == rates(schedule(PIECEWISE))
    assert "ignoring learning_rate 0.5" in caplog.text


def test_piecewise_names_an_epoch_without_a_rate(caplog):
    """PaddleClas's StrongBaselineAttr.yaml has as many values as epochs."""
    with caplog.at_level("INFO"):
        schedule({"name": "Piecewise", "decay_epochs": [1, 2], "values": [0.1, 0.01]})
    text = "Piecewise: epoch 2 of decay_epochs has no effect: values has no rate after it, so the rate stays 0.01"
    assert caplog.messages == [text]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_equals_paddlepaddles(mode, threshold_mode):
    options = {"mode": mode, "threshold_mode": threshold_mode, "patience": 1, "threshold": 0.05, "cooldown": 1}
    ours = schedule({"name": "ReduceOnPlateau", "learning_rate": 0.1, "factor": 0.3, "min_lr": 0.002, **options})
    theirs = lr.ReduceOnPlateau(0.1, factor=0.3, min_lr=0.002, **options)
    losses = [1.0, 0.99, 1.2, 0.5, 0.51, 0.52, 0.5, 0.49, 0.48, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6]
    seen = set()
    for loss in losses:
        ours.observe(loss)
        theirs.step(loss)
        ours.step()
        assert ours() == theirs()
        seen.add(ours())
    assert len(seen) >= 3


def test_plateau_ignores_evaluations_during_the_warm_up():
    ours = schedule({"name": "ReduceOnPlateau", "learning_rate": 0.1, "patience": 0, "warmup_epoch": 1})
    for loss in (1.0, 2.0, 3.0):
        ours.observe(loss)
    rates(ours, STEPS)
    assert ours() == 0.1


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**COSINE, "warmup_epoch": EPOCHS}, "warmup_epoch"),
        ({**COSINE, "warmup_epoch": 1.5, "by_epoch": True}, "warmup_epoch: expected an integer, since by_epoch"),
        ({**COSINE, "warmup_epoch": 1, "warmup_start_lr": 0.2}, "warmup_start_lr: expected a rate below 0.2"),
        ({**COSINE, "learning_rate": 0.0}, "learning_rate: expected a number above 0"),
        ({**PIECEWISE, "decay_epochs": [3, 1]}, "ascending order"),
        ({**PIECEWISE, "decay_epochs": [1]}, "values: expected 2 rates"),
        ({**PIECEWISE, "decay_epochs": [1, 2, 3, 4]}, "values: expected 5 rates"),
        ({**PIECEWISE, "decay_epochs": [], "values": []}, "values: expected 1 rates"),
        ({"name": "Step", "learning_rate": 0.1, "step_size": 0}, "step_size"),
        ({"name": "MultiStepDecay", "learning_rate": 0.1, "milestones": [1], "gamma": 1.5}, "gamma"),
        ({"name": "OneCycleLR", "max_learning_rate": 0.1, "phase_pct": 0.6, "three_phase": True}, "phase_pct"),
    ],
)
def test_invalid_options_are_rejected_in_one_line(config, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        schedule(config)
    assert "\n" not in str(caught.value)
    assert "got" in str(caught.value)
