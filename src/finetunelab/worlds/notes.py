"""Reading from context: notes whose facts are invented for the document, and questions on them; and bare key-value recall.

Nothing here can be known beforehand: keys and values are drawn anew for every document, so only reading it gives the answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .core import Draw, Generator
from .grammar import load_grammar

GRAMMAR = load_grammar("notes")
PEOPLE = "people"  # the pool of the town's first names
MOST_FACTS = 16
FACT_COUNTS = (1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8)
QUESTION_FORMS = (
    "Question: {q} Answer: {a}",
    "Question: {q} Answer: {a}",
    "Question: {q}\nAnswer: {a}",
    "Q: {q} A: {a}",
    "Q: {q}\nA: {a}",
)


@dataclass(frozen=True)
class Family:
    """A kind of fact: the slots of its key with their pools, and the pool of its values.

    Of a key with two slots, one has the same word in all facts of a document, so that only the other tells them apart
    (Clara's bag, Otto's bag; or Clara's bag, Clara's hat).
    """

    keys: dict[str, str]
    values: str
    unit: str = ""


FAMILIES = {
    "where": Family({"who": PEOPLE, "thing": "thing"}, "place"),
    "has": Family({"thing": "object"}, PEOPLE),
    "time": Family({"event": "event"}, "clock"),
    "color": Family({"who": PEOPLE, "thing": "painted"}, "colors"),
    "price": Family({"thing": "object"}, "numbers", unit=" dollars"),
    "meet": Family({"who": PEOPLE}, PEOPLE),
    "dish": Family({"who": PEOPLE}, "dishes"),
    "day": Family({"event": "event"}, "days"),
    "count": Family({"who": PEOPLE, "thing": "counted"}, "numbers"),
    "pet": Family({"who": PEOPLE, "pet": "pet"}, "pet_names"),
    "room": Family({"who": PEOPLE}, "numbers"),
    "bring": Family({"who": PEOPLE}, "goods"),
    "travel": Family({"who": PEOPLE}, "countries"),
    "music": Family({"who": PEOPLE}, "instruments"),
    "chore": Family({"who": PEOPLE}, "chores"),
    "secret": Family({"club": "club"}, "nouns"),
    "gift": Family({"who": PEOPLE}, "presents"),
}


@dataclass(frozen=True)
class Fact:
    """One invented fact: its family, its key, its value."""

    family: str
    key: dict[str, str]
    value: str

    @property
    def answer(self) -> str:
        return self.value + FAMILIES[self.family].unit


class _Pools:
    """The words of one document. Names are handed out once each, save that a key may come back in another family."""

    def __init__(self, draw: Draw):
        self.draw = draw
        self.names = draw.some([p.first for p in draw.town.people], 3 * MOST_FACTS)
        self.used: list[str] = []

    def keys(self, pool: str, n: int) -> list[str]:
        """Draw ``n`` different keys from a pool."""
        if pool != PEOPLE:
            return self.draw.some(GRAMMAR.sections[pool], n)
        # Some people turn up in two families, so that the question must be read for its kind as well as for its name.
        again = self.draw.some(self.used, min(len(self.used), n)) if self.used and self.draw.chance(0.4) else []
        new = [self.names.pop() for _ in range(n - len(again))]
        self.used += new
        return again + new

    def values(self, pool: str, n: int) -> list[str]:
        """Draw ``n`` different values; a person who is an answer is never a key."""
        return [self.names.pop() for _ in range(n)] if pool == PEOPLE else self.draw.some(GRAMMAR.sections[pool], n)


def _invent(draw: Draw, n: int) -> list[Fact]:
    """Invent ``n`` facts of few families, two or more of a family wherever ``n`` allows."""
    most = max(1, n // 2)
    kinds = draw.some(sorted(FAMILIES), draw.rng.randint(max(1, most // 2), min(most, 4)))
    counts = {kind: min(2, n) for kind in kinds}
    while sum(counts.values()) < n:
        counts[draw.pick(kinds)] += 1
    pools, facts = _Pools(draw), []
    for kind, count in counts.items():
        family = FAMILIES[kind]
        told_apart_by = next(iter(family.keys)) if draw.chance(0.7) else list(family.keys)[-1]
        columns = {slot: pools.keys(pool, count) if slot == told_apart_by else pools.keys(pool, 1) * count
                   for slot, pool in family.keys.items()}
        values = pools.values(family.values, count)
        facts += [Fact(kind, {slot: column[i] for slot, column in columns.items()}, values[i]) for i in range(count)]
    draw.rng.shuffle(facts)
    return facts


def _lay_out(draw: Draw, sentences: list[str]) -> str:
    """Set the notes as prose, plain lines, a dashed or a numbered list, most often under a heading."""
    layout = draw.pick(("prose", "prose", "dash", "dash", "lines", "number"))
    if layout == "prose":
        body, joint = " ".join(sentences), " "
    else:
        marks = {"dash": "- ", "lines": "", "number": "{}. "}[layout]
        body, joint = "\n".join(marks.format(i) + s for i, s in enumerate(sentences, 1)), "\n"
    return draw.write(GRAMMAR, "heads") + joint + body if draw.chance(0.6) else body


def make_notes(draw: Draw, facts: int | None = None, questions: int | None = None) -> dict:
    """Write notes with ``facts`` facts and ask ``questions`` of them, each of another fact."""
    n = draw.pick(FACT_COUNTS) if facts is None else facts
    if not 1 <= n <= MOST_FACTS:
        raise ValueError(f"facts={n} is out of range: ask for 1 to {MOST_FACTS} facts a document")
    asked = min(n, draw.rng.randint(1, 3)) if questions is None else questions
    if not 1 <= asked <= n:
        raise ValueError(f"questions={asked} cannot be asked of {n} facts: ask for 1 to {n}")
    known = _invent(draw, n)
    text = _lay_out(draw, [draw.write(GRAMMAR, f"{f.family} note", **f.key, value=f.value) for f in known])
    form, spans = draw.pick(QUESTION_FORMS), []
    text += draw.pick(("\n", "\n", "\n\n"))
    for i, fact in enumerate(draw.some(known, asked)):
        question = draw.write(GRAMMAR, f"{fact.family} question", **fact.key)
        text += ("\n" if i else "") + form.format(q=question, a=fact.answer)
        spans.append([len(text) - len(fact.answer), len(text)])
    start, end = spans[-1]
    return {"text": text, "prompt": text[:start - 1], "answer": text[start:end], "n_facts": n, "spans": spans}


def make_recall(draw: Draw) -> dict:
    """Write 2-6 random pairs of key and value, then ask for them again in random order."""
    sections = GRAMMAR.sections
    key_pools = ([p.first for p in draw.town.people], sections["nouns"], sections["thing"], sections["event"])
    value_pools = (sections["nouns"], sections["numbers"], sections["colors"], sections["dishes"], sections["countries"])
    n = draw.rng.randint(2, 6)
    keys = draw.some(draw.pick(key_pools), n)
    values = draw.some([v for v in draw.pick(value_pools) if v not in keys], n)
    pairs = list(zip(keys, values))
    lines = max(10, 2 * n) + draw.rng.randint(0, 4)
    asked: list[tuple[str, str]] = []
    while len(pairs) + len(asked) < lines:
        asked += draw.some(pairs, n)
    asked = asked[:lines - n]
    joint = draw.pick(("\n", "\n", "; "))
    text, spans = joint.join(f"{key}: {value}" for key, value in pairs), []
    for key, value in asked:
        text += f"{joint}{key}: {value}"
        spans.append([len(text) - len(value), len(text)])
    start, end = spans[-1]
    return {"text": text, "prompt": text[:start - 1], "answer": text[start:end], "spans": spans}


def correct(row: dict, text: str) -> bool:
    """Tell whether the first line of a continuation of ``row["prompt"]`` is the answer.

    Case, spacing and a final period are forgiven; anything before or after the answer is not.
    """
    def plain(value: str) -> str:
        return re.sub(r"\s+", " ", value).strip().lower().removesuffix(".").strip()

    lines = text.strip().splitlines()
    return bool(lines) and plain(lines[0]) == plain(row["answer"])


COLUMNS = {
    "text": "the whole document",
    "prompt": "the text up to the last answer, without a space at its end",
    "answer": "the last answer",
}
SPANS = "list of [start, end): character offsets in text of every answer that the document gives away beforehand"
GENERATORS = [
    Generator(
        "notes",
        "notes with facts invented for the document, then questions on them with answers",
        {**COLUMNS, "n_facts": "facts in the notes", "spans": SPANS},
        make_notes,
        pretrained=True,
        knobs={"facts": "facts in the notes (1 to 16); drawn from 1 to 8 if not given",
               "questions": "questions asked, each of another fact; drawn from 1 to 3 if not given"},
    ),
    Generator(
        "recall",
        "random keys with random values, then the keys again in random order",
        {**COLUMNS, "spans": SPANS},
        make_recall,
        pretrained=True,
    ),
]
