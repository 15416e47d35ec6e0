"""The model of data-parallel training in `benchmarks/cluster_model.py`."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def model(import_benchmark):
    return import_benchmark("cluster_model")


@pytest.fixture
def profile(model):
    """A step of one second, whose two buckets are computed after 0.4 and 0.9 seconds."""
    return model.StepProfile([0.4, 0.9], [8_000_000, 4_000_000], 0.9, 0.1)


def cluster(model, latency=0.0, bandwidth=float("inf"), **options):
    return model.Cluster("", model.Network(latency, bandwidth), **options)


def test_a_perfect_cluster_scales_perfectly(model, profile):
    for count in (1, 2, 1024):
        assert model.efficiency(profile, cluster(model), count) == pytest.approx(1)


def test_an_all_reduce_is_a_ring(model):
    """For 4 processes: 6 messages of a quarter each."""
    assert model.Network(0.001, 1e6).all_reduce_seconds(4e6, 4) == pytest.approx(6 * (0.001 + 1.0))
    assert model.Network(0.001, 1e6).all_reduce_seconds(4e6, 1) == 0


def test_only_what_the_backward_pass_does_not_hide_costs_time(model, profile):
    # Two processes: the first bucket takes 0.4 s, until 0.8 s; the second 0.2 s, from 0.9 s.
    assert model.step_seconds(profile, cluster(model, bandwidth=20e6), 2) == pytest.approx(0.9 + 0.2 + 0.1)
    # At half the bandwidth the second bucket waits for the first, which takes 0.8 s.
    assert model.step_seconds(profile, cluster(model, bandwidth=10e6), 2) == pytest.approx(0.4 + 0.8 + 0.4 + 0.1)


def test_all_processes_wait_for_the_slowest(model, profile):
    assert model.step_seconds(profile, cluster(model, slow_share=1.0, slowdown=2.0), 8) == pytest.approx(2)
    seconds = [model.step_seconds(profile, cluster(model, slow_share=0.01, slowdown=2.0), n) for n in (1, 16, 1024)]
    expected = [1 + (1 - 0.99**n) for n in (1, 16, 1024)]  # the probability that at least one is slow
    assert seconds == pytest.approx(expected, abs=0.08)


def test_latency_and_bandwidth_are_fitted(model):
    network = model.Network(5e-5, 2e9)
    sizes = [2**10, 2**16, 2**22]
    fitted = model.fit_network(sizes, [network.all_reduce_seconds(size, 3) for size in sizes], 3)
    assert (fitted.latency, fitted.bandwidth) == pytest.approx((5e-5, 2e9))


def test_the_table_of_clusters_is_read(model):
    clusters = {one.name: one for one in model.read_clusters(BENCHMARKS / "clusters.csv")}
    slow = clusters["Ethernet 1 Gbit/s"]
    assert (slow.network.latency, slow.network.bandwidth) == pytest.approx((1e-4, 1.25e8))
    assert len(clusters) == 6
