"""Chapter 1: what happens to a spam detector when the texts change, and what adapting it costs.

A detector of spam is trained on letters (``mail``) and meets social posts (``posts``). Learning rates are the best of sweeps on validation
texts of a data seed below 1,000, which no reported seed draws: ``sweep_detector`` and ``sweep_arms`` measure what
``book/evidence/A1-rates.csv`` and ``A2-rates.csv`` hold. The chef, a language model, has a module of its own.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

from ..adaptation import amount_to_reach, features, novice, two_sample_test, with_replay
from ..cards import training_flops
from ..cost import Cost
from ..heads import Classifier, accuracy, fit
from ..models import CHECKPOINTS, load_model, load_tokenizer, shipped
from ..skills import perplexity
from ..stats import spearman
from ..training import TrainConfig
from ..worlds.baseline import Labelled, labelled, tfidf
from . import Claim, Measurement, measures, seed_of_data

BATCH = 16
LETTERS = 2_000  # labelled letters that the detector is trained on
CAUSES = ("slang", "length", "format", "topic")
SWEEP_SEED = 900
DETECTOR_SWEEP = (3e-4, 1e-3, 3e-3)
DETECTOR_RATE = 1e-3
LARGER_RATE = 5e-5  # for bases other than ours: a usual one for fine-tuning models a hundred times as large, not tuned here

SIZES = (8, 32, 128, 512, 2048)
STEPS = (16, 64, 256)
REACHED = 0.9  # of the ceiling
ARMS = ("mail detector", "base", "random init")
ARM_SWEEP = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
ARM_RATES = {"mail detector": 1e-3, "base": 3e-4, "random init": 3e-3}
SEVERITIES = (0.5,)  # of the shift, beside the whole of it
SEVERITY_LABELS = 128


def draw(world: str, n: int, split: str, data_seed: int, **knobs: Any) -> Labelled:
    """Draw ``n`` letters or posts, labelled 1 for spam."""
    return labelled(world, "spam", n, split, data_seed, **knobs)


def first(sample: Labelled, n: int) -> Labelled:
    """Return the first ``n`` texts with their labels."""
    return sample[0][:n], sample[1][:n]


def error(wrong_share: float, n: int) -> float:
    """Return an error rate with one pseudo-count a side (Laplace's rule), so that a detector without mistakes still has a ratio."""
    return (wrong_share * n + 1) / (n + 2)


@lru_cache(maxsize=8)
def train_detector(
    seed: int, data_seed: int, letters: int = LETTERS, base: str = "nano", rate: float | None = None
) -> tuple[Classifier, Cost]:
    """Train the detector, the base with a new head, on letters in one pass; return it with what that cost.

    The experiments of one seed share it, so it is kept: copy it before training it further.
    """
    detector = Classifier(load_model(base), 2, seed=seed)
    settings = config(max(1, letters // BATCH), rate or rate_of("detector", base), seed)
    return detector, fit(detector, load_tokenizer(base), *draw("mail", letters, "train", data_seed), settings).cost


def rate_of(arm: str, base: str) -> float:
    """Return the learning rate of an arm: the one tuned for it on the shipped bases, ``LARGER_RATE`` on any other."""
    return ({"detector": DETECTOR_RATE} | ARM_RATES)[arm] if base in shipped() else LARGER_RATE


def config(steps: int, rate: float, seed: int, batch: int = BATCH, schedule: str = "linear") -> TrainConfig:
    """Return how every model of this chapter is trained; arms differ in their learning rate alone.

    A tenth of the steps warm up. The first of them stands still, so a run of under ten steps does without.
    """
    return TrainConfig(steps=steps, batch_size=batch, learning_rate=rate, warmup=steps // 10, schedule=schedule, seed=seed)


def sweep_detector(
    rates: Sequence[float] = DETECTOR_SWEEP, letters: int = LETTERS, n: int = 1_000, base: str = "nano"
) -> list[dict[str, Any]]:
    """Return the accuracy on validation letters for each learning rate. Posts play no part in the choice."""
    valid, rows = draw("mail", n, "validation", SWEEP_SEED), []
    for rate in rates:
        detector, _ = train_detector(0, SWEEP_SEED, letters, base, rate)
        rows.append({"seed": SWEEP_SEED, "arm": "detector", "rate": rate, "accuracy": accuracy(detector, load_tokenizer(base), *valid)})
    return rows


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
    (detector, _), tokenizer = train_detector(seed, drawn, letters, base), load_tokenizer(base)
    baselines = tfidf(draw("mail", letters, "train", drawn))
    alike = dict.fromkeys(CAUSES, 0.0)
    kinds = {"posts": dict.fromkeys(CAUSES, 1.0)} | {cause: alike | {cause: 1.0} for cause in CAUSES}
    tests = {"mail": draw("mail", n_test, "test", drawn)}
    tests |= {kind: draw("posts", n_test, "test", drawn, **knobs) for kind, knobs in kinds.items()}
    rows, arms = [], {}
    for kind, test in tests.items():
        majority, bag_of_words = baselines(test)
        scores = {"detector": accuracy(detector, tokenizer, *test), "TF-IDF": bag_of_words, "majority class": majority}
        arms[kind] = error(1 - scores["detector"], n_test)
        rows += [{"texts": kind, "model": model, "error": error(1 - score, n_test)} for model, score in scores.items()]
    return Measurement({"A1.ratio": arms, "A1.gap": arms}, rows)


# Fewer labels, less compute ----------------------------------------------------------------------------------------------------


def starts(seed: int, detector: Classifier, base: str) -> dict[str, Callable[[], Classifier]]:
    """Return what makes each arm's model: the detector as it is, the base with a new head, the base's shape with random weights."""
    return {
        "mail detector": lambda: copy.deepcopy(detector),
        "base": lambda: Classifier(load_model(base), 2, seed=seed),
        "random init": lambda: Classifier(novice(load_model(base), seed), 2, seed=seed),
    }


def steps_for(labels: int) -> int:
    """Return the steps of a run: eight passes over the labels, but at least 40 steps and at most 256."""
    return min(256, max(40, 8 * labels // BATCH))


def sweep_arms(
    rates: Sequence[float] = ARM_SWEEP, sizes: Sequence[int] = (64, 512), letters: int = LETTERS, n: int = 1_000, base: str = "nano"
) -> list[dict[str, Any]]:
    """Return, for each arm of A2 to A4 and each learning rate, the accuracy on validation posts, a mean over two numbers of labels."""
    tokenizer, pool = load_tokenizer(base), draw("posts", max(sizes), "train", SWEEP_SEED)
    valid, (detector, _), rows = draw("posts", n, "validation", SWEEP_SEED), train_detector(0, SWEEP_SEED, letters, base), []
    for arm, make in starts(0, detector, base).items():
        for rate in rates:
            scores = []
            for labels in sizes:
                model = make()
                fit(model, tokenizer, *first(pool, labels), config(steps_for(labels), rate, 0))
                scores.append(accuracy(model, tokenizer, *valid))
            rows.append({"seed": SWEEP_SEED, "arm": arm, "rate": rate, "accuracy": fmean(scores)})
    return rows


def bag_of_words(train: Labelled, test: Labelled) -> float:
    """Return the accuracy of TF-IDF with logistic regression. With one class among the labels there is nothing to fit: one half."""
    return tfidf(train)(test)[1] if len(set(train[1])) > 1 else 0.5


@measures(
    Claim(
        "A2", "Fine-tuning a detector needs far fewer labels than starting anew", metric="labels to 90 % of the ceiling", unit="ratio",
        treatment="mail detector", control="random init", effect_kind="log_ratio", op="<=", threshold=0.2,
        note="An arm that reached the score with the fewest labels, or not with the most, counts with that number.",
    ),
    id="A2", seeds=5,
)
def labels_needed(
    seed: int, data_seed: int, sizes: Sequence[int] = SIZES, severities: Sequence[float] = SEVERITIES, letters: int = LETTERS,
    n_test: int = 1_000, base: str = "nano",
) -> Measurement:
    """Train every arm on more and more posts, and find how many labels take it to nine tenths of the ceiling.

    The ceiling is the best validation accuracy of any arm at the most labels; the curve is read on other posts, those of the test split.
    The rows of a lesser ``severity`` show the arms at ``SEVERITY_LABELS`` labels of posts that lie nearer to mail.
    """
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    detector, _ = train_detector(seed, drawn, letters, base)
    makers, rows, curves, ceiling = starts(seed, detector, base), [], {}, 0.0

    def trained(arm: str, train: Labelled, *tests: Labelled) -> tuple[float, list[float]]:
        if arm == "TF-IDF":
            return 0.0, [bag_of_words(train, test) for test in tests]
        model = makers[arm]()
        cost = fit(model, tokenizer, *train, config(steps_for(len(train[0])), rate_of(arm, base), seed)).cost
        return cost.flops, [accuracy(model, tokenizer, *test) for test in tests]

    for severity in (1.0, *severities):
        knobs = dict.fromkeys(CAUSES, severity)
        amounts = sizes if severity == 1 else [SEVERITY_LABELS]
        pool, test = draw("posts", max(amounts), "train", drawn, **knobs), draw("posts", n_test, "test", drawn, **knobs)
        valid = draw("posts", n_test, "validation", drawn, **knobs)
        untouched = accuracy(detector, tokenizer, *test)
        rows.append({"severity": severity, "arm": "mail detector", "labels": 0, "flops": 0.0, "accuracy": untouched})
        for arm in (*ARMS, "TF-IDF"):
            for labels in amounts:
                last = severity == 1 and labels == max(sizes)
                flops, (found, *on_valid) = trained(arm, first(pool, labels), test, *([valid] if last else []))
                ceiling = max([ceiling, *on_valid])
                rows.append({"severity": severity, "arm": arm, "labels": labels, "flops": flops, "accuracy": found})
                if severity == 1:
                    curves.setdefault(arm, []).append(found)
    needed = {arm: amount_to_reach(sizes, curve, REACHED * ceiling) for arm, curve in curves.items()}
    rows += [{"severity": 1.0, "arm": arm, "needed": str(need), "score": REACHED * ceiling} for arm, need in needed.items()]
    return Measurement({"A2": {arm: need.amount for arm, need in needed.items()}}, rows)


def pretraining_flops(base: str) -> float:
    """Return what pretraining a base cost, as the recipe of a shipped one records it; NaN for any other."""
    if base not in shipped():
        return math.nan
    return training_flops(json.loads((CHECKPOINTS / base / "recipe.json").read_text(encoding="utf-8")))


@measures(
    Claim(
        "A3.marginal", "Fine-tuning a detector needs far less compute than starting anew", metric="FLOPs to 90 % of the ceiling",
        unit="ratio", treatment="mail detector", control="random init", effect_kind="log_ratio", op="<=", threshold=0.2,
        note="Pretraining and the training on mail are not counted here; A3.tasks counts them.",
    ),
    Claim(
        "A3.tasks", "With pretraining counted, compute is saved only over many tasks",
        metric="tasks of this size until pretraining has paid", unit="tasks", treatment="tasks", control=None, effect_kind="value",
        note="Pretraining and the training on mail, divided by what fine-tuning saves on one task.",
    ),
    id="A3", seeds=5,
)
def compute_needed(
    seed: int, data_seed: int, steps: Sequence[int] = STEPS, labels: int = max(SIZES), letters: int = LETTERS, n_test: int = 1_000,
    base: str = "nano",
) -> Measurement:
    """Train every arm on all labels for longer and longer, each run with a schedule of its own, and find the FLOPs to the same score."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    pool, valid, test = (draw("posts", n, split, drawn) for n, split in ((labels, "train"), (n_test, "validation"), (n_test, "test")))
    detector, on_mail = train_detector(seed, drawn, letters, base)
    before = pretraining_flops(base) + on_mail.flops
    makers, rows, scores, flops, ceiling = starts(seed, detector, base), [], {}, {}, 0.0
    for arm in ARMS:
        for count in steps:
            model = makers[arm]()
            flops.setdefault(arm, []).append(fit(model, tokenizer, *pool, config(count, rate_of(arm, base), seed)).cost.flops)
            scores.setdefault(arm, []).append(accuracy(model, tokenizer, *test))
            rows.append({"arm": arm, "steps": count, "flops": flops[arm][-1], "accuracy": scores[arm][-1]})
        ceiling = max(ceiling, accuracy(model, tokenizer, *valid))
    needed = {arm: amount_to_reach(flops[arm], scores[arm], REACHED * ceiling).amount for arm in ARMS}
    saved = needed["random init"] - needed["mail detector"]
    tasks = {"tasks": before / saved if saved > 0 else float("inf"), "FLOPs before": before, "FLOPs saved a task": saved}
    return Measurement({"A3.marginal": needed, "A3.tasks": tasks}, rows)


# What is lost ------------------------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "A4.forgets", "What fine-tuning loses can be measured", metric="accuracy on mail", unit="share", treatment="before",
        control="without replay", effect_kind="difference", op=">=", threshold=0.03,
    ),
    Claim(
        "A4.replay", "Replay keeps most of what fine-tuning loses", metric="share of the loss that is kept", unit="share", treatment="kept",
        control=None, effect_kind="value", op=">=", threshold=0.5,
    ),
    Claim(
        "A4.target", "... and costs the new skill nothing to speak of", metric="accuracy on posts", unit="share", treatment="with replay",
        control="without replay", effect_kind="difference", op=">=", threshold=-0.01,
    ),
    id="A4", seeds=5,
)
def forgetting(
    seed: int, data_seed: int, posts: int = max(SIZES), share: float = 0.1, letters: int = LETTERS, n_test: int = 4_000, base: str = "nano",
) -> Measurement:
    """Fine-tune the detector on posts, with and without a share of letters among them, and test it on letters before and after."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    old, new = draw("mail", letters, "train", drawn), draw("posts", posts, "train", drawn)
    detector, _ = train_detector(seed, drawn, letters, base)
    tests = {world: draw(world, n_test, "test", drawn) for world in ("mail", "posts")}
    models = {"before": detector}
    for arm, replayed in (("without replay", 0.0), ("with replay", share)):
        pairs = with_replay(list(zip(*new, strict=True)), list(zip(*old, strict=True)), replayed, seed)
        models[arm] = copy.deepcopy(detector)
        # The same number of passes over the posts in both arms: replay comes on top.
        steps = round(steps_for(posts) / (1 - replayed))
        fit(models[arm], tokenizer, *map(list, zip(*pairs, strict=True)), config(steps, rate_of("mail detector", base), seed))
    found = {world: {arm: accuracy(model, tokenizer, *test) for arm, model in models.items()} for world, test in tests.items()}
    lost = found["mail"]["before"] - found["mail"]["without replay"]
    kept = (found["mail"]["with replay"] - found["mail"]["without replay"]) / lost if lost > 0 else float("nan")
    rows = [{"arm": arm, "mail": found["mail"][arm], "posts": found["posts"][arm]} for arm in models]
    return Measurement({"A4.forgets": found["mail"], "A4.replay": {"kept": kept}, "A4.target": found["posts"]}, rows)


# What shows before any label does ----------------------------------------------------------------------------------------------

# Rungs of three kinds of shift. Harmful: what tells the classes apart changes. Harmless: other names, the same rule. Pure label shift:
# the same letters, another share of spam.
RUNGS: dict[str, list[dict[str, float]]] = {
    "harmful": [{cause: severity} for cause in CAUSES for severity in (0.25, 0.5, 1.0)]
    + [dict.fromkeys(CAUSES, severity) for severity in (0.0, 0.25, 0.5, 1.0)],
    "harmless": [{"harmless": severity} for severity in (0.0, 0.25, 0.5, 0.75, 1.0)],
    "label shift": [{"spam_share": share} for share in (0.1, 0.3, 0.5, 0.7, 0.9)],
}


@measures(
    Claim(
        "A7.distance", "A harmful shift shows before any label does: in the distance of the texts",
        metric="rank correlation of distance and error", unit="correlation", treatment="harmful", control=None, effect_kind="value", op=">=", threshold=0.8,
    ),
    Claim(
        "A7.surprise", "A harmful shift shows before any label does: in the model's surprise",
        metric="rank correlation of perplexity gap and error", unit="correlation", treatment="harmful", control=None, effect_kind="value", op=">=", threshold=0.8,
    ),
    id="A7", seeds=5,
)
def shift_and_error(
    seed: int, data_seed: int, n_test: int = 400, letters: int = LETTERS, base: str = "nano",
    rungs: dict[str, list[dict[str, float]]] | None = None,
) -> Measurement:
    """Set two measures that need no label beside the error that the detector makes, rung by rung, for three kinds of shift.

    The distance is that of the two-sample test on the base's features; the perplexity gap is the base's too. Both compare the rung's texts
    with validation letters.
    """
    drawn, tokenizer, model = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    detector, _ = train_detector(seed, drawn, letters, base)
    home = draw("mail", n_test, "validation", drawn)
    known, surprise, rows = features(model, tokenizer, home[0]), perplexity(model, tokenizer, home[0]), []
    for kind, settings in (RUNGS if rungs is None else rungs).items():
        for knobs in settings:
            test = draw("posts", n_test, "test", drawn, **(dict.fromkeys(CAUSES, 0.0) | knobs))
            seen = two_sample_test(known, features(model, tokenizer, test[0]), seed)
            gap = perplexity(model, tokenizer, test[0]) / surprise
            name = "all four" if len(knobs) > 1 else next(iter(knobs))
            rows.append({
                "kind": kind, "rung": name, "severity": next(iter(knobs.values())), "distance": seen.distance, "p": seen.p,
                "perplexity gap": gap, "error": 1 - accuracy(detector, tokenizer, *test),
            })
    arms: dict[str, dict[str, float]] = {"distance": {}, "perplexity gap": {}}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        part = [row for row in rows if row["kind"] == kind]
        for measure, found in arms.items():
            found[kind] = spearman([row[measure] for row in part], [row["error"] for row in part])
    return Measurement({"A7.distance": arms["distance"], "A7.surprise": arms["perplexity gap"]}, rows)
