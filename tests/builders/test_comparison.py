"""The comparison of runs: results, differences of the configurations, and the test on the same images."""

import csv
import json
import math
import os

import numpy as np
import pytest
import yaml
from scipy import stats

from ppzoo.builders import compare_runs
from ppzoo.builders.comparison import best_entry, describe_run, differences, flatten
from ppzoo.errors import ConfigError
from ppzoo.report import format_comparison

METRIC = {"Eval": [{"TopkAcc": {"topk": [1]}}]}


def make_entry(epoch, top1, **evaluation):
    return {
        "epoch": epoch,
        "train": {"loss": 1.0 / epoch},
        "eval": {"loss": 1 - top1, "top1": top1, **evaluation},
        "lr": 0.1,
        "images_per_second": 100.0 * epoch,
        "train_seconds": 10.0,
        "eval_seconds": 1.0,
    }


def make_run(folder, accuracies=(0.5, 0.75), *, config=None, predictions=None, weights_age=100):
    """Create the folder of a run; `predictions` are pairs of a file and whether its prediction is right."""
    folder.mkdir(parents=True)
    settings = {"Arch": {"name": "LeNet"}, "Metric": METRIC, **(config or {})}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    entries = [make_entry(epoch, top1) for epoch, top1 in enumerate(accuracies, 1)]
    (folder / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    if predictions is not None:
        (folder / "report").mkdir()
        table = folder / "report" / "predictions.csv"
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "label", "label_name", "predicted", "predicted_name", "correct"])
            for name, right, *label in predictions:
                writer.writerow([name, 0, *(label or ["cat"]), 0, "?", int(right)])
        weights = folder / "best_model.pdparams"
        weights.touch()
        written = table.stat().st_mtime
        os.utime(weights, (written - weights_age, written - weights_age))
    return folder


def test_results_and_differences(tmp_path):
    first = make_run(tmp_path / "a", (0.5, 0.75, 0.7), config={"Optimizer": {"lr": {"learning_rate": 0.1}}})
    second = make_run(
        tmp_path / "b", (0.6,), config={"Optimizer": {"lr": {"learning_rate": 0.2}}, "EMA": {"decay": 0.9}}
    )
    comparison = compare_runs([first, second])
    json.dumps(comparison, allow_nan=False)
    one, other = comparison["runs"]
    assert (one["folder"], one["main"], one["best"], one["best_epoch"], one["epochs"]) == (
        str(first),
        "top1",
        0.75,
        2,
        3,
    )
    assert one["metrics"] == {"loss": 0.25, "top1": 0.75}
    assert one["seconds"] == 33.0 and one["images_per_second"] == pytest.approx(200.0)
    assert (other["best"], other["epochs"], other["seconds"]) == (0.6, 1, 11.0)
    assert comparison["differences"] == [
        {"key": "Optimizer.lr.learning_rate", "values": [0.1, 0.2]},
        {"key": "EMA.decay", "values": [None, 0.9]},
    ]


def test_runs_without_results(tmp_path):
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "b", ())
    (first / "history.jsonl").write_text("{damaged", encoding="utf-8")
    for run in compare_runs([first, second])["runs"]:
        assert run["best"] is run["best_epoch"] is run["epochs"] is run["seconds"] is run["images_per_second"] is None
    (first / "history.jsonl").unlink()
    notes = compare_runs([first, second])["runs"][0]["notes"]
    assert notes == ["There are no curves: history.jsonl cannot be read (No such file or directory)."]


def test_the_best_epoch_can_be_one_of_the_averaged_weights():
    entries = [make_entry(1, 0.5, top1_ema=0.4, loss_ema=3.0), make_entry(2, 0.5, top1_ema=0.8, loss_ema=2.0)]
    assert best_entry(entries, "top1", True) == (2, 0.8, {"top1": 0.8, "loss": 2.0})
    assert best_entry(entries, "loss", False) == (1, 0.5, {"top1": 0.5, "loss": 0.5})
    assert best_entry([{"epoch": 1, "train": {}, "eval": None}], "top1", True) is None


def test_keys_of_lists_and_equal_values():
    config = {"a": [{"b": 1}, {"c": [1, 2]}], "d": {}, "e": None}
    assert dict(flatten(config)) == {"a.0.b": 1, "a.1.c": [1, 2], "d": {}, "e": None}
    first = {"number": 1, "flag": 1, "list": [1, 2], "same": "x"}
    second = {"number": 1.0, "flag": True, "list": [1, 3], "same": "x"}
    assert [row["key"] for row in differences([first, second])] == ["flag", "list"]


def test_the_test_uses_the_images_of_both_reports(tmp_path):
    shared = [(f"{number}.png", number < 60) for number in range(100)]
    changed = [(name, right or number in (70, 71, 72)) for number, (name, right) in enumerate(shared)]
    changed[0] = ("0.png", False)
    first = make_run(tmp_path / "a", predictions=[*shared, ("only a.png", True)])
    second = make_run(tmp_path / "b", predictions=changed[::-1])
    (test,) = compare_runs([first, second])["tests"]
    assert test == {
        "problem": None,
        "images": 100,
        "right": [60, 62],
        "only": [1, 3],
        "p_value": pytest.approx(0.625),
        "all_images": False,
        "second": 1,
    }


def test_three_runs_are_compared_with_the_first(tmp_path):
    random = np.random.default_rng(0)
    right = random.random((3, 400)) < np.array([[0.7], [0.72], [0.85]])
    runs = [
        make_run(tmp_path / f"run {number}", predictions=[(f"{index}.png", hit) for index, hit in enumerate(row)])
        for number, row in enumerate(right)
    ]
    tests = compare_runs(runs)["tests"]
    assert [test["second"] for test in tests] == [1, 2]
    for test, other in zip(tests, right[1:], strict=True):
        only = [int((right[0] & ~other).sum()), int((other & ~right[0]).sum())]
        assert test["only"] == only and test["right"] == [right[0].sum(), other.sum()]
        # McNemar's exact test: under the null hypothesis each discordant image is a fair coin toss.
        tails = [math.comb(sum(only), heads) for heads in range(min(only) + 1)]
        assert test["p_value"] == pytest.approx(min(1.0, 2 * sum(tails) / 2 ** sum(only)), rel=1e-9)
        assert test["p_value"] == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue, rel=1e-9)


def test_values_that_are_not_finite_are_unknown(tmp_path):
    runs = [make_run(tmp_path / name) for name in "ab"]
    entry = {"epoch": 1, "train": {"loss": float("nan")}, "eval": {"top1": 0.5, "loss": float("inf")}}
    (runs[0] / "history.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf-8")
    comparison = compare_runs(runs)
    json.dumps(comparison, allow_nan=False)
    assert comparison["runs"][0]["metrics"] == {"top1": 0.5, "loss": None}
    assert comparison["runs"][0]["curves"][0]["train"] == {"loss": None}
    assert "loss" in format_comparison(comparison)


def test_images_of_the_same_name_are_matched_in_order(tmp_path):
    first = make_run(tmp_path / "a", predictions=[("x", True), ("x", False)])
    second = make_run(tmp_path / "b", predictions=[("x", True), ("x", True)])
    (test,) = compare_runs([first, second])["tests"]
    assert (test["images"], test["only"]) == (2, [0, 1])


@pytest.mark.parametrize(
    ("predictions", "options", "problem"),
    [
        (None, {}, "there is no {other}/report/predictions.csv; write it with `ppzoo report {other}`"),
        (
            [("x", True)],
            {"weights_age": -100},
            "{other}/report/predictions.csv is older than the weights; update it with `ppzoo report",
        ),
        ([("y", True)], {}, "the reports of {first} and {other} have no images in common"),
        ([("x", True, "dog")], {}, "the reports of {first} and {other} have different labels for the same images"),
    ],
)
def test_without_a_test_there_is_a_reason(tmp_path, predictions, options, problem):
    first = make_run(tmp_path / "a", predictions=[("x", True)])
    other = make_run(tmp_path / "b", predictions=predictions, **options)
    (test,) = compare_runs([first, other])["tests"]
    assert test["problem"].startswith(problem.format(first=first, other=other))


@pytest.mark.parametrize("content", [b"", b"file,correct\nx,2\n", b"\xff\xfe", b'file,label_name,correct\n"x,cat,1\n'])
def test_a_damaged_table_of_predictions_is_reported(tmp_path, content):
    runs = [make_run(tmp_path / name, predictions=[("x", True)]) for name in "ab"]
    (runs[1] / "report" / "predictions.csv").write_bytes(content)
    (test,) = compare_runs(runs)["tests"]
    assert (
        "no images in common" in test["problem"]
        or f"damaged; replace it with `ppzoo report {runs[1]}`" in test["problem"]
    )


def test_mistakes(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(ConfigError, match="compare: expected two runs or more, got 1"):
        compare_runs([run])
    with pytest.raises(ConfigError, match=r"compare: expected different runs, got .* more than once"):
        compare_runs([run, tmp_path / "a" / ".." / "a"])


def test_an_epoch_whose_metrics_are_not_finite_is_never_the_best():
    entries = [{"epoch": epoch, "eval": {"top1": value}} for epoch, value in enumerate([math.nan, 0.5, math.inf], 1)]
    assert best_entry(entries, "top1", True) == (2, 0.5, {"top1": 0.5})
    assert best_entry(entries[:1], "top1", True) is None


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": 1, "train": {}, "eval": [1]}',
        '{"epoch": 1, "train": {}, "eval": {"top1": 0.5, "loss": "low"}}',
        '{"epoch": 1, "train": {"loss": []}}',
        "[1]",
        "[" * 100_000,
    ],
)
def test_a_history_of_another_form_is_damaged(tmp_path, line):
    (tmp_path / "history.jsonl").write_text(line + "\n")
    result = describe_run(tmp_path, {"Metric": {"Eval": [{"TopkAcc": {"topk": [1]}}]}})
    assert result["notes"] == ["There are no curves: history.jsonl is damaged."]
    assert result["curves"] is None and result["best"] is None


def test_a_p_value_is_never_printed_as_zero(tmp_path):
    rows = [[(f"{index}.png", hit) for index in range(3000)] for hit in (True, False)]
    runs = [make_run(tmp_path / f"run {hit}", predictions=row) for hit, row in enumerate(rows)]
    assert "The difference is more than chance (p < 2e-308, McNemar's exact test)" in format_comparison(
        compare_runs(runs)
    )
