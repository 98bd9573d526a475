"""A panel of simulated reviewers: people who value the right things, each in their own way, and click with some noise.

A reviewer's utility of a response is a weighted sum of its three grades plus a taste for length. Between two responses they choose
by Bradley and Terry's model (1952, "Rank analysis of incomplete block designs"): P(a over b) = sigmoid((u_a - u_b) / temperature). Now and
then they click without reading. What the course calls the oracle, ``worlds.responses.reward``, has the mean weights, no taste for length and
no noise.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from ..errors import UserError
from ..worlds.responses import WEIGHTS, Grades, grade
from .store import LEVELS, preference

# What panels are drawn around. Set so that the best possible guess of a reviewer's choice on the world's comparisons is right about eight
# times in ten, and two reviewers agree on 73 %, as often as InstructGPT's labelers did (72.6 %, Ouyang et al. 2022, section 3.4): far enough
# from one that noise matters, and not so far that nothing can be learned.
SPREAD = 0.3  # of the logarithm of a weight: reviewers rank the three grades differently, few ignore one
PER_WORD, PER_WORD_SPREAD = 0.015, 0.01  # ten more words are worth a level of appropriateness; one reviewer in fifteen likes it short
TEMPERATURE, TEMPERATURE_SPREAD = 0.1, 0.25  # a difference of .125, the least that one level of one grade makes, is seen by three in four
CARELESS_SHARE = 0.1  # of a panel: one in ten clicks at random more often than not, for the others to be told from
CARELESS, CAREFUL = 0.6, 0.03  # rates of random clicks
SLIP = 0.15  # of a grade: to its neighbor, as when two people draw the line between good and fair in different places


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))  # which does not overflow


@dataclass(frozen=True)
class Reviewer:
    """One reviewer of responses.

    Args:
        name: by which ratings are filed.
        weights: worth of each of the three grades, by name; they sum to 1.
        per_word: worth of one more word; below zero for those who like it short.
        temperature: of the choice; the difference of utility that makes odds of e to 1.
        careless: share of clicks made without reading, by a coin or, for a grade, a die.
        slip: share of grades that land on a neighboring level.
    """

    name: str
    weights: Mapping[str, float]
    per_word: float = 0.0
    temperature: float = TEMPERATURE
    careless: float = 0.0
    slip: float = SLIP

    def utility(self, grades: Grades, words: int) -> float:
        """Return what a response with these true grades and this many words is worth to the reviewer."""
        return sum(weight * getattr(grades, name) for name, weight in self.weights.items()) + self.per_word * words

    def prefers(self, a: tuple[Grades, int], b: tuple[Grades, int]) -> float:
        """Return the probability that a is chosen over b; of each its grades and its number of words are given."""
        attentive = _sigmoid((self.utility(*a) - self.utility(*b)) / self.temperature)
        return self.careless / 2 + (1 - self.careless) * attentive

    def probability(self, row: Mapping[str, Any] | str, a: str, b: str) -> float:
        """Return the probability that response a is chosen over b. ``row`` is the request: a row of the world, or its text.

        Raises ValueError for a request of no known subject.
        """
        return self.prefers(seen(row, a), seen(row, b))

    def compare(self, row: Mapping[str, Any] | str, a: str, b: str, rng: random.Random) -> str:
        """Return the reviewer's click, "a" or "b"."""
        return "a" if rng.random() < self.probability(row, a, b) else "b"

    def grade(self, row: Mapping[str, Any] | str, response: str, rng: random.Random) -> Grades:
        """Return the reviewer's three grades of a response, each 0, .5 or 1: the true ones, but for slips and careless clicks."""
        return Grades(*(self._click(value, rng) for value in grade(row, response)))

    def _click(self, value: float, rng: random.Random) -> float:
        if rng.random() < self.careless:
            return rng.choice(LEVELS)
        if rng.random() < self.slip:
            return rng.choice([level for level in LEVELS if abs(level - value) == 0.5])
        return value


class Judgment(NamedTuple):
    """One click: the place of the comparison in its list, the reviewer's name, and the choice, "a" or "b"."""

    place: int
    reviewer: str
    choice: str


def seen(row: Mapping[str, Any] | str, response: str) -> tuple[Grades, int]:
    """Return what of a response decides its utility: its true grades and its number of words."""
    return grade(row, response), len(response.split())


def panel(n: int, seed: int) -> list[Reviewer]:
    """Draw ``n`` reviewers around the constants above; one in ten of them is careless. Raises UserError for fewer than one."""
    if n < 1:
        raise UserError(f"a panel of {n} reviewers cannot be drawn", "ask for at least one")
    rng = random.Random(f"panel/{seed}")
    careless = set(rng.sample(range(n), round(CARELESS_SHARE * n)))
    found = []
    for i in range(n):
        worth = {name: weight * math.exp(rng.gauss(0, SPREAD)) for name, weight in WEIGHTS.items()}
        found.append(Reviewer(
            name=f"reviewer {i + 1}",
            weights={name: value / sum(worth.values()) for name, value in worth.items()},
            per_word=rng.gauss(PER_WORD, PER_WORD_SPREAD),
            temperature=TEMPERATURE * math.exp(rng.gauss(0, TEMPERATURE_SPREAD)),
            careless=CARELESS if i in careless else CAREFUL,
        ))
    return found


def judge(reviewers: Sequence[Reviewer], comparisons: Sequence[Mapping[str, Any]], seed: int, each: int = 1) -> list[Judgment]:
    """Let ``each`` different reviewers, drawn anew for every comparison, click; return the clicks in the order of the comparisons.

    A comparison has "response_a", "response_b", and what ``Reviewer.probability`` reads of a request. Raises UserError for more reviewers
    than there are.
    """
    if not 1 <= each <= len(reviewers):
        raise UserError(f"{each} of {len(reviewers)} reviewers cannot judge a comparison", f"choose from 1 to {len(reviewers)}")
    rng, found = random.Random(f"judge/{seed}"), []
    for place, row in enumerate(comparisons):
        a, b = seen(row, row["response_a"]), seen(row, row["response_b"])
        for reviewer in rng.sample(list(reviewers), each):
            found.append(Judgment(place, reviewer.name, "a" if rng.random() < reviewer.prefers(a, b) else "b"))
    return found


def mean_probabilities(reviewers: Sequence[Reviewer], comparisons: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return of each comparison the probability that a reviewer drawn at random chooses a."""
    both = [(seen(row, row["response_a"]), seen(row, row["response_b"])) for row in comparisons]
    return [fmean(reviewer.prefers(a, b) for reviewer in reviewers) for a, b in both]


def bayes_accuracy(reviewers: Sequence[Reviewer], comparisons: Sequence[Mapping[str, Any]]) -> float:
    """Return how often the best possible guess of a random reviewer's choice is right: the mean of max(p, 1 - p). No model can do better.

    Exact for these comparisons; a measured accuracy has the noise of its labels on top.
    """
    return fmean(max(p, 1 - p) for p in mean_probabilities(reviewers, comparisons))


def preferences(comparisons: Sequence[Mapping[str, Any]], judgments: Sequence[Judgment]) -> list[dict[str, list[dict[str, str]]]]:
    """Return the clicks as trl's conversational preference rows: "prompt", "chosen" and "rejected", each a list of messages."""
    rows = []
    for place, _, choice in judgments:
        row, other = comparisons[place], "b" if choice == "a" else "a"
        rows.append(preference(row["prompt"], row[f"response_{choice}"], row[f"response_{other}"]))
    return rows
