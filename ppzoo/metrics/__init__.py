"""Metrics by PaddleClas's names, and metrics per class."""

from ppzoo.metrics import calibration, multi_label, per_class, pulc, top_k  # noqa: F401  (each registers its metrics)
from ppzoo.metrics.base import METRICS, Metric
from ppzoo.metrics.class_recall import ClassRecall, describe_weakest
from ppzoo.metrics.metric_list import MetricList

__all__ = ["METRICS", "ClassRecall", "Metric", "MetricList", "describe_weakest"]
