"""Graded responses: requests to a town guide, with answers whose relevance, coherence, and appropriateness vary independently.

The three grades are known by construction. ``grade`` finds them again by rule in *any* text, a model's sample included.

* Relevance is the share of sentences about the asked subject, by the subject's word list. Sentences of pure tone ("I hope this
  helps.") and repeats are left out; a broken sentence is about nothing. 1 from three quarters up if there are two, .5 from .3
  up, else 0.
* Coherence starts at 1 and loses .5 a defect: fewer than two steps, steps out of order ("Then ..." before "First ..."), a repeated
  sentence or phrase, the same word again and again, a contradiction, an unfinished end, broken sentences or heaps of keywords.
* Appropriateness is 0 with anything rude or pushy, 1 with a courtesy, .5 with none, and .5 with more than four: that is gushing.

A text of fewer than six words, or mostly repeated or broken, is no answer: 0, 0, and at most .5.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from . import english
from .core import Draw, Generator
from .grammar import load_grammar

TOPICS = (
    "soup", "museum", "thanks", "sleep", "station", "birthday", "roses", "bike", "cat", "swim", "letter", "picnic", "cold", "shirt",
    "chess", "tent",
)
MAX_WORDS = 40
STAGES = ("begin", "middle", "end")
MARKERS = {
    "begin": ("First", "To begin", "Before anything else"),
    "middle": ("Then", "After that", "Next"),
    "end": ("Finally", "Last of all", "In the end"),
}
WEIGHTS = {"relevance": 0.4, "coherence": 0.35, "appropriateness": 0.25}
COURTESIES = (
    "thank you", "thanks", "please", "happy", "glad", "gladly", "pleasure", "kind of you", "your kind", "welcome", "i hope", "i wish",
    "lovely", "all the best", "good luck", "take care", "certainly", "of course", "honored", "love to help",
)
RUDE = (
    "stupid", "lazy", "dumb", "hopeless", "fool", "idiot", "nonsense", "do not care", "you again", "shut up", "go away", "hurry up",
    "bothering", "wasting my time", "waste my time", "you must buy", "buy it now", "pay me now", "sign up now", "nobody cares",
)
_NEGATIONS = {"not", "never"}
_DANGLING = set("a an the and or of to in on with for from at by my your his her its until before is are".split())
_PREPOSITIONS = set("of to in on with for from at by into".split())
_COMMON = _DANGLING | set(
    "it you i this that not do will be have has as if when while then first next after all so up out one me how each more no about "
    "what".split()
)


class Grades(NamedTuple):
    """The three grades of a response, each 0 to 1."""

    relevance: float
    coherence: float
    appropriateness: float


def reward(grades: Grades) -> float:
    """Return what reviewers value, 0 to 1: .4 relevance + .35 coherence + .25 appropriateness (``WEIGHTS``)."""
    return sum(weight * getattr(grades, name) for name, weight in WEIGHTS.items())


@lru_cache(maxsize=1)
def lexicons() -> dict[str, frozenset[str]]:
    """Return the word list of every subject."""
    return {topic: frozenset(load_grammar("responses").frames(f"{topic}_words")[0].split()) for topic in TOPICS}


@lru_cache(maxsize=1)
def _plain_lines() -> frozenset[str]:
    """Return the plain lines, which no word betrays as saying nothing about any subject."""
    grammar = load_grammar("responses")
    return frozenset(" ".join(_words(line)) for name in ("plain_open", "plain_close") for line in grammar.sections[name])


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+", " ".join(text.split())) if _words(s)]


def topic_of(prompt: str) -> str:
    """Return the subject a request is about: the one with most of its words in it; ValueError if there is none."""
    words = set(_words(prompt))
    best = max(TOPICS, key=lambda topic: len(lexicons()[topic] & words))
    if not lexicons()[best] & words:
        raise ValueError(f"no known subject in the request {prompt[:60]!r}: ask about one of {', '.join(TOPICS)}")
    return best


@dataclass(frozen=True)
class _Sentence:
    """What the rules look at: its words, how many of them mark a stage and which, and whether it is pure tone, broken, or ended."""

    words: list[str]
    marker: int
    stage: int | None
    tone: bool
    broken: bool
    ended: bool

    @property
    def core(self) -> frozenset[str]:
        """The words that two sentences share when one repeats, or denies, the other."""
        return frozenset(self.words[self.marker :]) - _NEGATIONS - {"do"}

    @property
    def denies(self) -> bool:
        return bool(_NEGATIONS & set(self.words))


@lru_cache(maxsize=50_000)
def _read(sentence: str) -> _Sentence:
    words, ended = _words(sentence), sentence[-1] in ".!?"
    plain = " ".join(words)
    mannered = _count(COURTESIES + RUDE, plain) > 0 and not any(lexicon & set(words) for lexicon in lexicons().values())
    marks = [(len(m.split()), i) for i, name in enumerate(STAGES) for m in MARKERS[name] if f"{plain} ".startswith(f"{m.lower()} ")]
    marker, stage = marks[0] if marks else (0, None)
    clashes = any(
        a == b or (a in {"a", "an", "the"} and b in _DANGLING) or (a in _PREPOSITIONS and b in _PREPOSITIONS - {"to"})
        for a, b in pairwise(words)
    )
    crowded = any(count > 2 for word, count in Counter(words).items() if word not in _COMMON)
    # A heap of keywords is no sentence: of four words or more, some must be the small ones that hold a sentence together.
    keywords = max(len([w for w in words if w in lexicon]) for lexicon in lexicons().values())
    heap = keywords > len(words) / 2 or (len(words) > 3 and not _COMMON & set(words))
    broken = len(words) < 2 or clashes or crowded or heap or (ended and words[-1] in _DANGLING)
    return _Sentence(words, marker, stage, mannered or plain in _plain_lines(), broken, ended)


def _degenerate(sentences: list[_Sentence]) -> bool:
    """Tell whether a text is no answer at all: a few words, or mostly repetition, or mostly broken."""
    flat = [word for s in sentences for word in s.words]
    return len(flat) < 6 or len(set(flat)) < 0.5 * len(flat) or sum(s.broken for s in sentences) > len(sentences) / 2


def _coherence(sentences: list[_Sentence]) -> float:
    flat = [word for s in sentences for word in s.words]
    body = [s for s in sentences if not s.tone]
    stages = [s.stage for s in body if s.stage is not None]
    same = [(a, b) for i, a in enumerate(sentences) for b in sentences[:i] if a.core == b.core]
    phrases = Counter(zip(flat, flat[1:], flat[2:]))
    content = Counter(word for word in flat if word not in _COMMON)
    defects = [
        len(body) < 2,
        stages != sorted(stages) or bool(body and body[0].stage),
        any(a.denies == b.denies for a, b in same),
        any(a.denies != b.denies for a, b in same),
        not sentences[-1].ended,
        any(s.broken for s in sentences),
        max(phrases.values(), default=0) > 2 or max(content.values(), default=0) > 4,
    ]
    return max(0.0, 1.0 - 0.5 * sum(defects))


def _count(phrases: tuple[str, ...], text: str) -> int:
    return sum(f" {text} ".count(f" {phrase} ") for phrase in phrases)


def grade(prompt: str | Mapping[str, Any], response: str) -> Grades:
    """Grade any response to a request (a row of these worlds, or the request's text); ValueError if its subject is unknown."""
    topic = topic_of(prompt) if isinstance(prompt, str) else prompt["topic"]
    sentences = [_read(s) for s in _sentences(response)]
    plain = " ".join(_words(response))
    rude = _count(RUDE, plain) > 0
    if not sentences or _degenerate(sentences):
        return Grades(0.0, 0.0, 0.0 if rude else 0.5)
    body = list({s.core: s for s in sentences if not s.tone}.values())
    about = sum(not s.broken and bool(lexicons()[topic] & set(s.words)) for s in body)
    share = about / (len(body) or 1)
    courtesies = _count(COURTESIES, plain)
    return Grades(
        relevance=1.0 if share >= 0.75 and about > 1 else 0.5 if share >= 0.3 else 0.0,
        coherence=_coherence(sentences),
        appropriateness=0.0 if rude else 1.0 if 1 <= courtesies <= 4 else 0.5,
    )


def _steps(draw: Draw, topic: str, relevance: float, n: int) -> list[tuple[str, str]]:
    """Return ``n`` steps as (stage, sentence), in order; those off the subject keep to one other subject."""
    grammar = load_grammar("responses")
    other = draw.pick([t for t in TOPICS if t != topic])
    strangers = set(draw.some(range(n), {1.0: 0, 0.5: n // 2, 0.0: n}[relevance]))
    stages = {2: draw.pick((("begin", "middle"), ("begin", "end"))), 3: STAGES, 4: ("begin", "middle", "middle", "end")}[n]
    used: list[str] = []
    for i, stage in enumerate(stages):
        used.append(draw.pick([f for f in grammar.frames(f"{other if i in strangers else topic}_{stage}") if f not in used]))
    return [(stage, grammar.fill(frame, draw.rng)) for stage, frame in zip(stages, used)]


def _say(draw: Draw, step: tuple[str, str], marked: bool) -> str:
    stage, text = step
    return f"{draw.pick(MARKERS[stage])}, {text}." if marked else english.capital(f"{text}.")


def _defects(draw: Draw, coherence: float, n: int) -> set[str]:
    """Draw the flaws of a response of ``n`` steps: none, one, or two. With two steps there is no room to say one again."""
    flaws = ["order", "unfinished"] + ([draw.pick(("repeat", "contradiction"))] if n > 2 else [])
    return set(draw.some(flaws, {1.0: 0, 0.5: 1, 0.0: 2}[coherence]))


def _compose(draw: Draw, topic: str, grades: Grades) -> str:
    """Write a response that deserves the given grades."""
    n = draw.rng.randint(2, 4)
    places = draw.pick((("open",), ("close",), ("open", "close"))) if n < 4 else (draw.pick(("open", "close")),)
    flaws = _defects(draw, grades.coherence, n)
    again = flaws & {"repeat", "contradiction"}
    steps = _steps(draw, topic, grades.relevance, n - len(again))
    order = [STAGES.index(stage) for stage, _ in steps]
    while "order" in flaws and order == sorted(order):
        draw.rng.shuffle(steps)
        order = [STAGES.index(stage) for stage, _ in steps]
    everywhere = "order" in flaws or draw.chance(0.7)
    body = [_say(draw, step, everywhere or draw.chance(0.5)) for step in steps]
    if again:
        # Before the last step, so that the copy stays whole where the end is cut off.
        _, text = draw.pick(steps[:-1])
        body.insert(-1, english.capital(f"{'do not ' if 'contradiction' in again else ''}{text}."))

    manner = {1.0: "polite", 0.5: "plain", 0.0: "rude"}[grades.appropriateness]
    # The second line of a polite response may be plain, that of a rude one anything: one rude line spoils the rest.
    others = {"polite": ("polite", "plain"), "plain": ("plain",), "rude": ("rude", "plain", "polite")}[manner]
    manners = draw.some((manner, draw.pick(others)), 2) if len(places) == 2 else [manner]
    lines = {place: draw.write(load_grammar("responses"), f"{m}_{place}") for place, m in zip(places, manners)}
    if "unfinished" in flaws and "close" in lines:
        body.insert(-1, lines.pop("close"))
    text = " ".join(filter(None, (lines.get("open"), *body, lines.get("close"))))
    return text[:-1] + draw.pick((" and", " with", " because", " until", " for the")) if "unfinished" in flaws else text


def _request(draw: Draw) -> tuple[str, str]:
    topic = draw.pick(TOPICS)
    return topic, draw.write(load_grammar("responses"), f"{topic}_ask")


def _response(draw: Draw, topic: str, quality: str) -> tuple[str, Grades]:
    if quality not in ("any", "good"):
        raise ValueError(f"unknown quality {quality!r}: choose any or good")
    levels = (0.5, 1.0) if quality == "good" else (0.0, 0.5, 1.0)
    grades = Grades(*(draw.pick(levels) for _ in range(3)))
    text = _compose(draw, topic, grades)
    while len(text.split()) > MAX_WORDS:
        text = _compose(draw, topic, grades)
    return text, grades


def make(draw: Draw, quality: str = "any") -> dict[str, Any]:
    """Return one graded response; ValueError for an unknown quality."""
    topic, prompt = _request(draw)
    response, grades = _response(draw, topic, quality)
    return {
        "prompt": prompt, "response": response, "text": f"Request: {prompt}\nResponse: {response}", **grades._asdict(),
        "topic": topic, "length": len(response.split()),
    }


def make_comparison(draw: Draw) -> dict[str, Any]:
    """Return two responses to one request, of different reward."""
    topic, prompt = _request(draw)
    scores, texts = [0.0, 0.0], ["", ""]
    while scores[0] == scores[1]:
        texts = [_response(draw, topic, "any")[0] for _ in range(2)]
        scores = [reward(grade({"topic": topic}, text)) for text in texts]
    return {
        "prompt": prompt, "response_a": texts[0], "response_b": texts[1],
        "text": f"Request: {prompt}\nResponse A: {texts[0]}\nResponse B: {texts[1]}",
        "better": "a" if scores[0] > scores[1] else "b", "reward_a": scores[0], "reward_b": scores[1], "topic": topic,
    }


GENERATORS = [
    Generator(
        name="responses",
        summary="Requests to a town guide with responses graded for relevance, coherence, and appropriateness.",
        columns={
            "prompt": "the request", "response": "a response of 8-40 words", "text": "both as plain text",
            "relevance": "0, .5, or 1: is it about what was asked", "coherence": "0, .5, or 1: does one sentence follow from another",
            "appropriateness": "0 rude or pushy, .5 plain, 1 courteous", "topic": "the subject of the request, one of TOPICS",
            "length": "words in the response, drawn independently of the grades",
        },
        make=make,
        pretrained=False,
        label="appropriateness",
        knobs={"quality": "'any', or 'good' for responses with no grade below .5"},
    ),
    Generator(
        name="comparisons",
        summary="Pairs of responses to one request, and which of them is worth more by the oracle's reward.",
        columns={
            "prompt": "the request", "response_a": "one response", "response_b": "another", "text": "all three as plain text",
            "better": "'a' or 'b', by the oracle's reward; never a tie", "reward_a": "oracle reward of a, 0..1",
            "reward_b": "oracle reward of b, 0..1", "topic": "the subject of the request, one of TOPICS",
        },
        make=make_comparison,
        pretrained=False,
    ),
]
