"""One line of the report of `ppzoo doctor`."""

from __future__ import annotations

from typing import NamedTuple

OK, NOTE, PROBLEM = "ok", "note", "problem"


class Check(NamedTuple):
    """One line of the report.

    Attributes:
        name: what was checked.
        value: what was found.
        status: OK; NOTE: ppzoo works, but with a limitation; or PROBLEM: something does not work.
        fix: the command that fixes or examines a problem or limitation; '' if there is none.
    """

    name: str
    value: str
    status: str = OK
    fix: str = ""
