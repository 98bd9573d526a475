"""Chapter 2 on frozen models: what a head can do with the states of a model that is not trained along.

The model is the base; the tasks are reviews of the town: their topic, and whether the writer was pleased. What is tuned is the best of sweeps
on validation texts of a data seed below 1,000: ``sweep_heads`` and ``sweep_full`` measured what ``book/evidence/B1-rates.csv`` holds. What it
takes to train more than a head has a module of its own, ``repurposing_unfreezing``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ..adaptation import features, features_of_layers
from ..heads import Classifier, accuracy, fit
from ..models import load_model, load_tokenizer, shipped
from ..repurposing import FeatureHead, HeadConfig, calibration_error, fit_head, mislabel
from ..training import TrainConfig
from ..worlds.baseline import Labelled, labelled, tfidf
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, first

CLASSES = {"topic": 6, "sentiment": 2, "joint": 12}
TRAIN, TEST = 2_000, 1_000
BATCH = 32
FEW = (64, 256)  # numbers of labels beside the 2,000 that the claims are about

RATES = (3e-4, 1e-3, 3e-3)
FULL_RATES = {"topic": 3e-3, "sentiment": 1e-3}
LARGER_RATE = 5e-5  # for bases other than ours: a usual one for fine-tuning models a hundred times as large, not tuned here

PENALTIES, WIDTHS = (1e-1, 1e-2, 1e-3), (0, 64)
# What the frozen model is read at, and how the head is held back: the layer, the width of the head, its penalty.
FROZEN = {"topic": (4, 64, 1e-1), "sentiment": (1, 64, 1e-2)}
EMBEDDINGS = {"topic": (0, 64, 1e-1), "sentiment": (0, 64, 1e-3)}

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
NOISES, NOISY_LABELS = (0.0, 0.1, 0.2, 0.3, 0.4), 1_000

HEAD_WIDTHS = (2, 8, 32, 128)
HEAD_LABELS = (24, 96, 384, 1536)
TASKS = {"two groups": 2, "six topics": 6, "topic and sentiment": 12}
PASSES = 6


def draw(label: str, n: int, split: str, data_seed: int, task: str = "easy") -> Labelled:
    """Draw ``n`` reviews with their topic, sentiment, or both at once ("joint")."""
    return labelled("reviews", label, n, split, data_seed, task=task)


@lru_cache(maxsize=4)
def embedded(base: str, n: int, split: str, data_seed: int, task: str = "easy", layers: tuple[int, ...] = (0, 4)) -> dict[int, np.ndarray]:
    """Return the mean states of ``n`` reviews, of shape (n, width), for each of some layers of the frozen base."""
    texts, _ = draw("topic", n, split, data_seed, task)
    return dict(zip(layers, features_of_layers(load_model(base), load_tokenizer(base), texts, layers), strict=True))


def settings(labels: int, rate: float, seed: int) -> TrainConfig:
    """Return how a model is trained along with its head: four passes over the labels, but at least 40 steps. A tenth of them warm up."""
    steps = max(40, 4 * labels // BATCH)
    return TrainConfig(steps=steps, batch_size=BATCH, learning_rate=rate, warmup=steps // 10, seed=seed, group_by_length=True)


def tuned(base: str, train: Labelled, classes: int, rate: float, seed: int) -> Classifier:
    """Return a classifier whose model was trained along, all of it."""
    classifier = Classifier(load_model(base), classes, seed=seed)
    fit(classifier, load_tokenizer(base), *train, settings(len(train[0]), rate if base in shipped() else LARGER_RATE, seed))
    return classifier


def reading(base: str, place: tuple[int, int, float]) -> tuple[int, int, float]:
    """Return where a frozen base is read: as tuned on the shipped ones, at the last layer of any other."""
    return place if base in shipped() or not place[0] else (-1, *place[1:])


# Frozen, full, and plain rivals -------------------------------------------------------------------------------------------------


def sweep_heads(n: int = TRAIN, base: str = "nano") -> list[dict[str, Any]]:
    """Return the accuracy on validation reviews of heads on every layer of the frozen base; layer 0 are its input embeddings."""
    layers, rows = tuple(range(load_model(base).config.num_hidden_layers + 1)), []
    known, seen = (embedded(base, n, split, SWEEP_SEED, layers=layers) for split in ("train", "validation"))
    for label in ("topic", "sentiment"):
        targets, truth = (draw(label, n, split, SWEEP_SEED)[1] for split in ("train", "validation"))
        rows += [{"seed": SWEEP_SEED, "task": label, "arm": "head", **row} for row in every_head(known, targets, seen, truth, CLASSES[label])]
    return rows


def every_head(
    known: dict[int, np.ndarray], targets: Sequence[int], seen: dict[int, np.ndarray], truth: Sequence[int], classes: int
) -> Iterator[dict[str, Any]]:
    """Yield the accuracy on ``seen`` of heads trained on ``known``, vectors by layer, for each layer, width and penalty that is tried."""
    for layer in known:
        for width in WIDTHS:
            for penalty in PENALTIES:
                head = fit_head(known[layer], targets, classes, HeadConfig(width=width, penalty=penalty)).head
                yield {"layer": layer, "width": width, "penalty": penalty, "accuracy": head.accuracy(seen[layer], truth)}


def sweep_full(rates: Sequence[float] = RATES, n: int = TRAIN, base: str = "nano") -> list[dict[str, Any]]:
    """Return the accuracy on validation reviews of the base trained along, for each learning rate."""
    rows = []
    for label in ("topic", "sentiment"):
        train, valid = draw(label, n, "train", SWEEP_SEED), draw(label, n, "validation", SWEEP_SEED)
        for rate in rates:
            found = accuracy(tuned(base, train, CLASSES[label], rate, 0), load_tokenizer(base), *valid)
            rows.append({"seed": SWEEP_SEED, "task": label, "arm": "full", "rate": rate, "accuracy": found})
    return rows


CLOSE = "Frozen attention and a fully connected head classify about as well as full fine-tuning"
ATTENTION = "What frozen attention adds to averaged input embeddings"


@measures(
    *(
        Claim(
            f"B1.close.{label}", f"{CLOSE}: {label} of easy reviews", metric="accuracy", unit="share", treatment="frozen", control="full",
            effect_kind="difference", op=">=", threshold=-0.02,
        )
        for label in ("topic", "sentiment")
    ),
    *(
        Claim(
            f"B1.attention.{label}", f"{ATTENTION}: {label} of easy reviews", metric="accuracy", unit="share", treatment="frozen",
            control="embeddings", effect_kind="difference", op=">=", threshold=0.05,
        )
        for label in ("topic", "sentiment")
    ),
    id="B1", seeds=5,
)
def frozen_or_full(
    seed: int, data_seed: int, labels: int = TRAIN, few: Sequence[int] = FEW, n_test: int = TEST, base: str = "nano",
    tasks: Sequence[str] = ("topic", "sentiment"),
) -> Measurement:
    """Classify reviews by a head on the frozen base, by the base trained along, by averaged input embeddings, and by TF-IDF."""
    drawn, tokenizer, rows, arms = seed_of_data(seed, data_seed), load_tokenizer(base), [], {}
    for label in tasks:
        pool, test = draw(label, labels, "train", drawn), draw(label, n_test, "test", drawn)
        places = {"frozen": reading(base, FROZEN[label]), "embeddings": EMBEDDINGS[label]}
        layers = tuple(layer for layer, _, _ in places.values())
        known, seen = embedded(base, labels, "train", drawn, layers=layers), embedded(base, n_test, "test", drawn, layers=layers)
        for n in (*few, labels):
            train = first(pool, n)
            majority, words = tfidf(train)(test)
            scores = {"TF-IDF": words, "majority class": majority}
            for arm, (layer, width, penalty) in places.items():
                settled = HeadConfig(width=width, penalty=penalty, seed=seed)
                scores[arm] = fit_head(known[layer][:n], train[1], CLASSES[label], settled).head.accuracy(seen[layer], test[1])
            scores["full"] = accuracy(tuned(base, train, CLASSES[label], FULL_RATES[label], seed), tokenizer, *test)
            rows += [{"task": label, "labels": n, "arm": arm, "accuracy": score} for arm, score in scores.items()]
        arms[label] = scores
    return Measurement({f"B1.{kind}.{label}": arms[label] for kind in ("close", "attention") for label in tasks}, rows)


# Features once, or every time ---------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "B3.speed", "Features of a frozen model are computed once: later passes cost next to nothing", metric="seconds of a later pass",
        unit="ratio", treatment="recomputed", control="cached", effect_kind="log_ratio", op=">=", threshold=20,
    ),
    Claim(
        "B3.accuracy", "... and nothing is lost", metric="accuracy, difference in absolute value", unit="share", treatment="apart",
        control=None, effect_kind="value", op="<=", threshold=0.001,
    ),
    id="B3",
)
def cached_or_not(seed: int, data_seed: int, labels: int = 512, n_test: int = TEST, base: str = "nano") -> Measurement:
    """Train the same head twice: on vectors that are kept, and on vectors that the frozen base computes anew for each batch."""
    drawn, tokenizer, model = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    (texts, targets), (unseen, truth) = draw("topic", labels, "train", drawn), draw("topic", n_test, "test", drawn)
    config = HeadConfig(steps=PASSES * -(-labels // HeadConfig.batch_size), penalty=FROZEN["topic"][2], seed=seed)

    def anew(places: Sequence[int]) -> torch.Tensor:
        return torch.as_tensor(features(model, tokenizer, [texts[place] for place in places]))

    kept, tested = features(model, tokenizer, texts), features(model, tokenizer, unseen)
    results = {"cached": fit_head(kept, targets, CLASSES["topic"], config), "recomputed": fit_head(anew, targets, CLASSES["topic"], config)}
    seconds = {arm: fmean(result.seconds[1:]) for arm, result in results.items()}
    found = {arm: result.head.accuracy(tested, truth) for arm, result in results.items()}
    rows = [{"arm": arm, "seconds": seconds[arm], "accuracy": found[arm]} for arm in results]
    return Measurement({"B3.speed": seconds, "B3.accuracy": found | {"apart": abs(found["cached"] - found["recomputed"])}}, rows)


# Enough labels, and clean ones --------------------------------------------------------------------------------------------------


def wrong(share: float) -> str:
    """Return the name of an arm in which a share of the labels is wrong."""
    return f"{100 * share:.0f} % wrong"


@measures(
    *(
        Claim(
            f"B4.{kind}", claim, metric="accuracy", unit="share", treatment=treatment, control=control, effect_kind="difference", op=">=",
            threshold=0.05, trend=trend,
        )
        for kind, claim, treatment, control, trend in (
            ("labels", "Labeled data must be enough", f"{SIZES[-1]} labels", f"{SIZES[0]} labels", tuple(f"{n} labels" for n in SIZES)),
            (
                "noise", "Labeled data must be clean", wrong(NOISES[0]), wrong(NOISES[-1]), tuple(wrong(share) for share in reversed(NOISES)),
            ),
        )
    ),
    id="B4",
)
def labels_and_noise(
    seed: int, data_seed: int, sizes: Sequence[int] = SIZES, noises: Sequence[float] = NOISES, noisy: int = NOISY_LABELS, n_test: int = TEST,
    base: str = "nano",
) -> Measurement:
    """Train heads on the frozen base for the topic of reviews, with more and more labels, and with more and more wrong ones.

    Beside the accuracy, the rows tell how far the heads' probabilities can be trusted.
    """
    drawn, classes = seed_of_data(seed, data_seed), CLASSES["topic"]
    layer, width, penalty = reading(base, FROZEN["topic"])
    pool, test = draw("topic", max(*sizes, noisy), "train", drawn), draw("topic", n_test, "test", drawn)
    known, seen = (embedded(base, len(part[0]), split, drawn, layers=(layer,))[layer] for part, split in ((pool, "train"), (test, "test")))
    arms, rows = {"B4.labels": {}, "B4.noise": {}}, []

    def learn(kind: str, name: str, texts: Sequence[str], targets: list[int], **told: float) -> None:
        head = fit_head(known[: len(targets)], targets, classes, HeadConfig(width=width, penalty=penalty, seed=seed)).head
        trusted = calibration_error(head.probabilities(seen), test[1])
        arms[kind][name] = head.accuracy(seen, test[1])
        words = tfidf((texts, targets))(test)[1]
        rows.append({"kind": kind, **told, "accuracy": arms[kind][name], "TF-IDF": words, "calibration error": trusted})

    for n in sizes:
        learn("B4.labels", f"{n} labels", *first(pool, n), labels=n, noise=0.0)
    texts, clean = first(pool, noisy)
    for share in noises:
        learn("B4.noise", wrong(share), texts, mislabel(clean, share, classes, seed), labels=noisy, noise=share)
    return Measurement(arms, rows)


# A head as wide as labels and task allow ----------------------------------------------------------------------------------------


def relabelled(task: str, topics: Sequence[int], joint: Sequence[int]) -> list[int]:
    """Return the labels of one of ``TASKS``, from reviews' topics and joint labels; its two groups are the first three topics and the rest."""
    return {"two groups": [int(topic >= 3) for topic in topics], "six topics": list(topics), "topic and sentiment": list(joint)}[task]


@measures(
    Claim(
        "B5.labels", "A wide head pays with many labels more than with few", metric="what width adds to accuracy", unit="share",
        treatment="many labels", control="few labels", effect_kind="difference", op=">", threshold=0,
    ),
    Claim(
        "B5.task", "A wide head pays on a complex task more than on a simple one", metric="what width adds to accuracy", unit="share",
        treatment="complex task", control="simple task", effect_kind="difference", op=">", threshold=0,
    ),
    id="B5",
)
def width_and_labels(
    seed: int, data_seed: int, widths: Sequence[int] = HEAD_WIDTHS, sizes: Sequence[int] = HEAD_LABELS, n_test: int = TEST, base: str = "nano",
) -> Measurement:
    """Train heads of several widths with several numbers of labels on three tasks, with the frozen base as it is.

    What width adds is the accuracy of the widest head less that of the narrowest: for six topics, with the most labels and with the fewest;
    and with the most labels, for twelve classes and for two.
    """
    drawn, rows = seed_of_data(seed, data_seed), []
    layer, _, penalty = reading(base, FROZEN["topic"])
    known, seen = (embedded(base, n, split, drawn, layers=(layer,))[layer] for n, split in ((max(sizes), "train"), (n_test, "test")))
    drawings = {split: [draw(label, n, split, drawn)[1] for label in ("topic", "joint")] for split, n in (("train", max(sizes)), ("test", n_test))}
    for task, classes in TASKS.items():
        targets, truth = (relabelled(task, *drawings[split]) for split in ("train", "test"))
        for n in sizes:
            for width in widths:
                head: FeatureHead = fit_head(known[:n], targets[:n], classes, HeadConfig(width=width, penalty=penalty, seed=seed)).head
                rows.append({"task": task, "labels": n, "width": width, "accuracy": head.accuracy(seen, truth)})
    scores = {(row["task"], row["labels"], row["width"]): row["accuracy"] for row in rows}

    def added(task: str, n: int) -> float:
        return scores[task, n, widths[-1]] - scores[task, n, widths[0]]

    simple, middle, complex_ = TASKS
    by_labels = {"many labels": added(middle, sizes[-1]), "few labels": added(middle, sizes[0])}
    return Measurement({"B5.labels": by_labels, "B5.task": {"complex task": added(complex_, sizes[-1]), "simple task": added(simple, sizes[-1])}}, rows)
