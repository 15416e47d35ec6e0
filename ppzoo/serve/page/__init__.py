"""The pages of the service: they load nothing from other hosts."""

from __future__ import annotations

from importlib.resources import files

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_NAMES = {"/": "page.html", "/docs": "docs.html", **{f"/{name}": name for name in ("page.css", "page.js", "docs.js")}}
PAGES = {
    path: (files(__name__).joinpath(name).read_text(encoding="utf-8"), _KINDS[name.rpartition(".")[2]])
    for path, name in _NAMES.items()
}
"""path -> content and media type"""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
