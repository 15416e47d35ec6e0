"""The page of a report: loss, metrics, mistakes and calibration of one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppzoo.report.page.shell import Language, build_page

SCRIPTS = ("quality.js", "confidence.js", "matrix_canvas.js", "matrix.js", "images.js", "facts.js", "report.js")


def render_report(report: Mapping[str, Any], language: Language = "en") -> str:
    """Return a report as one HTML file that requests nothing from a network or a disk.

    Args:
        report: the content of `report.json`, version 1. Sections that are None are skipped.
        language: language of the page: "en" or "zh". Names of classes and files stay as they are.

    Raises:
        ValueError: the report has another version, or the language is unknown.
    """
    if report["version"] != 1:
        raise ValueError(f"report: expected version 1, got {report['version']!r}")
    return build_page(str(report["title"]), language, SCRIPTS, report)
