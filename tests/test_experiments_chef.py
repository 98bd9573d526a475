"""The experiments of chapter 1 on recipes, at a scale that takes seconds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from finetunelab.adaptation import novice
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import adaptation_chef as chapter
from finetunelab.experiments import seed_of_data
from finetunelab.models import load_model, load_tokenizer

RATES = Path(__file__).resolve().parents[1] / "book" / "evidence" / "A5-rates.csv"


@pytest.fixture
def brief(monkeypatch):
    """Ten steps on a hundred Thai recipes, and no recipe is written."""
    monkeypatch.setattr(chapter, "THAI_STEPS", dict.fromkeys(chapter.THAI_STEPS, 10))
    monkeypatch.setattr(chapter, "valid_share", lambda *_: 0.0)


def test_shuffled_words_are_the_same_words():
    text = "Peel and slice the potatoes.\nThen rest."
    mixed = chapter.shuffled_words(text, random.Random(1))
    assert mixed != text and sorted(mixed.split(" ")) == sorted(text.split(" "))


def test_the_longest_recipe_fits_into_a_row():
    tokenizer = load_tokenizer(chapter.BASE)
    longest = max(len(ids) for cuisine in ("french", "thai") for ids in tokenizer(chapter.texts_of(chapter.recipes(cuisine, 2_000, "train", 1)))["input_ids"])
    assert longest < chapter.LENGTH


def test_a_chef_of_french_recipes_is_ahead_of_a_novice(brief):
    found = chapter.chef(0, 0, amounts=(0, 100), steps=40, n_test=20)
    at = {(row["arm"], row["recipes"]): row for row in found.rows}
    assert at["French", 0]["French perplexity"] < 0.5 * at["novice", 0]["French perplexity"]
    assert at["French", 100]["perplexity"] < at["French", 0]["perplexity"]
    assert found.arms["A5"] == {arm: at[arm, 100]["perplexity"] for arm in ("French", "novice")}
    assert at["French", 100]["steps"] == at["novice", 100]["steps"] == 10 and at["novice", 0]["flops"] == 0 < at["novice", 100]["flops"]


def test_steps_grow_with_the_recipes(brief, monkeypatch):
    asked = []
    monkeypatch.setattr(chapter, "learn", lambda model, tokenizer, texts, steps, rate, seed: asked.append(steps))
    start = novice(load_model(chapter.BASE), 0)
    for n in (1, 30, 100, 150, 1000):
        chapter.learn_thai(start, "novice", ["text"] * n, 0)
    assert asked == [2, 3, 10, 15, 20]


def test_the_kept_models_are_not_trained_further(brief):
    before = {name: value.clone() for name, value in chapter.read_first("French", 0, 1000, 40).state_dict().items()}
    found = chapter.relatedness(0, 0, steps=40, n=20, n_test=10)
    after = chapter.read_first("French", 0, 1000, 40).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert set(found.arms["A6.related"]) == {*chapter.SOURCES, "novice"} and found.arms["A6.related"] == found.arms["A6.order"]


def test_sources_differ_in_what_was_read_and_in_nothing_else():
    untrained = novice(load_model(chapter.BASE), 3)
    models = {source: chapter.read_first(source, 3, 1000, 1) for source in (*chapter.SOURCES, "novice")}
    for source, model in models.items():
        moved = max(float((a - b).detach().abs().max()) for a, b in zip(untrained.parameters(), model.parameters(), strict=True))
        assert moved == 0 if source == "novice" else 0 < moved <= 1.1 * chapter.SOURCE_RATES[source], source
    texts = {source: chapter.source_texts(source, 5, "train", 7) for source in chapter.SOURCES}
    assert [sorted(text.split(" ")) for text in texts["French"]] == [sorted(text.split(" ")) for text in texts["shuffled French"]]
    assert texts["mail"][0].startswith("Subject:")


def test_validity_is_judged_by_the_oracle(monkeypatch):
    rows = chapter.recipes("french", 4, "test", 7)
    monkeypatch.setattr(chapter, "generate", lambda model, tokenizer, prompts, **_: [row["text"].removeprefix(row["prompt"]) for row in rows[:2]] + ["", ""])
    assert chapter.valid_share(None, None, rows, 0) == 0.5


def test_rates_and_steps_are_the_best_of_a_sweep_of_the_same_size_for_each_source():
    rows = load_rows(RATES)
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)} and chapter.SWEEP_SEED < seed_of_data(0, 0)
    for source in (*chapter.SOURCES, "novice"):
        own = [row for row in rows if row["source"] == source]
        thai = {(float(row["rate"]), int(row["steps"])): float(row["perplexity"]) for row in own if row["phase"] == "Thai"}
        assert list(thai) == [(rate, count) for rate in chapter.RATE_SWEEP for count in chapter.STEP_SWEEP]
        assert min(thai, key=thai.get) == (chapter.THAI_RATES[source], chapter.THAI_STEPS[source]), source
        first = {float(row["rate"]): float(row["perplexity"]) for row in own if row["phase"] == "source"}
        assert tuple(first) == (() if source == "novice" else chapter.RATE_SWEEP)
        assert source == "novice" or min(first, key=first.get) == chapter.SOURCE_RATES[source], source


def test_the_sweep_tries_every_rate_and_number_of_steps(monkeypatch):
    rows = chapter.sweep_chef(rates=(1e-3, 3e-3), counts=(1, 2), steps=2, n=10)
    thai = [(row["source"], row["rate"], row["steps"]) for row in rows if row["phase"] == "Thai"]
    assert thai == [(source, rate, count) for source in (*chapter.SOURCES, "novice") for rate in (1e-3, 3e-3) for count in (1, 2)]
    # The same start, rate and number of steps give the same model; others do not.
    assert len({row["perplexity"] for row in rows}) == len(rows)
