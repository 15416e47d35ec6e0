"""When the compiled code for reading images is used."""

import numpy as np
from helpers.compiled_code import require_compiled_code

from ppzoo.data.compiled import library
from ppzoo.data.compiled.resizing import Resizing, complete_axis, resize


def test_switching_it_off_has_an_effect_at_once_and_can_be_undone(monkeypatch):
    require_compiled_code(monkeypatch)
    monkeypatch.setenv(library.SWITCH, "off")
    library.prepare()
    assert library.loaded_library() is None
    image, resizing = np.zeros((4, 4, 3), np.uint8), Resizing(complete_axis(0, 4, 2), complete_axis(0, 4, 2))
    assert resize(image, resizing) is None
    monkeypatch.delenv(library.SWITCH)
    assert library.loaded_library() is not None


def test_a_process_that_starts_switched_off_can_use_it_later(monkeypatch):
    require_compiled_code(monkeypatch)
    monkeypatch.setattr(library._State, "library", None)
    monkeypatch.setattr(library._State, "is_searched", False)
    monkeypatch.setenv(library.SWITCH, "off")
    library.prepare()
    monkeypatch.delenv(library.SWITCH)
    assert library.loaded_library() is not None
