"""Chapter 4, reviewers: what a reward model learns from the clicks of a panel, and from how many.

The panel is simulated (``preferences.panel``), so two things are known that no study of people knows: what a response is truly worth, and how
often the best possible guess of a click is right. Every comparison is judged by one reviewer. Accuracy against clicks is the expected one
over all reviewers, computed from their probabilities and not from drawn clicks: the noise of the test's labels is in none of these numbers.

All start from ``nano-reward`` (``reward_base``), which knows whether a response belongs to its request. From the assistant itself a model
of this size never learns that, neither from 9,600 clicks nor from as many grades: its guesses of relevance stay at chance. D2 then goes the
way that instruction-tuned assistants are judged, grades first and comparisons after: a grade says of one response which of three things is
wrong with it; a click says only that of two responses one was liked better, and one click in five goes against the best possible guess.
What comparisons alone are worth is ``comparisons``' question.

Learning rates, and how much a bag of words is held back, are the best of ``sweep_reviewers`` on validation comparisons of a data seed below
1,000, which no reported seed draws; ``book/evidence/D2-rates.csv`` holds what it measured.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import worlds
from ..cost import Cost
from ..models import load_tokenizer
from ..preferences.panel import Judgment, judge, mean_probabilities, panel, preferences
from ..repurposing import calibration, calibration_error
from ..reward import choice_probabilities, fit, fit_grades, predict, reward_model, score, with_new_layer
from ..stats import spearman
from ..worlds.responses import WEIGHTS
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config
from .knowledge import steps_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE = "nano-reward"
REVIEWERS = 20
PAIRS = 9_600  # comparisons
GRADED = 9_600  # responses with three grades each
BATCH = 16  # comparisons, or responses with grades, of a step
STEPS = PAIRS // BATCH  # each click is seen once, and each grade
LEAST_STEPS = 1 / 8  # of the steps, however few the comparisons
N_TEST = 1_000

BOTH, ALONE = "grades, then comparisons", "comparisons alone"
WORDS, LENGTH, BEST, TRUTH = "bag of words", "length alone", "best guess", "true grades"
GRADES = "grade model"
RATE_SWEEP = {GRADES: (3e-4, 1e-3, 3e-3), ALONE: (1e-4, 3e-4, 1e-3), BOTH: (3e-5, 1e-4, 3e-4, 1e-3)}
SWEEP_SIZE = PAIRS // 2  # comparisons, and responses with grades
PENALTY_SWEEP = (0.01, 0.03, 0.1, 0.3, 1.0)  # C of a logistic regression: the larger, the less it is held back
RIDGE_SWEEP = (3.0, 30.0, 300.0)  # alpha of a ridge regression: the larger, the more it is held back
RATES = {GRADES: 1e-3, ALONE: 3e-4, BOTH: 3e-4}
PENALTY, RIDGE = 0.3, 30.0

Leads = Callable[[Sequence[Mapping[str, Any]]], np.ndarray]  # from comparisons to how far response a is ahead of b in each


def comparisons(n: int, split: str, data_seed: int) -> list[dict]:
    """Draw ``n`` comparisons: two responses to one request."""
    return worlds.generator("comparisons").rows(n, split, data_seed)


@lru_cache(maxsize=2)
def clicked(n: int, data_seed: int) -> tuple[list[dict], list[Judgment]]:
    """Draw ``n`` training comparisons and the panel's clicks, one a comparison. More comparisons begin with the same ones."""
    rows = comparisons(n, "train", data_seed)
    return rows, judge(panel(REVIEWERS, data_seed), rows, data_seed)


@lru_cache(maxsize=64)
def rewarder(
    seed: int, data_seed: int, n: int = PAIRS, steps: int = STEPS, base: str = BASE, n_graded: int = 0, rate: float | None = None
) -> tuple[PreTrainedModel, Cost]:
    """Return a reward model of ``n`` clicks, with what these cost. ``steps`` are those on all ``PAIRS``; see ``knowledge.steps_for``.

    With ``n_graded`` responses it starts from the grade model of those, with a new layer in place of the three grades; else from the base.
    D2 and the loop use the same models, so they are kept.
    """
    if n_graded:
        model = with_new_layer(copy.deepcopy(grader(seed, data_seed, n_graded, steps, base, RATES[GRADES])[0]), seed=seed)
    else:
        model = started(base, 1, seed)
    settings = config(steps_for(n / PAIRS, steps, LEAST_STEPS), rate or RATES[BOTH if n_graded else ALONE], seed, BATCH, "cosine")
    return model, fit(model, load_tokenizer(base), preferences(*clicked(n, data_seed)), settings).result.cost


def started(base: str, outputs: int, seed: int) -> PreTrainedModel:
    """Load the base with a new layer of ``outputs`` numbers."""
    model = reward_model(base, outputs, seed)
    model.set_attn_implementation("eager")  # the same numbers, and for rows this short the quicker way to them
    return model


# How good a guess is ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exam:
    """Held-out comparisons, and of each the probability that a reviewer drawn from the panel chooses response a."""

    rows: list[dict]
    chances: np.ndarray

    def accuracy(self, leads: Sequence[float]) -> dict[str, float]:
        """Return how often the response that leads is the one clicked, and the one that the oracle rates higher; a tie counts half.

        ``leads`` says of each comparison how far a is ahead of b. "clicks" is the expectation over the panel, "oracle" has no noise at all.
        """
        guess = (np.sign(leads) + 1) / 2
        better = np.array([row["better"] == "a" for row in self.rows], dtype=float)
        return {name: float((guess * p + (1 - guess) * (1 - p)).mean()) for name, p in (("clicks", self.chances), ("oracle", better))}


def exam(n: int, split: str, data_seed: int) -> Exam:
    """Draw ``n`` held-out comparisons for the panel of the same seed."""
    rows = comparisons(n, split, data_seed)
    return Exam(rows, np.array(mean_probabilities(panel(REVIEWERS, data_seed), rows)))


def requests(rows: Sequence[Mapping[str, Any]]) -> list[list[dict[str, str]]]:
    """Return the request of each row as a conversation."""
    return [[{"role": "user", "content": row["prompt"]}] for row in rows]


def reward_leads(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return by how much the reward of response a exceeds that of b in each comparison."""
    a, b = (score(model, tokenizer, requests(rows), [row[f"response_{side}"] for row in rows]).numpy() for side in "ab")
    return a - b


def length_leads(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return by how many words response a is longer than b."""
    a, b = (np.array([len(row[f"response_{side}"].split()) for row in rows]) for side in "ab")
    return a - b


def words_leads(rows: Sequence[Mapping[str, Any]], clicks: Sequence[Judgment], penalty: float = PENALTY) -> Leads:
    """Fit Bradley and Terry's model on counts of words and pairs of words, which is a logistic regression on their differences.

    The request is the same for both responses and cancels: what is on its subject, a bag of words cannot know.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    seen = CountVectorizer(ngram_range=(1, 2), min_df=2, dtype=np.float64).fit(row[f"response_{side}"] for row in rows for side in "ab")

    def difference(rows):
        a, b = (seen.transform(row[f"response_{side}"] for row in rows) for side in "ab")
        return a - b

    fitted = LogisticRegression(C=penalty, fit_intercept=False, max_iter=1_000)
    fitted.fit(difference(rows), [click.choice == "a" for click in clicks])
    return lambda rows: fitted.decision_function(difference(rows))


# The three grades ---------------------------------------------------------------------------------------------------------------


def responses(n: int, split: str, data_seed: int) -> list[dict]:
    """Draw ``n`` single responses with their true grades."""
    return worlds.generator("responses").rows(n, split, data_seed)


def graded(n: int, data_seed: int) -> tuple[list[dict], list[list[float]]]:
    """Draw ``n`` training responses and the three grades that one reviewer each gives them."""
    rows, reviewers, rng = responses(n, "train", data_seed), panel(REVIEWERS, data_seed), random.Random(f"grades/{data_seed}")
    return rows, [list(rng.choice(reviewers).grade(row, row["response"], rng)) for row in rows]


@lru_cache(maxsize=8)
def grader(seed: int, data_seed: int, n: int, steps: int, base: str, rate: float) -> tuple[PreTrainedModel, Cost]:
    """Return a model of three outputs that has learned the grades of ``n`` responses, with what that cost; ``steps`` are those on all.

    Reward models start from it, so it is kept: copy it before training it further.
    """
    rows, grades = graded(n, data_seed)
    model, settings = started(base, len(WEIGHTS), seed), config(steps_for(n / GRADED, steps, LEAST_STEPS), rate, seed, BATCH, "cosine")
    return model, fit_grades(model, load_tokenizer(base), requests(rows), [row["response"] for row in rows], grades, settings).cost


def words_grades(
    rows: Sequence[Mapping[str, Any]], grades: Sequence[Sequence[float]], ridge: float = RIDGE
) -> Callable[[Sequence[Mapping[str, Any]]], np.ndarray]:
    """Fit a ridge regression of the grades on counts of the words and pairs of words of request and response."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    seen = CountVectorizer(ngram_range=(1, 2), min_df=2, dtype=np.float64)
    fitted = make_pipeline(seen, Ridge(ridge)).fit([row["text"] for row in rows], np.array(grades))
    return lambda rows: fitted.predict([row["text"] for row in rows])


def correlations(predicted: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the rank correlation of the predictions, of shape (rows, 3), with the true grades, for each grade. It ignores their scale."""
    columns = zip(WEIGHTS, predicted.T.tolist(), strict=True)
    return {name: spearman(column, [row[name] for row in rows]) for name, column in columns}


# What is chosen before ----------------------------------------------------------------------------------------------------------


def sweep_reviewers(
    rates: Mapping[str, Sequence[float]] = RATE_SWEEP, size: int = SWEEP_SIZE, steps: int = STEPS, n: int = 500,
    base: str = BASE,
) -> list[dict[str, Any]]:
    """Return what each arm reaches on validation data for each value tried: accuracy against clicks, or mean correlation of the grades.

    Each has ``size`` comparisons or responses with grades, half of what is measured, for time. Grades come first: the reward models of both start from a grade model of the rate in use.
    """
    tokenizer, valid, asked, found = load_tokenizer(base), exam(n, "validation", SWEEP_SEED), responses(n, "validation", SWEEP_SEED), []

    def note(arm: str, size: int, choice: float, reached: float) -> None:
        found.append({"seed": SWEEP_SEED, "arm": arm, "size": size, "choice": choice, "score": reached})

    for rate in rates[GRADES]:
        model, _ = grader(0, SWEEP_SEED, size, steps, base, rate)
        predicted = predict(model, tokenizer, requests(asked), [row["response"] for row in asked]).numpy()
        note(GRADES, size, rate, fmean(correlations(predicted, asked).values()))
    for arm, n_graded in ((BOTH, size), (ALONE, 0)):
        for rate in rates[arm]:
            model, _ = rewarder(0, SWEEP_SEED, size, steps, base, n_graded, rate)
            note(arm, size, rate, valid.accuracy(reward_leads(model, tokenizer, valid.rows))["clicks"])
    texts, (rows, grades) = clicked(size, SWEEP_SEED), graded(size, SWEEP_SEED)
    for penalty in PENALTY_SWEEP:
        note(WORDS, size, penalty, valid.accuracy(words_leads(*texts, penalty)(valid.rows))["clicks"])
    for ridge in RIDGE_SWEEP:
        note(f"{WORDS}, {GRADES}", size, ridge, fmean(correlations(words_grades(rows, grades, ridge)(asked), asked).values()))
    return found


# What is measured ---------------------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "D2", "Reviewers' preferences can be modeled: a reward model guesses clicks about as well as can be",
        metric="accuracy against held-out clicks", unit="share", treatment=BOTH, control=BEST, effect_kind="difference", op=">=",
        threshold=-0.03,
        note="The control is the panel's Bayes accuracy: the best possible guess of the click of a reviewer drawn at random. The reward model "
        "has learned the panel's grades first.",
    ),
    Claim(
        "D2.oracle", "... and what it has learned is what a response is worth", metric="accuracy against the oracle's rewards",
        unit="share", treatment=BOTH, control=None, effect_kind="value",
    ),
    Claim(
        "D2.grades", "... and their three grades can be modeled too", metric="rank correlation of predicted and true grade, mean of three",
        unit="correlation", treatment=GRADES, control=None, effect_kind="value",
    ),
    Claim(
        "D2.calibration", "... and its probabilities are those of the clicks", metric="expected calibration error", unit="share",
        treatment=BOTH, control=None, effect_kind="value",
    ),
    id="D2", seeds=5,
)
def modeled(
    seed: int, data_seed: int, n: int = PAIRS, steps: int = STEPS, n_graded: int = GRADED, n_test: int = N_TEST, base: str = BASE
) -> Measurement:
    """Train a grade model on grades and from it a reward model on clicks; test both on held-out responses, beside what knows less and what
    knows all: a reward model of the clicks alone, counted words, the truth.

    The rows have the accuracy of every guess against clicks and oracle, the correlation of every grade, and the bins of calibration, which is
    over the click of every reviewer on every held-out comparison.
    """
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    test, reviewers = exam(n_test, "test", drawn), panel(REVIEWERS, drawn)
    judge_of_grades, grade_cost = grader(seed, drawn, n_graded, steps, base, RATES[GRADES])
    (model, cost), (alone, cost_alone) = (rewarder(seed, drawn, n, steps, base, given) for given in (n_graded, 0))
    ahead = reward_leads(model, tokenizer, test.rows)
    guesses = {
        BOTH: ahead, ALONE: reward_leads(alone, tokenizer, test.rows), WORDS: words_leads(*clicked(n, drawn))(test.rows),
        LENGTH: length_leads(test.rows), BEST: test.chances - 0.5,
        TRUTH: np.array([row["reward_a"] - row["reward_b"] for row in test.rows]),
    }
    found = {arm: test.accuracy(leads) for arm, leads in guesses.items()}
    rows: list[dict[str, Any]] = [
        {"arm": arm, "accuracy against": name, "value": share} for arm, both in found.items() for name, share in both.items()
    ]

    clicks = judge(reviewers, test.rows, drawn, each=REVIEWERS)
    probabilities, labels = choice_probabilities(ahead[[click.place for click in clicks]]), [int(click.choice == "b") for click in clicks]
    rows += [{"arm": BOTH, "confidence": sure, "value": right, "clicks": n} for sure, right, n in calibration(probabilities, labels)]

    asked, (texts, grades) = responses(n_test, "test", drawn), graded(n_graded, drawn)
    predicted = {
        GRADES: predict(judge_of_grades, tokenizer, requests(asked), [row["response"] for row in asked]).numpy(),
        WORDS: words_grades(texts, grades)(asked),
    }
    fits = {arm: correlations(values, asked) for arm, values in predicted.items()}
    rows += [{"arm": arm, "grade": name, "value": value} for arm, each in fits.items() for name, value in each.items()]
    spent = {GRADES: (grade_cost,), BOTH: (grade_cost, cost), ALONE: (cost_alone,)}
    rows += [{"arm": arm, **{name: sum(getattr(part, name) for part in parts) for name in ("flops", "tokens")}} for arm, parts in spent.items()]
    return Measurement({
        "D2": {arm: both["clicks"] for arm, both in found.items()},
        "D2.oracle": {arm: both["oracle"] for arm, both in found.items()},
        "D2.grades": {arm: fmean(each.values()) for arm, each in fits.items()},
        "D2.calibration": {BOTH: calibration_error(probabilities, labels)},
    }, rows)
