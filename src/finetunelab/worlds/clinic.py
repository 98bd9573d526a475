"""Texts of a clinic about invented drugs and diseases, so that no model can know a word of it before it has read them.

The facts are drawn by ``data_seed``: 24 diseases, each with the organ it attacks, what spreads it, its first sign and its
drug; 24 drugs, each with its form, its side effect and the plant it is made of. ``cloze`` asks for every one of them in wordings
that no document uses.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .core import Draw, Generator
from .grammar import load_grammar
from .town import LAST

N_DISEASES = 24
DISTRACTORS = 4
WORDINGS = 2
"""How many cloze wordings are asked of each fact."""
POOLS = {"organ": "organs", "spread": "spreads", "sign": "signs", "form": "forms", "side": "sides", "plant": "plants"}
OF_DISEASE = ("organ", "spread", "sign", "treatment")
OF_DRUG = ("form", "side", "plant")
_SYLLABLES = (
    "bal bor bru cal cor cru dar del dor dra fal fen fro gal gor gri hal hem hul jar jol kel kor kru lan lor lum mal mer mor nar nel "
    "nor ol or pal pel pra quil ran rel ros sar sel sul tal tor tre ul ur val ven vor wil xan yar yol zan zel"
).split()
_MIDDLES = "a e i o u ba da di do ga ki la li lo ma mi na no pi ra ri ro ta ti to va vi".split()
_ENDS = {
    "disease": "nosis losis temia remia litis nitis thoria phasia rrhea strum".split(),
    "drug": "vene dine zole xin pram mil fax quine brix tane".split(),
}


@dataclass(frozen=True)
class Fact:
    """One fact of the clinic: the ``relation`` of ``entity`` is ``answer``."""

    entity: str
    relation: str
    answer: str

    def __str__(self) -> str:
        return f"{self.entity} / {self.relation} / {self.answer}"


@dataclass(frozen=True)
class Cloze:
    """A question about a fact: what must follow ``prompt`` is ``answer``; ``distractors`` are of the same type and wrong."""

    prompt: str
    answer: str
    distractors: tuple[str, ...]
    relation: str
    entity: str


def _names(kind: str, rng: random.Random, taken: set[str]) -> list[str]:
    """Invent names that differ from all others in their first four letters."""
    names: list[str] = []
    while len(names) < N_DISEASES:
        name = rng.choice(_SYLLABLES) + rng.choice(_MIDDLES) + rng.choice(_ENDS[kind])
        if name[:4] not in taken:
            taken.add(name[:4])
            names.append(name)
    return names


def _spread_out(pool: list[str], n: int, rng: random.Random) -> list[str]:
    """Draw ``n`` values, each of the pool about equally often."""
    values = pool * (n // len(pool)) + rng.sample(pool, n % len(pool))
    rng.shuffle(values)
    return values


@lru_cache(maxsize=64)
def facts(data_seed: int = 0) -> tuple[Fact, ...]:
    """Return all facts of a data seed: four of each disease, three of each drug."""
    rng, grammar, taken = random.Random(f"clinic/{data_seed}"), load_grammar("clinic"), set()
    diseases, drugs = _names("disease", rng, taken), _names("drug", rng, taken)
    values = {relation: _spread_out(grammar.sections[pool], N_DISEASES, rng) for relation, pool in POOLS.items()} | {"treatment": drugs}
    found = [Fact(disease, relation, values[relation][i]) for i, disease in enumerate(diseases) for relation in OF_DISEASE]
    found += [Fact(drug, relation, values[relation][i]) for i, drug in enumerate(drugs) for relation in OF_DRUG]
    return tuple(found)


@lru_cache(maxsize=64)
def _cases(data_seed: int) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return one bundle a disease: its name, all its facts, and those of its drug."""
    by_entity: dict[str, dict[str, str]] = {}
    for fact in facts(data_seed):
        by_entity.setdefault(fact.entity, {})[fact.relation] = fact.answer
    diseases = [name for name, known in by_entity.items() if "treatment" in known]
    bundles = []
    for disease in diseases:
        known = by_entity[disease]
        bundles.append(tuple(({"dn": disease, "mn": known["treatment"]} | known | by_entity[known["treatment"]]).items()))
    return tuple(bundles)


@lru_cache(maxsize=64)
def cloze(data_seed: int = 0) -> tuple[Cloze, ...]:
    """Return ``WORDINGS`` questions about every fact of a data seed, with ``DISTRACTORS`` wrong answers of the same type each."""
    rng, grammar = random.Random(f"clinic/cloze/{data_seed}"), load_grammar("clinic")
    everything = facts(data_seed)
    pool = {r: sorted({f.answer for f in everything if f.relation == r}) for r in OF_DISEASE + OF_DRUG}
    questions = []
    for fact in everything:
        wrong = [answer for answer in pool[fact.relation] if answer != fact.answer]
        for frame in rng.sample(grammar.sections[f"cloze_{fact.relation}"], WORDINGS):
            prompt = _sentences(frame.replace("{e}", fact.entity))
            questions.append(Cloze(prompt, fact.answer, tuple(rng.sample(wrong, DISTRACTORS)), fact.relation, fact.entity))
    return tuple(questions)


@lru_cache(maxsize=64)
def lessons(data_seed: int = 0) -> tuple[Cloze, ...]:
    """Return every fact of a data seed in the one wording that ``cloze`` does not ask it in, without distractors: to teach by."""
    grammar, asked = load_grammar("clinic"), {question.prompt for question in cloze(data_seed)}
    return tuple(
        Cloze(prompt, fact.answer, (), fact.relation, fact.entity)
        for fact in facts(data_seed)
        for frame in grammar.sections[f"cloze_{fact.relation}"]
        if (prompt := _sentences(frame.replace("{e}", fact.entity))) not in asked
    )


def _bare(text: str) -> str:
    """Lower case, single spaces, no punctuation, no leading article."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return " ".join(words[1:] if words[:1] and words[0] in ("a", "an", "the") else words)


def correct(question: Cloze, text: str) -> bool:
    """The oracle: True if ``text``, written after the prompt, begins with the answer. Case, punctuation and articles do not count."""
    return f"{_bare(text)} ".startswith(f"{_bare(question.answer)} ")


def _sentences(text: str) -> str:
    """Capitalize every sentence."""
    return re.sub(r"(^|[.!?] )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


PLANS = {
    "leaflet": (("leaflet_treats", "leaflet_form", "leaflet_plant", "leaflet_side"), "leaflet_advice"),
    "entry": (("entry_organ", "entry_spread", "entry_sign", "entry_treatment"), "entry_remark"),
}
"""Kinds that state facts in any order and end on a remark: the sections they draw from."""
CHAINS = {
    "note": ("note_findings", "note_plan", "note_close"),
    "abstract": ("abstract_middle", "abstract_middle", "abstract_close"),
    "protocol": ("protocol_step", "protocol_step", "protocol_step", "protocol_close"),
    "letter": ("letter_middle", "letter_middle", "letter_close"),
    "ward": ("ward_middle", "ward_middle", "ward_close"),
}
"""Kinds that go through their sections in order."""


def _patient(draw: Draw) -> dict[str, str]:
    """Draw the people and the numbers of one document."""
    title, he, his, him = draw.pick((("Mr.", "he", "his", "him"), ("Mrs.", "she", "her", "her"), ("Miss", "she", "her", "her")))
    return {
        "pt": f"{title} {draw.pick(LAST)}", "he": he, "his": his, "him": him, "age": str(draw.rng.randrange(19, 88)),
        "dr": draw.pick(LAST), "n": str(draw.rng.randrange(24, 480)), "few": str(draw.rng.randrange(3, 28)),
        "most": str(draw.rng.randrange(61, 98)),
    }


def _relations(frame: str) -> set[str]:
    """Return the relations whose answers a frame states."""
    return {relation for relation in POOLS if f"{{{relation}}}" in frame}


def make_clinic(draw: Draw) -> dict[str, Any]:
    """Write one text about one disease and its drug."""
    grammar = load_grammar("clinic")
    known = dict(draw.pick(_cases(draw.data_seed)))
    context = known | _patient(draw)
    kind = draw.pick(("leaflet", "leaflet", "entry", "entry", *CHAINS))
    if kind in PLANS:
        sections, last = PLANS[kind]
        plan = [*draw.some(sections, draw.pick((2, 3, 3))), last]
    else:
        plan = list(CHAINS[kind])
    parts: list[str] = []
    used: set[str] = set()
    for section in [f"{kind}_open", *plan]:
        frames = grammar.frames(section, draw.split)
        # A document that says a thing twice in two ways reads as filled in: prefer a frame whose facts are new to it.
        frame = draw.pick([f for f in frames if not _relations(f) & used] or frames)
        used |= _relations(frame)
        before = parts[-1] if parts else ""
        # A pronoun only where the sentence before named the thing, and half of the time even then.
        for short, name, noun in (("d", known["dn"], "disease"), ("m", known["mn"], "drug")):
            again = name in before.lower() and draw.chance(0.6)
            context[short] = draw.pick(("it", f"the {noun}")) if again else name
        parts.append(grammar.fill(frame, draw.rng, context, draw.split))
    text = _sentences(" ".join(parts))
    low = text.lower()
    stated = [
        str(Fact(known["dn"] if relation in OF_DISEASE else known["mn"], relation, known[relation]))
        for relation in OF_DISEASE + OF_DRUG
        if known[relation] in low and known["dn" if relation in OF_DISEASE else "mn"] in low
    ]
    return {"text": text, "kind": kind, "facts": stated}


GENERATORS = [
    Generator(
        name="clinic",
        summary="Leaflets, notes, abstracts, protocols, letters and ward reports of a clinic about invented drugs and diseases.",
        columns={
            "text": "the document",
            "kind": "leaflet, entry, note, abstract, protocol, letter or ward",
            "facts": 'the facts it states, each "entity / relation / answer"',
        },
        make=make_clinic,
        pretrained=False,
    )
]
