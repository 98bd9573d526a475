"""What the theme's pages lack for those who read with a keyboard or a screen reader, put in once a page is written.

- The arrows of the side bar, which open a chapter's pages, get a name.
- The boxes of tables, which scroll where the screen is narrow, can be scrolled with the keyboard. (The theme sees to code and
  outputs, and ``offline`` to formulas.)
- The bibliography is no longer marked as a list, since its entries are not marked as items.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

TOGGLE = re.compile(r'(<a class="[^"]*reference internal"[^>]*>)([^<]*)(</a><details[^>]*>)<summary>')
TABLE = '<div class="pst-scrollable-table-container">'


def mend(page: str) -> str:
    """Return the HTML of a page with the three mends."""
    page = TOGGLE.sub(r'\1\2\3<summary aria-label="Pages of \2">', page)
    page = page.replace(TABLE, TABLE.replace(">", ' tabindex="0" role="group" aria-label="Table">'))
    return page.replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def _on_finished(app: Sphinx, problem: Exception | None) -> None:
    if problem is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            if "_static" not in path.parts:
                text = path.read_text(encoding="utf-8")
                path.write_text(mend(text), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Mend all pages when the build is done."""
    app.connect("build-finished", _on_finished)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
