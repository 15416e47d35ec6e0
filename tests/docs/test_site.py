"""The documentation site builds without a warning, has no broken link, and requests nothing from other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if values.get("rel") != "canonical" and values.get(LOADED.get(tag, "")):
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs", reason="needs ppzoo[docs]")
    for plugin in ("material", "mkdocs_static_i18n", "mkdocstrings", "jieba"):
        pytest.importorskip(plugin, reason="needs ppzoo[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "TMPDIR": str(tmp_path_factory.mktemp("cache"))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {file: Page(file) for file in sorted(site.rglob("*.html"))}


def nav_pages(entries) -> Iterator[str]:
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [value] if isinstance(value, str) else nav_pages(value)


def test_every_page_is_in_the_navigation():
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(nav_pages(yaml.safe_load(text)["nav"]))
    english = {file.name for file in (ROOT / "docs").glob("*.md") if not file.stem.endswith(".zh")}
    assert english == {name for name in listed if not name.startswith("project/")}


def test_every_section_of_the_navigation_has_a_chinese_name():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    languages = next(plugin["i18n"] for plugin in config["plugins"] if "i18n" in plugin)["languages"]
    chinese = next(language for language in languages if language["locale"] == "zh")["nav_translations"]

    def titles(entries):
        for entry in entries:
            if isinstance(entry, dict):
                (title, value), *_ = entry.items()
                yield title
                yield from titles(value) if isinstance(value, list) else ()

    assert not set(titles(config["nav"])) - set(chinese)


@pytest.mark.slow
def test_no_link_is_broken(site, pages):
    broken = []
    for file, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or (file.name == "404.html" and link.startswith("/")):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            is_missing = not target.is_file()
            if is_missing or (
                parts.fragment and target in pages and unquote(parts.fragment) not in anchors(pages[target])
            ):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert len(pages) > 50 and not broken


def anchors(page: Page) -> set[str]:
    return page.anchors | {"__top"}


@pytest.mark.slow
def test_no_page_requests_anything_from_other_hosts(site, pages):
    for file, page in pages.items():
        assert page.loaded
        foreign = [address for address in page.loaded if urlsplit(address).netloc]
        assert not foreign, f"{file.relative_to(site)} loads {foreign}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_both_languages_are_searchable(site, pages):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert '"lang":["en","zh"]' in index.replace(" ", "")
    chinese = list((ROOT / "docs").glob("*.zh.md"))
    assert not chinese or "zh/" in index
    assert (site / "zh" / "index.html").is_file()


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """The address of a server of the site."""
    handler = partial(SilentHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index.html", "zh/index.html", "reference_configuration.html", "faq.html"])
def test_pages_fit_a_phone_and_request_nothing_from_other_hosts(name, address, browser):
    browser.resize(390, mobile=True)
    backgrounds = set()
    for dark in (False, True):
        browser.emulate(dark=dark)
        browser.requests()  # discard those of the page before
        browser.driver.get(f"{address}/{name}")
        browser.run("localStorage.clear()")
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        assert all(url.startswith(address) for url in browser.requests())
        browser.driver.refresh()
        backgrounds.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "query"), [("index.html", "early stopping"), ("zh/index.html", "标签平滑"), ("index.html", "mixup")]
)
def test_search_finds(page, query, address, browser):
    browser.resize(1400)
    browser.driver.get(f"{address}/{page}?q={quote(query)}")
    browser.wait("return document.querySelectorAll('.md-search-result__item').length")
