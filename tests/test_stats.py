"""Intervals cover what they say, tests keep their level, and worked examples come out as their sources have them."""

import math
import random

import pytest

from finetunelab import stats


def test_t_interval_is_the_textbook_one():
    # Mean 3, standard deviation sqrt(2.5), t(0.975, 4) = 2.7764.
    interval = stats.t_interval([1, 2, 3, 4, 5])
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert interval.estimate == 3
    assert interval.low == pytest.approx(3 - half, abs=1e-5)
    assert interval.high == pytest.approx(3 + half, abs=1e-5)


def test_t_interval_covers_the_mean_at_five_seeds():
    rng, covered = random.Random(1), 0
    for _ in range(2_000):
        interval = stats.t_interval([rng.gauss(0.3, 1) for _ in range(5)])
        covered += interval.low <= 0.3 <= interval.high
    assert 0.935 < covered / 2_000 < 0.965


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan, 2.0], [1.0, math.inf]])
def test_no_interval_without_two_finite_values(values):
    assert not stats.t_interval(values).finite


def test_corrected_interval_is_wider_by_the_source_formula():
    values = [0.1, 0.2, 0.15, 0.3, 0.25]
    plain, corrected = stats.t_interval(values), stats.corrected_t_interval(values, test_to_train=0.25)
    widening = (corrected.high - corrected.low) / (plain.high - plain.low)
    assert widening == pytest.approx(math.sqrt((1 / 5 + 0.25) / (1 / 5)))
    with pytest.raises(ValueError, match="above 0"):
        stats.corrected_t_interval(values, 0)


def test_corrected_interval_covers_where_the_plain_one_does_not():
    """Repeated splits of one data set share their rows: the spread over splits is too small, and only the correction makes up for it."""
    rng, plain, corrected = random.Random(2), 0, 0
    for _ in range(300):
        data = [rng.gauss(0, 1) for _ in range(50)]
        means = []
        for _ in range(10):
            rng.shuffle(data)
            means.append(sum(data[:10]) / 10)
        plain += abs(stats.t_interval(means).estimate) <= stats.t_interval(means).high - stats.t_interval(means).estimate
        wide = stats.corrected_t_interval(means, 10 / 40)
        corrected += wide.low <= 0 <= wide.high
    assert corrected / 300 > 0.9 > plain / 300 + 0.02


def test_clopper_pearson_published_values():
    # The rule behind "no leak in 1,000": the upper end is 1 - 0.025^(1/n).
    none = stats.clopper_pearson(0, 1_000)
    assert none.low == 0 and none.high == pytest.approx(1 - 0.025 ** (1 / 1_000))
    some = stats.clopper_pearson(4, 20)
    assert (some.low, some.high) == (pytest.approx(0.05733, abs=1e-4), pytest.approx(0.43661, abs=1e-4))
    assert stats.clopper_pearson(7, 7).high == 1
    with pytest.raises(ValueError, match="count"):
        stats.clopper_pearson(5, 4)


def test_clopper_pearson_covers_at_least_its_level():
    rng, covered = random.Random(3), 0
    for _ in range(500):
        interval = stats.clopper_pearson(sum(rng.random() < 0.1 for _ in range(40)), 40)
        covered += interval.low <= 0.1 <= interval.high
    assert covered / 500 >= 0.945


def test_ratio_is_the_geometric_mean_of_pairs():
    interval = stats.ratio([2.0, 8.0, 4.0], [1.0, 2.0, 1.0])
    assert interval.estimate == pytest.approx((2 * 4 * 4) ** (1 / 3))
    assert interval.low < interval.estimate < interval.high
    assert not stats.ratio([1.0, 2.0], [0.0, 1.0]).finite
    assert not stats.ratio([1.0, -2.0], [1.0, 1.0]).finite


def test_pairs_must_be_pairs():
    with pytest.raises(ValueError, match="paired"):
        stats.paired_difference([1, 2], [1])


def test_pairing_removes_what_seeds_share():
    rng = random.Random(4)
    hard = [rng.gauss(0, 5) for _ in range(8)]
    interval = stats.paired_difference([x + 1 + rng.gauss(0, 0.1) for x in hard], hard)
    assert 0.8 < interval.low < 1 < interval.high < 1.2


def test_ranks_share_ties():
    assert stats.ranks([10, 30, 20, 20]) == [1, 4, 2.5, 2.5]


def test_spearman_agrees_with_scipy_ties_included():
    from scipy.stats import spearmanr

    rng = random.Random(5)
    for _ in range(20):
        x, y = [rng.randrange(6) for _ in range(12)], [rng.randrange(6) for _ in range(12)]
        assert stats.spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert math.isnan(stats.spearman([1, 1, 1], [1, 2, 3]))


def test_trend_statistic_is_pages_and_its_p_value_agrees():
    from scipy.stats import page_trend_test

    # A worked example of scipy's documentation: ten students' grades of three seating orders.
    table = [[3, 4, 3], [2, 2, 4], [3, 3, 5], [1, 3, 2], [2, 3, 2], [2, 4, 5], [1, 2, 4], [3, 4, 4], [2, 4, 5], [1, 3, 4]]
    ours, theirs = stats.trend_test(table), page_trend_test(table)
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.002)


def test_trend_keeps_its_level_and_finds_a_rise():
    rng, false = random.Random(6), 0
    for trial in range(200):
        false += stats.trend_test([[rng.gauss(0, 1) for _ in range(6)] for _ in range(5)], permutations=199, seed=trial).p_value <= 0.05
    assert false / 200 <= 0.09
    rising = stats.trend_test([[n + rng.gauss(0, 1) for n in range(6)] for _ in range(5)], permutations=999)
    assert rising.p_value == 0.001 and rising.correlation > 0.8
    assert stats.trend_test([[5 - n for n in range(6)] for _ in range(5)], permutations=199).p_value > 0.9
    assert stats.trend_test([[1.0] * 6 for _ in range(5)], permutations=199).p_value == 1
    with pytest.raises(ValueError, match="three levels"):
        stats.trend_test([[1, 2], [1, 2]])


@pytest.mark.parametrize(
    ("center", "spread", "verdict"), [(0.0, 0.005, "equal"), (0.1, 0.005, "above"), (-0.1, 0.005, "below"), (0.0, 0.2, "undecided")],
)
def test_equivalence_verdicts(center, spread, verdict):
    values = [center + spread * step for step in (-1, -0.5, 0, 0.5, 1, -1, 1, 0.5, -0.5, 0)]
    assert stats.equivalence(values, margin=0.02).verdict == verdict


def test_equivalence_on_overlapping_splits_widens_both_tests():
    values = [0.010, 0.014, 0.006, 0.012, 0.008]
    plain, corrected = stats.equivalence(values, 0.0155), stats.equivalence(values, 0.0155, test_to_train=0.6)
    assert corrected.interval == stats.corrected_t_interval(values, 0.6) and plain.interval == stats.t_interval(values)
    assert plain.p_value < corrected.p_value and (plain.verdict, corrected.verdict) == ("equal", "above")
    # A p value of exactly 0.05 is where the 90 % interval ends at the margin.
    end = stats.corrected_t_interval(values, 0.6, level=0.9).high
    assert stats.equivalence(values, end, test_to_train=0.6).p_value == pytest.approx(0.05)


def test_equivalence_rarely_calls_a_difference_of_the_margin_equal():
    rng = random.Random(7)
    equal = sum(stats.equivalence([rng.gauss(0.02, 0.01) for _ in range(10)], 0.02).verdict == "equal" for _ in range(1_000))
    assert equal / 1_000 < 0.07
    with pytest.raises(ValueError, match="margin"):
        stats.equivalence([0.1, 0.2], 0)


def test_mcnemar_is_the_exact_test_of_the_texts_that_two_classifiers_answer_differently():
    agreed = [True] * 50 + [False] * 7
    one, other = [*agreed, *[True] * 8, False], [*agreed, *[False] * 8, True]
    assert stats.mcnemar(one, other) == pytest.approx(2 * (1 + 9) / 2**9)  # 9 tosses of a coin, at most one of them on one side
    assert stats.mcnemar(one, other) == stats.mcnemar(other, one)
    assert stats.mcnemar(agreed, agreed) == 1
    with pytest.raises(ValueError, match="paired"):
        stats.mcnemar([True], [True, False])


def test_mcnemar_seldom_cries_wolf_and_sees_what_is_there():
    rng, found = random.Random(3), {0.7: 0, 0.9: 0}
    for better in found:
        for _ in range(200):
            one, other = [rng.random() < 0.7 for _ in range(150)], [rng.random() < better for _ in range(150)]
            found[better] += stats.mcnemar(one, other) < 0.05
    assert found[0.7] < 20 and found[0.9] > 180
