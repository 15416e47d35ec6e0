"""Loggers record a run for VisualDL, TensorBoard or another program; docs/logging.md describes what is logged."""

from ppzoo.report.loggers.base import EPOCH, LOGGERS, RUN, STEP, Logger, PRCurve, RunStart
from ppzoo.report.loggers.evaluation_record import EvaluationRecord
from ppzoo.report.loggers.group import LoggerGroup, check_logger_names
from ppzoo.report.loggers.run_logger import RunDescription, RunLogger
from ppzoo.report.loggers.tensorboard import TensorBoardLogger
from ppzoo.report.loggers.visualdl import VisualDLLogger

__all__ = [
    "EPOCH",
    "LOGGERS",
    "RUN",
    "STEP",
    "EvaluationRecord",
    "Logger",
    "LoggerGroup",
    "PRCurve",
    "RunDescription",
    "RunLogger",
    "RunStart",
    "TensorBoardLogger",
    "VisualDLLogger",
    "check_logger_names",
]
