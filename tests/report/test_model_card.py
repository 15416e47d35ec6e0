"""The model card states what is known, escapes the names of users, and is rewritten when a run is resumed."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ppzoo.errors import TrainingError
from ppzoo.events import EpochReport, Summary
from ppzoo.report import ModelCard
from ppzoo.report.model_card import MODEL_CARD, CardData, CardFacts, CardResults, escape, render_model_card

NAMES = ["cat", "dog", "fox"]
FACTS = CardFacts(
    architecture="LeNet",
    parameters=61706,
    classes=NAMES,
    image_shape=[3, 32, 32],
    train=CardData("ImageFolder (photos/train)", 60, [20, 20, 20]),
    evaluation=CardData("ImageFolder (photos/val)", 12, [4, 8, 0]),
    recipe=[("Loss", "CELoss")],
    start="random weights",
    limits=["A limit."],
    versions={"ppzoo": "0.1.0"},
)
RECALL = np.array([0.25, 0.875, math.nan])
CONFUSION = np.array([[1, 3, 0], [1, 7, 0], [0, 0, 0]])
RESULTS = CardResults(3, {"loss": 0.5, "top1": 0.6667}, RECALL, CONFUSION)
HOSTILE = [
    "<script>alert(1)</script>",
    "[x](http://e.vil)",
    "a|b\n# c",
    "`rm -rf`",
    "\x1b[31mred",
    "猫",
    "**b** &amp; $x$",
]


def report(epoch, *, best, top1):
    return EpochReport(epoch, {"loss": 1.0}, {"top1": top1}, 0.1, 10.0, 1.0, 1.0, best)


def summary(best_epoch, epochs=2):
    return Summary(epochs, 1.0, "top1", 0.5, best_epoch)


def test_metrics_per_class_and_confused_pairs(tmp_path):
    text = render_model_card(FACTS, RESULTS, tmp_path, epochs=4)
    assert "| top1 | 0.6667 |" in text
    assert "| cat | 0.2500 | 0.5000 | 4 |" in text
    assert "| dog | 0.8750 | 0.7000 | 8 |" in text
    assert "cat predicted as dog (3 of 4); dog predicted as cat (1 of 8)." in text
    assert "the evaluation data has no images of them: fox." in text
    assert text.index("| cat |") < text.index("| dog |")  # the weakest class is the first


def test_many_classes_show_the_weakest_twenty(tmp_path):
    count = 50
    facts = dataclasses.replace(FACTS, classes=[f"class{index}" for index in range(count)])
    recall = np.linspace(1, 0, count)
    text = render_model_card(facts, CardResults(1, {}, recall, None), tmp_path, epochs=1)
    rows = re.findall(r"^\| class(\d+) ", text, re.MULTILINE)
    assert [int(row) for row in rows] == list(range(49, 29, -1))
    assert "These are the 20 classes of lowest recall, of 50." in text
    assert "and 30 more in `labels.txt`" in text


def test_without_evaluation_nothing_is_claimed(tmp_path):
    facts = dataclasses.replace(FACTS, evaluation=None)
    text = render_model_card(facts, None, tmp_path, epochs=1)
    assert "The network was not evaluated." in text
    assert "Most frequent mistakes" not in text and "best_model" not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_become_formatting(name, tmp_path):
    facts = dataclasses.replace(FACTS, classes=[name, *NAMES[1:]], architecture=name)
    text = render_model_card(facts, RESULTS, tmp_path / "run", epochs=1)
    plain = render_model_card(FACTS, RESULTS, tmp_path / "run", epochs=1)
    assert len(text.splitlines()) == len(plain.splitlines())
    assert "\x1b" not in text
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)
    parser.feed(text)
    assert tags == []
    assert not re.search(r"(?<!\\)[`*|\[\]]", escape(name))
    assert "http://" not in escape(name)


def test_the_epoch_is_the_best_one(tmp_path):
    card = ModelCard(tmp_path, FACTS, list, lambda averaged: (RECALL, CONFUSION))
    card.on_epoch_end(report(0, best=True, top1=0.7))
    card.on_epoch_end(report(1, best=False, top1=0.6))
    card.on_train_end(summary(0))
    text = (tmp_path / MODEL_CARD).read_text(encoding="utf-8")
    assert "after epoch 1:" in text and "| top1 | 0.7000 |" in text


def test_a_resumed_run_takes_the_best_epoch_from_the_history(tmp_path):
    (tmp_path / MODEL_CARD).write_text("old")
    history = [{"epoch": 1, "train": {"loss": 1.0}, "eval": {"top1": 0.9}}]
    card = ModelCard(tmp_path, FACTS, lambda: history)
    card.on_epoch_end(report(1, best=False, top1=0.6))
    card.on_train_end(summary(0))
    text = (tmp_path / MODEL_CARD).read_text(encoding="utf-8")
    assert "after epoch 1:" in text and "| top1 | 0.9000 |" in text
    assert "The metrics of each class were not recorded; `ppzoo report` computes them." in text


def test_a_full_disk_is_reported_in_one_line(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(TrainingError, match=rf"^cannot write .*{MODEL_CARD}: No space left on device$"):
        ModelCard(tmp_path, FACTS, list).on_train_end(summary(None))


def test_a_folder_with_other_characters_is_not_put_into_commands(tmp_path):
    text = render_model_card(FACTS, RESULTS, tmp_path / "a; rm -rf b", epochs=1)
    assert "ppzoo eval RUN_FOLDER" in text and "rm -rf" not in text
