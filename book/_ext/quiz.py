"""Questions with choices that answer back, in pages without a script.

    :::{quiz} Why is the sky blue?
    - [ ] It mirrors the sea.

      A lake does mirror the sky, so this is the wrong way around. See [Light](#light).
    - [x] Air scatters blue light more than red light.

      The {term}`scattering` grows as $1 / \\lambda^4$.
    :::

In HTML every option is a radio button, and the style sheet shows the feedback of the one that is chosen. Elsewhere the question becomes a
numbered list, with the feedback below each option. Question, options, and feedback are Markdown; what an option says becomes the label of its
button, so links belong into the feedback. A question without exactly one right option, or an option without feedback, is an error of the build.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

MARK = re.compile(r"^\[([ xX])\]\s+")


class quiz(nodes.General, nodes.Element):  # noqa: N801  # docutils finds visitors by the names of classes
    """A question: a ``quiz_question``, then its options."""


class quiz_question(nodes.General, nodes.TextElement):  # noqa: N801
    """What is asked."""


class quiz_option(nodes.General, nodes.Element):  # noqa: N801
    """A ``quiz_label`` and its ``quiz_feedback``; ``right`` says whether it is the right one."""


class quiz_label(nodes.General, nodes.TextElement):  # noqa: N801
    """What the option says; ``button`` and ``group`` are the id and the name of its radio button."""


class quiz_feedback(nodes.General, nodes.Element):  # noqa: N801
    """What is right or wrong about the option; begins with one of these words. ``right`` as in the option."""


class Quiz(SphinxDirective):
    """The directive ``quiz``: the question is its argument, and its content one list of options."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The node of the question. Raises a ``DirectiveError``, with the line, where the options are not as described above."""
        content = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, content)
        if len(content) != 1 or not isinstance(content[0], nodes.bullet_list) or len(content[0]) < 2:
            raise self.error("quiz: the content must be one list of two or more options, each '- [ ] ...' or '- [x] ...' with its feedback indented below.")
        options = [self._option(item) for item in content[0]]
        if sum(option["right"] for option in options) != 1:
            raise self.error("quiz: exactly one option must be marked as right, '- [x] ...'.")
        group = f"quiz-{self.env.new_serialno('quiz') + 1}"
        for number, option in enumerate(options, 1):
            option[0]["group"], option[0]["button"] = group, f"{group}-{number}"
        asked, messages = self.state.inline_text(self.arguments[0], self.lineno)
        node = quiz("", quiz_question("", "", *asked), *options)
        self.set_source_info(node)
        return [node, *messages]

    def _option(self, item: nodes.Element) -> quiz_option:
        """The option that an item of the list describes."""
        said = item[0] if len(item) else None
        mark = MARK.match(said[0]) if isinstance(said, nodes.paragraph) and isinstance(said[0], nodes.Text) else None
        if not mark:
            raise self.error(f"quiz: an option must begin with '[ ]' or '[x]': {item.astext()[:60]!r}")
        if len(item) < 2:
            raise self.error(f"quiz: an option has no feedback, a paragraph indented below it after an empty line: {said.astext()[:60]!r}")
        said[0] = nodes.Text(said[0][mark.end():])
        feedback = item.children[1:]
        if not isinstance(feedback[0], nodes.paragraph):
            feedback.insert(0, nodes.paragraph())
        right = mark[1] != " "
        feedback[0].insert(0, [nodes.strong("", "Right." if right else "Wrong."), nodes.Text(" ")])
        return quiz_option("", quiz_label("", "", *said.children), quiz_feedback("", *feedback, right=right), right=right)


class WithoutButtons(SphinxPostTransform):
    """For all builders that do not write HTML: the question in bold, its options as a numbered list, the feedback below each."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        """Replace the nodes in place."""
        if self.app.builder.format == "html":
            return
        for node in list(self.document.findall(quiz)):
            items = nodes.enumerated_list(enumtype="loweralpha", prefix="", suffix=".")
            for option in node.children[1:]:
                label, feedback = option.children
                items += nodes.list_item("", nodes.paragraph("", "", *label.children), *feedback.children)
            node.replace_self([nodes.paragraph("", "", nodes.strong("", "", *node[0].children)), items])


def _visit_quiz(self: HTML5Translator, node: quiz) -> None:
    self.body.append(self.starttag(node, "fieldset", CLASS="quiz"))


def _depart_quiz(self: HTML5Translator, node: quiz) -> None:
    self.body.append("</fieldset>\n")


def _visit_question(self: HTML5Translator, node: quiz_question) -> None:
    self.body.append(self.starttag(node, "legend", ""))


def _depart_question(self: HTML5Translator, node: quiz_question) -> None:
    self.body.append("</legend>\n")


def _visit_option(self: HTML5Translator, node: quiz_option) -> None:
    self.body.append(self.starttag(node, "div", CLASS="quiz-option"))


def _visit_label(self: HTML5Translator, node: quiz_label) -> None:
    self.body.append(f'<input type="radio" name="{node["group"]}" id="{node["button"]}">\n<label for="{node["button"]}">')


def _depart_label(self: HTML5Translator, node: quiz_label) -> None:
    self.body.append("</label>\n")


def _visit_feedback(self: HTML5Translator, node: quiz_feedback) -> None:
    # The outer box is always there and mostly empty, so that a screen reader speaks what appears in it.
    kind = "right" if node["right"] else "wrong"
    self.body.append(f'<div class="quiz-says" aria-live="polite"><div class="quiz-feedback quiz-{kind}">\n')


def _depart_feedback(self: HTML5Translator, node: quiz_feedback) -> None:
    self.body.append("</div></div>\n")


def _depart_option(self: HTML5Translator, node: quiz_option) -> None:
    self.body.append("</div>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, its nodes, and what becomes of them outside HTML."""
    app.add_node(quiz, html=(_visit_quiz, _depart_quiz))
    app.add_node(quiz_question, html=(_visit_question, _depart_question))
    app.add_node(quiz_option, html=(_visit_option, _depart_option))
    app.add_node(quiz_label, html=(_visit_label, _depart_label))
    app.add_node(quiz_feedback, html=(_visit_feedback, _depart_feedback))
    app.add_directive("quiz", Quiz)
    app.add_post_transform(WithoutButtons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
