"""Little stories in an invented language, always the same one, whose every word and ending is new to a model of English.

Its grammar, in full:

* Order: connective, time, subject, companion, place, goal, object, manner, negation, verb. The verb is always last.
* A noun is stem + number + case: plural ``-im``; accusative ``-ek``, dative ``-ul`` (to), locative ``-osh`` (in), genitive ``-an``; the
  nominative has no ending. After a vowel an ending loses its own. Names and the pronoun take the same endings.
* Nouns are animate (people, animals) or inanimate. An adjective stands after its noun and agrees: ``-a`` and ``-o``, in the plural ``-ai``
  and ``-oi``.
* Owners stand before what they own, in the genitive. Numbers stand before the noun, which is then plural. "With" follows a genitive.
* A verb is stem + tense + agreement: past ``-ar``, present ``-en``, future ``-iv``; then ``-a`` or ``-u`` for an animate or inanimate
  subject, in the plural ``-at`` and ``-ut``. "To be" takes a predicate adjective that agrees with the subject.
* "And" joins two clauses; the second may leave its subject out if it is the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .core import Draw, Generator
from .english import plural
from .grammar import load_grammar

NOUN_KINDS = ("person", "animal", "food", "tool", "cloth", "place", "nature", "thing")
VERB_KINDS = ("intransitive", "motion", "transitive", "giving", "copula")
CASES = {"nom": "", "acc": "ek", "dat": "ul", "loc": "osh", "gen": "an"}
TENSES = {"past": "ar", "present": "en", "future": "iv"}
ROLES = {"l": "loc", "d": "dat", "o": "acc"}
NEEDS = {
    "intransitive": ({"loc"}, set()),
    "motion": ({"dat"}, {"dat"}),
    "transitive": ({"loc", "dat", "acc"}, {"acc"}),
    "giving": ({"loc", "dat", "acc"}, {"dat", "acc"}),
}
"""The cases a verb allows and those it demands."""


@dataclass(frozen=True)
class Form:
    """What an inflected word is: its part of speech and whichever features that part has."""

    part: str
    stem: str
    animate: bool = False
    plural: bool = False
    case: str = ""
    tense: str = ""
    kind: str = ""

    def agrees(self, other: Form) -> bool:
        """True if class and number are the same."""
        return (self.animate, self.plural) == (other.animate, other.plural)


@dataclass(frozen=True)
class Lexicon:
    """The dictionary, by English gloss."""

    particles: dict[str, str]
    numbers: dict[str, str]
    names: tuple[str, ...]
    nouns: dict[str, tuple[str, str]]
    verbs: dict[str, tuple[str, str, str]]
    adjectives: dict[str, tuple[str, tuple[str, ...]]]
    times: dict[str, dict[str, str]]
    manners: dict[str, str]
    mass: frozenset[str]


def _pairs(section: str) -> dict[str, str]:
    """Read the "gloss = word" lines of a section."""
    return dict(line.split(" = ") for line in load_grammar("language").sections[section])


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """Return the dictionary: nouns as (word, kind), verbs as (word, kind, English past), adjectives as (word, kinds they can describe)."""
    adjectives = {}
    for entry, word in _pairs("adjectives").items():
        gloss, kinds = entry.rstrip(")").split(" (")
        adjectives[gloss] = (word, tuple(kinds.split(", ")))
    return Lexicon(
        particles=_pairs("particles"),
        numbers=_pairs("numbers"),
        names=tuple(load_grammar("language").sections["names"]),
        nouns={gloss: (word, kind) for kind in NOUN_KINDS for gloss, word in _pairs(f"nouns_{kind}").items()},
        verbs={
            entry.split(", ")[0]: (word, kind, entry.split(", ")[1])
            for kind in VERB_KINDS
            for entry, word in _pairs(f"verbs_{kind}").items()
        },
        adjectives=adjectives,
        times={tense: _pairs(f"times_{tense}") for tense in TENSES},
        manners=_pairs("manners"),
        mass=frozenset(load_grammar("language").sections["mass"]),
    )


def attach(stem: str, ending: str) -> str:
    """Add an ending that begins with a vowel; after a vowel it loses its own."""
    return stem + (ending[1:] if stem[-1] in "aeiou" else ending)


def noun(stem: str, many: bool, case: str) -> str:
    """Inflect a noun."""
    word = attach(stem, "im") if many else stem
    return attach(word, CASES[case]) if case != "nom" else word


def adjective(stem: str, animate: bool, many: bool) -> str:
    """Inflect an adjective."""
    return stem + ("a" if animate else "o") + ("i" if many else "")


def verb(stem: str, tense: str, animate: bool, many: bool) -> str:
    """Inflect a verb."""
    return stem + TENSES[tense] + ("a" if animate else "u") + ("t" if many else "")


@lru_cache(maxsize=1)
def forms() -> dict[str, Form]:
    """Return every inflected word of the language with its analysis. No two analyses share a word."""
    lex, found = lexicon(), {}
    stems = [(word, kind in ("person", "animal"), (False, True)) for word, kind in lex.nouns.values()]
    stems += [(name.lower(), True, (False,)) for name in lex.names] + [(lex.particles["pronoun"], True, (False, True))]
    entries = [(noun(w, n, c), Form("noun", w, animate=a, plural=n, case=c)) for w, a, numbers in stems for n in numbers for c in CASES]
    both = (False, True)
    described = [word for word, _ in lex.adjectives.values()]
    entries += [(adjective(w, a, n), Form("adjective", w, animate=a, plural=n)) for w in described for a in both for n in both]
    entries += [
        (verb(w, t, a, n), Form("verb", w, animate=a, plural=n, tense=t, kind=kind))
        for w, kind, _ in lex.verbs.values() for t in TENSES for a in both for n in both
    ]
    entries += [(w, Form(gloss, w)) for gloss, w in lex.particles.items() if gloss != "pronoun"]
    entries += [(w, Form("number", w)) for w in lex.numbers.values()] + [(w, Form("manner", w)) for w in lex.manners.values()]
    entries += [(w, Form("time", w, tense=tense)) for tense, words in lex.times.items() for w in words.values()]
    for word, form in entries:
        if word in found:
            raise ValueError(f"the invented language has two readings of {word!r}: change its dictionary in text/language.txt")
        found[word] = form
    return found


def _phrase(words: list[Form], at: int, bare: bool = False) -> tuple[Form, int] | None:
    """Read a noun phrase; return its noun and the place after it. ``bare`` leaves an adjective unread."""

    def part(i: int) -> str:
        return words[i].part if i < len(words) else ""

    if part(at) == "noun" and words[at].case == "gen" and part(at + 1) != "with":
        at += 1
    counted = part(at) == "number"
    at += counted
    if part(at) != "noun" or (counted and not words[at].plural):
        return None
    head, at = words[at], at + 1
    if part(at) == "adjective" and not bare:
        return (head, at + 1) if words[at].agrees(head) else None
    return head, at


def _clause(words: list[Form], subject: Form | None) -> tuple[Form, str] | None:
    """Read one clause. Return its subject and tense, or None if it is not grammatical; ``subject`` stands in for one left out."""
    if not words or words[-1].part != "verb":
        return None
    final, rest = words[-1], words[:-1]
    if rest and rest[-1].part == "not":
        rest = rest[:-1]
    if final.kind == "copula":
        read = _phrase(rest, 0, bare=True)
        if read is None or read[0].case != "nom" or len(rest) != read[1] + 1:
            return None
        predicate = rest[-1]
        good = predicate.part == "adjective" and predicate.agrees(read[0]) and final.agrees(read[0])
        return (read[0], final.tense) if good else None
    if rest and rest[-1].part == "manner":
        rest = rest[:-1]
    at, read = 0, _phrase(rest, 0)
    if read is not None and read[0].case == "nom":
        subject, at = read
    if subject is None or not final.agrees(subject):
        return None
    if at + 1 < len(rest) and rest[at + 1].part == "with":
        if rest[at].part != "noun" or rest[at].case != "gen":
            return None
        at += 2
    cases = []
    while at < len(rest):
        read = _phrase(rest, at)
        if read is None:
            return None
        cases.append(read[0].case)
        at = read[1]
    allowed, demanded = NEEDS[final.kind]
    in_order = cases == [case for case in ROLES.values() if case in cases]
    return (subject, final.tense) if in_order and demanded <= set(cases) <= allowed else None


def grammatical(sentence: str) -> bool:
    """The oracle: True if one sentence obeys the grammar above: known words, order, cases, agreement, valency, tense.

    Capitals, commas and the final stop do not count. A sentence of English, an empty one, or two sentences at once are False.
    """
    if re.search(r"[.!?]\s*\S", sentence):
        return False
    tokens = re.findall(r"[^\s,.!?]+", sentence.lower())
    if not tokens or any(token not in forms() for token in tokens):
        return False
    words = [forms()[token] for token in tokens]
    if words[0].part in ("then", "but", "therefore"):
        words = words[1:]
    when = ""
    if words and words[0].part == "time":
        when, words = words[0].tense, words[1:]
    joint = [i for i, word in enumerate(words) if word.part == "and"]
    clauses = [words[: joint[0]], words[joint[0] + 1 :]] if joint else [words]
    subject, tenses = None, {when} - {""}
    for clause in clauses:
        read = _clause(clause, subject)
        if read is None:
            return False
        subject, tenses = read[0], tenses | {read[1]}
    return len(tenses) == 1


@dataclass(frozen=True)
class Clause:
    """One clause in both tongues: the words after the subject are kept apart, so that a subject can be left out."""

    subject: str
    rest: str
    gloss: str
    key: str


class Story:
    """The cast of one story, and the writing of its clauses."""

    def __init__(self, draw: Draw, tense: str):
        self.draw, self.tense, self.lex = draw, tense, lexicon()
        self.cast = dict(zip("AB", draw.some(self.lex.names, 2)))
        self.props = {kind.upper(): draw.pick([g for g, (_, k) in self.lex.nouns.items() if k == kind]) for kind in NOUN_KINDS}
        self.props["FOOD2"] = draw.pick([g for g, (_, k) in self.lex.nouns.items() if k == "food" and g != self.props["FOOD"]])
        self.last = ""

    def phrase(self, code: str, case: str) -> tuple[str, str, bool, bool]:
        """Write a noun phrase; return it, its English gloss, and whether it is animate and plural."""
        lex = self.lex
        code, _, owner = code.partition("<")
        _, dot, code = code.rpartition(".")
        stem, mark = re.fullmatch(r"(\w+)([*?+]*)", code).groups()
        if stem in self.cast:
            name = self.cast[stem]
            again = case == "nom" and self.last == stem and self.draw.chance(0.5)
            return noun(lex.particles["pronoun"] if again else name, False, case), name, True, False
        gloss = self.props.get(stem, stem)
        word, kind = lex.nouns[gloss]
        counted = bool(dot) and gloss not in lex.mass
        many = gloss not in lex.mass and (counted or "*" in mark or ("?" in mark and self.draw.chance(0.5)))
        animate = kind in ("person", "animal")
        parts, english = [noun(word, many, case)], plural(gloss) if many else gloss
        if "+" in mark and self.draw.chance(0.6):
            quality = self.draw.pick([g for g, (_, kinds) in lex.adjectives.items() if kind in kinds])
            parts.append(adjective(lex.adjectives[quality][0], animate, many))
            english = f"{quality} {english}"
        if counted:
            number = self.draw.pick(list(lex.numbers))
            parts.insert(0, lex.numbers[number])
            english = f"{number} {english}"
        if owner:
            parts.insert(0, noun(self.cast[owner], False, "gen"))
            english = f"{self.cast[owner]}'s {english}"
        return " ".join(parts), english if owner or counted else f"the {english}", animate, many

    def clause(self, line: str) -> Clause:
        """Write one line of a plot as a clause."""
        *codes, action = line.split()
        negated = "not" in codes
        roles = dict(code.split("=") for code in codes if code != "not")
        subject, english, animate, many = self.phrase(roles["s"], "nom")
        self.last = roles["s"]
        words, tail = [], ""
        if "w" in roles:
            with_, who, *_ = self.phrase(roles["w"], "gen")
            words += [with_, self.lex.particles["with"]]
            tail += f" with {who}"
        for role, case in ROLES.items():
            if role in roles:
                phrase, gloss, *_ = self.phrase(roles[role], case)
                words.append(phrase)
                tail = f" {gloss}{tail}" if role == "o" else f"{tail} {'in' if role == 'l' else 'to'} {gloss}"
        if "m" in roles:
            manner = self.draw.pick(list(self.lex.manners)) if roles["m"] == "MANNER" else roles["m"]
            words.append(self.lex.manners[manner])
            tail += f" {manner}"
        if "a" in roles:
            words.append(adjective(self.lex.adjectives[roles["a"]][0], animate, many))
            tail += f" {roles['a']}"
        if negated:
            words.append(self.lex.particles["not"])
        words.append(verb(self.lex.verbs[action][0], self.tense, animate, many))
        return Clause(subject, " ".join(words), f"{english} {self.english(action, many, negated)}{tail}", roles["s"])

    def english(self, action: str, many: bool, negated: bool) -> str:
        """Conjugate the English gloss of a verb."""
        if self.tense == "future":
            return f"will {'not ' if negated else ''}{action}"
        if action == "be":
            form = ("were" if many else "was") if self.tense == "past" else ("are" if many else "is")
            return f"{form} not" if negated else form
        if negated:
            return f"{'did' if self.tense == 'past' else 'do' if many else 'does'} not {action}"
        if self.tense == "past":
            return self.lex.verbs[action][2]
        return action if many else "goes" if action == "go" else plural(action)


def make_language(draw: Draw) -> dict[str, Any]:
    """Write one story or notice: a plot of town life, told in one tense."""
    lex, sections = lexicon(), load_grammar("language").sections
    tense = draw.pick(("past", "past", "past", "present", "future"))
    story = Story(draw, tense)
    lines = sections[draw.pick([title for title in sections if title.startswith("plot_")])]
    start = draw.rng.randrange(3)
    kept = sorted(draw.some(range(start + 1, len(lines)), draw.rng.randrange(8, 12)))
    sentences: list[str] = []
    clauses = [story.clause(lines[i]) for i in (start, *kept)]
    first_time = ""
    while clauses:
        clause = clauses.pop(0)
        words = f"{clause.subject} {clause.rest}"
        if draw.chance(0.5 if not sentences else 0.06):
            when = draw.pick(list(lex.times[tense]))
            words = f"{lex.times[tense][when]} {words}"
            first_time = first_time or ("" if sentences else when)
        elif sentences and draw.chance(0.2):
            words = f"{lex.particles[draw.pick(('then', 'then', 'but', 'therefore'))]} {words}"
        copula = f" {lex.verbs['be'][0]}"
        if sentences and clauses and clauses[0].key == clause.key and copula not in f" {clauses[0].rest}" and draw.chance(0.6):
            words += f", {lex.particles['and']} {clauses.pop(0).rest}"
        elif sentences and clauses and draw.chance(0.12):
            following = clauses.pop(0)
            words += f", {lex.particles['and']} {following.subject} {following.rest}"
        sentences.append(words[0].upper() + words[1:] + ".")
        if len(sentences) == 1:
            gloss = f"{first_time}, {clause.gloss}" if first_time else clause.gloss
    return {"text": " ".join(sentences), "gloss": gloss[0].upper() + gloss[1:] + "."}


GENERATORS = [
    Generator(
        name="language",
        summary="Little stories of town life in an invented language: verb-final, with cases, number and agreement.",
        columns={"text": "the story", "gloss": "English translation of its first sentence"},
        make=make_language,
        pretrained=False,
    )
]
