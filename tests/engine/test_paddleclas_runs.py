"""A run started by PaddleClas continues in ppzoo as it did in PaddleClas.

`fixtures/paddleclas_run` was written by PaddleClas 2.3 (its engine, loader, loss and optimizer, PaddlePaddle 3.3.1,
CPU): MobileNetV1 with scale 0.0625, trained for five epochs on the first 64 images of Fashion-MNIST, in their order and
at 64 pixels, saved after two. `continuation.json` has the losses and rates of the twelve steps after those.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppzoo import builders, native
from ppzoo.data import DATASETS
from ppzoo.engine import Plan, StepLoader, Trainer, TrainState, load_checkpoint
from ppzoo.engine.checkpoint.checkpoint import save_checkpoint
from ppzoo.errors import CheckpointError, WeightsError
from ppzoo.events import Callback
from ppzoo.models.mobilenet_v1 import MobileNet
from ppzoo.weights import save_state

RUN = Path(__file__).parents[1] / "fixtures" / "paddleclas_run"
EPOCHS, STEPS, BATCH = 5, 4, 16
OPTIMIZER = {"name": "Momentum", "momentum": 0.9, "regularizer": {"name": "L2", "coeff": 0.00004}}
COSINE = {"name": "Cosine", "learning_rate": 0.01, "warmup_epoch": 1}
TRANSFORMS = [
    {"ResizeImage": {"size": 64}},
    {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": ""}},
]


@pytest.fixture
def stock():
    """PaddlePaddle's own operators, as PaddleClas computes."""
    native.set_mode("off")


@pytest.fixture
def run(tmp_path):
    shutil.unpack_archive(RUN / "epoch_2.zip", tmp_path)
    return tmp_path / "epoch_2"


class Batches:
    def __init__(self):
        dataset, transforms = DATASETS["FashionMNIST"](mode="train"), builders.build_transforms(TRANSFORMS)
        samples = [dataset[index] for index in range(STEPS * BATCH)]
        self.images = np.stack([transforms(image).transpose(2, 0, 1) for image, _ in samples])
        self.labels = np.array([[label] for _, label in samples])

    def __len__(self):
        return STEPS

    def epoch(self, epoch, start_step=0):
        for start in range(start_step * BATCH, STEPS * BATCH, BATCH):
            chosen = slice(start, start + BATCH)
            tensors = [paddle.to_tensor(value[chosen]) for value in (self.images, self.labels)]
            yield SimpleNamespace(images=tensors[0], labels=tensors[1], indices=paddle.arange(start, start + BATCH))


class Record(Callback):
    def __init__(self):
        self.losses, self.rates = [], []

    def on_step_end(self, report):
        self.losses.append(report.metrics["loss"])
        self.rates.append(report.learning_rate)


def make_state(schedule=COSINE):
    with paddle.utils.unique_name.guard():
        network = MobileNet(10, scale=0.0625)
    optimizer, schedule = builders.build_optimizer(
        {**OPTIMIZER, "lr": schedule}, network, epochs=EPOCHS, steps_per_epoch=STEPS
    )
    return TrainState(network, optimizer, schedule, builders.build_metrics([{"TopkAcc": {"topk": [1, 5]}}]))


def update(state):
    """Update the weights and the learning rate as a training step does."""
    with paddle.utils.unique_name.guard():
        state.optimizer.step()
    state.optimizer.clear_grad()
    state.scheduler.step()


def tensors(state_dict):
    state_dict = {key: value for key, value in state_dict.items() if key != "LR_Scheduler"}
    return {key: np.array(value) for key, value in state_dict.items()}


def test_weights_and_optimizer_state_are_restored_bit_for_bit_and_training_continues(run, stock):
    state = make_state()
    load_checkpoint(state, run)
    for mine, suffix in ((state.model, "pdparams"), (state.optimizer, "pdopt")):
        theirs = tensors(paddle.load(f"{run}.{suffix}"))
        assert mine.state_dict().keys() - {"LR_Scheduler"} == theirs.keys()
        assert all(value.tobytes() == theirs[key].tobytes() for key, value in tensors(mine.state_dict()).items())

    trainer = Trainer(
        state=state,
        steps=StepLoader(Batches()),
        loss=builders.build_loss([{"CELoss": {"epsilon": 0.1}}]),
        evaluate=None,
        plan=Plan(EPOCHS),
    )
    record = Record()
    trainer.callbacks.append(record)
    trainer.fit()
    theirs = json.loads((RUN / "continuation.json").read_text())
    assert record.losses[0] == pytest.approx(theirs["losses"][0], rel=1e-5)  # rounding differs between processors
    assert record.losses[1] == pytest.approx(theirs["losses"][1], rel=1e-3)  # rounding errors grow
    assert record.rates == pytest.approx(theirs["learning_rates"], rel=1e-6)


@pytest.mark.parametrize("by_epoch", [False, True])
@pytest.mark.parametrize("warmup", [0, 1])
def test_paddlepaddles_optimizer_and_schedule_load_ppzoos_checkpoint(tmp_path, stock, by_epoch, warmup):
    """PaddleClas builds these from the same configuration, and loads checkpoints with `set_state_dict`."""
    state = make_state({**COSINE, "by_epoch": by_epoch, "warmup_epoch": warmup})
    unit = 1 if by_epoch else STEPS
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(0.01, T_max=(EPOCHS - warmup) * unit)
    if warmup:
        schedule = paddle.optimizer.lr.LinearWarmup(schedule, warmup_steps=unit, start_lr=0.0, end_lr=0.01)
    with paddle.utils.unique_name.guard():
        network = MobileNet(10, scale=0.0625)
    optimizer = paddle.optimizer.Momentum(
        schedule, 0.9, network.parameters(), weight_decay=paddle.regularizer.L2Decay(0.00004)
    )
    batch = next(Batches().epoch(0))
    for _ in range(2 * STEPS):
        paddle.nn.functional.cross_entropy(state.model(batch.images), batch.labels).backward()
        update(state)
    state.progress.epoch = 2
    save_checkpoint(state, tmp_path / "latest")

    network.set_state_dict(paddle.load(str(tmp_path / "latest.pdparams")))
    optimizer.set_state_dict(paddle.load(str(tmp_path / "latest.pdopt")))
    for step in range(3 * STEPS):
        assert schedule() == pytest.approx(state.scheduler(), abs=1e-9)
        losses = []
        for model in (state.model, network):
            loss = paddle.nn.functional.cross_entropy(model(batch.images), batch.labels)
            loss.backward()
            losses.append(float(loss))
        update(state)
        with paddle.utils.unique_name.guard():
            optimizer.step()
        optimizer.clear_grad()
        if not by_epoch or step % STEPS == STEPS - 1:
            schedule.step()
        if step == 0:
            assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_optimizer_state_of_paddleclas_2_4_and_later_is_a_list_of_one(run):
    paddle.save([paddle.load(f"{run}.pdopt")], f"{run}.pdopt")
    state = make_state()
    load_checkpoint(state, run)
    assert state.optimizer.get_lr() == pytest.approx(0.00853553)
    paddle.save([paddle.load(f"{run}.pdopt")[0]] * 2, f"{run}.pdopt")
    with pytest.raises(WeightsError, match="got a list"):
        load_checkpoint(make_state(), run)


def test_trained_weights_are_loaded_from_pdema(run):
    averages = {key: value * 2 for key, value in paddle.load(f"{run}.pdparams").items()}
    shutil.copy(f"{run}.pdparams", f"{run}.pdema")
    expected = tensors(paddle.load(f"{run}.pdema"))
    paddle.save(averages, f"{run}.pdparams")
    state = make_state()
    load_checkpoint(state, run)
    for key, value in tensors(state.model.state_dict()).items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (None, (0.109375, 1)),
        ({"metric": 0.25, "epoch": 1}, (0.25, 0)),  # the best epoch was before the last one
        ({"metric": 0.5, "epoch": 4}, (0.109375, 1)),  # later epochs than that of the checkpoint
    ],
)
def test_the_best_metric_is_that_of_the_finished_epochs(run, best, expected):
    if best:
        save_state(best, run.parent / "best_model.pdstates")
    state = make_state()
    load_checkpoint(state, run)
    assert (state.progress.epoch, state.progress.step) == (2, 0)
    assert (state.progress.best, state.progress.best_epoch) == pytest.approx(expected)


def test_the_best_value_of_a_run_without_metric_is_none(run):
    save_state({"metric": -1, "epoch": 2}, f"{run}.pdstates")
    state = make_state()
    load_checkpoint(state, run)
    assert state.progress.best is None


def test_a_schedule_that_is_stepped_per_epoch_is_resumed(run):
    piecewise = {"name": "Piecewise", "decay_epochs": [1, 2], "values": [0.1, 0.01, 0.001], "by_epoch": True}
    theirs = paddle.optimizer.lr.PiecewiseDecay([1, 2], [0.1, 0.01, 0.001])
    theirs.step(2)
    accumulators = paddle.load(f"{run}.pdopt")
    paddle.save([{**accumulators, "LR_Scheduler": theirs.state_dict()}], f"{run}.pdopt")
    state = make_state(piecewise)
    load_checkpoint(state, run)
    assert state.optimizer.get_lr() == pytest.approx(theirs())
    assert state.scheduler.last_epoch == 2 * STEPS


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_learning_rate_reduced_on_a_plateau_stays_reduced(run, warmup):
    theirs = paddle.optimizer.lr.ReduceOnPlateau(0.1, mode="max", factor=0.5, patience=0)
    for accuracy in (0.3, 0.2):
        theirs.step(accuracy)
    content = theirs.state_dict()
    if warmup:
        content = {"last_epoch": 2, "last_lr": content["last_lr"], "LinearWarmup_LR": content}
    accumulators = paddle.load(f"{run}.pdopt")
    paddle.save([{**accumulators, "LR_Scheduler": content}], f"{run}.pdopt")
    state = make_state({"name": "ReduceOnPlateau", "learning_rate": 0.1, "mode": "max", "warmup_epoch": warmup})
    load_checkpoint(state, run)
    assert state.optimizer.get_lr() == pytest.approx(0.05)
    assert (state.scheduler.best, state.scheduler.num_bad_epochs) == (pytest.approx(0.3), 0)


def test_the_state_of_another_network_is_refused(run):
    theirs = paddle.load(f"{run}.pdopt")
    stranger = {f"fc_99.w_0_{key}": value for key, value in theirs.items() if key != "LR_Scheduler"}
    save_state({**stranger, "LR_Scheduler": theirs["LR_Scheduler"]}, f"{run}.pdopt")
    with pytest.raises(CheckpointError, match="the optimizer state has no entry for the parameter"):
        load_checkpoint(make_state(), run)
