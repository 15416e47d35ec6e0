"""Where the time of a training step goes: waiting for data, forward and backward pass by layer, optimizer, the rest.

Layers are timed in `paddle.nn.Layer.__call__`, which is replaced while steps are profiled. If layers had hooks or a
replaced `forward`, `ppzoo.layers` would use separate operators instead of the fused ones that training uses (see
`ppzoo.layers.native_layers.is_plain`). The time of a fused operator counts for the layer that calls it.

In the backward pass PaddlePaddle runs gradient hooks of the tensors between the layers: the time from the hook of a
layer's output to the next hook is that layer's. On GPUs, which compute asynchronously, the device is synchronized
before each time is taken. Profiling has not been tested on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakValueDictionary

import paddle
from paddle import nn

from ppzoo.engine import trainer as trainer_module
from ppzoo.engine.protocols import Batch
from ppzoo.engine.step_profile import BACKWARD, FORWARD, LOSS, LayerTime, Profile, Span
from ppzoo.engine.trainer import Trainer
from ppzoo.native import operators

WARMUP_STEPS = 3  # the first steps allocate memory, compile programs and start the workers
BLOCK_STEPS = 5  # blocks of steps with and without profiling alternate, so that the machine's load affects both equally

METRICS, FINITE_CHECK, UPDATE, CLEAR = "metrics", "finite check of the gradients", "optimizer", "clear gradients"
WAITING, EMA = "waiting for data", "moving average of the weights"
ROOT = "(network)"  # the name of the network itself

Clock = Callable[[], float]


def device_clock() -> Clock:
    """Return a clock that first waits until the selected device has finished its work."""
    if paddle.get_device() == "cpu":
        return time.perf_counter

    def read() -> float:
        paddle.device.synchronize()
        return time.perf_counter()

    return read


class Profiler:
    """Times the parts of training steps and the layers of a network.

    Args:
        model: the network; other layers are not timed.
        clock: returns the time in seconds.

    Attributes:
        profile: the result.
        is_active: whether steps are profiled now.
    """

    def __init__(self, model: nn.Layer, clock: Clock = time.perf_counter) -> None:
        self.clock, self.profile, self.is_active = clock, Profile(), False
        self._names = {id(layer): name or ROOT for name, layer in model.named_sublayers(include_self=True)}
        self._inner: list[float] = []  # for each open part: the time of the parts within it
        self._layers = LayerTimer(self.profile, self.clock)

    def timed(self, call: Any, name: str) -> TimedCall:
        """Return a callable that does what `call` does, and is timed as the part `name` while steps are profiled."""
        return TimedCall(self, call, name)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of a step, without the parts within it."""
        start = self.clock()
        self._inner.append(0.0)
        try:
            yield
        finally:
            seconds = self.clock() - start
            self.profile.parts[name] = self.profile.parts.get(name, 0.0) + seconds - self._inner.pop()
            if self._inner:
                self._inner[-1] += seconds
            self.profile.spans.append(Span(name, "part", start, seconds))

    @contextmanager
    def profile_steps(self, trainer: Trainer) -> Iterator[None]:
        """Profile the steps that `trainer` makes while the context is open."""
        state = trainer.state
        calls = [
            (trainer, "loss", LOSS),
            (state.metrics, "batch_stats", METRICS),
            (state.metrics, "update", METRICS),
            (trainer_module, "gradients_are_finite", FINITE_CHECK),
            (state.optimizer, "step", UPDATE),
            (state.optimizer, "clear_grad", CLEAR),
            *([(state.ema, "update", EMA)] if state.ema is not None else []),
        ]
        with ExitStack() as stack:
            for owner, attribute, name in calls:
                stack.enter_context(_replaced(owner, attribute, self.timed(getattr(owner, attribute), name)))
            stack.enter_context(_replaced(trainer, "forward", self.timed(self._forward(trainer), FORWARD)))
            stack.enter_context(_replaced(paddle.Tensor, "backward", self._timed_backward(paddle.Tensor.backward)))
            stack.enter_context(_replaced(nn.Layer, "__call__", self._timed_layer(nn.Layer.__call__)))
            stack.enter_context(_replaced(operators, "run_custom_op", self._watched(vars(operators)["run_custom_op"])))
            self.is_active = True
            try:
                yield
            finally:
                self.is_active = False

    def _forward(self, trainer: Trainer) -> Callable[..., Any]:
        """Return the trainer's forward pass; a static program is timed like a call of the network."""
        forward, model = trainer.forward, trainer.state.model
        if forward is model:
            return forward
        return lambda *inputs: self._layers.time_call(ROOT, model, lambda: forward(*inputs), inputs)

    def _timed_backward(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def timed(tensor: paddle.Tensor, *arguments: Any, **options: Any) -> Any:
            with self.part(BACKWARD):
                self._layers.begin_backward()
                try:
                    return backward(tensor, *arguments, **options)
                finally:
                    self._layers.end_backward()

        return timed

    def _watched(self, run_custom_op: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            outputs = run_custom_op(*arguments)
            self._layers.watch(outputs)
            return outputs

        return run

    def _timed_layer(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(layer: nn.Layer, *inputs: Any, **options: Any) -> Any:
            name = self._names.get(id(layer))
            if name is None or not paddle.in_dynamic_mode():
                return call(layer, *inputs, **options)
            return self._layers.time_call(name, layer, lambda: call(layer, *inputs, **options), [inputs, options])

        return timed


class LayerTimer:
    """Times the calls of layers and, with gradient hooks, their backward passes; the results are added to `profile`."""

    def __init__(self, profile: Profile, clock: Clock) -> None:
        self.profile, self.clock = profile, clock
        self._open: list[list[Any]] = []  # for each call that has begun: its layer, and the time of the calls within it
        self._hooked: WeakValueDictionary[int, paddle.Tensor] = WeakValueDictionary()
        self._owner: str | None = None  # the layer whose gradients are being computed, since `_since`
        self._since = 0.0

    def time_call(self, name: str, layer: nn.Layer, call: Callable[[], Any], inputs: Any) -> Any:
        """Return the result of `call`, which calls `layer` with `inputs`."""
        self.watch(inputs)  # an input that no layer returned, such as half of the channels
        self._open.append([name, 0.0])
        start = self.clock()
        try:
            output = call()
        finally:
            seconds = self.clock() - start
            inner = self._open.pop()[1]
            if self._open:
                self._open[-1][1] += seconds
        self.profile.layers.setdefault(name, LayerTime(type(layer).__name__)).forward += seconds - inner
        self.profile.spans.append(Span(name, "forward", start, seconds))
        self._hook(output, name)
        return output

    def watch(self, tensors: Any) -> None:
        """Attribute the backward pass of the operators that returned `tensors` to the innermost open layer."""
        if self._open:
            self._hook(tensors, self._open[-1][0])

    def _hook(self, value: Any, owner: str) -> None:
        """Add hooks that attribute the time of the backward pass to `owner`; tensors that have an owner keep it."""
        if isinstance(value, paddle.Tensor):
            if not value.stop_gradient and id(value) not in self._hooked:
                self._hooked[id(value)] = value
                value.register_hook(lambda _: self._switch(owner))
        elif isinstance(value, Mapping):
            self._hook(list(value.values()), owner)
        elif isinstance(value, list | tuple):
            for item in value:
                self._hook(item, owner)

    def begin_backward(self) -> None:
        """Start to time a backward pass, which begins with the gradient of the loss."""
        self._owner, self._since = None, self.clock()

    def end_backward(self) -> None:
        """Attribute the time since the last hook to the layer of that hook."""
        self._switch("")

    def _switch(self, owner: str | None) -> None:
        if owner == self._owner:
            return
        now = self.clock()
        seconds = now - self._since
        if self._owner is None:
            self.profile.loss_backward += seconds
        else:
            self.profile.layers[self._owner].backward += seconds
        self.profile.spans.append(Span(self._owner or LOSS, "backward", self._since, seconds))
        self._owner, self._since = owner, now


class TimedCall:
    """A callable that is timed while its profiler is active; it has the attributes of the original."""

    def __init__(self, profiler: Profiler, call: Any, name: str) -> None:
        self._profiler, self._call, self._name = profiler, call, name

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if not self._profiler.is_active:
            return self._call(*arguments, **options)
        with self._profiler.part(self._name):
            return self._call(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class TimedSteps:
    """The steps of a loader; waiting for a step is timed."""

    def __init__(self, profiler: Profiler, steps: Any) -> None:
        self._profiler, self._steps = profiler, steps

    def __len__(self) -> int:
        return len(self._steps)

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Batch], None, None]:
        steps = self._steps.epoch(epoch, start_step)
        advance = self._profiler.timed(lambda: next(steps, None), WAITING)
        try:
            while (step := advance()) is not None:
                yield step
        finally:
            steps.close()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of an object or a class while the context is open."""
    had, previous = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, previous)
        else:
            delattr(owner, name)


def count_profiled_steps(steps: int) -> int:
    """Return the number of steps that `profile_training` makes, including those without profiling."""
    return WARMUP_STEPS + 2 * steps


def profile_training(
    trainer: Trainer, steps: int, profiler: Profiler, on_steps: Callable[[int], object] = lambda count: None
) -> Profile:
    """Profile training steps, alternately with as many steps without profiling, whose speed is measured.

    `trainer.steps` is replaced by a loader that times the waiting for data.

    Args:
        steps: number of profiled steps.
        on_steps: called with the number of steps that have just been made, while nothing is timed.
    """
    profile, clock = profiler.profile, profiler.clock
    trainer.steps = TimedSteps(profiler, trainer.steps)  # type: ignore[assignment]
    made = trainer.run_steps(count_profiled_steps(steps))

    def make(count: int) -> tuple[int, float, float]:
        start = clock()
        images = sum(next(made)[1] for _ in range(count))
        seconds = clock() - start
        on_steps(count)
        return images, start, seconds

    make(WARMUP_STEPS)
    plain_images, plain_seconds = 0, 0.0
    for first in range(0, steps, BLOCK_STEPS):
        count = min(BLOCK_STEPS, steps - first)
        images, _, seconds = make(count)
        plain_images, plain_seconds = plain_images + images, plain_seconds + seconds
        with profiler.profile_steps(trainer):
            for _ in range(count):
                profile.add_step(*make(1))
    made.close()
    profile.images_per_second = plain_images / plain_seconds
    return profile
