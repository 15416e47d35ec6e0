"""The page of a report in Chromium: drawn completely at both widths, in both themes, on paper, and operable by keys."""

import random
import re

import numpy as np
import pytest
from helpers.browser import EMPTY_PARTS, check_drawn
from helpers.reports import CHINESE, FASHION, HOSTILE, make_multi_label_report, make_names, make_report

from ppzoo.analysis import PredictionRecorder
from ppzoo.builders.reporting import describe_predictions, to_json_types
from ppzoo.report import describe_notes, make_note, render_report
from ppzoo.report.page import read_texts

SINGLE = ["summary", "curves", "per_class", "confusion", "calibration", "coverage", "gallery", "map", "data", "model"]
SINGLE += ["config", "environment"]
MULTI = ["summary", "notes", "per_class", "labels", *SINGLE[4:]]
REPORTS = {
    "two classes": (lambda: make_report(["cat", "dog"]), "en"),
    "ten classes": (make_report, "en"),
    "200 classes": (lambda: make_report(make_names(200)), "zh"),
    "1,000 classes": (lambda: make_report(make_names(1000), images=50000), "en"),
    "one image": (lambda: make_report(images=1, epochs=1), "en"),
    "several labels": (make_multi_label_report, "en"),
    "Chinese": (lambda: make_report(CHINESE, title="轻量级网络", source="输出/轻量级网络"), "zh"),
    "hostile names": (lambda: make_report(HOSTILE, title=HOSTILE[0], source=HOSTILE[3], config=HOSTILE[1]), "en"),
    "long names": (lambda: make_report(["x" * 300, "very long " * 30, "קטגוריה " * 40]), "en"),
    "100 epochs": (lambda: make_report(epochs=100), "en"),
}
CHINESE_PAGE_WORDS = {
    *(
        "Top-1",
        "Top-5",
        "F1",
        "ECE",
        "FLOPs",
        "Grad-CAM",
        "PCA",
        "t-SNE",
        "logits",
        "softmax",
        "sigmoid",
        "mAP",
        "Ctrl",
    ),
    *("PaddlePaddle", "Paddle", "Python", "ppzoo", "MobileNetV2_x0_5", "report", "data", "check", "drop_last"),
    *("report.json", "history.jsonl", "output", "MB"),
}
CANVAS_COLORS = """
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
"""
CONTRASTS = """
    const luminance = (hex) => {
        const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
        const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = getComputedStyle(document.documentElement);
    const value = (name) => luminance(style.getPropertyValue(`--${name}`).trim());
    const contrasts = {};
    for (const front of ["text", "muted", "accent", "wrong"]) {
        for (const back of ["surface", "ground", "inset"]) {
            const [low, high] = [value(front), value(back)].sort((a, b) => a - b);
            contrasts[`${front} on ${back}`] = (high + 0.05) / (low + 0.05);
        }
    }
    return contrasts;
"""


def sections(browser):
    return browser.run("return [...document.querySelectorAll('main > section')].map((section) => section.id)")


def column(browser, section, number):
    """Return the texts of a column of the section's first table."""
    return browser.texts(f"#{section} tbody tr > :nth-child({number})")


def sort_order(browser, section, key):
    return browser.find(f"#{section} th[data-key='{key}']").get_attribute("aria-sort")


def wait_for_tooltip(browser, *words):
    """Wait until the tooltip begins with these words; until it is hidden if there are none."""
    from selenium.common.exceptions import TimeoutException

    try:
        browser.wait(
            "const tip = document.getElementById('tip'); const words = tip.hidden ? [] : tip.innerText.split(/\\s+/);"
            "return arguments.length ? [...arguments].every((word, i) => word === words[i]) : !words.length",
            *words,
        )
    except TimeoutException:
        shown = browser.run("return document.getElementById('tip').innerText")
        pytest.fail(f"the tooltip shows {shown!r}, not {words}")


def hover(browser, selector, across, down):
    """Move the mouse to a point of an element, in shares of its size."""
    from selenium.webdriver import ActionChains

    element = browser.find(selector)
    size = element.rect
    x, y = round((across - 0.5) * size["width"]), round((down - 0.5) * size["height"])
    ActionChains(browser.driver, duration=0).move_to_element_with_offset(element, x, y).perform()
    return element


def press(browser, selector, *keys):
    browser.run("arguments[0].focus()", browser.find(selector))
    browser.driver.switch_to.active_element.send_keys(*keys)


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("name", REPORTS)
def test_every_section_is_drawn(browser, name, width):
    make, language = REPORTS[name]
    browser.show(render_report(make(), language), width=width)
    assert sections(browser) == (MULTI if name == "several labels" else SINGLE)
    check_drawn(browser, width)
    if name != "several labels":
        assert browser.run(CANVAS_COLORS) > 5
    titles = browser.texts(".contents a")
    assert titles == browser.texts("h2") and len(set(titles)) == len(titles)


def all_notes():
    """Return a note of each kind, with values for all placeholders."""
    keys = [key.removeprefix("note.") for key in read_texts("en") if re.fullmatch(r"note\.\w+", key)]
    values = dict.fromkeys(["n", "kept", "images", "read", "done", "least", "shown"], 2)
    files = {
        "file": "history.jsonl",
        "first": "output/a",
        "second": "output/b",
        "seconds": "8",
        "command": "ppzoo report output",
    }
    return [make_note(key, **values, **files, reason="No such file or directory") for key in keys]


def test_a_chinese_page_is_in_chinese(browser):
    metrics = {"loss": 0.3, "top1": 0.9, "top5": 0.99, "top1_tta": 0.9, "ExpectedCalibrationError": 0.1, "f1_macro": 1}
    for report in (make_report(metrics=metrics, interrupted={"epoch": 3, "epochs": 9}), make_multi_label_report()):
        report["environment"]["device"] = "gpu:0"
        browser.show(render_report({**report, **describe_notes(all_notes())}, "zh"))
        words = browser.latin_words()
        assert words <= CHINESE_PAGE_WORDS
    assert len(browser.texts("#notes li")) == len(all_notes())


def test_a_page_shows_the_notes_of_a_report(browser):
    notes = [make_note("skipped", n=1), make_note("map_part", shown=2000, images=10000)]
    browser.show(render_report(make_report(**describe_notes(notes))))
    expected = ["1 image of the evaluation data was skipped", "The map shows 2,000 of 10,000 images."]
    assert [text[: len(start)] for text, start in zip(browser.texts("#notes li"), expected, strict=True)] == expected
    browser.show(render_report(make_report(notes=["another program's note"])))
    assert browser.texts("#notes li") == ["another program's note"]


def test_the_values_of_the_page_are_those_of_scikit_learn(browser):
    from sklearn import metrics

    random = np.random.default_rng(3)
    labels = random.integers(0, 9, 1234)  # class 9 has no image
    scores = random.normal(0, 1, (1234, 10)).astype(np.float32)
    scores[np.arange(1234), labels] += 1.5
    scores[:, 8] -= 9  # class 8 is never predicted
    recorder = PredictionRecorder(10, 1234)
    recorder.add(np.arange(1234), scores, labels)
    sections = to_json_types(describe_predictions(recorder.finish(), []))
    predicted = scores.argmax(axis=1)
    top1 = metrics.accuracy_score(labels, predicted)
    browser.show(render_report(make_report(images=1234, metrics={"loss": 0.5, "top1": top1}, **sections)))
    browser.find("#per_class th[data-key='class'] button").click()
    values = metrics.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(10), zero_division=np.nan, average=None
    )
    order = sorted(range(10), key=lambda index: FASHION[index].lower())
    assert column(browser, "per_class", 1) == [FASHION[index] for index in order]
    for number, theirs in enumerate(values[:3], 2):
        expected = ["\u2013" if np.isnan(theirs[index]) else f"{theirs[index]:.4f}" for index in order]
        assert column(browser, "per_class", number) == expected
    assert column(browser, "per_class", 5) == [f"{values[3][index]:,}" for index in order]
    assert browser.texts(".lead strong")[0] == f"{top1:.4f}"
    browser.find("#confusion .table-foot button:nth-of-type(2)").click()
    rows = zip(*(column(browser, "confusion", number) for number in (1, 2, 3)), strict=True)
    matrix = metrics.confusion_matrix(labels, predicted, labels=np.arange(10))
    wrong = {
        (FASHION[i], FASHION[j], f"{matrix[i, j]:,}") for i in range(10) for j in range(10) if i != j and matrix[i, j]
    }
    assert set(rows) == wrong


def test_the_summary_names_the_weakest_class(browser):
    report = make_report(weakest={"class": 6, "recall": 0.69, "mostly": 0, "share": 0.18})
    report["metrics"] = {"loss": 0.31, "top1": 0.893}
    browser.show(render_report(report))
    expected = "Top-1 accuracy 0.8930 on 10,000 images. Shirt is the weakest class: recall 0.6900,"
    assert browser.texts(".lead") == [f"{expected} most often mistaken for T-shirt (18.0% of its images)."]
    browser.show(render_report({**report, "interrupted": {"epoch": 3, "epochs": 10}}, "zh"))
    assert browser.texts(".banner")[0].startswith("训练尚未完成")


def test_the_summary_states_that_all_predictions_are_right(browser):
    browser.show(render_report(make_report(weakest=None, confusion=[[0, 0, 7], [1, 1, 3]])))
    assert browser.texts(".lead")[0].endswith("All images of all classes are predicted correctly.")


def test_metrics_have_the_digits_that_eval_prints(browser):
    values = [*(number / 32 for number in range(33)), *(random.Random(0).random() * 3 for _ in range(60)), 0.00005]
    metrics = {f"metric{index}": value for index, value in enumerate(values)}
    browser.show(render_report(make_report(metrics=metrics, main="metric0", calibration=None)))
    shown = browser.run("return [...document.querySelectorAll('#summary dd')].map((dd) => dd.firstChild.textContent)")
    assert shown[: len(values)] == [f"{value:.4f}" for value in values]


def test_sections_without_values_are_skipped(browser):
    kept = {"version", "title", "source", "task", "classes", "metrics", "environment"}
    report = {key: value if key in kept else None for key, value in make_report().items()}
    browser.show(render_report({**report, "metrics": {"loss": None}}))
    assert sections(browser) == ["summary", "environment"]
    assert browser.texts(".failed") == [] and browser.console() == []


def test_unknown_values_are_dashes(browser):
    report = make_report(epochs=3, weakest=None, created=None, speed=None)
    report["metrics"] = dict.fromkeys(report["metrics"])
    report["curves"][0]["train"] = {"loss": None, "top1": None}
    report["curves"][1].update(eval=None, lr=None)
    report["per_class"][0].update(precision=None, recall=None, f1=None)
    report["calibration"].update(temperature=None, ece_scaled=None)
    report["coverage"][0]["accuracy"] = None
    report["gallery"]["least_confident"] = []
    for image in report["gallery"]["highest_loss"]:
        image.update(confidence=None, loss=None, overlay=None)
    report["data"].update(train=None, sizes=None, duplicates=None, duplicate_count=None)
    report["model"].update(parameters=None, flops=None, flops_input=None, file_bytes=None)
    report["environment"]["processor"] = None
    browser.show(render_report(report))
    assert sections(browser) == SINGLE
    assert browser.texts(".failed") == [] and browser.console() == [] and browser.run(EMPTY_PARTS) == []
    assert browser.texts(".lead") == ["Top-1 accuracy \u2013 on 10,000 images."]
    assert not re.search("undefined|null|NaN", browser.run("return document.body.innerText"))


def test_duplicates_are_unknown_without_training_data(browser):
    report = make_report()
    report["data"].update(duplicates=[], duplicate_count=0)
    browser.show(render_report(report))
    assert "No evaluation image is also in the training data." in browser.texts("#data > p")
    report["data"]["train"] = None
    browser.show(render_report(report))
    assert browser.texts("#data > p") == []


def test_shares_of_image_sizes_are_those_of_all_images(browser):
    report = make_report()
    report["data"].update(sizes=[[640, 480, 200], [100, 100, 50]], measured=1000)
    browser.show(render_report(report))
    shares = "return [...document.querySelectorAll('#data table')][1].innerText"
    assert re.findall(r"[\d.]+%", browser.run(shares)) == ["20.0%", "5.0%"]


def test_tables_are_sorted_by_click(browser):
    report = make_report()
    browser.show(render_report(report))
    by_recall = sorted(report["per_class"], key=lambda row: row["recall"])
    assert sort_order(browser, "per_class", "recall") == "ascending"
    assert column(browser, "per_class", 3) == [f"{row['recall']:.4f}" for row in by_recall]
    browser.find("#per_class th[data-key='support'] button").click()
    assert sort_order(browser, "per_class", "support") == "descending"
    assert sort_order(browser, "per_class", "recall") == "none"
    counts = sorted((row["support"] for row in report["per_class"]), reverse=True)
    assert column(browser, "per_class", 5) == [f"{number:,}" for number in counts]
    browser.find("#per_class th[data-key='support'] button").click()
    assert column(browser, "per_class", 5) == [f"{number:,}" for number in counts[::-1]]


def test_tables_are_sorted_by_keys(browser):
    from selenium.webdriver.common.keys import Keys

    browser.show(render_report(make_report()))
    press(browser, "#per_class th[data-key='class'] button", Keys.ENTER)
    assert sort_order(browser, "per_class", "class") == "ascending"
    assert column(browser, "per_class", 1) == sorted(FASHION, key=str.lower)
    browser.driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert column(browser, "per_class", 1) == sorted(FASHION, key=str.lower, reverse=True)


def test_unknown_values_are_last(browser):
    report = make_report(["a", "b", "c"])
    report["per_class"][1].update(precision=None, recall=None)
    browser.show(render_report(report))
    for _ in range(2):
        browser.find("#per_class th[data-key='recall'] button").click()
        assert column(browser, "per_class", 3)[-1] == "\u2013"


def test_a_thousand_rows_are_searched_and_shown_in_parts(browser):
    browser.show(render_report(make_report(make_names(1000), images=50000)))
    assert len(column(browser, "per_class", 1)) == 20
    browser.find("#per_class .table-foot button:nth-of-type(1)").click()
    assert len(column(browser, "per_class", 1)) == 70
    browser.find("#per_class input").send_keys("山水画 99")
    assert sorted(column(browser, "per_class", 1)) == ["山水画 990", "山水画 997"]
    browser.find("#per_class input").clear()
    browser.find("#per_class input").send_keys("no such class")
    assert column(browser, "per_class", 1) == []
    assert browser.texts("#per_class [role='status']") == ["0 of 0 rows"]
    browser.find("#per_class input").clear()
    browser.find("#per_class input").send_keys(" ")
    browser.find("#per_class .table-foot button:nth-of-type(2)").click()
    assert len(column(browser, "per_class", 1)) == 1000


def test_curves_are_read_by_mouse_and_keys(browser):
    from selenium.webdriver.common.keys import Keys

    report = make_report()
    browser.show(render_report(report))
    hover(browser, "#curves .chart svg", 0.95, 0.4)
    last = report["curves"][-1]
    values = f"{last['train']['loss']:.4f}", f"{last['eval']['loss']:.4f}"
    wait_for_tooltip(browser, "Epoch", "20", "train", values[0], "eval", values[1])
    press(browser, "#curves .chart svg", Keys.HOME)
    wait_for_tooltip(browser, "Epoch", "1", "train", f"{report['curves'][0]['train']['loss']:.4f}")
    browser.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)  # epoch 2 has no evaluation
    wait_for_tooltip(browser, "Epoch", "2", "train", f"{report['curves'][1]['train']['loss']:.4f}")
    assert "eval" not in browser.run("return document.getElementById('tip').innerText")
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for_tooltip(browser)


def test_values_stay_after_a_touch(browser):
    browser.show(render_report(make_report()), width=390)
    box = browser.run(
        "const { x, y } = arguments[0].getBoundingClientRect(); return [x, y]", browser.find(".chart svg")
    )
    point = {"x": box[0] + 150, "y": box[1] + 80}
    for kind, points in (("touchStart", [point]), ("touchEnd", [])):
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wait_for_tooltip(browser, "Epoch")
    browser.run("scrollBy(0, 200)")
    browser.wait("return document.getElementById('tip').hidden")


def test_the_confusion_matrix_shows_a_pair(browser):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    report = make_report(["cat", "dog"])
    counts = {(label, predicted): number for label, predicted, number in report["confusion"]}
    total = counts[0, 0] + counts[0, 1]
    browser.show(render_report(report))
    bottom = "const box = arguments[0].getBoundingClientRect(); return [box.width, box.height]"
    width, height = browser.run(bottom, browser.find("canvas"))
    size = 240  # of two classes
    left = browser.run("return arguments[0].width", browser.find("canvas")) and 54
    row = hover(browser, "canvas", (left + size * 0.7) / width, 1 - (size * 0.75) / height)
    expected = f"{counts[0, 1]:,} images of cat predicted as dog: {100 * counts[0, 1] / total:.1f}% of {total:,}."
    wait_for_tooltip(browser, "True", "cat", "Predicted", "dog")
    ActionChains(browser.driver).click().perform()
    assert browser.texts(".pair > p") == [expected]
    row.send_keys(Keys.ARROW_DOWN)
    assert browser.texts(".pair > p")[0].startswith(f"{counts[1, 1]:,} images of dog predicted as dog")


def test_the_most_confused_pairs_are_listed_and_shown_in_a_large_matrix(browser):
    report = make_report(make_names(1000), images=50000)
    errors = sorted((number for label, predicted, number in report["confusion"] if label != predicted), reverse=True)
    browser.show(render_report(report))
    assert column(browser, "confusion", 3) == [str(number) for number in errors[:10]]
    picture = "return document.querySelector('canvas').toDataURL()"
    complete = browser.run(picture)
    browser.find("#confusion .pick").click()
    names = [column(browser, "confusion", index)[0] for index in (1, 2)]
    assert browser.texts(".pair > p strong") == [f"{errors[0]} images", *names]
    zoomed = browser.run(picture)
    assert zoomed != complete
    browser.find("#confusion .controls button:nth-of-type(3)").click()
    assert browser.run(picture) not in {complete, zoomed}  # complete again, with the selected cell
    from selenium.webdriver import ActionChains

    hover(browser, "canvas", 0.7, 0.7)
    ActionChains(browser.driver).double_click().perform()
    before = browser.run(picture)
    ActionChains(browser.driver, duration=50).click_and_hold().move_by_offset(-60, -40).release().perform()
    assert browser.run(picture) != before


def test_overlays_are_switched(browser):
    report = make_report()
    browser.show(render_report(report))
    first = report["gallery"]["highest_loss"][0]
    source = "return document.querySelector('#gallery img').src"
    assert browser.run(source) == first["thumbnail"]
    switch = browser.find("#gallery .switch")
    switch.click()
    assert browser.run(source) == first["overlay"] and switch.get_attribute("aria-checked") == "true"
    switch.click()
    assert browser.run(source) == first["thumbnail"]


def test_the_map_highlights_a_class(browser):
    report = make_report()
    browser.show(render_report(report))
    points = report["map"]["points"]
    wrong = sum(label != predicted for *_, label, predicted in points)
    assert browser.run("return document.querySelectorAll('.point').length") == len(points)
    assert browser.run("return document.querySelectorAll('.point.wrong').length") == wrong
    browser.find("#map select").send_keys("Bag")
    others = sum(label != FASHION.index("Bag") for *_, label, _ in points)
    assert browser.run("return document.querySelectorAll('.point.dim').length") == others


@pytest.mark.parametrize("dark", [False, True])
def test_colors_follow_the_system_and_the_button(browser, dark):
    background = "return getComputedStyle(document.body).backgroundColor"
    html = render_report(make_report())
    browser.show(html, dark=dark)
    colors = [browser.run(background)]
    assert min(browser.run(CONTRASTS).values()) >= 4.5
    matrix = browser.run("return document.querySelector('canvas').toDataURL()")
    browser.find(".theme").click()
    colors.append(browser.run(background))
    assert colors == (["rgb(16, 20, 26)", "rgb(245, 246, 248)"][:: 1 if dark else -1])
    assert browser.run("return document.querySelector('canvas').toDataURL()") != matrix
    assert min(browser.run(CONTRASTS).values()) >= 4.5


def test_print_is_light_and_has_no_controls(browser):
    html = render_report(make_report(make_names(30)))
    browser.show(html, dark=True)
    dark_matrix = browser.run("return document.querySelector('canvas').toDataURL()")
    browser.emulate(dark=True, media="print")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.wait("return document.querySelector('canvas').toDataURL() !== arguments[0]", dark_matrix)
    visible = "return [...document.querySelectorAll('button, input, select, nav')].filter((e) => e.checkVisibility())"
    names = "return arguments[0].map((element) => element.className)"
    left = set(browser.run(names, browser.run(visible)))
    assert left <= {"", "pick"}  # the headers and rows of tables are text on paper
    assert browser.run(EMPTY_PARTS) == []
    assert sections(browser) == SINGLE
    assert browser.console() == []


def test_hostile_names_are_text(browser):
    browser.show(render_report(make_report(HOSTILE, title=HOSTILE[0])))
    assert HOSTILE[0] in browser.texts("h1")
    names = column(browser, "per_class", 1)
    assert sorted(names) == sorted(
        [
            HOSTILE[0],
            HOSTILE[1],
            "line\\u000aend\\u2028\\u2029",
            "\\u202egnp.exe",
            "\\udc80 \\u001b[31m",
        ]
    )
    assert browser.run("return document.scripts.length") == 3
    assert browser.run("return document.querySelectorAll('main b').length") == 0


def test_the_policy_stops_requests(browser):
    browser.show(render_report(make_report()))
    violated = """
        const done = arguments[0];
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
        new Image().src = "https://example.invalid/pixel.png";
    """
    assert browser.driver.execute_async_script(violated) == "img-src"
    (failure,) = browser.events("Network.loadingFailed")
    assert failure["blockedReason"] == "csp"


def test_images_with_unknown_labels_and_images_that_are_lost(browser):
    report = make_multi_label_report()
    known, lost = report["gallery"]["highest_loss"][:2]
    known |= {"label": [1], "predicted": [1, 2], "correct": True}  # label 2 is unknown
    lost |= {"thumbnail": None, "overlay": None, "correct": False}
    browser.show(render_report(report))
    check_drawn(browser, 1400)
    assert browser.texts("#gallery figure .mark")[:2] == ["correct", "wrong"]
    assert browser.texts("#gallery .lost") == ["The image cannot be read any more."]
