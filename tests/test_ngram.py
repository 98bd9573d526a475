"""The n-gram model: a distribution, the numbers of the formula worked by hand, and what more context does."""

from __future__ import annotations

import math

import pytest

from finetunelab.errors import UserError
from finetunelab.ngram import BEGIN, END, SYMBOLS, NGram

EVERY = [*map(chr, range(256)), END]
TEXT = ["the cat sat on the mat", "the dog sat on the log", "Ö!"]


@pytest.mark.parametrize("order", (1, 2, 3, 6))
@pytest.mark.parametrize("context", (BEGIN, BEGIN + "th", "e ca", "zzz", "at"))
def test_probabilities_of_all_that_can_follow_add_up_to_one(order, context):
    model = NGram(TEXT, order)
    found = [model.probability(context[-order + 1 :] if order > 1 else "", symbol) for symbol in EVERY]
    assert len(EVERY) == SYMBOLS and min(found) > 0 and math.isclose(sum(found), 1)


def test_a_bigram_is_what_the_formula_gives():
    model = NGram(["aab"], 2)
    # Plain counts after a symbol: begin-a, a-a, a-b, b-end, once each; n1 = 4 and n2 = 0, with one more each.
    assert model.discounts[1] == pytest.approx(5 / 7)
    # Below: a came after the begin and after a, b and the end after one symbol each; n1 = 2 and n2 = 1.
    assert model.counts[0][""] == {"a": 2, "b": 1, END: 1} and model.discounts[0] == pytest.approx(3 / 7)
    unigram = (1 - 3 / 7 + 3 / 7 * 3 / SYMBOLS) / 4
    assert model.probability("", "b") == pytest.approx(unigram)
    assert model.probability("a", "b") == pytest.approx((1 - 5 / 7 + 5 / 7 * 2 * unigram) / 2)
    assert model.probability("x", "b") == pytest.approx(unigram), "a context never seen leaves the choice to the shorter one"


def test_what_follows_many_contexts_is_likelier_than_what_follows_one_often():
    # "z" is as frequent as "e", but only ever after "q".
    model = NGram(["qzqzqzqz", "aebecedefe"], 2)
    assert model.probability("", "e") > 1.5 * model.probability("", "z")


def test_bits_per_byte_counts_bytes_and_the_end():
    text = "Öl"
    model = NGram([text], 1)
    bits = -sum(math.log2(model.probability("", symbol)) for symbol in (*text.encode().decode("latin-1"), END))
    assert model.bits_per_byte([text]) == pytest.approx(bits / 3)
    assert model.bits_per_byte([text, text]) == pytest.approx(bits / 3)


def test_more_context_predicts_better_and_a_new_text_costs_more():
    lines = [f"number {i} comes before number {i + 1}" for i in range(200)]
    bits = [NGram(lines, order).bits_per_byte(lines[:20]) for order in (1, 2, 4)]
    assert bits == sorted(bits, reverse=True) and bits[2] < 0.3 * bits[0]
    assert NGram(lines, 4).bits_per_byte(["nothing of the kind"]) > 4 * bits[2]


def test_nothing_to_count_is_refused():
    with pytest.raises(UserError, match="0 texts"):
        NGram([], 3)
    with pytest.raises(UserError, match="order 0"):
        NGram(["a"], 0)
