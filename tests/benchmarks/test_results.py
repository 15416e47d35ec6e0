"""`benchmarks/results.py` skips what it has measured, and replaces only the table of the page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def results(import_benchmark):
    return import_benchmark("results")


@pytest.fixture
def trained(results, monkeypatch):
    """The runs that were trained; each one only records an accuracy that depends on its seed."""
    runs = []

    def train(run, work):
        runs.append(run)
        return {"top1": 0.8 + run.seed / 100, "seconds": 10.0, "architecture": "LeNet"}

    monkeypatch.setattr(results, "train", train)
    return runs


def run(results, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["results.py", *arguments])
    results.main()


def test_the_warning_about_a_missing_ccache_is_not_shown(results):
    """PaddlePaddle warns when it is imported, unless ppzoo is imported first."""
    code = "import results; print(results.make_table({results.Run('lenet', 1, 1, 'x'): RECORD}, 'en'))"
    code = code.replace("RECORD", "{'top1': 0.5, 'seconds': 1.0, 'architecture': 'LeNet', 'epochs': 1, 'seed': 1}")
    paths = os.pathsep.join([str(results.ROOT), str(results.ROOT / "benchmarks")])
    environment = {**os.environ, "PATH": "/nonexistent", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "PaddlePaddle" in done.stdout and "ccache" not in done.stderr


def test_every_recipe_exists(results):
    for recipe in results.RECIPES:
        assert results.load(recipe)["Global"]["epochs"]


def test_measured_runs_are_skipped(results, trained, monkeypatch, tmp_path, capsys):
    arguments = ["--recipes", "lenet", "--epochs", "1", "--work", str(tmp_path)]
    run(results, monkeypatch, *arguments, "--seeds", "1")
    run(results, monkeypatch, *arguments, "--seeds", "1", "3")
    assert [one.seed for one in trained] == [1, 3]
    assert "| `lenet` | LeNet | 1 | 0.8200 ± 0.0141 | 0.8100 | 0.8300 | 1, 3 | 10 |" in capsys.readouterr().out


def test_runs_of_other_epochs_and_code_are_not_used(results, trained, monkeypatch, tmp_path):
    run(results, monkeypatch, "--recipes", "lenet", "--seeds", "1", "--epochs", "1", "--work", str(tmp_path))
    run(results, monkeypatch, "--recipes", "lenet", "--seeds", "1", "--epochs", "2", "--work", str(tmp_path))
    monkeypatch.setattr(results, "digest_code", lambda: "other")
    run(results, monkeypatch, "--recipes", "lenet", "--seeds", "1", "--epochs", "2", "--work", str(tmp_path))
    assert [one.epochs for one in trained] == [1, 2, 2]


def test_the_teacher_is_trained_before_the_distillation(results):
    assert results.order_recipes(["distillation"]) == ["mobilenet_v2_x0_5", "distillation"]


def test_the_pages_are_written_for_all_recipes_only(results, trained, monkeypatch, tmp_path):
    pages = {language: tmp_path / f"results.{language}.md" for language in results.PAGES}
    for page in pages.values():
        page.write_text(f"head\n{results.BEGIN}\nold\n{results.END}\ntail\n")
    monkeypatch.setattr(results, "PAGES", pages)
    run(results, monkeypatch, "--recipes", "lenet", "--work", str(tmp_path))
    assert all("old" in page.read_text() for page in pages.values())
    run(results, monkeypatch, "--work", str(tmp_path))
    for language, page in pages.items():
        text = page.read_text(encoding="utf-8")
        assert text.startswith("head\n") and text.endswith("tail\n") and "old" not in text
        assert results.HEADERS[language] in text
        assert all(f"| `{recipe}` |" in text for recipe in results.RECIPES)


def test_the_pages_have_the_place_of_the_table(results):
    for page in results.PAGES.values():
        text = page.read_text(encoding="utf-8")
        assert text.count(results.BEGIN) == text.count(results.END) == 1
