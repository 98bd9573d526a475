"""The experiments of chapter 6 at a tiny scale, and what was chosen by their sweep."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from finetunelab.choosing import (
    AS_IS,
    BEHAVIOR,
    BEST_OF_N,
    CLASSIFY,
    DPO,
    FROZEN,
    FULL,
    KNOWLEDGE,
    LORA,
    PROMPT,
    RAW,
    RETRIEVAL,
    STYLE,
    VOLATILE,
    WORDS,
    Outcome,
    Situation,
    best,
)
from finetunelab.evidence import store
from finetunelab.experiments import choosing, needs, needs_facts
from finetunelab.experiments.needs import Case
from finetunelab.retrieval.rag import Answer

EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"
SEED, DRAWN = 0, 77


def of(arms, method, setting=0.0):
    return arms[method](setting)


# What was chosen ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept():
    return store.load_rows(EVIDENCE / "F1-settings.csv")


def test_settings_are_the_best_of_as_many_tries_for_every_method(swept):
    for (need, method), values in choosing.TRIED.items():
        scores = {
            value: fmean(float(row["quality"]) for row in swept if (row["need"], row["method"], float(row["setting"] or 0)) == (need, method, value))
            for value in values
        }
        assert len(scores) == 3
        assert scores[choosing.SETTINGS[need, method]] == pytest.approx(max(scores.values())), (need, method, scores)
    assert {int(row["seed"]) for row in swept} == {900}


def chosen(swept):
    found = {}
    for row in swept:
        setting = choosing.SETTINGS.get((row["need"], row["method"]))
        if not row["setting"] or float(row["setting"]) == setting:
            found.setdefault(row["case"], {})[row["method"]] = Outcome(
                float(row["quality"]), 1, float(row["once"]), float(row["a_question"]), int(row["peak_bytes"]), float(row["leaks"]))
    return found


def test_winners_were_named_by_the_sweep(swept):
    outcomes, leads = chosen(swept), {}
    for case in choosing.CASES:
        for condition, situation in choosing.scenarios(choosing.CASES[case]).items():
            winner = best(situation, outcomes[case])
            assert choosing.NAMED[case, condition] == winner, (case, condition)
            ours, theirs = choosing.lead(situation, winner, outcomes[case])
            leads.setdefault(winner, []).append((ours - theirs, case, condition))
    largest = {method: max(found) for method, found in leads.items() if method != AS_IS}
    for case, condition, method in choosing.WINNERS.values():
        lead, _, _ = largest[method]
        assert any(found == (pytest.approx(lead), case, condition) for found in leads[method]), method
    proven = sorted(choosing.WINNERS, key=lambda name: -largest[choosing.WINNERS[name][2]][0])[:3]
    assert set(choosing.PROVEN) == set(proven)


def test_the_guide_meets_no_case_that_it_was_made_from():
    assert not set(choosing.CASES.values()) & {case for case in choosing.NEW_CASES.values() if case.need != VOLATILE}
    assert len(choosing.NEW_CASES) * len(choosing.CONDITIONS) >= 50
    assert choosing.APART > 100  # draws of the two share none


# The needs ----------------------------------------------------------------------------------------------------------------------


def test_classification_has_every_method_and_training_beats_guessing():
    arms = needs.classify(Case(CLASSIFY, "mail", 64), SEED, DRAWN, n_test=60, base="nano-small")
    assert set(arms) == {AS_IS, PROMPT, WORDS, FROZEN, LORA, FULL}
    frozen, words, as_is = of(arms, FROZEN, 1e-2), of(arms, WORDS, 100), of(arms, AS_IS)
    assert frozen.quality > 0.65 and frozen.once > 0 and as_is.once == 0
    assert words.a_question == 0 < as_is.a_question
    assert of(arms, PROMPT, 4).a_question > 2 * as_is.a_question


def test_lora_costs_two_thirds_of_full_fine_tuning_and_less_memory():
    arms = needs.classify(Case(CLASSIFY, "mail", 8), SEED, DRAWN, n_test=20, base="nano-small")
    full, lora = of(arms, FULL, 1e-3), of(arms, LORA, 1e-2)
    assert lora.once == pytest.approx(full.once * 2 / 3)
    assert 0 < lora.peak_bytes < full.peak_bytes


def test_trying_a_prompt_asks_no_text_about_itself(monkeypatch):
    asked = []

    def spy(model, tokenizer, questions, **settings):
        asked.extend(questions)
        return [question.answer for question in questions]

    monkeypatch.setattr(needs, "predict", spy)
    assert needs.tried(Case(CLASSIFY, "posts", 12), DRAWN, 4) == 1.0
    assert len(asked) == 12 and all(len(question.demonstrations) == 4 for question in asked)
    assert all(question.query not in [text for text, _ in question.demonstrations] for question in asked)


@pytest.mark.slow
def test_behavior_is_learned_from_demonstrations(monkeypatch):
    monkeypatch.setattr(needs, "FEWEST_STEPS", 20)
    arms = needs.behave(Case(BEHAVIOR, "replace", 48), SEED, DRAWN, n_test=24)
    as_is, full = of(arms, AS_IS), of(arms, FULL, 3e-3)
    assert full.quality > as_is.quality + 0.1
    assert full.a_question == as_is.a_question < of(arms, PROMPT, 2).a_question


@pytest.mark.slow
def test_style_is_chosen_from_samples_by_what_was_clicked(monkeypatch):
    monkeypatch.setattr(needs, "CANDIDATES", 4)
    monkeypatch.setattr(needs.reviewers, "LEAST_STEPS", 1 / 60)
    arms = needs.please(Case(STYLE, "responses", 64), SEED, DRAWN, n_test=12)
    assert set(arms) == {AS_IS, PROMPT, LORA, FULL, DPO, BEST_OF_N}
    as_is, several = of(arms, AS_IS), of(arms, BEST_OF_N, 3e-4)
    assert several.a_question > 3 * as_is.a_question and several.once > 0
    assert of(arms, DPO, 5e-4).a_question == as_is.a_question


@pytest.mark.slow
def test_a_handbook_is_read_and_learned_by_heart():
    arms = needs_facts.know(Case(KNOWLEDGE, "handbook", 120), SEED, DRAWN)
    as_is, found, learned = of(arms, AS_IS), of(arms, RETRIEVAL, 3), of(arms, FULL, 3e-3)
    assert found.quality > 0.8 > as_is.quality + 0.4
    assert as_is.quality + 0.2 < learned.quality
    assert found.a_question > 5 * learned.a_question and learned.once > found.once
    assert {FULL, LORA}.isdisjoint(needs_facts.know(Case(KNOWLEDGE, "handbook", 0), SEED, DRAWN))


def test_questions_are_asked_in_words_that_were_not_trained_on(monkeypatch):
    taught, put = [], []
    monkeypatch.setattr(needs_facts, "learn_answers", lambda reader, lessons, *rest, **more: taught.extend(lessons) or needs_facts.Learned(reader[0], 1.0, 1))
    monkeypatch.setattr(needs_facts, "say", lambda reader, asked: put.extend(asked) or ([Answer("")] * len(asked), 1.0))
    of(needs_facts.know(Case(KNOWLEDGE, "handbook", 60), SEED, DRAWN), FULL, 1e-3)
    assert len(taught) == 60 and len(put) == 120
    of(needs_facts.keep_up(Case(VOLATILE, "newspaper", 12), SEED, DRAWN, n=2), FULL, 1e-3)
    assert len(taught) == 60 + 2 * 12 * 2 and len(put) == 120 + 2 * 24
    assert not {question for question, _ in taught[:60]} & {question for _, question in put[:120]}
    for day in range(2):
        lessons, asked = taught[60 + 24 * day : 84 + 24 * day], put[120 + 24 * day : 144 + 24 * day]
        assert not {question for question, _ in lessons} & {question for _, question in asked}


def test_what_was_trained_on_leaks_and_what_is_filtered_does_not():
    arms = needs_facts.personalize(Case(KNOWLEDGE, choosing.PERSONAL, 480), SEED, DRAWN, n_own=24, n_others=60)
    found, as_is = of(arms, RETRIEVAL, 3), of(arms, AS_IS)
    assert found.leaks == 0 and found.quality > 0.7
    assert as_is.leaks == 0  # what it guesses it does not know
    assert of(arms, PROMPT).leaks == 0


# The claims ---------------------------------------------------------------------------------------------------------------------


def outcomes_of(case):
    """Make outcomes up: retrieval is best, then full fine-tuning."""
    made = {AS_IS: Outcome(0.1, 10, 0, 1), PROMPT: Outcome(0.3, 10, 0, 9), FULL: Outcome(0.8, 10, 5, 1), RAW: Outcome(0.2, 10, 5, 1)}
    return made | {RETRIEVAL: Outcome(0.9, 10, 1, 5)} if case.need in (KNOWLEDGE, VOLATILE) else made


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(choosing, "measured", lambda case, seed, data_seed, kept=None: outcomes_of(case))
    monkeypatch.setattr(choosing.needs, "tried", lambda *rest: 0.5)


def test_f1_takes_the_smallest_lead_of_those_named(made_up, monkeypatch):
    monkeypatch.setattr(choosing, "WINNERS", {
        "retrieval": ("handbook", "none", RETRIEVAL), "full": ("handbook", "fast", FULL), "words": ("newspaper", "none", FULL)})
    monkeypatch.setattr(choosing, "PROVEN", ("retrieval", "full"))
    found = choosing.every_need(0, 0)
    assert found.arms["F1.retrieval"] == {"winner": 0.9, "runner-up": 0.8}
    assert found.arms["F1.full"] == pytest.approx({"winner": 0.8, "runner-up": 0.2})
    assert found.arms["F1.words"] == {"winner": 0.8, "runner-up": 0.9}  # named, and behind
    assert found.arms["F1"]["smallest lead"] == pytest.approx(0.1)
    assert len(found.rows) == sum(len(outcomes_of(case)) for case in choosing.CASES.values())


def test_f2_counts_what_the_guide_loses_and_the_best_constant(made_up, tmp_path):
    cases = {"news": Case(VOLATILE, "newspaper", 24), "told": Case(BEHAVIOR, "drop", 64)}
    found = choosing.guided(0, 0, cases)
    # Facts: retrieval, or full fine-tuning where it must be fast, is the best; text only and fast nothing is left. Behavior: the advice was not
    # measured where there are weights, so the model stays as it is; full fine-tuning would be the best, and the prompt where it is not allowed.
    assert found.arms["F2.regret"]["guide"] == pytest.approx((0 + 0 + 0 + 0 + 0.7 + 0 + 0.7 + 0) / 8)
    constant = {FULL: (0.1 + 0.8 + 0 + 0 + 0 + 0.2 + 0 + 0) / 8}
    assert found.arms["F2.regret"][FULL] == pytest.approx(constant[FULL])
    assert found.arms["F2.constant"]["best constant"] == pytest.approx(min(found.arms["F2.regret"][name] for name in choosing.METHODS))
    store.save_rows(tmp_path / "F2.csv", [{"seed": 0, **row} for row in found.rows])
    again = choosing.recorded_scenarios(store.load_rows(tmp_path / "F2.csv"), cases)
    assert len(again) == 8 and again[0] == (Situation(VOLATILE, 24), outcomes_of(cases["news"]))
