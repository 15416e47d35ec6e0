"""State that all routes share: models, limits, metrics and the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request

from ppzoo.serve.drawer import Drawer
from ppzoo.serve.limits import BodyReader
from ppzoo.serve.models import Model
from ppzoo.serve.options import Limits
from ppzoo.serve.prometheus_metrics import Metrics


@dataclass
class State:
    """State of a service.

    Attributes:
        models: the models by name.
        token: the token that requests have to send; None without one.
    """

    models: Mapping[str, Model]
    limits: Limits
    metrics: Metrics
    token: str | None = None
    bodies: BodyReader = field(init=False)
    drawer: Drawer = field(default_factory=Drawer)

    def __post_init__(self) -> None:
        self.bodies = BodyReader(self.limits)

    def is_ready(self) -> bool:
        """Return whether all models are ready (see `Model.is_ready`)."""
        return all(model.is_ready() for model in self.models.values())


def state_of(request: Request) -> State:
    """Return the state of the service that handles a request."""
    return request.app.state.service
