"""PULC distillation configurations train: mutual learning on single labels and on attributes, and features."""

from pathlib import Path

import pytest
import yaml
from helpers.pictures import COLORS, paint
from helpers.quick import override_options

from ppzoo.cli import main

PULC = Path(__file__).parents[1] / "fixtures" / "pulc"
LIMITS = ["Global.epochs=1", "Global.iter_per_epoch=2", "Global.start_eval_epoch=0", "Global.device=cpu"]
LIMITS += ["Optimizer.lr.warmup_epoch=0", "DataLoader.Train.sampler.batch_size=4"]
LIMITS += [f"DataLoader.{split}.loader.num_workers=0" for split in ("Train", "Eval")]


def scale_down(config):
    """Replace the networks of a distillation by small ones with random weights."""
    for model in config["Arch"]["models"]:
        ((_, network),) = model.items()
        network["name"] = "PPLCNet_x0_25" if network["name"].startswith("PPLCNet") else "ResNet18_vd"
        network["pretrained"] = network["use_ssld"] = False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "labels", "losses"),
    [
        ("safety_helmet", ["0", "1"], ["DistanceLoss", "DMLLoss", "GTCELoss"]),
        ("textline_orientation", ["0", "1"], []),
        ("vehicle_attribute", ["1" + ",0" * 18, "0" + ",1" * 18], ["DMLLoss", "MultiLabelLoss"]),
    ],
)
def test_a_pulc_distillation_trains_two_steps(tmp_path, name, labels, losses):
    for number in range(8):
        paint(tmp_path / f"{number}.png", COLORS["red" if number % 2 else "blue"], seed=number)
    rows = [f"{number}.png\t{labels[number % 2]}" for number in range(8)]
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n")
    config = yaml.safe_load((PULC / f"distillation_{name}.yaml").read_text())
    scale_down(config)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
    changes = [*LIMITS, f"Global.output_dir={tmp_path / 'output'}"]
    for split in ("Train", "Eval"):
        changes += [f"DataLoader.{split}.dataset.image_root={tmp_path}"]
        changes += [f"DataLoader.{split}.dataset.cls_label_path={tmp_path / 'list.txt'}"]
    assert main(["train", "-c", str(tmp_path / "recipe.yaml"), *override_options(*changes)]) == 0
    run = tmp_path / "output" / "DistillationModel"
    log = (run / "train.log").read_text()
    for loss in losses:
        assert f"Distillation{loss}" in log
    assert "best " in log
    weights = f"Global.pretrained_model={run / 'best_model'}"
    assert main(["eval", "-c", str(run / "config.yaml"), "-o", weights, "--quiet"]) == 0
