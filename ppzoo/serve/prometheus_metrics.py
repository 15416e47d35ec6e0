"""The metrics of the service, in the format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DISCONNECTED = 499  # the status of a request whose client has closed the connection, as in nginx


class Metrics:
    """Counts requests, batches, restarts and reloads; one registry per service."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "ppzoo_requests",
            "Requests by route, model and HTTP status.",
            ["route", "model", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "ppzoo_request_seconds", "Time of a request.", ["route", "model"], buckets=SECONDS, registry=registry
        )
        self.images = Counter("ppzoo_images", "Computed images.", ["model"], registry=registry)
        self.batch_images = Histogram(
            "ppzoo_batch_images", "Images in a batch.", ["model"], buckets=BATCHES, registry=registry
        )
        self.batch_seconds = Histogram(
            "ppzoo_batch_seconds",
            "Time of a batch: decoding and network.",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_images = Gauge("ppzoo_queue_images", "Images that wait.", ["model"], registry=registry)
        self.ready = Gauge("ppzoo_ready", "1 if the model is ready, else 0.", ["model"], registry=registry)
        self.restarts = Counter("ppzoo_engine_restarts", "Restarts of a failed engine.", ["model"], registry=registry)
        self.reloads = Counter("ppzoo_reloads", "Reloads of a changed export.", ["model", "result"], registry=registry)

    def watch_model(self, model: str, queue_length: Callable[[], float], is_ready: Callable[[], float]) -> None:
        """Set the functions that return the current values of a model's gauges."""
        self.queue_images.labels(model).set_function(queue_length)
        self.ready.labels(model).set_function(is_ready)

    def count_batch(self, model: str, images: int, seconds: float) -> None:
        self.images.labels(model).inc(images)
        self.batch_images.labels(model).observe(images)
        self.batch_seconds.labels(model).observe(seconds)

    def count_request(self, route: str, model: str, status: int, started: float) -> None:
        """Count a request that began at `time.perf_counter() == started`."""
        self.requests.labels(route, model, str(status)).inc()
        self.request_seconds.labels(route, model).observe(time.perf_counter() - started)

    def text(self) -> bytes:
        return generate_latest(self.registry)
