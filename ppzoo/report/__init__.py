"""Reports on a run: callbacks for console, log file, loggers, plots and unreadable images; and the HTML pages."""

from ppzoo.report.bad_files import BadFiles
from ppzoo.report.comparison import format_comparison, render_comparison
from ppzoo.report.console import Console, format_metrics
from ppzoo.report.curves import Curves, read_history
from ppzoo.report.json_events import JsonEvents, json_line
from ppzoo.report.log import log_to_console, silence
from ppzoo.report.loggers import EvaluationRecord
from ppzoo.report.lr_plot import draw_range_test, range_test_table
from ppzoo.report.model_card import MODEL_CARD, ModelCard
from ppzoo.report.page import Note, describe_notes, make_note, render_report
from ppzoo.report.profile_table import LayerRow, layers_table, parts_table, reading_table
from ppzoo.report.writing import write_lines

__all__ = [
    "MODEL_CARD",
    "BadFiles",
    "Console",
    "Curves",
    "EvaluationRecord",
    "JsonEvents",
    "LayerRow",
    "ModelCard",
    "Note",
    "describe_notes",
    "draw_range_test",
    "format_comparison",
    "format_metrics",
    "json_line",
    "layers_table",
    "log_to_console",
    "make_note",
    "parts_table",
    "range_test_table",
    "read_history",
    "reading_table",
    "render_comparison",
    "render_report",
    "silence",
    "write_lines",
]
