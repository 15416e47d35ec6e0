"""Callbacks that report on a run: console and log file, VisualDL scalars, plots, and the list of unreadable images."""

from ppzoo.report.bad_files import BadFiles
from ppzoo.report.console import Console, duration_text, format_metrics, log_to_console, silence
from ppzoo.report.curves import Curves
from ppzoo.report.lr_plot import draw_range_test, range_test_table
from ppzoo.report.profile_table import LayerRow, layers_table, parts_table, reading_table
from ppzoo.report.scalars import Scalars
from ppzoo.report.writing import write_lines

__all__ = [
    "BadFiles",
    "Console",
    "Curves",
    "LayerRow",
    "Scalars",
    "draw_range_test",
    "duration_text",
    "format_metrics",
    "layers_table",
    "log_to_console",
    "parts_table",
    "range_test_table",
    "reading_table",
    "silence",
    "write_lines",
]
