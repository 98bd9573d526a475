"""How far raters agree: Krippendorff's alpha, each rater beside the others, and signs that somebody clicked without reading.

All functions take ratings, of people or of a simulated panel: records with a rater, an item, a choice and perhaps grades, such as
``store.Rating``. A skip is a missing value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..errors import unknown
from ..stats import LEVEL, NOTHING, Interval, clopper_pearson
from .store import LEVELS, SCALES, Rating

VOTES = ("a", "b", "tie")
DOUBT = 0.05  # the error that the tests below allow
ONE_SIDED = 0.001  # sides are drawn by a coin: a rater who reads goes beyond this once in a thousand
QUICK = 1 / 3  # of the others' median time
TIMED = 5  # answers, before a median time says anything


def majority(choices: Iterable[str]) -> str | None:
    """Return the vote, "a", "b" or "tie", that more raters gave than any other; None if two lead or nobody voted. Skips are no votes."""
    counts = Counter(choice for choice in choices if choice in VOTES).most_common(2)
    return None if not counts or len(counts) > 1 and counts[0][1] == counts[1][1] else counts[0][0]


def alpha(units: Sequence[Sequence[Any]], level: str, domain: Sequence[Any]) -> float:
    """Return Krippendorff's alpha: 1 where all agree, 0 where they agree as chance would have it, below 0 where they disagree more than that.

    Args:
        units: for each thing rated, the values that it was given; missing ones are left out.
        level: of measurement: "nominal", "ordinal", "interval" or "ratio".
        domain: the possible values, in their order.

    NaN where nothing was rated twice, or everything was given the same value: alpha does not exist there.

    Source: Krippendorff, "Computing Krippendorff's alpha-reliability" (2011); the library is ``krippendorff``.
    """
    return _alpha(_counts(units, domain), level, domain)


def _counts(units: Sequence[Sequence[Any]], domain: Sequence[Any]) -> Any:
    import numpy as np

    return np.array([[unit.count(value) for value in domain] for unit in map(list, units)], dtype=int).reshape(-1, len(domain))


def _alpha(counts: Any, level: str, domain: Sequence[Any]) -> float:
    import krippendorff

    pairable = counts[counts.sum(axis=1) > 1]
    if (pairable.sum(axis=0) > 0).sum() < 2:
        return math.nan
    values = range(len(domain)) if level == "nominal" else domain
    return float(krippendorff.alpha(value_counts=pairable, value_domain=list(values), level_of_measurement=level))


def reliability(ratings: Iterable[Rating], of: str = "choice", resamples: int = 1000, seed: int = 0) -> Interval:
    """Return alpha of the choices (nominal) or of the grades on a scale (ordinal), with its percentile bootstrap interval over items.

    A response that was graded is a unit; the two of one item are drawn together. NaN as in ``alpha``. UserError for an unknown scale.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979).
    """
    import numpy as np

    if of != "choice" and of not in SCALES:
        raise unknown("scale", of, ("choice", *SCALES))
    level, domain = ("nominal", VOTES) if of == "choice" else ("ordinal", LEVELS)
    items: dict[str, tuple[list[Any], list[Any]]] = {}
    for rating in ratings:
        units = items.setdefault(rating.item, ([], []))
        if of == "choice":
            units[0].append(rating.choice)
        else:
            for unit, response in zip(units, ("a", "b")):
                unit.append(rating.grades.get(response, {}).get(of))
    counts = np.array([_counts(units, domain) for units in items.values()], dtype=int).reshape(-1, len(domain))
    estimate = _alpha(counts, level, domain)
    if math.isnan(estimate):
        return NOTHING
    rng, pairs = np.random.default_rng(seed), counts.reshape(len(items), 2, len(domain))
    drawn = [_alpha(pairs[rng.integers(len(items), size=len(items))].reshape(counts.shape), level, domain) for _ in range(resamples)]
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(estimate, float(low), float(high))


@dataclass(frozen=True)
class WithOthers:
    """How often a rater's vote is the majority of the others', of those comparisons that have such a majority.

    ``chance`` is the share to be expected of somebody who votes as often for a, b and a tie without reading:
    the sum over the votes of the rater's share times the majority's, as in Cohen's kappa (1960).
    """

    agreed: int
    judged: int
    chance: float

    @property
    def share(self) -> Interval:
        """The share of agreement with its exact interval; NaN where nothing could be judged."""
        return clopper_pearson(self.agreed, self.judged) if self.judged else NOTHING


def with_others(ratings: Iterable[Rating]) -> dict[str, WithOthers]:
    """Set each rater beside the majority of the others; by rater, in the order of their first ratings."""
    votes: dict[str, dict[str, str]] = {}
    for rating in ratings:
        votes.setdefault(rating.rater, {})[rating.item] = rating.choice
    by_item: dict[str, dict[str, str]] = {}
    for rater, given in votes.items():
        for item, choice in given.items():
            by_item.setdefault(item, {})[rater] = choice
    found = {}
    for rater, given in votes.items():
        pairs = [(choice, majority(vote for other, vote in by_item[item].items() if other != rater)) for item, choice in given.items()]
        pairs = [(own, others) for own, others in pairs if own in VOTES and others is not None]
        own, others = Counter(pair[0] for pair in pairs), Counter(pair[1] for pair in pairs)
        chance = sum(own[vote] * others[vote] for vote in VOTES) / len(pairs) ** 2 if pairs else math.nan
        found[rater] = WithOthers(sum(a == b for a, b in pairs), len(pairs), chance)
    return found


@dataclass(frozen=True)
class Sign:
    """A sign that a rater was careless: "agreement", "side" or "speed", and why, in one line."""

    rater: str
    kind: str
    why: str


def careless(ratings: Iterable[Rating]) -> list[Sign]:
    """Return the signs that raters clicked without reading.

    * agreement: with the majority of the others it is not above chance (exact binomial test), and it is below what the median of the
      other raters reaches (the same test). The second is for few ratings: among twenty, many who read are not surely above chance.
    * side: one side is chosen more often than a coin would. Which response stands there is drawn anew for each rater and comparison.
    * speed: the median answer takes less than a third of the median of the other raters' medians.

    A sign is a reason to ask, not a proof: with few ratings careless raters go unseen too.
    """
    ratings = list(ratings)
    by_rater = _by_rater(ratings)
    return [*_agreement(with_others(ratings)), *_sides(by_rater), *_speed(by_rater)]


def _by_rater(ratings: Sequence[Rating]) -> dict[str, list[Rating]]:
    found: dict[str, list[Rating]] = {}
    for rating in ratings:
        found.setdefault(rating.rater, []).append(rating)
    return found


def _agreement(found: Mapping[str, WithOthers]) -> list[Sign]:
    from scipy.special import bdtr, bdtrc  # the binomial distribution below and above a count; scipy.stats takes a second to load

    signs = []
    for rater, one in found.items():
        usual = [other.agreed / other.judged for name, other in found.items() if name != rater and other.judged]
        if not usual or not one.judged:
            continue
        by_chance = bdtrc(one.agreed - 1, one.judged, one.chance) if one.agreed else 1.0
        like_others = bdtr(one.agreed, one.judged, median(usual))
        if by_chance > DOUBT and like_others < DOUBT:
            why = f"agrees with the others on {one.agreed} of {one.judged}, where clicking without reading gives {one.chance * one.judged:.0f}"
            signs.append(Sign(rater, "agreement", f"{why} and the other raters' rate {median(usual) * one.judged:.0f}"))
    return signs


def _sides(found: Mapping[str, Sequence[Rating]]) -> list[Sign]:
    from scipy.special import bdtr

    signs = []
    for rater, ratings in found.items():
        sides = [rating.choice == rating.first for rating in ratings if rating.first and rating.choice in ("a", "b")]
        side, most = max(("first", sum(sides)), ("second", len(sides) - sum(sides)), key=lambda pair: pair[1])
        if sides and 2 * bdtr(len(sides) - most, len(sides), 0.5) < ONE_SIDED:
            signs.append(Sign(rater, "side", f"chose the response shown {side} {most} of {len(sides)} times, though a coin decides which that is"))
    return signs


def _speed(found: Mapping[str, Sequence[Rating]]) -> list[Sign]:
    timed = {rater: [rating.seconds for rating in ratings if rating.seconds is not None] for rater, ratings in found.items()}
    medians = {rater: median(seconds) for rater, seconds in timed.items() if len(seconds) >= TIMED}
    signs = []
    for rater, own in medians.items():
        others = [value for name, value in medians.items() if name != rater]
        if others and own < QUICK * median(others):
            signs.append(Sign(rater, "speed", f"takes {own:.1f} seconds, as a median, where the others take {median(others):.1f}"))
    return signs


def report(ratings: Sequence[Rating]) -> str:
    """Return the agreement of a set of ratings as lines to print: alpha, each rater beside the others, and signs of carelessness."""
    skipped = sum(rating.choice == "skip" for rating in ratings)
    found, items = with_others(ratings), {rating.item for rating in ratings}
    lines = [f"{len(found)} raters, {len(items)} comparisons, {len(ratings) - skipped} choices, {skipped} skips", "", "Krippendorff's alpha"]
    for of in ("choice", *SCALES):
        value = reliability(ratings, of)
        told = f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]" if value.finite else "none: too little was rated by two, or all alike"
        lines.append(f"  {of:<16} {told}")
    lines += ["", "Agreement with the majority of the others"]
    for rater, one in found.items():
        share = f"{one.share.estimate:.2f} [{one.share.low:.2f}, {one.share.high:.2f}], chance {one.chance:.2f}" if one.judged else "nothing to compare with"
        lines.append(f"  {rater:<16} {one.agreed} of {one.judged}: {share}" if one.judged else f"  {rater:<16} {share}")
    signs = careless(ratings)
    lines += ["", "Signs of carelessness" if signs else "No sign of carelessness"]
    return "\n".join([*lines, *(f"  {sign.rater:<16} {sign.why}" for sign in signs)])
