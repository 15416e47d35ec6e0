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
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import ppzoo
from ppzoo.serve import kserve, routes
from ppzoo.serve.limits import RETRY
from ppzoo.serve.metrics import DISCONNECTED
from ppzoo.serve.models import NotReadyError
from ppzoo.serve.page import PAGES
from ppzoo.serve.state import State, state_of

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
    # HTTPBearer is only for the description in openapi.json.
    security = [Depends(require_token), Depends(HTTPBearer(auto_error=False))] if state.token else []
    app.include_router(routes.router, dependencies=security)
    app.include_router(kserve.router, dependencies=security)
    app.add_exception_handler(HTTPException, _report_http_error)
    app.add_exception_handler(RequestValidationError, _report_invalid)
    app.add_exception_handler(NotReadyError, _report_not_ready)
    app.add_exception_handler(ClientDisconnect, _report_disconnect)
    app.add_exception_handler(Exception, _report_fault)
    app.add_middleware(Observer, state=state)
    return app


class Observer:
    """Middleware that counts requests by route, model and status."""

    def __init__(self, app: Any, state: State) -> None:
        self.app, self.state = app, state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500  # remains when an exception passes here

        async def observe(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, observe)
        finally:
            self.state.metrics.count_request(*self._labels(scope), status, started)

    def _labels(self, scope: Any) -> tuple[str, str]:
        """Return the route and the model; unknown ones are empty, so that their number is bounded."""
        name = scope.get("path_params", {}).get("name", "")
        return getattr(scope.get("route"), "path", ""), name if name in self.state.models else ""


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
    """Return an error as both protocols write it."""
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
