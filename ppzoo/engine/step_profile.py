"""The profile of training steps: the time of their parts and of the network's layers, and its export as a trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

STEP, FORWARD, LOSS, BACKWARD = "step", "forward", "loss", "backward"


class Span(NamedTuple):
    """Something that took `seconds` from `start` on; `category` is "step", "part", "forward" or "backward"."""

    name: str
    category: str
    start: float
    seconds: float


@dataclass
class LayerTime:
    """The time of a layer without the layers that it calls, in seconds.

    Attributes:
        kind: name of the layer's class.
    """

    kind: str
    forward: float = 0.0
    backward: float = 0.0


@dataclass
class Profile:
    """The profile of several training steps.

    Attributes:
        steps, images, seconds: number of profiled steps and of their images, and their time.
        parts: the time of each part of the steps; the parts do not overlap.
        layers: the time of each layer that was called, by structured name.
        loss_backward: time of the backward pass through the loss, before it reaches the network.
        spans: all steps, parts, and forward and backward passes of layers, in the order in which they ended.
        images_per_second: training speed, measured in other steps of the same training, without profiling.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    layers: dict[str, LayerTime] = field(default_factory=dict)
    loss_backward: float = 0.0
    spans: list[Span] = field(default_factory=list)
    images_per_second: float = 0.0

    def add_step(self, images: int, start: float, seconds: float) -> None:
        """Add a step that began at `start`."""
        self.steps, self.images, self.seconds = self.steps + 1, self.images + images, self.seconds + seconds
        self.spans.append(Span(STEP, "step", start, seconds))

    @property
    def unattributed(self) -> float:
        """The time of the steps that is in none of the parts."""
        return self.seconds - sum(self.parts.values())

    @property
    def outside_layers(self) -> float:
        """The time of the forward and backward pass that belongs neither to a layer nor to the loss."""
        layers = sum(layer.forward + layer.backward for layer in self.layers.values())
        return self.parts.get(FORWARD, 0.0) + self.parts.get(BACKWARD, 0.0) - layers - self.loss_backward


def chrome_trace(profile: Profile) -> dict[str, Any]:
    """Return the spans in the trace event format, which chrome://tracing and Perfetto show; times in microseconds."""
    origin = min((span.start for span in profile.spans), default=0.0)
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "ppzoo profile"}},
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "training"}},
    ]
    for span in sorted(profile.spans, key=lambda span: (span.start, -span.seconds)):
        times = {"ts": (span.start - origin) * 1e6, "dur": span.seconds * 1e6}
        events.append({"name": span.name, "cat": span.category, "ph": "X", "pid": 1, "tid": 1, **times})
    return {"traceEvents": events, "displayTimeUnit": "ms"}
