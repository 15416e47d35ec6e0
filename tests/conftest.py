"""Puts the shared helpers of the tests within reach."""

import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _bare_logger():
    """What one test sets up for a console is not there for the next."""
    yield
    logger = logging.getLogger("ppzoo")
    logger.handlers.clear()
    logger.propagate = True
