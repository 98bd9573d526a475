"""Chapter 5 without training: what examples in the prompt teach, whether a text-only endpoint is enough, when training on labels is better.

The tasks are few-shot documents of the town, ``patterns``. "Seen" concepts are those that the base was pretrained to tell apart by example,
in wordings that it knows; "unseen" ones, and their wording, stood in no such document, though it has read prose about their topics. Label
words are drawn anew for every document, so nothing but the demonstrations says what they mean. What is tuned is the best of a sweep on
validation texts of a data seed below 1,000: ``sweep_in_context`` measures what ``book/evidence/E3-rates.csv`` holds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from .. import heads, worlds
from ..adaptation import Needed, amount_to_reach
from ..endpoint import serve
from ..heads import Classifier, fit
from ..incontext import FewShot, Layout, accuracy, demonstrate, predict, teach, unchanged, write_labels
from ..models import load_model, load_tokenizer, shipped
from ..repurposing import with_lora
from ..skills import generate
from ..worlds.baseline import Labelled, labelled, tfidf
from ..worlds.patterns import CONCEPTS, LABEL_WORDS, TRAITS, UNSEEN_CONCEPTS
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import LARGER_RATE, SWEEP_SEED, config, first, steps_for

SHOTS = (0, 1, 2, 4, 8, 16)
K = 8  # demonstrations, where there is one number of them
N = 300  # questions of each kind
KINDS = {"unseen": {"unseen": True}, "seen": {}}
# What is told about the label words, and with how many demonstrations.
WORDINGS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "arbitrary": ({}, SHOTS), "meaningful": ({"labels": "meaningful"}, SHOTS), "instruction": ({"legend": True}, (0, K)),
    "shuffled": ({"shuffled": True}, (K,)),
}
ORDERS = 3  # beside the one that was drawn
NATURAL = {"posts": ("posts", "spam"), "reviews": ("reviews", "topic")}  # a world and what is asked of its texts
POOL = 300  # texts that demonstrations are drawn from
NATURAL_SHOTS = (0, 2, 4, 8)
NATURAL_K = 4  # of texts so long that eight of them are more than a row of pretraining

TEXTS, TOKENS = 320, 8  # prompts that are sent to the endpoint, and the most that is written for each

SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
FEW = 8  # labels
ARMS = ("full", "LoRA", "label words")
RATE_SWEEP = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
RATES = {"full": 1e-3, "LoRA": 1e-2, "label words": 1e-3}
MOST_SWEEP = (8, 16, 32, 48)  # the last is about what fits into the context
MOST = 48  # demonstrations that are shown, however many labels there are


# Questions ----------------------------------------------------------------------------------------------------------------------


def few_shot(row: dict[str, Any]) -> FewShot:
    """Return a document of ``patterns`` as a question, its prompt the same to the letter."""
    lines = row["prompt"].split("\n")
    instruction = lines.pop(0) if len(lines) > row["k"] + 1 else ""
    given = [row["text"][start:end] for start, end in row["spans"][:-1]]
    parts = [line.removesuffix(f" {label}") for line, label in zip(lines, [*given, ""], strict=True)]
    before = between = ""
    if len(parts) > 2:  # what all lines begin and end with is their format; two may have more in common
        before = os.path.commonprefix(parts)
        between = os.path.commonprefix([part[len(before) :][::-1] for part in parts])[::-1]
    *texts, query = (part[len(before) : len(part) - len(between)] for part in parts)
    # In the order of the alphabet, which says nothing of the answer.
    labels = tuple(sorted((row["answer"], row["other"])))
    return FewShot(query, tuple(zip(texts, given, strict=True)), labels, row["answer"], Layout(before, between, instruction))


def patterns(n: int, data_seed: int, k: int, split: str = "test", **knobs: Any) -> list[FewShot]:
    """Draw ``n`` documents of ``k`` demonstrations as questions."""
    return [few_shot(row) for row in worlds.generator("patterns").rows(n, split, data_seed, k=k, **knobs)]


def natural(task: str, n: int, data_seed: int, k: int) -> list[FewShot]:
    """Draw ``n`` questions about whole texts of another world, each with demonstrations and two arbitrary label words of its own.

    Posts are spam or not; reviews are about one of two topics, drawn for each question.
    """
    world, label = NATURAL[task]
    parts = (labelled(world, label, size, split, data_seed) for size, split in ((POOL, "train"), (n, "test")))
    pool, queries = (list(zip(*part, strict=True)) for part in parts)
    rng, classes, questions = random.Random(f"natural/{task}/{data_seed}"), sorted({kind for _, kind in pool}), []
    for text, kind in queries:
        pair = [kind, rng.choice([other for other in classes if other != kind])]
        words = dict(zip(pair, rng.sample(LABEL_WORDS, 2), strict=True))
        shown = demonstrate([example for example in pool if example[1] in words], k, rng)
        questions.append(FewShot(text, tuple((t, words[c]) for t, c in shown), tuple(sorted(words.values())), words[kind]))
    return questions


# What demonstrations teach --------------------------------------------------------------------------------------------------------

ACCURACY = dict(metric="accuracy", unit="share", effect_kind="difference")
WITH, WITHOUT = f"{K} demonstrations", "0 demonstrations"


@measures(
    Claim(
        "E1", "Examples in the prompt teach without changing a weight: concepts and a wording never shown as examples before",
        treatment=WITH, control=WITHOUT, op=">=", threshold=0.20, **ACCURACY,
        note="Arbitrary label words. The run fails if a weight has changed.",
    ),
    Claim(
        "E1.seen", "... concepts of the kind that the base was pretrained to learn from examples", treatment=WITH, control=WITHOUT,
        words=("teach", "mislead", "nothing"), **ACCURACY,
    ),
    Claim(
        "E1.meaningful", "... unseen concepts, label words that name them", treatment=WITH, control=WITHOUT,
        words=("teach", "mislead", "nothing"), **ACCURACY,
    ),
    Claim(
        "E1.instruction", "What a line that says what each word stands for adds to eight demonstrations of unseen concepts",
        treatment="with it", control="without", words=("helps", "hurts", "nothing"), **ACCURACY,
    ),
    Claim(
        "E1.shuffled", "What right labels in the demonstrations are worth, beside labels drawn at random, on seen concepts",
        treatment="right", control="random", words=("matter", "harm", "nothing"), **ACCURACY,
    ),
    Claim(
        "E1.order", "How many answers change with the order of the same demonstrations of unseen concepts",
        metric="share of answers that change", unit="share", treatment="unseen", control=None, effect_kind="value",
    ),
    Claim(
        "E1.calibrated", "What contextual calibration adds on unseen concepts", treatment="calibrated", control="as it is",
        words=("helps", "hurts", "nothing"), **ACCURACY,
    ),
    *(
        Claim(
            f"E1.{task}", f"... {what}, {NATURAL_K} demonstrations", treatment=f"{NATURAL_K} demonstrations", control=WITHOUT,
            words=("teach", "mislead", "nothing"), **ACCURACY,
        )
        for task, what in (("posts", "spam among posts, which the base has never read"), ("reviews", "topics of whole reviews"))
    ),
    id="E1", seeds=5,
)
def examples_teach(
    seed: int, data_seed: int, shots: Sequence[int] = SHOTS, n: int = N, orders: int = ORDERS, base: str = "nano",
    tasks: Sequence[str] = tuple(NATURAL),
) -> Measurement:
    """Ask the same frozen base with more and more demonstrations: seen and unseen concepts, several kinds of labels, orders, calibration.

    ``shots`` are the numbers of demonstrations that are tried, 0 and ``K`` among them, and with ``tasks`` ``NATURAL_K`` too. A row whose
    labels are "written" counts the answers that greedy decoding writes, the only ones that a text-only endpoint gives.
    """
    drawn, tokenizer, model = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    scores: dict[tuple, float] = {}
    changed = {}

    def ask(kind: str, wording: str, questions: Sequence[FewShot], **how: bool) -> list[str]:
        answers = predict(model, tokenizer, questions, **how)
        scores[kind, wording, len(questions[0].demonstrations)] = accuracy(questions, answers)
        return answers

    with unchanged(model) as checksum:
        for kind, knobs in KINDS.items():
            for wording, (told, amounts) in WORDINGS.items():
                for k in (k for k in amounts if k in shots and (wording, k) != ("arbitrary", K)):
                    ask(kind, wording, patterns(n, drawn, k, **knobs, **told))
            questions = patterns(n, drawn, K, **knobs)
            said = ask(kind, "arbitrary", questions)
            ask(kind, "calibrated", questions, calibrated=True)
            scores[kind, "written", K] = accuracy(questions, write_labels(model, tokenizer, questions))
            later = [predict(model, tokenizer, [question.reordered(order) for question in questions]) for order in range(orders)]
            changed[kind] = fmean(one != other for answers in later for one, other in zip(said, answers, strict=True))
        for task in tasks:
            for k in (k for k in NATURAL_SHOTS if k in shots):
                ask(task, "arbitrary", natural(task, n, drawn, k))
    rows = [{"task": kind, "labels": wording, "k": k, "accuracy": score} for (kind, wording, k), score in scores.items()]
    rows += [{"task": kind, "labels": "arbitrary", "k": K, "changed by order": share} for kind, share in changed.items()]
    rows.append({"checksum of the weights, before and after": checksum})

    def more(kind: str, wording: str = "arbitrary", k: int = K) -> dict[str, float]:
        return {f"{k} demonstrations": scores[kind, wording, k], WITHOUT: scores[kind, wording, 0]}

    plain = scores["unseen", "arbitrary", K]
    arms = {
        "E1": more("unseen"), "E1.seen": more("seen"), "E1.meaningful": more("unseen", "meaningful"),
        "E1.instruction": {"with it": scores["unseen", "instruction", K], "without": plain},
        "E1.shuffled": {"right": scores["seen", "arbitrary", K], "random": scores["seen", "shuffled", K]},
        "E1.order": changed, "E1.calibrated": {"calibrated": scores["unseen", "calibrated", K], "as it is": plain},
    }
    return Measurement(arms | {f"E1.{task}": more(task, k=NATURAL_K) for task in tasks}, rows)


# The same through an endpoint -----------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "E2", "In-context learning works through a text-only API: the same answers, text for text", metric="answers that are the same text",
        unit="share", treatment="same", control=None, effect_kind="value", op=">=", threshold=0.99, trials="asked",
        note="A server on this machine, one prompt a request; the model in process answers in batches, whose padding may round otherwise.",
    ),
    id="E2",
)
def through_an_endpoint(seed: int, data_seed: int, n: int = TEXTS, base: str = "nano") -> Measurement:
    """Let one checkpoint write answers to the same prompts behind a completions endpoint and in process, greedily; compare the texts."""
    drawn, tokenizer, model = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    asked = {(kind, k): patterns(n // 4, drawn, k, **knobs) for kind, knobs in KINDS.items() for k in (0, K)}
    same, rows = 0, []
    with serve(base) as there:
        for (kind, k), questions in asked.items():
            prompts = [question.prompt for question in questions]
            sent = there.complete(prompts, tokens=TOKENS, stop="\n")
            here = generate(model, tokenizer, prompts, tokens=TOKENS, stop="\n")
            equal = sum(one == other for one, other in zip(sent, here, strict=True))
            texts = {"endpoint": sent, "in process": here}
            right = {place: accuracy(questions, [text.strip() for text in written]) for place, written in texts.items()}
            rows.append({"task": kind, "k": k, "asked": len(prompts), "same": equal} | right)
            same += equal
    return Measurement({"E2": {"same": same, "asked": sum(map(len, asked.values()))}}, rows)


# Show it, or train on it? ---------------------------------------------------------------------------------------------------------


def sentences(kind: str, n: int, n_test: int, data_seed: int, split: str = "test") -> tuple[Labelled, Labelled]:
    """Draw sentences of one concept with their sides, 0 or 1: ``n`` to learn from and ``n_test`` others of ``split``.

    Both sides are among the first two.
    """
    unseen, rng = kind == "unseen", random.Random(f"concept/{kind}/{data_seed}")
    concepts = UNSEEN_CONCEPTS if unseen else {name: sides for name, sides in CONCEPTS.items() if name not in TRAITS}
    name = rng.choice(sorted(concepts))

    def drawn(size: int, part: str, told: set[str]) -> list[tuple[str, int]]:
        found: dict[str, int] = {}
        questions = iter(patterns(4 * size // K + 8, data_seed, K, part, concept=name, unseen=unseen, labels="meaningful"))
        while len(found) < size:
            for text, label in next(questions).demonstrations:
                if text not in told:
                    found[text] = concepts[name].index(label)
        return list(found.items())[:size]

    train = drawn(n, "train", set())
    other = next(i for i, (_, side) in enumerate(train) if side != train[0][1])
    train[1], train[other] = train[other], train[1]
    test = drawn(n_test, split, {text for text, _ in train})
    return tuple(zip(*train, strict=True)), tuple(zip(*test, strict=True))


def questions_on(texts: Labelled, words: Sequence[str], shown: Labelled = ((), ())) -> list[FewShot]:
    """Return a question about each text, all with the same demonstrations; ``words`` are the label words of the two sides."""
    demonstrations = tuple((text, words[side]) for text, side in zip(*shown, strict=True))
    return [FewShot(text, demonstrations, tuple(words), words[side]) for text, side in zip(*texts, strict=True)]


def shown_score(train: Labelled, test: Labelled, words: Sequence[str], base: str, most: int = MOST) -> float:
    """Return the accuracy of the frozen base with the first ``most`` labelled texts as demonstrations."""
    questions = questions_on(test, words, first(train, most))
    return accuracy(questions, predict(load_model(base), load_tokenizer(base), questions, batch_size=16))


def trained_score(
    arm: str, train: Labelled, test: Labelled, words: Sequence[str], seed: int, base: str, rate: float | None = None
) -> float:
    """Return the accuracy of the base fine-tuned on labelled texts: with a head, whole or by LoRA, or whole to write the label words."""
    tokenizer, model = load_tokenizer(base), load_model(base)
    settings = config(steps_for(len(train[0])), rate or (RATES[arm] if base in shipped() else LARGER_RATE), seed)
    if arm == "label words":
        teach(model, tokenizer, questions_on(train, words), settings)
        questions = questions_on(test, words)
        return accuracy(questions, predict(model, tokenizer, questions))
    classifier = Classifier(model, 2, seed=seed)
    if arm == "LoRA":
        with_lora(classifier, seed=seed)
    fit(classifier, tokenizer, *train, settings)
    return heads.accuracy(classifier, tokenizer, *test)


def label_words(data_seed: int) -> list[str]:
    """Draw two arbitrary label words."""
    return random.Random(f"words/{data_seed}").sample(LABEL_WORDS, 2)


def sweep_in_context(
    rates: Sequence[float] = RATE_SWEEP, amounts: Sequence[int] = MOST_SWEEP, sizes: Sequence[int] = (8, 64), n: int = 300,
    base: str = "nano",
) -> list[dict[str, Any]]:
    """Return validation accuracies, means over both kinds of concepts: of fine-tuned arms by rate, and of demonstrations by number."""
    drawn = {kind: sentences(kind, max(*sizes, *amounts), n, SWEEP_SEED, "validation") for kind in KINDS}
    words, rows = label_words(SWEEP_SEED), []
    for arm in ARMS:
        for rate in rates:
            parts = [(first(train, size), valid) for train, valid in drawn.values() for size in sizes]
            scores = [trained_score(arm, *part, words, 0, base, rate) for part in parts]
            rows.append({"seed": SWEEP_SEED, "arm": arm, "rate": rate, "accuracy": fmean(scores)})
    for most in amounts:
        scores = [shown_score(train, valid, words, base, most) for train, valid in drawn.values()]
        rows.append({"seed": SWEEP_SEED, "arm": "in context", "demonstrations": most, "accuracy": fmean(scores)})
    return rows


def overtakes(sizes: Sequence[int], ours: Sequence[float], theirs: Sequence[float]) -> Needed:
    """Return from how many labels on ``theirs`` is no longer behind ``ours``: where the difference of the curves reaches zero and stays."""
    return amount_to_reach(sizes, [their - our for our, their in zip(ours, theirs, strict=True)], 0.0)


BEATS = "With few labels in-context learning beats fine-tuning"


@measures(
    *(
        Claim(
            f"E3.{kind}", f"{BEATS}: from how many labels on it no longer does, {kind} concept",
            metric="labels at which fine-tuning draws level", unit="labels", treatment="full", control=None, effect_kind="value",
            note=f"Level with {SIZES[0]} labels, or never up to {SIZES[-1]}, counts with that number; the rows tell which.",
        )
        for kind in KINDS
    ),
    *(
        Claim(
            f"E3.few.{kind}", f"{BEATS}: with {FEW} labels, {kind} concept", metric="accuracy", unit="share", treatment="in context",
            control="full", effect_kind="difference", words=("ahead", "behind", "level"),
        )
        for kind in KINDS
    ),
    id="E3", seeds=5,
)
def show_or_train(
    seed: int, data_seed: int, sizes: Sequence[int] = SIZES, n_test: int = N, base: str = "nano", kinds: Sequence[str] = tuple(KINDS)
) -> Measurement:
    """Spend the same labels on demonstrations and on fine-tuning, more and more of them, on a seen and on an unseen concept.

    In context the labels beyond ``MOST`` have no use. A fine-tuned model reads the query alone: it gets a new head and is trained whole or
    by LoRA, or it is trained whole to write the label word and answers by the likelihood of the two, as the frozen base does.
    """
    drawn, arms, rows = seed_of_data(seed, data_seed), {}, []
    words = label_words(drawn)
    for kind in kinds:
        pool, test = sentences(kind, max(sizes), n_test, drawn)
        curves: dict[str, list[float]] = {}
        shown: dict[int, float] = {}
        for n in sizes:
            train = first(pool, n)
            majority, bag_of_words = tfidf(train)(test)
            used = min(n, MOST)
            if used not in shown:
                shown[used] = shown_score(train, test, words, base)
            scores = {"in context": shown[used]}
            scores |= {arm: trained_score(arm, train, test, words, seed, base) for arm in ARMS}
            scores |= {"TF-IDF": bag_of_words, "majority class": majority}
            for arm, score in scores.items():
                curves.setdefault(arm, []).append(score)
                rows.append({"concept": kind, "labels": n, "arm": arm, "accuracy": score})
        level = {arm: overtakes(sizes, curves["in context"], curves[arm]) for arm in (*ARMS, "TF-IDF")}
        rows += [{"concept": kind, "arm": arm, "level at": str(needed)} for arm, needed in level.items()]
        arms[f"E3.{kind}"] = {arm: needed.amount for arm, needed in level.items()}
        arms[f"E3.few.{kind}"] = {arm: curve[list(sizes).index(FEW)] for arm, curve in curves.items()}
    return Measurement(arms, rows)
