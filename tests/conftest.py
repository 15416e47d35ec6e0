"""Fixtures of all tests."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _bare_logger():
    """Remove the logging handlers that a test has added."""
    yield
    logger = logging.getLogger("ppzoo")
    logger.handlers.clear()
    logger.propagate = True
