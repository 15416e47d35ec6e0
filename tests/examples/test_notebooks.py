"""The notebooks in `examples` run from their first to their last cell, and are stored without outputs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
CELL_SECONDS = 900  # on a machine that runs other things, too


def read_cells(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def test_both_notebooks_exist():
    assert [notebook.stem for notebook in NOTEBOOKS] == ["first_run", "own_photos"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_no_outputs_are_stored(notebook):
    for cell in read_cells(notebook):
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_links_lead_to_files(notebook):
    texts = ["".join(cell["source"]) for cell in read_cells(notebook) if cell["cell_type"] == "markdown"]
    for text in texts:
        for part in text.split("](")[1:]:
            assert (EXAMPLES / part.partition(")")[0]).is_file()


@pytest.fixture
def ppzoo_on_path(tmp_path, monkeypatch):
    """Put a command `ppzoo` of this Python on the path, and let the kernel import what this process imports."""
    command = tmp_path / "bin" / "ppzoo"
    command.parent.mkdir()
    code = "import sys; sys.argv[0] = 'ppzoo'; from ppzoo.cli import console; console()"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent), *filter(None, sys.path)]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_cell_runs(notebook, tmp_path, ppzoo_on_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    content = nbformat.read(notebook, as_version=4)
    folder = tmp_path / "work"
    folder.mkdir()
    client = nbclient.NotebookClient(content, timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}})
    client.execute()
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs) + str(outputs[-1])
    assert "predicted" in text or "label_names" in text
