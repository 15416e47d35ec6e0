"""`ppzoo board` serves VisualDL with the records of runs, and a browser shows them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from helpers.small_runs import paint_class_folders, small_config

from ppzoo.cli import main

ROOT = Path(__file__).parents[2]
CHROMIUM, CHROMEDRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
CURVES = """
    const isBlue = (data) => data.some((blue, at) => at % 4 == 2 && data[at + 1] > 99 && blue > data[at - 2] + 80);
    const pixels = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return [...document.querySelectorAll("canvas")].filter((canvas) => isBlue(pixels(canvas))).length >= 4;
"""
DRAWN = {  # the pages of VisualDL, and what is there when they are drawn
    "scalar": CURVES,
    "sample/image": "return [...document.images].filter((image) => image.naturalWidth > 200).length == 3",
    "sample/text": "return document.body.innerText.includes('\\n  epochs: 2\\n')",
    "histogram": "return document.querySelectorAll('canvas').length >= 4",
    "hyper-parameter": "return /LeNet[^]*0\\.0001/.test(document.querySelector('#root, body').innerText)",
    "pr-curve": CURVES,
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The output folder of a run of two epochs with all kinds of records."""
    folder = tmp_path_factory.mktemp("board")
    paint_class_folders(folder / "images")
    config = small_config(folder, "LeNet")
    config["Global"] |= {"epochs": 2, "use_visualdl": True, "log_histograms": 1}
    (folder / "run.yaml").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPZOO_NATIVE", "off")
        assert main(["train", "-c", str(folder / "run.yaml")]) == 0
    return folder / "output"


def start_board(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from ppzoo.cli import console; console()", "board", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def board(output):
    """A board of the run; ended with Ctrl-C, silently."""
    process = start_board(str(output), "--port", "0")
    line = process.stdout.readline()
    address = re.fullmatch(r"VisualDL shows .* at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
    try:
        assert address, (line, process.stderr.read() if process.poll() is not None else "")
        yield address[1]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_the_board_serves_the_records_until_it_is_interrupted(board, output):
    with urllib.request.urlopen(f"{board}app/api/scalar/tags", timeout=30) as response:
        found = json.load(response)["data"]
    assert found["runs"] == [str(output / "LeNet" / "vdl")]
    assert {"step/loss", "epoch/train/loss", "epoch/eval/top1", "epoch/best/top1"} <= set(found["tags"][0])
    with urllib.request.urlopen(f"{board}app/api/hparams/list", timeout=30) as response:
        (trial,) = json.load(response)["data"]
    assert trial["hparams"]["Optimizer/lr/learning_rate"] == 0.0001
    assert set(trial["metrics"]) == {"epoch/best/top1", "epoch/eval/top1", "epoch/eval/loss", "epoch/train/loss"}
    assert None not in trial["metrics"].values()


def errors(capsys, *arguments):
    assert main(["board", *arguments]) == 2
    return capsys.readouterr().err


def test_mistakes_are_reported_in_one_line(output, tmp_path, capsys, monkeypatch):
    assert errors(capsys, str(tmp_path / "none")) == (
        "error: RUNS: expected folders of runs, such as output/LeNet, got a path that does not exist:"
        f" {tmp_path / 'none'}\n"
    )
    assert errors(capsys, str(tmp_path)) == (
        f"error: RUNS: expected records of VisualDL, got {tmp_path} without any; train with Global.use_visualdl=True\n"
    )
    assert errors(capsys, str(output), "--port", "70000") == "error: --port: expected 0 to 65535, got 70000\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = f"error: --port: expected a free port, got {port}, which is in use; use --port 0 for a free one\n"
        assert errors(capsys, str(output), "--port", str(port)) == expected
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "events.out.tfevents.1.ppzoo").write_bytes(b"")
    assert errors(capsys, str(tmp_path / "my run")).endswith(
        f"with events of TensorBoard; use `tensorboard --logdir '{tmp_path / 'my run'}'`\n"
    )
    monkeypatch.chdir(tmp_path)
    assert errors(capsys).endswith("got a path that does not exist: output\n")


def test_a_missing_visualdl_is_one_line(output, capsys, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "visualdl"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "visualdl", None)
    message = errors(capsys, str(output))
    assert message.startswith("error: board: VisualDL cannot be imported (")
    assert message.endswith("); install it with pip install visualdl\n")


def open_browser(width):
    if not (shutil.which(CHROMIUM) and shutil.which(CHROMEDRIVER)):
        pytest.skip(f"needs {CHROMIUM} and {CHROMEDRIVER}")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},1100"):
        options.add_argument(option)
    if width < 500:
        metrics = {"width": width, "height": 844, "pixelRatio": 1}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_a_browser_shows_every_page(board, width):
    driver = open_browser(width)
    try:
        from selenium.webdriver.support.wait import WebDriverWait

        for page, drawn in DRAWN.items():
            driver.get(f"{board}app/{page}")
            WebDriverWait(driver, 60).until(lambda driver, script=drawn: driver.execute_script(script), page)
            if shots := os.environ.get("PPZOO_TEST_SCREENSHOTS"):
                driver.save_screenshot(f"{shots}/{page.replace('/', '-')}_{width}.png")
            assert driver.execute_script("return document.documentElement.clientWidth") >= 1200  # nothing overlaps
        messages = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert not messages  # VisualDL itself logs at the level INFO
        events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
        assert not [url for url in urls if not url.startswith((board, "data:", "blob:"))]
    finally:
        driver.quit()
