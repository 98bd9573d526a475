"""The experiment of chapter 4 on overoptimization: how a drop is computed, what the policy is looked at for, and what each arm is trained on."""

from __future__ import annotations

import copy
from statistics import fmean

import pytest
import torch

from finetunelab.dpo import best_of_kl
from finetunelab.evidence.judge import judge
from finetunelab.experiments import find
from finetunelab.experiments import overoptimization as chapter
from finetunelab.experiments.alignment import asked, respond, spoken, true_rewards, worth
from finetunelab.experiments.reviewers import requests
from finetunelab.models import load_model, load_tokenizer

SMALL = "nano-small"


def by_length(prompts, texts) -> list[float]:
    return [float(len(text)) for text in texts]


@pytest.fixture(scope="module")
def small():
    return load_model(SMALL), load_tokenizer(SMALL)


# Halves, peak, and drop ---------------------------------------------------------------------------------------------------------


def test_no_request_is_in_both_halves_and_both_are_of_like_size():
    rows = asked(300, "test", 1_000)
    found = chapter.halves(rows)
    assert sorted(found["A"] + found["B"]) == list(range(300)) and abs(len(found["A"]) - len(found["B"])) <= 2
    a, b = ({rows[i]["prompt"] for i in found[half]} for half in "AB")
    assert not a & b and len(a) > 20 < len(b)
    assert len({rows[i]["topic"] for i in found["A"]} & {rows[i]["topic"] for i in found["B"]}) > 12, "subjects are in both"


def seen(a: list[float], b: list[float]) -> list[dict]:
    """Checkpoints at steps 0, 8, ..., out of order."""
    return [{"step": 8 * i, "half": half, "worth": value} for half, values in (("B", b), ("A", a)) for i, value in reversed(list(enumerate(values)))]


@pytest.mark.parametrize(
    ("a", "b", "left"),
    [
        ([0.5, 0.9, 0.8, 0.6], [0.5, 0.8, 0.95, 0.74], 0.06 - 0.03),  # the peak of A, though B's own is elsewhere: of .3 gained .06 are lost
        ([0.5, 0.6, 0.7, 0.9], [0.5, 0.9, 0.8, 0.7], 0.0 - 0.02),  # A is best at the end, so nothing has fallen, whatever B does
        ([0.5, 0.9, 0.7, 0.7], [0.6, 0.8, 0.9, 0.9], -0.1 - 0.02),  # on B it went on rising
        ([0.5, 0.9, 0.9, 0.2], [0.4, 0.8, 0.6, 0.3], 0.5 - 0.04),  # the first of equal peaks; more is lost than was gained
        ([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], 0.2),  # nothing was gained, so all that is lost counts
        ([0.5, 0.9, 0.6], [0.8, 0.7, 0.2], 0.5),  # A found a peak where B had lost already: that is no gain, nor does it count against the loss
    ],
)
def test_the_loss_is_picked_on_one_half_and_measured_on_the_other(a, b, left):
    assert chapter.excess(seen(a, b)) == pytest.approx(left)


# Looking ------------------------------------------------------------------------------------------------------------------------


def test_the_policy_is_looked_at_before_every_so_many_steps_and_at_the_end(small, monkeypatch):
    (model, tokenizer), asked_for = small, []
    tests = asked(12, "test", 1_000)

    def ppo(policy, reference, tokenizer, prompts, score, config, after_step):
        asked_for.append(config)
        for step in range(1, config.steps + 1):
            with torch.no_grad():
                policy.model.model.norm.weight *= 1.02
            after_step(step, policy)

    monkeypatch.setattr(chapter, "ppo", ppo)
    before = copy.deepcopy(model.state_dict())
    rows = chapter.followed(by_length, model, tokenizer, [], tests, kl_weight=0.07, seed=3, steps=7, every=3, rate=2e-4)
    assert [(row["step"], row["half"]) for row in rows] == [(step, half) for step in (0, 3, 6, 7) for half in "AB"]
    assert (asked_for[0].kl_weight, asked_for[0].steps, asked_for[0].learning_rate, asked_for[0].seed) == (0.07, 7, 2e-4, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the reference is left alone"
    assert [row["KL"] for row in rows[:2]] == pytest.approx([0, 0], abs=1e-4) and min(row["KL"] for row in rows[-2:]) > 0.01

    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.model.norm.weight *= 1.02**7
    said = respond(changed, tokenizer, tests, 3, by_length, model)
    values = worth(tests, said.texts)
    for row, (half, places) in zip(rows[-2:], chapter.halves(tests).items(), strict=True):
        expected = {
            "KL": float(said.kl.sum(1)[places].mean()), "score": float(said.scores[places].mean()), "worth": fmean(values[i] for i in places),
        }
        assert row == {"step": 7, "half": half} | {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_training_moves_the_policy_and_what_is_seen_of_it(small):
    train, tests = requests(asked(50, "train", 5)), asked(20, "test", 1_000)
    rows = chapter.followed(by_length, *small, train, tests, kl_weight=0.0, seed=0, steps=2, every=1, rate=5e-3)
    scores, kl = ([row[name] for row in rows if row["half"] == "A"] for name in ("score", "KL"))
    assert len(scores) == 3 and scores[0] != scores[2] and kl[0] == pytest.approx(0, abs=1e-4) and kl[2] > 0.1


def test_the_best_of_more_scores_higher_and_is_worth_what_its_texts_are(small):
    model, tokenizer = small
    tests = asked(6, "test", 1_000)
    rows = chapter.best_of_rows(by_length, model, tokenizer, tests, each=5, seed=2)
    assert [row["n"] for row in rows] == [1, 2, 4] and [row["KL"] for row in rows] == [best_of_kl(n) for n in (1, 2, 4)]
    assert rows[0]["score"] < rows[1]["score"] < rows[2]["score"]
    found = chapter.candidates(model, tokenizer, requests(tests), 5, seed=2)
    every = [(row, text) for row, texts in zip(tests, found, strict=True) for text in texts]
    assert rows[0]["worth"] == pytest.approx(fmean(worth(*zip(*every, strict=True))), abs=1e-6)
    assert rows[0]["score"] == pytest.approx(fmean(len(text) for _, text in every))


# The arms -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def still(monkeypatch) -> list[tuple]:
    """Let PPO do nothing and no reward model be trained, and return a list that fills with what PPO was asked for."""
    seen = []
    monkeypatch.setattr(
        chapter, "ppo",
        lambda policy, reference, tokenizer, prompts, score, config, look: seen.append((score, config, prompts)) or look(config.steps, policy),
    )
    monkeypatch.setattr(chapter, "reward_of", lambda seed, data_seed, chain: by_length)
    return seen


def test_the_control_is_trained_on_the_true_grades_and_the_others_on_the_proxy(still):
    found = chapter.too_hard(0, 0, steps=4, every=2, n_test=20, n=3, each=4)
    assert [(config.kl_weight, config.steps, config.learning_rate) for _, config, _ in still] == [
        (weight, 4, chapter.RATE) for weight in (0.0, chapter.KL_WEIGHT, 0.0)
    ]
    rows = asked(40, "train", 1_000)
    assert all(prompts[:40] == requests(rows) for *_, prompts in still)
    texts = [row["response"] for row in rows]
    free, tuned, control = (torch.tensor(score(requests(rows), texts)) for score, *_ in still)
    assert torch.equal(free, tuned)
    for found_by, plain in ((free, by_length), (control, true_rewards)):  # the same but for shift and scale
        assert torch.corrcoef(torch.stack([found_by, torch.tensor(plain(requests(rows), texts))]))[0, 1] == pytest.approx(1)
    assert torch.corrcoef(torch.stack([free, control]))[0, 1] < 0.9
    said = spoken(load_model(chapter.POLICY), load_tokenizer(chapter.POLICY), asked(256, "train", 1_000), 0)
    for score, *_ in still:  # in standard deviations of the assistant's own samples
        own = torch.tensor(score(requests(asked(256, "train", 1_000)), said))
        assert own.mean() == pytest.approx(0, abs=1e-4) and own.std(correction=0) == pytest.approx(1, abs=1e-4)

    assert set(found.arms) == {"D6", "D6.control", "D6.penalty"}
    assert all(left == 0 for arms in found.arms.values() for left in arms.values()), "a loop that does nothing loses nothing"
    assert {row["arm"] for row in found.rows} == {chapter.FREE, chapter.TUNED, chapter.TRUTH, chapter.BEST_OF_N}
    starts = {row["half"]: row for row in found.rows if row.get("step") == 0 and row["arm"] == chapter.FREE}
    assert all(starts[row["half"]] == row | {"arm": chapter.FREE} for row in found.rows if row["arm"] == chapter.TUNED and row["step"] == 0)
    assert [row["n"] for row in found.rows if row["arm"] == chapter.BEST_OF_N] == [1, 2, 4]


def test_each_claim_reads_its_own_arm(still, monkeypatch):
    curves = {0.0: [0.5, 0.9, 0.7], chapter.KL_WEIGHT: [0.5, 0.9, 0.86]}
    calls = []

    def followed(score, reference, tokenizer, prompts, tests, *, kl_weight, **_):
        calls.append(kl_weight)
        values = [0.5, 0.8, 0.9] if len(calls) == 3 else curves[kl_weight]
        return seen(values, values)

    monkeypatch.setattr(chapter, "followed", followed)
    monkeypatch.setattr(chapter, "best_of_rows", lambda *_: [])
    monkeypatch.setattr(chapter, "in_own_units", lambda score, *_: score)
    arms = chapter.too_hard(0, 0, n_test=10).arms
    claims = {claim.id: claim for claim in find(["D6"])[0].claims}
    assert {id: pytest.approx(arms[id][claim.treatment]) for id, claim in claims.items()} == {"D6": 0.16, "D6.control": -0.04, "D6.penalty": 0.0}
    verdicts = {
        id: judge(claim, [{"seed": i, "arms": {name: left + 1e-3 * i for name, left in arms[id].items()}} for i in range(5)]).verdict
        for id, claim in claims.items()
    }
    assert verdicts == {"D6": "holds", "D6.control": "holds", "D6.penalty": "estimated"}
