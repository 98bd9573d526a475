"""Customer reviews of the town's eating houses, inns, repair shops, coaches, tailors and bookshops.

Two tasks. In the easy one the verdict is mostly in the words ("stale", "a pleasure"), with some mixed reviews among them. In the
hard one praise and blame stand in both classes alike, and only negation, contrast and order tell what the writer thought: every
frame of it is a minimal pair, drawn once with the verdict for and once with the verdict against.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .core import Draw, Generator
from .grammar import load_grammar
from .town import LAST, Person, town

TOPICS = ("food", "lodging", "repair", "transport", "clothing", "books")
TASKS = ("easy", "hard")
HINTED = 0.5
"""Share of the hard reviews about one thing whose last sentence tells the verdict in so many words."""
PRONOUNS = {
    "it": {"they": "it", "them": "it", "was": "was", "is": "is", "who": "which"},
    "they": {"they": "they", "them": "them", "was": "were", "is": "are", "who": "which"},
    "he": {"they": "he", "them": "him", "was": "was", "is": "is", "who": "who"},
    "she": {"they": "she", "them": "her", "was": "was", "is": "is", "who": "who"},
}
WRITERS = (
    {"i": "I", "me": "me", "my": "my", "am": "am", "w": "was"},
    {"i": "we", "me": "us", "my": "our", "am": "are", "w": "were"},
)
_FRONTS = "Copper Blue Old Golden Little Silver White Green Red Corner".split()
_SIGNS = (
    "Kettle Spoon Goose Oven Pantry Barrel Swan Lion Anchor Stag Bell Lantern Crown Hammer Anvil Wrench Cog Forge Arrow Wheel Horn "
    "Comet Swallow Star Thimble Needle Button Ribbon Mirror Owl Quill Page Candle Raven Globe Rose Moon Bridge Apple Fox"
).split()


@dataclass(frozen=True)
class Business:
    """A business of the town: its name, what it is, where it stands, and who runs it."""

    name: str
    kind: str
    street: str
    owner: Person


@dataclass(frozen=True)
class Aspect:
    """Something a reviewer judges: a noun, the pronoun it takes, and the words of praise and of blame that suit it."""

    noun: str
    pronoun: str
    words: tuple[tuple[str, ...], tuple[str, ...]]
    """``words[0]`` blames, ``words[1]`` praises, as the labels do."""


@lru_cache(maxsize=None)
def aspects(topic: str) -> tuple[Aspect, ...]:
    """Return what reviews of a topic judge."""
    found = []
    for line in load_grammar("reviews").sections[f"aspects_{topic}"]:
        noun, pronoun, good, bad = line.split("|")
        found.append(Aspect(noun, pronoun, (tuple(bad.split(", ")), tuple(good.split(", ")))))
    return tuple(found)


@lru_cache(maxsize=8)
def businesses(world_seed: int = 0) -> dict[str, tuple[Business, ...]]:
    """Return the businesses of a town by topic, nine each. Their quality is not a fact: each is praised as often as blamed."""
    rng, place = random.Random(f"reviews/{world_seed}"), town(world_seed)
    grammar = load_grammar("reviews")
    names, signs = iter(rng.sample(LAST, len(LAST))), iter(rng.sample(_SIGNS, len(_SIGNS)))
    found = {}
    for topic in TOPICS:
        called = [f"the {rng.choice(_FRONTS)} {next(signs)}" for _ in range(6)]
        called += [f"{next(names)}'s", f"{next(names)}'s", f"{next(names)} and {next(names)}"]
        kinds = grammar.sections[f"kinds_{topic}"]
        found[topic] = tuple(Business(n, rng.choice(kinds), rng.choice(place.streets), rng.choice(place.people)) for n in called)
    return found


def _sentences(text: str) -> str:
    """Capitalize every sentence."""
    return re.sub(r"(^|[.!?] )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


def _context(draw: Draw, topic: str) -> dict[str, str]:
    """Draw the fixed facts of one review: who writes, about which business, and what was bought there."""
    grammar = load_grammar("reviews")
    business = draw.pick(businesses(draw.town.seed)[topic])
    context = dict(draw.pick(WRITERS))
    elsewhere = draw.pick([t for t in TOPICS if t != topic])
    other = draw.pick(businesses(draw.town.seed)[elsewhere])
    context |= {
        "place": business.name, "kind": business.kind, "street": business.street, "town": draw.town.name,
        "owner": business.owner.first, "she": business.owner.she, "hers": business.owner.hers,
        "thing": draw.pick(grammar.sections[f"things_{topic}"]), "village": draw.pick(draw.town.villages),
        "other": other.kind, "otherplace": other.name, "otherowner": other.owner.first,
    }
    things = {"thing": draw.pick(grammar.sections[f"things_{elsewhere}"])}
    context["ox"], context["oy"] = (x.noun for x in draw.some(aspects(elsewhere), 2))
    context["othervisit"] = draw.write(grammar, f"visit_{elsewhere}", **(context | things))
    context["visit"] = draw.write(grammar, f"visit_{topic}", **context)
    context["when"] = draw.write(grammar, "when_lodging" if topic == "lodging" else "when", **context)
    return context


def _about(x: Aspect, y: Aspect, label: int, draw: Draw) -> dict[str, str]:
    """Draw what is said of two aspects: ``p`` and ``q`` in the direction of the verdict, ``f`` and ``g`` against it."""
    return PRONOUNS[x.pronoun] | {
        "x": x.noun, "y": y.noun, "it": PRONOUNS[x.pronoun]["they"], "wasy": PRONOUNS[y.pronoun]["was"],
        "whoy": PRONOUNS[y.pronoun]["who"],
        "p": draw.pick(x.words[label]), "q": draw.pick(y.words[label]),
        "f": draw.pick(x.words[1 - label]), "g": draw.pick(y.words[1 - label]),
    }


def _easy(draw: Draw, topic: str, label: int, context: dict[str, str]) -> str:
    """Write two to four sentences whose words mostly say what the verdict is."""
    grammar = load_grammar("reviews")
    context |= {word: draw.pick(grammar.sections[f"{word}_{label}"]) for word in ("happy", "great", "joy")}
    event, closing = (f"good_{topic}", "closing_good") if label else (f"bad_{topic}", "closing_bad")
    plan = draw.pick((
        ["aspect_two", event, "verdict"], ["aspect_one", event, "verdict"], ["aspect_two", event], ["aspect_two", "verdict"],
        ["aspect_two", "aspect_one", closing], ["aspect_one", "aspect_two"], ["aspect_one", "verdict"], ["aspect_two", event, closing],
        ["aspect_two", "denial"], ["aspect_two", "verdict", closing], ["mixed", event, "verdict"],
    ))
    if len(plan) < 3:
        plan = ["opening", "aside", *plan] if draw.chance(0.75) else ["opening", *plan]
    elif draw.chance(0.75):
        plan = [draw.pick(("opening", "aside", "aside")), *plan]
    pairs = iter(draw.some(aspects(topic), 2 * len(plan)))
    return " ".join(draw.write(grammar, section, **(context | _about(next(pairs), next(pairs), label, draw))) for section in plan)


def _hard(draw: Draw, topic: str, label: int, context: dict[str, str]) -> str:
    """Write one to three sentences in which praise and blame stand alike, and one of them is what the writer means."""
    grammar = load_grammar("reviews")
    parts = []
    for x in draw.some(aspects(topic), draw.pick((1, 1, 2))):
        both = draw.pick(("hard_both", "hard_both_thing")) if x.pronoun in ("it", "they") else "hard_both"
        mine = context | PRONOUNS[x.pronoun] | {"x": x.noun, "t": draw.pick(x.words[label]), "f": draw.pick(x.words[1 - label])}
        parts.append(draw.write(grammar, draw.pick((both, both, "hard_not", "hard_so")), **mine))
    if len(parts) == 1 and draw.chance(HINTED):
        context |= {word: draw.pick(grammar.sections[f"{word}_{label}"]) for word in ("happy", "great", "joy")}
        parts.append(draw.write(grammar, "verdict", **context))
    if len(parts) < 3 and draw.chance(0.6):
        parts.insert(0, draw.write(grammar, draw.pick(("hard_opening", "hard_opening", "aside")), **context))
    return " ".join(parts)


def make_review(draw: Draw, task: str = "easy") -> dict[str, Any]:
    """Write one review. ValueError if ``task`` is neither "easy" nor "hard"."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r} of reviews: choose one of {', '.join(TASKS)}")
    topic, label = draw.rng.randrange(len(TOPICS)), draw.rng.randrange(2)
    context = _context(draw, TOPICS[topic])
    text = (_easy if task == "easy" else _hard)(draw, TOPICS[topic], label, context)
    return {"text": _sentences(text), "sentiment": label, "topic": topic, "topic_name": TOPICS[topic], "joint": 2 * topic + label}


GENERATORS = [
    Generator(
        name="reviews",
        summary="Customer reviews of the town's businesses: was the writer pleased, and what is the review about?",
        columns={
            "text": "the review",
            "sentiment": "0 the writer was displeased, 1 pleased",
            "topic": f"index of the topic: {', '.join(TOPICS)}",
            "topic_name": "name of the topic",
            "joint": "both at once, 0 to 11: twice the topic plus the sentiment",
        },
        make=make_review,
        pretrained=True,
        label="sentiment",
        knobs={"task": 'easy (the words mostly tell the sentiment) or hard (only negation, contrast and order tell it)'},
    )
]
