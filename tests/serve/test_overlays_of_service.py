"""`POST /v1/models/NAME:explain` returns the overlay that `ppzoo explain` draws, within the limits of the service."""

import io
import threading

import numpy as np
import pytest
from helpers.services import LABELS, encode, export_small, run_service
from PIL import Image

from ppzoo import builders, deploy
from ppzoo.builders import ExportExplainer

LIMITS = {"max_pixels": 1_000_000, "max_upload": 1 << 20, "timeout": 20.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_small(tmp_path_factory.mktemp("explain") / "small", arch=True)


@pytest.fixture(scope="module")
def service(folder):
    with run_service({"small": folder}, open_explain=ExportExplainer, **LIMITS) as running:
        yield running


def explain(service, image, query="", model="small", kind="image/png", **headers):
    return service.request("POST", f"/v1/models/{model}:explain{query}", image, content_type=kind, **headers)


def read_png(reply):
    assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
    return np.asarray(Image.open(io.BytesIO(reply.content)))


@pytest.mark.parametrize("class_id", [None, 3])
def test_the_overlay_is_that_of_the_command(service, folder, tmp_path, class_id):
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode())
    exported = deploy.open_export(folder)
    config = builders.config_of_export(exported, "cpu")
    name = None if class_id is None else str(class_id)
    ((_, explanation),) = builders.explain_images(config, [photo], name and LABELS[class_id], exported)
    found = read_png(explain(service, encode(), "" if class_id is None else f"?class_id={class_id}"))
    height, width = found.shape[:2]
    assert (width, height) == (40, 36)
    np.testing.assert_array_equal(found, explanation.picture[:, -width:])


def test_overlays_of_different_images_and_classes_differ(service):
    pictures = [read_png(explain(service, encode(seed), f"?class_id={seed}")) for seed in (0, 1)]
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("class_id", ["10", "-1", "1.5", "x", "", "9" * 50, "%D9%A3"])
def test_an_unknown_class_is_refused(service, class_id):
    reply = explain(service, encode(), f"?class_id={class_id}")
    assert reply.status == 400 and reply.content["error"].startswith("class_id: expected an integer from 0 to 9, got")


def test_images_within_the_limits_only(service):
    assert explain(service, b"no image").status == 400
    assert explain(service, b"").status == 400
    assert explain(service, encode(size=(1200, 1000))).status == 413
    assert explain(service, b"x" * ((1 << 20) + 1)).status == 413
    assert explain(service, encode(), kind="text/plain").status == 415
    assert explain(service, encode(), model="other").status == 404


def test_the_export_of_another_program_is_refused_in_one_line(exported):
    with run_service({"small": exported}, open_explain=ExportExplainer) as service:
        reply = explain(service, encode())
        problem = "inference.yml does not name its architecture"
        assert (reply.status, reply.content) == (501, {"error": f"Grad-CAM is not available: {problem}"})
        (model,) = service.request("GET", "/v1/models").content["models"]
        assert (model["grad_cam"], model["grad_cam_problem"]) == (False, problem)
        assert service.predict(encode()).status == 200


def test_a_changed_export_is_not_explained_with_other_weights(tmp_path):
    folder = export_small(tmp_path / "small", arch=True)
    with run_service({"small": folder}, open_explain=ExportExplainer, reload=False) as service:
        export_small(folder, seed=1, arch=True)
        reply = explain(service, encode())
        assert (reply.status, "have changed since it was loaded" in reply.content["error"]) == (501, True)


def test_too_many_and_too_slow_overlays_are_refused_and_predictions_continue(folder):
    finish = threading.Event()

    def slow(exported):
        def draw(image, class_id):
            finish.wait(30)
            return np.zeros((2, 2, 3), np.uint8)

        return draw

    with run_service({"small": folder}, open_explain=slow, timeout=1.0) as service:
        statuses = []
        threads = [
            threading.Thread(target=lambda: statuses.append(explain(service, encode()).status)) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for _ in range(3):
            assert service.predict(encode()).status == 200
        for thread in threads:
            thread.join()
        assert set(statuses) == {503, 504} and statuses.count(503) >= 3
        finish.set()
        assert explain(service, encode()).status == 200


def test_a_token_is_required(folder):
    with run_service({"small": folder}, open_explain=ExportExplainer, token="secret-secret") as service:
        assert explain(service, encode()).status == 401
        assert explain(service, encode(), authorization="Bearer secret-secret").status == 200
