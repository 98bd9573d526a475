"""Agreement: alpha as Krippendorff worked it out by hand, each rater beside the others, and who did not read."""

import math
import random

import pytest

from finetunelab.errors import UserError
from finetunelab.preferences.agreement import alpha, careless, majority, reliability, report, with_others
from finetunelab.preferences.store import SCALES, Rating

# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C: four observers, twelve units, values missing.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
UNITS = [[int(value) for value in unit if value != "."] for unit in zip(*(row.split() for row in OBSERVERS))]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)])
def test_alpha_is_that_of_the_worked_example(level, published):
    assert alpha(UNITS, level, [1, 2, 3, 4, 5]) == pytest.approx(published, abs=0.0005)


def rated(rater, choices):
    """Ratings of one rater: a letter an item, a, b, t for a tie, s for a skip, and . where there is none."""
    names = {"a": "a", "b": "b", "t": "tie", "s": "skip"}
    return [Rating(rater, f"item {i}", names[letter]) for i, letter in enumerate(choices) if letter != "."]


def test_alpha_of_choices_is_that_of_the_worked_examples():
    # Section A: two observers and two values, alpha = .095; and by hand, skips and items rated once left out.
    two = rated("jon", "abaaaaaaba") + rated("meg", "bbbaabaaaa")
    assert reliability(two).estimate == pytest.approx(0.095, abs=0.0005)
    assert reliability(two + [Rating("jon", "more", "a"), Rating("meg", "more", "skip")]).estimate == pytest.approx(0.095, abs=0.0005)
    # Three values. Units aa, bb, tt, ab: 8 values, 3 a, 3 b, 2 tie; 2 of 8 coincidences differ, 42 of 56 by chance: 1 - (2/8) / (42/56).
    three = rated("jon", "abta") + rated("meg", "abtb")
    assert reliability(three).estimate == pytest.approx(1 - (2 / 8) / (42 / 56))


def graded(rater, values, scale="relevance"):
    return [Rating(rater, f"item {i}", "tie", {"a": {scale: a}, "b": {scale: b}}) for i, (a, b) in enumerate(values)]


def test_alpha_of_grades_takes_responses_as_units_and_their_order_into_account():
    ann = graded("ann", [(0, 0.5), (1, 1), (0.5, 0), (1, 0)])
    near, far = (graded("bob", [(0, second), (1, 1), (0.5, 0), (1, 0)]) for second in (1, 0))
    # A grade is told from one of another response: what is a's and what is b's is not mixed up.
    turned = graded("bob", [(0.5, 0), (1, 1), (0, 0.5), (0, 1)])
    same = reliability(ann + graded("bob", [(0, 0.5), (1, 1), (0.5, 0), (1, 0)]), "relevance")
    assert same.estimate == 1 > reliability(ann + near, "relevance").estimate > 0.6
    assert reliability(ann + turned, "relevance").estimate < 0.2
    # Units 00 .5? 11 11 .5.5 00 11 00 by the paper's ordinal distance, worked by hand for ? = 1: n = 6, 3, 7.
    between = (3 / 2 + 7 / 2) ** 2  # of .5 and 1
    others = 2 * (6 * 3 * (6 / 2 + 3 / 2) ** 2 + 3 * 7 * between + 6 * 7 * (6 / 2 + 3 + 7 / 2) ** 2)
    assert reliability(ann + near, "relevance").estimate == pytest.approx(1 - 15 * 2 * between / others)
    assert reliability(ann + far, "relevance").estimate < 1
    assert math.isnan(reliability(ann + near, "coherence").estimate)
    with pytest.raises(UserError, match="unknown scale 'relevanc'; did you mean relevance"):
        reliability(ann, "relevanc")


def test_alpha_does_not_exist_without_pairs_or_with_one_value():
    for ratings in ([], rated("ann", "ab"), rated("ann", "ss") + rated("bob", "ab"), rated("ann", "aaa") + rated("bob", "aaa")):
        found = reliability(ratings)
        assert math.isnan(found.estimate) and math.isnan(found.low)


def noisy(rng, truth, right):
    return "".join(letter if rng.random() < right else "ab"[letter == "a"] for letter in truth)


def test_the_bootstrap_interval_holds_alpha_about_as_often_as_it_says():
    rng, held, widths = random.Random(0), 0, []
    # Two raters who are right with .85 agree with .745; with even choices alpha is 1 - 2 (1 - .745) = .49.
    for seed in range(60):
        truth = "".join(rng.choice("ab") for _ in range(60))
        found = reliability(rated("ann", noisy(rng, truth, 0.85)) + rated("bob", noisy(rng, truth, 0.85)), resamples=200, seed=seed)
        held += found.low <= 0.49 <= found.high
        widths.append(found.high - found.low)
    assert 51 <= held <= 60 and 0.3 < sum(widths) / 60 < 0.6


def test_the_interval_is_drawn_by_seed():
    ratings = rated("ann", "ababababab") + rated("bob", "abababbbaa")
    one, other = reliability(ratings, seed=0), reliability(ratings, seed=1)
    assert one == reliability(ratings, seed=0) and one.estimate == other.estimate and one.low < one.estimate < one.high


def test_majority_needs_a_lead():
    assert majority("a") == "a" and majority(["a", "tie", "tie"]) == "tie" and majority(["skip", "skip", "b"]) == "b"
    assert majority([]) is None and majority(["skip"]) is None and majority("ab") is None and majority(["a", "a", "tie", "tie"]) is None


def test_each_rater_is_set_beside_the_others_alone():
    found = with_others(rated("ann", "aabbs.") + rated("bob", "aaba.b") + rated("cid", "abtbab"))
    # Others than ann: bob and cid say aa, ab, bt, ab, then a alone where she skips: one majority she votes on, and she agrees.
    assert (found["ann"].agreed, found["ann"].judged) == (1, 1)
    # Others than bob: aa, ab, bt, bb, none, b. He says a, -, -, a, -, b.
    assert (found["bob"].agreed, found["bob"].judged) == (2, 3)
    assert found["bob"].chance == pytest.approx(2 / 3 * 1 / 3 + 1 / 3 * 2 / 3)
    assert list(found) == ["ann", "bob", "cid"] and found["bob"].share.estimate == pytest.approx(2 / 3)


def classroom(seed, n, careless_ones=1, reading=0.85):
    """Five who read, each right with probability ``reading``, and those who toss a coin."""
    rng = random.Random(seed)
    truth = "".join(rng.choice("ab") for _ in range(n))
    found = [one for i in range(5) for one in rated(f"careful {i}", noisy(rng, truth, reading))]
    return found + [one for i in range(careless_ones) for one in rated(f"careless {i}", noisy(rng, truth, 0.5))]


def test_who_does_not_read_is_found_and_who_reads_is_not():
    found = [careless(classroom(seed, 100)) for seed in range(30)]
    assert sum(any(sign.rater == "careless 0" and sign.kind == "agreement" for sign in signs) for signs in found) >= 28
    assert not any(sign.rater.startswith("careful") for signs in found for sign in signs)
    assert all("\n" not in sign.why for signs in found for sign in signs)


def test_few_ratings_are_held_against_few():
    # "Not above chance" alone would name four in ten of these, who all read: twenty ratings cannot tell them from a coin.
    wrong = sum(sign.rater.startswith("careful") for seed in range(60) for sign in careless(classroom(seed, 20, 0, 0.8)))
    assert wrong <= 30  # of 300
    assert not careless(rated("ann", "abab") + rated("bob", "bbaa") + rated("cid", "abba"))
    assert not careless([]) and not careless(rated("ann", "ababababab"))


def test_of_two_who_differ_nobody_is_accused():
    assert not careless(rated("ann", "ab" * 20) + rated("bob", "ba" * 20))


def sided(rater, n, first, seconds=None):
    """Ratings of one who chooses what was shown first so many times."""
    rng = random.Random(rater)
    sides = [rng.choice("ab") for _ in range(n)]
    return [
        Rating(rater, f"item {i}", side if i < first else "ab"[side == "a"], seconds=seconds, first=side) for i, side in enumerate(sides)
    ]


def test_always_the_same_side_is_found():
    for first, word in ((20, "first 20 of 20"), (19, "first 19 of 20"), (0, "second 20 of 20")):
        [sign] = careless(sided("ann", 20, first))
        assert sign.kind == "side" and word in sign.why
    assert not careless(sided("ann", 20, 15)) and not careless(sided("ann", 8, 8))  # a coin does that too
    unseen = [Rating(one.rater, one.item, one.choice) for one in sided("ann", 20, 20)]
    assert not careless(unseen)


def test_far_quicker_than_the_others_is_found():
    calm = [one for name, seconds in (("ann", 9.0), ("bob", 12.0), ("cid", 6.0)) for one in sided(name, 10, 5, seconds)]
    signs = [sign for sign in careless(calm + sided("dan", 10, 5, 1.2)) if sign.kind == "speed"]
    assert [sign.rater for sign in signs] == ["dan"] and "1.2 seconds" in signs[0].why and "9.0" in signs[0].why
    for ratings in (calm + sided("dan", 4, 2, 1.2), calm + sided("dan", 10, 5, 4.0), calm + sided("dan", 10, 5), sided("dan", 10, 5, 1.2)):
        assert not [sign for sign in careless(ratings) if sign.kind == "speed"]


def test_the_report_names_raters_alphas_and_signs():
    told = report(classroom(0, 60) + [Rating("careful 0", "more", "skip")])
    assert "6 raters, 61 comparisons, 360 choices, 1 skips" in told
    assert all(name in told for name in ("choice", *SCALES, "careful 4", "careless 0", "Signs of carelessness"))
    assert "none: too little" in told and "No sign" in report(classroom(0, 60, 0))
