"""The web application: routes, errors as JSON, the token, and the count of requests."""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import ppzoo
from ppzoo.serve import explaining, kserve, routes
from ppzoo.serve.limits import RETRY
from ppzoo.serve.models import NotReadyError
from ppzoo.serve.page import PAGES
from ppzoo.serve.prometheus_metrics import DISCONNECTED
from ppzoo.serve.state import State, state_of

logger = logging.getLogger("ppzoo")

PUBLIC = {*PAGES, "/openapi.json", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
"""paths that need no token; they return nothing about the models except their names and whether they are ready"""

PREDICTION = re.compile("/v1/models/([^/]+):predict")
PREDICTION_ROUTE = next(route for route in routes.router.routes if getattr(route, "endpoint", None) is routes.predict)
Run = Callable[[], AbstractAsyncContextManager[None]]


def make_app(state: State, run: Run) -> Application:
    """Return the application of a service.

    Args:
        run: a context manager within which the application runs.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with run():
            yield

    app = FastAPI(title="ppzoo", version=ppzoo.__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = state
    # HTTPBearer is only for the description in openapi.json.
    security = [Depends(require_token), Depends(HTTPBearer(auto_error=False))] if state.token else []
    app.include_router(routes.router, dependencies=security)
    app.include_router(explaining.router, dependencies=security)
    app.include_router(kserve.router, dependencies=security)
    for kind, report in ERROR_REPORTS.items():
        app.add_exception_handler(kind, report)
    return Application(app, state)


class Application:
    """The ASGI application: counts requests by route, model and status, and runs FastAPI's application.

    It handles predictions itself: FastAPI's routing takes 0.1 ms of processor time per request, a tenth of what a
    small network needs. FastAPI's application has the same route, for its description and for other methods.
    """

    def __init__(self, app: FastAPI, state: State) -> None:
        self.app, self.state = app, state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500  # the status if an exception is raised before a response starts

        async def observe(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        prediction = PREDICTION.fullmatch(scope["path"]) if scope["method"] == "POST" else None
        try:
            if prediction is None:
                await self.app(scope, receive, observe)
            else:
                scope |= {"app": self.app, "route": PREDICTION_ROUTE, "path_params": {"name": prediction[1]}}
                request = Request(scope, receive, observe)
                response = await _respond(request, prediction[1])
                await response(scope, receive, observe)
        finally:
            self.state.metrics.count_request(*self._labels(scope), status, started)

    def _labels(self, scope: Any) -> tuple[str, str]:
        """Return the route and the model; unknown ones are empty, so that their number is bounded."""
        name = scope.get("path_params", {}).get("name", "")
        return getattr(scope.get("route"), "path", ""), name if name in self.state.models else ""


async def _respond(request: Request, name: str) -> Response:
    """Return the response to a prediction request; errors are reported as FastAPI's application reports them."""
    try:
        require_token(request)
        return await routes.predict(name, request)
    except Exception as error:  # like FastAPI, which responds to any error
        report = next(report for kind, report in ERROR_REPORTS.items() if isinstance(error, kind))
        return await report(request, error)


def require_token(request: Request) -> None:
    """Check the token of a request, unless its path is public.

    Raises:
        HTTPException: 401, it is missing or wrong.
    """
    token = state_of(request).token
    if token is None or request.scope["path"] in PUBLIC:  # request.url is built from the client's Host header
        return
    sent = request.headers.get("authorization", "").encode("latin-1")
    if not hmac.compare_digest(sent, f"Bearer {token}".encode()):
        problem = "expected the header Authorization: Bearer TOKEN with the service's token"
        raise HTTPException(401, problem, headers={"WWW-Authenticate": "Bearer"})


def error_response(status: int, problem: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error in the form that ppzoo's routes and KServe's protocol have in common."""
    return JSONResponse({"error": problem}, status, headers)


async def _report_http_error(request: Request, error: Any) -> Response:
    return error_response(error.status_code, str(error.detail), error.headers)


async def _report_invalid(request: Request, error: Any) -> Response:
    return error_response(400, "; ".join(str(problem.get("msg", "not valid")) for problem in error.errors()))


async def _report_not_ready(request: Request, error: Any) -> Response:
    return error_response(503, "the engine has failed and is restarting; try again later", RETRY)


async def _report_disconnect(request: Request, error: Any) -> Response:
    return Response(status_code=DISCONNECTED)  # nothing receives it


async def _report_fault(request: Request, error: Any) -> Response:
    logger.error("error in %s", request.scope["path"], exc_info=error)
    return error_response(500, "the service failed to handle this request")


ERROR_REPORTS: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
    HTTPException: _report_http_error,
    RequestValidationError: _report_invalid,
    NotReadyError: _report_not_ready,
    ClientDisconnect: _report_disconnect,
    Exception: _report_fault,
}
"""kind of error -> the function that reports it; the most general kind is last"""
