"""Fixtures of the tests of reports."""

from helpers.browser import browser as browser
