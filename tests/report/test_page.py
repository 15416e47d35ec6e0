"""The HTML page of a report: one file, with every name escaped and every text in both languages."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.reports import CHINESE, HOSTILE, make_multi_label_report, make_names, make_report

import ppzoo.report.page
from ppzoo.report import render_report
from ppzoo.report.page import build_page

FOLDER = Path(ppzoo.report.page.__file__).parent
SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.js")))
LANGUAGES = ("en", "zh")


class Elements(HTMLParser):
    """The elements of a page, as (tag, attributes), and the texts of scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.comments, self.inside = [], {}, [], None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = dict(attributes).get("id", tag)

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data

    def handle_comment(self, data):
        self.comments.append(data)

    def tags(self):
        return [tag for tag, _ in self.elements]

    def data(self):
        return json.loads(self.texts["data"])


def read_texts(language):
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def placeholders(text):
    return sorted(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize("make", [make_report, make_multi_label_report])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_contains_the_report_and_nothing_is_loaded(make, language):
    report = make()
    html = render_report(report, language)
    page = Elements(html)
    assert page.data() == report
    assert page.elements[0] == ("html", {"lang": {"en": "en", "zh": "zh-CN"}[language]})
    assert page.texts["title"] == "MobileNetV2_x0_5"
    assert page.tags().count("script") == 3
    sources = [attributes[key] for _, attributes in page.elements for key in ("src", "href") if key in attributes]
    assert sources == ["data:,"]
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in page.texts["style"] and "@import" not in page.texts["style"]


def test_the_policy_allows_only_the_script_and_the_style_of_the_page():
    html = render_report(make_report())
    page = Elements(html)
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]

    def source(tag):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert dict(part.split(" ", 1) for part in policy.split("; ")) == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": source("style"),
        "script-src": source("script"),
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("title", [*HOSTILE, "$data ${script} \\1"])
def test_names_cannot_end_the_script_or_the_title(title):
    names = [*HOSTILE, "]]>", "\\u003c", "${x}", "'", '"', "&lt;"]
    html = render_report(make_report(names, title=title, source=title, notes=[title], config=title))
    page = Elements(html)
    assert page.data()["classes"] == names
    assert page.data()["title"] == title
    assert page.tags().count("script") == 3 and "b" not in page.tags()
    assert not page.comments
    assert page.texts["title"] == title.replace("\udc80", "\ufffd")
    html.encode()  # no lone surrogates


def test_values_that_are_not_finite_become_null():
    report = make_report(metrics={"loss": float("nan"), "top1": 0.5}, speed={"images_per_second": float("inf")})
    data = Elements(render_report(report)).data()
    assert data["metrics"] == {"loss": None, "top1": 0.5}
    assert data["speed"] == {"images_per_second": None}


def test_a_thousand_classes_fit_into_one_megabyte():
    report = make_report(make_names(1000), images=50000, gallery=None)
    assert len(render_report(report).encode()) < 1_000_000


def test_unknown_languages_and_versions_are_refused():
    with pytest.raises(ValueError, match="language: expected one of en, zh, got 'de'"):
        render_report(make_report(), "de")
    with pytest.raises(ValueError, match="expected version 1, got 2"):
        render_report(make_report(version=2))


def test_another_page_uses_the_shell_with_additional_texts():
    page = Elements(build_page("A & B", "zh", ["report.js"], {"runs": CHINESE}, {"compare.title": "比较"}))
    assert page.texts["title"] == "A & B"
    assert page.data() == {"runs": CHINESE}
    texts = json.loads(page.texts["texts"])
    assert texts["compare.title"] == "比较" and texts["page.contents"] == "目录"


def test_both_languages_have_the_same_texts():
    english, chinese = map(read_texts, LANGUAGES)
    # Chinese has no separate singular.
    assert {key for key in english if not key.endswith(".one")} == set(chinese)
    # Reasons are messages in English; the Chinese notes refer to report.json instead.
    kept = {key: [value for value in placeholders(english[key]) if value != "{reason}"] for key in chinese}
    assert not [key for key in chinese if placeholders(chinese[key]) != kept[key]]
    latin = {key for key, text in chinese.items() if not re.search("[\u4e00-\u9fff]", text)}
    assert latin == {
        "comparison.colon",
        "comparison.part",
        "per_class.f1",
        "model.flops",
        "environment.ppzoo",
        "environment.paddle",
        "environment.python",
    }


def test_every_text_is_used_and_every_used_text_exists():
    used = set(re.findall(r"\b(?:t|nodes|plural)\(\s*\"([\w.]+)\"", SCRIPTS))
    texts = read_texts("en")
    assert not used - set(texts)
    prefixes = tuple(re.findall(r"`([a-z_]+\.)\$\{", SCRIPTS))
    quoted = set(re.findall(r"\"([a-z_]+\.[\w.]+)\"", SCRIPTS))
    sections = {f"{name}.title" for name in re.findall(r"\"(\w+)\", draw", SCRIPTS)}
    assert len(sections) > 10 and not sections - set(texts)
    python_texts = {"page.no_script"}
    unused = {key for key in texts if key.removesuffix(".one") not in used | quoted | sections | python_texts}
    assert not {key for key in unused if not key.startswith(prefixes)}


def test_scripts_insert_names_as_text_only():
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", SCRIPTS)
    assert not re.findall(r"\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|\bimport\(", SCRIPTS)
