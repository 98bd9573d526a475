"""Chapter 1: what happens to a spam detector when the texts change.

A detector of spam is trained on letters (``mail``) and meets social posts (``posts``). Its learning rate is the best of a sweep on
validation letters of a data seed below 1,000, which no reported seed draws: ``sweep_detector`` measures what ``book/evidence/A1-rates.csv``
holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..heads import Classifier, accuracy, fit
from ..models import load_model, load_tokenizer
from ..training import TrainConfig
from ..worlds.baseline import Labelled, labelled, tfidf
from . import Claim, Measurement, measures, seed_of_data

BATCH = 16
LETTERS = 2_000  # labelled letters that the detector is trained on
CAUSES = ("slang", "length", "format", "topic")
SWEEP_SEED = 900
DETECTOR_SWEEP = (3e-4, 1e-3, 3e-3)
DETECTOR_RATE = 1e-3


def draw(world: str, n: int, split: str, data_seed: int, **knobs: Any) -> Labelled:
    """Draw ``n`` letters or posts, labelled 1 for spam."""
    return labelled(world, "spam", n, split, data_seed, **knobs)


def error(wrong_share: float, n: int) -> float:
    """Return an error rate with one pseudo-count a side (Laplace's rule), so that a detector without mistakes still has a ratio."""
    return (wrong_share * n + 1) / (n + 2)


def train_detector(mail: Labelled, seed: int, base: str = "nano", rate: float = DETECTOR_RATE) -> Classifier:
    """Train the detector: the base with a new head, on letters, one pass."""
    detector = Classifier(load_model(base), 2, seed=seed)
    steps = max(1, len(mail[0]) // BATCH)
    config = TrainConfig(steps=steps, batch_size=BATCH, learning_rate=rate, warmup=max(1, steps // 10), seed=seed)
    fit(detector, load_tokenizer(base), *mail, config)
    return detector


def sweep_detector(rates: Sequence[float] = DETECTOR_SWEEP, letters: int = LETTERS, n: int = 1_000, base: str = "nano") -> list[dict[str, Any]]:
    """Return the accuracy on validation letters for each learning rate. Posts play no part in the choice."""
    mail, valid = draw("mail", letters, "train", SWEEP_SEED), draw("mail", n, "validation", SWEEP_SEED)
    tokenizer = load_tokenizer(base)
    return [
        {"seed": SWEEP_SEED, "arm": "detector", "rate": rate, "accuracy": accuracy(train_detector(mail, 0, base, rate), tokenizer, *valid)}
        for rate in rates
    ]


@measures(
    Claim(
        "A1.ratio", "A detector trained on mail fails on social posts", metric="error rate", unit="ratio", treatment="posts", control="mail",
        effect_kind="log_ratio", op=">=", threshold=3,
    ),
    Claim(
        "A1.gap", "A detector trained on mail fails on social posts", metric="error rate", unit="share", treatment="posts", control="mail",
        effect_kind="difference", op=">=", threshold=0.10,
    ),
    id="A1",
)
def detector_meets_posts(seed: int, data_seed: int, letters: int = LETTERS, n_test: int = 1_000, base: str = "nano") -> Measurement:
    """Train on letters, test on letters and on posts, and on posts that differ from letters in one respect only."""
    drawn = seed_of_data(seed, data_seed)
    mail = draw("mail", letters, "train", drawn)
    detector, tokenizer, baselines = train_detector(mail, seed, base), load_tokenizer(base), tfidf(mail)
    alike = dict.fromkeys(CAUSES, 0.0)
    kinds = {"posts": dict.fromkeys(CAUSES, 1.0)} | {cause: alike | {cause: 1.0} for cause in CAUSES}
    tests = {"mail": draw("mail", n_test, "test", drawn)} | {kind: draw("posts", n_test, "test", drawn, **knobs) for kind, knobs in kinds.items()}
    rows, arms = [], {}
    for kind, test in tests.items():
        majority, novice = baselines(test)
        scores = {"detector": accuracy(detector, tokenizer, *test), "TF-IDF": novice, "majority class": majority}
        arms[kind] = error(1 - scores["detector"], n_test)
        rows += [{"texts": kind, "model": model, "error": error(1 - score, n_test)} for model, score in scores.items()]
    return Measurement({"A1.ratio": arms, "A1.gap": arms}, rows)
