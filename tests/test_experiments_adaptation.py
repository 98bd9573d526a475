"""The experiments of chapter 1 on spam, at a scale that takes seconds: what they compare, and that it is what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finetunelab.adaptation import Needed
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import adaptation as chapter
from finetunelab.experiments import seed_of_data
from finetunelab.models import load_model

SMALL = "nano-small"
EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"


@pytest.fixture
def spied(monkeypatch):
    """What is drawn while a test runs: (world, n, split, data seed, knobs)."""
    drawn, draw = [], chapter.draw
    monkeypatch.setattr(chapter, "draw", lambda *given, **knobs: drawn.append((*given, knobs)) or draw(*given, **knobs))
    chapter.train_detector.cache_clear()
    return drawn


@pytest.fixture
def brief(monkeypatch):
    """Four steps, however many labels."""
    monkeypatch.setattr(chapter, "steps_for", lambda labels: 4)


def rates(experiment: str) -> list[dict]:
    return load_rows(EVIDENCE / f"{experiment}-rates.csv")


def test_an_error_rate_is_never_zero_nor_one():
    assert chapter.error(0.0, 98) == pytest.approx(0.01) and chapter.error(1.0, 98) == pytest.approx(0.99)
    assert chapter.error(0.5, 98) == 0.5


def test_a_detector_of_mail_meets_mail_posts_and_each_difference_alone(spied):
    found = chapter.detector_meets_posts(3, 0, letters=320, n_test=100, base=SMALL)
    errors = found.arms["A1.gap"]
    assert found.arms["A1.ratio"] == errors and errors["mail"] < 0.3 < errors["posts"]
    assert [row["texts"] for row in found.rows[::3]] == ["mail", "posts", *chapter.CAUSES]
    assert [row["error"] for row in found.rows if row["model"] == "detector"] == list(errors.values())
    assert {row["error"] for row in found.rows if row["model"] == "majority class"} != {0.5}
    tests = [knobs for world, n, split, data_seed, knobs in spied if (world, n, split, data_seed) == ("posts", 100, "test", seed_of_data(3, 0))]
    # All four at once, then each by itself with the other three as in mail.
    assert tests == [dict.fromkeys(chapter.CAUSES, 1.0)] + [{c: float(c == cause) for c in chapter.CAUSES} for cause in chapter.CAUSES]
    assert {given[:4] for given in spied if given[0] == "mail"} == {("mail", 320, "train", 1003), ("mail", 100, "test", 1003)}


@pytest.mark.parametrize(("experiment", "swept", "chosen"), [
    ("A1", chapter.DETECTOR_SWEEP, {"detector": chapter.DETECTOR_RATE}), ("A2", chapter.ARM_SWEEP, chapter.ARM_RATES),
])
def test_every_learning_rate_is_the_best_of_a_sweep_of_the_same_size(experiment, swept, chosen):
    rows = rates(experiment)
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)} and chapter.SWEEP_SEED < seed_of_data(0, 0)
    for arm, rate in chosen.items():
        scores = {float(row["rate"]): float(row["accuracy"]) for row in rows if row["arm"] == arm}
        assert tuple(scores) == swept and max(scores, key=scores.get) == rate, arm
    assert len(rows) == len(swept) * len(chosen)


def test_the_sweep_of_the_detector_trains_at_each_rate_and_never_sees_a_post(spied):
    rows = chapter.sweep_detector(rates=(1e-5, 3e-3), letters=320, n=100, base=SMALL)
    assert [row["rate"] for row in rows] == [1e-5, 3e-3] and rows[0]["accuracy"] < rows[1]["accuracy"]
    assert {(given[0], given[2], given[3]) for given in spied} == {("mail", "train", 900), ("mail", "validation", 900)}


def test_the_sweep_of_the_arms_never_sees_a_test_post(spied, brief):
    rows = chapter.sweep_arms(rates=(1e-3, 3e-3), sizes=(8, 16), letters=32, n=40, base=SMALL)
    assert [(row["arm"], row["rate"]) for row in rows] == [(arm, rate) for arm in chapter.ARMS for rate in (1e-3, 3e-3)]
    assert {given[2] for given in spied} == {"train", "validation"} and {given[3] for given in spied} == {900}


def test_the_arms_start_where_their_names_say():
    detector, _ = chapter.train_detector(0, 1000, 32, SMALL)
    made = {arm: make() for arm, make in chapter.starts(0, detector, SMALL).items()}
    assert tuple(made) == chapter.ARMS

    def embeddings(model):
        return model.decoder.get_input_embeddings().weight

    assert torch.equal(embeddings(made["mail detector"]), embeddings(detector)) and made["mail detector"] is not detector
    assert torch.equal(made["mail detector"].head.weight, detector.head.weight)
    base = load_model(SMALL).get_input_embeddings().weight
    assert torch.equal(embeddings(made["base"]), base) and not torch.equal(embeddings(made["random init"]), base)


def test_labels_are_counted_on_a_curve_of_test_posts_against_a_ceiling_of_validation_posts(spied, brief, monkeypatch):
    given = []
    monkeypatch.setattr(chapter, "amount_to_reach", lambda *asked: given.append(asked) or Needed(float(len(given)), "="))
    found = chapter.labels_needed(0, 0, sizes=(8, 64), severities=(0.5,), letters=160, n_test=60, base=SMALL)
    curves = {arm: [row["accuracy"] for row in found.rows if row.get("severity") == 1 and row["arm"] == arm and row.get("labels")] for arm in chapter.ARMS}
    assert [list(scores) for _, scores, _ in given[:3]] == list(curves.values()) and all(sizes == (8, 64) for sizes, _, _ in given)
    assert len({target for _, _, target in given}) == 1 and found.arms["A2"] == dict(zip((*chapter.ARMS, "TF-IDF"), range(1, 5), strict=True))
    assert {row["arm"] for row in found.rows if row["severity"] == 0.5 and row["labels"]} == {*chapter.ARMS, "TF-IDF"}
    half = dict.fromkeys(chapter.CAUSES, 0.5)
    assert [g[:3] for g in spied if g[4] == half] == [("posts", 128, "train"), ("posts", 60, "test"), ("posts", 60, "validation")]
    untouched = next(row for row in found.rows if row["severity"] == 1 and row["labels"] == 0)
    detector, _ = chapter.train_detector(0, 1000, 160, SMALL)
    assert untouched["accuracy"] == pytest.approx(chapter.accuracy(detector, chapter.load_tokenizer(SMALL), *chapter.draw("posts", 60, "test", 1000)))


def test_bag_of_words_needs_two_classes():
    assert chapter.bag_of_words((["a", "b"], [1, 1]), (["a"], [1])) == 0.5
    assert chapter.bag_of_words((["win now", "see you"], [1, 0]), (["win", "you"], [1, 0])) == 1.0


def test_compute_is_counted_and_pretraining_is_paid_back_by_what_is_saved():
    found = chapter.compute_needed(0, 0, steps=(1, 8), labels=128, letters=160, n_test=60, base=SMALL)
    flops = {(row["arm"], row["steps"]): row["flops"] for row in found.rows}
    assert all(4 < flops[arm, 8] / flops[arm, 1] < 16 for arm in chapter.ARMS)
    tasks, needed = found.arms["A3.tasks"], found.arms["A3.marginal"]
    assert tasks["FLOPs saved a task"] == needed["random init"] - needed["mail detector"]
    assert tasks["FLOPs before"] > chapter.pretraining_flops(SMALL) > 1e13


def test_forgetting_sets_the_same_detector_before_and_after(spied):
    found = chapter.forgetting(1, 0, posts=192, letters=320, n_test=150, base=SMALL)
    mail, posts = found.arms["A4.forgets"], found.arms["A4.target"]
    assert tuple(mail) == tuple(posts) == ("before", "without replay", "with replay")
    assert mail["before"] > mail["without replay"] and posts["without replay"] > posts["before"]
    assert found.arms["A4.replay"]["kept"] == pytest.approx(
        (mail["with replay"] - mail["without replay"]) / (mail["before"] - mail["without replay"])
    )
    detector, _ = chapter.train_detector(1, 1001, 320, SMALL)
    assert mail["before"] == chapter.accuracy(detector, chapter.load_tokenizer(SMALL), *chapter.draw("mail", 150, "test", 1001))


def test_a_harmful_shift_is_farther_away_and_does_more_harm():
    rungs = {"harmful": [dict.fromkeys(chapter.CAUSES, 0.0), dict.fromkeys(chapter.CAUSES, 1.0)], "label shift": [{"spam_share": 0.3}]}
    found = chapter.shift_and_error(0, 0, n_test=60, letters=320, base=SMALL, rungs=rungs)
    none, whole, labels = found.rows
    assert none["distance"] < 0.1 * whole["distance"] and none["perplexity gap"] < whole["perplexity gap"] and none["error"] < whole["error"]
    assert found.arms["A7.distance"]["harmful"] == found.arms["A7.surprise"]["harmful"] == 1.0
    assert labels["kind"] == "label shift" and labels["distance"] < 0.1 * whole["distance"]


def test_the_rungs_are_enough_and_of_three_kinds():
    assert len(chapter.RUNGS["harmful"]) >= 12 and set(chapter.RUNGS) == {"harmful", "harmless", "label shift"}
    assert not any({"harmless", "spam_share"} & set(rung) for rung in chapter.RUNGS["harmful"])
