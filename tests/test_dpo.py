"""DPO: its loss by hand and beside trl's, what it counts and learns; GRPO and RLOO through trl; best of n; over-optimization."""

from __future__ import annotations

import copy
import itertools
import math
from statistics import fmean

import numpy as np
import pytest
import torch
from test_ppo import Bandit, probabilities, shaken
from test_reward import PAIRS, pair, request
from transformers import LlamaForCausalLM

from finetunelab import dpo
from finetunelab.errors import UserError
from finetunelab.models import load_model, load_tokenizer
from finetunelab.ppo import PolicyWithValue
from finetunelab.reward import accuracy, prepare_pairs
from finetunelab.sft import end_of_turn, use_training_template
from finetunelab.training import TrainConfig


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch):
    monkeypatch.setenv("CI", "1")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("nano")


@pytest.fixture
def model(tiny_causal):
    return load_model(tiny_causal)


MORE = [*PAIRS, pair("Is it far?", "No, it is not far.", "No, it is none of your business.")]  # two that begin alike


# The loss of DPO ----------------------------------------------------------------------------------------------------------------


def test_the_loss_worked_by_hand():
    # Log ratios 4 and 1: at beta .5 the chosen response leads by 1.5, and by 0 where policy and reference agree on the difference.
    policy = torch.tensor([-10.0, -7.0]), torch.tensor([-20.0, -3.0])
    reference = torch.tensor([-14.0, -9.0]), torch.tensor([-21.0, -5.0])
    loss = dpo.dpo_loss(*policy, *reference, 0.5)
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-1.5)) + math.log(2)) / 2)
    assert dpo.dpo_loss(*policy, *reference, 2.0).item() == pytest.approx((math.log(1 + math.exp(-6)) + math.log(2)) / 2)
    assert dpo.dpo_loss(*policy[::-1], *reference[::-1], 0.5).item() == pytest.approx((math.log(1 + math.exp(1.5)) + math.log(2)) / 2)


@pytest.mark.parametrize("beta", [0.1, 5.0])
def test_a_policy_that_is_the_reference_has_a_loss_of_log_2(beta):
    log_p = torch.tensor([-3.0, -50.0]), torch.tensor([-40.0, -2.0])
    assert dpo.dpo_loss(*log_p, *log_p, beta).item() == pytest.approx(math.log(2))


def test_gradients_raise_the_chosen_and_lower_the_rejected_and_most_where_the_policy_is_wrong():
    chosen, rejected = torch.tensor([2.0, -2.0], requires_grad=True), torch.zeros(2, requires_grad=True)
    dpo.dpo_loss(chosen, rejected, torch.zeros(2), torch.zeros(2), 0.3).backward()
    # Rafailov et al. 2023, section 4: beta times the probability, by implicit rewards, of the wrong choice.
    assert chosen.grad.tolist() == pytest.approx([-0.3 / (1 + math.exp(lead)) / 2 for lead in (0.6, -0.6)])
    assert torch.equal(rejected.grad, -chosen.grad)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("template", ["chat", "plain"])
def test_rows_and_loss_are_trls(tiny_causal, tokenizer, tmp_path, template):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    tokenizer = copy.deepcopy(tokenizer)
    if template == "plain":  # with a line break behind the end of the turn
        tokenizer.chat_template = None
        use_training_template(tokenizer)
    policy, beta = shaken(load_model(tiny_causal)), 0.4
    config = DPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=len(MORE), use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to="none", disable_tqdm=True, beta=beta,
    )
    trainer = DPOTrainer(copy.deepcopy(policy), args=config, train_dataset=Dataset.from_list(MORE), processing_class=tokenizer)
    (batch,) = trainer.get_train_dataloader()
    if template == "plain":  # trl also counts the line break, which no model says; ours ends with the turn
        batch["completion_mask"][torch.arange(8), batch["attention_mask"].sum(1) - 1] = 0
    theirs = trainer.compute_loss(trainer.model, dict(batch)).item()
    rows = prepare_pairs(tokenizer, MORE).rows
    said = [(row[name], row["request_length"]) for name in ("chosen_ids", "rejected_ids") for row in rows]
    ours = dpo.response_batch(said, tokenizer.pad_token_id)
    counted = [
        sorted(tuple(ids[mask.bool()].tolist()) for ids, mask in zip(each["input_ids"], each[name], strict=True))
        for each, name in ((batch, "completion_mask"), (ours, "response_mask"))
    ]
    assert counted[0] == counted[1]
    log_p, log_q = (dpo.log_probabilities(each, said, tokenizer.pad_token_id).chunk(2) for each in (policy, load_model(tiny_causal)))
    found = dpo.dpo_loss(*log_p, *log_q, beta).item()
    assert found == pytest.approx(theirs, abs=1e-5) and abs(found - math.log(2)) > 0.05
    assert [len(ids) for ids in counted[1]] != [1] * 8


# What it counts -----------------------------------------------------------------------------------------------------------------


def test_a_response_counts_its_own_tokens_and_its_end_and_none_of_the_request(model, tokenizer):
    rows = prepare_pairs(tokenizer, MORE).rows
    said = [(row[name], row["request_length"]) for row in rows for name in ("chosen_ids", "rejected_ids")]
    found = dpo.log_probabilities(model, said, tokenizer.pad_token_id)
    texts = [row[name][0]["content"] for row in MORE for name in ("chosen", "rejected")]
    for (ids, begin), one, text in zip(said, found, texts, strict=True):
        assert tokenizer.decode(ids[begin:-1]) == text and ids[-1] == end_of_turn(tokenizer)
        with torch.no_grad():
            log_all = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        assert one.item() == pytest.approx(sum(log_all[t - 1, ids[t]].item() for t in range(begin, len(ids))), abs=1e-4)


def test_padding_on_either_side_has_no_influence(model, tokenizer):
    rows = [(row["chosen_ids"], row["request_length"]) for row in prepare_pairs(tokenizer, PAIRS).rows]
    alone = torch.cat([dpo.log_probabilities(model, [row], tokenizer.pad_token_id) for row in rows])
    batch = dpo.response_batch(rows, tokenizer.pad_token_id)
    assert not batch["attention_mask"].bool().all()
    spare = batch["input_ids"].shape[1] - batch["attention_mask"].sum(1)
    turned = {name: torch.stack([row.roll(int(n)) for row, n in zip(value, spare, strict=True)]) for name, value in batch.items()}
    noise = copy.deepcopy(batch)
    noise["input_ids"][~noise["attention_mask"].bool()] = 99
    for each in (batch, turned, noise):
        with torch.no_grad():
            assert torch.allclose(dpo.response_log_probabilities(model, each), alone, atol=1e-4)


def test_rows_that_share_a_batch_keep_their_order(model, tokenizer, monkeypatch):
    rows = [(row[name], row["request_length"]) for row in prepare_pairs(tokenizer, PAIRS).rows for name in ("chosen_ids", "rejected_ids")]
    alone = torch.cat([dpo.log_probabilities(model, [row], tokenizer.pad_token_id) for row in rows])
    assert alone.std() > 1
    for size in (64, 2):
        monkeypatch.setattr(dpo, "BATCH", size)
        assert torch.allclose(dpo.log_probabilities(model, rows, tokenizer.pad_token_id), alone, atol=1e-4)


def test_implicit_rewards_are_those_of_the_ratio(model, tokenizer):
    policy = shaken(copy.deepcopy(model))
    rows = [(row["chosen_ids"], row["request_length"]) for row in prepare_pairs(tokenizer, PAIRS).rows]
    ratio = dpo.log_probabilities(policy, rows, tokenizer.pad_token_id) - dpo.log_probabilities(model, rows, tokenizer.pad_token_id)
    prompts, responses = [row["prompt"] for row in PAIRS], [row["chosen"][0]["content"] for row in PAIRS]
    found = dpo.implicit_rewards(policy, model, tokenizer, prompts, responses, 0.7)
    assert torch.allclose(found, 0.7 * ratio, atol=1e-4) and found.abs().min() > 1e-3


# What it learns -----------------------------------------------------------------------------------------------------------------

WORDS = ("onions", "water", "bread", "soup", "tea", "milk", "salt", "rice")
POLITE = [pair(f"How about {a}?", f"Please try {b}.", f"Nonsense, {b}.") for a in WORDS for b in WORDS]
UNSEEN = [request("What about wine?")] * 2, ["Please drink it.", "Nonsense, drink it."]
CONFIG = TrainConfig(steps=24, batch_size=8, learning_rate=1e-2, warmup=4)


def test_it_learns_what_was_chosen_and_can_be_told_the_opposite(model, tokenizer, monkeypatch):
    calls, counted = [], dpo.log_probabilities
    monkeypatch.setattr(dpo, "log_probabilities", lambda *given: calls.append(1) or counted(*given))
    equal = pair("How?", "Well.", "Well.")
    for order, sign in ((("chosen", "rejected"), 1), (("rejected", "chosen"), -1)):
        policy = copy.deepcopy(model)
        pairs = [row | {"chosen": row[order[0]], "rejected": row[order[1]]} for row in POLITE]
        calls.clear()
        fitted = dpo.fit(policy, tokenizer, [*pairs, equal], CONFIG)
        assert len(calls) == 1, "the reference is asked once"
        assert fitted.result.cost.steps == 24 and len(fitted.pairs.rows) == 64 and fitted.pairs.equal == 1
        first, second = dpo.implicit_rewards(policy, model, tokenizer, *UNSEEN).tolist()
        assert sign * (first - second) > 1
        assert fitted.result.history[-1]["loss"] < 0.1 < fitted.result.history[0]["loss"] < math.log(2)


def test_the_accuracy_is_that_before_a_pair_was_learned_from(model, tokenizer):
    # One step over all pairs: nothing had been learned before it. After many passes, all had.
    once = dpo.fit(copy.deepcopy(model), tokenizer, POLITE, TrainConfig(steps=1, batch_size=64, learning_rate=1e-2, warmup=0))
    assert 0.1 < once.accuracy < 0.9
    policy = copy.deepcopy(model)
    assert dpo.fit(policy, tokenizer, POLITE, CONFIG).accuracy > 0.9
    # Three steps of one pair: those whose turn did not come are not counted.
    few = dpo.fit(copy.deepcopy(model), tokenizer, POLITE, TrainConfig(steps=3, batch_size=1, learning_rate=1e-2, warmup=0))
    assert few.accuracy in [pytest.approx(hits / 6) for hits in range(7)]


def test_a_larger_beta_says_the_same_with_a_smaller_change(model, tokenizer):
    change, config = {}, TrainConfig(steps=40, batch_size=16, learning_rate=1e-2, warmup=4)
    for beta in (0.1, 2.0):
        policy = copy.deepcopy(model)
        dpo.fit(policy, tokenizer, POLITE, config, beta)
        found = dpo.implicit_rewards(policy, model, tokenizer, *UNSEEN, beta)
        assert accuracy([float(found[0] - found[1])]) == 1
        change[beta] = float(found[0] - found[1]) / beta
    assert change[0.1] > 2 * change[2.0] > 0


def test_bad_input_of_dpo(model, tokenizer):
    with pytest.raises(UserError, match="beta is 0"):
        dpo.fit(model, tokenizer, PAIRS, TrainConfig(steps=1), beta=0)
    with pytest.raises(UserError, match="none of 1 pairs can be learned from"):
        dpo.fit(model, tokenizer, [pair("How?", "Well.", "Well.")], TrainConfig(steps=1))


# GRPO and RLOO ------------------------------------------------------------------------------------------------------------------

ASKED = [request(f"How about {word}?") for word in WORDS]
STEP = {"steps": 2, "responses": 6, "group": 3, "learning_rate": 1e-2, "kl_weight": 0.05, "tokens": 6}


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_a_model_is_trained_in_place_on_what_it_said(method, tiny_causal, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, seen, asked, said, generate = shaken(load_model(tiny_causal)), [], [], [], LlamaForCausalLM.generate
    one = tokenizer.apply_chat_template(ASKED[0], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    likely, weights = model(**one).logits[0, -1].argmax(), model.lm_head.weight.data
    weights[end_of_turn(tokenizer)] = 3 * weights[likely]  # so that turns end now and then
    before, others = copy.deepcopy(model.state_dict()), set(vars(model))

    def watched(self, input_ids, **options):
        found = generate(self, input_ids=input_ids, **options)
        asked.append(tokenizer.batch_decode(input_ids))
        said.append(found[:, input_ids.shape[1] :])
        return found

    def score(prompts, texts):
        seen.append((prompts, texts))
        return [len(text) / 10 for text in texts]

    monkeypatch.setattr(LlamaForCausalLM, "generate", watched)
    history = dpo.through_trl(method, model, tokenizer, ASKED, score, **STEP)
    assert len(seen) == len(history) == 2 and not list(tmp_path.iterdir())
    for (prompts, texts), requests, ids, entry in zip(seen, asked, said, history, strict=True):
        assert all(turns in ASKED for turns in prompts) and [prompts[0]] * 3 + [prompts[3]] * 3 == prompts and prompts[0] != prompts[3]
        assert all(turns[0]["content"] in text for turns, text in zip(prompts, requests, strict=True)) and ids.shape == (6, 6)
        assert texts == [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)] and len(set(texts)) > 1
        ends = [(row == end_of_turn(tokenizer)).any().item() for row in ids]
        assert entry["score"] == pytest.approx(fmean(len(text) / 10 for text in texts)) and entry["ended"] == pytest.approx(fmean(ends))
        assert entry["tokens"] == int((ids != tokenizer.pad_token_id).sum()) == pytest.approx(6 * entry["length"])
        assert entry["reward"] == pytest.approx(entry["score"] - (1 - entry["ended"]) - 0.05 * entry["kl"], abs=1e-5)
        assert 0 < entry["entropy"] < math.log(len(tokenizer)) and min(entry[phase] for phase in ("generation", "scoring", "update")) > 0
    assert [entry["step"] for entry in history] == [0, 1] and 0 < sum(entry["ended"] for entry in history) < 2
    # The reference is the model as it was given, not what lies where it was loaded from.
    assert history[0]["kl"] == pytest.approx(0, abs=1e-4) and abs(history[1]["kl"]) > 1e-3
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert set(vars(model)) == others and model.generation_config.eos_token_id != [tokenizer.eos_token_id, end_of_turn(tokenizer)]


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_they_find_the_better_arm(method):
    bandit = Bandit()
    policy, asked = copy.deepcopy(bandit.model), [request("which")] * 8
    options = {"steps": 25, "responses": 64, "group": 8, "learning_rate": 3e-2, "kl_weight": 0.0, "tokens": 1, "missing_end": 0.0}
    history = dpo.through_trl(method, policy, bandit.tokenizer, asked, bandit.score, **options)
    assert probabilities(PolicyWithValue(bandit.model))[3] < 0.3 and probabilities(PolicyWithValue(policy))[3] > 0.9
    assert history[0]["score"] < 0.4 and 0.6 < history[-1]["score"] and history[-1]["kl"] > 0.5


def test_with_a_large_kl_weight_the_policy_stays_put_and_a_missing_end_is_charged():
    bandit = Bandit()
    asked, options = [request("which")] * 8, {"steps": 25, "responses": 64, "group": 8, "learning_rate": 3e-2, "tokens": 1}
    policy = copy.deepcopy(bandit.model)
    dpo.through_trl("rloo", policy, bandit.tokenizer, asked, bandit.score, kl_weight=1e4, missing_end=0.0, **options)
    moved = probabilities(PolicyWithValue(policy)) - probabilities(PolicyWithValue(bandit.model))
    assert moved.abs().max() < 0.15
    policy = copy.deepcopy(bandit.model)
    dpo.through_trl("rloo", policy, bandit.tokenizer, asked, lambda prompts, texts: [0.0] * len(texts), kl_weight=0.0, **options)
    assert probabilities(PolicyWithValue(policy))[1] > 0.9


def test_the_seed_decides(tiny_causal, tokenizer):
    def run(seed):
        texts = []
        dpo.through_trl("rloo", load_model(tiny_causal), tokenizer, ASKED, lambda _, said: texts.extend(said) or [0.0] * 6, **STEP, seed=seed)
        return texts

    assert run(1) == run(1) != run(2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "ppo"}, "unknown method 'ppo'"), ({"group": 1}, "6 responses do not make groups of 1"),
        ({"group": 4}, "do not make groups of 4"),
        ({"responses": 0}, "0 responses do not make groups"), ({"responses": 30}, "asks 10 requests, and there are 8"),
        ({"score": lambda prompts, texts: [0.0]}, "no finite number for each of 6 responses"),
    ],
)
def test_bad_input_of_the_trainers(model, tokenizer, changes, told):
    given = {"method": "rloo", "score": lambda prompts, texts: [0.0] * len(texts)} | STEP | changes
    with pytest.raises(UserError, match=told):
        dpo.through_trl(given.pop("method"), model, tokenizer, ASKED, given.pop("score"), **given)


# Best of n ----------------------------------------------------------------------------------------------------------------------


def test_the_best_of_what_was_sampled_is_kept(model, tokenizer):
    def score(prompts, texts):
        return [len(text) for text in texts]

    found = dpo.candidates(model, tokenizer, ASKED[:3], 4, tokens=8, seed=3)
    assert [len(texts) for texts in found] == [4, 4, 4] and len({text for texts in found for text in texts}) == 12
    assert dpo.best_of(4, model, tokenizer, ASKED[:3], score, tokens=8, seed=3) == [max(texts, key=len) for texts in found]
    assert dpo.candidates(model, tokenizer, ASKED[:3], 4, tokens=8, seed=4) != found
    assert dpo.candidate_scores(score, ASKED[:3], found).tolist() == [[len(text) for text in texts] for texts in found]
    with pytest.raises(UserError, match="no finite number"):
        dpo.best_of(2, model, tokenizer, ASKED[:3], lambda prompts, texts: [math.nan] * len(texts), tokens=2)


def test_each_candidate_belongs_to_its_request(model, tokenizer, monkeypatch):
    asked = [request("word " * length) for length in (5, 1, 9, 2)]
    monkeypatch.setattr(dpo, "SAMPLED", 5)
    monkeypatch.setattr(dpo, "respond", lambda policy, tokenizer, prompts, *more: ([turns[0]["content"] for turns in prompts],))
    found = dpo.candidates(model, tokenizer, asked, 3)
    assert found == [[turns[0]["content"]] * 3 for turns in asked]

    def fits(prompts, texts):
        return [float(turns[0]["content"] == text) for turns, text in zip(prompts, texts, strict=True)]

    pairs = dpo.candidate_scores(fits, asked, found)
    assert pairs.shape == (4, 3) and pairs.all()


def test_the_kl_of_the_best_of_n():
    assert dpo.best_of_kl(1) == 0 and dpo.best_of_kl(2) == pytest.approx(math.log(2) - 0.5)
    # The best of n numbers from 0 to 1 has density n u^(n - 1): its KL as an integral.
    u = (np.arange(200_000) + 0.5) / 200_000
    density = 16 * u**15
    assert dpo.best_of_kl(16) == pytest.approx(float((density * np.log(density)).mean()), abs=1e-4)


def brute(proxy, truth, n) -> tuple[float, float]:
    """Go through all choices of n; of equals each is as likely to be kept."""
    found = []
    for ours, real in zip(proxy, truth, strict=True):
        for places in itertools.combinations(range(len(ours)), n):
            best = [i for i in places if ours[i] == max(ours[j] for j in places)]
            found.append((ours[best[0]], fmean(real[i] for i in best)))
    return tuple(fmean(values) for values in zip(*found, strict=True))


@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_of_best_of_n_is_the_mean_over_all_choices(ties):
    rng = np.random.default_rng(0)
    proxy, truth = rng.normal(size=(2, 3, 6))
    if ties:
        proxy = np.round(proxy)
        assert all(len(set(row)) < 6 for row in proxy.tolist())
    found = dpo.best_of_curve(proxy, truth, range(1, 7))
    expected = [brute(proxy.tolist(), truth.tolist(), n) for n in range(1, 7)]
    assert np.stack(found, 1) == pytest.approx(np.array(expected))
    assert found[0][0] == pytest.approx(proxy.mean()) and found[0][5] == pytest.approx(proxy.max(1).mean())
    many = dpo.best_of_curve(rng.normal(size=(2, 2048)), np.ones((2, 2048)), [1, 1024, 2048])
    assert many[1] == pytest.approx(1) and 2.5 < many[0][1] < many[0][2]


@pytest.mark.parametrize(
    ("proxy", "truth", "ns", "told"),
    [
        ([[1, 2]], [[1, 2, 3]], [1], "do not fit"), ([1, 2], [1, 2], [1], "do not fit"), ([[]], [[]], [1], "do not fit"),
        ([[1, 2]], [[1, 2]], [3], "from 2 candidates"), ([[1, 2]], [[1, 2]], [0], "from 2 candidates"),
    ],
)
def test_bad_input_of_the_curve(proxy, truth, ns, told):
    with pytest.raises(UserError, match=told):
        dpo.best_of_curve(proxy, truth, ns)


# Curves of over-optimization ----------------------------------------------------------------------------------------------------

FITS = {
    "best of n": (dpo.fit_best_of, lambda d: d * (1.2 - 0.3 * d)),
    "RL": (dpo.fit_rl, lambda d: d * (0.8 - 0.4 * np.log(np.where(d > 0, d, 1)))),
}


@pytest.mark.parametrize("name", FITS)
def test_a_curve_is_found_again(name):
    fit, truth = FITS[name]
    d, grid = np.linspace(0, 5, 21), np.linspace(0, 5, 50_001)
    exact = fit(d, truth(d))
    assert (exact.a, exact.b) == pytest.approx((1.2, 0.3) if name == "best of n" else (0.8, 0.4))
    assert exact(grid) == pytest.approx(truth(grid)) and exact(0.0) == 0
    where, height = exact.peak
    assert where == pytest.approx(grid[truth(grid).argmax()], abs=1e-3) and height == pytest.approx(truth(grid).max())
    noisy = fit(np.tile(d, 50), truth(np.tile(d, 50)) + np.random.default_rng(0).normal(0, 0.1, 50 * 21))
    assert (noisy.a, noisy.b) == pytest.approx((exact.a, exact.b), abs=0.02) and noisy.a != pytest.approx(exact.a, abs=1e-4)
    assert noisy.peak[0] == pytest.approx(where, abs=0.1)


@pytest.mark.parametrize("curve", [dpo.BestOfCurve, dpo.RLCurve])
def test_a_curve_that_never_falls_has_no_peak(curve):
    assert curve(1.0, 0.0).peak == curve(-1.0, -0.5).peak == (math.inf, math.inf)
    assert curve(-1.0, 0.0).peak == (0.0, 0.0) and curve(1.0, 1e-9).peak[0] > 1e8
    assert dpo.BestOfCurve(-1.0, 0.5).peak == (0.0, 0.0)
    assert dpo.RLCurve(-1.0, 0.5).peak == pytest.approx((math.exp(-3), 0.5 * math.exp(-3)))


@pytest.mark.parametrize("fit", [dpo.fit_best_of, dpo.fit_rl])
@pytest.mark.parametrize(
    ("d", "gain", "told"),
    [
        ([1, 2], [1], "not pairs"), ([-1, 2, 3], [1, 1, 1], "not pairs"), ([1, math.nan, 2], [1, 1, 1], "not pairs"),
        ([1, 2], [1, math.inf], "not pairs"),
        ([0, 2, 2], [0, 1, 1], "two different d"),
    ],
)
def test_bad_input_of_the_fits(fit, d, gain, told):
    with pytest.raises(UserError, match=told):
        fit(d, gain)
