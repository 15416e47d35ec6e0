"""The code blocks and commands of the documents."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("README_*.md"), *(ROOT / "docs").glob("*.md")])
SHELL = ("bash", "sh", "shell", "console")
FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)((?: {4}[^\n]*\n|\n(?= {4}))+)")
INLINE = re.compile(r"(?<!`)`(ppzoo [^`]+)`(?!`)")
PROGRAMS = ("ppzoo", "python", "pip")
STARTS = (*PROGRAMS, "until ")


class Block(NamedTuple):
    """A code block: its language ("" for an indented block), its text, and the number of its first line."""

    language: str
    text: str
    line: int


def read_blocks(document: Path) -> list[Block]:
    """Return the code blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    fenced = [
        Block(match[2], re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE), _line_of(text, match.start(3)))
        for match in FENCED.finditer(text)
    ]
    rest = FENCED.sub(lambda match: re.sub(r"[^\n]+", "-", match[0]), text)  # keeps the numbers of lines
    indented = [
        Block("", re.sub(r"^ {4}", "", match[1], flags=re.MULTILINE), _line_of(rest, match.start()))
        for match in INDENTED.finditer(rest)
        if not re.match(r" {4}[-*+] ", match[1])
    ]
    return sorted(fenced + indented, key=lambda block: block.line)


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def read_commands(document: Path) -> Iterator[list[str]]:
    """Yield the words of each command of ppzoo, python or pip in the blocks of a document."""
    for block in read_blocks(document):
        if block.language in SHELL or (not block.language and block.text.startswith(STARTS)):
            yield from split_commands(block.text)


def read_inline_commands(document: Path) -> Iterator[list[str]]:
    """Yield the words of each command of ppzoo in the sentences of a document, which can be incomplete."""
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    for match in INLINE.finditer(text):
        yield from split_commands(" ".join(match[1].split()))


def split_commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell script that starts one of `PROGRAMS`."""
    command: list[str] = []
    for word in [*_without_comments(script), ";"]:
        if set(word) <= set(";|&()") and word:
            if command and _program_of(command) is not None:
                yield command[_program_of(command) :]
            command = []
        else:
            command.append(word)


def _without_comments(script: str) -> Iterator[str]:
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=";|&()")
        words.whitespace_split, words.commenters = True, "#"
        yield from words
        yield ";"


def _program_of(command: list[str]) -> int | None:
    """Return the position of the program in a command such as `until python ...` or `NAME=VALUE ppzoo ...`."""
    return next((index for index, word in enumerate(command) if word in PROGRAMS), None)
