"""Tests and intervals: few, each with its source. Inputs are plain sequences of numbers, one per seed unless said otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; NaN everywhere when nothing finite could be computed."""

    estimate: float
    low: float
    high: float

    @property
    def finite(self) -> bool:
        """True when estimate and both ends are numbers."""
        return all(math.isfinite(value) for value in (self.estimate, self.low, self.high))


NOTHING = Interval(math.nan, math.nan, math.nan)


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the mean of the values with Student's t interval. Fewer than two values, or one that is not finite, give NaN ends.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    return _t(values, 1 / len(values) if values else math.nan, level)


def corrected_t_interval(values: Sequence[float], test_to_train: float, level: float = LEVEL) -> Interval:
    """Return mean and corrected resampled t interval for repeated random splits of *one* data set.

    The splits overlap, so the variance of the mean is (1/J + n_test/n_train) s^2 rather than s^2/J; ``test_to_train`` is that
    n_test/n_train. Source: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52 (2003).
    """
    if not test_to_train > 0:
        raise ValueError(f"test_to_train is {test_to_train}; give test size over training size, above 0")
    return _t(values, 1 / len(values) + test_to_train if values else math.nan, level)


def _t(values: Sequence[float], variance_factor: float, level: float) -> Interval:
    if not values or not all(math.isfinite(value) for value in values):
        return NOTHING
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * stdev(values) * math.sqrt(variance_factor)
    return Interval(mean, mean - half, mean + half)


def clopper_pearson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """Return a share with its exact two-sided interval, for counts of independent trials.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).
    """
    if trials < 1 or not 0 <= successes <= trials or successes != int(successes) or trials != int(trials):
        raise ValueError(f"{successes} in {trials} trials is no count; give whole numbers, 0 <= successes <= trials, trials >= 1")
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, trials - successes, 1 - tail)) if successes < trials else 1.0
    return Interval(successes / trials, low, high)


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Return the exact two-sided p value of "both are right equally often", for two classifiers that were given the same texts.

    Only the texts count on which one is right and the other is not; with none of them p is 1. Source: McNemar, "Note on the sampling
    error of the difference between correlated proportions or percentages", Psychometrika 12 (1947).
    """
    _same_length(one, other)
    first, second = sum(a and not b for a, b in zip(one, other, strict=True)), sum(b and not a for a, b in zip(one, other, strict=True))
    from scipy.stats import binomtest

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def median_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the median with the interval between two order statistics that holds it at ``level`` whatever the distribution.

    Fewer than six values cannot give 95 %: the interval is then their whole range. Source: Conover, "Practical nonparametric statistics"
    (3rd ed. 1999), section 3.2.
    """
    from scipy.stats import binom

    if not values:
        return NOTHING
    ordered, n = sorted(values), len(values)
    cut = max((k for k in range(n // 2 + 1) if 2 * binom.cdf(k - 1, n, 0.5) <= 1 - level), default=0)
    cut = max(cut, 1)
    return Interval(median(ordered), ordered[cut - 1], ordered[n - cut])


def differences(treatment: Sequence[float], control: Sequence[float]) -> list[float]:
    """Return treatment minus control, pair by pair."""
    _same_length(treatment, control)
    return [t - c for t, c in zip(treatment, control, strict=True)]


def log_ratios(treatment: Sequence[float], control: Sequence[float]) -> list[float]:
    """Return log(treatment / control), pair by pair; NaN where one of the two is not above zero, where no ratio exists."""
    _same_length(treatment, control)
    return [math.log(t / c) if t > 0 and 0 < c < math.inf and t < math.inf else math.nan for t, c in zip(treatment, control, strict=True)]


def paired_difference(treatment: Sequence[float], control: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the mean paired difference with Student's t interval over the pairs."""
    return t_interval(differences(treatment, control), level)


def ratio(treatment: Sequence[float], control: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the geometric mean of the paired ratios with the t interval of their logarithms, both as ratios."""
    return as_ratio(t_interval(log_ratios(treatment, control), level))


def as_ratio(logs: Interval) -> Interval:
    """Turn an interval of logarithms into one of ratios."""
    return Interval(*(_exp(value) for value in (logs.estimate, logs.low, logs.high)))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def ranks(values: Sequence[float]) -> list[float]:
    """Return ranks from 1; ties share their average rank."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    result, start = [0.0] * len(values), 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for i in order[start : end + 1]:
            result[i] = (start + end) / 2 + 1
        start = end + 1
    return result


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the rank correlation of two series; NaN if one is constant or not finite.

    Source: Spearman, "The proof and measurement of association between two things", American Journal of Psychology 15 (1904).
    """
    _same_length(x, y)
    if len(x) < 2 or not all(math.isfinite(value) for value in (*x, *y)):
        return math.nan
    rx, ry = ranks(x), ranks(y)
    mx, my = fmean(rx), fmean(ry)
    xx, yy = sum((a - mx) ** 2 for a in rx), sum((b - my) ** 2 for b in ry)
    return sum((a - mx) * (b - my) for a, b in zip(rx, ry, strict=True)) / math.sqrt(xx * yy) if xx and yy else math.nan


@dataclass(frozen=True)
class Trend:
    """Page's L, its one-sided p value ("does not rise" is the null) and the mean rank correlation with the order, in [-1, 1]."""

    statistic: float
    p_value: float
    correlation: float


def trend_test(series: Sequence[Sequence[float]], permutations: int = 9_999, seed: int = 0) -> Trend:
    """Test whether scores rise from level to level: one row per seed, one column per level, in the order expected to rise.

    The p value comes from permuting within rows, so that ties and short rows need no approximation; it cannot fall below
    1 / (permutations + 1). Source: Page, "Ordered hypotheses for multiple treatments", JASA 58 (1963).
    """
    levels = len(series[0]) if series else 0
    if levels < 3 or any(len(row) != levels for row in series):
        raise ValueError("a trend test needs at least three levels, and every seed measured at each of them")
    if not all(math.isfinite(value) for row in series for value in row):
        return Trend(math.nan, math.nan, math.nan)
    import numpy as np

    weights = np.arange(1, levels + 1)
    ranked = np.array([ranks(row) for row in series])
    observed = float((ranked @ weights).sum())
    shuffled = np.random.default_rng(seed).permuted(np.broadcast_to(ranked, (permutations, *ranked.shape)), axis=2)
    at_least = int(((shuffled @ weights).sum(axis=1) >= observed - 1e-9).sum())
    correlations = [spearman(range(levels), row) for row in series]
    correlation = fmean(0.0 if math.isnan(value) else value for value in correlations)  # a flat row rises nowhere
    return Trend(observed, (at_least + 1) / (permutations + 1), correlation)


@dataclass(frozen=True)
class Equivalence:
    """The 95 % interval of a mean, the p value of equivalence, and a verdict: equal, above, below or undecided."""

    interval: Interval
    p_value: float
    verdict: str


def equivalence(values: Sequence[float], margin: float, alpha: float = 0.05, test_to_train: float | None = None) -> Equivalence:
    """Judge whether a mean effect is zero within ``margin`` (two one-sided t tests), above zero, below it, or undecided.

    "equal" means that both one-sided tests reject a mean outside (-margin, margin) at ``alpha``; a difference that is real but
    smaller than the margin is "equal". With ``test_to_train`` both tests and the interval are those of overlapping splits, see
    ``corrected_t_interval``. Source: Schuirmann, "A comparison of the two one-sided tests procedure and the power
    approach", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; give the largest difference that does not matter, above 0")
    interval = corrected_t_interval(values, test_to_train) if test_to_train else t_interval(values)
    if not interval.finite:
        return Equivalence(interval, math.nan, "undecided")
    from scipy.special import stdtr

    error, freedom = stdev(values) * math.sqrt(1 / len(values) + (test_to_train or 0)), len(values) - 1
    if error:
        tails = stdtr(freedom, [(interval.estimate - margin) / error, (-interval.estimate - margin) / error])
        p_value = float(max(tails))
    else:
        p_value = 0.0 if abs(interval.estimate) < margin else 1.0
    if p_value < alpha:
        verdict = "equal"
    elif interval.low > 0 or interval.high < 0:
        verdict = "above" if interval.low > 0 else "below"
    else:
        verdict = "undecided"
    return Equivalence(interval, p_value, verdict)


def _same_length(a: Sequence[float], b: Sequence[float]) -> None:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values are paired with {len(b)}; give one of each per seed")
