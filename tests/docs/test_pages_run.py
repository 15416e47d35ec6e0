"""Pages are followed exactly: files are written, commands run, and their output is what the page shows.

Trainings are shortened, numbers in outputs are ignored, and commands that create an environment are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.documents import ROOT, SHELL, read_blocks
from helpers.small_runs import paint_class_folders

PAGES = [
    "howto_loss.md",
    "howto_network.md",
    "howto_transform.md",
    "tutorial_first_run.md",
    "tutorial_from_paddleclas.md",
    "tutorial_own_photos.md",
]
QUICK = "-o Global.epochs=2 -o Global.iter_per_epoch=3 -o Global.use_visualdl=false --device cpu"
PPZOO = "import sys; sys.argv[0] = 'ppzoo'; from ppzoo.cli import console; console()"
SKIPPED = ("python3 -m venv",)
CHANGING = [(r"(by recall: ).*", r"\1"), (r"\d+(?:[.:]\d+)*", "N")]


@pytest.fixture
def environment(tmp_path):
    """An environment whose `ppzoo` and `python` are those of the tests, with short trainings."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, start, command in (("ppzoo", f'{sys.executable} -c "{PPZOO}"', "$1"), ("python", sys.executable, "$2")):
        script = folder / name
        script.write_text(
            f'#!/bin/sh\nif [ "{command}" = train ]; then exec {start} "$@" {QUICK}; fi\nexec {start} "$@"\n'
        )
        script.chmod(0o755)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    changes = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path, "PPZOO_OFFLINE": "1"}
    return {**os.environ, **changes, "TERM": "dumb"}


@pytest.fixture
def folder(tmp_path):
    """The files that readers of the pages have: photos, and a configuration of PaddleClas."""
    work = tmp_path / "work"
    work.mkdir()
    paint_class_folders(work / "photos", ("cat", "dog"), count=12)
    text = (ROOT / "tests" / "fixtures" / "paddleclas_mobilenet_v2_x0_5.yaml").read_text(encoding="utf-8")
    dataset = paint_class_folders(work / "dataset" / "ILSVRC2012", ("cat", "dog"))
    for part in ("train", "val"):
        (dataset / f"{part}_list.txt").write_text("cat/0.png 0\ncat/1.png 0\ndog/0.png 1\ndog/1.png 1\n")
    text = re.sub(r"class_num: 1000", "class_num: 2", re.sub(r"batch_size: \d+", "batch_size: 2", text))
    text = re.sub(r"class_id_map_file: .*", "class_id_map_file: null", re.sub(r"topk: \[1, 5\]", "topk: [1]", text))
    (work / "my_paddleclas.yaml").write_text(text, encoding="utf-8")
    return work


def run(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def follow(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Do what a page says, block by block."""
    output, blocks = "", read_blocks(page)
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        place = f"{page.name}:{block.line}"
        is_error = following is not None and following.text.startswith("error: ")
        named = re.match(r"# (\w+\.(?:py|yaml))\n", block.text)
        if named:
            (folder / named[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            status, output = run([sys.executable, "-c", block.text], folder, environment)
            assert status == 0, f"{place}: {output}"
        elif block.language in SHELL:
            output = ""
            for line in [line for line in block.text.splitlines() if not line.startswith(SKIPPED)]:
                status, printed = run(["bash", "-c", line], folder, environment)
                assert status == (2 if is_error else 0), f"{place}: {line}: {printed}"
                output += printed
        elif block.language == "text":
            missing = plain(block.text) - plain(output)
            assert not missing, f"{place}: {sorted(missing)} are not in\n{output}"


def plain(text: str) -> set[str]:
    """Return the lines of an output without numbers."""
    for pattern, replacement in CHANGING:
        text = re.sub(pattern, replacement, text)
    return {line.strip() for line in text.splitlines() if line.strip()}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_page_can_be_followed(name, folder, environment):
    follow(ROOT / "docs" / name, folder, environment)
    if name == "howto_network.md":
        status, output = run(["ppzoo", "infer", "inference/tinynet", "photos/cat/0.png"], folder, environment)
        assert status == 0 and "photos/cat/0.png: " in output, output


def test_the_network_has_less_than_60_lines():
    blocks = [block for block in read_blocks(ROOT / "docs" / "howto_network.md") if block.language == "python"]
    assert len(blocks[0].text.splitlines()) < 60


def test_a_wrong_output_is_found(tmp_path, environment):
    """The test above can fail."""
    page = tmp_path / "page.md"
    page.write_text("```bash\necho 3 epochs\n```\n\n```text\n4 epochs\n```\n")
    follow(page, tmp_path, environment)
    page.write_text("```bash\necho 3 epochs\n```\n\n```text\n4 steps\n```\n")
    with pytest.raises(AssertionError, match="N steps"):
        follow(page, tmp_path, environment)
    page.write_text("```bash\nfalse\n```\n")
    with pytest.raises(AssertionError, match="false"):
        follow(page, tmp_path, environment)
