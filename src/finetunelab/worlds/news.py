"""A town newspaper whose facts change from day to day: held out of pretraining, drawn by ``data_seed``.

``facts(day, data_seed)`` is the truth of a day; every article of that day states one or two of these facts, and nothing in it
says otherwise. A day old paper is a trustworthy text with, here and there, a wrong answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .answers import ask, same
from .core import Draw, Generator
from .english import capital
from .grammar import load_grammar
from .town import LAST, MEN, WOMEN

DAYS = 60
_RECENT = 30  # a random article is of one of the first 30 days
_POOL_OF_PEOPLE = 8

# Slot: (pool of its values, chance that it changes overnight). Offices change seldom, the weather often; the mean is a third.
SLOTS: dict[str, tuple[str, float]] = {
    "council": ("person", 0.2), "mill": ("person", 0.15), "doctor": ("person", 0.6), "chess": ("person", 0.2), "judge": ("person", 0.25),
    "flour": ("price", 0.45), "coal": ("price", 0.4), "bridge": ("bridge", 0.3), "regatta": ("boat", 0.25), "weather": ("weather", 0.6),
    "play": ("play", 0.3), "ferry": ("hour", 0.3), "fish": ("fish", 0.5), "beast": ("beast", 0.25), "market": ("place", 0.2),
    "soup": ("soup", 0.6), "flag": ("color", 0.5), "museum": ("show", 0.15), "roadworks": ("street", 0.25), "guests": ("city", 0.25),
    "match": ("team", 0.35), "library": ("weekday", 0.2), "tram": ("tram", 0.45), "dance": ("flower", 0.2),
}
_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Question:
    """A question about one day: ``prompt`` ends in ``Answer:``; ``stale_answers`` held on earlier days, the latest first."""

    prompt: str
    answer: str
    slot: str
    day: int
    stale_answers: tuple[str, ...]


def date(day: int) -> str:
    """Return the date line of a day: "Tuesday, 2 March"; day 0 is Monday, 1 March."""
    month, number = ("March", day + 1) if day < 31 else ("April", day - 30)
    return f"{_WEEK[day % 7]}, {number} {month}"


@lru_cache(maxsize=16)
def _people(data_seed: int) -> dict[str, tuple[str, ...]]:
    """Each office has its own candidates, so that the wrong answer to one question is not the right one to another."""
    rng = random.Random(f"news/{data_seed}/people")
    offices = [slot for slot, (pool, _) in SLOTS.items() if pool == "person"]
    first = rng.sample(WOMEN + MEN, _POOL_OF_PEOPLE * len(offices))
    last = rng.sample(LAST, len(first))
    names = [f"{a} {b}" for a, b in zip(first, last)]
    return {office: tuple(names[i::len(offices)]) for i, office in enumerate(offices)}


def values(slot: str, data_seed: int = 0) -> tuple[str, ...]:
    """Return every value that a slot can take."""
    pool = SLOTS[slot][0]
    return _people(data_seed)[slot] if pool == "person" else tuple(load_grammar("news").frames(f"pool {pool}"))


@lru_cache(maxsize=1024)
def _history(slot: str, data_seed: int) -> tuple[str, ...]:
    rng = random.Random(f"news/{data_seed}/{slot}")
    pool, (_, pace) = values(slot, data_seed), SLOTS[slot]
    history = [rng.choice(pool)]
    while len(history) < DAYS:
        changed = rng.random() < pace
        history.append(rng.choice([v for v in pool if v != history[-1]]) if changed else history[-1])
    return tuple(history)


def _checked(day: int) -> int:
    if not 0 <= day < DAYS:
        raise ValueError(f"the newspaper has no day {day}: choose one from 0 to {DAYS - 1}")
    return day


def facts(day: int, data_seed: int = 0) -> dict[str, str]:
    """Return what is true on a day, by slot. ValueError for a day outside 0..59."""
    _checked(day)
    return {slot: _history(slot, data_seed)[day] for slot in SLOTS}


def _context(value: str) -> dict[str, str]:
    """The slots of a sentence about a value; pronouns are used by sentences about people alone."""
    woman = value.split()[0] in WOMEN
    return {"v": value, "she": "she" if woman else "he"}


def _fact(rng: random.Random, slot: str, value: str) -> str:
    return load_grammar("news").draw(f"{slot} fact", rng, _context(value))


def _article(rng: random.Random, day: int, data_seed: int, slot: str) -> dict[str, Any]:
    grammar, truth = load_grammar("news"), facts(day, data_seed)
    context = _context(truth[slot])
    slots = [slot]
    body = [capital(_fact(rng, slot, truth[slot]))]
    tails = rng.sample(grammar.frames(f"{slot} tail"), 2 if rng.random() < 0.5 else 1)
    body += [grammar.fill(tail, rng, context) for tail in tails]
    if rng.random() < 0.4:
        body.insert(rng.randint(1, len(body)), capital(grammar.draw("quote", rng)))
    if len(body) < 4 and rng.random() < 0.5:
        other = rng.choice([s for s in SLOTS if s != slot])
        slots.append(other)
        body.append(f"{grammar.draw('link', rng)} {_fact(rng, other, truth[other])}")
    elif len(body) < 3 or (len(body) < 4 and rng.random() < 0.4):
        body.append(grammar.draw("closer", rng))
    headline = grammar.draw(f"{slot} headline", rng, context)
    text = f"{headline}\n{date(day)}. {' '.join(body)}"
    return {"text": text, "day": day, "slots": slots, "answers": [truth[s] for s in slots]}


def articles(day: int, data_seed: int = 0, n: int = len(SLOTS)) -> list[dict[str, Any]]:
    """Return ``n`` articles of one day, as rows of the generator. The first 24 lead with 24 different slots, so they state every fact."""
    _checked(day)
    rng = random.Random(f"news/{data_seed}/paper/{day}")
    order = rng.sample(list(SLOTS), len(SLOTS))
    return [_article(rng, day, data_seed, order[i % len(order)]) for i in range(n)]


def questions(day: int, data_seed: int = 0) -> list[Question]:
    """Return one question a slot about a day, in a wording drawn for that day."""
    grammar, truth = load_grammar("news"), facts(day, data_seed)
    rng = random.Random(f"news/{data_seed}/questions/{day}")
    asked = []
    for slot, answer in truth.items():
        earlier = dict.fromkeys(reversed(_history(slot, data_seed)[:day]))
        stale = tuple(value for value in earlier if value != answer)
        asked.append(Question(ask(grammar.draw(f"{slot} ask", rng)), answer, slot, day, stale))
    return asked


def correct(question: Question, text: str) -> bool:
    """Return True if the output ``text`` of a model answers the question: the first thing it says is today's answer, and in full."""
    return same(question.answer, text)


def outdated(question: Question, text: str) -> bool:
    """Return True if ``text`` gives an answer that was right on an earlier day and is wrong today."""
    return any(same(answer, text) for answer in question.stale_answers)


def _make(draw: Draw, day: int | None = None) -> dict[str, Any]:
    day = draw.rng.randrange(_RECENT) if day is None else _checked(day)
    return _article(draw.rng, day, draw.data_seed, draw.pick(list(SLOTS)))


GENERATORS = [
    Generator(
        name="news",
        summary="Articles of a town newspaper; what is true changes from day to day.",
        columns={
            "text": "headline, date line and two to four sentences",
            "day": "the day of the paper, 0 is Monday, 1 March",
            "slots": "which facts the article states, in order",
            "answers": "their values on that day",
        },
        make=_make,
        pretrained=False,
        knobs={"day": "0..59; None draws one of the first 30"},
    )
]
