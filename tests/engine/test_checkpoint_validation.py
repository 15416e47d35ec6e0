"""What a checkpoint says is looked at before it is believed."""

import numpy as np
import paddle
import pytest

from ppzoo.engine.checkpoint import validation
from ppzoo.errors import CheckpointError

SOUND = {"epoch": 2, "step": 0, "best": 0.5, "best_epoch": 1, "metric": None, "identity": {}, "tally": {"images": 3}}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"epoch": "x"}, "its epoch is 'x'"),
        ({"epoch": -1}, "its epoch is -1"),
        ({"epoch": None}, "its epoch is None"),
        ({"epoch": 1 << 40}, "its epoch is"),
        ({"step": True}, "its step is True"),
        ({"best": "x"}, "its best is 'x'"),
        ({"best": float("nan")}, "its best is nan"),
        ({"best_epoch": [1]}, "its best_epoch is"),
        ({"tally": 3}, "its tally is a int"),
        ({"identity": [1]}, "its identity is a list"),
    ],
)
def test_progress_that_cannot_be_is_refused(change, complaint):
    validation.require_progress(SOUND)
    with pytest.raises(CheckpointError, match=complaint):
        validation.require_progress({**SOUND, **change})


@pytest.mark.parametrize("value", [np.zeros((3, 2), "f4"), np.zeros((2, 3), "i4"), "x", {"a": 1}])
def test_accumulators_are_numbers_of_the_parameter_s_shape(value):
    with paddle.utils.unique_name.guard():
        model = paddle.nn.Linear(2, 3)
    name = model.weight.name
    sound = {f"{name}_velocity_0": np.zeros((2, 3), "f4"), f"{name}_beta1_pow_acc_0": np.zeros(1, "f4")}
    validation.require_accumulators(sound, model)
    with pytest.raises(CheckpointError, match=f"{name}_velocity_0"):
        validation.require_accumulators({**sound, f"{name}_velocity_0": value}, model)
    with pytest.raises(CheckpointError, match="its schedule is no table"):
        validation.require_accumulators({"LR_Scheduler": [1]}, model)


def test_what_goes_wrong_on_the_way_is_the_checkpoint_s_fault(tmp_path):
    complaint = "x is damaged, or no checkpoint of a training: 'last_lr'"
    with pytest.raises(CheckpointError, match=complaint), validation.wrap_malformed(tmp_path / "x"):
        raise KeyError("last_lr")
