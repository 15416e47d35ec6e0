"""What several processes share and merge, and how each hears of another one's end, all of it within one process."""

import os
import queue
import signal
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
from ppzoo.errors import DataError
from ppzoo.layers.sync_norm import combine_moments
from ppzoo.losses import LOSSES, CombinedLoss
from ppzoo.metrics import METRICS, MetricList


class Other(ProcessGroup):
    """One of several processes, whose transfers answer what was put in before, and keep what they were given."""

    def __init__(self, rank, size, answer=None):
        self.rank, self.size, self.answer = rank, size, answer

    def all_gather(self, value):
        self.given = value
        return self.answer or [value]

    def broadcast_object(self, value):
        self.given = value
        return self.answer if self.rank else value


def batches(count, size, rest):
    random = np.random.default_rng(3)
    for samples in [size] * count + [rest]:
        images = paddle.to_tensor(random.standard_normal((samples, 6)).astype("float32"))
        yield SimpleNamespace(images=images, labels=paddle.to_tensor(random.integers(0, 3, samples)))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_any_number_of_processes_answers_the_figures_of_one_to_the_last_bit(size):
    paddle.seed(1)
    network, loss = paddle.nn.Linear(6, 3), CombinedLoss([(LOSSES["CELoss"](), 1.0)])
    data = list(batches(6, 5, 2))

    def metric():
        return MetricList([METRICS["TopkAcc"](topk=[1, 2]), METRICS["AveragePrecision"]()])

    expected = evaluate(network, data, loss, metric())
    shares = [Other(rank, size) for rank in range(size)]
    for share in shares:
        if data[share.rank :: size]:
            evaluate(network, data[share.rank :: size], loss, metric(), share)
        else:  # more processes than batches
            share.given = ([], metric().state())
    whole = Other(0, size, [share.given for share in shares])
    assert evaluate(network, data[::size], loss, metric(), whole) == expected


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
def test_the_loss_of_an_evaluation_does_not_depend_on_the_batches(name):
    paddle.seed(1)
    network, random = paddle.nn.Linear(6, 3), np.random.default_rng(1)
    images = random.standard_normal((24, 6)).astype("float32")
    labels = np.sort(random.integers(0, 3, 24))  # the first batches are of class 0 alone, which has no weight
    if "unknown" in name:
        labels = random.integers(-1, 2, (24, 3)).astype("float32")
        labels[:5] = -1
    loss = CombinedLoss([(LOSSES[kind](**options), 0.5) for kind, options in WEIGHED[name]])

    def of(size):
        tensors = [[paddle.to_tensor(v[i : i + size]) for v in (images, labels)] for i in range(0, 24, size)]
        data = [SimpleNamespace(images=image, labels=label) for image, label in tensors]
        return evaluate(network, data, loss, MetricList([]))["loss"]

    assert [of(size) for size in (1, 3, 7)] == pytest.approx([of(24)] * 3, rel=1e-6)
    with paddle.no_grad():
        whole = loss(network(paddle.to_tensor(images)), paddle.to_tensor(labels))["loss"]
    assert of(24) == pytest.approx(float(whole), rel=1e-6)


def test_an_evaluation_of_which_no_label_counts_is_an_error():
    network = paddle.nn.Linear(6, 3)
    images = paddle.randn([4, 6])
    without_weight = SimpleNamespace(images=images, labels=paddle.zeros([4], "int64"))
    loss = CombinedLoss([(LOSSES["CELoss"](class_weights=[0.0, 1.0, 1.0]), 1.0)])
    with pytest.raises(DataError, match=r"^loss: expected evaluation data with a label that counts"):
        evaluate(network, [without_weight], loss, MetricList([]))
    unknown = SimpleNamespace(images=images, labels=paddle.full([4, 3], -1.0))
    loss = CombinedLoss([(LOSSES["MultiLabelLoss"](weight_ratio=False), 1.0)])
    with pytest.raises(DataError, match=r"^loss: expected evaluation data"):
        evaluate(network, [unknown], loss, MetricList([METRICS["HammingDistance"]()]))


def test_losses_and_metrics_of_a_step_count_every_image_once():
    random = np.random.default_rng(0)
    scores, labels = random.standard_normal((9, 4)).astype("float32"), random.integers(0, 4, 9)

    def part(tally, rows, loss):
        return tally.batch_stats({"loss": loss}, paddle.to_tensor(scores[rows]), paddle.to_tensor(labels[rows]))

    def tally():
        return RunningMetrics(MetricList([METRICS["TopkAcc"](topk=[1])]))

    one, two = tally(), tally()
    one.update([part(one, slice(0, 9), (6 * 1.5 + 3 * 0.75) / 9)])
    parts = [part(two, slice(0, 6), 1.5), part(two, slice(6, 9), 0.75)]
    two.update(parts)
    assert two.compute() == pytest.approx(one.compute(), rel=1e-15)
    assert mean_losses(parts) == {"loss": 1.25}


def test_a_single_process_is_given_back_what_it_gave():
    loss = paddle.to_tensor(2.0)
    assert SINGLE_PROCESS.all_gather("a") == ["a"]
    assert (SINGLE_PROCESS.broadcast_object(3), SINGLE_PROCESS.all_reduce_max(4), SINGLE_PROCESS.is_main, SINGLE_PROCESS.size) == (
        3,
        4,
        True,
        1,
    )
    assert SINGLE_PROCESS.all_gather_lists([]) == [] and SINGLE_PROCESS.all_gather_lists([1, 2]) == [1, 2]
    assert SINGLE_PROCESS.weigh_loss(loss, 8, 8) is loss


def test_moments_of_uneven_parts_are_those_of_the_whole():
    values = np.random.default_rng(2).standard_normal((30, 4)) * 3 + 50
    parts = [values[:4], values[4:19], values[19:]]
    rows = [[[len(p)] for p in parts], [p.mean(0) for p in parts], [((p - p.mean(0)) ** 2).sum(0) for p in parts]]
    mean, variance = combine_moments(*(paddle.to_tensor(np.array(row, "float64")) for row in rows))
    np.testing.assert_allclose(mean.numpy(), values.mean(0), rtol=1e-13)
    np.testing.assert_allclose(variance.numpy(), values.var(0), rtol=1e-12)


@pytest.mark.parametrize("name", ["latest", "latest.pdparams"])
def test_other_processes_get_copies_of_a_checkpoints_files(tmp_path, name):
    for suffix in (".pdparams", ".pdopt", ".manifest"):
        (tmp_path / f"latest{suffix}").write_text(suffix)
    (tmp_path / "epoch_1.pdopt").write_text("another")
    first = Other(0, 2)
    with share_files(first, tmp_path / name) as prefix:
        assert prefix == tmp_path / name
    with share_files(Other(1, 2, first.given), tmp_path / "not here" / name) as prefix:
        copies = {file.name: file.read_text() for file in prefix.parent.iterdir()}
        assert copies == {f"latest{suffix}": suffix for suffix in (".pdparams", ".pdopt", ".manifest")}
        assert prefix.name == name
    assert not prefix.parent.exists()


def test_only_training_and_evaluation_are_for_several_processes(monkeypatch, capsys):
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


def test_the_launchers_repeated_signal_is_one_request(handlers):
    with StopSignals(launched=True) as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)  # comes while the process says goodbye


def test_the_launchers_signal_does_not_cut_off_an_error(handlers):
    with pytest.raises(DataError), StopSignals(launched=True):
        raise DataError("x.png is broken")
    os.kill(os.getpid(), signal.SIGTERM)


def connect(size, monkeypatch, grace=60.0):
    """The lifelines of so many processes, in threads of this one."""
    monkeypatch.setattr(peer_watchdog, "GRACE_PERIOD", grace)
    addresses, lines = queue.Queue(), [None] * size

    def share(value):
        if value is None:
            return addresses.get(timeout=10)
        for _ in range(size - 1):
            addresses.put(value)
        return value

    def make(rank):
        lines[rank] = PeerWatchdog(rank, size, share, "127.0.0.1")

    threads = [threading.Thread(target=make, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lines


def test_all_hear_why_one_failed(monkeypatch):
    first, second, third = connect(3, monkeypatch)
    second.broadcast_failure(DataError("x.png is broken\nand more"))
    for line in (first, third):
        failure = line.wait_for_failure(5)
        assert str(failure) == "process 1 of 3 failed: x.png is broken\\nand more"
        assert failure.exit_status == DataError.exit_status
    for line in (first, second, third):
        line.close()


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_all_notice_that_one_is_gone(monkeypatch, killed):
    lines = connect(3, monkeypatch)
    victim = lines.pop(killed)
    victim._closed = True  # it makes no more difference to itself
    for link in victim._connections.values():
        link.shutdown(2)
    for line in lines:
        failure = line.wait_for_failure(5)
        assert str(failure).startswith(f"process {killed} of 3 is gone (killed, or out of memory?)")
        assert failure.exit_status == 1
        line.close()


def test_who_is_done_is_not_missed(monkeypatch):
    first, second = connect(2, monkeypatch)
    second.close()
    assert first.wait_for_failure(0.5) is None
    first.close()


def test_a_process_that_waits_in_vain_is_ended(monkeypatch, capfd):
    ended = queue.Queue()
    monkeypatch.setattr(os, "_exit", ended.put)
    first, second = connect(2, monkeypatch, grace=0.1)
    second.broadcast_failure(DataError("x.png is broken"))
    assert ended.get(timeout=5) == DataError.exit_status
    assert capfd.readouterr().err == "error: process 1 of 2 failed: x.png is broken\n"
    first.close()
