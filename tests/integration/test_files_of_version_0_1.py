"""A checkpoint and an export that version 0.1.0 wrote on 2026-11-28: later versions load both as it did."""

import json
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers.quick import override_options

import ppzoo
from ppzoo import data
from ppzoo.cli import main

FIXTURES = Path(__file__).parent.parent / "fixtures" / "version_0_1"
EVALUATED = {"loss": 1.924254, "top1": 0.291, "top5": 0.815, "loss_ema": 1.939139, "top1_ema": 0.271, "top5_ema": 0.788}
PREDICTED = [  # of the first four evaluation images
    ([9, 5, 7], [0.373560, 0.353422, 0.134571]),
    ([9, 5, 4], [0.131423, 0.127697, 0.124214]),
    ([5, 9, 8], [0.183327, 0.144963, 0.121598]),
    ([5, 9, 8], [0.183176, 0.172258, 0.122033]),
]


def test_training_resumes_from_the_checkpoint(tmp_path):
    run = tmp_path / "output" / "LeNet"
    shutil.copytree(FIXTURES / "LeNet", run)
    overrides = [f"Global.output_dir={run.parent}", "Global.epochs=3", "Global.device=cpu"]
    options = override_options(*overrides)
    assert main(["train", "-c", str(run / "config.yaml"), "--resume", "auto", *options]) == 0
    (entry,) = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert entry["epoch"] == 3
    assert entry["train"]["loss"] == pytest.approx(2.161105, rel=1e-4)
    assert entry["eval"] == pytest.approx(EVALUATED, rel=1e-3)


@pytest.mark.skipif(paddle.__version__.startswith("2."), reason="PaddlePaddle 2.6 cannot read programs of 3.x")
def test_the_export_predicts_the_same():
    predictor = ppzoo.Predictor(FIXTURES / "export", engine="paddle")
    images = data.DATASETS["FashionMNIST"](mode="test")
    results = predictor.predict([np.asarray(images[index][0]) for index in range(len(PREDICTED))], topk=3)
    for result, (class_ids, scores) in zip(results, PREDICTED, strict=True):
        assert result["class_ids"] == class_ids
        assert result["scores"] == pytest.approx(scores, abs=1e-5)
    assert results[0]["label_names"] == ["Ankle boot", "Sandal", "Sneaker"]
