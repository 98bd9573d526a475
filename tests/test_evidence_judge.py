"""Verdicts: claims with a known effect hold, those with none do not, and false verdicts are counted."""

import math
import random

import pytest

from finetunelab import stats
from finetunelab.evidence import judge
from finetunelab.evidence.judge import against
from finetunelab.experiments import Claim

GAP = Claim("T1.gap", "Posts are harder", "error rate", "fraction", "posts", "mail", "difference", ">=", 0.10)
RATIO = Claim("T1.ratio", "Posts are harder", "error rate", "ratio", "posts", "mail", "log_ratio", ">=", 3.0)
EQUAL = Claim(
    "T3", "Does masking help?", "score", "fraction", "masked", "whole", "difference", margin=0.02, words=("helps", "hurts", "equal"),
)


def seeds_of(arms):
    return [{"seed": seed, "arms": arm} for seed, arm in enumerate(arms)]


def test_known_effects_hold_and_missing_ones_do_not():
    rng = random.Random(0)
    arms = [{"posts": 0.30 + rng.gauss(0, 0.02), "mail": 0.05 + rng.gauss(0, 0.005)} for _ in range(5)]
    for claim in (GAP, RATIO):
        assert (judge(claim, seeds_of(arms)).holds, judge(claim, seeds_of(arms)).verdict) == (True, "holds")
    none = [{"posts": 0.05 + rng.gauss(0, 0.005), "mail": 0.05 + rng.gauss(0, 0.005)} for _ in range(5)]
    for claim in (GAP, RATIO):
        assert (judge(claim, seeds_of(none)).holds, judge(claim, seeds_of(none)).verdict) == (False, "does not hold")


def test_interval_across_the_threshold_is_undecided_and_does_not_count():
    judgment = judge(GAP, seeds_of([{"posts": 0.1 + x, "mail": 0.0} for x in (-0.05, 0.05, -0.02, 0.03, 0.01)]))
    assert (judgment.verdict, judgment.holds) == ("undecided", False)


def test_ratio_is_judged_and_reported_as_a_ratio():
    judgment = judge(RATIO, seeds_of([{"posts": 0.4, "mail": 0.1}, {"posts": 0.36, "mail": 0.1}, {"posts": 0.44, "mail": 0.1}]))
    assert judgment.effect == pytest.approx((4 * 3.6 * 4.4) ** (1 / 3), rel=1e-6)
    assert judgment.ci95[0] == pytest.approx(stats.ratio([0.4, 0.36, 0.44], [0.1] * 3).low, rel=1e-6) and judgment.holds


def test_rounding_does_not_decide():
    assert 0.85 - 0.75 < 0.10
    assert judge(GAP, seeds_of([{"posts": 0.85, "mail": 0.75}] * 5)).holds


@pytest.mark.parametrize(
    ("op", "low", "high", "verdict"),
    [
        (">=", 1, 2, "holds"), (">", 1, 2, "undecided"), (">=", 0, 1, "undecided"), (">", 0, 1, "does not hold"),
        ("<=", 0, 1, "holds"), ("<", 0, 1, "undecided"), ("<=", 1, 2, "undecided"), ("<", 1, 2, "does not hold"),
        (">=", 0, 0.9, "does not hold"), ("<=", 1.1, 2, "does not hold"), ("<", 0, 2, "undecided"), (">", 1.1, 2, "holds"),
    ],
)
def test_ends_that_touch_the_threshold(op, low, high, verdict):
    assert against(stats.Interval((low + high) / 2, low, high), op, 1) == verdict


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
@pytest.mark.parametrize("claim", [GAP, RATIO])
def test_a_lost_seed_leaves_a_claim_undecided(claim, bad):
    judgment = judge(claim, seeds_of([{"posts": 0.5, "mail": 0.1}] * 5 + [{"posts": bad, "mail": 0.1}]))
    assert (judgment.holds, judgment.verdict, judgment.effect) == (False, "undecided", None)
    assert "seed 5" in judgment.caution


def test_no_ratio_to_zero():
    judgment = judge(RATIO, seeds_of([{"posts": 0.5, "mail": 0.1}] * 4 + [{"posts": 0.5, "mail": 0.0}]))
    assert (judgment.holds, judgment.effect) == (False, None)


@pytest.mark.parametrize("n", [0, 1])
def test_one_seed_never_holds(n):
    judgment = judge(GAP, seeds_of([{"posts": 0.9, "mail": 0.1}] * n))
    assert (judgment.holds, judgment.verdict, judgment.ci95) == (False, "undecided", (None, None))


def test_no_spread_over_seeds_is_said():
    assert "no width" in judge(GAP, seeds_of([{"posts": 0.9, "mail": 0.1}] * 5)).caution


def test_estimates_get_words_and_no_threshold():
    near_zero = [{"masked": 0.5 + x, "whole": 0.5} for x in (0.001, -0.002, 0.0, 0.002, -0.001)]
    helps = [{"masked": 0.6 + x, "whole": 0.5} for x in (0.001, -0.002, 0.0, 0.002, -0.001)]
    wide = [{"masked": 0.5 + x, "whole": 0.5} for x in (0.1, -0.2, 0.0, 0.2, -0.1)]
    verdicts = [judge(EQUAL, seeds_of(arms)).verdict for arms in (near_zero, helps, wide)]
    assert verdicts == ["equal", "helps", "undecided"] and judge(EQUAL, seeds_of(helps)).holds is None
    plain = Claim("T4", "Cost", "seconds", "s", "full", "lora", "log_ratio")
    assert judge(plain, seeds_of([{"full": 2 + x, "lora": 1} for x in (0, 0.1, 0.2)])).verdict == "higher"
    assert judge(Claim("T5", "Cost", "bytes", "bytes", "full", None, "value"), seeds_of([{"full": 1}, {"full": 2}])).verdict == "estimated"


def test_counts_are_pooled_into_an_exact_interval():
    leaks = Claim("T6", "No leak", "leaks", "fraction", "leaks", None, "value", "<=", 0.004, trials="questions")
    none = judge(leaks, seeds_of([{"leaks": 0, "questions": 200}] * 5))
    assert none.holds and none.ci95[1] == pytest.approx(stats.clopper_pearson(0, 1_000).high)
    assert judge(leaks, seeds_of([{"leaks": 3, "questions": 200}] * 5)).verdict == "does not hold"
    assert judge(leaks, seeds_of([{"leaks": 0.5, "questions": 200}] * 5)).verdict == "undecided"
    assert judge(leaks, seeds_of([{"leaks": 300, "questions": 200}] * 5)).effect is None


def test_overlapping_splits_get_the_wider_interval():
    plain = Claim("T7", "c", "accuracy", "fraction", "ours", None, "value", ">=", 0.98)
    split = Claim("T7", "c", "accuracy", "fraction", "ours", None, "value", ">=", 0.98, test_to_train=0.2 / 0.8)
    arms = seeds_of([{"ours": 0.984 + 0.002 * (i % 3 - 1)} for i in range(20)])
    assert judge(plain, arms).holds and judge(split, arms).ci95[0] < judge(plain, arms).ci95[0]


def test_a_claim_with_a_trend_holds_only_if_its_arms_rise_in_their_order():
    names = ("8", "16", "32", "64")
    plain = Claim("T10", "c", "accuracy", "share", "64", "8", "difference", ">=", 0.05)
    rising = Claim("T10", "c", "accuracy", "share", "64", "8", "difference", ">=", 0.05, trend=names)
    noise = (0.0, 0.01, -0.01, 0.005, -0.005)
    up = seeds_of([dict(zip(names, (0.6 + x, 0.7, 0.75, 0.8), strict=True)) for x in noise])
    level = seeds_of([dict(zip(names, (0.6 + x, 0.9, 0.5, 0.8), strict=True)) for x in noise])
    assert [judge(plain, arms).verdict for arms in (up, level)] == ["holds", "holds"]
    assert [(judge(rising, arms).verdict, judge(rising, arms).holds) for arms in (up, level)] == [("holds", True), ("undecided", False)]
    assert judge(plain, level).effect == judge(rising, level).effect and judge(plain, level).ci95 == judge(rising, level).ci95
    backwards = Claim("T10", "c", "accuracy", "share", "64", "8", "difference", ">=", 0.05, trend=names[::-1])
    assert judge(backwards, up).verdict == "undecided"


def test_a_trend_saves_no_claim_that_fails_and_needs_every_arm():
    names = ("8", "16", "32")
    rising = Claim("T10", "c", "accuracy", "share", "32", "8", "difference", ">=", 0.05, trend=names)
    slight = seeds_of([{"8": 0.6 + x, "16": 0.605 + x, "32": 0.61 + x / 2} for x in (0.0, 0.001, -0.001, 0.002, -0.002)])
    assert judge(rising, slight).verdict == "does not hold"
    lost = seeds_of([{"8": 0.6 + x, "32": 0.8} for x in (0.0, 0.001, -0.001, 0.002, -0.002)])
    assert judge(rising, lost).verdict == "undecided"


@pytest.mark.parametrize(("op", "threshold", "trend"), [(None, None, ("8", "16", "32")), (">=", 0.05, ("8", "32"))])
def test_a_trend_is_for_a_threshold_claim_with_three_arms(op, threshold, trend):
    with pytest.raises(ValueError, match="a trend needs a threshold claim and at least three arms"):
        Claim("T10", "c", "accuracy", "share", "32", "8", "difference", op, threshold, trend=trend)


def simulate(kind, seeds, rng, effect):
    """Arms of one claim with a known effect, under noise of three shapes: normal, skewed, and counts of a test set."""
    for _ in range(seeds):
        level = rng.uniform(0.2, 0.4)
        if kind == "normal":
            yield {"posts": level + effect + rng.gauss(0, 0.03), "mail": level + rng.gauss(0, 0.03)}
        elif kind == "skewed":
            yield {"posts": level * (1 + effect) * rng.lognormvariate(0, 0.3), "mail": level * rng.lognormvariate(0, 0.3)}
        else:
            hits = [sum(rng.random() < p for _ in range(100)) / 100 for p in (level + effect, level)]
            yield {"posts": hits[0], "mail": hits[1]}


@pytest.mark.parametrize("kind", ["normal", "skewed", "counts"])
def test_false_verdicts_over_1000_claims_with_no_effect(kind):
    """No effect, and thresholds that sit exactly there: the hardest case. False verdicts stay under 5 % either way."""
    rng = random.Random(kind)
    effect_kind, none = ("log_ratio", 1.0) if kind == "skewed" else ("difference", 0.0)
    rising = Claim("T8", "c", "m", "", "posts", "mail", effect_kind, ">", none)
    no_less = Claim("T9", "c", "m", "", "posts", "mail", effect_kind, ">=", none)
    wrongly_held = wrongly_denied = 0
    for _ in range(1_000):
        per_seed = seeds_of(simulate(kind, 5, rng, 0.0))
        wrongly_held += judge(rising, per_seed).verdict == "holds"
        wrongly_denied += judge(no_less, per_seed).verdict == "does not hold"
    assert 0 < wrongly_held < 50 and 0 < wrongly_denied < 50


def test_real_effects_are_found_in_most_of_1000_claims():
    rng = random.Random(1)
    claim = Claim("T8", "c", "m", "", "posts", "mail", "difference", ">=", 0.10)
    held = sum(judge(claim, seeds_of(simulate("normal", 10, rng, 0.2))).verdict == "holds" for _ in range(1_000))
    assert held > 990
