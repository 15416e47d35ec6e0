"""Redraw the pictures of the documentation: `python docs/hooks/pictures.py`.

`docs/pictures.json` records, for each picture, its SHA-256, the files or functions that draw it with the SHA-256 of
each, and the command whose result it shows. `tests/docs/test_pictures.py` fails while this code differs from the
record: the picture is then older than the code.

    python docs/hooks/pictures.py                          # train, and draw all pictures (needs Chromium and selenium)
    python docs/hooks/pictures.py curves.png --runs RUNS   # draw one picture, from runs that exist: RUNS/LeNet, ...
    python docs/hooks/pictures.py curves.png --record      # only record it: the code has changed, but not what it draws
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
RECORD = DOCS / "pictures.json"
REPORT_SIZE, REPORT_SCALE = (1200, 1406), 0.8  # the page in CSS pixels, and pixels of the picture per CSS pixel
PAGE = "ppzoo/report/page"


@dataclass(frozen=True)
class Picture:
    """How a picture is drawn.

    Attributes:
        config: the included configuration that is trained; its run is in the folder `run`.
        sources: the files with the code that draws, or "FILE::FUNCTION".
        draw: a function that draws the picture of a run folder into a file.
    """

    config: str
    run: str
    sources: tuple[str, ...]
    draw: Callable[[Path, Path], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="PICTURE", help=f"default: all ({', '.join(PICTURES)})")
    parser.add_argument("--runs", type=Path, help="folder of finished runs; default: train them now")
    parser.add_argument("--record", action="store_true", help="only record the pictures that exist")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(PICTURES))
    if unknown:
        parser.error(f"PICTURE: expected some of {', '.join(PICTURES)}, got {', '.join(unknown)}")
    names = options.names or list(PICTURES)
    if not options.record:
        draw_all(names, options.runs)
    write_record(names)


def draw_all(names: list[str], runs: Path | None) -> None:
    """Draw the pictures of these names from the runs in a folder; None: train them now."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            picture, folder = PICTURES[name], runs or Path(temporary, "output")
            if runs is None:
                _run("train", "-c", picture.config, "-o", f"Global.output_dir={folder}", "--quiet")
            picture.draw(folder / picture.run, DOCS / name)


def write_record(names: list[str]) -> None:
    """Record the pictures of these names and the code that has drawn them; other entries stay as they are."""
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    new = {name: describe(name) for name in names}
    record = {name: new.get(name, known.get(name)) for name in PICTURES if name in {*new, *known}}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def describe(name: str) -> dict[str, Any]:
    """Return the record of a picture and of the code as they are now."""
    picture = PICTURES[name]
    return {
        "command": f"ppzoo train -c {picture.config}",
        "sha256": _sha256((DOCS / name).read_bytes()),
        "sources": {source: hash_source(source) for source in picture.sources},
    }


def hash_source(source: str) -> str:
    """Return the SHA-256 of a file, or of one function in it ("FILE::FUNCTION")."""
    name, _, function = source.partition("::")
    text = (ROOT / name).read_text(encoding="utf-8")
    if function:
        found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == function]
        if not found:
            raise SystemExit(f"{name}: expected the function {function}; correct PICTURES in docs/hooks/pictures.py")
        text = ast.get_source_segment(text, found[0]) or ""
    return _sha256(text.encode())


def draw_curves(run: Path, target: Path) -> None:
    """Draw the metrics in the history of a run."""
    from ppzoo.report.curves import draw

    lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    draw([json.loads(line) for line in lines], run.name, target)


def draw_report(run: Path, target: Path) -> None:
    """Write the report of a run, and save a screenshot of the first part of its page."""
    from io import BytesIO

    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        _run("report", f"{run.parent.name}/{run.name}", "--output", folder, cwd=run.resolve().parents[1])
        with _open_browser() as driver:
            driver.get((Path(folder) / "report.html").as_uri())
            content = driver.get_screenshot_as_png()
    Image.open(BytesIO(content)).convert("RGB").quantize(64).save(target, optimize=True)


@contextmanager
def _open_browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    width, height = REPORT_SIZE
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": REPORT_SCALE, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()


def _run(name: str, *arguments: str, cwd: Path = ROOT) -> None:
    """Run a command of ppzoo in a separate process, since commands restart their process with other variables."""
    start = "import sys; sys.argv[0] = 'ppzoo'; from ppzoo.cli import console; console()"
    command = [sys.executable, "-c", start, name, *arguments]
    if subprocess.run(command, cwd=cwd, check=False).returncode:
        raise SystemExit(f"ppzoo {name} failed; see its message above")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PICTURES = {
    "curves.png": Picture("mobilenet_v2_x0_5", "MobileNetV2_x0_5", ("ppzoo/report/curves.py::draw",), draw_curves),
    "report.png": Picture(
        "lenet",
        "LeNet",
        tuple(f"{PAGE}/{name}" for name in ("chart.js", "facts.js", "page.css", "page.html", "page.js", "table.js")),
        draw_report,
    ),
}


if __name__ == "__main__":
    main()
