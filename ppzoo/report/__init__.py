"""Callbacks that report on a run: console and log file, loggers, plots, and the list of unreadable images.

Also the page that shows a report.
"""

from ppzoo.report.bad_files import BadFiles
from ppzoo.report.console import Console, format_metrics
from ppzoo.report.curves import Curves
from ppzoo.report.json_events import JsonEvents, json_line
from ppzoo.report.log import log_to_console, silence
from ppzoo.report.loggers import EvaluationRecord
from ppzoo.report.page import render_report
from ppzoo.report.writing import write_lines

__all__ = [
    "BadFiles",
    "Console",
    "Curves",
    "EvaluationRecord",
    "JsonEvents",
    "format_metrics",
    "json_line",
    "log_to_console",
    "render_report",
    "silence",
    "write_lines",
]
