"""Conversations in which an early turn states something that a later question needs, some exchanges further on.

``needs_context=False`` gives the control: the same layout and topics, but the early turn only touches on the subject, and the
question restates what its answer needs. A model trained on those never has a reason to look back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import english
from .core import Draw, Generator
from .grammar import load_grammar

KINDS = ("user_name", "dog_name", "dish", "meeting", "paint", "sister", "gift", "party", "guests", "learning", "job", "key")
TOPICS = ("garden", "sky", "book", "walk", "work", "sleep", "market", "screen", "fix", "sport", "home", "trip")
MAX_DISTANCE = 8
MAX_EXCHANGES = 10
Exchange = tuple[str, str]


def _write(draw: Draw, section: str, **context: str) -> str:
    return english.capital(draw.write(load_grammar("dialogues"), section, **context))


def _pair(draw: Draw, section: str) -> Exchange:
    user, assistant = draw.write(load_grammar("dialogues"), section).split(" => ")
    return user, assistant


def _small_talk(draw: Draw, n: int) -> list[Exchange]:
    """Return ``n`` exchanges on one topic or several, two to four on each, none of them twice."""
    grammar, talk = load_grammar("dialogues"), []
    for topic in draw.some(TOPICS, len(TOPICS)):
        run = min(draw.rng.randint(2, 4), n - len(talk))
        if run <= 0:
            break
        lines = [draw.pick(grammar.frames(f"{topic}_open")), *draw.some(grammar.frames(topic), run - 1)]
        for line in lines:
            user, assistant = line.split(" => ")
            talk.append((user, assistant))
    return talk


def make(draw: Draw, distance: int | None = None, needs_context: bool = True) -> dict[str, Any]:
    """Return one dialogue; ValueError for a distance outside 1..8."""
    if distance is not None and distance not in range(1, MAX_DISTANCE + 1):
        raise ValueError(f"distance {distance!r} is out of range: choose 1 to {MAX_DISTANCE}, or None for any")
    grammar = load_grammar("dialogues")
    gap = distance or draw.rng.randint(1, MAX_DISTANCE)
    spare = MAX_EXCHANGES - 1 - gap
    lead = draw.rng.randint(0, min(3, spare))
    tail = draw.chance(0.3) and spare > lead
    kind = draw.pick(KINDS)
    value, other = draw.some(grammar.frames(f"{kind}_value"), 2)

    opening = [_pair(draw, "hello")] if lead and draw.chance(0.6) else []
    talk = _small_talk(draw, lead - len(opening) + gap - 1)
    before, between = talk[: lead - len(opening)], talk[lead - len(opening):]
    statement, question = _write(draw, f"{kind}_say", value=value), _write(draw, f"{kind}_ask")
    if not needs_context:
        statement, question = _write(draw, f"{kind}_hint"), f"{_write(draw, f'{kind}_restate', value=value)} {question}"
    first, second = draw.some(grammar.frames(f"{kind}_react"), 2)
    if between and draw.chance(0.5):
        # A second statement of the same type, which the question is not about.
        between[draw.rng.randrange(len(between))] = (_write(draw, f"{kind}_decoy", value=other), second)
    exchanges = [*opening, *before, (statement, first), *between, (question, _write(draw, f"{kind}_answer", value=value))]
    question_turn = 2 * (len(exchanges) - 1)
    if tail:
        exchanges.append(_pair(draw, "bye"))
    messages = [{"role": role, "content": text} for pair in exchanges for role, text in zip(("user", "assistant"), pair)]
    return {
        "messages": messages, "text": "\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages),
        "distance": gap, "question_turn": question_turn, "answer": value, "kind": kind, "needs_context": needs_context,
    }


def _plain(text: str) -> str:
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


def correct(row: Mapping[str, Any], reply: str) -> bool:
    """Tell whether a reply to the row's question gives the right value, and no other of its kind, in at most 20 words."""
    said = _plain(reply)
    mentioned = [v for v in load_grammar("dialogues").frames(f"{row['kind']}_value") if _plain(v) in said]
    return mentioned == [row["answer"]] and len(said.split()) <= 20


GENERATORS = [
    Generator(
        name="dialogues",
        summary="Conversations of 2-10 exchanges whose last question needs what was said a known distance before.",
        columns={
            "messages": "list of {role, content}, user and assistant in turn",
            "text": "the same as plain text, one line a message",
            "distance": "exchanges from the early turn on the subject to the question, 1..8",
            "question_turn": "index of the question in messages; the answer follows it",
            "answer": "the value that a right reply must give",
            "kind": "what the value is: one of KINDS",
            "needs_context": "whether the value stands in the early turn (else the question restates it)",
        },
        make=make,
        pretrained=False,
        knobs={
            "distance": "1..8, or None for any",
            "needs_context": "False for the control, whose questions can be answered from their own turn",
        },
    )
]
