"""Observers that show a training: console and log, VisualDL scalars, curves, the list of bad images."""

from ppzoo.report.bad_files import BadFiles
from ppzoo.report.console import Console, duration_text, figures_text, hush, log_to_console
from ppzoo.report.curves import Curves
from ppzoo.report.scalars import Scalars
from ppzoo.report.writing import write_lines

__all__ = [
    "BadFiles",
    "Console",
    "Curves",
    "Scalars",
    "duration_text",
    "figures_text",
    "hush",
    "log_to_console",
    "write_lines",
]
