"""The routes of the service, except those of KServe: predictions, models, health, metrics and pages."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from ppzoo.errors import PpzooError
from ppzoo.serve.batching import QueueFullError
from ppzoo.serve.limits import RETRY, require_few_pixels
from ppzoo.serve.models import Model, NotReadyError
from ppzoo.serve.page import PAGES, SECURITY_HEADERS
from ppzoo.serve.prometheus_metrics import CONTENT_TYPE
from ppzoo.serve.requests import DEFAULT_TOPK, MAX_TOPK, parse_images
from ppzoo.serve.served_network import first_classes
from ppzoo.serve.state import State, state_of

router = APIRouter()

BINARY = {"schema": {"type": "string", "format": "binary"}}
PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "topk": {"type": "integer"},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "byte"}},
                        "topk": {"type": "integer", "default": DEFAULT_TOPK},
                    },
                }
            },
            "application/octet-stream": BINARY,
            "image/*": BINARY,
        },
    },
    "parameters": [
        {
            "name": "topk",
            "in": "query",
            "description": "the number of classes for each image",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TOPK, "default": DEFAULT_TOPK},
        }
    ],
}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "not an image, or a damaged request"},
    401: {"description": "the token is missing or wrong"},
    404: {"description": "unknown model"},
    408: {"description": "the request was not received in time"},
    413: {"description": "too many bytes, pixels or images"},
    415: {"description": "the content type or encoding is not supported"},
    500: {"description": "the network failed"},
    503: {"description": "the queue is full, or the engine is restarting; try again later"},
    504: {"description": "no result within the time limit"},
}


@router.post(
    "/v1/models/{name}:predict",
    summary="Predict the classes of images",
    openapi_extra=PREDICT_BODY,
    responses=ERRORS,
)
async def predict(name: str, request: Request) -> Response:
    """Return the best classes of each image, or an `error` for an image that cannot be read.

    The status is 400 if no image can be read.
    """
    state = state_of(request)
    model = find_model(state, name)
    started = time.perf_counter()
    async with state.bodies.read(request) as body:
        names, images, topk = await parse_images(request, body, state.limits)
        del body  # the images are copies, or the body itself
        for image in images:
            require_few_pixels(image, state.limits.max_pixels)
        is_topk = model.network.is_topk
        results = await run_model(model, images, topk)
    errors = [result for result in results if isinstance(result, PpzooError)]
    content: dict[str, Any] = {"model": name, "predictions": []}
    for image_name, result in zip(names, results, strict=True):
        if isinstance(result, PpzooError):
            prediction = {"error": result.line}
        else:
            prediction = first_classes(result, topk) if is_topk else result
        content["predictions"].append({"name": image_name, **prediction})
    content["milliseconds"] = round(1e3 * (time.perf_counter() - started), 3)
    if len(errors) < len(results):
        return JSONResponse(content)
    return JSONResponse({"error": errors[0].line, **content}, status_of(errors[0]))


@router.get("/v1/models", summary="List the models")
async def list_models(request: Request) -> dict[str, Any]:
    """Return name, state, engine, input shape, number of classes and class names of each model."""
    return {"models": [describe(model) for model in state_of(request).models.values()]}


@router.get("/v1/models/{name}", summary="Describe a model", responses={404: ERRORS[404]})
async def get_model(name: str, request: Request) -> dict[str, Any]:
    if name.endswith((":predict", ":explain")):
        raise HTTPException(405, f"expected POST for {name[-8:]}, got GET", headers={"Allow": "POST"})
    return describe(find_model(state_of(request), name))


@router.get("/healthz", summary="Report that the process runs")
async def report_health() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Report whether all models are ready to predict",
    responses={503: {"description": "a model is not ready"}},
)
async def report_readiness(request: Request) -> Response:
    models = state_of(request).models
    ready = {name: model.is_ready() for name, model in models.items()}
    is_ready = all(ready.values())
    return JSONResponse({"status": "ok" if is_ready else "not ready", "models": ready}, 200 if is_ready else 503)


@router.get("/metrics", summary="Metrics for Prometheus")
async def report_metrics(request: Request) -> Response:
    return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
@router.get("/docs", include_in_schema=False)
@router.get("/{file}.css", include_in_schema=False)
@router.get("/{file}.js", include_in_schema=False)
async def show_page(request: Request) -> Response:
    content, kind = PAGES.get(request.scope["path"], (None, ""))
    if content is None:
        raise HTTPException(404, "not found")
    return Response(content, media_type=kind, headers=SECURITY_HEADERS)


def find_model(state: State, name: str) -> Model:
    """Return the model of a name.

    Raises:
        HTTPException: 404, there is none.
    """
    model = state.models.get(name)
    if model is None:
        raise HTTPException(404, f"unknown model {name!r:.100}; available: {', '.join(state.models)}")
    return model


async def run_model(model: Model, images: Any, topk: int | None) -> list[Any]:
    """Return the results of `Model.run`.

    Raises:
        HTTPException: 413 the request has more images than the queue can hold; 503 the queue is full; 504 no result in
            time.
        NotReadyError: the engine is not running.
    """
    if len(images) > model.limits.queue:  # such a request would never be accepted
        problem = f"expected at most {model.limits.queue} images in a request, the size of the queue, got {len(images)}"
        raise HTTPException(413, problem)
    try:
        return await model.run(images, topk)
    except QueueFullError:
        problem = f"the queue of {model.limits.queue} images is full; try again later"
        raise HTTPException(503, problem, headers=RETRY) from None
    except TimeoutError:
        problem = f"no result within {model.limits.timeout:g} s; send fewer images at once, or try again later"
        raise HTTPException(504, problem) from None


def status_of(error: PpzooError) -> int:
    """Return the HTTP status of an image's error: 400 for its content, 500 if the network failed."""
    return 500 if error.exit_status == 1 else 400


def describe(model: Model) -> dict[str, Any]:
    """Return what clients can know about a model."""
    content: dict[str, Any] = {"name": model.name, "ready": model.is_ready()}
    try:
        network = model.network
    except NotReadyError:
        return content
    return {
        **content,
        "engine": network.engine_name,
        "image_shape": network.image_shape,
        "class_num": network.class_num,
        "label_names": network.labels,
        "grad_cam": network.explain is not None,
        **({"grad_cam_problem": network.explain_problem} if network.explain is None else {}),
    }
