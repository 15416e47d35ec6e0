"""Checkpoints are saved atomically, and a resumed run is bit-identical to an uninterrupted one."""

import os

import numpy as np
import paddle
import pytest
from helpers.toy import (
    EPOCHS,
    STEPS,
    Batches,
    Network,
    Reports,
    StopAfter,
    assert_equal,
    make_state,
    make_trainer,
    tensors,
)

from ppzoo.engine import CheckpointSaver, Plan, latest_checkpoint, load_checkpoint
from ppzoo.engine.checkpoint import atomic_files, checkpoint
from ppzoo.errors import CheckpointError, Interrupted, TrainingError
from ppzoo.events import Callback
from ppzoo.optim import OPTIMIZERS, SCHEDULES


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6, 11])
def test_resume_is_bit_identical(tmp_path, stop_after):
    reference, expected = make_state(), Reports()
    make_trainer(reference, expected).fit()

    stopped, reports = make_state(), Reports()
    trainer = make_trainer(stopped, CheckpointSaver(stopped, tmp_path, interval=1), reports, StopAfter(stop_after))
    with pytest.raises(Interrupted) as error:
        trainer.fit()
    assert error.value.exit_status == 143

    resumed = make_state()
    load_checkpoint(resumed, latest_checkpoint(tmp_path))
    make_trainer(resumed, reports).fit()
    assert_equal(tensors(resumed), tensors(reference))
    assert reports.train == expected.train
    assert resumed.scheduler.state_dict() == reference.scheduler.state_dict()


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("operation", range(12))
def test_interrupted_save_leaves_the_old_or_the_new_checkpoint(tmp_path, monkeypatch, operation):
    """The save is interrupted at its Nth renaming of a file, and recovered afterwards."""
    state = make_state()
    trainer = make_trainer(state, CheckpointSaver(state, tmp_path, interval=100))
    trainer.plan = Plan(1)
    trainer.fit()
    old = tensors(state)
    trainer.callbacks.clear()
    trainer.plan = Plan(2)
    trainer.fit()

    calls = iter(range(100))
    replace = os.replace

    def cut(source, target):
        if next(calls) == operation:
            raise PowerCut
        replace(source, target)

    monkeypatch.setattr(os, "replace", cut)
    try:
        checkpoint.save_checkpoint(state, tmp_path / "latest")
        committed = True
    except PowerCut:
        committed = False
    monkeypatch.setattr(os, "replace", replace)

    found = make_state()
    load_checkpoint(found, latest_checkpoint(tmp_path))
    assert_equal(tensors(found), tensors(state) if found.progress.epoch == 2 else old)
    assert found.progress.epoch == 2 or not committed
    atomic_files.recover_all(tmp_path)  # as a resumed run does
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"latest.pdparams", "latest.pdopt", "latest.pdstates", "latest.manifest"}


def test_a_damaged_checkpoint_is_logged_and_the_previous_one_used(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checkpoint.logger, "propagate", True)
    state = make_state()
    make_trainer(state, CheckpointSaver(state, tmp_path, interval=2)).fit()
    path = tmp_path / "latest.pdopt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_2"
    assert "latest.pdopt is damaged: its SHA-256 differs from the manifest's; skipped" in caplog.text
    with pytest.raises(CheckpointError, match=r"latest\.pdopt is damaged"):
        load_checkpoint(make_state(), tmp_path / "latest")


def test_a_damaged_latest_does_not_replace_the_best_model(tmp_path):
    state = make_state()
    make_trainer(
        state, CheckpointSaver(state, tmp_path, interval=100), plan=Plan(1), evaluate=lambda: {"loss": 1.0}
    ).fit()
    path = tmp_path / "latest.pdparams"
    content = path.read_bytes()
    path.unlink()  # `best_model` is a hard link to the same file
    path.write_bytes(content[:-1] + b"!")
    found = latest_checkpoint(tmp_path)
    assert found == tmp_path / "best_model"
    resumed = make_state()
    load_checkpoint(resumed, found)
    CheckpointSaver(resumed, tmp_path, interval=100).on_train_begin(1, EPOCHS)
    load_checkpoint(make_state(), tmp_path / "best_model")


def test_only_the_last_epochs_are_kept(tmp_path):
    state = make_state()
    make_trainer(state, CheckpointSaver(state, tmp_path, interval=1, keep=2)).fit()
    assert sorted(file.name for file in tmp_path.glob("epoch_*.pdparams")) == ["epoch_2.pdparams", "epoch_3.pdparams"]


def test_files_with_names_similar_to_those_of_epochs_are_kept(tmp_path):
    state = make_state()
    for name in ("epoch_best.manifest", "epoch_9.new.manifest", "epoch_1.manifest", "epoch_2.manifest"):
        (tmp_path / name).write_text("{}")
    CheckpointSaver(state, tmp_path, interval=1)._remove_old()
    CheckpointSaver(state, tmp_path, interval=1, keep=1)._remove_old()
    assert {file.name for file in tmp_path.iterdir()} == {
        "epoch_best.manifest",
        "epoch_9.new.manifest",
        "epoch_2.manifest",
    }


def test_a_damaged_staged_manifest_is_skipped_and_replaced_by_the_next_save(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checkpoint.logger, "propagate", True)
    state = make_state()
    checkpoint.save_checkpoint(state, tmp_path / "latest")
    for name in ("latest.new.manifest", "epoch_7.new.manifest", "mine.manifest"):
        (tmp_path / name).write_text("torn")
    assert latest_checkpoint(tmp_path) == tmp_path / "latest"
    for name, consequence in (
        ("latest.new.manifest", "the previous checkpoint is used"),
        ("epoch_7.new.manifest", "skipped"),
        ("mine.manifest", "skipped"),
    ):
        assert f"{name} is damaged: it is not a manifest; {consequence}" in caplog.text
    state.progress.epoch = 2
    checkpoint.save_checkpoint(state, tmp_path / "latest")
    load_checkpoint(found := make_state(), tmp_path / "latest")
    assert found.progress.epoch == 2
    assert not (tmp_path / "latest.new.manifest").exists()


def test_a_removed_folder_fails_the_run_and_is_not_created_again(tmp_path):
    state = make_state()
    folder = tmp_path / "run"
    with pytest.raises(
        CheckpointError, match=r"cannot write .*latest: the folder of the run does not exist any more"
    ) as error:
        checkpoint.save_checkpoint(state, folder / "latest")
    assert error.value.exit_status == 1
    assert not folder.exists()


def test_a_full_disk_while_copying_is_an_error_and_the_older_copy_stays(tmp_path, monkeypatch):
    state = make_state()
    checkpoint.save_checkpoint(state, tmp_path / "latest")
    checkpoint.copy_checkpoint(tmp_path / "latest", tmp_path / "best_model")
    state.progress.epoch = 1
    checkpoint.save_checkpoint(state, tmp_path / "latest")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(atomic_files, "write_atomically", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*best_model: No space left") as error:
        checkpoint.copy_checkpoint(tmp_path / "latest", tmp_path / "best_model")
    assert error.value.exit_status == 1
    monkeypatch.undo()
    load_checkpoint(found := make_state(), tmp_path / "best_model")
    assert found.progress.epoch == 0


def test_checkpoints_are_copied_without_hard_links(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    checkpoint.save_checkpoint(make_state(), tmp_path / "latest")
    checkpoint.copy_checkpoint(tmp_path / "latest", tmp_path / "best_model")
    for suffix in checkpoint.REQUIRED_SUFFIXES:
        assert (tmp_path / f"best_model{suffix}").read_bytes() == (tmp_path / f"latest{suffix}").read_bytes()
    load_checkpoint(make_state(), tmp_path / "best_model")


def test_steps_within_an_epoch_are_saved(tmp_path):
    state = make_state()
    saver = CheckpointSaver(state, tmp_path, interval=100, interval_steps=3)
    seen = []

    class LoadLatest(Callback):
        def on_step_end(self, report):
            if (tmp_path / "latest.pdstates").exists():
                found = make_state()
                load_checkpoint(found, tmp_path / "latest")
                seen.append((found.progress.epoch, found.progress.step))

    trainer = make_trainer(state, saver, LoadLatest())
    trainer.plan = Plan(1)
    trainer.fit()
    assert seen == [(0, 3), (0, 3)]


def test_latest_is_saved_before_a_long_evaluation_after_epochs_without_one(tmp_path):
    state, seen = make_state(), []

    def evaluate():
        found = make_state()
        load_checkpoint(found, tmp_path / "latest")
        seen.append((found.progress.epoch, found.progress.step))
        return {"loss": 1.0}

    saver = CheckpointSaver(state, tmp_path, interval=100)
    make_trainer(state, saver, plan=Plan(2, eval_interval=2), evaluate=evaluate).fit()
    assert seen == [(1, STEPS)]


def test_a_full_disk_is_an_error_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    state = make_state()
    checkpoint.save_checkpoint(state, tmp_path / "latest")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_state", full)
    with pytest.raises(
        CheckpointError, match=r"cannot write .*No space left on device; existing checkpoints stay complete"
    ):
        checkpoint.save_checkpoint(state, tmp_path / "latest")
    monkeypatch.undo()
    load_checkpoint(make_state(), latest_checkpoint(tmp_path))


def test_a_checkpoint_of_another_run_is_refused_with_the_difference(tmp_path):
    checkpoint.save_checkpoint(make_state(class_num=3), tmp_path / "latest")
    for other in (make_state(class_num=4), make_state(class_num=4, network=lambda: paddle.nn.Linear(2, 3))):
        with pytest.raises(CheckpointError, match="expected class_num 4 as in the configuration, got 3"):
            load_checkpoint(other, tmp_path / "latest")


def test_a_step_beyond_the_epoch_is_refused(tmp_path):
    state, resumed = make_state(), make_state()
    state.identity["steps per epoch"] = resumed.identity["steps per epoch"] = STEPS
    for step in (STEPS, STEPS + 1):
        state.progress.step = step
        checkpoint.save_checkpoint(state, tmp_path / f"step_{step}")
    load_checkpoint(resumed, tmp_path / f"step_{STEPS}")
    with pytest.raises(
        CheckpointError, match=f"expected at most {STEPS} steps, .*, got step {STEPS + 1} in .*; use the original"
    ):
        load_checkpoint(resumed, tmp_path / f"step_{STEPS + 1}")


def test_a_missing_file_is_named(tmp_path):
    checkpoint.save_checkpoint(make_state(), tmp_path / "latest")
    (tmp_path / "latest.manifest").unlink()
    (tmp_path / "latest.pdopt").unlink()
    with pytest.raises(CheckpointError, match=r"latest\.pdopt does not exist; to load only weights"):
        load_checkpoint(make_state(), tmp_path / "latest")


def test_nonfinite_gradients_stop_the_run():
    state = make_state()
    trainer = make_trainer(state)
    trainer.loss = lambda output, label: {"loss": paddle.sqrt(output * 0.0).sum()}  # its derivative at 0 is infinite
    before = tensors(state)["conv.weight"]
    with pytest.raises(TrainingError, match="the gradients are not finite at epoch 1, step 1"):
        trainer.fit()
    np.testing.assert_array_equal(tensors(state)["conv.weight"], before)


def test_the_first_layer_with_a_nonfinite_output_is_named():
    state = make_state()
    trainer = make_trainer(state)
    state.model.norm.weight.set_value(paddle.full([4], float("inf")))
    with pytest.raises(TrainingError, match=r"first layer with a non-finite output: norm; images: 0, 1, 2 and 1 more"):
        trainer.fit()


def test_a_nonfinite_loss_changes_no_weight():
    state = make_state()
    trainer = make_trainer(state)
    trainer.loss = lambda output, label: {"loss": output.sum() * float("nan")}
    before = {key: value for key, value in tensors(state).items() if "norm" not in key}
    with pytest.raises(TrainingError, match=r"the loss is nan at epoch 1, step 1, learning rate 0"):
        trainer.fit()
    after = tensors(state)
    assert all(np.array_equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_run_of_paddleclas_is_resumed(tmp_path, warmup):
    """PaddleClas saves state dicts of PaddlePaddle's optimizer and schedule, epoch and metric with `paddle.save`."""
    lr = paddle.optimizer.lr
    schedule = lr.CosineAnnealingDecay(0.1, T_max=(EPOCHS - warmup) * STEPS)
    if warmup:
        schedule = lr.LinearWarmup(schedule, warmup_steps=warmup * STEPS, start_lr=0.0, end_lr=0.1)
    paddle.seed(7)
    with paddle.utils.unique_name.guard():
        network = Network()
        decay = paddle.regularizer.L2Decay(0.01)
        optimizer = paddle.optimizer.Momentum(schedule, 0.9, network.parameters(), weight_decay=decay)
    network.drop.p = 0.0

    def step(network, optimizer, schedule, batch):
        loss = paddle.nn.functional.cross_entropy(network(batch.images), batch.labels)
        loss.backward()
        with paddle.utils.unique_name.guard():
            optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        return float(loss)

    for batch in [*Batches().epoch(0), *Batches().epoch(1)]:
        step(network, optimizer, schedule, batch)
    for value, suffix in ((network, "pdparams"), (optimizer, "pdopt")):
        paddle.save(value.state_dict(), str(tmp_path / f"epoch_2.{suffix}"))
    paddle.save({"metric": 0.625, "epoch": 2}, str(tmp_path / "epoch_2.pdstates"))
    expected = {**network.state_dict(), **optimizer.state_dict()}
    expected = {key: np.array(value) for key, value in expected.items() if key != "LR_Scheduler"}

    state = make_state()
    state.scheduler = SCHEDULES["Cosine"](EPOCHS, STEPS, learning_rate=0.1, warmup_epoch=warmup)
    state.optimizer = OPTIMIZERS["Momentum"](regularizer={"name": "L2", "coeff": 0.01}).build(
        state.model, state.scheduler
    )
    load_checkpoint(state, tmp_path / "epoch_2")
    assert_equal(tensors(state), expected)
    assert (state.progress.epoch, state.progress.step, state.progress.best) == (2, 0, 0.625)
    state.model.drop.p = 0.0
    for batch in Batches().epoch(2):
        assert state.optimizer.get_lr() == pytest.approx(optimizer.get_lr(), rel=1e-6)
        theirs = step(network, optimizer, schedule, batch)
        assert step(state.model, state.optimizer, state.scheduler, batch) == pytest.approx(theirs, rel=1e-5)
