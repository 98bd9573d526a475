"""Instructions to an assistant whose answers can be checked by rule, in the manner of IFEval (Zhou et al. 2023, arXiv:2311.07911).

Every row carries its constraints, and ``follows`` checks a response against them. A task may be combined with a demand on the
form of the answer ("reverse this list" and "use capitals only"). ``given`` names what the instruction is about, and decides the
split: a test row asks for something that no training row asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from . import english
from .core import Draw, Generator
from .grammar import load_grammar

CATEGORIES = ("animal", "fruit", "tool", "clothing", "color", "furniture", "drink", "weather", "vehicle", "instrument", "body")
THINGS = ("animal", "tool", "clothing", "furniture", "vehicle", "instrument")
CLASSES = ("complaint", "thanks", "request", "offer")
ORDINALS = ("first", "second", "third", "fourth", "fifth")
NOTES = {"note_day": "day", "note_hour": "hour", "note_color": "color", "note_person": "person"}


@dataclass(frozen=True)
class Task:
    """One task before it is worded: the subject, the slots of the prompt's frame, what the oracle checks, a right answer."""

    given: str
    slots: dict[str, str]
    checks: dict[str, Any]
    answer: str


def _word(draw: Draw, *sections: str) -> str:
    return draw.write(load_grammar("instructions"), draw.pick(sections or CATEGORIES))


def _words(draw: Draw, n: int) -> list[str]:
    found: list[str] = []
    while len(found) < n:
        word = _word(draw)
        if word not in found:
            found.append(word)
    return found


def _sentence(draw: Draw, section: str = "sentence", **context: str) -> str:
    return english.capital(draw.write(load_grammar("instructions"), section, **context))


def _list_task(given: list[str], answer: list[str], **slots: str) -> Task:
    shown = ", ".join(given)
    return Task(" ".join([*slots.values(), shown]), {"list": shown, **slots}, {"words": answer}, ", ".join(answer))


def _repeat(draw: Draw) -> Task:
    word, times = _word(draw), draw.rng.randint(2, 6)
    number = english.number(times)
    return Task(f"{word} {times}", {"word": word, "times": number}, {"words": [word] * times}, ", ".join([word] * times))


def _edge_word(position: int) -> Callable[[Draw], Task]:
    def make(draw: Draw) -> Task:
        sentence = _sentence(draw)
        word = re.findall(r"\w+", sentence)[position].lower()
        return Task(sentence, {"sentence": sentence}, {"words": [word]}, word)

    return make


def _reverse(draw: Draw) -> Task:
    words = _words(draw, draw.rng.randint(3, 4))
    return _list_task(words, words[::-1])


def _odd_one(draw: Draw) -> Task:
    grammar = load_grammar("instructions")
    home, other = draw.some(CATEGORIES, 2)
    odd = draw.write(grammar, other)
    words = draw.some([*draw.some(grammar.frames(home), 3), odd], 4)
    return _list_task(words, [odd])


def _count(draw: Draw) -> Task:
    low = draw.rng.randint(1, 12)
    high = low + draw.rng.randint(2, 7)
    numbers = [str(n) for n in range(low, high + 1)]
    return Task(f"{low} {high}", {"low": str(low), "high": str(high)}, {"words": numbers}, ", ".join(numbers))


def _alphabet(draw: Draw) -> Task:
    words = draw.some(load_grammar("instructions").frames("ordered"), 3)
    return _list_task(words, sorted(words))


def _nth_item(draw: Draw) -> Task:
    words = _words(draw, draw.rng.randint(3, 5))
    place = draw.rng.randrange(len(words))
    return _list_task(words, [words[place]], nth=ORDINALS[place])


def _drop(draw: Draw) -> Task:
    words = _words(draw, draw.rng.randint(3, 4))
    out = draw.pick(words)
    return _list_task(words, [w for w in words if w != out], out=out)


def _how_many(draw: Draw) -> Task:
    words = _words(draw, draw.rng.randint(2, 6))
    return _list_task(words, [str(len(words))])


def _phrase(draw: Draw) -> str:
    return f"{draw.pick(('the', 'my', 'one', 'no', 'our', 'this'))} {_word(draw, 'color')} {_word(draw, *THINGS)}"


def _formatted(form: str) -> Callable[[Draw], Task]:
    def make(draw: Draw) -> Task:
        phrase = _phrase(draw)
        return _apply(form, Task(phrase, {"phrase": phrase}, {"text": phrase}, phrase), "")

    return make


def _dashes(draw: Draw) -> Task:
    words = _words(draw, draw.rng.randint(2, 4))
    return _apply("dashes", _list_task(words, words), "")


def _asked(form: str, section: str) -> Callable[[Draw], Task]:
    def make(draw: Draw) -> Task:
        subject, keys, answer = draw.write(load_grammar("instructions"), "ask").split(" => ")
        value = _word(draw, section)
        checks = {"mentions": keys.split(), "min_words": 3, "prose": True}
        return _apply(form, Task(f"{subject} {value}", {"ask": subject, section: value}, checks, answer), value)

    return make


def _copy_add(draw: Draw) -> Task:
    sentence, closer = _sentence(draw), _word(draw, "closer")
    return _apply("ends_with", Task(sentence, {"sentence": sentence, "closer": closer}, {"text": sentence}, sentence), closer)


def _contains(draw: Draw) -> Task:
    x, kind = _word(draw, *THINGS), draw.pick(("thing", "color"))
    w = x
    while w == x:
        w = _word(draw, "color") if kind == "color" else _word(draw, *THINGS)
    checks = {"includes": [x, w], "sentences": 1, "min_words": 4, "prose": True}
    return Task(f"{x} {w}", {"x": x, "w": w}, checks, _sentence(draw, f"contains_{kind}", x=x, w=w))


def _exact_words(draw: Draw) -> Task:
    x, n = _word(draw, *THINGS), draw.rng.randint(3, 7)
    answer = _sentence(draw, f"exact_{n}", x=x)
    return Task(f"{x} {n}", {"x": x, "n": english.number(n)}, {"includes": [x], "n_words": n, "prose": True}, answer)


def _note(draw: Draw, section: str, value: str, asked: str) -> tuple[str, str]:
    """Write a statement that holds ``value`` and the question whether it is ``asked``."""
    context = {key: _word(draw, key) for key in ("place", "person", "event", "clothing", "furniture", "vehicle", "animal", "instrument")}
    statement, question = draw.write(load_grammar("instructions"), section, value=value, asked=asked, **context).split(" => ")
    return statement, question


def _yes_no(draw: Draw) -> Task:
    grammar = load_grammar("instructions")
    section, other = draw.some(NOTES, 2)
    value, wrong = draw.some(grammar.frames(NOTES[section]), 2)
    truth = draw.chance(0.5)
    statement, question = _note(draw, section, value, value if truth else wrong)
    extra, _ = _note(draw, other, _word(draw, NOTES[other]), "")
    note = " ".join(draw.some((statement, extra), 2))
    answer = "yes" if truth else "no"
    return Task(f"{note} {question}", {"note": note, "question": question}, {"verdict": answer}, answer)


def _classify(draw: Draw) -> Task:
    label = draw.pick(CLASSES)
    line = _sentence(draw, label)
    return Task(line, {"line": line}, {"words": [label]}, label)


def _replace(draw: Draw) -> Task:
    old, new, other = draw.some([_word(draw, section) for section in draw.some(THINGS, 3)], 3)
    base = _sentence(draw, "contains_thing", x=old, w=other)
    answer = re.sub(rf"\b{old}\b", new, base)
    return Task(f"{base} {new}", {"base": base, "old": old, "new": new}, {"text": answer}, answer)


FORMS = ("capitals", "brackets", "dashes", "starts_with", "ends_with")
MAKERS: dict[str, Callable[[Draw], Task]] = {
    "repeat": _repeat, "first_word": _edge_word(0), "last_word": _edge_word(-1), "reverse": _reverse, "odd_one": _odd_one,
    "count": _count, "alphabet": _alphabet, "nth_item": _nth_item, "capitals": _formatted("capitals"),
    "brackets": _formatted("brackets"), "dashes": _dashes, "starts_with": _asked("starts_with", "opener"),
    "ends_with": _asked("ends_with", "closer"), "copy_add": _copy_add, "contains": _contains, "yes_no": _yes_no,
    "exact_words": _exact_words, "classify": _classify, "replace": _replace, "drop": _drop, "how_many": _how_many,
}
KINDS = tuple(MAKERS)
HELD_OUT_KINDS = ("last_word", "replace", "drop", "how_many")
_JOINABLE = {
    "repeat": FORMS, "reverse": FORMS, "alphabet": FORMS,
    "count": ("brackets", "dashes", "starts_with", "ends_with"),
    "odd_one": ("capitals", "brackets", "starts_with", "ends_with"),
    "nth_item": ("capitals", "brackets", "starts_with", "ends_with"),
    "first_word": ("capitals", "brackets", "starts_with", "ends_with"),
    "yes_no": ("capitals", "brackets", "ends_with"),
    "contains": ("brackets", "starts_with", "ends_with"),
}
COMBINATIONS = tuple(f"{task}+{form}" for task, forms in _JOINABLE.items() for form in forms)
# Each task and each form of these also stands in combinations that are trained on: only the pair is new.
HELD_OUT_COMBINATIONS = (
    "reverse+capitals", "alphabet+dashes", "repeat+brackets", "count+ends_with", "odd_one+starts_with", "first_word+capitals",
    "nth_item+brackets", "contains+ends_with",
)


def _apply(form: str, task: Task, value: str) -> Task:
    """Put the demand of a form on a task: its check joins the others, and the answer obeys it."""
    answer, sentence = task.answer, task.answer.endswith(".")
    if form == "capitals":
        check, answer = {"capitals": True}, answer.upper()
    elif form == "brackets":
        check, answer = {"brackets": True}, f"({answer})"
    elif form == "dashes":
        check, answer = {"dashes": len(task.checks["words"])}, answer.replace(", ", " - ")
    elif form == "starts_with":
        rest = answer[0].lower() + answer[1:] if sentence and not answer.startswith("I ") else answer
        check, answer = {"starts_with": value}, f"{value.capitalize()}{', ' if sentence else ': '}{rest}"
    else:
        check, answer = {"ends_with": value}, f"{answer}{' ' if sentence else '. '}{value.capitalize()}."
    return Task(task.given, task.slots, {**check, **task.checks}, answer)


def _candidates(kind: str | Sequence[str] | None, combined: bool | None, heldout: str, draw: Draw) -> Sequence[str]:
    if heldout not in ("none", "combinations", "kinds"):
        raise ValueError(f"unknown heldout {heldout!r}: choose none, combinations, or kinds")
    if kind is not None:
        names = (kind,) if isinstance(kind, str) else tuple(kind)
        for name in names:
            if name not in MAKERS and name not in COMBINATIONS:
                raise ValueError(f"unknown kind {name!r}: choose from {', '.join(KINDS)}, or a pair such as reverse+capitals")
        return names
    if heldout == "kinds":
        return HELD_OUT_KINDS
    if heldout == "combinations":
        return HELD_OUT_COMBINATIONS
    if combined or (combined is None and draw.chance(0.5)):
        return _TRAINED_COMBINATIONS
    return _TRAINED_KINDS


_TRAINED_KINDS = tuple(k for k in KINDS if k not in HELD_OUT_KINDS)
_TRAINED_COMBINATIONS = tuple(c for c in COMBINATIONS if c not in HELD_OUT_COMBINATIONS)


def make(draw: Draw, kind: str | Sequence[str] | None = None, combined: bool | None = None, heldout: str = "none") -> dict[str, Any]:
    """Return one instruction with a reference answer; ValueError for an unknown kind or ``heldout``."""
    grammar = load_grammar("instructions")
    name = draw.pick(_candidates(kind, combined, heldout, draw))
    base, _, form = name.partition("+")
    task = MAKERS[base](draw)
    prompt = english.capital(draw.write(grammar, base, **task.slots))
    if form:
        section = {"starts_with": "opener", "ends_with": "closer"}.get(form)
        value = draw.write(grammar, section) if section else ""
        demand = draw.write(grammar, f"and_{form}", **({section: value} if section else {}))
        task = _apply(form, task, value)
        prompt = f"{prompt} {demand}" if draw.chance(0.6) else f"{demand} {prompt}"
    if draw.chance(0.35):
        prompt = f"{draw.write(grammar, 'hello')} {prompt}"
    if draw.chance(0.3):
        prompt = f"{prompt} {draw.write(grammar, 'bye')}"
    return {
        "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": task.answer}],
        "text": f"User: {prompt}\nAssistant: {task.answer}",
        "kind": name, "constraints": json.dumps(task.checks), "prompt": prompt, "answer": task.answer, "given": task.given,
    }


def _plain(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _peel(response: str, checks: Mapping[str, Any]) -> str | None:
    """Check the demands on form from the outside in, and return what is left of the response; None where one is broken."""
    if "capitals" in checks:
        if not response.isupper():
            return None
        response = response.lower()
    if "brackets" in checks:
        inside = re.fullmatch(r"\(([^()]*)\)\.?", response)
        if not inside:
            return None
        response = inside.group(1).strip()
    if "starts_with" in checks:
        head = re.match(rf"{re.escape(checks['starts_with'])}\b[\s,.:;!-]*", response, re.IGNORECASE)
        if not head:
            return None
        response = response[head.end():]
    if "ends_with" in checks:
        tail = re.search(rf"[\s,.:;!-]+{re.escape(checks['ends_with'])}[.!]?$", response, re.IGNORECASE)
        if not tail:
            return None
        response = response[: tail.start() + 1] if response[tail.start()] in ".!" else response[: tail.start()]
    if "dashes" in checks:
        parts = [part.strip() for part in re.split(r"-+", response)]
        if len(parts) != checks["dashes"] or "," in response or not all(parts):
            return None
        response = ", ".join(parts)
    return response.strip()


def _prose(words: list[str], prompt: list[str]) -> bool:
    """Tell whether words could be a free answer: no word twice in a row or three times ("the", "a" aside), no five words of the prompt."""
    runs = {tuple(prompt[i : i + 5]) for i in range(len(prompt) - 4)}
    return (
        all(a != b for a, b in pairwise(words))
        and all(words.count(w) <= 2 for w in set(words) - {"the", "a"})
        and not any(tuple(words[i : i + 5]) in runs for i in range(len(words) - 4))
    )


def follows(row: Mapping[str, Any], response: str) -> bool:
    """Tell whether a response obeys every constraint of its row.

    Case, spacing, and a final period never matter unless the instruction is about them, nor do an "and" or the commas in a list.
    Where one answer is right (a word, a list, a copy) the response must be that answer and nothing more;
    where many are, it must not echo the instruction.
    """
    checks = json.loads(row["constraints"])
    rest = _peel(" ".join(response.split()), checks)
    if not rest:
        return False
    words = _plain(rest)
    tests: dict[str, Callable[[Any], bool]] = {
        "words": lambda wanted: [w for w in words if w != "and"] == wanted,
        "text": lambda wanted: rest.lower().rstrip(" .!?") == wanted.lower().rstrip(" .!?"),
        "verdict": lambda wanted: words[:1] == [wanted] and words.count(wanted) == 1 and not {"yes", "no"} - {wanted} & set(words),
        "mentions": lambda wanted: bool(set(wanted) & set(words)),
        "includes": lambda wanted: set(wanted) <= set(words),
        "n_words": lambda wanted: len(words) == wanted,
        "min_words": lambda wanted: wanted <= len(words) <= 25,
        "sentences": lambda wanted: len(re.findall(r"[.!?]+(?:\s|$)", rest if rest[-1] in ".!?" else rest + ".")) == wanted,
        "prose": lambda _: _prose(words, _plain(row["prompt"])),
    }
    return all(test(checks[name]) for name, test in tests.items() if name in checks)


GENERATORS = [
    Generator(
        name="instructions",
        summary="An assistant's instructions with answers that a rule can check, alone and combined.",
        columns={
            "messages": "list of {role, content}: the user's instruction and the assistant's answer",
            "text": "the same as plain text, one line a turn",
            "kind": "the kind of task, or task+form for a combination",
            "constraints": "JSON object of what the oracle checks",
            "prompt": "the instruction",
            "answer": "a reference answer; often one of many right ones",
            "given": "the subject of the instruction, whose hash decides the split",
        },
        make=make,
        pretrained=False,
        knobs={
            "kind": "a kind or combination, or a list of them; None draws from all that heldout allows",
            "combined": "True for combinations only, False for single tasks only, None for half of each",
            "heldout": "'none' draws no held-out kind or combination; 'kinds' and 'combinations' draw only those",
        },
        content=lambda row: f"{row['kind']} {row['given']}",
    )
]
