import math
import random
from statistics import fmean

import pytest

from finetunelab import worlds
from finetunelab.errors import UserError
from finetunelab.preferences import panel as panels
from finetunelab.preferences.panel import Reviewer, bayes_accuracy, judge, mean_probabilities, panel, preferences
from finetunelab.worlds.responses import WEIGHTS, grade, reward

FAIR = Reviewer("fair", WEIGHTS, temperature=0.1)


@pytest.fixture(scope="module")
def comparisons():
    return worlds.generator("comparisons").rows(400, "train", 1_000)


def test_one_choice_worked_by_hand():
    request = {"topic": "soup"}
    a, b = "one two", "one two three"  # no answers: relevance 0, coherence 0, appropriateness .5
    assert grade(request, a) == grade(request, b) == (0, 0, 0.5)
    wordy = Reviewer("wordy", WEIGHTS, per_word=0.1, temperature=0.5)
    assert wordy.probability(request, a, b) == pytest.approx(1 / (1 + math.exp(0.1 / 0.5)))
    assert FAIR.probability(request, a, b) == 0.5
    careless = Reviewer("careless", WEIGHTS, per_word=0.1, temperature=0.5, careless=0.4)
    assert careless.probability(request, a, b) == pytest.approx(0.2 + 0.6 / (1 + math.exp(0.2)))


def test_without_bias_the_utility_is_the_oracles_reward(comparisons):
    for row in comparisons[:20]:
        grades = grade(row, row["response_a"])
        assert FAIR.utility(grades, 30) == pytest.approx(reward(grades))
        assert (FAIR.probability(row, row["response_a"], row["response_b"]) > 0.5) == (row["better"] == "a")


def test_clicks_are_as_frequent_as_their_probability(comparisons):
    row, rng = comparisons[0], random.Random(0)
    clicks = [FAIR.compare(row, row["response_a"], row["response_b"], rng) for _ in range(4_000)]
    expected = FAIR.probability(row, row["response_a"], row["response_b"])
    assert clicks.count("a") / 4_000 == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 4_000))
    judged = judge([FAIR], [row] * 4_000, seed=1)
    assert sum(j.choice == "a" for j in judged) / 4_000 == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 4_000))


def test_a_slip_moves_a_grade_to_a_neighbor_and_carelessness_anywhere(comparisons):
    row, rng = comparisons[0], random.Random(0)
    true = grade(row, row["response_a"])
    moves = [abs(seen - value) for _ in range(2_000) for seen, value in zip(FAIR.grade(row, row["response_a"], rng), true)]
    assert max(moves) == 0.5
    assert fmean(move > 0 for move in moves) == pytest.approx(panels.SLIP, abs=0.02)
    exact = Reviewer("exact", WEIGHTS, slip=0)
    assert exact.grade(row, row["response_a"], rng) == true
    asleep = Reviewer("asleep", WEIGHTS, careless=1)
    thrown = [value for _ in range(1_000) for value in asleep.grade(row, row["response_a"], rng)]
    assert all(thrown.count(level) == pytest.approx(1_000, abs=120) for level in panels.LEVELS)


def test_a_panel_is_drawn_by_its_seed_around_its_means():
    assert panel(20, 3) == panel(20, 3) != panel(20, 4)
    many = panel(400, 0)
    assert sum(r.careless == panels.CARELESS for r in many) == 40
    assert fmean(r.per_word for r in many) == pytest.approx(panels.PER_WORD, abs=3 * panels.PER_WORD_SPREAD / 20)
    assert any(r.per_word < 0 for r in many)
    assert all(sum(r.weights.values()) == pytest.approx(1) for r in many)
    assert all(fmean(r.weights[name] for r in many) == pytest.approx(WEIGHTS[name], abs=0.03) for name in WEIGHTS)
    assert len({r.name for r in many}) == 400


def test_no_guess_is_right_more_often_than_the_ceiling_and_the_best_one_is_as_often(comparisons):
    reviewers = panel(20, 0)
    chance, ceiling = mean_probabilities(reviewers, comparisons), bayes_accuracy(reviewers, comparisons)
    assert 0.78 < ceiling < 0.85, "the settings should leave room between a coin and certainty"
    labels = [j for seed in range(30) for j in judge(reviewers, comparisons, seed)]
    best = fmean((chance[j.place] > 0.5) == (j.choice == "a") for j in labels)
    oracle = fmean(comparisons[j.place]["better"] == j.choice for j in labels)
    assert best == pytest.approx(ceiling, abs=0.015)
    assert oracle < best, "who follows the true grades alone misses the panel's taste for length"
    assert 0.85 < fmean((p > 0.5) == (row["better"] == "a") for p, row in zip(chance, comparisons)) < 0.97


def test_longer_responses_are_chosen_more_often_than_they_deserve(comparisons):
    chance = mean_probabilities(panel(20, 0), comparisons)
    longer = [("a", p) if len(row["response_a"]) > len(row["response_b"]) else ("b", 1 - p) for p, row in zip(chance, comparisons)]
    deserved = fmean(row["better"] == side for row, (side, _) in zip(comparisons, longer))
    assert fmean(p for _, p in longer) > deserved + 0.02


def test_several_reviewers_judge_without_repeating_themselves(comparisons):
    judged = judge(panel(5, 0), comparisons[:50], seed=2, each=3)
    assert [j.place for j in judged] == [place for place in range(50) for _ in range(3)]
    assert all(len({j.reviewer for j in judged[i : i + 3]}) == 3 for i in range(0, 150, 3))
    assert len({j.reviewer for j in judged}) == 5
    assert judged == judge(panel(5, 0), comparisons[:50], seed=2, each=3) != judge(panel(5, 0), comparisons[:50], seed=3, each=3)


def test_clicks_become_preference_rows(comparisons):
    first, second = preferences(comparisons, [panels.Judgment(3, "x", "b"), panels.Judgment(0, "y", "a")])
    assert first == {
        "prompt": [{"role": "user", "content": comparisons[3]["prompt"]}],
        "chosen": [{"role": "assistant", "content": comparisons[3]["response_b"]}],
        "rejected": [{"role": "assistant", "content": comparisons[3]["response_a"]}],
    }
    assert second["chosen"][0]["content"] == comparisons[0]["response_a"]


def test_impossible_panels_are_one_line():
    with pytest.raises(UserError, match="ask for at least one"):
        panel(0, 0)
    with pytest.raises(UserError, match="choose from 1 to 3"):
        judge(panel(3, 0), [], 0, each=4)
    with pytest.raises(ValueError, match="no known subject"):
        FAIR.probability("Tell me about quarks.", "a", "b")
