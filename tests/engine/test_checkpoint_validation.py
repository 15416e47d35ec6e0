"""The content of a checkpoint is validated before it is used."""

import os

import numpy as np
import paddle
import pytest

from ppzoo.engine import EarlyStopping
from ppzoo.engine.checkpoint import validation
from ppzoo.engine.checkpoint.atomic_files import SavedFiles
from ppzoo.errors import CheckpointError

VALID = {"epoch": 2, "step": 0, "best": 0.5, "best_epoch": 1, "metric": None, "identity": {}, "tally": {"images": 3}}
VALID |= {"rollbacks": 1, "average_updates": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": "x"}, "expected epoch to be an integer of at least 0, got 'x'"),
        ({"epoch": -1}, "expected epoch to be an integer of at least 0, got -1"),
        ({"epoch": None}, "expected epoch to be an integer of at least 0, got None"),
        ({"epoch": 1 << 40}, "expected epoch to be an integer of at least 0, got"),
        ({"step": True}, "expected step to be an integer of at least 0, got True"),
        ({"rollbacks": "x"}, "expected rollbacks to be an integer of at least 0, got 'x'"),
        ({"rollbacks": -1}, "expected rollbacks to be an integer of at least 0, got -1"),
        ({"average_updates": [1]}, "expected average_updates to be an integer of at least 0, got"),
        ({"best": "x"}, "expected best to be a number, got 'x'"),
        ({"best": float("nan")}, "expected best to be a number, got nan"),
        ({"best_epoch": [1]}, "expected best_epoch to be a number, got"),
        ({"tally": 3}, "expected tally to be a dictionary, got an int"),
        ({"identity": [1]}, "expected identity to be a dictionary, got a list"),
    ],
)
def test_invalid_progress_is_refused(change, message):
    validation.require_progress(VALID)
    with pytest.raises(CheckpointError, match=message):
        validation.require_progress({**VALID, **change})


@pytest.mark.parametrize("value", [np.zeros((3, 2), "f4"), np.zeros((2, 3), "i4"), "x", {"a": 1}])
def test_invalid_accumulators_are_refused(value):
    with paddle.utils.unique_name.guard():
        model = paddle.nn.Linear(2, 3)
    name = model.weight.name
    valid = {f"{name}_velocity_0": np.zeros((2, 3), "f4"), f"{name}_beta1_pow_acc_0": np.zeros(1, "f4")}
    valid[f"{model.bias.name}_velocity_0"] = np.zeros(3, "f4")
    validation.require_accumulators(valid, model)
    with pytest.raises(CheckpointError, match=f"{name}_velocity_0"):
        validation.require_accumulators({**valid, f"{name}_velocity_0": value}, model)
    with pytest.raises(CheckpointError, match="expected the learning-rate schedule to be a dictionary"):
        validation.require_accumulators({"LR_Scheduler": [1]}, model)


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_every_parameter_has_accumulators_and_every_accumulator_a_parameter(missing):
    """Also where the name of one parameter begins with that of another one."""
    model = paddle.nn.Linear(3, 3, weight_attr=f"fc_{missing}", bias_attr=f"fc_{missing}_offset")
    shapes = {model.weight.name: (3, 3), model.bias.name: (3,)}
    complete = {f"{name}_velocity_0": np.zeros(shape, "f4") for name, shape in shapes.items()}
    validation.require_accumulators(complete, model)
    validation.require_accumulators({}, model)
    name = getattr(model, missing).name
    rest = {key: value for key, value in complete.items() if key != f"{name}_velocity_0"}
    with pytest.raises(CheckpointError, match=f"no entry for the parameter '{name}'"):
        validation.require_accumulators(rest, model)
    getattr(model, missing).stop_gradient = True
    validation.require_accumulators(rest, model)
    with pytest.raises(
        CheckpointError, match="the network has no parameter for 'fc_2_velocity_0' of the optimizer state"
    ):
        validation.require_accumulators({**complete, "fc_2_velocity_0": np.zeros(1, "f4")}, model)


def test_errors_while_restoring_become_checkpoint_errors(tmp_path):
    message = "x is damaged or not a checkpoint of a training run: 'last_lr'"
    with pytest.raises(CheckpointError, match=message), validation.wrap_malformed(tmp_path / "x"):
        raise KeyError("last_lr")


def test_an_invalid_state_of_early_stopping_is_refused_when_it_is_restored(tmp_path):
    message = "x is damaged or not a checkpoint of a training run: could not convert string to float"
    with pytest.raises(CheckpointError, match=message), validation.wrap_malformed(tmp_path / "x"):
        EarlyStopping(2).load_state_dict({"best": "x", "waited": 1})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["latest.manifest", "latest.new.manifest"])
def test_manifests_that_are_pipes_are_refused_without_waiting(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"cannot read .*{name}: it is a pipe or a device, not a file"):
        SavedFiles(tmp_path / "latest")
