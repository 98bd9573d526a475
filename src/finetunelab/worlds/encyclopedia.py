"""The town's encyclopedia: entries on its people, shops, buildings, sights and villages, and a cloze test of their facts.

``world_seed`` fixes the facts (about 350 on 94 entities); a document states some facts of one entity, in one of many wordings.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache, lru_cache

from .core import Draw, Generator
from .english import article, number
from .grammar import load_grammar
from .town import Person, town

GRAMMAR = load_grammar("encyclopedia")
KINDS = {
    "person": ("born", "work", "home", "hobby"),
    "shop": ("street", "owner", "goods", "closed"),
    "building": ("street", "material", "founder", "feature"),
    "sight": ("street", "maker", "brings"),
    "village": ("miles", "crop", "market"),
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PEOPLE, SHOPS, BUILDINGS, SIGHTS = 42, 14, 16, 12
DISTRACTORS = 5
LEAST_WORDS, LINK_WORDS = 30, 10


@dataclass(frozen=True)
class Entity:
    """An entry: its kind, its name, and its facts by relation. ``person`` is set for people."""

    kind: str
    name: str
    facts: dict[str, str]
    person: Person | None = None

    @property
    def forms(self) -> dict[str, str]:
        """Return the pronouns that stand for the entity."""
        if self.person is None:
            return {"she": "it", "her": "it", "hers": "its", "self": "itself"}
        person = self.person
        return {"she": person.she, "her": person.her, "hers": person.hers, "self": f"{person.her}self"}


@dataclass(frozen=True)
class Cloze:
    """A sentence cut before its answer. ``distractors`` are other values of the same relation.

    ``seen_wording`` tells whether documents use the wording; each fact has one cloze of either sort.
    """

    prompt: str
    answer: str
    distractors: tuple[str, ...]
    relation: str
    entity: str
    seen_wording: bool


@lru_cache(maxsize=8)
def entities(world_seed: int = 0) -> tuple[Entity, ...]:
    """Return every entity of a world with its facts, the same for every ``data_seed``."""
    rng = random.Random(f"encyclopedia/{world_seed}")
    place = town(world_seed)

    def words(section: str) -> list[str]:
        return GRAMMAR.sections[section]

    def pick(section: str) -> str:
        return rng.choice(words(section))

    described = place.people[:PEOPLE]
    # Owners and makers have entries of their own, so that entries can point at each other; founders are known by name only.
    named = [p.name for p in rng.sample(described, SHOPS + SIGHTS)]
    founders = [p.name for p in rng.sample(place.people[PEOPLE:], BUILDINGS)]
    found = [
        Entity("person", p.name, {"born": rng.choice(place.villages), "work": pick("work"), "home": rng.choice(place.streets),
                                  "hobby": pick("hobby")}, p)
        for p in described
    ]
    for name, goods, owner in zip(rng.sample(words("shop_name"), SHOPS), rng.sample(words("goods"), SHOPS), named):
        found.append(Entity("shop", name, {"street": rng.choice(place.streets), "owner": owner, "goods": goods,
                                           "closed": rng.choice(DAYS)}))
    for name, feature, founder in zip(rng.sample(words("building_name"), BUILDINGS), rng.sample(words("feature"), BUILDINGS), founders):
        found.append(Entity("building", name, {"street": rng.choice(place.streets), "material": pick("material"), "founder": founder,
                                               "feature": feature}))
    for name, maker in zip(rng.sample(words("sight_name"), SIGHTS), named[SHOPS:]):
        found.append(Entity("sight", name, {"street": rng.choice(place.streets), "maker": maker, "brings": pick("brings")}))
    for name in place.villages:
        found.append(Entity("village", name, {"miles": number(rng.randint(2, 20)), "crop": pick("crop"), "market": rng.choice(DAYS)}))
    return tuple(found)


@lru_cache(maxsize=8)
def links(world_seed: int = 0) -> dict[str, tuple[tuple[str, Entity], ...]]:
    """Return for each entity's name its neighbors: (kind of link, the other entity)."""
    everything = entities(world_seed)
    by_name = {e.name: e for e in everything}
    found: dict[str, list[tuple[str, Entity]]] = {e.name: [] for e in everything}
    for one in everything:
        for relation, link, back in (("owner", "owner", "owns"), ("maker", "owner", "made")):
            if relation in one.facts:
                other = by_name[one.facts[relation]]
                found[one.name].append((link, other))
                found[other.name].append((back, one))
        if "born" in one.facts:
            found[one.facts["born"]].append(("born", one))
        for other in everything:
            if other is not one and "street" in other.facts and other.facts["street"] == one.facts.get("street", one.facts.get("home")):
                found[one.name].append(("street", other))
    return {name: tuple(pairs) for name, pairs in found.items()}


@cache
def _frames(kind: str, first: bool, wanted: frozenset[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the frames that state only relations among ``wanted``, each with the relations it states."""
    frames = GRAMMAR.sections[kind] + ([] if first else GRAMMAR.sections[f"{kind} after"])
    stated = [(frame, tuple(r for r in KINDS[kind] if re.search(rf"{{{r}[|}}]", frame))) for frame in frames]
    return tuple((frame, relations) for frame, relations in stated if wanted.issuperset(relations))


class _Entry:
    """One document in the making: sentences, and the facts they state."""

    def __init__(self, draw: Draw):
        self.draw = draw
        self.sentences: list[str] = []
        self.facts: list[dict[str, str]] = []
        self.base = {"town": draw.town.name, "river": draw.town.river}

    @property
    def words(self) -> int:
        return len(" ".join(self.sentences).split())

    def add(self, frame: str, entity: Entity, by_name: bool = False, **context: str) -> None:
        """Write one sentence about ``entity``, called by its name or by a pronoun."""
        who, whose = entity.name, f"{entity.name}'s"
        # "It, which is on ..." and "the farmers of it" want the name.
        if not by_name and not frame.startswith("{who|cap},") and "{who}" not in frame:
            roll = self.draw.rng.random()
            if roll < 0.65:
                who, whose = entity.forms["she"], entity.forms["hers"]
            elif roll < 0.85 and entity.person:
                who, whose = entity.person.first, f"{entity.person.first}'s"
        context = {**self.base, **entity.facts, **entity.forms, "name": entity.name, "who": who, "whose": whose, **context}
        self.sentences.append(GRAMMAR.fill(frame, self.draw.rng, context))

    def tell(self, entity: Entity, remaining: set[str], first: bool, by_name: bool) -> None:
        """Write one sentence that states one or two of the remaining facts, and take them off the list."""
        options = _frames(entity.kind, first, frozenset(remaining))
        for _ in range(3):
            frame, relations = self.draw.pick(options)
            self.add(frame, entity, by_name)
            if len(self.sentences) < 2 or self.sentences[-1].split()[0] != self.sentences[-2].split()[0]:
                break
            self.sentences.pop()
        else:
            self.add(frame, entity, by_name)
        remaining.difference_update(relations)
        self.facts += [{"entity": entity.name, "relation": r, "value": entity.facts[r]} for r in relations]


def make(draw: Draw) -> dict:
    """Write one entry."""
    entity = draw.pick(entities(draw.town.seed))
    entry = _Entry(draw)
    relations = KINDS[entity.kind]
    count = len(relations) - (draw.rng.random() < 0.35) - (len(relations) > 3 and draw.rng.random() < 0.2)
    remaining = set(draw.some(relations, count))
    opened = draw.chance(0.25)
    if opened:
        entry.add(draw.pick(GRAMMAR.sections[f"{entity.kind} about"]), entity)
    entry.tell(entity, remaining, True, not opened)
    fillers = iter(draw.some(GRAMMAR.sections[f"{entity.kind} filler"], 8))
    gap = draw.pick((0, 1, 1, 2, 3))
    while remaining:
        if gap == len(entry.sentences) - 1:
            entry.add(next(fillers), entity)
        entry.tell(entity, remaining, False, False)
    if draw.chance(0.3):
        entry.add(next(fillers), entity)
    neighbors = links(draw.town.seed)[entity.name]
    linked = bool(neighbors) and draw.chance(0.4)
    while entry.words < LEAST_WORDS - LINK_WORDS * linked:
        entry.add(next(fillers), entity)
    if linked:
        link, other = draw.pick(neighbors)
        street = other.facts.get("street", "")
        entry.add(draw.pick(GRAMMAR.sections[f"link {link}"]), entity, other=other.name, street=street)
        known = {"street"} if link == "street" else {"owner", "maker"} if link in ("owns", "made") else {"born"}
        wanted = set(KINDS[other.kind]) - known
        if other.person:
            # "She" could mean either of two people, so the neighbor keeps the name.
            entry.tell(other, wanted, True, True)
        else:
            entry.tell(other, wanted, False, False)
    text = " ".join(entry.sentences)
    values = "|".join(re.escape(value) for value in sorted({fact["value"] for fact in entry.facts}, key=len, reverse=True))
    known = [list(match.span()) for match in re.finditer(rf"\b(?:{values})\b", text)]
    return {"text": text, "entity": entity.name, "facts": entry.facts, "known": known}


def cloze(world_seed: int = 0) -> list[Cloze]:
    """Return two clozes for each fact of the world, one in a wording of the documents and one in a wording they never use.

    The distractors are up to five other values of the same relation among entities of the same kind.
    """
    rng = random.Random(f"cloze/{world_seed}")
    everything = entities(world_seed)
    found = []
    for entity in everything:
        for relation, value in entity.facts.items():
            values = {e.facts[relation] for e in everything if e.kind == entity.kind} - {value}
            shown = article if relation == "work" else str
            distractors = tuple(shown(v) for v in rng.sample(sorted(values), min(DISTRACTORS, len(values))))
            context = {"name": entity.name, "town": town(world_seed).name, **entity.forms}
            for seen in (True, False):
                prompt = GRAMMAR.draw(f"cloze {entity.kind} {relation} {'seen' if seen else 'new'}", rng, context)
                found.append(Cloze(prompt, shown(value), distractors, relation, entity.name, seen))
    return found


def _plain(text: str) -> str:
    words = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    return re.sub(r"^(a|an|the) ", "", words)


def correct(question: Cloze, text: str) -> bool:
    """Tell whether a continuation of the prompt starts with the answer (case, spacing, a leading article are forgiven)."""
    return f"{_plain(text)} ".startswith(f"{_plain(question.answer)} ")


GENERATORS = [
    Generator(
        "encyclopedia",
        "entries on the people, shops, buildings, sights and villages of the town; the facts are the world's",
        {
            "text": "the entry",
            "entity": "what it is about",
            "facts": "list of {entity, relation, value}: the facts it states",
            "known": "[start, end) character offsets in text of the values of its facts",
        },
        make,
        pretrained=True,
    )
]
