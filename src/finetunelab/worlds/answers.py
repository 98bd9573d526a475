"""Short answers to questions about a text: the form in which they are asked, and when one counts as right."""

from __future__ import annotations

import re

_ARTICLE = re.compile(r"^(?:the|an?)\s+")
_END = re.compile(r"\n|[.?!;](?:\s|$)|\bQuestion:")


def ask(question: str) -> str:
    """Return the tail of a prompt that asks a question: ``Question: ...? Answer:``."""
    return f"Question: {question} Answer:"


def plain(answer: str) -> str:
    """Return an answer in lower case, with single spaces, without outer punctuation and without a leading article."""
    text = " ".join(answer.lower().split()).strip(" .,;:!?\"'")
    return _ARTICLE.sub("", text)


def reply(text: str) -> str:
    """Return what a model's output says first: up to the end of its first sentence or line, in plain form."""
    return plain(_END.split(text.strip(), maxsplit=1)[0])


def same(answer: str, text: str) -> bool:
    """Return True if the first thing that ``text`` says is ``answer``, up to case, spaces, punctuation and a leading article."""
    return bool(answer) and reply(text) == plain(answer)
