"""Fixtures of all tests."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _bare_logger():
    """What one test sets up for a console is not there for the next."""
    yield
    logger = logging.getLogger("ppzoo")
    logger.handlers.clear()
    logger.propagate = True
