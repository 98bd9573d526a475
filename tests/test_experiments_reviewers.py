"""The experiments of chapter 4 on reviewers, at a scale that takes seconds, and what they would say of a model that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from finetunelab.cost import Cost
from finetunelab.evidence.judge import judge
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import find
from finetunelab.experiments import reviewers as chapter
from finetunelab.models import load_tokenizer
from finetunelab.preferences.panel import bayes_accuracy, panel
from finetunelab.reward import predict, reward_model
from finetunelab.worlds.responses import WEIGHTS

SMALL = "nano-small"
UNTAUGHT = "nano-chat"  # nano-reward will not do: it has relevance in its states, and any layer may happen to read it
EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(chapter.BASE)


@pytest.fixture(scope="module")
def exam():
    return chapter.exam(300, "train", 77)  # of the training split, because that is drawn ten times as fast


def truth(rows) -> np.ndarray:
    return np.array([row["reward_a"] - row["reward_b"] for row in rows])


# How good a guess is ------------------------------------------------------------------------------------------------------------


def test_accuracy_worked_by_hand():
    exam = chapter.Exam([{"better": side} for side in "aabb"], np.array([0.9, 0.4, 0.2, 0.7]))
    found = exam.accuracy([2.0, 1.0, -0.5, 0.0])
    assert found["clicks"] == pytest.approx((0.9 + 0.4 + 0.8 + 0.5) / 4)
    assert found["oracle"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)


def test_nothing_beats_the_best_guess_and_nothing_but_the_truth_is_always_right(exam):
    best = exam.accuracy(exam.chances - 0.5)
    assert best["clicks"] == pytest.approx(bayes_accuracy(panel(chapter.REVIEWERS, 77), exam.rows))
    rng = np.random.default_rng(0)
    others = [truth(exam.rows), chapter.length_leads(exam.rows), *(truth(exam.rows) + rng.normal(0, 0.2, (20, len(exam.rows))))]
    assert all(exam.accuracy(leads)["clicks"] < best["clicks"] for leads in others)
    assert exam.accuracy(truth(exam.rows))["oracle"] == 1 > best["oracle"]
    assert exam.accuracy(-truth(exam.rows))["oracle"] == 0


def test_length_leads_count_words():
    rows = [{"response_a": "one two three", "response_b": "one"}, {"response_a": "one", "response_b": "two"}]
    assert chapter.length_leads(rows).tolist() == [2, 0]


def test_words_learn_what_words_can_tell():
    rows = [{"response_a": f"lovely {i % 7}", "response_b": f"nonsense {i % 5}"} for i in range(40)]
    swapped = [{"response_a": row["response_b"], "response_b": row["response_a"]} for row in rows]
    clicks = [chapter.Judgment(i, "x", "a" if i < 40 else "b") for i in range(80)]
    leads = chapter.words_leads(rows + swapped, clicks, 1.0)
    asked = {"response_a": "a lovely day", "response_b": "a nonsense day"}
    turned = {"response_a": asked["response_b"], "response_b": asked["response_a"]}
    assert leads([asked])[0] > 1 and leads([turned])[0] == pytest.approx(-leads([asked])[0])
    assert leads([{"response_a": "one thing", "response_b": "or another"}])[0] == 0


# What is drawn ------------------------------------------------------------------------------------------------------------------


def test_more_comparisons_begin_with_the_same_ones_and_have_the_same_clicks():
    few, many = chapter.clicked(20, 5), chapter.clicked(40, 5)
    assert (many[0][:20], many[1][:20]) == few
    assert chapter.clicked(20, 6)[0] != few[0]
    names = {reviewer.name for reviewer in panel(chapter.REVIEWERS, 5)}
    assert {click.reviewer for click in chapter.clicked(400, 5)[1]} == names


def test_grades_are_those_of_single_reviewers_and_mostly_the_true_ones():
    rows, grades = chapter.graded(200, 5)
    hits = [given == row[name] for row, each in zip(rows, grades, strict=True) for name, given in zip(WEIGHTS, each, strict=True)]
    assert 0.7 < np.mean(hits) < 0.9
    true = np.array([[row[name] for name in WEIGHTS] for row in rows])
    assert chapter.correlations(true, rows) == pytest.approx(dict.fromkeys(WEIGHTS, 1.0))


def test_choices_are_the_best_of_sweeps_of_one_size():
    rows = load_rows(EVIDENCE / "D2-rates.csv")
    size = chapter.SWEEP_SIZE
    assert size < chapter.PAIRS
    chosen = {arm: (rates, chapter.RATES[arm]) for arm, rates in chapter.RATE_SWEEP.items()} | {
        chapter.WORDS: (chapter.PENALTY_SWEEP, chapter.PENALTY), f"{chapter.WORDS}, {chapter.GRADES}": (chapter.RIDGE_SWEEP, chapter.RIDGE),
    }
    assert {(row["arm"], int(row["size"])) for row in rows} == {(arm, size) for arm in chosen}
    for arm, (tried, choice) in chosen.items():
        own = [row for row in rows if row["arm"] == arm]
        assert [float(row["choice"]) for row in own] == list(tried)
        assert choice == float(max(own, key=lambda row: float(row["score"]))["choice"])


# What is measured ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reward_model_learns_from_clicks_and_an_untrained_one_knows_nothing(tokenizer, exam):
    model, cost = chapter.rewarder(0, 77_000, 320, 160)
    learned = exam.accuracy(chapter.reward_leads(model, tokenizer, exam.rows))
    untrained = exam.accuracy(chapter.reward_leads(reward_model(UNTAUGHT), tokenizer, exam.rows))
    assert cost.steps == 20 and cost.flops > 0
    assert learned["clicks"] > 0.6 > 0.57 > untrained["clicks"]
    assert learned["oracle"] > 0.62


def grades_of(model, tokenizer) -> dict[str, float]:
    asked = chapter.responses(200, "train", 77)
    return chapter.correlations(predict(model, tokenizer, chapter.requests(asked), [row["response"] for row in asked]).numpy(), asked)


@pytest.mark.slow
def test_a_grade_model_learns_the_grades_and_an_untrained_one_knows_none(tokenizer):
    learned, cost = chapter.grader(0, 77_000, 480, 480, chapter.BASE, 1e-3)
    assert cost.steps == 60
    found, untrained = grades_of(learned, tokenizer), grades_of(reward_model(UNTAUGHT, outputs=3), tokenizer)
    assert np.mean(list(found.values())) > 0.25 > 0.15 > abs(np.mean(list(untrained.values())))


def test_a_reward_model_may_start_from_the_grade_model_and_leaves_it_as_it_was(tokenizer, monkeypatch):
    monkeypatch.setattr(chapter, "RATES", dict.fromkeys(chapter.RATES, 1e-9))  # so slow that what it starts from can be seen
    first, _ = chapter.grader(0, 77_001, 32, 16, SMALL, 1e-9)
    with torch.no_grad():  # a mark, to know its trunk again
        first.get_decoder().norm.weight.fill_(70.0)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    both, alone = (chapter.rewarder(0, 77_001, 32, 16, SMALL, n_graded)[0] for n_graded in (32, 0))
    assert [model.config.num_labels for model in (first, both, alone)] == [3, 1, 1]
    assert both.get_decoder().norm.weight.mean().item() == pytest.approx(70.0, abs=1e-3)
    assert abs(alone.get_decoder().norm.weight.mean().item() - 70.0) > 1
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items()), "the grade model is kept, and measured"
    assert torch.allclose(both.score.weight, alone.score.weight, atol=1e-3)


@pytest.fixture
def untrained(monkeypatch) -> list[int]:
    """Let no model be trained, and return a list that fills with the number of comparisons that each would have seen.

    In place of a model stands that number, and below zero where it would have learned no grades before.
    """
    seen = []

    def rewarder(seed, data_seed, n, steps, base, n_graded=0):
        seen.append(n)
        return n if n_graded else -n, Cost(flops=1.0)

    monkeypatch.setattr(chapter, "rewarder", rewarder)
    monkeypatch.setattr(chapter, "grader", lambda *_: (reward_model(SMALL, outputs=3), Cost(flops=2.0)))
    return seen


def measured(leads, monkeypatch, n_test: int = 40):
    monkeypatch.setattr(chapter, "reward_leads", lambda model, tokenizer, rows: leads(model, rows))
    return chapter.modeled(0, 0, n=60, n_graded=60, n_test=n_test, base=SMALL)


def test_who_knows_the_panel_reaches_the_threshold_and_who_guesses_does_not(untrained, monkeypatch):
    (experiment,) = find(["D2"])
    claim = experiment.claims[0]
    clever = measured(lambda _, rows: chapter.exam(40, "test", 1_000).chances - 0.5, monkeypatch)
    useless = measured(lambda _, rows: np.random.default_rng(0).normal(size=len(rows)), monkeypatch)
    assert clever.arms["D2"][chapter.BOTH] == clever.arms["D2"][chapter.BEST]
    assert useless.arms["D2"][chapter.BOTH] < useless.arms["D2"][chapter.BEST] - 0.15
    assert useless.arms["D2.oracle"][chapter.BOTH] < 0.7 < 0.8 < clever.arms["D2.oracle"][chapter.BOTH]
    assert clever.arms["D2"][chapter.TRUTH] == useless.arms["D2"][chapter.TRUTH] and clever.arms["D2.oracle"][chapter.TRUTH] == 1
    for found, verdict in ((clever, "holds"), (useless, "does not hold")):
        seeds = [{"seed": i, "arms": {**found.arms["D2"], chapter.BOTH: found.arms["D2"][chapter.BOTH] - 0.001 * i}} for i in range(5)]
        assert judge(claim, seeds).verdict == verdict


def test_calibration_is_over_every_reviewers_click(untrained, monkeypatch):
    chances = chapter.exam(40, "test", 1_000).chances
    sound = measured(lambda _, rows: np.log(chances / (1 - chances)), monkeypatch)
    boastful = measured(lambda _, rows: 9 * np.log(chances / (1 - chances)), monkeypatch)
    assert sum(row["clicks"] for row in sound.rows if "clicks" in row) == 40 * chapter.REVIEWERS
    assert sound.arms["D2.calibration"][chapter.BOTH] < 0.07 < 0.15 < boastful.arms["D2.calibration"][chapter.BOTH]


def test_rows_tell_clicks_from_oracle_and_grade_from_grade(untrained, monkeypatch):
    found = measured(lambda _, rows: truth(rows), monkeypatch)
    against = {(row["arm"], row["accuracy against"]): row["value"] for row in found.rows if "accuracy against" in row}
    assert {arm: against[arm, "clicks"] for arm in found.arms["D2"]} == found.arms["D2"]
    assert {arm: against[arm, "oracle"] for arm in found.arms["D2.oracle"]} == found.arms["D2.oracle"]
    grades = [row["value"] for row in found.rows if row["arm"] == chapter.WORDS and "grade" in row]
    assert len(grades) == 3 and np.mean(grades) == pytest.approx(found.arms["D2.grades"][chapter.WORDS])


def test_the_treatment_has_learned_grades_first_and_pays_for_them(untrained, monkeypatch):
    found = measured(lambda model, rows: truth(rows) * model, monkeypatch)
    assert found.arms["D2.oracle"][chapter.BOTH] == 1 and found.arms["D2.oracle"][chapter.ALONE] == 0
    assert {row["arm"]: row["flops"] for row in found.rows if "flops" in row} == {chapter.GRADES: 2, chapter.BOTH: 3, chapter.ALONE: 1}
    assert untrained == [60, 60]
    (experiment,) = find(["D2"])
    assert {claim.id: claim.treatment for claim in experiment.claims} == {
        "D2": chapter.BOTH, "D2.oracle": chapter.BOTH, "D2.grades": chapter.GRADES, "D2.calibration": chapter.BOTH,
    }


def test_the_sweep_tries_every_arm_on_validation_data_of_a_seed_that_is_not_reported(untrained, monkeypatch):
    asked = []

    def rewarder(seed, data_seed, n, steps, base, n_graded, rate):
        asked.append((data_seed, n, n_graded))
        return rate, Cost()

    monkeypatch.setattr(chapter, "rewarder", rewarder)
    monkeypatch.setattr(chapter, "reward_leads", lambda model, tokenizer, rows: truth(rows) * (1 if model == 3e-3 else -1))
    rates = {chapter.GRADES: (1e-3,), chapter.ALONE: (1e-3, 3e-3), chapter.BOTH: (3e-3, 1e-2)}
    rows = chapter.sweep_reviewers(rates, size=80, n=20, base=SMALL)
    assert {row["seed"] for row in rows} == {chapter.SWEEP_SEED} == {data_seed for data_seed, _, _ in asked}
    assert [(n, n_graded) for _, n, n_graded in asked] == [(80, 80)] * 2 + [(80, 0)] * 2
    found = {(row["arm"], row["size"], row["choice"]): row["score"] for row in rows}
    assert len(found) == len(rows) == 1 + 2 + 2 + 5 + 3
    assert found[chapter.ALONE, 80, 3e-3] > 0.5 > found[chapter.ALONE, 80, 1e-3]
    assert found[chapter.BOTH, 80, 3e-3] > 0.5 > found[chapter.BOTH, 80, 1e-2]
