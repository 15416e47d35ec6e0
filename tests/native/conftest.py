"""Fixtures that enable the native operators for a test, or disable them."""

from __future__ import annotations

import pytest

from ppzoo import native


@pytest.fixture
def native_on(monkeypatch):
    """Enable the native operators, which are compiled if this machine has no library."""
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    native.set_mode("on")
    yield
    native.set_mode("off")


@pytest.fixture
def native_off(monkeypatch):
    monkeypatch.setenv(native.MODE_VARIABLE, "off")
    native.set_mode()
