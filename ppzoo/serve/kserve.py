"""KServe's V2 protocol, so that clients of Triton and of KServe work with this service.

The input is named `image`, the output `probabilities`, as in the exported ONNX file. The input is either FP32 with
preprocessed images (N x C x H x W), or BYTES with image files (N), which the service preprocesses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

import ppzoo
from ppzoo.errors import PpzooError
from ppzoo.serve.kserve_tensors import TensorError, read_id, read_input, split_body, write_output
from ppzoo.serve.limits import RETRY, require_few_pixels
from ppzoo.serve.models import Model
from ppzoo.serve.routes import ERRORS, find_model, run_model, status_of
from ppzoo.serve.served_network import Network
from ppzoo.serve.state import State, state_of

router = APIRouter(prefix="/v2", tags=["KServe V2"])

INPUT, OUTPUT, VERSION = "image", "probabilities", "1"
HEADER_LENGTH = "Inference-Header-Content-Length"
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("", summary="Describe the server")
async def describe_server() -> dict[str, Any]:
    extensions = ["binary_tensor_data", "classification"]
    return {"name": "ppzoo", "version": ppzoo.__version__, "extensions": extensions}


@router.get("/health/live", summary="Report that the process runs")
async def report_live() -> Response:
    return Response()


@router.get("/health/ready", summary="Report whether all models are ready to predict")
async def report_ready(request: Request) -> Response:
    return Response(status_code=200 if state_of(request).is_ready() else 503)


@router.get("/models/{name}/ready", summary="Report whether a model is ready to predict")
@router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
async def report_model_ready(name: str, request: Request, version: str = VERSION) -> Response:
    model = _find(state_of(request), name, version)
    return Response(status_code=200 if model.is_ready() else 503)


@router.get("/models/{name}", summary="Describe the inputs and outputs of a model")
@router.get("/models/{name}/versions/{version}", include_in_schema=False)
async def describe_model(name: str, request: Request, version: str = VERSION) -> dict[str, Any]:
    network = _find(state_of(request), name, version).network
    return {
        "name": name,
        "versions": [VERSION],
        "platform": f"ppzoo_{network.engine_name}",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *network.image_shape]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, network.class_num]}],
    }


@router.post(
    "/models/{name}/infer",
    summary="Predict probabilities of images or preprocessed images",
    openapi_extra=INFER_BODY,
    responses=ERRORS,
)
@router.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
async def infer(name: str, request: Request, version: str = VERSION) -> Response:
    state = state_of(request)
    model = _find(state, name, version)
    network = model.network
    async with state.bodies.read(request) as body:
        try:
            content, binary = split_body(body, request.headers.get(HEADER_LENGTH))
            entry, values = read_input(content, binary)
            requested, identifier = _requested_output(content), read_id(content)
        except TensorError as error:
            raise HTTPException(400, str(error)) from None
        images = _images(entry, values, network, state)
        del body, binary, values  # the images are copies, or refer to the body
        results = await run_model(model, images, topk=None)
    for result in results:
        if isinstance(result, PpzooError):
            raise HTTPException(status_of(result), result.line)
    if len({len(result) for result in results}) > 1:
        raise HTTPException(503, "the model was reloaded while it computed the images; try again later", headers=RETRY)
    return _response(name, identifier, np.stack(results), requested, network)


def _find(state: State, name: str, version: str) -> Model:
    if version != VERSION:
        raise HTTPException(404, f"unknown version {version!r:.40} of model {name!r:.100}; available: {VERSION}")
    return find_model(state, name)


def _images(entry: dict[str, Any], values: list[bytes] | np.ndarray, network: Network, state: State) -> list[Any]:
    """Return the images of an input after checking number, shape and size."""
    if entry.get("name") != INPUT:
        raise HTTPException(400, f"inputs[0].name: expected {INPUT!r}, got {entry.get('name')!r:.60}")
    count = len(values) if isinstance(values, list) or values.ndim else 0
    if not 1 <= count <= state.limits.max_images:
        problem = f"inputs[0].shape: expected 1 to {state.limits.max_images} images, got {count}"
        raise HTTPException(413 if count else 400, problem)
    if isinstance(values, list):
        for image in values:
            require_few_pixels(image, state.limits.max_pixels)
        return values
    if list(values.shape[1:]) != network.image_shape:
        raise HTTPException(400, f"inputs[0].shape: expected {[-1, *network.image_shape]}, got {list(values.shape)}")
    return list(values)


def _requested_output(content: dict[str, Any]) -> tuple[bool, int]:
    """Return whether the output's data are binary, and the number of classes to return as text, or 0.

    Raises:
        TensorError: another output than `OUTPUT` is requested.
    """
    outputs = content.get("outputs") or [{"name": OUTPUT}]
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        raise TensorError("outputs: expected one output")
    if outputs[0].get("name") != OUTPUT:
        raise TensorError(f"outputs[0].name: expected {OUTPUT!r}, got {outputs[0].get('name')!r:.60}")
    parameters = outputs[0].get("parameters") or {}
    general = content.get("parameters") or {}
    if not isinstance(parameters, dict) or not isinstance(general, dict):
        raise TensorError("parameters: expected an object")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise TensorError("outputs[0].parameters.classification: expected a number of classes")
    return bool(parameters.get("binary_data", general.get("binary_data_output", False))), classes


def _response(
    name: str, identifier: str | None, probabilities: np.ndarray, requested: tuple[bool, int], network: Network
) -> Response:
    is_binary, classes = requested
    values = _best_classes(probabilities, classes, network.labels) if classes else probabilities
    header = {"model_name": name, "model_version": VERSION}
    if identifier is not None:
        header["id"] = identifier
    body, length = write_output(OUTPUT, values, header, is_binary=is_binary)
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})


def _best_classes(probabilities: np.ndarray, count: int, labels: list[str]) -> np.ndarray:
    """Return the best classes of each image as texts 'PROBABILITY:INDEX:LABEL', as Triton does."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    texts: np.ndarray = np.empty(order.shape, object)
    for (row, column), index in np.ndenumerate(order):
        label = f":{labels[index]}" if index < len(labels) else ""
        texts[row, column] = f"{probabilities[row, index]:f}:{index}{label}".encode(errors="replace")
    return texts
