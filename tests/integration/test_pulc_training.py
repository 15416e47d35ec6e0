"""A PULC configuration trains, and predicts with its post-processing, once it names data that exists."""

import json
from pathlib import Path

import pytest
from helpers.pictures import COLORS, paint
from helpers.quick import override_options

from ppzoo.cli import main

PULC = Path(__file__).parents[1] / "fixtures" / "pulc"
CHANGES = ["Global.epochs=1", "Optimizer.lr.warmup_epoch=0", "Global.start_eval_epoch=0", "Arch.name=PPLCNet_x0_25"]
CHANGES += ["Arch.pretrained=false", "Arch.use_ssld=false", "DataLoader.Train.sampler.batch_size=4"]
CHANGES += [f"DataLoader.{split}.loader.num_workers=0" for split in ("Train", "Eval")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "labels", "metric"),
    [("person_exists", ["0", "1"], "TprAtFpr"), ("vehicle_attribute", ["1" + ",0" * 18, "0" + ",1" * 18], "ma")],
)
def test_a_pulc_configuration_trains_and_predicts(tmp_path, capsys, name, labels, metric):
    for number in range(8):
        paint(tmp_path / f"{number}.png", COLORS["red" if number % 2 else "blue"], seed=number)
    rows = [f"{number}.png\t{labels[number % 2]}" for number in range(8)]
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n")
    changes = [*CHANGES, f"Global.output_dir={tmp_path / 'output'}"]
    for split in ("Train", "Eval"):
        changes += [f"DataLoader.{split}.dataset.image_root={tmp_path}"]
        changes += [f"DataLoader.{split}.dataset.cls_label_path={tmp_path / 'list.txt'}"]
    assert main(["train", "-c", str(PULC / f"{name}.yaml"), *override_options(*changes)]) == 0
    run = tmp_path / "output" / "PPLCNet_x0_25"
    assert f"best {metric} " in (run / "train.log").read_text()
    capsys.readouterr()
    assert main(["infer", str(run), str(tmp_path / "1.png"), "--json", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    if name == "person_exists":
        assert record["label_names"][0] in ("nobody", "someone")
    else:
        assert len(record["attributes"]) == 2 and len(record["output"]) == 19
