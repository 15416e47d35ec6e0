"""Self-contained HTML pages: the report of a run, and the shell that other pages use."""

from ppzoo.report.page.report import render_report
from ppzoo.report.page.shell import Language, build_page

__all__ = ["Language", "build_page", "render_report"]
