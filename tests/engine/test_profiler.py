"""The profiler: what it counts for each part and layer, and that it changes neither the operators nor the results."""

from itertools import pairwise

import numpy as np
import paddle
import pytest
from helpers.toy import Batches, make_state, make_trainer

from ppzoo import native
from ppzoo.builders import create_model
from ppzoo.engine import ExponentialMovingAverage, Profiler, StepLoader, chrome_trace, profile_training
from ppzoo.engine import trainer as trainer_module
from ppzoo.native import operators


class Clock:
    """A clock that advances only by `advance`."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time

    def advance(self, seconds):
        self.time += seconds


class Slow(paddle.autograd.PyLayer):
    """The identity, which takes a known time in each pass."""

    @staticmethod
    def forward(ctx, x, clock, forward, backward):
        ctx.clock, ctx.backward_seconds = clock, backward
        clock.advance(forward)
        return x * 1.0

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.advance(ctx.backward_seconds)
        return gradient * 1.0


class SlowLayer(paddle.nn.Layer):
    def __init__(self, clock, forward, backward):
        super().__init__()
        self.seconds = clock, forward, backward

    def forward(self, x):
        return Slow.apply(x, *self.seconds)


class Block(paddle.nn.Layer):
    """Two branches, whose sum takes a known time, too."""

    def __init__(self, clock):
        super().__init__()
        self.left, self.right = SlowLayer(clock, 3, 5), SlowLayer(clock, 7, 11)
        self.clock = clock

    def forward(self, x):
        return Slow.apply(self.left(x) + self.right(x), self.clock, 13, 17)


class SlowNetwork(paddle.nn.Layer):
    def __init__(self, clock):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)
        self.first, self.block = SlowLayer(clock, 19, 23), Block(clock)
        self.out = paddle.nn.Linear(4, 3)
        self.frozen = SlowLayer(clock, 29, 31)

    def forward(self, x):
        with paddle.no_grad():
            x = self.frozen(x)
        x = paddle.nn.Sequential(self.first, self.block)(self.conv(x))
        return self.out(x.mean([2, 3]))


def profile_slow_network(steps=4, **options):
    clock = Clock()
    state = make_state(network=lambda: SlowNetwork(clock), **options)
    trainer = make_trainer(state)
    profile = profile_training(trainer, steps, Profiler(state.model, clock))
    return profile, trainer


def test_the_time_of_each_layer_is_exact():
    profile, _ = profile_slow_network()
    assert profile.steps == 4
    times = {name: (layer.forward / 4, layer.backward / 4) for name, layer in profile.layers.items()}
    assert times == {
        "(network)": (0, 0),
        "conv": (0, 0),
        "first": (19, 23),
        "block": (13, 17),
        "block.left": (3, 5),
        "block.right": (7, 11),
        "out": (0, 0),
        "frozen": (29, 0),
    }
    assert profile.layers["block.left"].kind == "SlowLayer"
    assert profile.outside_layers == profile.loss_backward == 0


def test_the_parts_add_up_to_the_step():
    profile, _ = profile_slow_network()
    assert profile.parts["forward"] == 4 * (3 + 7 + 13 + 19 + 29)
    assert profile.parts["backward"] == 4 * (5 + 11 + 17 + 23)
    assert sum(profile.parts.values()) + profile.unattributed == profile.seconds
    assert profile.unattributed == 0
    assert profile.images == 16 and profile.images_per_second == pytest.approx(profile.images / profile.seconds)


def test_waiting_loss_update_and_average_are_parts(monkeypatch):
    clock = Clock()
    state = make_state(network=lambda: SlowNetwork(clock))
    state.ema = ExponentialMovingAverage(state.model, 0.9)
    trainer = make_trainer(state, steps=StepLoader(Batches((4,) * 8), update_freq=2))

    def slow(owner, name, seconds):
        original = getattr(owner, name)

        def call(*arguments, **options):
            clock.advance(seconds)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    slow(state.ema, "update", 100)
    slow(state.optimizer, "step", 200)
    slow(state.optimizer, "clear_grad", 300)
    slow(trainer_module, "gradients_are_finite", 400)
    slow(type(trainer.loss), "__call__", 500)
    slow(state.scheduler, "step", 600)
    loader = trainer.steps.loader
    epoch = loader.epoch

    def slow_epoch(*arguments):
        for batch in epoch(*arguments):
            clock.advance(700)
            yield batch

    monkeypatch.setattr(loader, "epoch", slow_epoch)
    profile = profile_training(trainer, 3, Profiler(state.model, clock))
    assert {name: seconds / 3 for name, seconds in profile.parts.items() if seconds} == {
        "waiting for data": 1400,
        "forward": 2 * 71,
        "loss": 1000,
        "backward": 2 * 56,
        "finite check of the gradients": 400,
        "optimizer": 200,
        "moving average of the weights": 100,
        "clear gradients": 300,
    }
    assert profile.unattributed / 3 == 600


def test_the_trace_is_nested():
    profile, _ = profile_slow_network()
    events = [event for event in chrome_trace(profile)["traceEvents"] if event["ph"] == "X"]
    assert {event["cat"] for event in events} == {"step", "part", "forward", "backward"}
    assert min(event["ts"] for event in events) == 0
    open_ends = []
    for event in events:
        while open_ends and open_ends[-1] <= event["ts"]:
            open_ends.pop()
        end = event["ts"] + event["dur"]
        assert not open_ends or end <= open_ends[-1]
        open_ends.append(end)
    backward = [event for event in events if event["cat"] == "backward" and event["dur"]]
    assert all(first["ts"] + first["dur"] <= second["ts"] for first, second in pairwise(backward))
    named = [event["name"] for event in backward]
    assert named[0] == "block" and set(named[1:3]) == {"block.left", "block.right"} and named[3] == "first"


def test_profiling_does_not_change_the_training():
    profiled, plain = make_trainer(make_state()), make_trainer(make_state())
    profile_training(profiled, 5, Profiler(profiled.state.model))
    list(plain.run_steps(13))
    for key, value in plain.state.model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), profiled.state.model.state_dict()[key].numpy(), err_msg=key)


def test_everything_is_restored_also_after_an_error():
    trainer = make_trainer(make_state())
    profiler = Profiler(trainer.state.model)
    owners = (paddle.nn.Layer, "__call__"), (paddle.Tensor, "backward"), (operators, "run_custom_op")
    before = [getattr(*owner) for owner in owners]
    instances = [dict(vars(owner)) for owner in (trainer, trainer.state.metrics, trainer.state.optimizer)]
    with pytest.raises(KeyError), profiler.profile_steps(trainer):
        assert [getattr(*owner) for owner in owners] != before
        raise KeyError
    assert [getattr(*owner) for owner in owners] == before
    for owner, attributes in zip((trainer, trainer.state.metrics, trainer.state.optimizer), instances, strict=True):
        assert vars(owner).keys() == attributes.keys()
    assert trainer.forward is trainer.state.model
    assert not profiler.is_active


@pytest.fixture
def native_operators():
    try:
        if not native.set_mode("auto"):
            pytest.skip("needs native operators")
        yield
    finally:
        native.set_mode("off")


@pytest.mark.parametrize("arch", ["MobileNetV2_x0_25", "ResNet18", "ShuffleNetV2_x0_25", "MobileNetV3_small_x0_35"])
def test_profiled_steps_use_the_same_native_operators(arch, native_operators, monkeypatch):
    names, run = [], operators.run_custom_op
    monkeypatch.setattr(operators, "run_custom_op", lambda name, *rest: names.append(name) or run(name, *rest))
    state = make_state(network=lambda: create_model(arch, class_num=3))
    trainer = make_trainer(state, steps=StepLoader(LargerImages((2,) * 2)))
    profiler = Profiler(state.model)
    list(trainer.run_steps(1))  # creates the optimizer's accumulators
    names.clear()
    list(trainer.run_steps(1))
    plain, names[:] = list(names), []
    with profiler.profile_steps(trainer):
        list(trainer.run_steps(1))
    assert names == plain
    assert any("norm" in name or "residual" in name for name in plain)
    timed = [name for name, layer in profiler.profile.layers.items() if layer.backward]
    assert len(timed) > 5


class LargerImages(Batches):
    """Images on which all networks have feature maps of one pixel or more."""

    def epoch(self, epoch, start_step=0):
        for batch in super().epoch(epoch, start_step):
            batch.images = paddle.nn.functional.interpolate(batch.images, [64, 64])
            yield batch
