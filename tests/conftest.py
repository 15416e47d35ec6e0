"""Fixtures of all tests."""

import logging
import os

import pytest
from helpers.browser import browser, check_page  # noqa: F401

# scikit-learn sets this to FALSE unless it is set, and a forked process that uses OpenMP then hangs.
os.environ.setdefault("KMP_INIT_AT_FORK", "TRUE")


@pytest.fixture(autouse=True)
def _bare_logger():
    """Remove the logging handlers that a test has added."""
    yield
    logger = logging.getLogger("ppzoo")
    logger.handlers.clear()
    logger.propagate = True
