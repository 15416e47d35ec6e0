"""Debian's Chromium without a window, for tests of HTML pages; `browser` is the fixture."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
# Charts and canvases are drawn when they have a size, after the page has loaded.
IS_DRAWN = """
    const charts = [...document.querySelectorAll(".chart > svg")];
    const canvases = [...document.querySelectorAll("canvas")];
    const images = [...document.images];
    return document.readyState === "complete" && charts.every((chart) => chart.children.length > 1)
        && canvases.every((canvas) => canvas.style.aspectRatio) && images.every((image) => image.complete);
"""
# Calls back in the second frame after scrolling, when the page has received the scroll events.
SCROLL = """
    const [element, done] = arguments;
    element.scrollIntoView({ block: "center", behavior: "instant" });
    requestAnimationFrame(() => requestAnimationFrame(() => done()));
"""
# A section is drawn if it has a size, and so has everything that it shows.
EMPTY_PARTS = """
    const needed = "section, .chart > svg, canvas, img, table, .tile, figure";
    const parts = [...document.querySelectorAll(`${needed}, section > *`)];
    const empty = (part) => {
        const { width, height } = part.getBoundingClientRect();
        return (part.checkVisibility() || part.matches(needed)) && (width < 2 || height < 2);
    };
    return parts.filter(empty).map((part) => part.outerHTML.slice(0, 200));
"""
# Texts of the interface: names of classes, files and settings are left as they are.
PAGE_TEXTS = """
    const page = document.getElementById("page").cloneNode(true);
    page.querySelectorAll(".name, pre, option").forEach((element) => element.remove());
    const attributes = ["aria-label", "placeholder", "title"];
    const all = [...page.querySelectorAll(attributes.map((key) => `[${key}]:not(img)`).join())];
    const values = all.flatMap((element) => attributes.map((key) => element.getAttribute(key) ?? ""));
    const walker = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) values.push(walker.currentNode.data);
    return [document.title, ...values];
"""


class Browser:
    """A browser that shows one page after the other.

    Args:
        driver: Selenium's driver.
        folder: folder of the pages.
    """

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver = driver
        self.folder = folder

    def show(self, html: str, *, width: int = 1400, dark: bool = False, media: str = "") -> None:
        """Show a page in a window of a width, and wait until it is drawn; `media` is "" or "print"."""
        self.logged("browser"), self.logged("performance")  # discard the messages of the page before
        self.resize(width)
        self.emulate(dark=dark, media=media)
        path = self.folder / "page.html"
        path.write_text(html, encoding="utf-8")
        self.driver.get(path.as_uri())
        self.wait(IS_DRAWN)

    def resize(self, width: int, *, mobile: bool = False) -> None:
        """Set the width of the window; a mobile browser also respects the viewport that a page requests."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def emulate(self, *, dark: bool = False, media: str = "") -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})

    def wait(self, script: str, *values: Any) -> Any:
        """Wait until a script returns a true value, and return it."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 30).until(lambda driver: driver.execute_script(script, *values))

    def run(self, script: str, *values: Any) -> Any:
        """Return the value that a script returns."""
        return self.driver.execute_script(script, *values)

    def find(self, selector: str) -> Any:
        """Return the first element of a CSS selector, scrolled into the window; the scroll events have been handled."""
        element = self.driver.find_element("css selector", selector)
        self.driver.execute_async_script(SCROLL, element)
        return element

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements of a CSS selector, with spaces normalized."""
        return [
            " ".join(text.split())
            for text in self.run(
                "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)", selector
            )
        ]

    def latin_words(self) -> set[str]:
        """Return the words in Latin letters of the interface, without names of classes, files and settings."""
        return set(re.findall(r"[A-Za-z][A-Za-z0-9_.-]+", "\n".join(self.run(PAGE_TEXTS))))

    def logged(self, kind: str) -> list[Any]:
        return self.driver.get_log(kind)

    def console(self) -> list[str]:
        """Return the messages in the console since the page was shown."""
        return [entry["message"] for entry in self.logged("browser")]

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return the events of a kind, of Chrome's protocol, since the page was shown."""
        messages = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        return [message["params"] for message in messages if message["method"] == method]

    def requests(self) -> list[str]:
        """Return the addresses that were requested since the page was shown, except the page itself and its data."""
        urls = [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:") and not url.endswith("/page.html")]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not (shutil.which(CHROMIUM) and shutil.which(CHROMEDRIVER)):
        pytest.skip(f"needs {CHROMIUM} and {CHROMEDRIVER}: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs ppzoo[test]")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for option in OPTIONS:
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    try:
        yield Browser(driver, tmp_path_factory.mktemp("pages"))
    finally:
        driver.quit()


def check_drawn(browser: Browser, width: int) -> None:
    """Check the page that is shown: complete, not wider than the window, without messages and requests."""
    assert browser.texts(".failed") == []
    assert browser.run(EMPTY_PARTS) == []
    assert all(browser.run("return [...document.images].map((image) => image.naturalWidth)"))
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.console() == []
    assert browser.requests() == []


@pytest.fixture
def check_page(request: pytest.FixtureRequest) -> Callable[[Path], list[str]]:
    """Return a function that opens a report's page in a wide and a narrow window, and returns its sections.

    Without Chromium, calling it skips the rest of the test.
    """

    def check(page: Path) -> list[str]:
        browser = request.getfixturevalue("browser")
        for width in (1400, 390):
            browser.show(page.read_text(encoding="utf-8"), width=width)
            check_drawn(browser, width)
            for order in ("descending", "ascending"):
                browser.find("#per_class th[data-key='support'] button").click()
                counts = browser.texts("#per_class tbody tr > :last-child")
                numbers = [int(text.replace(",", "")) for text in counts]
                assert numbers == sorted(numbers, reverse=order == "descending")
        return browser.run("return [...document.querySelectorAll('main > section')].map((section) => section.id)")

    return check
