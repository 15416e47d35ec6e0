"""Fixtures of the tests of `benchmarks/`."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def import_benchmark(monkeypatch):
    """Import a program of `benchmarks/`, which import each other by their names."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module
