"""State that all routes share: models, limits, metrics and the token."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request

from ppzoo.serve.limits import BodyReader, Limits
from ppzoo.serve.metrics import Metrics
from ppzoo.serve.models import Models


@dataclass
class State:
    """State of a service.

    Attributes:
        token: the token that requests have to send; None without one.
    """

    models: Models
    limits: Limits
    metrics: Metrics
    token: str | None = None
    bodies: BodyReader = field(init=False)

    def __post_init__(self) -> None:
        self.bodies = BodyReader(self.limits)


def state_of(request: Request) -> State:
    """Return the state of the service that handles a request."""
    return request.app.state.service
