"""The route `POST /v1/models/NAME:explain`: an image with the Grad-CAM overlay of a class as PNG."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ppzoo.errors import ConfigError, PpzooError
from ppzoo.serve.limits import require_few_pixels
from ppzoo.serve.requests import RAW_TYPES
from ppzoo.serve.routes import BINARY, ERRORS, find_model, status_of
from ppzoo.serve.state import state_of

router = APIRouter()

NOT_AVAILABLE = 501
EXPLAIN_BODY = {
    "requestBody": {"required": True, "content": {"application/octet-stream": BINARY, "image/*": BINARY}},
    "parameters": [
        {
            "name": "class_id",
            "in": "query",
            "description": "index of the class to explain (default: the predicted class)",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
}


@router.post(
    "/v1/models/{name}:explain",
    summary="Draw which pixels of an image raise the score of a class (Grad-CAM)",
    openapi_extra=EXPLAIN_BODY,
    response_class=Response,
    responses={
        **ERRORS,
        200: {"description": "the image with the overlay", "content": {"image/png": BINARY}},
        NOT_AVAILABLE: {"description": "Grad-CAM is not available for this model"},
    },
)
async def explain_image(name: str, request: Request) -> Response:
    """Return the image with its overlay as PNG: yellow pixels raise the score of the class most.

    Photos with a side of more than 1024 pixels are scaled down.
    """
    state = state_of(request)
    network = find_model(state, name).network
    explain = network.explain
    if explain is None:
        raise HTTPException(NOT_AVAILABLE, f"Grad-CAM is not available: {network.explain_problem}")
    class_id = _parse_class(request.query_params.get("class_id"), network.class_num)
    async with state.bodies.read(request) as body:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith(RAW_TYPES):
            raise HTTPException(415, f"Content-Type: expected image/* or application/octet-stream, got {kind!r:.60}")
        require_few_pixels(body, state.limits.max_pixels)
        try:
            content = await state.drawer.draw(explain, body, class_id, state.limits.timeout)
        except ConfigError as error:
            raise HTTPException(NOT_AVAILABLE, f"Grad-CAM is not available: {error.line}") from None
        except PpzooError as error:
            raise HTTPException(status_of(error), error.line) from None
    return Response(content, media_type="image/png")


def _parse_class(text: str | None, class_num: int) -> int | None:
    """Return the class that a request names; None if it names none.

    Raises:
        HTTPException: 400, the network has no such class.
    """
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and int(text[:9]) < class_num and len(text) <= 9:
        return int(text)
    raise HTTPException(400, f"class_id: expected an integer from 0 to {class_num - 1}, got {text!r:.40}")
