"""Callbacks that report on a run: console and log file, loggers, plots, and the list of unreadable images."""

from ppzoo.report.bad_files import BadFiles
from ppzoo.report.console import Console, duration_text, format_metrics, log_to_console, silence
from ppzoo.report.curves import Curves
from ppzoo.report.loggers import EvaluationRecord
from ppzoo.report.writing import write_lines

__all__ = [
    "BadFiles",
    "Console",
    "Curves",
    "EvaluationRecord",
    "duration_text",
    "format_metrics",
    "log_to_console",
    "silence",
    "write_lines",
]
