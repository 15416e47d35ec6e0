"""Worker processes end with the training, also while something keeps the trainer in memory, such as a traceback."""

import multiprocessing

import pytest
from helpers.small_runs import paint_class_folders, small_config

from ppzoo import builders
from ppzoo.errors import NotFiniteError
from ppzoo.events import Callback


class Workers(Callback):
    """Records how many worker processes there are at an event of the first epoch; with `fails` it raises an error."""

    def __init__(self, event, *, fails):
        self.counts, self.fails = [], fails
        setattr(self, event, self.record)

    def record(self, report):
        self.counts.append(len(multiprocessing.active_children()))
        if self.fails:
            raise NotFiniteError("the loss is nan")


class Failing:
    """Observes an evaluation, and ends it with an error."""

    def reset(self):
        pass

    def update(self, output, batch):
        raise NotFiniteError("the loss is nan")


def build_trainer(folder):
    """Build the trainer of a run that trains and evaluates with two worker processes each."""
    paint_class_folders(folder / "images")
    config = small_config(folder, "LeNet")
    for split in config["DataLoader"].values():
        split["loader"] = {"num_workers": 2}
    return builders.build_trainer(builders.read_config(config, [], "train"))[1]


@pytest.mark.parametrize(
    ("event", "fails", "counts"),
    [("on_epoch_end", False, [4]), ("on_epoch_end", True, [4]), ("on_step_end", True, [2])],
)
def test_workers_of_training_and_evaluation_end_with_the_training(tmp_path, event, fails, counts):
    trainer = build_trainer(tmp_path)
    workers = Workers(event, fails=fails)
    trainer.callbacks.append(workers)
    if fails:
        with pytest.raises(NotFiniteError) as caught:
            trainer.fit()
        assert caught.traceback  # which keeps the frames of the training
    else:
        trainer.fit()
    assert workers.counts == counts
    assert not multiprocessing.active_children()


def test_workers_end_with_an_evaluation_that_fails(tmp_path):
    trainer = build_trainer(tmp_path)
    with pytest.raises(NotFiniteError) as caught:
        trainer.evaluate(Failing())
    assert caught.traceback
    assert not multiprocessing.active_children()
