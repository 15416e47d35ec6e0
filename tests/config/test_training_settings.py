"""Contradictory training settings are refused before data is read."""

from pathlib import Path

import pytest

from ppzoo.config import check, load

PADDLECLAS = Path(__file__).parent.parent / "fixtures" / "paddleclas_mobilenet_v2_x0_5.yaml"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["EMA.decay=1.5"], "EMA.decay: expected a number from 0 to below 1, got 1.5"),
        (["Global.update_freq=0"], "Global.update_freq: expected an integer of at least 1, got 0"),
        (
            ["Global.update_freq=4", "Global.iter_per_epoch=10"],
            "Global.iter_per_epoch: expected a multiple of Global.update_freq (4), so that an epoch ends with a"
            " complete step, got 10",
        ),
        (
            ["Global.early_stopping.patience=3", "Global.eval_during_train=false"],
            "Global.early_stopping: early stopping needs evaluations during training; set Global.eval_during_train to",
        ),
        (
            ["Global.early_stopping.patience=3", "DataLoader.Eval=null"],
            "Global.early_stopping: early stopping needs evaluations during training; add DataLoader.Eval",
        ),
        (
            ["Global.early_stopping.min_gain=0.1"],
            "Global.early_stopping.patience: expected an integer of at least 1, got nothing",
        ),
        (["AMP.dtype=fp16"], "AMP.dtype: expected one of 'float16', 'bfloat16', got 'fp16'"),
        (["Arch.freeze=conv1"], "Arch.freeze: expected true or false or a list of texts, got 'conv1'"),
    ],
)
def test_contradictions_are_reported(components, overrides, line):
    (found,) = check(load(PADDLECLAS, overrides), components)
    assert found.startswith(line)
