"""Self-contained HTML pages: the report of a run, and the shell that other pages use."""

from ppzoo.report.page.notes import Note, describe_notes, make_note
from ppzoo.report.page.report import render_report
from ppzoo.report.page.shell import Language, build_page, read_texts

__all__ = ["Language", "Note", "build_page", "describe_notes", "make_note", "read_texts", "render_report"]
