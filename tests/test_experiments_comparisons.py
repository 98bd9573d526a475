"""The experiment of chapter 4 on the number of comparisons, with stand-ins for what takes minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetunelab.cost import Cost
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import comparisons as chapter
from finetunelab.experiments import find
from finetunelab.experiments.adaptation import SWEEP_SEED

EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"
STARTS = {"sft": "nano-small", "pretrained": "nano"}


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """Let no model be trained; what stands in for it is right on as many comparisons in a hundred as it has seen clicks, from ``nano`` on ten more."""
    seen = []

    def rewarder(seed, data_seed, n, steps, base, rate):
        seen.append((data_seed, base, n, rate))
        return n + 10 * (base == "nano"), Cost(flops=float(n))

    def leads(model, tokenizer, rows):
        truth = np.array([row["reward_a"] - row["reward_b"] for row in rows])
        return truth * np.where(np.arange(len(rows)) % 10 < model / 10, 1, -1)

    monkeypatch.setattr(chapter, "rewarder", rewarder)
    monkeypatch.setattr(chapter, "reward_leads", leads)
    return seen


def test_every_size_is_trained_from_both_starts_and_tested_alike(asked):
    found = chapter.more_comparisons(0, 0, sizes=(20, 50, 80), n_test=40, starts=STARTS)
    assert [(base, n) for _, base, n, _ in asked] == [(base, n) for n in (20, 50, 80) for base in STARTS.values()]
    oracle = {start: [row["oracle"] for row in found.rows if row["arm"] == name] for start, name in chapter.NAMES.items()}
    assert oracle == {"sft": pytest.approx([0.2, 0.5, 0.8]), "pretrained": pytest.approx([0.3, 0.6, 0.9])}
    for start, name in chapter.NAMES.items():
        clicks = [row["clicks"] for row in found.rows if row["arm"] == name]
        assert found.arms[f"D3.{start}"] == dict(zip(("20 comparisons", "50 comparisons", "80 comparisons"), clicks, strict=True))
        assert clicks == sorted(clicks)
    assert [row["comparisons"] for row in found.rows if row["arm"] == chapter.WORDS] == [20, 50, 80]


def test_the_claims_compare_the_ends_of_six_sizes():
    (experiment,) = find(["D3"])
    assert {claim.id for claim in experiment.claims} == {f"D3.{start}" for start in chapter.STARTS}
    for claim in experiment.claims:
        assert claim.trend == tuple(map(chapter.name_of, chapter.SIZES)) and len(claim.trend) >= 6
        assert (claim.control, claim.treatment) == (claim.trend[0], claim.trend[-1])


def test_the_sweep_tries_every_start_on_a_seed_that_is_not_reported(asked):
    rates = {"sft": (1e-3,), "pretrained": (1e-4, 1e-3)}
    rows = chapter.sweep_comparisons(rates, sizes=(20, 50), n=20, starts=STARTS)
    assert asked == [(SWEEP_SEED, base, n, rate) for start, base in STARTS.items() for n in (20, 50) for rate in rates[start]]
    assert [(row["start"], row["size"], row["rate"]) for row in rows] == [(s, n, rate) for s in STARTS for n in (20, 50) for rate in rates[s]]
    assert {row["seed"] for row in rows} == {SWEEP_SEED} and rows[0]["accuracy"] < rows[1]["accuracy"]


def test_a_size_takes_the_rate_of_the_largest_that_was_swept_and_is_not_larger(monkeypatch):
    monkeypatch.setattr(chapter, "RATES", {"sft": {300: 1.0, 1_200: 2.0, 4_800: 3.0}})
    assert [chapter.rate_of("sft", size) for size in (20, *chapter.SIZES)] == [1, 1, 1, 2, 2, 3, 3]


def test_rates_are_the_best_of_the_sweep():
    rows = load_rows(EVIDENCE / "D3-rates.csv")
    for start, tried in chapter.RATE_SWEEP.items():
        for size in chapter.SWEEP_SIZES:
            own = {float(row["rate"]): float(row["accuracy"]) for row in rows if (row["start"], int(row["size"])) == (start, size)}
            assert tuple(own) == tried
            assert chapter.RATES[start][size] == max(own, key=own.get)
