"""The shell of the HTML pages: template, style sheet, scripts, texts and data in one file.

A page consists of `page.html`, `page.css`, the shared scripts (`SHARED_SCRIPTS`: document, tables, charts), the scripts
of the page itself, and two blocks of JSON: the texts of the interface in one language, and the data. A script calls
`drawPage(header, sections)`, see `page.js`. Scripts insert names as text only, never as HTML. The content security
policy allows exactly these scripts and this style sheet, by their hashes, images in `data:` URLs, and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any, Literal, get_args

from ppzoo.files import SURROGATES

Language = Literal["en", "zh"]
LANGUAGE_TAGS = {"en": "en", "zh": "zh-CN"}
SHARED_SCRIPTS = ("page.js", "table.js", "chart.js")
# JSON stays valid with these escapes, and HTML parsers find no tag and no comment in it.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def build_page(
    title: str,
    language: Language,
    script_files: Sequence[str],
    data: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
) -> str:
    """Return a self-contained HTML page.

    Args:
        title: title of the document.
        language: language of the interface.
        script_files: names of files in this folder that run after the shared scripts.
        data: JSON values, available to the scripts as `DATA`. NaN and infinity become null.
        texts: texts of the interface in addition to those of the language's table.

    Raises:
        ValueError: the language is unknown.
    """
    if language not in get_args(Language):
        raise ValueError(f"language: expected one of {', '.join(get_args(Language))}, got {language!r}")
    style = read_part("page.css")
    script = "\n".join(["(() => {", '"use strict";', *map(read_part, (*SHARED_SCRIPTS, *script_files)), "})();"])
    return Template(read_part("page.html")).substitute(
        language=LANGUAGE_TAGS[language],
        title=escape(SURROGATES.sub("\ufffd", title)),
        policy=content_security_policy(style, script),
        style=style,
        texts=to_json({**read_texts(language), **(texts or {})}),
        data=to_json(data),
        script=script,
        no_script=escape(read_texts(language)["page.no_script"]),
    )


def content_security_policy(style: str, script: str) -> str:
    """Return the policy that allows one style sheet, one script, and images in `data:` URLs."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def read_texts(language: Language) -> dict[str, str]:
    """Return the texts of the interface in one language."""
    texts: dict[str, str] = json.loads(read_part(f"{language}.json"))
    return texts


def read_part(name: str) -> str:
    """Return a file of this folder, with the line ends that browsers hash."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def to_json(value: Any) -> str:
    """Return JSON that can be embedded in an HTML `script` element."""
    text = json.dumps(_without_nan(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", text.translate(_ESCAPES))


def _without_nan(value: Any) -> Any:
    """Return JSON values with null instead of NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return value


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
