"""The experiments of chapter 1, at a scale that takes seconds: what they compare, and that it is what they say."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from finetunelab.adaptation import novice
from finetunelab.experiments import adaptation as chapter
from finetunelab.experiments import seed_of_data
from finetunelab.models import load_model

SMALL = "nano-small"
EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"


def test_an_error_rate_is_never_zero_nor_one():
    assert chapter.error(0.0, 98) == pytest.approx(0.01) and chapter.error(1.0, 98) == pytest.approx(0.99)
    assert chapter.error(0.5, 98) == 0.5


def test_a_detector_of_mail_does_worse_on_posts_and_best_at_home():
    found = chapter.detector_meets_posts(0, 0, letters=320, n_test=100, base=SMALL)
    errors = found.arms["A1.gap"]
    assert errors["mail"] < 0.3 < errors["posts"]
    assert [row["texts"] for row in found.rows] == ["mail", "posts", *chapter.CAUSES]
    assert found.rows[1]["error"] == errors["posts"]


@pytest.fixture
def brief(monkeypatch):
    """Ten steps on Thai recipes, however many there are, and no recipe is written."""
    monkeypatch.setattr(chapter, "chef_steps", lambda n: 10)
    monkeypatch.setattr(chapter, "valid_share", lambda *_: 0.0)


def test_a_chef_of_french_recipes_is_ahead_of_a_novice_before_it_reads_a_thai_one(brief):
    found = chapter.chef(0, 0, amounts=(0, 100), steps=40, n_test=20, base=SMALL)
    at = {(row["arm"], row["recipes"]): row["perplexity"] for row in found.rows}
    assert at["French", 0] < 0.5 * at["novice", 0]
    assert at["French", 100] < at["French", 0] and at["novice", 100] < at["novice", 0]
    assert found.arms["A5"] == {"French": at["French", 100], "novice": at["novice", 100]}


def test_the_novice_is_where_the_chef_began():
    untrained, chef = novice(load_model(SMALL), 3), chapter.read_french(3, 1000, 1, SMALL)
    for (name, before), (_, after) in zip(untrained.named_parameters(), chef.named_parameters(), strict=True):
        assert float((before - after).detach().abs().max()) <= 1.1 * chapter.CHEF_RATES["pretraining"], name


def test_validity_is_judged_by_the_oracle(monkeypatch):
    rows = chapter.recipes("french", 4, "test", 7)
    monkeypatch.setattr(chapter, "generate", lambda model, tokenizer, prompts, **_: [row["text"].removeprefix(row["prompt"]) for row in rows[:2]] + ["", ""])
    assert chapter.valid_share(None, None, rows, 0) == 0.5


@pytest.mark.parametrize(("experiment", "chosen", "best"), [
    ("A1", {"detector": chapter.DETECTOR_RATE}, max), ("A5", chapter.CHEF_RATES, min),
])
def test_learning_rates_are_the_best_of_their_sweeps(experiment, chosen, best):
    with (EVIDENCE / f"{experiment}-rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)} and chapter.SWEEP_SEED < seed_of_data(0, 0)
    score = "accuracy" if best is max else "perplexity"
    found = {arm: float(best((row for row in rows if row["arm"] == arm), key=lambda row: float(row[score]))["rate"]) for arm in chosen}
    assert found == chosen


def test_every_arm_has_a_sweep_of_the_same_size(brief):
    rows = chapter.sweep_chef(rates=(1e-3, 3e-3), steps=2, n=10, base=SMALL)
    assert [(row["arm"], row["rate"]) for row in rows] == [(arm, rate) for arm in chapter.CHEF_RATES for rate in (1e-3, 3e-3)]
