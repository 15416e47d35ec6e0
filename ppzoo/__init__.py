"""Image classification with PaddlePaddle, with PaddleClas's configurations, architecture names and weights.

Importing this package does not import PaddlePaddle; the first use of a name in `__all__` does, except for `Client` and
`weights`.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from ppzoo.installation import require_paddle

__version__ = "0.1.0"

warnings.filterwarnings("ignore", "No ccache found", UserWarning)  # PaddlePaddle emits it on import

_LAZY_NAMES = {
    "Client": "ppzoo.client",
    "create_model": "ppzoo.builders",
    "list_models": "ppzoo.models",
    "load_weights": "ppzoo.builders",
    "Predictor": "ppzoo.predictor",
}
_LAZY_MODULES = ("builders", "explain", "weights")

__all__ = [*_LAZY_NAMES, *_LAZY_MODULES]


def __getattr__(name: str) -> Any:
    if name in {*_LAZY_NAMES, "builders", "explain"} - {"Client"}:
        require_paddle()
    if name in _LAZY_MODULES:
        return importlib.import_module(f"ppzoo.{name}")
    if name not in _LAZY_NAMES:
        raise AttributeError(f"module 'ppzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY_NAMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
