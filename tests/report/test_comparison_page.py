"""The text and the page of a comparison of runs; the page also in Chromium."""

import itertools

import pytest
from helpers.reports import HOSTILE

from ppzoo.report import describe_notes, format_comparison, make_note, render_comparison


def make_comparison(folders=("output/a/LeNet", "output/b/LeNet"), **changes):
    def entry(epoch, run):
        values = {"loss": 1 / (epoch + run), "top1": 0.8 + run / 100}
        return {"epoch": epoch, "train": values, "eval": {**values, "recall_class0": 0.5}, "lr": 0.1 / epoch}

    def make_run(number, folder):
        return {
            "folder": folder,
            "notes": [],
            "curves": [entry(epoch, number) for epoch in range(1, 6)],
            "epochs": 5,
            "main": "top1",
            "best_epoch": 4,
            "best": 0.8 + number / 100,
            "metrics": {"loss": 0.25, "top1": 0.8 + number / 100},
            "seconds": 75.0,
            "images_per_second": 812.4,
        }

    runs = [make_run(number, folder) for number, folder in enumerate(folders, 1)]
    differing = [{"key": "Optimizer.lr.learning_rate", "values": [0.1, None, *[0.3] * (len(runs) - 2)]}]
    test = {
        "problem": None,
        "images": 1000,
        "right": [810, 820],
        "only": [5, 15],
        "p_value": 0.0414,
        "all_images": True,
    }
    tests = [{**test, "second": number} for number in range(1, len(runs))]
    return {"version": 1, "runs": runs, "differences": differing, "tests": tests, **changes}


EMPTY = {"curves": None, "epochs": None, "best": None, "best_epoch": None, "metrics": None, "seconds": None}
EMPTY |= {"images_per_second": None, "notes": ["There are no curves: history.jsonl is damaged."]}


def without_results():
    comparison = make_comparison(differences=[])
    comparison["runs"] = [{**run, **EMPTY} for run in comparison["runs"]]
    comparison["tests"] = [{"problem": "there is no report/predictions.csv", "second": 1}]
    return comparison


def hostile():
    comparison = make_comparison(HOSTILE)
    comparison["differences"] = [{"key": name, "values": [name, [name], {}, 1, True]} for name in HOSTILE]
    return comparison


COMPARISONS = {
    "two runs": make_comparison,
    "eight runs": lambda: make_comparison([f"output/{'x' * 50}/{number}" for number in range(8)]),
    "without results": without_results,
    "hostile names": hostile,
}


def test_the_text_is_aligned():
    text = format_comparison(make_comparison())
    assert text.splitlines() == [
        "run 1: output/a/LeNet",
        "run 2: output/b/LeNet",
        "",
        "result             run 1        run 2",
        "best main metric   top1 0.8100  top1 0.8200",
        "epoch of the best  4            4",
        "loss               0.2500       0.2500",
        "top1               0.8100       0.8200",
        "finished epochs    5            5",
        "time               1:15         1:15",
        "images/s           812          812",
        "",
        "configuration               run 1  run 2",
        "Optimizer.lr.learning_rate  0.1    -",
        "",
        "on the same 1000 images, run 1 predicts 810 correctly and run 2 820; only run 1: 5, only run 2: 15. The"
        " difference is more than chance (p = 0.041, McNemar's exact test)",
    ]


def test_the_text_of_runs_without_results():
    lines = format_comparison(without_results()).splitlines()
    assert "best main metric   -      -" in lines
    assert "the configurations are the same" in lines
    assert lines[-1] == "run 2: There are no curves: history.jsonl is damaged."
    assert "no significance test of run 1 and run 2: there is no report/predictions.csv" in lines


@pytest.mark.parametrize("p_value", [0.05, 0.9])
def test_differences_that_can_be_chance(p_value):
    comparison = make_comparison()
    comparison["tests"][0]["p_value"] = p_value
    assert "The difference can be chance (p = " in format_comparison(comparison)


def test_names_cannot_break_the_text():
    assert "\x1b" not in format_comparison(hostile())
    assert len(format_comparison(hostile()).splitlines()) == len(format_comparison(hostile()).split("\n"))


def sections(browser):
    return browser.run("return [...document.querySelectorAll('main > section')].map((section) => section.id)")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("name", COMPARISONS)
def test_every_section_is_drawn(browser, name, width, language):
    browser.show(render_comparison(COMPARISONS[name](), language), width=width)
    expected = ["runs", "tests", "differences", "run_curves"]
    assert sections(browser) == expected[: 3 if name == "without results" else 4]
    assert browser.texts(".failed") == [] and browser.console() == [] and browser.requests() == []
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_a_chinese_page_is_in_chinese(browser):
    comparison = without_results()
    damaged = make_note("curves_damaged", file="history.jsonl")
    comparison["runs"] = [{**run, **describe_notes([damaged])} for run in comparison["runs"]]
    missing = make_note("predictions_missing", file="report/predictions.csv", command="ppzoo report run")
    comparison["tests"][0] |= {"problem": missing.text, "problem_values": list(missing)}
    paths = {"history.jsonl", "report", "predictions.csv", "ppzoo", "run"}
    for one, words in ((make_comparison(), {"McNemar", "Top-1"}), (comparison, paths)):
        browser.show(render_comparison(one, "zh"))
        browser.run("document.querySelectorAll('[title]').forEach((one) => one.removeAttribute('title'))")  # folders
        assert browser.latin_words() == words


def test_the_page_has_the_values_of_the_text(browser):
    browser.show(render_comparison(make_comparison()))
    assert browser.texts("h1") == ["Comparison of 2 runs"]
    rows = {row[0]: row[1:] for row in (line.split("|") for line in browser.run(ROWS))}
    assert rows["Best main metric"] == ["Top-1 accuracy 0.8100", "Top-1 accuracy 0.8200"]
    assert rows["Optimizer.lr.learning_rate"] == ["0.1", "\u2013"]
    assert rows["Images per second"] == ["812", "812"] and rows["Time"] == ["1:15", "1:15"]
    (sentence,) = browser.texts("#tests p")
    assert sentence == (
        "On the same 1,000 images, Run 1 predicts 810 correctly and Run 2 820; only Run 1: 5, only Run 2: 15."
        " The difference is more than chance (p = 0.041, McNemar's exact test)."
    )


ROWS = (
    "return [...document.querySelectorAll('tr')].map((row) => [...row.cells].map((cell) => cell.textContent).join('|'))"
)


LINES = "return [...document.querySelectorAll('.chart')].map((chart) => chart.querySelectorAll('.series').length)"


def test_curves_are_over_each_other(browser):
    browser.show(render_comparison(make_comparison(["a", "b", "c", "d", "e", "f", "g"])))
    titles = browser.texts("#run_curves figcaption")
    assert titles == ["Loss, eval", "Top-1 accuracy, eval", "Loss, train", "Top-1 accuracy, train", "Learning rate"]
    lines = browser.run(
        "return [...document.querySelectorAll('.chart')].map((one) => one.querySelectorAll('.series').length)"
    )
    assert lines == [6] * 5
    assert browser.texts("#run_curves > p") == ["The curves show the first 6 runs."]


@pytest.mark.parametrize("rate", [1e-4, 1.1e-4, 3e-7, 2.5e8])
def test_ticks_of_small_and_large_values_differ(browser, rate):
    comparison = make_comparison()
    for run in comparison["runs"]:
        run["curves"] = [{**run["curves"][0], "lr": rate}]
    browser.show(render_comparison(comparison))
    texts = browser.texts("#run_curves figure:last-child .tick")[:-1]  # the last one is the epoch
    assert len(texts) > 2 and len(set(texts)) == len(texts)
    numbers = [float(text) for text in texts]
    steps = [second - first for first, second in itertools.pairwise(numbers)]
    assert steps == pytest.approx([steps[0]] * len(steps))


@pytest.mark.parametrize("width", [390, 1400])
def test_long_values_that_differ_at_their_end_are_shown_completely(browser, width):
    values = [f"/data/photos of the year/part {number}/images/for training/{number}" for number in range(3)]
    differing = [{"key": "DataLoader.Train.dataset.image_root", "values": values}]
    browser.show(render_comparison(make_comparison(["a", "b", "c"], differences=differing)), width=width)
    cut = browser.run(
        "return [...document.querySelectorAll('.clipped')].map((one) => one.scrollHeight - one.clientHeight)"
    )
    assert len(cut) == 3 and max(cut) <= 1
    assert browser.run("return document.documentElement.scrollWidth") <= width
