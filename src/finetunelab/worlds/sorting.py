"""Lists of activities, each sorted under a word that stands for its topic in this list alone.

``sorting`` is the step between ``recall`` and ``patterns``. A list draws each topic's entries from a handful of phrases: with one
phrase a topic it is recall of a longer key, with eight most entries are new, and only their topic tells where they belong.
"""

from __future__ import annotations

from typing import Any

from .core import Draw, Generator
from .patterns import LABEL_WORDS, TOPICS, scenes

_FORMS = ("do", "do", "doing", "now")
_BETWEEN = (":", " ->", " =", " /", " =>", " |")
# Few phrases a topic make most entries come back word for word; many make most entries new.
_HANDFULS = (1, 2, 3, 3, 4, 6, 8)


def _phrases(draw: Draw, topic: str, form: str, n: int) -> list[str]:
    """Draw ``n`` different phrases of a topic: things done, or how things are."""
    scene = scenes()[topic]
    if form == "now":
        return [draw.pick(state)[0] for state in draw.some(scene.states, min(n, len(scene.states)))]
    return [getattr(draw.pick(event), form) for event in draw.some(scene.planned, n)]


def make_sorting(draw: Draw) -> dict[str, Any]:
    """Return one list: 8 to 18 phrases of two to four topics, each with its topic's word."""
    topics = draw.some(TOPICS, draw.pick((2, 2, 2, 3, 3, 4)))
    words = draw.some(LABEL_WORDS, len(topics))
    form, between, joint, handful = draw.pick(_FORMS), draw.pick(_BETWEEN), draw.pick(("\n", "\n", "; ")), draw.pick(_HANDFULS)
    phrases = [_phrases(draw, topic, form, handful) for topic in topics]
    entries, spans, text = draw.rng.randint(8, 18), [], ""
    for i in range(entries):
        kind = draw.rng.randrange(len(topics))
        text += f"{joint if i else ''}{draw.pick(phrases[kind])}{between} {words[kind]}"
        spans.append([len(text) - len(words[kind]), len(text)])
    start, end = spans[-1]
    return {"text": text, "prompt": text[: start - 1], "answer": text[start:end], "topics": len(topics), "spans": spans}


GENERATORS = [
    Generator(
        name="sorting",
        summary="Lists of activities, each sorted under a word that stands for its topic in this list alone.",
        columns={
            "text": "the whole list",
            "prompt": "the list up to its last word, without a space at its end",
            "answer": "the last word",
            "topics": "number of topics in the list (2 to 4)",
            "spans": "list of [start, end): character offsets in text of every sorting word",
        },
        make=make_sorting,
        pretrained=True,
    ),
]
