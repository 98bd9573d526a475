"""From the arms of every seed to an effect, an interval and a verdict. Nothing else decides whether a claim holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import stats
from ..experiments import Claim

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"


@dataclass(frozen=True)
class Judgment:
    """An effect with its 95 % interval (None where there is no finite number), whether the claim holds (None for an estimate),
    the verdict in words, and what a reader must know about how it came about."""

    effect: float | None
    ci95: tuple[float | None, float | None]
    holds: bool | None
    verdict: str
    caution: str


def judge(claim: Claim, per_seed: Sequence[dict[str, Any]]) -> Judgment:
    """Judge a claim from ``per_seed``, a list of {"seed", "arms": {name: number or None}}.

    It "holds" only if the whole interval lies on the right side of the threshold and "does not hold" only if the whole interval lies on the
    wrong side. Fewer than two seeds (counts aside) or an arm without a finite number leave it "undecided".
    """
    arms = [{name: math.nan if value is None else float(value) for name, value in entry["arms"].items()} for entry in per_seed]
    treatment = [arm.get(claim.treatment, math.nan) for arm in arms]
    control = [arm.get(claim.control, math.nan) for arm in arms] if claim.control else []
    effects, interval = _interval(claim, treatment, control, arms)
    interval = stats.Interval(*(_rounded(value) for value in (interval.estimate, interval.low, interval.high)))
    verdict = _verdict(claim, interval, effects)
    if verdict == HOLDS and claim.trend and not _rises(claim, arms):
        verdict = UNDECIDED
    return Judgment(
        _number(interval.estimate), (_number(interval.low), _number(interval.high)), None if claim.op is None else verdict == HOLDS,
        verdict, _caution(claim, per_seed, effects, interval),
    )


def _interval(claim: Claim, treatment: list[float], control: list[float], arms: list[dict[str, float]]):
    if claim.trials:
        return treatment, _shares(treatment, [arm.get(claim.trials, math.nan) for arm in arms])
    if claim.effect_kind == "log_ratio":
        effects = stats.log_ratios(treatment, control)
    else:
        effects = stats.differences(treatment, control) if claim.effect_kind == "difference" else treatment
    interval = stats.corrected_t_interval(effects, claim.test_to_train) if claim.test_to_train else stats.t_interval(effects)
    return effects, stats.as_ratio(interval) if claim.effect_kind == "log_ratio" else interval


def _rises(claim: Claim, arms: list[dict[str, float]]) -> bool:
    """Tell whether the arms named by the claim rise in their order, by Page's test at the level of the intervals."""
    return stats.trend_test([[arm.get(name, math.nan) for name in claim.trend] for arm in arms]).p_value < 1 - stats.LEVEL


def _shares(successes: list[float], trials: list[float]) -> stats.Interval:
    counts = [*successes, *trials]
    if not counts or not all(math.isfinite(count) and count == int(count) and count >= 0 for count in counts):
        return stats.NOTHING
    if not 0 <= sum(successes) <= sum(trials) or not sum(trials):
        return stats.NOTHING
    return stats.clopper_pearson(int(sum(successes)), int(sum(trials)))


def _verdict(claim: Claim, interval: stats.Interval, effects: list[float]) -> str:
    if not interval.finite:
        return UNDECIDED
    if claim.op is not None and claim.threshold is not None:
        return against(interval, claim.op, claim.threshold)
    above, below, equal = claim.words
    if claim.margin is not None:
        found = stats.equivalence(effects, claim.margin, test_to_train=claim.test_to_train).verdict
        return {"above": above, "below": below, "equal": equal}.get(found, UNDECIDED)
    if claim.effect_kind == "value":
        return "estimated"
    neutral = 1.0 if claim.effect_kind == "log_ratio" else 0.0
    return above if interval.low > neutral else below if interval.high < neutral else UNDECIDED


def against(interval: stats.Interval, op: str, threshold: float) -> str:
    """Return the verdict on a finite interval: the whole of it on the right side, the whole of it on the wrong one, or neither."""
    low, high = interval.low, interval.high
    right = {">=": low >= threshold, ">": low > threshold, "<=": high <= threshold, "<": high < threshold}[op]
    wrong = {">=": high < threshold, ">": high <= threshold, "<=": low > threshold, "<": low >= threshold}[op]
    return HOLDS if right else FAILS if wrong else UNDECIDED


def _caution(claim: Claim, per_seed: Sequence[dict[str, Any]], effects: list[float], interval: stats.Interval) -> str:
    lost = [entry["seed"] for entry, effect in zip(per_seed, effects, strict=True) if not math.isfinite(effect)]
    if lost:
        return f"No finite effect at seed {', '.join(map(str, lost))}, so no interval."
    if len(effects) < 2 and not claim.trials:
        return "One seed or none: no interval."
    if not interval.finite:
        return "The counts are not whole numbers of trials, so no interval."
    if interval.low == interval.high:
        return "Every seed gave the same effect: the interval has no width and understates the uncertainty."
    return ""


def _rounded(value: float) -> float:
    # 0.85 - 0.75 falls short of 0.10 by a rounding error; ten digits are more than any measurement here has.
    return float(f"{value:.10g}")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
