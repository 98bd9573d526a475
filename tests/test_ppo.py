"""PPO: its quantities against worked examples, the sampler against a plain forward pass, and the loop on a bandit with two arms."""

from __future__ import annotations

import copy
import math
import random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetunelab import ppo
from finetunelab.errors import UserError
from finetunelab.models import load_model, load_tokenizer
from finetunelab.ppo import PolicyWithValue, PPOConfig
from finetunelab.sft import end_of_turn

ASKED = [
    [{"role": "user", "content": text}]
    for text in ("How do I make soup?", "Tell me, please, what I should write in a letter to my old neighbor.", "Roses?")
]


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch):
    monkeypatch.setenv("CI", "1")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaken(model, seed: int = 1):
    """The model with weights changed a little: another policy."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model


# The quantities -----------------------------------------------------------------------------------------------------------------

# tianshou (Weng et al. 2022, JMLR 23), test/base/test_returns.py: rewards, values of the next states (the last of an episode is not read), and
# the returns at gamma .99 and lambda .95, in three episodes of four steps.
REWARDS = [[101, 102, 103, 200], [104, 105, 106, 201], [107, 108, 109, 202]]
NEXT = [[2, 3, 4], [5, 6, 7], [8, 9, 10]]
FIRST = [-3, -1, -2]  # the value of an episode's first state, which returns do not hang on
RETURNS = [[454.8344, 376.1143, 291.298, 200], [464.5610, 383.1085, 295.387, 201], [474.2876, 390.1027, 299.476, 202]]
BEGINS, WIDTH = [1, 3, 2], 8


def placed(rows, filling: float = 0.0, dtype=torch.float32) -> torch.Tensor:
    """Lay rows of four into wider ones, each behind a request of its own length."""
    found = torch.full((len(rows), WIDTH), filling, dtype=dtype)
    for i, (begin, row) in enumerate(zip(BEGINS, rows, strict=True)):
        found[i, begin : begin + len(row)] = torch.tensor(row)
    return found


def test_advantages_are_those_of_a_published_example_whatever_stands_around_the_response():
    mask = placed([[True] * 4] * 3, False, torch.bool)
    values = [[first, *after] for first, after in zip(FIRST, NEXT, strict=True)]
    found, returns = ppo.advantages(placed(REWARDS, 1e3), placed(values, -1e4), mask, 0.99, 0.95)
    torch.testing.assert_close(returns, placed(RETURNS), rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(found, (placed(RETURNS) - placed(values)) * mask, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.97, 0.0)])
def test_advantages_are_the_sum_that_defines_them(gamma, lam):
    rewards, values = torch.randn(2, 1, 6, generator=seeded())
    found, returns = ppo.advantages(rewards, values, torch.ones(1, 6, dtype=torch.bool), gamma, lam)
    r, v = rewards[0].tolist(), [*values[0].tolist(), 0.0]
    delta = [r[t] + gamma * v[t + 1] - v[t] for t in range(6)]
    expected = [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, 6)) for t in range(6)]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-5)
    if lam == 1:  # what is still to come, less what was expected
        assert returns[0].tolist() == pytest.approx([sum(gamma ** (k - t) * r[k] for k in range(t, 6)) for t in range(6)], abs=1e-5)


def test_a_response_is_paid_at_its_last_token_and_pays_for_kl_at_each():
    mask = torch.tensor([[False, True, True, True, False], [False, False, True, False, False]])
    kl = torch.tensor([[9.0, 0.5, -0.25, 1.0, 9.0], [9.0, 9.0, 2.0, 9.0, 9.0]])
    found = ppo.rewards_per_token(torch.tensor([0.7, -1.0]), kl, 0.1, mask)
    torch.testing.assert_close(found, torch.tensor([[0, -0.05, 0.025, 0.6, 0], [0, 0, -1.2, 0, 0]]))


def test_loss_and_gradient_of_the_clipped_objective_by_hand():
    # Ratio and advantage: within the clip; further than it, in the direction of the advantage and against it, up and down; not counted.
    ratio = torch.tensor([[1.1, 1.5, 1.5, 0.5, 0.5, 7.0]])
    advantage = torch.tensor([[2.0, 1.0, -1.0, 1.0, -1.0, 50.0]])
    mask = torch.tensor([[True, True, True, True, True, False]])
    old = torch.full((1, 6), math.log(0.1))
    log_p = (old + ratio.log()).requires_grad_()
    loss = ppo.clipped_policy_loss(log_p, old, advantage, mask, 0.2)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-(2.2 + 1.2 - 1.5 + 0.5 - 0.8) / 5)
    torch.testing.assert_close(log_p.grad, torch.tensor([[-2.2, 0, 1.5, -0.5, 0, 0]]) / 5)


def test_loss_and_gradient_of_clipped_values_by_hand():
    # Value, old value, return: left the clip toward the return, stayed inside, left it away from the return, not counted.
    values = torch.tensor([[0.5, 0.1, -0.5, 9.0]], requires_grad=True)
    mask = torch.tensor([[True, True, True, False]])
    loss = ppo.clipped_value_loss(values, torch.zeros(1, 4), torch.tensor([[1.0, 1.0, 0.0, 0.0]]), mask, 0.2)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((0.8**2 + 0.9**2 + 0.5**2) / 3 / 2)
    torch.testing.assert_close(values.grad, torch.tensor([[0, -0.3, -0.5 / 3, 0]]))


def test_whitening_sees_the_marked_tokens_alone():
    mask = torch.tensor([[True, True, False], [False, True, True]])
    found = ppo.whiten(torch.tensor([[1.0, 2.0, 1e6], [-1e6, 3.0, 6.0]]), mask)
    spread = math.sqrt(14 / 4)
    torch.testing.assert_close(found, torch.tensor([[-2.0, -1.0, 0.0], [0.0, 0.0, 3.0]]) / spread)


def test_log_probabilities_of_tokens():
    logits = torch.tensor([[[0.0, math.log(3.0)], [math.log(4.0), 0.0]]])
    found = ppo.token_log_probabilities(logits, torch.tensor([[1, 1]]))
    torch.testing.assert_close(found.exp(), torch.tensor([[0.75, 0.2]]))


# Policy and rollout -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("nano-small")


@pytest.fixture(scope="module")
def reference():
    return shaken(load_model("nano-small"))


@pytest.fixture
def policy():
    """A policy that ends some of its responses early, and whose value head says something."""
    made = PolicyWithValue(load_model("nano-small"))
    torch.nn.init.normal_(made.value.weight, std=0.05, generator=seeded(3))
    torch.nn.init.constant_(made.value.bias, 0.3)
    return made


def rolled(policy, reference, tokenizer, prompts=ASKED * 4, tokens=40, seed=0):
    return ppo.rollout(policy, reference, tokenizer, prompts, lambda asked, texts: [len(text) / 100 for text in texts], tokens, seeded(seed))


def test_a_rollout_knows_what_a_plain_forward_pass_without_cache_says(policy, reference, tokenizer):
    said = rolled(policy, reference, tokenizer)
    lengths = said.mask.sum(1)
    assert lengths.min() < lengths.max() == 40 and said.ended.any() and not said.ended.all(), "some must end early for this test to say much"
    for i, prompt in enumerate(said.prompts):
        request = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        begin, end = len(request), len(request) + int(lengths[i])
        assert said.ids[i, :begin].tolist() == request and said.mask[i].nonzero()[:, 0].tolist() == list(range(begin, end))
        row = said.ids[i : i + 1, :end]
        for model, found in ((policy.model, said.log_p), (reference, said.reference_log_p)):
            with torch.no_grad():
                out = model(row, output_hidden_states=True)
            expected = out.logits[0].log_softmax(-1)[range(begin - 1, end - 1), row[0, begin:]]
            torch.testing.assert_close(found[i, begin:end], expected, rtol=0, atol=2e-5)
            assert not found[i, :begin].any() and not found[i, end:].any()
            if model is policy.model:
                values = policy.value(out.hidden_states[-1][0, begin - 1 : end - 1])[:, 0]
                torch.testing.assert_close(said.values[i, begin:end], values.detach(), rtol=0, atol=1e-4)
        assert said.texts[i] == tokenizer.decode(row[0, begin:], skip_special_tokens=True).strip()
        assert said.scores[i] == pytest.approx(len(said.texts[i]) / 100)
    assert (said.kl.sum(1) - (said.log_p.sum(1) - said.reference_log_p.sum(1))).abs().max() < 1e-4 and said.kl.sum(1).mean() > 1


def test_a_response_ends_with_its_turn(policy, reference, tokenizer):
    said, ends = rolled(policy, reference, tokenizer), {end_of_turn(tokenizer), tokenizer.eos_token_id}
    for ids, mask, ended in zip(said.ids, said.mask, said.ended, strict=True):
        tokens = ids[mask].tolist()
        assert (tokens[-1] in ends) == bool(ended) and not ends & set(tokens[:-1]) and (ended or len(tokens) == 40)


def test_a_turn_ends_with_the_token_of_the_chat_template_or_of_the_text(tokenizer):
    policy = PolicyWithValue(load_model("nano-sft"))
    said = rolled(policy, policy.model, tokenizer)
    end, rows = end_of_turn(tokenizer), [ids[mask].tolist() for ids, mask in zip(said.ids, said.mask, strict=True)]
    assert end != tokenizer.eos_token_id and sum(row[-1] == end for row in rows) > 3 and not any(end in row[:-1] for row in rows)


def test_rows_that_end_are_dropped_without_a_change_to_the_others(policy, tokenizer):
    batch = tokenizer(["The baker sold", "In the old town there", "She", "A letter to my dear"] * 3, return_tensors="pt", padding=True, padding_side="left")
    requests = batch["input_ids"], batch["attention_mask"]
    longer, whole, *_ = ppo.sample(policy, *requests, torch.tensor([], dtype=torch.long), 20, seeded())
    ends = longer[0, whole[0]][2:3]  # what some row says early shall end it
    dropped, mask, *_ = ppo.sample(policy, *requests, ends, 20, seeded())
    assert mask.sum(1).min() < 4 and mask.sum(1).max() > 5 and whole.sum(1).min() == 20
    for row in range(12):
        count = int(mask[row].sum())
        assert dropped[row, mask[row]].tolist() == longer[row, whole[row]][:count].tolist()


def test_what_a_row_says_does_not_hang_on_the_rows_beside_it(policy, reference, tokenizer):
    together = rolled(policy, reference, tokenizer, ASKED)
    alone = rolled(policy, reference, tokenizer, ASKED[:1])
    assert together.texts[0] == alone.texts[0] and len(set(together.texts)) == 3
    again, other = rolled(policy, reference, tokenizer, ASKED), rolled(policy, reference, tokenizer, ASKED, seed=1)
    assert again.texts == together.texts != other.texts


def test_tokens_are_drawn_with_the_probabilities_of_the_model(bandit):
    policy = PolicyWithValue(bandit.model)
    policy.model.lm_head.weight.data *= 30
    requests = torch.full((20_000, 1), 4)
    ids, *_ = ppo.sample(policy, requests, torch.ones_like(requests), torch.tensor([1]), 1, seeded())
    shares = ids[:, 1].bincount(minlength=5) / 20_000
    expected = probabilities(policy)
    assert 0.02 < expected.min() and expected.max() > 0.3, f"unequal enough to tell tokens apart: {expected}"
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.015)


def test_the_kl_of_a_policy_to_itself_is_zero_and_the_first_ratio_is_one(policy, tokenizer):
    said = rolled(policy, copy.deepcopy(policy.model), tokenizer)
    assert said.kl.abs().max() < 2e-5
    log_p, values = policy(said.ids, said.mask)
    torch.testing.assert_close((log_p - said.log_p).exp(), torch.ones(log_p.shape), rtol=0, atol=2e-5)
    torch.testing.assert_close(values, said.values, rtol=0, atol=1e-4)
    config = PPOConfig(epochs=1, minibatches=1, learning_rate=1e-2)
    watched = ppo.update(policy, said, config, torch.optim.SGD(policy.parameters(), lr=1e-2), seeded())
    assert watched["clip_fraction"] == 0 and watched["update_kl"] == pytest.approx(0, abs=1e-6)
    assert watched["policy_loss"] == pytest.approx(0, abs=1e-4), "whitened advantages have mean zero"
    after, _ = policy(said.ids, said.mask)
    assert (after - said.log_p).abs().max() > 1e-3


def test_what_an_update_watches_by_hand(policy, reference, tokenizer):
    said = rolled(policy, reference, tokenizer)
    said.log_p -= math.log(1.5) * said.mask  # as if every token had become half again as likely
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.0)
    watched = ppo.update(policy, said, PPOConfig(minibatches=1, clip=0.4), optimizer, seeded())
    norm = sum(float(p.grad.square().sum()) for p in policy.model.parameters()) ** 0.5
    assert norm == pytest.approx(1, abs=1e-3), "the gradient of the policy is cut to that"
    assert watched["clip_fraction"] == 1 and watched["update_kl"] == pytest.approx(0.5 - math.log(1.5), abs=1e-4)
    assert ppo.update(policy, said, PPOConfig(minibatches=1, clip=0.6), optimizer, seeded())["clip_fraction"] == 0


def test_padding_has_no_influence(policy, reference, tokenizer):
    said = rolled(policy, reference, tokenizer)
    wider = copy.copy(said)
    for name in ("ids", "mask", "log_p", "reference_log_p", "values"):
        tensor = getattr(said, name)
        noise = torch.full((len(tensor), 5), 7).to(tensor.dtype) if name != "mask" else torch.zeros(len(tensor), 5, dtype=torch.bool)
        setattr(wider, name, torch.cat([tensor, noise], 1))
    changed = {}
    for name, kept in (("plain", said), ("wider", wider)):
        learner = copy.deepcopy(policy)
        watched = ppo.update(learner, kept, PPOConfig(epochs=2, minibatches=3), torch.optim.SGD(learner.parameters(), lr=1e-2), seeded())
        changed[name] = (watched, learner.model.lm_head.weight.detach())
    assert changed["plain"][0] == pytest.approx(changed["wider"][0], rel=1e-4, abs=1e-5) and changed["plain"][0]["update_kl"] > 0
    torch.testing.assert_close(changed["plain"][1], changed["wider"][1], rtol=0, atol=1e-5)


def test_the_value_head_starts_at_zero_and_leaves_the_policy_alone(policy, reference, tokenizer):
    said = rolled(policy, reference, tokenizer)
    fresh = PolicyWithValue(policy.model)
    with torch.no_grad():
        (plain, zeros), (other, values) = fresh(said.ids, said.mask), policy(said.ids, said.mask)
    assert torch.equal(plain, other) and not zeros.any() and values[said.mask].abs().min() > 0


# The loop -----------------------------------------------------------------------------------------------------------------------


class Bandit:
    """Two arms, "left" and "right", that pay 1 three and eight times in ten, and a small model to pull them."""

    def __init__(self):
        words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1, "left": 2, "right": 3, "which": 4}, unk_token="<pad>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", eos_token="<end>",
            chat_template="{% for message in messages %}{% if message.role == 'assistant' %}{% generation %}{{ message.content + '<end>' }}"
            "{% endgeneration %}{% else %}{{ message.content }}{% endif %}{% endfor %}",
        )
        torch.manual_seed(0)
        self.model = LlamaForCausalLM(LlamaConfig(
            vocab_size=5, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0, eos_token_id=1)).eval()
        self.luck = random.Random(0)

    def score(self, prompts, texts):
        return [float(self.luck.random() < {"left": 0.3, "right": 0.8}.get(text, 0.0)) for text in texts]

    def play(self, score=None, prompts=("which",), **changes):
        asked = [[{"role": "user", "content": prompt}] for prompt in prompts]
        policy, after_step = PolicyWithValue(copy.deepcopy(self.model)), changes.pop("after_step", None)
        config = PPOConfig(**{"steps": 25, "responses": 64, "tokens": 1, "learning_rate": 3e-2, "value_learning_rate": 3e-2, "missing_end": 0.0, "kl_weight": 0.0, **changes})
        return policy, ppo.ppo(policy, self.model, self.tokenizer, asked, score or self.score, config, after_step)


@pytest.fixture
def bandit():
    return Bandit()


def probabilities(policy) -> torch.Tensor:
    """What the policy does with the request: the probability of each token."""
    with torch.no_grad():
        return policy.model(torch.tensor([[4]])).logits[0, -1].softmax(-1)


def test_ppo_finds_the_better_arm(bandit):
    before = probabilities(PolicyWithValue(bandit.model))
    policy, history = bandit.play()
    assert before[3] < 0.3 and probabilities(policy)[3] > 0.9
    assert history[0]["score"] < 0.4 and 0.6 < history[-1]["score"] < 1
    assert history[0]["entropy"] > 1.4 > 0.5 > history[-1]["entropy"] and history[-1]["kl"] > 1
    assert max(entry["clip_fraction"] for entry in history) > 0.01 and all(entry["ended"] < 0.5 for entry in history)
    with torch.no_grad():
        expected = policy.value(policy.model.model(torch.tensor([[4]])).last_hidden_state)[0, 0, 0]
    assert expected == pytest.approx(0.8, abs=0.15), "the value head has learned what the arm pays"


def test_with_a_very_large_kl_weight_the_policy_stays_put(bandit):
    policy, history = bandit.play(kl_weight=1e4)
    assert (probabilities(policy) - probabilities(PolicyWithValue(bandit.model))).abs().max() < 0.05 and history[-1]["kl"] < 0.05


def test_a_response_that_does_not_end_is_charged(bandit):
    policy, history = bandit.play(lambda prompts, texts: [0.0] * len(texts), missing_end=1.0)
    assert probabilities(policy)[1] > 0.9 and history[0]["ended"] < 0.5 < 0.8 < history[-1]["ended"]


def test_each_step_logs_what_there_is_to_watch(bandit):
    _, history = bandit.play(steps=3, tokens=4, kl_weight=0.5, missing_end=0.25)
    assert [entry["step"] for entry in history] == [0, 1, 2]
    for entry in history:
        assert all(math.isfinite(value) for value in entry.values())
        assert entry["reward"] == pytest.approx(entry["score"] - 0.25 * (1 - entry["ended"]) - 0.5 * entry["kl"], abs=1e-5)
        assert entry["tokens"] == pytest.approx(64 * entry["length"]) and 1 < entry["length"] < 4 and 0 < entry["ended"] < 1
        assert entry["explained_variance"] < 1 and min(entry[phase] for phase in ("generation", "scoring", "update")) > 0
    assert history[0]["kl"] == pytest.approx(0, abs=1e-5) and history[2]["kl"] != pytest.approx(0, abs=1e-5)
    assert history[0]["explained_variance"] < 0 < history[2]["explained_variance"] + 1


def test_rates_fall_to_zero_and_the_value_head_begins_at_the_mean(bandit, monkeypatch):
    seen, update = [], ppo.update

    def watched(policy, said, config, optimizer, generator):
        assert not policy.training, "with dropout it would not be the policy that spoke"
        seen.append(([group["lr"] for group in optimizer.param_groups], said.values[said.mask].unique().tolist()))
        return update(policy, said, config, optimizer, generator)

    monkeypatch.setattr(ppo, "update", watched)
    bandit.play(lambda prompts, texts: [7.0] * len(texts), steps=4, learning_rate=0.8, value_learning_rate=0.4, minibatches=1)
    assert [rates for rates, _ in seen] == [pytest.approx([0.8 * left, 0.4 * left]) for left in (1, 0.75, 0.5, 0.25)]
    assert all(values == [pytest.approx(7)] for _, values in seen), "it expects the mean from the first update on: nothing is left to learn"


def test_the_policy_can_be_looked_at_after_every_step_and_trains_as_if_unseen(bandit):
    seen = []

    def look(step, policy):
        seen.append((step, probabilities(policy)))
        torch.rand(7)

    def run(after_step):
        bandit.luck.seed(0)
        return bandit.play(steps=4, seed=3, after_step=after_step)

    (policy, history), (unseen, plain) = run(look), run(None)
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert not any(torch.equal(one, other) for (_, one), (_, other) in zip(seen, seen[1:], strict=False)), "each is another policy"
    assert torch.equal(seen[-1][1], probabilities(policy)) and torch.equal(probabilities(policy), probabilities(unseen))
    assert [entry["score"] for entry in history] == [entry["score"] for entry in plain]


def test_the_seed_decides_everything(bandit):
    def run(seed):
        bandit.luck.seed(0)
        torch.manual_seed(random.randrange(1000))
        _, history = bandit.play(prompts=["which", "which which", "which left"], steps=2, tokens=3, seed=seed)
        return [{name: value for name, value in entry.items() if name not in ("generation", "scoring", "update")} for entry in history]

    assert run(0) == run(0) != run(1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": lambda prompts, texts: [0.0]}, "no finite number for each of 64 responses"),
        ({"score": lambda prompts, texts: [math.nan] * len(texts)}, "no finite number for each of 64 responses"),
        ({"minibatches": 65}, "64 responses cannot fill 65 minibatches"), ({"minibatches": 0}, "cannot fill 0 minibatches"),
    ],
)
def test_bad_input(bandit, changes, told):
    with pytest.raises(UserError, match=told):
        bandit.play(**changes)


def test_there_must_be_requests(bandit):
    with pytest.raises(UserError, match="no requests"):
        ppo.ppo(PolicyWithValue(bandit.model), bandit.model, bandit.tokenizer, [], bandit.score, PPOConfig())
