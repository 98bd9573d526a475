"""Chapter 2 on real texts: a pretrained model becomes a classifier of film reviews, of news and of text messages.

``B1.real`` compares a frozen model under a linear head with the same model fine-tuned, all of it. There are two models: a real sentence
encoder, all-MiniLM-L6-v2, and the nano base, which has read nothing but its town. ``B4.real`` asks of the frozen encoder how many labels it
needs and how many wrong ones it bears. What is tuned is chosen by ``sweep``, which measured what ``book/evidence/B1.real-rates.csv`` holds.
It sees a fixed fifth of each corpus alone, and reported seeds see the others: no text that a choice was made on is ever tested on. Every
seed draws its parts anew from those, so the splits of two seeds overlap, which the intervals allow for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ..encoders import MINILM, Encoder
from ..heads import accuracy
from ..models import load_model, load_tokenizer
from ..real_data import CORPORA, REPORT, SWEEP, parts
from ..worlds.baseline import Labelled, tfidf
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import first
from .adaptation_real import PASSES, encoder, linear_head, tuned, untrained

NEWS, REVIEWS, MESSAGES = "ag_news", "sst2", "sms_spam"
SIZES = {REVIEWS: (800, 400), NEWS: (800, 400), MESSAGES: (500, 250)}  # texts for training and for testing
SWEEP_SIZES = {REVIEWS: (500, 400), NEWS: (500, 400), MESSAGES: (150, 76)}  # for training and for choosing
# Messages have few texts to choose on, so three draws of them are averaged.
SWEEP_SEEDS = {REVIEWS: (900,), NEWS: (900,), MESSAGES: (900, 901, 902)}

NANO = "nano base"
LONGEST = {"encoder": 64, NANO: 128}  # tokens that are read: about as many words for both, since the nano base knows fewer whole words
FROZEN, TUNED, WORDS, MAJORITY = "frozen encoder", "fine-tuned encoder", "TF-IDF", "majority class"
FROZEN_NANO, TUNED_NANO = f"frozen {NANO}", f"fine-tuned {NANO}"
# What a sweep tries for each arm: C of a logistic regression (the larger, the less it is held back) or a learning rate.
TRIED: dict[str, tuple[float, ...]] = {
    FROZEN: (0.1, 1.0, 10.0), TUNED: (5e-5, 1e-4, 3e-4), FROZEN_NANO: (1.0, 10.0, 100.0), TUNED_NANO: (3e-4, 1e-3, 3e-3),
    WORDS: (1.0, 10.0, 100.0),
}
CHOSEN: dict[str, dict[str, float]] = {
    REVIEWS: {FROZEN: 1.0, TUNED: 3e-4, FROZEN_NANO: 1.0, TUNED_NANO: 3e-4, WORDS: 10.0},
    NEWS: {FROZEN: 1.0, TUNED: 1e-4, FROZEN_NANO: 10.0, TUNED_NANO: 1e-3, WORDS: 100.0},
    MESSAGES: {FROZEN: 10.0, TUNED: 1e-4, FROZEN_NANO: 10.0, TUNED_NANO: 1e-3, WORDS: 1.0},
}

LABELS = (16, 64, 256, 1_024, 2_048)
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4)  # share of the training labels that are made wrong
NOISY_LABELS = 1_000
N_TEST = 1_000

Scores = Callable[[Labelled], float]  # from texts and labels to the accuracy


def base(arm: str, name: str = MINILM) -> tuple[Encoder, int]:
    """Return the pretrained model of an arm, and how many tokens of a text it reads.

    It remembers no vector, so that the seconds of a frozen arm hold the reading of all its training texts.
    """
    if arm.endswith(NANO):
        return Encoder(load_model("nano"), load_tokenizer("nano")), LONGEST[NANO]
    known = encoder(name)
    return Encoder(known.model, known.tokenizer), LONGEST["encoder"]


def learn(arm: str, train: Labelled, classes: int, choice: float, seed: int, name: str = MINILM) -> Scores:
    """Train an arm of ``TRIED`` on labelled texts and return what tests it. ``choice`` is its C or its learning rate."""
    if arm == WORDS:
        baselines = tfidf(train, choice)
        return lambda test: baselines(test)[1]
    model, longest = base(arm, name)
    if arm in (FROZEN, FROZEN_NANO):
        head = linear_head(model, train, choice, longest)
        return lambda test: float(head.score(model.embed(test[0], longest), test[1]))
    classifier = tuned(untrained(model, seed, classes), model.tokenizer, train, PASSES, choice, seed, longest)
    return lambda test: accuracy(classifier, model.tokenizer, *test, longest)


def sweep(data: str, arms: Sequence[str] = tuple(TRIED), name: str = MINILM) -> list[dict[str, Any]]:
    """Return the accuracy on validation texts of a corpus for each arm and each of the three values that are tried for it."""
    rows = []
    for seed in SWEEP_SEEDS[data]:
        train, valid = parts(data, SWEEP_SIZES[data], seed, SWEEP)
        for arm in arms:
            for choice in TRIED[arm]:
                found = learn(arm, train, len(CORPORA[data].classes), choice, 0, name)(valid)
                rows.append({"data": data, "seed": seed, "arm": arm, "choice": choice, "accuracy": found})
    return rows


def compared(data: str, texts: str, beside: str) -> Claim:
    """Return the claim that compares the frozen encoder with the fine-tuned one on a corpus."""
    n_train, n_test = SIZES[data]
    return Claim(
        f"B1.real.{data}", f"Frozen attention and a head classify about as well as full fine-tuning, on {texts}", metric="accuracy",
        unit="share", treatment=FROZEN, control=TUNED, effect_kind="difference", margin=0.02, words=("frozen ahead", "frozen behind", "equal"),
        dataset=", ".join(SIZES), beside=beside, test_to_train=n_test / n_train,
        note=f"{data}: {n_train:,} texts for training and {n_test} for testing, all classes equally common. What was tuned was chosen on a "
        "fifth of the corpus that takes no part here. The encoder was pretrained on sentences from elsewhere, which may hold some of these.",
    )


@measures(
    compared(REVIEWS, "film reviews", "B1.close.sentiment"), compared(NEWS, "news", "B1.close.topic"),
    compared(MESSAGES, "text messages", "B1.close.sentiment"),
    id="B1.real", seeds=5,
)
def repurposed(seed: int, data_seed: int, sizes: Mapping[str, tuple[int, int]] = SIZES, name: str = MINILM) -> Measurement:
    """Train every arm on the same texts of each corpus, and test it on others.

    Rows give the accuracy, and the CPU seconds of training: reading and fitting for a frozen arm, and for a fine-tuned one all steps,
    with one more for each shape of batch, on which the operations are counted. Testing is not in them.
    """
    drawn, rows, arms = seed_of_data(seed, data_seed), [], {}
    for data, asked in sizes.items():
        train, test = parts(data, asked, drawn, REPORT)
        majority, _ = tfidf(train)(test)
        scores = {}
        for arm in TRIED:
            base(arm, name)  # loaded before the clock starts
            began = time.process_time()
            score = learn(arm, train, len(CORPORA[data].classes), CHOSEN[data][arm], seed, name)
            seconds = time.process_time() - began
            scores[arm] = score(test)
            rows.append({"data": data, "arm": arm, "accuracy": scores[arm], "seconds": round(seconds, 2)})
        rows.append({"data": data, "arm": MAJORITY, "accuracy": majority})
        arms[f"B1.real.{data}"] = scores | {MAJORITY: majority}
    return Measurement(arms, rows)


# Enough labels, and clean ones -------------------------------------------------------------------------------------------------


def noisy(train: Labelled, share: float, classes: int, seed: int) -> Labelled:
    """Return the texts with a share of their labels made wrong: each of those is drawn from the other classes, all equally likely.

    With one seed, the labels that a smaller share makes wrong are among those that a larger one does.
    """
    rng, labels = random.Random(f"noise/{seed}"), list(train[1])
    wrong = [(place, rng.randrange(1, classes)) for place in rng.sample(range(len(labels)), len(labels))]
    for place, step in wrong[: round(share * len(labels))]:
        labels[place] = (labels[place] + step) % classes
    return train[0], labels


_TOLD = "Frozen encoder with a linear head; mean over both corpora. Its C was chosen at 500 clean labels and is the same for all."


@measures(
    Claim(
        "B4.real.labels", "Labels must be enough: accuracy at 2,048 labels over that at 16, on real texts", metric="accuracy", unit="share",
        treatment="most labels", control="fewest labels", effect_kind="difference", dataset=f"{REVIEWS}, {NEWS}",
        test_to_train=N_TEST / max(LABELS), note=_TOLD,
    ),
    Claim(
        "B4.real.noise", "Labels must be clean: accuracy without wrong labels over that with 40 % of them, on real texts",
        metric="accuracy", unit="share", treatment="no noise", control="40 % wrong", effect_kind="difference", dataset=f"{REVIEWS}, {NEWS}",
        test_to_train=N_TEST / NOISY_LABELS, note=f"{_TOLD} {NOISY_LABELS:,} labels. A wrong label is any other class.",
    ),
    id="B4.real", seeds=10,
)
def labels_in_number_and_kind(
    seed: int, data_seed: int, sizes: Sequence[int] = LABELS, noisy_labels: int = NOISY_LABELS, n_test: int = N_TEST, name: str = MINILM
) -> Measurement:
    """Train the frozen encoder and TF-IDF on more and more labels, then on labels of which more and more are wrong.

    Test labels stay as they are. Rows: the corpus, the arm, the number of labels, the share of wrong ones, the accuracy.
    """
    drawn, rows = seed_of_data(seed, data_seed), []
    conditions = [(labels, 0.0) for labels in sizes] + [(noisy_labels, share) for share in NOISE]
    for data in (REVIEWS, NEWS):
        classes = len(CORPORA[data].classes)
        pool, test = parts(data, (max(*sizes, noisy_labels), n_test), drawn, REPORT)
        for arm in (FROZEN, WORDS):
            for labels, share in dict.fromkeys(conditions):
                train = noisy(first(pool, labels), share, classes, drawn)
                found = tested(arm, train, test, CHOSEN[data][arm], name)
                rows.append({"data": data, "arm": arm, "labels": labels, "wrong": share, "accuracy": found})

    def mean(arm: str, labels: int, share: float) -> float:
        return fmean(row["accuracy"] for row in rows if (row["arm"], row["labels"], row["wrong"]) == (arm, labels, share))

    number = {"most labels": (max(sizes), 0.0), "fewest labels": (min(sizes), 0.0)}
    kind = {"no noise": (noisy_labels, 0.0), "40 % wrong": (noisy_labels, max(NOISE))}
    arms = {
        claim: {told: mean(FROZEN, *asked) for told, asked in wanted.items()}
        | {f"{WORDS}, {told}": mean(WORDS, *asked) for told, asked in wanted.items()}
        for claim, wanted in {"B4.real.labels": number, "B4.real.noise": kind}.items()
    }
    return Measurement(arms, rows)


def tested(arm: str, train: Labelled, test: Labelled, choice: float, name: str) -> float:
    """Train TF-IDF or the frozen encoder and return its accuracy. The encoder remembers its vectors from one condition to the next."""
    if arm == WORDS:
        return tfidf(train, choice)(test)[1]
    model, longest = encoder(name), LONGEST["encoder"]
    return float(linear_head(model, train, choice, longest).score(model.embed(test[0], longest), test[1]))
