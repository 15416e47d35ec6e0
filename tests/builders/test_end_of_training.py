"""Worker processes end with the training, also while something keeps the trainer in memory, such as a traceback."""

import multiprocessing

import pytest
from helpers.small_runs import paint_class_folders, small_config

from ppzoo import builders
from ppzoo.errors import NotFiniteError
from ppzoo.events import Callback


class Workers(Callback):
    """Records how many worker processes there are after each epoch; with `fails` it then raises an error."""

    def __init__(self, *, fails):
        self.counts, self.fails = [], fails

    def on_epoch_end(self, report):
        self.counts.append(len(multiprocessing.active_children()))
        if self.fails:
            raise NotFiniteError("the loss is nan")


@pytest.mark.parametrize("fails", [False, True])
def test_workers_of_training_and_evaluation_end_with_the_training(tmp_path, fails):
    paint_class_folders(tmp_path / "images")
    config = small_config(tmp_path, "LeNet")
    for split in config["DataLoader"].values():
        split["loader"] = {"num_workers": 2}
    _, trainer = builders.build_trainer(builders.read_config(config, [], "train"))
    workers = Workers(fails=fails)
    trainer.callbacks.append(workers)
    try:
        trainer.fit()
    except NotFiniteError:
        assert fails
    assert workers.counts == [4]
    assert not multiprocessing.active_children()
