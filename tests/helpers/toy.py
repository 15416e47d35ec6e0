"""A small run for the engine's tests: batches, a network with batch norm and dropout, and callbacks."""

import os
from types import SimpleNamespace

import numpy as np
import paddle

from ppzoo.engine import Plan, StepLoader, Trainer, TrainState
from ppzoo.events import Callback
from ppzoo.losses import LOSSES, CombinedLoss
from ppzoo.metrics import METRICS, MetricList
from ppzoo.optim import OPTIMIZERS, SCHEDULES

STEPS, EPOCHS = 4, 3


class Batches:
    """Batches of `sizes` images that depend only on epoch and step."""

    def __init__(self, sizes=(4,) * STEPS):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def epoch(self, epoch, start_step=0):
        for step in range(start_step, len(self)):
            random, size = np.random.default_rng((epoch, step)), self.sizes[step]
            images = paddle.to_tensor(random.standard_normal((size, 3, 8, 8)).astype("float32"))
            labels, indices = paddle.to_tensor(random.integers(0, 3, size)), paddle.arange(size)
            yield SimpleNamespace(images=images, labels=labels, indices=indices)


class Network(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3, padding=1)
        self.norm = paddle.nn.BatchNorm(4)
        self.drop = paddle.nn.Dropout(0.5)
        self.out = paddle.nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.drop(self.norm(self.conv(x)).mean([2, 3])))


def make_state(class_num=3, network=Network, steps=STEPS, **options):
    paddle.seed(7)
    with paddle.utils.unique_name.guard():
        network = network()
    scheduler = SCHEDULES["Cosine"](EPOCHS, steps, learning_rate=0.1, warmup_epoch=1)
    optimizer = OPTIMIZERS["Momentum"](regularizer={"name": "L2", "coeff": 0.01}).build(network, scheduler)
    metric = MetricList([METRICS["TopkAcc"](topk=[1])])
    return TrainState(network, optimizer, scheduler, metric, seed=5, identity={"class_num": class_num}, **options)


def make_trainer(state, *callbacks, steps=None, evaluate=None, plan=None):
    trainer = Trainer(
        state=state,
        steps=steps or StepLoader(Batches()),
        loss=CombinedLoss([(LOSSES["CELoss"](), 1.0)]),
        evaluate=evaluate,
        plan=plan or Plan(EPOCHS),
    )
    trainer.callbacks += callbacks
    return trainer


class Reports(Callback):
    def __init__(self):
        self.train = []

    def on_epoch_end(self, report):
        self.train.append((report.epoch, dict(report.train), report.learning_rate))


class StopAfter(Callback):
    """Sends SIGTERM to the process after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def on_step_end(self, report):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), 15)


def tensors(state):
    arrays = {**state.model.state_dict(), **state.optimizer.state_dict()}
    return {key: np.array(value) for key, value in arrays.items() if key != "LR_Scheduler"}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)
