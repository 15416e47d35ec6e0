"""Transfers between processes, merged metrics, signals and the peer watchdog, tested within one process."""

import json
import os
import queue
import signal
import socket
import threading
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppzoo.cli import main
from ppzoo.engine import SINGLE_PROCESS, ProcessGroup, evaluate, peer_watchdog, share_files
from ppzoo.engine.peer_watchdog import PeerWatchdog
from ppzoo.engine.running_metrics import RunningMetrics, mean_losses
from ppzoo.engine.signals import StopSignals
from ppzoo.errors import DataError, TrainingError
from ppzoo.layers.sync_norm import combine_moments
from ppzoo.losses import LOSSES, CombinedLoss
from ppzoo.metrics import METRICS, MetricList


class FakeGroup(ProcessGroup):
    """One of several processes, whose transfers return a given value and record what they were given."""

    def __init__(self, rank, size, received=None):
        self.rank, self.size, self.received = rank, size, received

    def all_gather(self, value):
        self.sent = value
        return self.received or [value]

    def broadcast_object(self, value):
        self.sent = value
        return self.received if self.rank else value


def batches(count, size, rest):
    random = np.random.default_rng(3)
    for samples in [size] * count + [rest]:
        images = paddle.to_tensor(random.standard_normal((samples, 6)).astype("float32"))
        yield SimpleNamespace(images=images, labels=paddle.to_tensor(random.integers(0, 3, samples)))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_evaluation_by_several_processes_is_bit_identical(size):
    paddle.seed(1)
    network, loss = paddle.nn.Linear(6, 3), CombinedLoss([(LOSSES["CELoss"](), 1.0)])
    data = list(batches(6, 5, 2))

    def metric():
        return MetricList([METRICS["TopkAcc"](topk=[1, 2]), METRICS["AveragePrecision"]()])

    expected = evaluate(network, data, loss, metric())
    shares = [FakeGroup(rank, size) for rank in range(size)]
    for share in shares:
        if data[share.rank :: size]:
            evaluate(network, data[share.rank :: size], loss, metric(), share)
        else:  # more processes than batches
            share.sent = ([], metric().state())
    reference = FakeGroup(0, size, [share.sent for share in shares])
    assert evaluate(network, data[::size], loss, metric(), reference) == expected


CLASS_WEIGHTS = [0.0, 0.3, 5.0]
WEIGHED = {
    "class weights": [("CELoss", {"class_weights": CLASS_WEIGHTS})],
    "smoothed": [("CELoss", {"class_weights": CLASS_WEIGHTS, "epsilon": 0.1})],
    "focal": [("FocalLoss", {"class_weights": CLASS_WEIGHTS})],
    "two losses": [("CELoss", {"class_weights": CLASS_WEIGHTS}), ("PolyLoss", {})],
    "unknown labels": [("MultiLabelLoss", {})],
    "unknown labels, summed": [("MultiLabelLoss", {"size_sum": True})],
}


@pytest.mark.parametrize("name", WEIGHED)
def test_the_evaluation_loss_does_not_depend_on_the_batch_size(name):
    paddle.seed(1)
    network, random = paddle.nn.Linear(6, 3), np.random.default_rng(1)
    images = random.standard_normal((24, 6)).astype("float32")
    labels = np.sort(random.integers(0, 3, 24))  # the first batches have only class 0, of weight 0
    if "unknown" in name:
        labels = random.integers(-1, 2, (24, 3)).astype("float32")
        labels[:5] = -1
    loss = CombinedLoss([(LOSSES[kind](**options), 0.5) for kind, options in WEIGHED[name]])

    def evaluate_in_batches(size):
        tensors = [[paddle.to_tensor(v[i : i + size]) for v in (images, labels)] for i in range(0, 24, size)]
        data = [SimpleNamespace(images=image, labels=label) for image, label in tensors]
        return evaluate(network, data, loss, MetricList([]))["loss"]

    assert [evaluate_in_batches(size) for size in (1, 3, 7)] == pytest.approx([evaluate_in_batches(24)] * 3, rel=1e-6)
    with paddle.no_grad():
        reference = loss(network(paddle.to_tensor(images)), paddle.to_tensor(labels))["loss"]
    assert evaluate_in_batches(24) == pytest.approx(float(reference), rel=1e-6)


def test_an_evaluation_with_only_ignored_labels_is_an_error():
    network = paddle.nn.Linear(6, 3)
    images = paddle.randn([4, 6])
    without_weight = SimpleNamespace(images=images, labels=paddle.zeros([4], "int64"))
    loss = CombinedLoss([(LOSSES["CELoss"](class_weights=[0.0, 1.0, 1.0]), 1.0)])
    with pytest.raises(DataError, match=r"^loss: expected evaluation data with known labels of classes with a weight"):
        evaluate(network, [without_weight], loss, MetricList([]))
    assert network.training
    unknown = SimpleNamespace(images=images, labels=paddle.full([4, 3], -1.0))
    loss = CombinedLoss([(LOSSES["MultiLabelLoss"](weight_ratio=False), 1.0)])
    with pytest.raises(DataError, match=r"^loss: expected evaluation data"):
        evaluate(network, [unknown], loss, MetricList([METRICS["HammingDistance"]()]))


def test_a_network_is_in_training_mode_after_a_failed_evaluation():
    network = paddle.nn.Linear(6, 3)
    images = SimpleNamespace(
        images=paddle.full([4, 6], float("nan")), labels=paddle.zeros([4], "int64"), indices=range(4)
    )
    with pytest.raises(TrainingError, match="image 0"):
        evaluate(network, [images], CombinedLoss([(LOSSES["CELoss"](), 1.0)]), MetricList([]))
    assert network.training


def test_running_metrics_count_every_image_once():
    random = np.random.default_rng(0)
    scores, labels = random.standard_normal((9, 4)).astype("float32"), random.integers(0, 4, 9)

    def batch_stats(metrics, rows, loss):
        return metrics.batch_stats({"loss": loss}, paddle.to_tensor(scores[rows]), paddle.to_tensor(labels[rows]))

    def make_metrics():
        return RunningMetrics(MetricList([METRICS["TopkAcc"](topk=[1])]))

    one, two = make_metrics(), make_metrics()
    one.update([batch_stats(one, slice(0, 9), (6 * 1.5 + 3 * 0.75) / 9)])
    parts = [batch_stats(two, slice(0, 6), 1.5), batch_stats(two, slice(6, 9), 0.75)]
    two.update(parts)
    assert two.compute() == pytest.approx(one.compute(), rel=1e-15)
    assert mean_losses(parts) == {"loss": 1.25}


def test_transfers_of_a_single_process_return_its_values():
    loss = paddle.to_tensor(2.0)
    assert SINGLE_PROCESS.all_gather("a") == ["a"]
    assert (
        SINGLE_PROCESS.broadcast_object(3),
        SINGLE_PROCESS.all_reduce_max(4),
        SINGLE_PROCESS.is_main,
        SINGLE_PROCESS.size,
    ) == (
        3,
        4,
        True,
        1,
    )
    assert SINGLE_PROCESS.all_gather_lists([]) == [] and SINGLE_PROCESS.all_gather_lists([1, 2]) == [1, 2]
    assert SINGLE_PROCESS.weigh_loss(loss, 8, 8) is loss


def test_combined_moments_of_uneven_parts_are_exact():
    values = np.random.default_rng(2).standard_normal((30, 4)) * 3 + 50
    parts = [values[:4], values[4:19], values[19:]]
    rows = [[[len(p)] for p in parts], [p.mean(0) for p in parts], [((p - p.mean(0)) ** 2).sum(0) for p in parts]]
    mean, variance = combine_moments(*(paddle.to_tensor(np.array(row, "float64")) for row in rows))
    np.testing.assert_allclose(mean.numpy(), values.mean(0), rtol=1e-13)
    np.testing.assert_allclose(variance.numpy(), values.var(0), rtol=1e-12)


@pytest.mark.parametrize("name", ["latest", "latest.pdparams"])
def test_other_processes_get_copies_of_the_files_of_a_checkpoint(tmp_path, name):
    for suffix in (".pdparams", ".pdopt", ".manifest"):
        (tmp_path / f"latest{suffix}").write_text(suffix)
    (tmp_path / "epoch_1.pdopt").write_text("another")
    first = FakeGroup(0, 2)
    with share_files(first, tmp_path / name) as prefix:
        assert prefix == tmp_path / name
    with share_files(FakeGroup(1, 2, first.sent), tmp_path / "not here" / name) as prefix:
        copies = {file.name: file.read_text() for file in prefix.parent.iterdir()}
        assert copies == {f"latest{suffix}": suffix for suffix in (".pdparams", ".pdopt", ".manifest")}
        assert prefix.name == name
    assert not prefix.parent.exists()


def test_commands_other_than_training_and_evaluation_refuse_several_processes(monkeypatch, capsys):
    for name, value in {
        "PADDLE_TRAINERS_NUM": "2",
        "PADDLE_TRAINER_ID": "0",
        "PADDLE_TRAINER_ENDPOINTS": "127.0.0.1:6070,127.0.0.1:6071",
        "PADDLE_CURRENT_ENDPOINT": "127.0.0.1:6070",
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["models"]) == 2
    assert (
        capsys.readouterr().err == "error: models: expected one process; start it without paddle.distributed.launch\n"
    )


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_repeated_signals_of_the_launcher_are_one_request(handlers):
    with StopSignals(launched=True) as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)  # while the process ends


def test_a_signal_of_the_launcher_does_not_interrupt_an_error(handlers):
    with pytest.raises(DataError), StopSignals(launched=True):
        raise DataError("x.png is broken")
    os.kill(os.getpid(), signal.SIGTERM)


def connect(size, monkeypatch, grace=60.0):
    """Return the watchdogs of `size` processes, which are simulated by threads."""
    monkeypatch.setattr(peer_watchdog, "GRACE_PERIOD", grace)
    addresses, watchdogs = queue.Queue(), [None] * size

    def broadcast(value):
        if value is None:
            return addresses.get(timeout=10)
        for _ in range(size - 1):
            addresses.put(value)
        return value

    def make(rank):
        watchdogs[rank] = PeerWatchdog(rank, size, broadcast, "127.0.0.1")

    threads = [threading.Thread(target=make, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return watchdogs


def test_a_failure_is_broadcast_to_all(monkeypatch):
    first, second, third = connect(3, monkeypatch)
    second.broadcast_failure(DataError("x.png is broken\nand more"))
    for watchdog in (first, third):
        failure = watchdog.wait_for_failure(5)
        assert str(failure) == "process 1 of 3 failed: x.png is broken\\nand more"
        assert failure.exit_status == DataError.exit_status
    for watchdog in (first, second, third):
        watchdog.close()


def test_a_failure_that_arrives_together_with_the_connection_is_reported():
    def broadcast(value):
        host, port, secret = value
        messages = {"secret": secret, "rank": 1}, {"failed": "process 1 of 2 failed: no images", "status": 2}
        with socket.create_connection((host, port)) as peer:
            peer.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        return value

    watchdog = PeerWatchdog(0, 2, broadcast, "127.0.0.1")
    failure = watchdog.wait_for_failure(5)
    watchdog.close()
    assert (str(failure), failure.exit_status) == ("process 1 of 2 failed: no images", 2)


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_a_process_that_disappears_is_detected_by_all(monkeypatch, killed):
    watchdogs = connect(3, monkeypatch)
    victim = watchdogs.pop(killed)
    victim._closed = True  # it does not end this process
    for connection in victim._connections.values():
        connection.shutdown(2)
    for watchdog in watchdogs:
        failure = watchdog.wait_for_failure(5)
        assert str(failure).startswith(f"process {killed} of 3 disappeared (killed, or out of memory?)")
        assert failure.exit_status == 1
        watchdog.close()


def test_a_process_that_ends_normally_is_no_failure(monkeypatch):
    first, second = connect(2, monkeypatch)
    second.close()
    assert first.wait_for_failure(0.5) is None
    first.close()


def test_a_blocked_process_is_ended_after_a_failure(monkeypatch, capfd):
    ended = queue.Queue()
    monkeypatch.setattr(os, "_exit", ended.put)
    first, second = connect(2, monkeypatch, grace=0.1)
    second.broadcast_failure(DataError("x.png is broken"))
    assert ended.get(timeout=5) == DataError.exit_status
    assert capfd.readouterr().err == "error: process 1 of 2 failed: x.png is broken\n"
    first.close()
