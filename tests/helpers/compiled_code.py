"""The compiled code for reading images, in tests that need it."""

from __future__ import annotations

import pytest

from ppzoo.data.compiled import library


def require_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the compiled code, whatever earlier tests of this process did; skip the test where it cannot be compiled."""
    try:
        loaded = library._State.library or library.open_library(compile_missing=True)
    except library.UnavailableError as error:
        pytest.skip(f"no compiled code for reading images: {error}")
    monkeypatch.setattr(library._State, "library", loaded)
    monkeypatch.setattr(library._State, "is_searched", True)
