"""The web application: routes, errors as JSON, the token, and the count of requests."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

import ppzoo
from ppzoo.serve import kserve, routes
from ppzoo.serve.kserve import error_response
from ppzoo.serve.metrics import DISCONNECTED
from ppzoo.serve.page import PAGES
from ppzoo.serve.state import State

logger = logging.getLogger("ppzoo")

PUBLIC = {*PAGES, "/openapi.json", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
"""paths that need no token: they contain nothing about the models"""

Run = Callable[[], AbstractAsyncContextManager[None]]


def make_app(state: State, run: Run) -> FastAPI:
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
    security = [Depends(HTTPBearer(auto_error=False))] if state.token else []  # for openapi.json; `Observer` checks it
    app.include_router(routes.router, dependencies=security)
    app.include_router(kserve.router, dependencies=security)
    app.add_exception_handler(HTTPException, _report_http_error)
    app.add_exception_handler(RequestValidationError, _report_invalid)
    app.add_exception_handler(ClientDisconnect, _report_disconnect)
    app.add_exception_handler(Exception, _report_fault)
    app.add_middleware(Observer, state=state, routes=app.router.routes)
    return app


class Observer:
    """Middleware that checks the token and counts requests by route, model and status."""

    def __init__(self, app: Any, state: State, routes: list[Any]) -> None:
        self.app, self.state, self.routes = app, state, routes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), DISCONNECTED

        async def observe(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        app = self.app if self._is_allowed(scope) else _unauthorized()
        try:
            await app(scope, receive, observe)
        finally:
            self.state.metrics.count_request(*self._labels(scope), status, started)

    def _is_allowed(self, scope: Any) -> bool:
        token = self.state.token
        if token is None or scope["path"] in PUBLIC:
            return True
        sent = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(sent, f"Bearer {token}".encode())

    def _labels(self, scope: Any) -> tuple[str, str]:
        """Return the route and the model; unknown ones are empty, so that their number is bounded."""
        route = scope.get("route")
        name = scope.get("path_params", {}).get("name", "")
        if route is None:
            matches = [candidate for candidate in self.routes if candidate.matches(scope)[0] is not Match.NONE]
            route = matches[0] if matches else None
        return getattr(route, "path", ""), name if name in self.state.models else ""


def _unauthorized() -> Response:
    headers = {"WWW-Authenticate": "Bearer"}
    return error_response(401, "expected the header Authorization: Bearer TOKEN with the service's token", headers)


async def _report_http_error(request: Request, error: Any) -> Response:
    return error_response(error.status_code, str(error.detail), error.headers)


async def _report_invalid(request: Request, error: Any) -> Response:
    return error_response(400, "; ".join(str(problem.get("msg", "not valid")) for problem in error.errors()))


async def _report_disconnect(request: Request, error: Any) -> Response:
    return Response(status_code=DISCONNECTED)  # nothing receives it


async def _report_fault(request: Request, error: Any) -> Response:
    logger.error("error in %s", request.url.path, exc_info=error)
    return error_response(500, "the service failed to handle this request")
