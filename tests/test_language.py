"""Messages, docstrings, documents and identifiers use plain English: see "Language" in CONTRIBUTING.md.

Each rule is a regular expression, the entry of CONTRIBUTING.md's list that it belongs to, and what to write instead.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("ppzoo", "docs", "tools", "benchmarks", "tests", "examples")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
DATA_FOLDERS = {"corpus", "fixtures"}
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".cc", ".h", ".js", ".html", ".ipynb", ".json"}
WORDS_TO_AVOID = "| Do not write | Write |"  # head of the tables in CONTRIBUTING.md


class Rule(NamedTuple):
    pattern: str
    avoid: str
    write: str


RULES = [
    Rule(r'(?<!")answer(s|ed|ing)?', "answer", "return, output, predict"),  # in quotes a key in checkpoints
    Rule(r"asked", "ask (a network, a function)", "call, run, request"),
    Rule(r"figures", "figures", "metrics, values, results"),
    Rule(r"go(es|ing)? on|went on", "go on", "resume, continue"),
    Rule(r"anew|afresh", "begin anew", "start over, again"),
    Rule(r"to the (last )?(bit|digit)", "to the bit", "bit-for-bit, bit-identical, within 1e-5"),
    Rule(r"mend(s|ed|ing)?", "mend", "fix"),
    Rule(r"heed(s|ed|ing)?", "heed", "handle, check, apply"),
    Rule(r"(left|leave|leaves|leaving) out", "leave out", "skip, omit"),
    Rule(r"passed over", "pass over", "skip, ignore"),
    Rule(r"made again", "make again", "recompute, rebuild"),
    Rule(r"(is|are|was|were) missed by", "missed (a process)", "detected as lost"),
    Rule(r"a blank(?! line)", "a blank", "a space"),
    Rule(
        r"(one|a line|a row|a process|a file|images|bytes|numbers|operations|milliseconds|seconds|megabytes) an?"
        r" (class|image|line|channel|network|file|process|layer|core|second|step|batch|epoch|sample|row)",
        "one a class, images a second",
        "one per class, images per second",
    ),
    Rule(r"of (its|their|his) own|of yours", "of its own", "separate, dedicated, your own"),
    Rule(r"beside", "beside", "next to, in the same folder, compared with"),
    Rule(r"otherwise than", "otherwise than", "unlike, differently from"),
    Rule(r"in vain", "in vain", "without success, unused"),
    Rule(r"for ever", "for ever", "forever, indefinitely"),
    Rule(r"at hand", "at hand", "available"),
    Rule(r"in the place of", "in the place of", "instead of"),
    Rule(r"said|(say|says|saying) so", "say, said", "log, report, print, state"),
    Rule(
        r"(lies|lying) (in|there|beside|below|under)|stands (in|there|beside|below|under)",
        "lie, stand (files)",
        "is in",
    ),
    Rule(r"remember(s|ed)?", "remember", "store, cache, record"),
    Rule(r"believe(s|d)?", "believe", "trust, accept without validation"),
    Rule(r"mourn(s|ed|ing)?", "mourn", "report dead peers"),
    Rule(r"hush(es|ed)?", "hush", "silence, suppress"),
    Rule(r"doors?", "door", "interface, public API, entry point"),
    Rule(r"look(s|ed|ing)? (at|over)", "look at", "inspect, check, read"),
    Rule(r"the zoo", "the zoo", "the model zoo, the architectures"),
    Rule(r"(dealt|deals?) out", "deal out", "distribute"),
    Rule(r"(is|are) made of", "what X is made of", "consists of, contains"),
    Rule(r"(is|are|was|were|be) told|tells? (the|those|others|them)", "tell", "notify, report, detect"),
    Rule(r"wants|wish(es|ed)?", "want, wish", "request, expect, need"),
    Rule(r"whoever|shall", "whoever, shall", "the process that, has to"),
    Rule(r"rooms|(no|enough) room|room for", "room (in memory, on a disk)", "buffer, slot, space"),
    Rule(r'(?<!")data sets?', "data set", "dataset"),  # in quotes it is a key in checkpoints
    Rule(r'(?<=""")(What|Who)', "a docstring that begins with What or Who", "an imperative verb or a noun phrase"),
    Rule(r"[a-z]*(colour|favour|behaviour|neighbour)[a-z]*|grey", "colour, grey", "color, gray (American spelling)"),
    Rule(
        r"(?!reinitialised)[a-z]*(normal|optim|initial|serial|synchron|organ|recogn|minim|maxim|summar|quant|general"
        r"|regular|parallel|vector|util|final)is(e|es|ed|er|ers|ing|ation|ations)",
        "normalise",
        "normalize (American spelling)",
    ),
]


def texts() -> list[Path]:
    found = [ROOT / name for name in FILES]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    found.remove(Path(__file__))  # it has the words to avoid
    return sorted(path for path in found if not DATA_FOLDERS & set(path.parts))


def read_lines(path: Path) -> list[tuple[str, str]]:
    """Return the position and the text of each line; of a notebook, of its cells without their outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return [
            (f"cell {cell}, line {number}", line)
            for cell, content in enumerate(json.loads(text)["cells"], 1)
            for number, line in enumerate("".join(content["source"]).splitlines(), 1)
        ]
    lines, is_list = [], False
    for number, line in enumerate(text.splitlines(), 1):
        is_list = line.startswith("|") if is_list else line == WORDS_TO_AVOID
        if not is_list:
            lines.append((str(number), line))
    return lines


def violations(path: Path) -> list[str]:
    found = []
    for position, line in read_lines(path):
        # Words joined by underscores in identifiers count as words.
        words = line.replace("_", " ")
        for rule in RULES:
            for match in re.finditer(rf"\b({rule.pattern})\b", words, re.IGNORECASE):
                where = f"{path.relative_to(ROOT)}:{position}"
                found.append(f"{where}: {match[0]!r}: write {rule.write}")
    return found


@pytest.mark.parametrize("folder", [*FOLDERS, *FILES])
def test_language(folder):
    paths = [path for path in texts() if path.is_relative_to(ROOT / folder)]
    assert paths
    found = [line for path in paths for line in violations(path)]
    if found:
        pytest.fail(f"{len(found)} words to replace:\n" + "\n".join(found), pytrace=False)


def test_contributing_lists_every_rule():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    missing = [rule.avoid for rule in RULES if f"| {rule.avoid} | {rule.write} |" not in text]
    assert not missing
