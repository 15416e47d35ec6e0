"""Notes: sentences about values that are unknown, or that come from a part of the data, in the language of a page.

Their texts are those of the interface whose keys begin with "note.". `report.json` has the English sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from ppzoo.report.page.shell import read_texts


class Note(NamedTuple):
    """A sentence: the key of its text without "note.", and the values of its placeholders.

    If the value `n` is 1, the text is that of `KEY.one` where there is one. A text does not have to use all values.
    """

    key: str
    values: dict[str, Any]

    @property
    def text(self) -> str:
        """The sentence in English."""
        texts = _english_texts()
        single = f"note.{self.key}.one"
        is_single = self.values.get("n") == 1 and single in texts
        return texts[single if is_single else f"note.{self.key}"].format(**self.values)


def make_note(key: str, **values: Any) -> Note:
    """Return the note with the text `note.KEY`."""
    return Note(key, values)


def describe_notes(notes: Sequence[Note]) -> dict[str, Any]:
    """Return notes as values of a report: English sentences, and what a page in another language needs."""
    return {"notes": [note.text for note in notes], "note_values": [[note.key, note.values] for note in notes]}


@cache
def _english_texts() -> dict[str, str]:
    return read_texts("en")
