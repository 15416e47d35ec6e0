"""The page to drop an image on, in headless Chromium: it shows the classes and loads nothing from elsewhere."""

import base64

import pytest
from helpers.services import LABELS, encode, export_small, run_service

from ppzoo.builders import ExportExplainer

DROP = """
    const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "photo <b>.png", { type: "image/png" }));
    const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.getElementById("drop").dispatchEvent(event);
"""
IS_PREDICTED = "return document.querySelectorAll('#classes li').length === 5"
OVERFLOWS = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"


def show(browser, url, *, width, dark=False):
    browser.logged("browser"), browser.logged("performance")  # discard the messages of the page before
    browser.resize(width)
    browser.emulate(dark=dark)
    browser.driver.get(url)
    browser.wait("return document.readyState === 'complete'")


def assert_local(browser, service):
    assert browser.console() == []
    requests = [url for url in browser.requests() if not url.startswith("blob:")]
    assert requests and all(url.startswith(f"{service.url}/") for url in requests)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_a_dropped_image_is_classified(browser, service, width, dark, tmp_path):
    show(browser, f"{service.url}/", width=width, dark=dark)
    browser.wait("return document.querySelectorAll('#model option').length === 1")
    browser.run(DROP, base64.b64encode(encode()).decode())
    browser.wait(IS_PREDICTED)
    prediction = service.predict(encode()).content["predictions"][0]
    assert browser.texts("#classes li span:first-child") == prediction["label_names"]
    assert browser.texts("#classes li span:last-child") == [f"{100 * score:.1f}%" for score in prediction["scores"]]
    assert "ms in the service" in browser.texts("#status")[0]
    assert "10 classes, images of 32 x 32 pixels" in browser.texts("#about")[0]
    assert "Grad-CAM is not available: the service was started without it" in browser.texts("#overlay-status")
    assert browser.run("return document.getElementById('grad-cam').disabled")
    assert not browser.run(OVERFLOWS)
    browser.driver.save_screenshot(str(tmp_path / f"page-{width}-{dark}.png"))
    assert_local(browser, service)


@pytest.mark.parametrize("width", [1400, 390])
def test_the_overlay_is_drawn_and_switched_off(browser, tmp_path, width):
    folder = export_small(tmp_path / "small", arch=True)
    with run_service({"small": folder}, open_explain=ExportExplainer) as service:
        show(browser, f"{service.url}/", width=width)
        browser.wait("return !document.getElementById('grad-cam').disabled")
        browser.run("document.getElementById('grad-cam').click()")
        browser.run(DROP, base64.b64encode(encode()).decode())
        browser.wait("return document.getElementById('overlay').naturalWidth === 40")
        prediction = service.predict(encode()).content["predictions"][0]
        assert browser.texts("#overlay-status") == [f"Grad-CAM of {prediction['label_names'][0]}"]
        assert browser.run("return document.getElementById('preview').hidden")
        assert not browser.run(OVERFLOWS)
        browser.run("document.getElementById('grad-cam').click()")
        browser.wait("return document.getElementById('overlay').hidden")
        assert not browser.run("return document.getElementById('preview').hidden")
        assert_local(browser, service)


def test_an_unreadable_image_is_reported(browser, service):
    show(browser, f"{service.url}/", width=1400)
    browser.wait("return document.querySelectorAll('#model option').length === 1")
    browser.run(DROP, base64.b64encode(b"no image").decode())
    browser.wait("return document.querySelector('#status.error')")
    assert "not an image" in browser.texts("#status")[0]
    assert browser.texts("#classes li") == []


def test_a_token_is_entered(browser, exported):
    with run_service({"small": exported}, token="secret-secret") as service:
        show(browser, f"{service.url}/", width=1400)
        browser.wait("return !document.getElementById('token-label').hidden")
        browser.find("#token").send_keys("secret-secret\t")
        browser.wait("return document.querySelectorAll('#model option').length === 1")
        browser.run(DROP, base64.b64encode(encode()).decode())
        browser.wait(IS_PREDICTED)
        assert set(browser.texts("#classes li span:first-child")) <= set(LABELS)
        assert_local(browser, service)


@pytest.mark.parametrize("width", [1400, 390])
def test_operations_are_listed(browser, service, width):
    show(browser, f"{service.url}/docs", width=width)
    browser.wait("return document.querySelectorAll('.operation').length > 10")
    assert "POST /v1/models/{name}:predict" in browser.texts(".operation h2")
    assert not browser.run(OVERFLOWS)
    assert_local(browser, service)
