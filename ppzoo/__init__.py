"""ppzoo: light image classifiers on PaddlePaddle, with PaddleClas's configurations, names and weights.

Importing this package does not import PaddlePaddle; the first use of a name below does.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from ppzoo.installation import require_paddle

__version__ = "0.1.0"

warnings.filterwarnings("ignore", "No ccache found", UserWarning)  # PaddlePaddle warns on import

_DOORS = {
    "create_model": "ppzoo.builders",
    "list_models": "ppzoo.models",
    "load_weights": "ppzoo.builders",
    "Predictor": "ppzoo.predictor",
}
_MODULES = ("builders", "weights")

__all__ = [*_DOORS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _DOORS or name == "builders":
        require_paddle()
    if name in _MODULES:
        return importlib.import_module(f"ppzoo.{name}")
    if name not in _DOORS:
        raise AttributeError(f"module 'ppzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_DOORS[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
