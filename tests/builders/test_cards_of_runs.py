"""A training writes a model card with the counts of its data, and an export has the card of its weights."""

import pytest
from helpers.small_runs import paint_class_folders, small_config, train_config

from ppzoo.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    paint_class_folders(folder / "images")
    train_config(folder, small_config(folder, "LeNet"))
    return folder


def test_training_writes_the_card(run):
    text = (run / "output" / "LeNet" / "model_card.md").read_text(encoding="utf-8")
    assert "- Training: 24 images from ImageFolder" in text
    assert "8 images in each class." in text
    assert "- Optimizer: Momentum with the schedule Constant, learning rate 0.0001" in text
    for name in ("blue", "green", "red"):
        assert f"| {name} | " in text


def test_an_export_has_the_card_of_its_weights(run):
    card, copy = (run / folder / "model_card.md" for folder in ("output/LeNet", "inference"))
    assert main(["export", str(run / "output" / "LeNet")]) == 0
    assert copy.read_bytes() == card.read_bytes()
    content = card.read_bytes()
    card.unlink()
    assert main(["export", str(run / "output" / "LeNet")]) == 0
    assert not copy.exists()  # it would describe other weights
    card.write_bytes(content)


def test_resuming_a_finished_run_writes_a_missing_card(run):
    card = run / "output" / "LeNet" / "model_card.md"
    content = card.read_text(encoding="utf-8")
    card.unlink()
    assert main(["train", "-c", str(run / "config.yaml"), "--resume", "auto"]) == 0
    again = card.read_text(encoding="utf-8")
    head, _, _ = content.partition("Recall is")
    assert again.startswith(head)  # data, training and metrics are the same
    assert "The metrics of each class were not recorded" in again
    card.write_text(content, encoding="utf-8")
