"""The experiments of chapter 1, at a scale that takes seconds: what they compare, and that it is what they say."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from finetunelab.experiments import adaptation as chapter
from finetunelab.experiments import seed_of_data

SMALL = "nano-small"
EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"


def test_an_error_rate_is_never_zero_nor_one():
    assert chapter.error(0.0, 98) == pytest.approx(0.01) and chapter.error(1.0, 98) == pytest.approx(0.99)
    assert chapter.error(0.5, 98) == 0.5


def test_a_detector_of_mail_meets_mail_posts_and_each_difference_alone(monkeypatch):
    drawn, draw = [], chapter.draw
    monkeypatch.setattr(chapter, "draw", lambda *given, **knobs: drawn.append((*given, knobs)) or draw(*given, **knobs))
    found = chapter.detector_meets_posts(3, 0, letters=320, n_test=100, base=SMALL)
    errors = found.arms["A1.gap"]
    assert found.arms["A1.ratio"] == errors and errors["mail"] < 0.3 < errors["posts"]
    assert [row["texts"] for row in found.rows[::3]] == ["mail", "posts", *chapter.CAUSES]
    assert [row["error"] for row in found.rows if row["model"] == "detector"] == list(errors.values())
    assert {row["error"] for row in found.rows if row["model"] == "majority class"} != {0.5}
    tests = [knobs for world, n, split, data_seed, knobs in drawn if (world, n, split, data_seed) == ("posts", 100, "test", seed_of_data(3, 0))]
    # All four at once, then each by itself with the other three as in mail.
    assert tests == [dict.fromkeys(chapter.CAUSES, 1.0)] + [{c: float(c == cause) for c in chapter.CAUSES} for cause in chapter.CAUSES]
    assert {given[:4] for given in drawn if given[0] == "mail"} == {("mail", 320, "train", 1003), ("mail", 100, "test", 1003)}


def test_the_learning_rate_is_the_best_of_its_sweep():
    with (EVIDENCE / "A1-rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rate"]) for row in rows] == list(chapter.DETECTOR_SWEEP)
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)} and chapter.SWEEP_SEED < seed_of_data(0, 0)
    assert float(max(rows, key=lambda row: float(row["accuracy"]))["rate"]) == chapter.DETECTOR_RATE


def test_the_sweep_trains_at_each_rate_and_never_sees_a_post(monkeypatch):
    drawn, draw = [], chapter.draw
    monkeypatch.setattr(chapter, "draw", lambda *given, **knobs: drawn.append(given) or draw(*given, **knobs))
    rows = chapter.sweep_detector(rates=(1e-5, 3e-3), letters=320, n=100, base=SMALL)
    assert [row["rate"] for row in rows] == [1e-5, 3e-3] and rows[0]["accuracy"] < rows[1]["accuracy"]
    assert {(given[0], given[2], given[3]) for given in drawn} == {("mail", "train", 900), ("mail", "validation", 900)}
