"""The native operators, switched on for a test and off after it."""

from __future__ import annotations

import pytest

from ppzoo import native


@pytest.fixture
def native_on(monkeypatch):
    """Compiles the operators where the machine has not got them yet."""
    monkeypatch.delenv(native.VARIABLE, raising=False)
    native.activate("on")
    yield
    native.activate("off")


@pytest.fixture
def native_off(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "off")
    native.activate()
