"""The experiments of chapter 4 on the loop, at a scale that takes seconds, and what they would say of a loop that does nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from statistics import fmean, pstdev
from types import SimpleNamespace

import pytest
import torch

from finetunelab.evidence.judge import judge
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import alignment as chapter
from finetunelab.experiments import alignment_start as start
from finetunelab.experiments import find
from finetunelab.models import load_model, load_tokenizer
from finetunelab.preferences.panel import panel
from finetunelab.sft import tokenize

SMALL = "nano-small"
EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"
RUDE = "Do not ask. I do not care."


def by_length(prompts, texts) -> list[float]:
    return [float(len(text)) for text in texts]


@pytest.fixture(scope="module")
def soups() -> tuple[list[dict], str]:
    """Three requests about soup, and a response that deserves the best grades for any of them."""
    rows = [row for row in chapter.asked(900, "train", 5) if row["topic"] == "soup"]
    return rows[:3], next(row["response"] for row in rows if chapter.reward(chapter.grade(row, row["response"])) == 1)


# Small parts --------------------------------------------------------------------------------------------------------------------


def test_wins_count_ties_half():
    assert chapter.wins([0.9, 0.5, 0.1, 0.5], [0.5, 0.5, 0.5, 0.9]) == pytest.approx((1 + 0.5 + 0 + 0) / 4)


def test_worth_is_the_true_one(soups):
    rows, good = soups
    assert chapter.worth(rows[:2], [good, RUDE]) == [1.0, pytest.approx(0.175)]
    assert chapter.true_rewards(chapter.requests(rows[:2]), [good, RUDE]) == chapter.worth(rows[:2], [good, RUDE])


def test_standardized_scores_have_mean_zero_and_deviation_one_where_they_were_set():
    prompts, texts = [[]] * 4, ["a", "aaa", "aaaaa", "aa"]
    score = chapter.standardized(by_length, prompts, texts)
    found = score(prompts, texts)
    assert fmean(found) == pytest.approx(0) and pstdev(found) == pytest.approx(1)
    assert score([[]], ["a" * 40])[0] > 10  # elsewhere they go on


def test_a_score_in_own_units_has_mean_zero_and_deviation_one_on_what_the_model_says():
    model, tokenizer, rows = load_model(SMALL), load_tokenizer(SMALL), chapter.asked(30, "train", 5)
    score = chapter.in_own_units(by_length, model, tokenizer, rows, seed=3, n=20)
    found = score([[]] * 20, chapter.spoken(model, tokenizer, rows[:20], 3))
    assert fmean(found) == pytest.approx(0, abs=1e-9) and pstdev(found) == pytest.approx(1)


def test_the_sparse_reward_pays_for_the_best_alone():
    rewards = start.paid(by_length, 5)
    rows = chapter.asked(256, "train", 5)
    texts = [row["response"] for row in rows]
    dense, sparse = (rewards[kind](chapter.requests(rows), texts) for kind in ("dense", "sparse"))
    assert set(sparse) == {0.0, 1.0} and 0.05 < fmean(sparse) < 0.35
    assert min(d for d, s in zip(dense, sparse, strict=True) if s) > max(d for d, s in zip(dense, sparse, strict=True) if not s)


def test_a_base_is_asked_in_plain_text():
    tokenizer = load_tokenizer("nano")
    ids, mask = tokenize(start.plain(tokenizer), [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    text = tokenizer.decode(ids)
    assert "User: Hi\nAssistant: Hello" in text and "<|user|>" not in text and any(mask)
    assert "<|user|>" in tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)


def test_the_panel_prefers_what_is_relevant_coherent_and_polite(soups):
    rows, good = soups
    assert start.preferred(rows, [good] * 3, [RUDE] * 3, 5) > 0.8
    assert start.preferred(rows, [good] * 3, [good] * 3, 5) == pytest.approx(0.5)
    assert start.preferred(rows, [good] * 3, [RUDE] * 3, 5) == pytest.approx(1 - start.preferred(rows, [RUDE] * 3, [good] * 3, 5))
    assert len(panel(start.REVIEWERS, 5)) == start.REVIEWERS


# The loop -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ppo_raises_the_true_worth_when_that_is_the_reward_and_leaves_the_assistant_alone(monkeypatch):
    monkeypatch.setattr(chapter, "reward_of", lambda seed, data_seed, chain: chapter.true_rewards)
    before = copy.deepcopy(load_model(chapter.POLICY).state_dict())
    trained = chapter.aligned(0, 77_000, chapter.Chain(steps=6))
    first, last = (fmean(entry["score"] for entry in trained.history[part]) for part in (slice(0, 2), slice(-2, None)))
    assert abs(first) < 0.4 < last, "in standard deviations of the assistant's own samples"
    assert all(torch.equal(value, before[name]) for name, value in load_model(chapter.POLICY).state_dict().items())


@pytest.fixture
def still(monkeypatch) -> list[tuple]:
    """Let PPO and the reward model do nothing, and return a list that fills with what PPO was asked for."""
    seen = []

    def aligned(seed, data_seed, chain, base, kl_weight=chapter.KL_WEIGHT, rate=chapter.RATE):
        seen.append((chain, kl_weight, rate))
        history = [{name: 0.0 for name in ("step", "score", "kl", "entropy", "clip_fraction", "length")}]
        return chapter.Aligned(load_model(base), by_length, history)

    monkeypatch.setattr(chapter, "aligned", aligned)
    return seen


def verdict(claim_id: str, arms: dict[str, float]) -> str:
    claim = next(claim for experiment in find([claim_id.split(".")[0]]) for claim in experiment.claims if claim.id == claim_id)
    seeds = [{"seed": i, "arms": {arm: value - 0.001 * i for arm, value in arms.items()}} for i in range(5)]
    return judge(claim, seeds).verdict


def test_a_loop_that_does_nothing_wins_half_and_moves_nowhere(still):
    found = chapter.loop(0, 0, n_test=60)
    assert found.arms["D4"]["PPO"] == 0.5 and found.arms["D4.kl"]["PPO"] == pytest.approx(0, abs=1e-5)
    assert found.arms["D4.worth"]["PPO"] == found.arms["D4.worth"]["SFT"] > 0.5
    assert verdict("D4", found.arms["D4"]) == "does not hold"
    table = {row["arm"]: row for row in found.rows if "worth" in row}
    assert table["SFT"] == table["PPO"] | {"arm": "SFT"} and table["SFT"]["ended"] > 0.9
    assert still == [(chapter.Chain(), chapter.KL_WEIGHT, chapter.RATE)]


def test_a_loop_that_only_writes_well_wins(still, monkeypatch):
    real, calls = chapter.respond, []

    def respond(model, tokenizer, rows, seed, score, reference):
        said = real(model, tokenizer, rows, seed, score, reference)
        calls.append(model is reference)
        texts = said.texts if model is reference else [row["response"] for row in rows]
        return SimpleNamespace(texts=texts, scores=said.scores, ended=said.ended, kl=said.kl, mask=said.mask)

    rows = [row for row in chapter.asked(900, "train", 5) if chapter.reward(chapter.grade(row, row["response"])) == 1]
    monkeypatch.setattr(chapter, "respond", respond)
    monkeypatch.setattr(chapter, "asked", lambda n, split, data_seed: rows[:n])
    found = chapter.loop(0, 0, n_test=20)
    assert sorted(calls) == [False, True] and found.arms["D4.worth"]["PPO"] == 1
    assert verdict("D4", found.arms["D4"]) == "holds"


def test_the_tax_is_measured_on_both_skills_and_with_and_without_a_penalty(still):
    found = chapter.tax(0, 0, n_test=40)
    assert [weight for _, weight, _ in still] == [chapter.KL_WEIGHT, 0.0]
    assert set(found.arms["D8.followed"]) == {"SFT", "PPO", "PPO without penalty"}
    assert len(set(found.arms["D8.followed"].values())) == 1 and found.arms["D8.followed"]["SFT"] > 0.5
    assert found.arms["D8.remembered"]["SFT"] > 0.6 and found.arms["D8.penalty"] == found.arms["D8.followed"]


def test_a_broken_model_pays_all_of_the_tax(still, monkeypatch):
    real = chapter.aligned

    def broken(*args, **knobs):
        trained = real(*args, **knobs)
        with torch.no_grad():
            for parameter in trained.model.parameters():
                parameter.mul_(0.3)
        return trained

    monkeypatch.setattr(chapter, "aligned", broken)
    arms = chapter.tax(0, 0, n_test=30).arms
    assert arms["D8.followed"]["PPO"] < 0.1 < 0.5 < arms["D8.followed"]["SFT"]
    assert arms["D8.remembered"]["PPO"] < 0.1 < 0.5 < arms["D8.remembered"]["SFT"]


def test_the_sweep_tries_every_rate_with_every_weight_on_validation_requests(still, monkeypatch):
    splits = []
    monkeypatch.setattr(chapter, "asked", lambda n, split, seed, real=chapter.asked: splits.append((split, seed)) or real(n, split, seed))
    rows = chapter.sweep_alignment(rates=(1e-4, 1e-3), weights=(0.0, 0.1), n=6)
    assert [(row["rate"], row["KL weight"]) for row in rows] == [(1e-4, 0.0), (1e-4, 0.1), (1e-3, 0.0), (1e-3, 0.1)]
    assert splits == [("validation", chapter.SWEEP_SEED)]


def test_rate_and_penalty_are_the_best_of_the_sweep():
    rows = load_rows(EVIDENCE / "D4-rates.csv")
    tried = [(float(row["rate"]), float(row["KL weight"])) for row in rows]
    assert tried == [(rate, weight) for rate in chapter.RATE_SWEEP for weight in chapter.KL_SWEEP]
    best = max(rows, key=lambda row: float(row["worth"]))
    assert (chapter.RATE, chapter.KL_WEIGHT) == (float(best["rate"]), float(best["KL weight"]))


# Where the loop starts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_loop(monkeypatch) -> list[tuple]:
    """Let PPO do nothing and no reward model be trained, and return a list that fills with PPO's steps."""
    asked = []
    monkeypatch.setattr(start, "ppo", lambda policy, reference, tokenizer, prompts, score, config: asked.append(config.steps) or [])
    monkeypatch.setattr(start, "reward_of", lambda seed, data_seed, chain: by_length)
    return asked


def test_the_tokens_of_sft_are_taken_off_the_steps_of_ppo(no_loop):
    found = start.sft_first(0, 0, steps=12, sft_steps=20, n_test=20, base=SMALL)
    spared = round(20 * start.ROWS * start.LENGTH / start.STEP_TOKENS)
    assert 0 < spared < 12 and no_loop == [12, 12, 12 - spared, 12 - spared]
    assert set(found.arms) == {"D1.dense", "D1.sparse"}
    assert {row["arm"]: row["steps"] for row in found.rows if row["reward"]} == {"from the base": 12, "SFT first": 12 - spared}
    assert verdict("D1.dense", {"SFT first": 0.5, "from the base": 0.5}) != "holds"


def test_small_and_large_answer_the_same_requests(no_loop):
    found = start.small_against_large(0, 0, sft_steps=2, n_test=10)
    assert no_loop == [chapter.Chain().steps]
    table = {row["arm"]: row for row in found.rows}
    assert set(table) == {"small, SFT", "small, PPO", "large base, prompted", "large, SFT"}
    assert table["large, SFT"]["worth"] > 0.5 > table["small, PPO"]["worth"], "two steps do not make an assistant"
    assert found.arms["D5.sft"]["small, PPO"] == table["large, SFT"]["preferred to it"] < 0.4
    assert found.arms["D5"]["small, PPO"] == table["large base, prompted"]["preferred to it"]
    assert table["small, PPO"]["preferred to it"] == pytest.approx(0.5)


def test_every_start_is_swept_with_its_rewards_on_a_seed_that_is_not_reported(no_loop, monkeypatch):
    splits, rates = [], []
    monkeypatch.setattr(start, "asked", lambda n, split, seed, real=start.asked: splits.append((split, seed)) or real(min(n, 12), split, seed))
    monkeypatch.setattr(start, "ppo", lambda policy, reference, tokenizer, prompts, score, config: rates.append(config.learning_rate))
    rows = start.sweep_starts(rates=(1e-4, 1e-3), n=4, steps=3, sft_steps=2, base=SMALL, rewarder="nano-reward")
    assert [(row["arm"], row["reward"], row["rate"]) for row in rows] == [(*key, rate) for key in start.RATES for rate in (1e-4, 1e-3)]
    small = start.sweep_small({"SFT": (1e-3, 2e-3), "PPO": (1e-5,)}, n=4, steps=3, sft_steps=2, rewarder="nano-reward")
    assert [(row["arm"], row["rate"]) for row in small] == [("SFT", 1e-3), ("SFT", 2e-3), ("PPO", 1e-5)]
    assert rates == [1e-4, 1e-3] * len(start.RATES) + [1e-5]
    assert set(splits) == {("validation", start.SWEEP_SEED), ("train", start.SWEEP_SEED)}


@pytest.mark.parametrize(("name", "keys", "tried", "chosen"), [
    ("D1", ("arm", "reward"), dict.fromkeys(start.RATES, start.RATE_SWEEP), start.RATES),
    ("D5", ("arm",), {(arm,): rates for arm, rates in start.SMALL_SWEEP.items()}, {(arm,): rate for arm, rate in start.SMALL_RATES.items()}),
])
def test_rates_of_starts_are_the_best_of_their_sweeps(name, keys, tried, chosen):
    found = {key: {} for key in tried}
    for row in load_rows(EVIDENCE / f"{name}-rates.csv"):
        found[tuple(row[key] for key in keys)][float(row["rate"])] = float(row["worth"])
    assert {key: tuple(own) for key, own in found.items()} == tried
    assert {key: max(own, key=own.get) for key, own in found.items()} == chosen
