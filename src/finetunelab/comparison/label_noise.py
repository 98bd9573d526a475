"""Labels that may be wrong: what a model that has not seen a text says with confidence, and its label denies.

Which labels are suspected follows confident learning: the probabilities come from models that were fitted without the text, and a class counts as
confident from the mean probability that it gets on texts labeled so (Northcutt, Jiang and Chuang, "Confident learning: Estimating uncertainty in
dataset labels", 2021, arXiv:1911.00068, section 3; their ranking by normalized margin, section 3.2).

That alone suspects many labels of a task that is merely hard. Whether to speak of them at all is therefore asked separately, by a rule of ours: the
errors of a hard task come where a model is unsure, and wrong labels lie everywhere, also among the texts that it is surest of. The rule was set
on corpora with and without labels changed at random. It says nothing of tasks that words tell little about.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..stats import Interval, clopper_pearson
from ..worlds.baseline import words_regression
from .task import Part, copies

FOLDS = 5
MOST = 5_000  # texts that are looked at: what takes seconds may not become minutes
SUREST = 1 / 3  # of the texts that are given a class, those with the highest probability of it
# The area under the ROC curve, and from there on: contradicted among the surest as a share of contradicted among all. Above it, errors do not shrink
# enough where the model is sure. Below the last area words say too little.
EVENLY = ((0.88, 0.35), (0.75, 0.5))
UNSURE = 0.3  # of all texts contradicted, at most
FEWEST = 3  # contradicted among the surest
LEAST = 0.01  # of the labels must be wrong, by the lower end of the interval


@dataclass(frozen=True)
class Suspects:
    """Suspected labels: their places in the part, worst first; the class that each text is taken for; and the share of labels that seem wrong."""

    places: tuple[int, ...]
    taken_for: tuple[int, ...]
    share: Interval


def suspects_among(part: Part, seed: int = 0, learned_from: Part | None = None) -> Suspects | None:
    """Return the labels of a part that seem wrong, or None if there is no reason to suspect any.

    Without ``learned_from`` the part itself is learned from, always without the texts that are asked about. Of a large part some texts are drawn.
    """
    kept = sorted(random.Random(seed).sample(range(len(part)), MOST)) if len(part) > MOST else list(range(len(part)))
    some = part.at(kept)
    classes = 1 + max((*part.labels, *(learned_from.labels if learned_from else ())))
    try:
        if learned_from is None:
            probabilities = _crossed(some, classes, seed)
        else:
            probabilities = _probabilities(learned_from.at(range(min(len(learned_from), MOST))), some.texts, classes)
    except ValueError:  # the library's way to say that no text has a word
        return None
    found = judge_labels(probabilities, some.labels)
    return found and Suspects(tuple(kept[i] for i in found.places), found.taken_for, found.share)


def judge_labels(probabilities: np.ndarray, labels: Sequence[int]) -> Suspects | None:
    """Return the suspects among labels, from probabilities of shape (texts, classes) by models that have not seen the texts."""
    given, said = np.asarray(labels), probabilities.argmax(1)
    surest = np.zeros(len(given), bool)
    for label in np.unique(said):
        places = np.flatnonzero(said == label)
        surest[places] = probabilities[places, label] >= np.quantile(probabilities[places, label], 1 - SUREST)
    denied, count = said != given, int((said != given)[surest].sum())
    share = clopper_pearson(count, int(surest.sum()))
    area = _ordered(probabilities, given)
    evenly = next((ratio for least, ratio in EVENLY if area >= least), None)
    if evenly is None or denied.mean() > UNSURE:
        return None
    if count < FEWEST or share.low < LEAST or share.estimate < evenly * denied.mean():
        return None
    of_class = [probabilities[given == label, label] for label in range(probabilities.shape[1])]
    threshold = np.array([own.mean() if len(own) else 2.0 for own in of_class])  # above what any probability reaches
    confident = np.where(probabilities >= threshold, probabilities, -1.0)
    taken = np.where(confident.max(1) >= 0, confident.argmax(1), given)
    margin = probabilities[np.arange(len(given)), given] - probabilities[np.arange(len(given)), taken]
    places = [int(i) for i in np.argsort(margin, kind="stable") if taken[i] != given[i] and margin[i] < 0]
    return Suspects(tuple(places), tuple(int(taken[i]) for i in places), share) if places else None


def _ordered(probabilities: np.ndarray, given: np.ndarray) -> float:
    """Return the area under the ROC curve, each class against the others, as a mean over the classes."""
    from sklearn.metrics import roc_auc_score

    present = np.unique(given)
    return float(np.mean([roc_auc_score(given == label, probabilities[:, label]) for label in present])) if len(present) > 1 else 0.0


def _crossed(part: Part, classes: int, seed: int) -> np.ndarray:
    """Return probabilities of shape (texts, classes), each text's from models that saw neither it nor a copy."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.zeros(len(part), int)
    for group, places in enumerate(copies(part.texts).values()):
        groups[places] = group
    found = np.zeros((len(part), classes))
    for learn, ask in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(part.texts, part.labels, groups):
        found[ask] = _probabilities(part.at(learn), part.at(ask).texts, classes)
    return found


def _probabilities(learn: Part, texts: Sequence[str], classes: int) -> np.ndarray:
    pipeline = words_regression().fit(learn.texts, learn.labels)
    found = np.zeros((len(texts), classes))
    found[:, pipeline.classes_] = pipeline.predict_proba(texts)
    return found
