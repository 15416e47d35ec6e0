"""The Chinese pages have the structure, the code, the links and the numbers of the English ones.

A change of an English page fails here until the Chinese page has it, too. Whether the Chinese sentences are right is
not tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# The page whose texts are docstrings.
WITHOUT_CHINESE = re.compile(r"reference_python")
# Each language has the terms that its readers look up, so the structures differ.
OTHER_STRUCTURE = {"glossary"}

HAN = "[\u4e00-\u9fff]"
LATIN = "[A-Za-z0-9]"
MARKS = "\uff0c\u3002\uff1b\uff1a\u3001\uff1f\uff01"  # comma, full stop, semicolon, colon, list comma, ? and !
OPENING = "\uff08\u201c"
CLOSING = "\uff09\u201d"
README = (ROOT / "README.md", ROOT / "README_zh.md")


def names(pattern: str) -> set[str]:
    return {path.name.split(".")[0] for path in DOCS.glob(pattern)}


CHINESE = names("*.zh.md")
ENGLISH = {path.stem for path in DOCS.glob("*.md") if not path.name.endswith(".zh.md")}
PAGES = [
    README,
    *((DOCS / f"{name}.md", DOCS / f"{name}.zh.md") for name in sorted(ENGLISH & CHINESE - OTHER_STRUCTURE)),
]
both = pytest.mark.parametrize("english, chinese", PAGES, ids=[english.stem for english, _ in PAGES])
chinese_only = pytest.mark.parametrize(
    "page", [README[1], *sorted(DOCS.glob("*.zh.md"))], ids=lambda path: path.name.split(".")[0]
)


def tokens(page: Path) -> list[Token]:
    """Return the Markdown tokens of a page; the ones in paragraphs follow their paragraph."""
    parser = MarkdownIt("commonmark").enable("table")
    found = []
    for token in parser.parse(page.read_text(encoding="utf-8")):
        found += [token, *(token.children or [])]
    return found


def code_blocks(page: Path) -> list[tuple[str, str]]:
    return [(token.info, token.content) for token in tokens(page) if token.type in ("fence", "code_block")]


def heading_levels(page: Path) -> list[str]:
    return [token.tag for token in tokens(page) if token.type == "heading_open"]


def code_spans(page: Path) -> set[str]:
    return {token.content for token in tokens(page) if token.type == "code_inline"}


def link_targets(page: Path) -> list[str]:
    """Return the targets of links and images in order of their names, without the language."""
    found = []
    for token in tokens(page):
        target = token.attrGet({"link_open": "href", "image": "src"}.get(token.type, ""))
        if target is not None:
            found.append(re.sub(r"(?:\.zh|_zh)(?=\.md)", "", str(target)))
    return sorted(found)


def texts(page: Path) -> Iterator[str]:
    """Yield the paragraphs, headings and table cells of a page, with `x` instead of each code span."""
    for token in tokens(page):
        if token.type == "inline":
            yield "".join(text_of(child) for child in token.children or [])


def text_of(token: Token) -> str:
    if token.type == "code_inline":
        return "x"
    return "\n" if token.type in ("softbreak", "hardbreak") else token.content


def decimals(page: Path) -> set[str]:
    return {number for text in texts(page) for number in re.findall(r"\d+(?:\.\d+)+|\d+e-\d+", text)}


def headings(page: Path) -> list[str]:
    """Return the headings of a page below its title."""
    found = tokens(page)
    return [found[i + 1].content for i, token in enumerate(found) if token.type == "heading_open" and token.tag != "h1"]


def anchor(heading: str) -> str:
    """Return the anchor that the site gives to a heading."""
    return re.sub(r"[ -]+", "-", re.sub(r"[^\w\- ]", "", heading.lower()))


def test_every_page_exists_in_chinese():
    missing = {name for name in ENGLISH - CHINESE if not WITHOUT_CHINESE.fullmatch(name)}
    assert not missing, "write docs/NAME.zh.md, or add the names to WITHOUT_CHINESE"
    assert not CHINESE - ENGLISH - OTHER_STRUCTURE, "an English page was renamed or removed"


@both
def test_code_blocks_are_the_same(english, chinese):
    assert code_blocks(chinese) == code_blocks(english)


@both
def test_headings_have_the_same_levels(english, chinese):
    assert heading_levels(chinese) == heading_levels(english)


@both
def test_links_have_the_same_targets(english, chinese):
    languages = {"README.md"}  # each README links to the other one
    assert [target for target in link_targets(chinese) if target not in languages] == [
        target for target in link_targets(english) if target not in languages
    ]


@both
def test_names_in_sentences_are_the_same(english, chinese):
    assert code_spans(chinese) == code_spans(english)


@both
def test_results_are_the_same(english, chinese):
    assert decimals(english) <= decimals(chinese)


@both
def test_headings_have_the_english_anchors(english, chinese):
    """Links to sections keep the anchors of the English headings: <a id="NAME"></a> before each Chinese heading.

    A heading that is the same in both languages, such as the name of a key, has the anchor without it.
    """
    found = re.findall('<a id="([^"]+)"></a>', chinese.read_text(encoding="utf-8"))
    pairs = list(zip(headings(english), headings(chinese), strict=True))
    assert found == [anchor(title) for title, other in pairs if title != other or anchor(title) in found]


@chinese_only
def test_lines_are_not_broken_in_sentences(page):
    """A browser shows a line end between Chinese characters as a space."""
    broken = [text for text in texts(page) if re.search(r"[^\x00-\x7f]\n|\n[^\x00-\x7f]", text)]
    assert not broken


@chinese_only
def test_spaces_and_punctuation(page):
    """A space separates Chinese characters from Latin ones; punctuation after Chinese characters is Chinese."""
    rules = [
        f"{HAN}{LATIN}|{LATIN}{HAN}",
        f"{HAN} ?[,;:?!(]|[)] ?{HAN}",
        f" [{MARKS}{CLOSING}]|[{MARKS}{OPENING}] ",
        r"\*\*",  # bold text that Markdown does not recognize
    ]
    wrong = [
        match[0] for text in texts(page) for rule in rules for match in re.finditer(f".{{,8}}(?:{rule}).{{,8}}", text)
    ]
    assert not wrong
