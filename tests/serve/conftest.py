"""Fixtures of a service with a small untrained network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import browser as browser
from helpers.services import Service, export_small, run_service


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("serve") / "small")


@pytest.fixture(scope="module")
def service(exported: Path) -> Iterator[Service]:
    """A service with low limits; the tests of a module share it."""
    limits = {"max_upload": 1 << 20, "max_pixels": 1_000_000, "max_images": 8, "timeout": 2.0, "queue": 16}
    with run_service({"small": exported}, **limits) as running:
        yield running
