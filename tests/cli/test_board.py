"""`ppzoo board` serves VisualDL with the records of runs, and a browser shows them."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import browser as browser
from helpers.small_runs import paint_class_folders, small_config
from PIL import Image

from ppzoo.cli import main
from ppzoo.report.loggers import LOGGERS, RunStart

ROOT = Path(__file__).parents[2]
CURVES = """
    const isBlue = (data) => data.some((blue, at) => at % 4 == 2 && data[at + 1] > 99 && blue > data[at - 2] + 80);
    const pixels = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return [...document.querySelectorAll("canvas")].filter((canvas) => isBlue(pixels(canvas))).length >= 4;
"""
CARD_TAG = """
    arguments[0].scrollIntoView({ block: "center", behavior: "instant" });
    return arguments[0].querySelector("tb-truncated-path")?.title;
"""
DRAWN = {  # the pages of VisualDL, and a script that returns whether the page is drawn
    "scalar": CURVES,
    "sample/image": "return [...document.images].filter((image) => image.naturalWidth > 200).length == 3",
    "sample/text": "return document.body.innerText.includes('\\n  epochs: 2\\n')",
    "histogram": CURVES,
    "hyper-parameter": "return /LeNet[^]*0\\.0001/.test(document.querySelector('#root, body').innerText)",
    "pr-curve": CURVES,
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The output folder of a run of two epochs with all kinds of records."""
    folder = tmp_path_factory.mktemp("board")
    train(folder, {"epochs": 2, "use_visualdl": True, "log_histograms": 1})
    return folder / "output"


def train(folder, options):
    """Train briefly in a folder, with options of `Global`."""
    paint_class_folders(folder / "images")
    config = small_config(folder, "LeNet")
    config["Global"] |= options
    (folder / "run.yaml").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPZOO_NATIVE", "off")
        assert main(["train", "-c", str(folder / "run.yaml")]) == 0


def start_board(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from ppzoo.cli import console; console()", "board", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@contextmanager
def shown(program, *runs):
    """Show runs with the board, which has to choose `program`, and end it with Ctrl-C, at which it prints nothing."""
    process = start_board(*map(str, runs), "--port", "0")
    line = process.stdout.readline()
    address = re.fullmatch(rf"{program} shows .* at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
    try:
        assert address, (line, process.stderr.read() if process.poll() is not None else "")
        yield address[1]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def board(output):
    with shown("VisualDL", output) as address:
        yield address


def read_json(address):
    with urllib.request.urlopen(address, timeout=30) as response:
        return json.load(response)


def test_events_of_tensorboard_are_shown_by_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    runs = [tmp_path / name for name in ("my run", "猫")]
    for number, run in enumerate(runs):
        run.mkdir()
        logger = LOGGERS["tensorboard"](RunStart(run))
        logger.log_scalars({"step/loss": float(number)}, 0)
        logger.close()
    with shown("TensorBoard", tmp_path) as address:
        wait_for_runs(address, [f"{run.name}/tensorboard" for run in runs])
    with shown("TensorBoard", *runs) as address:
        names = wait_for_runs(address, [f"{str(run).lstrip('/')}/tensorboard" for run in runs])
        tags = read_json(f"{address}data/plugin/scalars/tags")
    assert all("step/loss" in tags[name] for name in names)


def wait_for_runs(address, expected):
    """Wait until TensorBoard, which reads in the background, has all runs; return their names."""
    end = time.monotonic() + 30
    while sorted(found := read_json(f"{address}data/runs")) != sorted(expected):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def test_the_board_serves_the_records_until_it_is_interrupted(board, output):
    found = read_json(f"{board}app/api/scalar/tags")["data"]
    assert found["runs"] == [str(output / "LeNet" / "vdl")]
    assert {"step/loss", "epoch/train/loss", "epoch/eval/top1", "epoch/best/top1"} <= set(found["tags"][0])
    (trial,) = read_json(f"{board}app/api/hparams/list")["data"]
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
        f"error: RUNS: expected records of VisualDL or TensorBoard, found none in {tmp_path}; train with"
        " Global.use_visualdl=True\n"
    )
    assert errors(capsys, str(output), "--port", "70000") == "error: --port: expected 0 to 65535, got 70000\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = f"error: --port: expected a free port, got {port}, which is in use; use --port 0 for a free one\n"
        assert errors(capsys, str(output), "--port", str(port)) == expected
    monkeypatch.chdir(tmp_path)
    assert errors(capsys).endswith("got a path that does not exist: output\n")


def test_tensorboard_that_is_missing_or_cannot_name_the_folders_is_one_line(tmp_path, capsys, monkeypatch):
    folders = [tmp_path / name for name in ("a,b", "c")]
    for folder in folders:
        folder.mkdir()
        (folder / "events.out.tfevents.1.ppzoo").write_bytes(b"")
    assert errors(capsys, *map(str, folders)) == (
        "error: RUNS: expected one folder, or folders without ',' and ':' in their paths, for TensorBoard\n"
    )
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    message = errors(capsys, str(tmp_path))
    assert message.startswith(f"error: board: {tmp_path} has only events of TensorBoard, which cannot be imported (")
    assert message.endswith(
        "); run `pip install 'ppzoo[tensorboard]'` (in a clone: `pip install -e '.[tensorboard]'`)\n"
    )


def test_a_missing_visualdl_is_one_line(output, capsys, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "visualdl"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "visualdl", None)
    message = errors(capsys, str(output))
    assert message.startswith("error: board: VisualDL cannot be imported (")
    assert message.endswith("); run `pip install visualdl`\n")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_a_browser_shows_every_page(board, browser, width):
    browser.resize(width, mobile=width < 500)
    browser.console(), browser.requests()  # discard those of other pages
    try:
        for page, drawn in DRAWN.items():
            browser.driver.get(f"{board}app/{page}")
            browser.wait(drawn)
            if shots := os.environ.get("PPZOO_TEST_SCREENSHOTS"):
                browser.driver.save_screenshot(f"{shots}/{page.replace('/', '-')}_{width}.png")
            assert browser.run("return document.documentElement.clientWidth") >= 1200  # nothing overlaps
    finally:
        browser.resize(1400)
    messages = [entry["message"] for entry in browser.logged("browser") if entry["level"] == "SEVERE"]
    assert not messages  # VisualDL itself logs at the level INFO
    assert not [url for url in browser.requests() if not url.startswith((board, "blob:"))]


@pytest.mark.slow
def test_a_browser_shows_the_scalars_of_a_run_with_tensorboard(tmp_path, browser):
    pytest.importorskip("tensorboard", reason="needs ppzoo[tensorboard]")
    from selenium.webdriver.support.wait import WebDriverWait

    train(tmp_path, {"epochs": 2, "use_visualdl": False, "loggers": ["tensorboard"]})
    last = json.loads((tmp_path / "output/LeNet/history.jsonl").read_text().splitlines()[-1])
    parts = {"epoch/train/": last["train"], "epoch/eval/": last["eval"]}
    expected = {f"{part}{name}": value for part, metrics in parts.items() for name, value in metrics.items()}
    assert {"epoch/train/loss", "epoch/eval/loss", "epoch/eval/top1"} <= expected.keys()
    expected |= {"epoch/best/top1": None, "step/loss": None}
    browser.resize(1400)
    with shown("TensorBoard", tmp_path / "output") as address:
        wait_for_runs(address, ["LeNet/tensorboard"])
        browser.console(), browser.requests()  # discard those of other pages
        browser.driver.get(f"{address}#timeseries")
        browser.wait("return document.querySelector('card-view')")
        for card in browser.driver.find_elements("css selector", "card-view"):
            tag = browser.wait(CARD_TAG, card)  # drawn when it is scrolled into the window
            if tag not in expected:
                continue
            value = expected.pop(tag)
            text = browser.wait("return arguments[0].innerText.includes('Smoothed') && arguments[0].innerText", card)
            assert value is None or f"{value:.4g}" in text.split(), (tag, value, text)
            WebDriverWait(browser.driver, 30).until(lambda _, card=card: has_curve(card))
        assert not expected
        assert not [entry for entry in browser.logged("browser") if entry["level"] == "SEVERE"]
        assert not [url for url in browser.requests() if not url.startswith((address, "blob:"))]


def has_curve(card):
    """Return whether a card of TensorBoard has a curve: it is blue, while the grid and the labels are gray."""
    with Image.open(io.BytesIO(card.find_element("css selector", ".series-view").screenshot_as_png)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return (pixels[..., 2] - pixels[..., 0] > 20).sum() > 50
