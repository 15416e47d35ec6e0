"""KServe V2: the client of Triton works, with JSON and with the binary extension."""

import json
import struct

import numpy as np
import pytest
from helpers.services import LABELS, SIZE, encode, export_small, run_service

import ppzoo
from ppzoo.serve import kserve_tensors


@pytest.fixture(scope="module")
def client(service):
    triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    with triton.InferenceServerClient(service.url.removeprefix("http://")) as connected:
        yield connected


@pytest.fixture(scope="module")
def expected(exported):
    """Probabilities of two images in the order of the classes."""
    rows = []
    for prediction in ppzoo.Predictor(exported, engine="paddle").predict([encode(0), encode(1)], topk=10):
        rows.append(np.zeros(10, np.float32))
        rows[-1][prediction["class_ids"]] = prediction["scores"]
    return np.stack(rows)


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("small")
    assert client.is_model_ready("small", "1")
    assert client.get_server_metadata()["name"] == "ppzoo"
    metadata = client.get_model_metadata("small")
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 3, SIZE, SIZE]}]
    assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]


@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize("output_binary", [True, False])
def test_tensors(client, exported, expected, is_binary, output_binary):
    import tritonclient.http as triton

    preprocess = ppzoo.Predictor(exported, engine="paddle").preprocess
    random = np.random.default_rng(0)
    images = np.stack([preprocess(encode(seed), random) for seed in (0, 1)])
    given = triton.InferInput("image", list(images.shape), "FP32")
    given.set_data_from_numpy(images, binary_data=is_binary)
    output = triton.InferRequestedOutput("probabilities", binary_data=output_binary)
    result = client.infer("small", [given], outputs=[output], request_id="7")
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)
    assert result.get_response()["id"] == "7"


def test_image_files(client, expected):
    import tritonclient.http as triton

    files = np.array([encode(0), encode(1)], object)
    given = triton.InferInput("image", [2], "BYTES")
    given.set_data_from_numpy(files)
    np.testing.assert_allclose(client.infer("small", [given]).as_numpy("probabilities"), expected, atol=1e-5)


def test_classification(client, expected):
    import tritonclient.http as triton

    given = triton.InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([encode(0)], object))
    output = triton.InferRequestedOutput("probabilities", class_count=2)
    ((first, _),) = client.infer("small", [given], outputs=[output]).as_numpy("probabilities")
    score, index, label = first.decode().split(":", 2)
    assert int(index) == expected[0].argmax() and label == LABELS[int(index)]
    assert float(score) == pytest.approx(expected[0].max(), abs=1e-5)


def infer(service, content, binary=b"", **headers):
    header = json.dumps(content).encode()
    if binary:
        headers["Inference_Header_Content_Length"] = str(len(header))
    return service.request("POST", "/v2/models/small/infer", header + binary, **headers)


def tensor(**changes):
    entry = {"name": "image", "datatype": "FP32", "shape": [1, 3, SIZE, SIZE], "data": [0.0] * (3 * SIZE * SIZE)}
    return {"inputs": [{**entry, **changes}]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "expected a JSON object"),
        ({}, "inputs: expected one input"),
        ({"inputs": [1]}, "inputs: expected one input"),
        (tensor(name="x"), "inputs[0].name: expected 'image'"),
        (tensor(datatype="INT8"), "inputs[0].datatype: expected FP32 or BYTES"),
        (tensor(shape=[1, 3, SIZE, SIZE + 1]), "inputs[0].data: expected"),
        (tensor(shape=[-1, 3]), "inputs[0].shape"),
        (tensor(shape=[1 << 40, 1 << 40]), "inputs[0].shape: expected at most"),
        (tensor(shape=[1, 3 * SIZE * SIZE]), "inputs[0].shape: expected"),
        (tensor(shape=[0, 3, SIZE, SIZE], data=[]), "expected 1 to 8 images, got 0"),
        (tensor(shape=[], data=[1.0]), "expected 1 to 8 images, got 0"),
        (tensor(data="text"), "inputs[0].data"),
        (tensor(data=[[1], [2, 3]]), "inputs[0].data"),
        (tensor(data=None), "inputs[0].data: expected 3072 numbers"),
        (tensor(data=["1"] * (3 * SIZE * SIZE)), "inputs[0].data: expected 3072 numbers"),
        (tensor(data=[True] * (3 * SIZE * SIZE)), "inputs[0].data: expected 3072 numbers"),
        (tensor(data=[None] * (3 * SIZE * SIZE)), "inputs[0].data: expected 3072 numbers"),
        (tensor(data=[10**30] * (3 * SIZE * SIZE)), "inputs[0].data: expected 3072 numbers"),
        (tensor(data=[1e39] * (3 * SIZE * SIZE)), "inputs[0].data: expected finite numbers"),
        (tensor(shape=[1, SIZE, SIZE, 3]), "inputs[0].shape: expected [-1, 3, 32, 32], got [1, 32, 32, 3]"),
        (tensor(shape=[1.0, 3, SIZE, SIZE]), "inputs[0].shape: expected a list of sizes"),
        (tensor(shape=[True, 3, SIZE, SIZE]), "inputs[0].shape: expected a list of sizes"),
        (tensor(datatype=["FP32"]), "inputs[0].datatype: expected FP32 or BYTES"),
        (tensor(datatype="UINT8"), "inputs[0].datatype: expected FP32 or BYTES"),
        (tensor(parameters={"binary_data_size": 8}), "binary_data_size: expected 0"),
        (tensor(datatype="BYTES", shape=[1], data=[3]), "expected a list of strings"),
        (tensor(datatype="BYTES", shape=[1], data=["no image"]), "not an image"),
        (tensor(data=[float("nan")] * (3 * SIZE * SIZE)), "inputs[0].data: expected finite numbers"),
        ({**tensor(), "id": "\ud800"}, "id: expected text"),
        ({**tensor(), "id": 5}, "id: expected text"),
        ({**tensor(), "outputs": [{"name": "x"}]}, "outputs[0].name"),
        ({**tensor(), "outputs": [{"name": "probabilities", "parameters": {"classification": "x"}}]}, "classification"),
    ],
)
def test_invalid_requests(service, content, problem):
    reply = infer(service, content)
    assert reply.status == 400
    assert problem in reply.content["error"]


def test_too_many_images(service):
    reply = infer(service, tensor(shape=[3 * SIZE * SIZE]))
    assert reply.status == 413 and "expected 1 to 8 images, got 3072" in reply.content["error"]


def test_invalid_binary_data(service):
    entry = tensor(datatype="BYTES", shape=[1], data=None, parameters={"binary_data_size": 8})
    reply = infer(service, entry, struct.pack("<I", 1 << 31) + b"abcd")
    assert reply.status == 400 and "lengths of the strings" in reply.content["error"]
    reply = service.request("POST", "/v2/models/small/infer", b"{}", Inference_Header_Content_Length="99")
    assert reply.status == 400


def test_unknown_models_and_versions(service):
    assert service.request("GET", "/v2/models/x").status == 404
    assert service.request("GET", "/v2/models/small/versions/2").status == 404
    assert service.request("POST", "/v2/models/x/infer", b"{}").status == 404


@pytest.mark.parametrize("shape", [[9] * 200_000, [10**30], [2**20, 2**20]])
def test_huge_shapes_are_refused_at_once(shape):
    entry = {"name": "image", "datatype": "FP32", "shape": shape, "data": []}
    with pytest.raises(kserve_tensors.TensorError, match="expected at most 8 sizes and"):
        kserve_tensors.read_input({"inputs": [entry]}, memoryview(b""))


@pytest.mark.parametrize("length", ["0" * 20 + "9" * 5000, "-1", "3", "x"])
def test_wrong_lengths_of_the_header_are_refused(length):
    with pytest.raises(kserve_tensors.TensorError, match="expected the number of bytes of the JSON header"):
        kserve_tensors.split_body(b"{}", length)


def test_image_files_of_a_multi_label_model(tmp_path):
    folder = export_small(tmp_path / "several", postprocess="MultiLabelThreshOutput")
    image = tensor(datatype="BYTES", shape=[1], parameters={"binary_data_size": 4 + len(encode(0))})
    del image["inputs"][0]["data"]
    with run_service({"small": folder}) as service:
        reply = infer(service, image, struct.pack("<I", len(encode(0))) + encode(0))
    assert reply.status == 200
    expected = ppzoo.Predictor(folder, engine="paddle").probabilities([encode(0)])
    np.testing.assert_allclose([reply.content["outputs"][0]["data"]], expected, atol=1e-6)
    assert not 0.99 < expected.sum() < 1.01  # the sum of a softmax would be 1
