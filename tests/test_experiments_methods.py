"""The experiment of chapter 4 that sets methods side by side: its FLOPs against the counter, its budgets, and what each method is given."""

from __future__ import annotations

import copy
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from finetunelab import ppo as loop
from finetunelab.cost import CPU_ATTENTION, measure_step
from finetunelab.dpo import best_of_kl
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import find, reviewers
from finetunelab.experiments import methods as chapter
from finetunelab.experiments.alignment import asked, worth
from finetunelab.experiments.methods import DPO, GRPO, PPO, RLOO, Flops, Setting
from finetunelab.models import load_model, load_tokenizer
from finetunelab.preferences.panel import preferences
from finetunelab.reward import predict, reward_model

SMALL = "nano-small"


def by_length(prompts, texts) -> list[float]:
    return [float(len(text)) for text in texts]


def counted(run) -> float:
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        run()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def small():
    model = load_model(SMALL)
    model.set_attn_implementation("eager")  # the fused operation computes parts of attention again, backward
    return model, load_tokenizer(SMALL)


@pytest.fixture(scope="module")
def shared(small) -> chapter.Shared:
    model, tokenizer = small
    rows = asked(40, "train", 5)
    pairs = preferences(*reviewers.clicked(12, 5))
    return chapter.Shared(model, tokenizer, pairs, chapter.requests(rows), by_length, reward_flops=1e9, request=20.0, pair=1e8)


# FLOPs --------------------------------------------------------------------------------------------------------------------------


def test_reading_costs_what_the_counter_counts(small):
    model, _ = small
    ids = torch.randint(10, 4_000, (3, 61), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(61) >= 25).expand(3, -1)

    def log_p():
        return loop.response_log_p(model, loop.states_before(model, ids, mask), ids, mask)

    reading = 3 * Flops.of(model).reading(60, 36)  # the last token is foretold and not read
    with torch.no_grad():
        assert counted(log_p) == pytest.approx(reading, rel=1e-3)
    backward, _ = measure_step(lambda: log_p().mean(), list(model.parameters()))
    assert backward == pytest.approx(3 * reading, rel=0.01)


def test_a_reward_model_reads_without_logits(small):
    judge, tokenizer = reward_model(SMALL), small[1]
    prompts, texts = [[{"role": "user", "content": "How do I make soup?"}]] * 5, ["First, chop the onions. Then boil the soup."] * 5
    tokens = len(tokenizer.apply_chat_template([*prompts[0], {"role": "assistant", "content": texts[0]}], return_dict=True)["input_ids"])
    assert counted(lambda: predict(judge, tokenizer, prompts, texts)) == pytest.approx(5 * Flops.of(judge).reading(tokens), rel=0.05)


def test_sampling_costs_what_the_counter_counts(small):
    policy, requests = loop.PolicyWithValue(small[0]), torch.randint(10, 4_000, (4, 30), generator=torch.Generator().manual_seed(0))
    never, luck = torch.tensor([-1]), torch.Generator().manual_seed(0)
    found = counted(lambda: loop.sample(policy, requests, torch.ones_like(requests), never, 40, luck))
    assert found == pytest.approx(4 * Flops.of(small[0]).sampling(30, 40), rel=0.03)


def test_a_step_of_ppo_costs_what_the_counter_counts(shared, monkeypatch):
    monkeypatch.setattr(chapter, "RESPONSES", 16)
    # None ends before the others: all that the counter counts and the formula does not is padding.
    monkeypatch.setattr(loop, "sample", lambda policy, asked, attended, ends, *rest, real=loop.sample: real(policy, asked, attended, ends * 0 - 1, *rest))
    judge, history = reward_model(SMALL), []
    fields = {"score": lambda prompts, texts: predict(judge, shared.tokenizer, prompts, texts)[:, 0], "prompts": shared.prompts[:1]}
    ours = chapter.Shared(**vars(shared) | fields | {"request": chapter.request_tokens(shared.tokenizer, shared.prompts[:1])})
    config = loop.PPOConfig(steps=1, responses=16, tokens=40, minibatches=1)
    policy = loop.PolicyWithValue(copy.deepcopy(ours.model))
    found = counted(lambda: history.extend(chapter.ppo(policy, ours.model, ours.tokenizer, ours.prompts, ours.score, config)))
    assert history[0]["length"] == 40 and ours.step_flops(40) == pytest.approx(found, rel=0.03)


# Budgets ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "steps"), [(1.2e9 + 48e8 * 7.4, 7), (1.2e9 + 48e8 * 7.6, 8), (1e8, 1)])
def test_dpo_takes_as_many_steps_as_are_left_after_its_reference(shared, monkeypatch, budget, steps):
    seen = []
    monkeypatch.setattr(chapter, "fit", lambda model, tokenizer, pairs, config, beta: seen.append((model, pairs, config, beta)))
    found = chapter.by_pairs(shared, Setting(2e-4, 0.3), budget, 6)
    (model, pairs, config, beta), = seen
    assert (config.steps, config.learning_rate, config.batch_size, config.seed, beta) == (steps, 2e-4, 16, 6, 0.3)
    assert pairs is shared.pairs and found.model is model is not shared.model and found.steps == steps
    assert found.flops == pytest.approx(1e8 * 12 + steps * 3 * 16 * 1e8), "12 pairs read by the reference, 16 a step forward and backward"


@pytest.mark.parametrize("method", [PPO, GRPO, RLOO])
def test_a_loop_is_charged_for_the_reward_model_and_for_the_tokens_of_its_steps(shared, monkeypatch, method):
    seen = []

    def trained(*given, **how):
        seen.append((given, how))
        return [{"length": 30.0}, {"length": 50.0}]

    monkeypatch.setattr(chapter, "ppo", trained)
    monkeypatch.setattr(chapter, "through_trl", trained)
    found = chapter.by_loop(method, shared, Setting(2e-3, 0.3), 2, 6)
    assert found.flops == pytest.approx(1e9 + shared.step_flops(30) + shared.step_flops(50)) and found.steps == 2
    (given, how), = seen
    how = vars(given[-1]) if method == PPO else how | {"method": given[0]}
    expected = {"steps": 2, "responses": 64, "tokens": 72, "learning_rate": 2e-3, "kl_weight": 0.3, "seed": 6}
    assert {name: how[name] for name in expected} == expected and (method == PPO or (how["method"], how["group"]) == (method.lower(), 4))
    assert found.model is not shared.model


def test_the_budget_is_that_of_the_clicks_that_all_learn_from(monkeypatch):
    calls = []

    def rewarder(*given):
        calls.append(given)
        return reward_model(SMALL), None

    monkeypatch.setattr(reviewers, "rewarder", rewarder)
    monkeypatch.setattr(reviewers, "PAIRS", 400)
    monkeypatch.setattr(chapter, "PROMPTS", 300)
    one, two = (chapter.prepare(3, 1_003, labels, reward_steps=600, base=SMALL) for labels in (100, 20))
    assert calls == [(3, 1_003, 100, 600, reviewers.BASE), (3, 1_003, 20, 600, reviewers.BASE)], "a reward model of comparisons alone"
    assert one.pairs == preferences(*reviewers.clicked(100, 1_003)) and one.pairs[:20] == two.pairs
    # A quarter of all clicks in a quarter of the steps, and at least an eighth of these; both responses, forward and backward.
    rows, ours = chapter.prepare_pairs(one.tokenizer, one.pairs).rows, Flops.of(one.model)
    texts = [(len(row[f"{name}_ids"]), row["request_length"]) for row in rows for name in ("chosen", "rejected")]
    reading, said = fmean(ours.reading(tokens) for tokens, _ in texts), fmean(tokens - request for tokens, request in texts)
    assert one.reward_flops == pytest.approx(150 * 16 * 2 * 3 * reading) and two.reward_flops == pytest.approx(one.reward_flops / 2, rel=0.1)
    assert one.pair == pytest.approx(2 * (reading + ours.logits * said)), "the assistant reads both with logits"


# Side by side -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """A reward model of a fifth of the size, and few responses or pairs a step."""
    monkeypatch.setattr(reviewers, "BASE", SMALL)
    monkeypatch.setattr(chapter, "RESPONSES", 16)
    monkeypatch.setattr(chapter, "BATCH", 2)
    monkeypatch.setattr(chapter, "PROMPTS", 300)


def test_all_methods_get_equal_labels_and_training_flops(tiny):
    found = chapter.side_by_side(0, 0, labels=8, steps=2, reward_steps=24, n_test=6, ns=(2, 3))
    table = {row["arm"]: row for row in found.rows}
    assert list(table) == ["SFT", PPO, GRPO, RLOO, DPO, "best of 2", "best of 3"]
    budget = table[PPO]["training FLOPs"]
    for method in (GRPO, RLOO, DPO):
        assert table[method]["training FLOPs"] == pytest.approx(budget, rel=0.08)
    assert {row["labels"] for arm, row in table.items() if arm != "SFT"} == {8} and table["SFT"]["labels"] == table["SFT"]["training FLOPs"] == 0
    assert 0 < table["best of 3"]["training FLOPs"] < budget
    one, two, three = (table[arm]["inference FLOPs"] for arm in ("SFT", "best of 2", "best of 3"))
    tokens = chapter.request_tokens(load_tokenizer(chapter.POLICY), chapter.requests(asked(6, "test", 1_000))) + table["SFT"]["tokens"]
    assert two / 2 == three / 3 == pytest.approx(one + Flops.of(load_model(chapter.POLICY)).reading(tokens)), "sampled, then read by the reward model"
    assert table["best of 3"]["KL"] == best_of_kl(3) and table["SFT"]["KL"] == pytest.approx(0, abs=1e-4)
    # Each has moved. An estimate from six responses may come out below zero.
    assert min(abs(table[method]["KL"]) for method in (PPO, GRPO, RLOO, DPO)) > 1e-3
    claims = {claim.id: claim for claim in find(["D7"])[0].claims}
    assert set(found.arms) == set(claims) == {"D7.ppo", "D7.grpo", "D7.rloo", "D7.dpo", "D7.best_of_n", "D7.first"}
    assert {claim.treatment for claim in claims.values()} == {PPO, GRPO, RLOO, DPO, chapter.best_of(chapter.NS[-1])}
    assert all(arms == {arm: row["worth"] for arm, row in table.items()} for arms in found.arms.values())


def test_the_best_of_n_is_the_one_that_scores_best_and_is_judged_by_its_true_grades(shared, monkeypatch):
    rows = asked(2, "test", 1_000)
    texts = [["a", "bbb", "cc", row["response"]] for row in rows]
    monkeypatch.setattr(chapter, "candidates", lambda model, tokenizer, prompts, n, tokens, seed: texts)
    (_, two, _), (n, four, values) = chapter.best_of_arms(shared, rows, {"inference FLOPs": 10.0, "tokens": 5.0}, (2, 4), 0)
    assert two["score"] == 3 and two["words"] == 1 and n == 4
    assert values == worth(rows, [row["response"] for row in rows]) and four["worth"] == fmean(values) != two["worth"]
    assert four["score"] == fmean(len(row["response"]) for row in rows)


def test_the_settings_are_the_best_of_the_sweep():
    worths: dict[str, dict[Setting, float]] = {}
    for row in load_rows(Path(__file__).resolve().parents[1] / "book" / "evidence" / "D7-rates.csv"):
        assert int(row["seed"]) == chapter.SWEEP_SEED < 1_000
        worths.setdefault(row["arm"], {})[Setting(float(row["rate"]), float(row["weight"]))] = float(row["worth"])
    assert {arm: tuple(found) for arm, found in worths.items()} == chapter.SWEEP
    assert {arm: max(found, key=found.get) for arm, found in worths.items()} == chapter.SETTINGS


def test_the_sweep_tries_as_many_settings_of_each_method_on_validation_requests(shared, monkeypatch):
    asked_for, splits = [], []
    trained = chapter.Trained(shared.model, 5e9, 2)
    monkeypatch.setattr(chapter, "prepare", lambda *given: shared)
    monkeypatch.setattr(chapter, "by_loop", lambda method, has, setting, steps, seed: asked_for.append((method, setting)) or trained)
    monkeypatch.setattr(chapter, "by_pairs", lambda has, setting, budget, seed: asked_for.append((DPO, setting, budget)) or trained)
    monkeypatch.setattr(chapter, "asked", lambda n, split, seed, real=asked: splits.append((split, seed)) or real(n, split, seed))
    monkeypatch.setattr(chapter, "answered", lambda *given: (dict.fromkeys(("worth", "score", "KL", "words"), 0.0), []))
    rows = chapter.sweep_methods(n=4)
    assert splits == [("validation", chapter.SWEEP_SEED)]
    assert asked_for == [
        *((method, setting) for method in (PPO, GRPO, RLOO) for setting in chapter.SWEEP[method]), *((DPO, setting, 5e9) for setting in chapter.SWEEP[DPO]),
    ]
    assert [(row["arm"], row["rate"], row["weight"]) for row in rows] == [(method, *setting) for method, setting, *_ in asked_for]
    assert len({len(settings) for settings in chapter.SWEEP.values()}) == 1
    assert all(chapter.SETTINGS[method] in settings for method, settings in chapter.SWEEP.items())
