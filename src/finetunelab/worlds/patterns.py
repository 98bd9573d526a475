"""Small scenes of town life, and few-shot documents made of the same stuff.

``vignettes`` are plain prose: one person, one topic, a beginning and an end, and often its subject. They teach what belongs together:
that roses, compost, and a spade are one kind of thing, and hooks, bait, and a pier another.

``patterns`` are documents of the form ``sentence -> label``, some demonstrations and a query. The two label words are drawn anew for
every document, so the only way to answer is to find the demonstrations that the query resembles. A class is a *topic* (each pair of
topics is a concept) or one side of a *trait* that cuts across the topics (pleased/annoyed, past/future, ...). Four topics, paired
in ``UNSEEN_CONCEPTS``, and one way of wording sentences, ``UNSEEN_DOMAIN``, stand in no document drawn with the default knobs, though
the vignettes tell of all the topics.

No section is divided among the splits: a label word says nothing outside its document, so a sentence cannot give away its label.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import Any, NamedTuple

from .core import Draw, Generator
from .english import capital
from .grammar import load_grammar
from .town import Person, Town

LABEL_WORDS = (
    "alpha beta gamma delta omega sigma zero dax wug blick fep zup tiv mip nol kiki bouba lorp gorp vash quon rell "
    "jade onyx ruby amber coral pearl topaz opal lilac mauve beige lemon mango melon fig kiwi lime plum tiger zebra panda "
    "koala camel lion otter lynx yak cobra magma lava comet orbit laser robot radar pixel tango salsa nylon"
).split()
PLACES = {  # where a topic's scenes happen, so that the traits of place and weather fit them
    "gardening": "out", "fishing": "out", "music": "any", "sailing": "out", "football": "out", "school": "in", "carpentry": "in",
    "trains": "any", "pets": "any", "market": "out", "cleaning": "in", "reading": "any", "sleep": "in", "painting": "any",
    "games": "in", "farming": "out", "letters": "in", "theater": "in", "swimming": "out", "stars": "out",
    "hiking": "out", "bees": "out", "horses": "out", "skiing": "out", "camping": "out", "firewood": "out", "driving": "out",
    "photography": "any", "running": "out", "circus": "any", "mushrooms": "out", "kites": "out", "pottery": "in", "haircuts": "in",
    "laundry": "any", "money": "in", "court": "in", "elections": "any", "theft": "any", "firefighting": "any", "museum": "in",
    "dancing": "any", "weddings": "any", "babies": "in", "moving": "any", "plumbing": "in", "radio": "in", "clocks": "in", "shoes": "in",
    "smithing": "in", "printing": "in", "wine": "any", "mining": "in", "lighthouse": "out", "roofing": "out", "magic": "in",
    "skating": "out", "tennis": "out", "climbing": "out", "flying": "out",
    "baking": "in", "cycling": "out", "birds": "out", "sewing": "in",
}
_UNSEEN_PAIRS = (("baking", "cycling"), ("birds", "sewing"))
_UNSEEN_TOPICS = {topic for pair in _UNSEEN_PAIRS for topic in pair}
TOPICS = tuple(topic for topic in PLACES if topic not in _UNSEEN_TOPICS)
# name of the trait: its two sides, and the part of the sentence that carries it
TRAITS = {
    "feeling": ("pleased", "annoyed", "manner"), "time": ("past", "future", "tense"), "who": ("woman", "man", "subject"),
    "number": ("one", "many", "subject"), "age": ("young", "old", "subject"), "place": ("indoors", "outdoors", "manner"),
    "certainty": ("sure", "unsure", "stance"), "speech": ("question", "statement", "speech"), "hour": ("morning", "evening", "manner"),
    "sound": ("loud", "quiet", "manner"), "pace": ("quick", "slow", "manner"), "company": ("alone", "together", "manner"),
    "weather": ("rain", "sun", "manner"), "outcome": ("done", "undone", "verb"), "habit": ("often", "seldom", "manner"),
}
CONCEPTS = {f"{a}/{b}": (a, b) for a, b in combinations(TOPICS, 2)} | {name: sides[:2] for name, sides in TRAITS.items()}
UNSEEN_CONCEPTS = {f"{a}/{b}": (a, b) for a, b in _UNSEEN_PAIRS}
DOMAINS = ("diary", "story", "remark", "postcard", "message")
UNSEEN_DOMAIN = "notice"
_FORMATS = (  # what stands before the sentence, what between it and its label, and whether the sentence keeps its full stop
    ("", " ->", False), ("", " =", False), ("", " /", False), ("", " =>", False), ("", " |", False), ("- ", ":", False), ("", " --", False),
    ("Text: ", " Label:", True), ("Input: ", " Output:", True), ("Sentence: ", " Class:", True), ("Line: ", " Word:", True),
    ("", " Answer:", True), ("", " It is", True), ("", " Subject:", True), ("", " Topic:", True), ("", " Filed under:", True),
    ("", " Kind:", True), ("", " Theme:", True), ("", " Group:", True), ("", " It goes under", True),
)
_LEGENDS = (
    "{one}: {first}; {other}: {second}", "{first} means {one}, {second} means {other}.",
    "Write {first} for {one} and {second} for {other}.",
    "Key: {one} = {first}, {other} = {second}", "Is it {one}? Then {first}. Is it {other}? Then {second}.",
)
_DEMONSTRATIONS = (2, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 8, 9, 10, 11, 12)
MOST_DEMONSTRATIONS = 32
_KINDS = ("state",) * 9 + ("do",) * 7 + ("clause",) * 4
# Documents whose words come back within them favor learning in context over learning by heart (Chan et al. 2022, arXiv:2205.05055).
_NARROW = 0.3
_LONGEST = 60  # characters of a sentence: a document of twelve demonstrations stays under 900


class Event(NamedTuple):
    """Something a person does, in the three forms that the frames ask for."""

    do: str
    did: str
    doing: str
    mishap: bool


class Scene(NamedTuple):
    """What can happen in a topic: frames of events, in the order a day brings them, and of states, each spelled out in all its variants."""

    events: tuple[tuple[Event, ...], ...]
    states: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def planned(self) -> list[tuple[Event, ...]]:
        """The events that are no mishaps."""
        return [event for event in self.events if not event[0].mishap]


def _variants(frame: str) -> list[str]:
    """Spell out every ``[x|y]`` of a frame: one string for each combination."""
    parts = [part.split("|") if i % 2 else [part] for i, part in enumerate(re.split(r"\[([^\]]*)\]", frame))]
    return [" ".join("".join(choice).split()) for choice in product(*parts)]


def _event(phrase: str, irregular: dict[str, tuple[str, str]]) -> Event:
    """Inflect the first word of a verb phrase; ``!`` before it marks a mishap."""
    verb, _, rest = phrase.lstrip("!").partition(" ")
    if verb in irregular:
        did, doing = irregular[verb]
    else:
        stem = verb[:-1] if verb.endswith("e") else verb
        past_stem = verb[:-1] + "i" if verb.endswith("y") and verb[-2] not in "aeiou" else stem
        did, doing = past_stem + "ed", stem + "ing"
    return Event(*(f"{form} {rest}".strip() for form in (verb, did, doing)), phrase.startswith("!"))


_PAST = {"is": "was", "are": "were", "has": "had", "have": "had", "can": "could", "will": "would"}


def _state(clause: str) -> tuple[str, str]:
    """Return a state in the present and in the past; ``<lies;lay>`` gives the two forms of any verb but the commonest."""
    now = re.sub(r"<([^;]*);([^>]*)>", r"\1", clause)
    then = re.sub(r"<([^;]*);([^>]*)>", r"\2", clause)
    return now, re.sub(r"\b(is|are|has|have|can|will)\b", lambda m: _PAST[m.group()], then)


@lru_cache(maxsize=1)
def scenes() -> dict[str, Scene]:
    """Read the scenes of all topics."""
    scenes = load_grammar("scenes").sections
    irregular = {do: (did, doing) for do, did, doing in (line.split() for line in load_grammar("patterns").sections["verbs"])}
    return {
        topic: Scene(
            tuple(tuple(_event(v, irregular) for v in _variants(frame)) for frame in scenes[f"{topic}.do"]),
            tuple(tuple(_state(v) for v in _variants(frame)) for frame in scenes[f"{topic}.state"]),
        )
        for topic in PLACES if f"{topic}.do" in scenes
    }


@lru_cache(maxsize=None)
def _bank(section: str) -> tuple[str, ...]:
    """Return the frames of a section of ``patterns.txt``, all spelled out."""
    return tuple(variant for frame in load_grammar("patterns").sections[section] for variant in _variants(frame))


@lru_cache(maxsize=4)
def _names(place: Town, woman: bool | None = None) -> tuple[str, ...]:
    """Return the first names of the town's people."""
    return tuple(person.first for person in place.people if woman is None or person.woman is woman)


class Stock(NamedTuple):
    """What the sentences of one class are made of: scenes, and for a trait the part of speech and the phrases that carry its side."""

    side: str
    scenes: tuple[Scene, ...]
    part: str = ""
    phrases: tuple[str, ...] = ()


@lru_cache(maxsize=None)
def _stock(concept: str, side: str) -> Stock:
    """Return the stock of a class; a trait is told of every trained topic that it fits."""
    if concept not in TRAITS:
        return Stock(side, (scenes()[side],))
    fitting = {"indoors": ("in", "any"), "outdoors": ("out", "any"), "rain": ("out", "any"), "sun": ("out", "any")}
    topics = [topic for topic in TOPICS if PLACES[topic] in fitting.get(side, ("in", "out", "any"))]
    return Stock(side, tuple(scenes()[topic] for topic in topics), TRAITS[concept][2], _bank(side))


def _narrowed(rng: random.Random, stock: Stock) -> Stock:
    """Keep a few phrases of a trait, or a few events and states of a topic, so that words come back within the document."""
    if stock.part:
        return stock._replace(phrases=tuple(rng.sample(stock.phrases, 4)))
    (scene,) = stock.scenes
    return stock._replace(scenes=(Scene(tuple(rng.sample(scene.planned, 4)), tuple(rng.sample(scene.states, 3))),))


def _subject(rng: random.Random, place: Town, domain: str, stock: Stock) -> str:
    """Draw who does it: a side of a trait decides, else the domain."""
    if stock.part == "subject":
        named = stock.side in ("woman", "man") and rng.random() < 0.6
        return rng.choice(_names(place, stock.side == "woman") if named else stock.phrases)
    own = domain in ("diary", "remark", "postcard") and rng.random() < 0.6
    return rng.choice(_bank(f"{domain}.self") if own else _names(place))


def _clause(rng: random.Random, place: Town, domain: str, event: Event, stock: Stock) -> str:
    """Put a trait's side into a clause about an event, ending in its mark."""
    who, part, side = _subject(rng, place, domain, stock), stock.part, stock.side
    after = rng.choice(stock.phrases) if part in ("manner", "tense") else rng.choice(_bank("when")) if rng.random() < 0.3 else ""
    verb = event.did
    if side == "future":
        verb = f"{rng.choice(_bank('will'))} {event.do}"
    elif side == "past" and rng.random() < 0.4:
        verb = f"{rng.choice(_bank('had'))} {event.do}"
    elif part == "verb":
        verb = f"{rng.choice(stock.phrases)} {event.do}"
    if side == "question":
        text = f"{rng.choice(stock.phrases)} {who} {event.do}"
    elif part in ("stance", "speech"):
        text = f"{rng.choice(stock.phrases)} {who} {verb}"
    else:
        text = f"{who} {verb}"
    return (text + after if after.startswith(",") else f"{text} {after}").strip() + ("?" if side == "question" else ".")


def _sentence(rng: random.Random, place: Town, domain: str, stock: Stock) -> str:
    """Draw a sentence of a class, worded as the domain words it."""
    scene = rng.choice(stock.scenes)
    names = {"name": rng.choice(_names(place)), "day": rng.choice(_bank("day"))}
    kind = "clause" if stock.part else rng.choice(_KINDS)
    frame = rng.choice(_bank(f"{domain}.{kind}"))
    if kind == "state":
        now, then = rng.choice(rng.choice(scene.states))
        return _capitals(frame.format(now=now, was=then, **names))
    event = rng.choice(rng.choice(scene.events))
    # Nobody plans a mishap, is told to have one, or forgets to.
    while event.mishap and (stock.part in ("tense", "verb") or kind == "do" and "{did}" not in frame):
        event = rng.choice(rng.choice(scene.events))
    if kind == "do":
        return _capitals(frame.format(do=event.do, did=event.did, doing=event.doing, **names))
    clause = _clause(rng, place, domain, event, stock)
    text = frame.format(clause=clause, cap=capital(clause), **names)
    return _capitals(text.replace('."', ',"').replace('?" said', '?" asked'))


def _capitals(text: str) -> str:
    """Begin a sentence with a capital, behind an opening quote too."""
    return text[0] + capital(text[1:]) if text[0] == '"' else capital(text)


def _sides(rng: random.Random, k: int) -> list[int]:
    """Draw the classes of ``k`` demonstrations, both among them where there is room, and that of the query, on a coin."""
    sides = [rng.getrandbits(1) for _ in range(k)]
    while k >= 2 and len(set(sides)) < 2:
        sides = [rng.getrandbits(1) for _ in range(k)]
    return [*sides, rng.getrandbits(1)]


_TOPIC_PAIRS = tuple(name for name in CONCEPTS if name not in TRAITS)


def _legend(rng: random.Random, classes: Sequence[str], words: Sequence[str]) -> str:
    """Return a line that says what each label word stands for."""
    (one, first), (other, second) = rng.sample(list(zip(classes, words)), 2)
    return rng.choice(_LEGENDS).format(one=one, first=first, other=other, second=second) + "\n"


def make_pattern(
    draw: Draw, k: int | None = None, concept: str | Sequence[str] | None = None, unseen: bool = False, labels: str = "arbitrary",
    shuffled: bool = False, legend: bool = False,
) -> dict[str, Any]:
    """Return one few-shot document; the knobs are described in ``GENERATORS``, the columns too."""
    rng = draw.rng
    if k is None:
        k = rng.choice(_DEMONSTRATIONS)
    if not 0 <= k <= MOST_DEMONSTRATIONS:
        raise ValueError(f"k is {k!r}: a pattern document has 0 to {MOST_DEMONSTRATIONS} demonstrations")
    if labels not in ("arbitrary", "meaningful"):
        raise ValueError(f"unknown labels {labels!r}: choose arbitrary or meaningful")
    if concept is None:
        trait = not unseen and rng.random() < 0.4
        concept = rng.choice(tuple(UNSEEN_CONCEPTS) if unseen else tuple(TRAITS) if trait else _TOPIC_PAIRS)
    elif not isinstance(concept, str):
        concept = rng.choice(concept)
    classes = CONCEPTS.get(concept) or UNSEEN_CONCEPTS.get(concept)
    if classes is None:
        raise ValueError(f"unknown concept {concept!r}: choose a trait ({', '.join(TRAITS)}) or a pair of topics such as {_TOPIC_PAIRS[0]}")
    domain = UNSEEN_DOMAIN if unseen else rng.choice(DOMAINS)
    words = classes if labels == "meaningful" else rng.sample(LABEL_WORDS, 2)
    stocks = [_stock(concept, side) for side in classes]
    if not unseen and rng.random() < _NARROW:
        stocks = [_narrowed(rng, stock) for stock in stocks]
    before, between, full_stop = rng.choice(_FORMATS)
    sides = _sides(rng, k)
    text, spans, told = _legend(rng, classes, words) if legend else "", [], set()
    for i, side in enumerate(sides):
        sentence = ""
        while not sentence or sentence in told or len(sentence) > _LONGEST:
            sentence = _sentence(rng, draw.town, domain, stocks[side])
        told.add(sentence)
        word = words[rng.getrandbits(1) if shuffled and i < k else side]
        prompt = f"{text}{before}{sentence if full_stop else sentence.rstrip('.')}{between}"
        text = f"{prompt} {word}"
        spans.append([len(prompt) + 1, len(text)])
        text += "\n" if i < k else ""
    answer, other = words[sides[-1]], words[1 - sides[-1]]
    # The name of a class can be told from its sentence; a made-up word only from what stands before.
    known = spans if labels == "meaningful" and not shuffled else []
    return {
        "text": text, "prompt": prompt, "answer": answer, "other": other, "concept": concept, "domain": domain, "k": k, "spans": spans,
        "known": known,
    }


def correct(row: dict[str, Any], label: str) -> bool:
    """Return whether ``label``, the model's output, is the right label word.

    Only its first line counts; case, spaces around it, and a full stop do not.
    """
    line = label.strip().split("\n")[0]
    return line.rstrip(" .").lower() == row["answer"].lower()


# Two scenes in three say what they are about, as a heading or as a clerk would file them.
_TITLES = ("{title}\n", "{title}. ", "Subject: {title}\n", "About {topic}: ")
_FILINGS = (
    "\nFiled under: {topic}", " Filed under: {topic}", "\nSubject: {topic}", " Subject: {topic}", " Topic: {topic}", "\nTheme: {topic}",
    " Kind: {topic}", "\nHeading: {topic}", " -- {topic}", " It is about {topic}.", "\nKeyword: {topic}", " ({topic})", " (On {topic}.)",
)


def _people(draw: Draw) -> tuple[Person, Person]:
    """Draw the person of a scene and another, a man if the first is a woman, so that every pronoun says who is meant."""
    person = draw.pick(draw.town.people)
    return person, draw.pick([other for other in draw.town.people if other.woman is not person.woman])


def make_vignette(draw: Draw, topic: str | None = None) -> dict[str, Any]:
    """Return one scene: an opening, up to four sentences of what happened, most often an end, and often its subject."""
    prose, frames = load_grammar("scenes"), load_grammar("patterns")
    topic = topic or draw.pick(tuple(scenes()))
    if topic not in scenes():
        raise ValueError(f"unknown topic {topic!r}: choose one of {', '.join(scenes())}")
    scene, (person, friend) = scenes()[topic], _people(draw)
    who = {
        "name": person.first, "full": person.name, "she": person.she, "her": person.her, "hers": person.hers,
        "friend": friend.first, "he": friend.she, "him": friend.her, "street": draw.pick(draw.town.streets), "town": draw.town.name,
    }
    plan = draw.some(frames.sections["middle"], draw.pick((0, 1, 1, 2, 3, 4)))
    # Events follow the order of the file, which is the order in which a day brings them.
    first, *events = [draw.pick(scene.events[i]) for i in sorted(draw.some(range(len(scene.events)), 2 * len(plan) + 1))]
    states = [draw.pick(state) for state in draw.some(scene.states, len(plan))]
    # Some scenes begin with what was done and end where it ended: openings and ends alone would give the topic away.
    begins = draw.write(prose, f"{topic}.open", **who) if draw.chance(0.5) else f"{draw.pick((person.first, person.name))} {first.did}."
    sentences = [begins]
    for i, frame in enumerate(plan):
        event, then, (now, was) = events[2 * i], events[2 * i + 1], states[i]
        if "{do" in frame and event.mishap:
            frame = "{she|cap} {did}, and {was}."
        slots = {"do": event.do, "did": event.did, "doing": event.doing, "then_did": then.did, "now": now, "was": was}
        sentences.append(frames.fill(frame, draw.rng, who | slots, draw.split))
    if draw.chance(0.6):
        sentences.append(draw.write(prose, f"{topic}.end", **who))
    text, roll = " ".join(sentences), draw.rng.random()
    if roll < 0.5:
        text += draw.pick(_FILINGS)
    elif roll < 0.65:
        text = draw.pick(_TITLES).format(topic=topic, title=capital(topic)) + text
    known = [[match.start(), match.start() + len(topic)] for match in re.finditer(r"{topic}", text)]
    return {"text": text.replace("{topic}", topic), "topic": topic, "known": known}


GENERATORS = [
    Generator(
        name="vignettes",
        summary="Small scenes of town life, one topic each.",
        columns={
            "text": "the scene",
            "topic": "what it is about",
            "known": "[start, end) character offsets in text of its subject, where it is filed at the end",
        },
        make=make_vignette,
        pretrained=True,
        knobs={"topic": "one topic, or None for any"},
    ),
    Generator(
        name="patterns",
        summary="Few-shot documents: sentences, each with one of two label words, and a query.",
        columns={
            "text": "the whole document, its answer included",
            "prompt": "the document up to the query's separator, no space after it",
            "answer": "the right label word",
            "other": "the wrong label word",
            "concept": "what tells the two classes apart",
            "domain": "how the sentences are worded",
            "k": "number of demonstrations",
            "spans": "[start, end) character offsets in text of every label word, the answer's last",
            "known": "those of them that name their class, and so can be known without a demonstration",
        },
        make=make_pattern,
        pretrained=True,
        knobs={
            "k": f"number of demonstrations, 0 to {MOST_DEMONSTRATIONS}; None draws 2 to 12, mostly 4 to 8",
            "concept": "a name in CONCEPTS or UNSEEN_CONCEPTS, several names to draw from, or None for any that unseen allows",
            "unseen": "True: a concept of UNSEEN_CONCEPTS (unless one is named) in the domain UNSEEN_DOMAIN",
            "labels": "arbitrary: two of LABEL_WORDS; meaningful: the names of the classes",
            "shuffled": "True: the demonstrations' labels are drawn at random, as a control",
            "legend": "True: a first line says which label word stands for which class",
        },
    ),
]
