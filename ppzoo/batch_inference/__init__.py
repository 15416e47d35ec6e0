"""Predictions as a table: rows, output files that can be resumed, class folders, and frames of videos.

This package uses no networks: `builders` predicts, and writes the results to a `TableSession`.
"""

from ppzoo.batch_inference.class_folders import ClassFolders, SortBy
from ppzoo.batch_inference.rows import RowFormat, path_text
from ppzoo.batch_inference.session import Setting, TableSession, check_output
from ppzoo.batch_inference.video import Frame, Video, VideoSource, missing_frames

__all__ = [
    "ClassFolders",
    "Frame",
    "RowFormat",
    "Setting",
    "SortBy",
    "TableSession",
    "Video",
    "VideoSource",
    "check_output",
    "missing_frames",
    "path_text",
]
