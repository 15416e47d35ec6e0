"""A hook of MkDocs for links to files of the repository that are outside of docs/.

On the site, Markdown files of the root are pages `project/NAME.md`, and other files that a page links to are copied to
`repository/PATH`. In the repository itself, the links lead to the files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK_FROM_DOCS = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")
LINK_FROM_ROOT = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


@event_priority(-200)  # after the plugin i18n, which drops files outside of docs/
def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root, and the files that pages link to."""
    language = config.plugins["i18n"].current_language
    folder = "" if language == "en" else f"{language}/"
    linked = {name for file in files.documentation_pages() for name in LINK_FROM_DOCS.findall(file.content_string)}
    for name in sorted(linked | set(PAGES)):
        file = File.generated(config, _site_path(name), abs_src_path=str(ROOT / name))
        file.dest_uri = folder + file.dest_uri
        file.abs_dest_path = str(Path(config.site_dir, file.dest_uri))
        file.url = file.dest_uri
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to files of the repository by links to those of the site."""
    if page.file.src_uri.startswith("project/"):
        return LINK_FROM_ROOT.sub(lambda match: f"../{match[1].removeprefix('docs/')}", markdown)
    return LINK_FROM_DOCS.sub(lambda match: _site_path(match[1]), markdown)


def _site_path(name: str) -> str:
    return f"project/{name}" if name in PAGES else f"repository/{name}"
