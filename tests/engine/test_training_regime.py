"""Gradient accumulation, epochs of a given length, loss scaling, EMA, early stopping and running metrics."""

import numpy as np
import paddle
import pytest
from helpers.toy import EPOCHS, STEPS, Batches, Reports, StopAfter, assert_equal, make_state, make_trainer, tensors

from ppzoo.engine import (
    CheckpointSaver,
    EarlyStopping,
    ExponentialMovingAverage,
    GradScaler,
    MixedPrecision,
    Plan,
    StepLoader,
    amp,
    choose_mixed_precision,
    device,
    latest_checkpoint,
    load_checkpoint,
    trainer,
)
from ppzoo.engine.checkpoint import checkpoint
from ppzoo.engine.distributed import _MultiProcessGroup
from ppzoo.engine.running_metrics import BatchStats, RunningMetrics, loss_weights, total_weights
from ppzoo.errors import ConfigError, DeviceError, Interrupted, TrainingError
from ppzoo.events import Callback
from ppzoo.losses import LOSSES, CombinedLoss
from ppzoo.metrics import MetricList
from ppzoo.weights import read_pdparams


class Linear(paddle.nn.Layer):
    """No batch norm and no dropout, so that a batch can be divided."""

    def __init__(self):
        super().__init__()
        self.out = paddle.nn.Linear(192, 3)

    def forward(self, x):
        return self.out(x.flatten(1))


class Merged(Batches):
    """Several batches of `Batches` concatenated."""

    def __init__(self, sizes, count):
        super().__init__(sizes)
        self.count = count

    def __len__(self):
        return -(-len(self.sizes) // self.count)

    def epoch(self, epoch, start_step=0):
        for batches in StepLoader(Batches(self.sizes), update_freq=self.count).epoch(epoch, start_step):
            for key in ("images", "labels", "indices"):
                setattr(batches[0], key, paddle.concat([getattr(batch, key) for batch in batches]))
            yield batches[0]


# --- gradient accumulation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (5, 3, 4, 1, 2)])
def test_accumulated_gradients_equal_those_of_one_large_batch(sizes):
    steps = StepLoader(Batches(sizes), update_freq=2)
    pieces, reference = (make_state(network=Linear, steps=len(steps)) for _ in range(2))
    first, second = Reports(), Reports()
    make_trainer(pieces, first, steps=steps).fit()
    make_trainer(reference, second, steps=StepLoader(Merged(sizes, 2))).fit()
    assert pieces.scheduler.last_epoch == reference.scheduler.last_epoch == len(steps) * EPOCHS
    expected = tensors(reference)
    for key, value in tensors(pieces).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-6, atol=1e-6, err_msg=key)
    for (epoch, metrics, rate), (same, others, other_rate) in zip(first.train, second.train, strict=True):
        assert (epoch, rate) == (same, other_rate)
        assert metrics == pytest.approx(others, rel=1e-6)


UNEVEN = {"class_weights": [0.0, 0.2, 3.0]}
WEIGHED = {
    "class weights": [(LOSSES["CELoss"](**UNEVEN), 1.0)],
    "and another loss": [(LOSSES["CELoss"](**UNEVEN), 0.5), (LOSSES["PolyLoss"](), 1.0)],
}


@pytest.mark.parametrize("name", WEIGHED)
@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (5, 1, 4, 1, 2)])
def test_accumulated_gradients_are_those_of_one_weighted_mean(name, sizes):
    steps = StepLoader(Batches(sizes), update_freq=2)
    pieces, reference = (make_state(network=Linear, steps=len(steps)) for _ in range(2))
    first, second = Reports(), Reports()
    for state, report, batches in ((pieces, first, steps), (reference, second, StepLoader(Merged(sizes, 2)))):
        training = make_trainer(state, report, steps=batches)
        training.loss = CombinedLoss(WEIGHED[name])
        training.fit()
    expected = tensors(reference)
    for key, value in tensors(pieces).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-6, err_msg=key)
    for (_, metrics, _), (_, others, _) in zip(first.train, second.train, strict=True):
        assert metrics == pytest.approx(others, rel=1e-5)


@pytest.mark.parametrize("name", WEIGHED)
def test_the_gradients_of_several_processes_are_those_of_one_weighted_mean(name):
    loss, random = CombinedLoss(WEIGHED[name]), np.random.default_rng(2)
    scores, labels = random.standard_normal((9, 3)).astype("float32"), np.array([0, 0, 1, 2, 1, 0, 2, 1, 1])

    def gradient(rows, share=lambda losses, weights: (losses["loss"], 1.0)):
        output, label = paddle.to_tensor(scores[rows], stop_gradient=False), paddle.to_tensor(labels[rows])
        total, factor = share(loss(output, label), loss_weights(loss, label))
        (total * factor).backward()
        return output.grad.numpy()

    parts = [slice(0, 2), slice(2, 5), slice(5, 9)]
    together = total_weights([loss_weights(loss, paddle.to_tensor(labels[rows])) for rows in parts])
    training = make_trainer(make_state())
    training.processes = object.__new__(_MultiProcessGroup)  # without the connection
    training.processes.size = len(parts)

    def share(losses, weights):
        return training._weigh(losses, weights, [BatchStats(0, {}, {}, together)], None)

    averaged = np.concatenate([gradient(rows, share) for rows in parts]) / len(parts)
    np.testing.assert_allclose(averaged, gradient(slice(None)), atol=1e-7)


def test_running_metrics_without_weights_are_loaded():
    metrics = RunningMetrics(MetricList([]))
    metrics.load_state_dict({"images": 8, "sums": {"A": 4.0, "B": 8.0, "loss": 12.0}, "metric": {}})
    metrics.update([BatchStats(2, {"A": 1.0, "B": 2.0, "loss": 3.0}, {}, {"A": 2, "B": 2})])
    assert metrics.compute() == {"A": 0.6, "B": 1.2, "loss": pytest.approx(1.8)}


def test_the_last_batches_of_an_epoch_make_a_smaller_step_or_are_dropped():
    batches = Batches((1, 1, 1, 1, 1))
    lengths = [len(step) for step in StepLoader(batches, update_freq=2).epoch(0)]
    assert lengths == [2, 2, 1]
    dropping = StepLoader(batches, update_freq=2, drop_last=True)
    assert len(dropping) == 2
    assert [len(step) for step in dropping.epoch(0)] == [2, 2]
    with pytest.raises(ConfigError, match=r"Global.update_freq: expected at most 5, the number of batches .* got 6"):
        StepLoader(batches, update_freq=6, drop_last=True)


def test_epochs_of_a_given_length_pass_over_the_data_without_a_gap():
    class Numbered(Batches):
        def epoch(self, epoch, start_step=0):
            for step in range(start_step, STEPS):
                yield epoch * STEPS + step

    steps = StepLoader(Numbered(), update_freq=2, iter_per_epoch=6)
    assert len(steps) == 3
    assert [batch for epoch in range(3) for step in steps.epoch(epoch) for batch in step] == list(range(18))
    assert list(steps.epoch(1, 2)) == [[10, 11]]
    assert list(StepLoader(Numbered(), iter_per_epoch=2).epoch(3)) == [[6], [7]]
    assert list(steps.epoch(1, 3)) == []


def test_the_loader_is_closed_when_an_epoch_ends_within_a_pass():
    closed = []

    class Watched(Batches):
        def epoch(self, epoch, start_step=0):
            try:
                yield from super().epoch(epoch, start_step)
            finally:
                closed.append(epoch)

    assert len(list(StepLoader(Watched(), iter_per_epoch=3).epoch(0))) == 3
    assert closed == [0]


# --- all features, interrupted ----------------------------------------------------------------------------------------


def make_full_state():
    state = make_state(
        amp=MixedPrecision(grad_scaler=GradScaler(2.0**10, dynamic=True)),
        early_stopping=EarlyStopping(9, higher_is_better=False),
    )
    state.ema = ExponentialMovingAverage(state.model, 0.9)
    return state


def make_full_trainer(state, *callbacks):
    def evaluate():
        return {"loss": float(sum(value.abs().sum() for value in state.model.parameters()))}

    steps = StepLoader(Batches(), update_freq=2, iter_per_epoch=6)
    return make_trainer(state, *callbacks, steps=steps, evaluate=evaluate)


@pytest.mark.parametrize("stop_after", [1, 3, 5, 8])
def test_resume_with_all_features_is_bit_identical(tmp_path, stop_after):
    reference, expected = make_full_state(), Reports()
    make_full_trainer(reference, expected).fit()

    stopped, reports = make_full_state(), Reports()
    with pytest.raises(Interrupted):
        make_full_trainer(stopped, CheckpointSaver(stopped, tmp_path, interval=1), reports, StopAfter(stop_after)).fit()
    resumed = make_full_state()
    load_checkpoint(resumed, latest_checkpoint(tmp_path))
    make_full_trainer(resumed, reports).fit()
    assert_equal(tensors(resumed), tensors(reference))
    assert_equal(arrays(resumed.ema), arrays(reference.ema))
    assert reports.train == expected.train
    saved = resumed.state_dict()
    assert saved == reference.state_dict()
    assert saved["average_updates"] == 3 * EPOCHS
    assert saved["loss_scaler"]["good"] == 3 * EPOCHS


def arrays(average):
    return {name: np.array(value) for name, value in average.values.items()}


# --- loss scaling ----------------------------------------------------------------------------------------------------


def test_scaling_the_loss_by_a_power_of_two_is_bit_identical():
    plain, scaled = make_state(), make_state(amp=MixedPrecision(grad_scaler=GradScaler(2.0**12, dynamic=True)))
    make_trainer(plain).fit()
    make_trainer(scaled).fit()
    assert_equal(tensors(scaled), tensors(plain))


class Overflow(Callback):
    """Makes the gradients of some steps infinite."""

    def __init__(self, trainer, *steps):
        self.step, self.loss, self.steps = 0, trainer.loss, steps
        trainer.loss = self

    def __call__(self, output, label):
        losses = dict(self.loss(output, label))
        if self.step in self.steps:
            losses["loss"] = losses["loss"] + paddle.sqrt(output * 0.0).sum()  # 0 with an infinite derivative
        self.step += 1
        return losses


def test_a_step_that_overflows_is_skipped_and_logged_and_the_schedule_advances(caplog, monkeypatch):
    monkeypatch.setattr(amp.logger, "propagate", True)
    state = make_state(amp=MixedPrecision(grad_scaler=GradScaler(1024.0, dynamic=True)))
    state.ema = ExponentialMovingAverage(state.model, 0.9)
    training, before = make_trainer(state, plan=Plan(1)), tensors(state)
    Overflow(training, 0, 2)
    seen = []

    class RecordWeights(Callback):
        def on_step_end(self, report):
            seen.append(tensors(state)["out.weight"])

    training.callbacks.append(RecordWeights())
    with caplog.at_level("INFO", logger="ppzoo"):
        training.fit()
    np.testing.assert_array_equal(seen[0], before["out.weight"])
    assert not np.array_equal(seen[1], seen[0])
    np.testing.assert_array_equal(seen[2], seen[1])
    assert state.amp.grad_scaler.state_dict() == {"scale": 256.0, "good": 1, "skipped": 2, "in_a_row": 0}
    assert state.ema.updates == STEPS - 2
    assert state.scheduler.last_epoch == STEPS
    assert [record.getMessage() for record in caplog.records] == [
        "skipping step 1: gradients overflowed (scale 1024 -> 512)",
        "skipping step 3: gradients overflowed (scale 512 -> 256)",
    ]


def test_a_dynamic_scale_doubles_after_an_interval_and_a_fixed_one_stays(monkeypatch):
    monkeypatch.setattr(GradScaler, "INTERVAL", 3)
    moving, fixed = GradScaler(8.0, dynamic=True), GradScaler(8.0)
    scales = []
    for finite in (True, True, False, True, True, True, True):
        moving.update(finite, 1)
        fixed.update(finite, 1)
        scales.append(moving.scale)
    assert scales == [8, 8, 4, 4, 4, 8, 8]
    assert (fixed.scale, fixed.skipped) == (8, 1)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_an_invalid_scale_of_a_checkpoint_is_refused(scale):
    scaler = GradScaler(8.0, dynamic=True)
    with pytest.raises(ValueError, match="expected the loss scale to be a number above 0"):
        scaler.load_state_dict({**scaler.state_dict(), "scale": scale})


def test_gradients_that_always_overflow_stop_the_run():
    state = make_state(amp=MixedPrecision(grad_scaler=GradScaler(1024.0, dynamic=True)))
    training = make_trainer(state, plan=Plan(100))
    Overflow(training, *range(1000))
    with pytest.raises(TrainingError, match="the gradients overflowed in 30 steps in a row"):
        training.fit()


def test_amp_on_the_cpu_logs_that_it_uses_float32(caplog, monkeypatch):
    monkeypatch.setattr(amp.logger, "propagate", True)
    device.select_device("cpu")
    with caplog.at_level("INFO", logger="ppzoo"):
        made = choose_mixed_precision(level="O2", dtype="float16", scale=128.0, dynamic=True)
    assert made.grad_scaler is None
    assert [record.getMessage() for record in caplog.records] == [
        "AMP: using float32: PaddlePaddle has no half-precision operators for the CPU"
    ]


@pytest.mark.filterwarnings("ignore:amp_guard can only be enabled")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_gpu_uses_a_supported_precision_or_is_refused(monkeypatch, dtype):
    options = {"level": "O2", "dtype": dtype, "scale": 128.0, "dynamic": True}
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle.amp, f"is_{dtype}_supported", lambda: True)
    made = choose_mixed_precision(**options, evaluation=True)
    assert (made.grad_scaler is None) == (dtype == "bfloat16")
    with made.autocast(), made.eval_autocast():
        assert Linear()(paddle.ones([1, 3, 8, 8])).shape == [1, 3]
    monkeypatch.setattr(paddle.amp, f"is_{dtype}_supported", lambda: False)
    with pytest.raises(DeviceError, match=f"AMP.dtype: this device does not support {dtype}; set AMP.use_amp to Fal"):
        choose_mixed_precision(**options)


# --- EMA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", [True, False])
def test_the_average_follows_its_formula(warmup):
    state = make_state()
    state.ema = ExponentialMovingAverage(state.model, 0.7, warmup)
    expected = arrays(state.ema)
    count = 0

    class ComputeAverage(Callback):
        def on_step_end(self, report):
            nonlocal count
            count += 1
            decay = min(0.7, (1 + count) / (10 + count)) if warmup else 0.7
            for name, value in state.model.state_dict().items():
                expected[name] = decay * expected[name] + (1 - decay) * np.array(value)

    make_trainer(state, ComputeAverage()).fit()
    for name, value in arrays(state.ema).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-7, err_msg=name)


def make_evaluated_trainer(state, accuracies):
    """Return a trainer whose evaluations return `accuracies`, those of the weights and of their averages in turn."""
    values = iter(accuracies)
    return make_trainer(
        state,
        evaluate=lambda: {"loss": 1.0, "top1": next(values)},
        plan=Plan(EPOCHS, main="top1", higher_is_better=True),
    )


def test_the_best_model_has_the_better_of_trained_and_averaged_weights(tmp_path):
    state = make_state()
    state.ema = ExponentialMovingAverage(state.model, 0.5)
    training = make_evaluated_trainer(state, [0.5, 0.4, 0.6, 0.7, 0.1, 0.7])
    reports, folder = [], tmp_path

    class CompareBestModel(Callback):
        def on_epoch_end(self, report):
            reports.append((report.is_best, report.averaged, report.evaluation["top1_ema"]))
            best = read_pdparams(folder / "best_model.pdparams")
            if report.is_best:
                name = "average" if report.averaged else "weights"
                expected = state.ema.values if report.averaged else state.model.state_dict()
                assert all(np.array_equal(best[key], np.array(value)) for key, value in expected.items()), name

    training.callbacks += [CheckpointSaver(state, folder, interval=1), CompareBestModel()]
    summary = training.fit()
    assert reports == [(True, False, 0.4), (True, True, 0.7), (False, False, 0.7)]
    assert (summary.best, summary.best_epoch, summary.averaged) == (0.7, 1, True)
    latest, averages = (read_pdparams(folder / f"latest.{suffix}") for suffix in ("pdparams", "pdema"))
    assert all(np.array_equal(latest[key], np.array(value)) for key, value in state.model.state_dict().items())
    assert all(np.array_equal(averages[key], np.array(value)) for key, value in state.ema.values.items())
    names = paddle.load(str(folder / "best_model.pdparams"), keep_name_table=True)["StructuredToParameterName@@"]
    assert names == {key: value.name for key, value in state.model.state_dict().items()}


def test_a_run_resumes_from_a_best_model_of_averaged_weights(tmp_path):
    state = make_state()
    state.ema = ExponentialMovingAverage(state.model, 0.5)
    training = make_evaluated_trainer(state, [0.5, 0.7])
    training.plan = Plan(1, main="top1", higher_is_better=True)
    training.callbacks.append(CheckpointSaver(state, tmp_path, interval=1))
    training.fit()
    found = make_state()
    found.ema = ExponentialMovingAverage(found.model, 0.5)
    load_checkpoint(found, tmp_path / "best_model")
    assert_equal(tensors(found), tensors(state))
    assert_equal(arrays(found.ema), arrays(state.ema))
    assert found.ema.updates == STEPS

    plain = make_state()
    load_checkpoint(plain, tmp_path / "best_model")
    assert_equal(tensors(plain), tensors(state))
    checkpoint.save_checkpoint(plain, tmp_path / "best_model")
    assert not (tmp_path / "best_model.pdema").exists()


def test_an_average_is_initialized_from_a_checkpoint_without_one(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checkpoint.logger, "propagate", True)
    state = make_state()
    make_trainer(state, CheckpointSaver(state, tmp_path, interval=9)).fit()
    found = make_state()
    found.ema = ExponentialMovingAverage(found.model, 0.5)
    with caplog.at_level("INFO", logger="ppzoo"):
        load_checkpoint(found, tmp_path / "latest")
    assert "latest has no averaged weights: initializing the average with its weights" in caplog.text
    assert_equal(arrays(found.ema), {key: np.array(value) for key, value in state.model.state_dict().items()})


def test_the_average_of_a_run_of_paddleclas_is_resumed(tmp_path):
    """PaddleClas saves the averages in `.pdparams` and the trained weights in `.pdema`."""
    state, other = make_state(), make_state()
    make_trainer(other, plan=Plan(1)).fit()
    paddle.save(state.model.state_dict(), str(tmp_path / "epoch_1.pdema"))
    paddle.save(other.model.state_dict(), str(tmp_path / "epoch_1.pdparams"))
    paddle.save(state.optimizer.state_dict(), str(tmp_path / "epoch_1.pdopt"))
    paddle.save({"metric": 0.5, "epoch": 1}, str(tmp_path / "epoch_1.pdstates"))
    found = make_state()
    found.ema = ExponentialMovingAverage(found.model, 0.5)
    load_checkpoint(found, tmp_path / "epoch_1")
    assert_equal(tensors(found), tensors(state))
    assert_equal(arrays(found.ema), {key: np.array(value) for key, value in other.model.state_dict().items()})
    assert found.ema.updates == STEPS


def test_a_checkpoint_without_its_averages_is_incomplete(tmp_path):
    state = make_state()
    state.ema = ExponentialMovingAverage(state.model, 0.5)
    checkpoint.save_checkpoint(state, tmp_path / "latest")
    (tmp_path / "latest.pdema").unlink()
    assert latest_checkpoint(tmp_path) is None


# --- early stopping --------------------------------------------------------------------------------------------------


def test_early_stopping_ends_a_run_and_is_logged_and_restored(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(trainer.logger, "propagate", True)
    state = make_state(early_stopping=EarlyStopping(2, min_gain=0.05))
    training = make_evaluated_trainer(state, [0.5, 0.6, 0.64, 0.62, 0.9])
    training.plan = Plan(10, main="top1", higher_is_better=True)
    training.callbacks.append(CheckpointSaver(state, tmp_path, interval=9))
    with caplog.at_level("INFO", logger="ppzoo"):
        summary = training.fit()
    assert (summary.epochs, summary.best, summary.best_epoch) == (4, 0.64, 2)
    line = "stopping early after epoch 4: 2 evaluations without an improvement of more than 0.05 in top1"
    assert line in [record.getMessage() for record in caplog.records]

    again = make_state(early_stopping=EarlyStopping(2, min_gain=0.05))
    load_checkpoint(again, tmp_path / "latest")
    assert make_evaluated_trainer(again, []).fit().epochs == 4


@pytest.mark.parametrize(("higher", "values"), [(True, [1, 2, 2, 3, 3, 3]), (False, [3, 2, 2, 1, 1, 1])])
def test_an_equal_value_is_no_improvement(higher, values):
    early_stopping = EarlyStopping(2, higher_is_better=higher)
    stops = []
    for value in values:
        early_stopping.update(value)
        stops.append(early_stopping.should_stop)
    assert stops == [False] * 5 + [True]


# --- running metrics -------------------------------------------------------------------------------------------------


def test_running_metrics_are_computed_at_their_interval():
    state, seen = make_state(), []

    class RecordMetrics(Callback):
        def on_step_end(self, report):
            seen.append(sorted(report.metrics))

    training = make_trainer(state, RecordMetrics(), plan=Plan(1, metrics_interval=3))
    training.fit()
    assert seen == [["loss"], ["loss"], ["loss", "top1"], ["loss", "top1"]]
