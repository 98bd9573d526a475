"""Keep the built pages free of outside requests: math becomes MathML, which needs no script, and the address of one is taken out."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def _mathml(node: nodes.Element, display: str) -> str:
    latex = node.astext()
    try:
        return convert(latex, display=display)
    except Exception as problem:
        raise ExtensionError(f"cannot draw the formula {latex!r}: {type(problem).__name__} {problem}") from problem


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    target = f' id="{node["ids"][0]}"' if node.get("ids") else ""
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    self.body.append(f'<div class="math-display"{target} tabindex="0">{_mathml(node, "block")}{number}</div>\n')
    raise nodes.SkipNode


def _without_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    # jupyter-book always loads sphinx-thebe, which writes the address of its script into every page, used or not.
    context["script_files"] = [
        script for script in context["script_files"] if "THEBE_JS_URL" not in (getattr(script, "attributes", {}).get("body") or "")
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer that ``html_math_renderer: mathml`` names, and look over the scripts of every page."""
    app.connect("html-page-context", _without_thebe, priority=900)
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
