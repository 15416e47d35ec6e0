"""Fixtures of the tests of `benchmarks/`."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def import_benchmark(monkeypatch):
    """Return a function that imports a program of `benchmarks/` by its name, as these programs import each other."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module
