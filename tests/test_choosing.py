"""What a situation allows, what an advice loses, and the guide's own rules."""

import itertools

import pytest

from finetunelab.choosing import (
    AS_IS,
    BEST_OF_N,
    CLASSIFY,
    DPO,
    FROZEN,
    FULL,
    KNOWLEDGE,
    LORA,
    METHODS,
    NEEDS,
    NEEDS_WEIGHTS,
    PROMPT,
    RETRIEVAL,
    STYLE,
    VOLATILE,
    WORDS,
    Outcome,
    Situation,
    advise,
    allowed,
    best,
    regret,
)
from finetunelab.errors import UserError

OUTCOMES = {
    AS_IS: Outcome(0.1, 100, 0, 10), PROMPT: Outcome(0.5, 100, 0, 50), RETRIEVAL: Outcome(0.9, 100, 5, 30), FULL: Outcome(0.95, 100, 80, 10, leaks=0.2),
    FROZEN: Outcome(0.3, 100, 2, 20),
}


def test_what_a_situation_allows():
    everything = Situation(KNOWLEDGE, 10)
    assert set(allowed(everything, OUTCOMES)) == set(OUTCOMES)
    assert set(allowed(Situation(KNOWLEDGE, 10, weights=False), OUTCOMES)) == {AS_IS, PROMPT, RETRIEVAL}
    assert set(allowed(Situation(KNOWLEDGE, 10, fast=True), OUTCOMES)) == {AS_IS, FULL, FROZEN}  # twice the cost is just allowed
    assert FULL not in allowed(Situation(KNOWLEDGE, 10, private=True), OUTCOMES)
    assert set(allowed(Situation(KNOWLEDGE, 10, weights=False, fast=True), OUTCOMES)) == {AS_IS}


def test_the_model_as_it_is_is_always_allowed_even_where_its_guesses_leak():
    leaky = OUTCOMES | {AS_IS: Outcome(0.1, 100, 0, 10, leaks=1.0)}
    assert AS_IS in allowed(Situation(KNOWLEDGE, 0, weights=False, fast=True, private=True), leaky)


def test_the_best_and_what_others_lose():
    situation = Situation(KNOWLEDGE, 10)
    assert best(situation, OUTCOMES) == FULL
    assert regret(situation, FULL, OUTCOMES) == 0
    assert regret(situation, RETRIEVAL, OUTCOMES) == pytest.approx(0.05)
    private = Situation(KNOWLEDGE, 10, private=True)
    assert best(private, OUTCOMES) == RETRIEVAL
    # What leaks is not taken, and what was not measured does not apply: the model stays as it is.
    assert regret(private, FULL, OUTCOMES) == regret(private, DPO, OUTCOMES) == pytest.approx(0.8)


def test_of_equals_the_cheapest_is_the_best():
    equal = {AS_IS: Outcome(0.5, 10, 0, 10), FULL: Outcome(0.9, 10, 80, 10), RETRIEVAL: Outcome(0.9, 10, 5, 30), FROZEN: Outcome(0.9, 10, 5, 20)}
    assert best(Situation(KNOWLEDGE, 10), equal) == FROZEN


def test_costs_a_day():
    assert Outcome(0.5, 10, once=300, a_question=2).cost_a_day(questions=100, changes=1 / 30) == pytest.approx(210)


def test_an_interval_is_that_of_the_share():
    found = Outcome(0.9, 200).interval
    assert found.estimate == 0.9 and 0.84 < found.low < 0.9 < found.high < 0.94
    assert Outcome(0.9, 20).interval.low < found.low


@pytest.mark.parametrize("need, examples", [("dancing", 1), (CLASSIFY, -1)])
def test_no_such_situation(need, examples):
    with pytest.raises(UserError):
        Situation(need, examples)


EVERY = [
    Situation(need, examples, weights, fast, private, tried)
    for need, examples, weights, fast, private, tried in itertools.product(
        NEEDS, (0, 4, 16, 64, 1_000), (True, False), (True, False), (True, False), (None, 0.5, 0.95))
]


def test_the_guide_never_advises_what_the_situation_rules_out():
    long = {PROMPT, RETRIEVAL, BEST_OF_N}
    for situation in EVERY:
        method = advise(situation).method
        assert method in METHODS
        assert situation.weights or method not in NEEDS_WEIGHTS, situation
        assert not situation.fast or method not in long, situation
        assert not (situation.private and situation.need in (KNOWLEDGE, VOLATILE) and method in NEEDS_WEIGHTS), situation
        assert situation.examples or method in (AS_IS, RETRIEVAL, PROMPT, BEST_OF_N, DPO), situation


def test_the_guide_gives_a_reason_and_uses_what_it_is_told():
    assert all(len(advise(situation).reason) > 20 for situation in EVERY)
    assert advise(Situation(VOLATILE, 24)).method == RETRIEVAL
    assert advise(Situation(VOLATILE, 24, fast=True)).method == FULL
    assert advise(Situation(STYLE, 500)).method != advise(Situation(STYLE, 500, weights=False)).method
    assert advise(Situation(CLASSIFY, 8, tried=0.95)).method == PROMPT
    assert advise(Situation(CLASSIFY, 8, tried=0.5)).method == FROZEN
    assert advise(Situation(CLASSIFY, 512)).method == LORA
    assert advise(Situation(CLASSIFY, 512, weights=False)).method == WORDS
