"""Skip tests whose requirements are not installed."""

from __future__ import annotations

import paddle
import pytest

from ppzoo.installation import release_of


def needs_engine(name: str) -> None:
    """Skip the test unless the engine `name` can run exports here."""
    if name != "paddle":
        pytest.importorskip("onnx", reason=f"needs ppzoo[{name}]")
        pytest.importorskip(name, reason=f"needs ppzoo[{name}]")
        release = release_of(paddle.__version__)
        if not (release and release.onnx_engines):
            pytest.skip(f"exports of PaddlePaddle {paddle.__version__} run only in Paddle Inference")
