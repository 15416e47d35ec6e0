"""Resumed runs: pending evaluations, rollbacks, static programs, changed configurations."""

import paddle
import pytest
from helpers.toy import STEPS, Batches, Network, Reports, assert_equal, make_state, make_trainer, tensors

from ppzoo.engine import (
    CheckpointSaver,
    EarlyStopping,
    Plan,
    StepLoader,
    enable_determinism,
    latest_checkpoint,
    load_checkpoint,
    train_state,
)
from ppzoo.engine.checkpoint import checkpoint
from ppzoo.engine.checkpoint.config_diff import describe_differences
from ppzoo.errors import ConfigError
from ppzoo.events import Callback
from ppzoo.optim import SCHEDULES


class Killed(BaseException):
    pass


class CountedBatches(Batches):
    count = 0

    def epoch(self, epoch, start_step=0):
        for batch in super().epoch(epoch, start_step):
            self.count += 1
            yield batch


def test_a_run_killed_during_an_evaluation_resumes_with_it(tmp_path):
    def evaluation(state):
        return lambda: {"loss": float(sum(value.abs().sum() for value in state.model.parameters()))}

    reference, expected = make_state(), Reports()
    make_trainer(reference, expected, evaluate=evaluation(reference)).fit()

    def kill():
        raise Killed

    state = make_state()
    with pytest.raises(Killed):
        make_trainer(state, CheckpointSaver(state, tmp_path, interval=1), evaluate=kill).fit()
    resumed, reports, batches = make_state(), Reports(), CountedBatches()
    load_checkpoint(resumed, latest_checkpoint(tmp_path))
    assert (resumed.progress.epoch, resumed.progress.step) == (0, STEPS)
    make_trainer(resumed, reports, evaluate=evaluation(resumed), steps=StepLoader(batches)).fit()
    assert batches.count == 2 * STEPS
    assert_equal(tensors(resumed), tensors(reference))
    assert reports.train == expected.train
    assert (resumed.progress.best, resumed.progress.best_epoch) == (
        reference.progress.best,
        reference.progress.best_epoch,
    )


def test_no_checkpoint_is_saved_before_a_short_evaluation(tmp_path):
    state = make_state()
    seen = []

    class LoadLatest(Callback):
        def on_evaluation_begin(self, epoch):
            seen.append((tmp_path / "latest.manifest").stat().st_mtime_ns if seen else 0)
            found = make_state()
            load_checkpoint(found, tmp_path / "latest")
            seen[-1] = (found.progress.epoch, found.progress.step)

    make_trainer(
        state, CheckpointSaver(state, tmp_path, interval=9), LoadLatest(), evaluate=lambda: {"loss": 1.0}
    ).fit()
    assert seen == [(0, STEPS), (1, 0), (2, 0)]


def test_a_rollback_changes_shuffling_and_learning_rate():
    epochs = []

    class Numbered(Batches):
        def epoch(self, epoch, start_step=0):
            epochs.append(epoch)
            return super().epoch(epoch, start_step)

    steps = StepLoader(Numbered())
    list(steps.epoch(3))
    steps.rollbacks = 2
    list(steps.epoch(3))
    assert epochs == [3, 2_000_003]

    plain, damped = make_state(), make_state()
    damped.scheduler.damping = 0.25
    rates, quarter = Reports(), Reports()
    make_trainer(plain, rates).fit()
    make_trainer(damped, quarter).fit()
    assert [rate for *_, rate in quarter.train] == pytest.approx([rate / 4 for *_, rate in rates.train])
    assert abs(tensors(plain)["out.weight"] - tensors(damped)["out.weight"]).max() > 1e-3


def test_a_static_forward_pass_is_bit_identical():
    eager, static = make_state(), make_state()
    make_trainer(eager, plan=Plan(1)).fit()
    training = make_trainer(static, plan=Plan(1))
    training.forward = paddle.jit.to_static(static.model.forward, full_graph=True)
    training.fit()
    assert_equal(tensors(static), tensors(eager))
    assert static.model.state_dict().keys() == Network().state_dict().keys()


def test_a_resumed_run_logs_differences_of_configuration_and_versions(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checkpoint.logger, "propagate", True)
    before = {"Global": {"epochs": 4, "seed": None}, "Loss": {"Train": [{"CELoss": {"epsilon": 0.1}}]}}
    after = {"Global": {"epochs": 8}, "Loss": {"Train": [{"CELoss": {"epsilon": 0.1}}]}, "EMA": {"decay": 0.9}}
    checkpoint.save_checkpoint(make_state(configuration=before), tmp_path / "latest")
    with caplog.at_level("INFO", logger="ppzoo"):
        load_checkpoint(make_state(configuration=before), tmp_path / "latest")
    assert caplog.text == ""
    monkeypatch.setitem(checkpoint.VERSIONS, "paddle", "9.9.9")
    with caplog.at_level("INFO", logger="ppzoo"):
        load_checkpoint(make_state(configuration=after), tmp_path / "latest")
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("latest: Global.epochs 4 -> 8, EMA.decay unset -> 0.9")
    assert f"results can differ slightly: paddle '{paddle.__version__}' -> '9.9.9'" in second


def test_many_differences_are_counted():
    text = describe_differences({}, {str(number): number for number in range(10)})
    assert text.startswith("0 unset -> 0, ")
    assert text.endswith("7 unset -> 7 and 2 more")


def test_long_values_are_shortened_within_their_quotes():
    path = "output/photos-split-aa83ddf4/train_list.txt"
    assert describe_differences({"path": path}, {"path": f"other/{path}"}) == f"path '{path}' -> 'other/{path}'"
    assert describe_differences({}, {"path": 70 * "a"}) == f"path unset -> '{57 * 'a'}...'"


def test_determinism_on_gpus_sets_flags_or_reports_a_conflict(monkeypatch):
    flags = {}
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle, "set_flags", flags.update)
    monkeypatch.setattr(paddle, "get_flags", lambda names: dict.fromkeys(names, False))
    enable_determinism()
    assert flags["FLAGS_cudnn_deterministic"] is True
    monkeypatch.setattr(paddle, "get_flags", lambda names: dict.fromkeys(names, True))
    with pytest.raises(ConfigError, match=r"^Global.deterministic conflicts with .*exhaustive_search=1; unset"):
        enable_determinism()


def test_the_best_value_of_another_main_metric_is_discarded(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(train_state.logger, "propagate", True)
    first = make_state(main_metric="top1", early_stopping=EarlyStopping(patience=5))
    results = {"loss": 0.5, "top1": 0.9, "top5": 0.7}
    saver = CheckpointSaver(first, tmp_path, interval=1)
    make_trainer(first, saver, evaluate=lambda: results, plan=Plan(1, main="top1", higher_is_better=True)).fit()

    def resume(main, **options):
        state = make_state(main_metric=main, **options)
        with caplog.at_level("INFO", logger="ppzoo"):
            load_checkpoint(state, tmp_path / "latest")
        return state

    same = resume("top1")
    assert (same.progress.best, same.progress.best_metric) == (0.9, "top1")
    assert "main metric" not in caplog.text
    other = resume("top5", early_stopping=EarlyStopping(patience=5))
    assert "from top1 to top5: the best top1 (0.9000 in epoch 1) is discarded" in caplog.text
    assert other.early_stopping.best is None
    trainer = make_trainer(other, evaluate=lambda: results, plan=Plan(2, main="top5", higher_is_better=True))
    summary = trainer.fit()
    assert (summary.main, summary.best, summary.best_epoch) == ("top5", 0.7, 1)

    summary = make_trainer(resume(None), plan=Plan(2)).fit()  # without evaluations
    assert (summary.main, summary.best, summary.best_epoch) == ("top1", 0.9, 0)


def test_a_plateau_discards_the_best_value_of_another_main_metric():
    for mode, kept in (("max", None), ("min", 0.5)):
        schedule = SCHEDULES["ReduceOnPlateau"](4, 3, learning_rate=0.1, mode=mode)
        schedule.record_evaluation(loss=0.5, main=0.9)
        schedule.discard_main_metric()
        assert schedule.best == kept
