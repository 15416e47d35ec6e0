"""A model of data-parallel training: time of a step and efficiency for 1 to 1,024 processes on a described cluster.

Assumptions:

- All processes have equal processors and batches. In a step, a process is slow with a given probability, independently
  of the others and of earlier steps; then its whole computation takes longer by a given factor.
- A bucket is a group of gradients that are averaged by one transfer. It is transferred when all processes have computed
  its gradients and the transfer before it has ended. The computation is not slowed down by transfers.
- A transfer is a ring all-reduce (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
  workstations", 2009): for P processes 2 (P - 1) messages in sequence, each of 1/P of the bucket. A message takes the
  latency plus its size divided by the bandwidth. All links are equal and not shared with others.
- In each step, processes wait for the gradients of the others, and for nothing else. Reading images and evaluation are
  not included.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STEPS = 200  # simulated steps per number of processes


@dataclass(frozen=True)
class Network:
    """The time that a message of n bytes takes: `latency` + n / `bandwidth`.

    Attributes:
        latency: seconds.
        bandwidth: bytes per second.
    """

    latency: float
    bandwidth: float

    def all_reduce_seconds(self, count: float, processes: int) -> float:
        """Return the time of an all-reduce of `count` bytes."""
        messages = 2 * (processes - 1)
        return messages * (self.latency + count / processes / self.bandwidth)


@dataclass(frozen=True)
class Cluster:
    """A network, and how often processes are slow.

    Attributes:
        slow_share: probability that a process is slow in a step.
        slowdown: factor on its time.
    """

    name: str
    network: Network
    slow_share: float = 0.0
    slowdown: float = 1.0


@dataclass(frozen=True)
class StepProfile:
    """The step of one process without transfers, in seconds.

    Attributes:
        ready: for each bucket, from the start of the step until its gradients are computed.
        sizes: bytes of each bucket.
        computed: from the start of the step to the end of the backward pass.
        update: the rest of the step.
    """

    ready: Sequence[float]
    sizes: Sequence[int]
    computed: float
    update: float


def step_seconds(profile: StepProfile, cluster: Cluster, processes: int, seed: int = 0) -> float:
    """Return the mean time of `STEPS` simulated steps of `processes` processes."""
    random = np.random.default_rng(seed)
    is_slow = random.random((STEPS, processes)) < cluster.slow_share
    factor = np.where(is_slow.any(1), cluster.slowdown, 1.0)  # of the slowest process in each step
    end = np.zeros(STEPS)
    if processes > 1:
        for ready, size in zip(profile.ready, profile.sizes, strict=True):
            end = np.maximum(end, factor * ready) + cluster.network.all_reduce_seconds(size, processes)
    return float(np.mean(np.maximum(end, factor * profile.computed) + factor * profile.update))


def efficiency(profile: StepProfile, cluster: Cluster, processes: int) -> float:
    """Return the images per second of each process, divided by those of a single process that is never slow."""
    return (profile.computed + profile.update) / step_seconds(profile, cluster, processes)


def read_clusters(file: Path) -> list[Cluster]:
    """Read a table with the columns name, latency_us, gigabit_per_s, slow_share and slowdown."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            Cluster(
                row["name"],
                Network(float(row["latency_us"]) * 1e-6, float(row["gigabit_per_s"]) * 1e9 / 8),
                float(row["slow_share"]),
                float(row["slowdown"]),
            )
            for row in csv.DictReader(lines)
        ]


def fit_network(sizes: Sequence[int], seconds: Sequence[float], processes: int) -> Network:
    """Return the network for which the times of all-reduces agree best with measured ones (least relative squares)."""
    messages = 2 * (processes - 1)
    rows = np.array([[messages, messages * size / processes] for size in sizes])
    times = np.array(seconds)
    latency, per_byte = np.linalg.lstsq(rows / times[:, None], np.ones(len(times)), rcond=None)[0]
    return Network(max(float(latency), 0.0), 1 / max(float(per_byte), 1e-15))
