"""Proximal policy optimization (PPO), the loop of reinforcement learning from human feedback, written out.

A step of the loop: the policy answers requests (``sample``); a score function says how good each answer is, and a frozen reference how unlikely
the policy has become (``rollout``); both become a reward for every token (``rewards_per_token``), the rewards what was better or worse
than the value head expected (``advantages``), and these the gradient (``clipped_policy_loss``, ``clipped_value_loss``). ``ppo`` repeats it.

Tensors have the shape (responses, width) unless they say otherwise: a row is a request, its response, and padding behind both. What stands in
column t is about the token in column t, which was chosen in the state that the columns before it make. ``mask`` is True on the tokens of the
response, the one that ends its turn included, and False on the request and the padding.

Left out for the sake of reading, as against Ouyang et al. 2022 (arXiv:2203.02155) and Huang et al. 2024 (arXiv:2403.17031): pretraining
text mixed in, a value network of its own, scores normalized, a KL weight that adapts, and temperatures other than 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from .errors import UserError
from .sft import Conversation, end_of_turn
from .training import show_progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Score = Callable[[Sequence[Conversation], Sequence[str]], Sequence[float] | torch.Tensor]
"""Takes requests and as many responses and returns what each response is worth: an oracle, or a reward model."""

ROWS = 16  # responses of like length that share a pass of scoring or learning


@dataclass(frozen=True)
class PPOConfig:
    """How to train. A step samples ``responses``, of at most ``tokens`` tokens, and passes ``epochs`` times over them in ``minibatches``.

    ``kl_weight`` is in units of the score per nat. A response that does not end its turn within ``tokens`` loses ``missing_end`` of its score (the EOS
    trick of Huang et al. 2024). The learning rates fall to zero in a straight line.
    """

    steps: int = 40
    responses: int = 64
    tokens: int = 72
    epochs: int = 1
    minibatches: int = 4
    learning_rate: float = 5e-4
    value_learning_rate: float = 1e-4
    kl_weight: float = 0.02
    missing_end: float = 1.0
    gamma: float = 1.0
    lam: float = 0.95
    clip: float = 0.2
    value_clip: float = 0.2
    seed: int = 0


# The quantities -----------------------------------------------------------------------------------------------------------------


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over the tokens that ``mask`` marks."""
    return (values * mask).sum() / mask.sum()


def whiten(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Shift and scale to mean 0 and variance 1 over the marked tokens; 0 elsewhere. The scale of the scores then does not set that of the steps."""
    centered = (values - masked_mean(values, mask)) * mask
    return centered / (masked_mean(centered.square(), mask) + 1e-8).sqrt()


def token_log_probabilities(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the log-probability in nats of each token. ``logits`` has shape (..., vocabulary), ``ids`` and the result (...)."""
    return logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0]


def rewards_per_token(scores: torch.Tensor, kl: torch.Tensor, weight: float, mask: torch.Tensor) -> torch.Tensor:
    """Return each token's reward: minus ``weight`` times its KL estimate, and at the last token the response's score as well.

    ``scores`` has shape (responses,). The estimate is log p(token) - log q(token), policy p and reference q, whose mean over tokens
    sampled from p is KL(p, q): Ziegler et al. 2019, arXiv:1909.08593, eq. 2.
    """
    rewards = -weight * kl * mask
    rewards[torch.arange(len(scores), device=scores.device), lengths_of(mask) - 1] += scores
    return rewards


def lengths_of(mask: torch.Tensor) -> torch.Tensor:
    """Return how many tokens request and response have together: the place behind the last marked one, of shape (responses,)."""
    return (torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask).amax(1)


def advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how much better than expected each token turned out, and the returns that the value head should have expected.

    Generalized advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16): the sum over l of (gamma lam)^l delta_{t+l}, with
    delta_t = r_t + gamma V_{t+1} - V_t. A response ends with its last token: nothing is expected after it. The returns are advantages + values.
    """
    values = values * mask
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = (rewards + gamma * after - values) * mask
    found, running = torch.zeros_like(deltas), torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        running = deltas[:, t] + gamma * lam * running
        found[:, t] = running
    return found * mask, (found + values) * mask


def clipped_policy_loss(
    log_p: torch.Tensor, old_log_p: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float
) -> torch.Tensor:
    """Return minus the clipped objective, as a mean over tokens (Schulman et al. 2017, arXiv:1707.06347, eq. 7).

    The ratio p / p_old raises what was good and lowers what was bad, and earns nothing for going further than ``clip`` from 1.
    """
    ratio = (log_p - old_log_p).exp()
    return -masked_mean(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), mask)


def clipped_value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float
) -> torch.Tensor:
    """Return half the mean squared error of the values, or of the values kept within ``clip`` of the old ones where that is worse.

    So in the code of Schulman et al. 2017; detail 9 of "The 37 implementation details of PPO" (Huang et al. 2022).
    """
    kept = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns).square(), (kept - returns).square()), mask)


# Policy and rollout -------------------------------------------------------------------------------------------------------------


class PolicyWithValue(torch.nn.Module):
    """A language model, and a linear layer on its last states that says what score it expects: the value head, which starts at zero.

    The head reads the states and does not shape them: its gradient ends there, so that the policy learns the same whatever the scores' scale.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self.value = torch.nn.Linear(model.config.hidden_size, 1).to(model.device)
        torch.nn.init.zeros_(self.value.weight)
        torch.nn.init.zeros_(self.value.bias)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probabilities and values of the responses in one pass, zero outside ``mask``."""
        states = states_before(self.model, ids, mask)
        return response_log_p(self.model, states, ids, mask), laid_out(self.value(states.detach())[:, 0], mask)


def states_before(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the state in which each marked token was chosen, of shape (marked tokens, hidden size).

    Rows of like length share a pass, so that little is spent on padding. It stands behind all that is read, and needs no attention mask.
    """
    lengths = lengths_of(mask)
    states = torch.zeros(*ids.shape, model.config.hidden_size, dtype=model.dtype, device=ids.device)
    for part in lengths.argsort().split(ROWS):
        longest = int(lengths[part].max())
        states[part, 1:longest] = model.get_decoder()(input_ids=ids[part, : longest - 1], use_cache=False).last_hidden_state
    return states[mask]


def response_log_p(model: PreTrainedModel, states: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities of the marked tokens, given their states. No logits are computed elsewhere."""
    return laid_out(token_log_probabilities(model.get_output_embeddings()(states), ids[mask]), mask)


def laid_out(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return a value for each marked token as a tensor of the mask's shape, zero elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


@dataclass
class Rollout:
    """What the policy said, and all that is known of it. ``ended`` and ``scores`` have shape (responses,)."""

    prompts: list[Conversation]
    texts: list[str]
    ids: torch.Tensor
    mask: torch.Tensor
    ended: torch.Tensor
    log_p: torch.Tensor
    reference_log_p: torch.Tensor
    values: torch.Tensor
    scores: torch.Tensor
    seconds: dict[str, float]

    @property
    def kl(self) -> torch.Tensor:
        """The estimate log p - log q of each token. Its sum over a response, averaged over responses, estimates the KL of the whole policies."""
        return (self.log_p - self.reference_log_p) * self.mask

    def charged(self, missing_end: float) -> torch.Tensor:
        """The scores, less ``missing_end`` where a response was cut off before it ended its turn."""
        return self.scores - missing_end * ~self.ended


@torch.no_grad()
def sample(
    policy: PolicyWithValue, requests: torch.Tensor, attended: torch.Tensor, ends: torch.Tensor, tokens: int, generator: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """Continue requests at temperature 1, each until a token of ``ends``; return token ids, mask, log-probabilities, and values.

    ``requests`` and ``attended`` have shape (responses, longest request), padding stands before each. A new token costs one column of
    computation: keys and values of the columns before it are kept, and rows that have ended are dropped. A row's random numbers are its
    own, so that what it says does not depend on when others end.
    """
    from transformers import DynamicCache

    model, (n, width) = policy.model, requests.shape
    cache = DynamicCache(config=model.config)
    padding, columns = width - attended.sum(1), torch.arange(width + tokens, device=requests.device)
    attended = torch.cat([attended, attended.new_ones(n, tokens)], dim=1)
    places = (columns - padding[:, None]).clamp(min=0)
    ids = torch.cat([requests, requests.new_zeros(n, tokens)], dim=1)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    log_p, values = (torch.zeros(ids.shape, device=ids.device) for _ in range(2))
    luck = torch.rand(n, tokens, generator=generator).to(ids.device)
    rows, begin = torch.arange(n, device=ids.device), 0
    for t in range(width, width + tokens):
        options = {"attention_mask": attended[rows, :t], "position_ids": places[rows, begin:t]}
        state = model.get_decoder()(input_ids=ids[rows, begin:t], past_key_values=cache, use_cache=True, **options).last_hidden_state[:, -1]
        log_all = model.get_output_embeddings()(state).float().log_softmax(-1)
        # The first token at which the cumulative probability exceeds a uniform random number.
        cumulative = log_all.exp().cumsum(-1)
        drawn = torch.searchsorted(cumulative, luck[rows, t - width, None] * cumulative[:, -1:], right=True).clamp(max=log_all.shape[1] - 1)
        ids[rows, t], mask[rows, t] = drawn[:, 0], True
        log_p[rows, t], values[rows, t] = log_all.gather(1, drawn)[:, 0], policy.value(state)[:, 0].float()
        begin, going = t, ~torch.isin(drawn[:, 0], ends)
        if not going.all():
            rows = rows[going]
            if not len(rows):
                break
            cache.batch_select_indices(going.nonzero()[:, 0])
    # The padding goes behind: from here on a request begins in the first column.
    moved = (columns + padding[:, None]) % len(columns)
    found = [tensor.gather(1, moved) for tensor in (ids, mask, log_p, values)]
    return tuple(tensor[:, : int(lengths_of(found[1]).max())] for tensor in found)


@torch.no_grad()
def respond(
    policy: PolicyWithValue, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], tokens: int, generator: torch.Generator
) -> tuple[Any, ...]:
    """Let the policy respond to each request; return texts, token ids, mask, who ended, log-probabilities, and values, as in ``Rollout``."""
    device = policy.value.weight.device
    requests = [tokenizer.apply_chat_template(list(turns), add_generation_prompt=True, return_dict=True)["input_ids"] for turns in prompts]
    batch = tokenizer.pad({"input_ids": requests}, return_tensors="pt", padding_side="left").to(device)
    ends = torch.tensor(sorted({end_of_turn(tokenizer), tokenizer.eos_token_id}), device=device)
    ids, mask, log_p, values = sample(policy, batch["input_ids"], batch["attention_mask"], ends, tokens, generator)
    texts = [text.strip() for text in tokenizer.batch_decode([row[said] for row, said in zip(ids, mask)], skip_special_tokens=True)]
    return texts, ids, mask, (torch.isin(ids, ends) & mask).any(1), log_p, values


def scored(score: Score, prompts: Sequence[Conversation], texts: Sequence[str]) -> torch.Tensor:
    """Return the scores of the responses, of shape (responses,). Raises UserError if any of them has no finite one."""
    scores = torch.as_tensor(score(prompts, texts), dtype=torch.float32)
    if scores.shape != (len(texts),) or not scores.isfinite().all():
        raise UserError(f"the score function returned no finite number for each of {len(texts)} responses", "return a list of as many floats")
    return scores


@torch.no_grad()
def rollout(
    policy: PolicyWithValue, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation],
    score: Score, tokens: int, generator: torch.Generator,
) -> Rollout:
    """Let the policy respond to each request, a conversation that ends with the user's turn, and score what it says.

    Log-probabilities and values come from the sampling pass: those are the probabilities with which the tokens were drawn. So scoring is one
    pass of the reference over all responses, and the score function.

    Raises UserError as ``scored`` does.
    """
    began = time.perf_counter()
    texts, ids, mask, ended, log_p, values = respond(policy, tokenizer, prompts, tokens, generator)
    generated = time.perf_counter()
    reference_log_p = response_log_p(reference, states_before(reference, ids, mask), ids, mask)
    scores = scored(score, prompts, texts).to(ids.device)
    seconds = {"generation": generated - began, "scoring": time.perf_counter() - generated}
    return Rollout(list(prompts), texts, ids, mask, ended, log_p, reference_log_p, values, scores, seconds)


# The loop -----------------------------------------------------------------------------------------------------------------------


def update(
    policy: PolicyWithValue, said: Rollout, config: PPOConfig, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, float]:
    """Improve the policy on what it said, and return means over all minibatches of what there is to watch."""
    scores = said.charged(config.missing_end)
    rewards = rewards_per_token(scores, said.kl, config.kl_weight, said.mask)
    advantage, returns = advantages(rewards, said.values, said.mask, config.gamma, config.lam)
    advantage = whiten(advantage, said.mask)
    spread = masked_mean((returns - masked_mean(returns, said.mask)).square(), said.mask)
    watched = []
    for _ in range(config.epochs):
        shuffled = torch.randperm(len(scores), generator=generator)
        for rows in shuffled.to(said.ids.device).chunk(config.minibatches):
            mask = said.mask[rows]
            log_p, values = policy(said.ids[rows], mask)
            policy_loss = clipped_policy_loss(log_p, said.log_p[rows], advantage[rows], mask, config.clip)
            value_loss = clipped_value_loss(values, said.values[rows], returns[rows], mask, config.value_clip)
            optimizer.zero_grad()
            (policy_loss + value_loss).backward()  # of no parameter in common
            torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                change = log_p - said.log_p[rows]
                far = (change.exp() - 1).abs() > config.clip
                # exp(x) - 1 - x is never negative and has the mean KL(p_old, p) over tokens of the old policy.
                watched.append(torch.stack([policy_loss, value_loss, masked_mean(far, mask), masked_mean(change.exp() - 1 - change, mask)]))
    names = ("policy_loss", "value_loss", "clip_fraction", "update_kl")
    unexplained = masked_mean((returns - said.values).square(), said.mask)
    return dict(zip(names, torch.stack(watched).mean(0).tolist(), strict=True)) | {"explained_variance": float(1 - unexplained / spread)}


def ppo(
    policy: PolicyWithValue, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation],
    score: Score, config: PPOConfig, after_step: Callable[[int, PolicyWithValue], None] | None = None,
) -> list[dict[str, float]]:
    """Train the policy in place on requests drawn from ``prompts`` and return what each step measured, before its update.

    ``reference`` is a model that stays as it is, usually a copy of the policy's. A step's entry has the mean "score", "kl" in nats a response
    (log p - log q, summed over its tokens), "reward" (the score, less what a missing end and KL cost), "entropy" in nats a token (minus the mean log-probability of what was
    sampled), "length" in tokens, the share that "ended", what ``update`` returns, the "tokens" generated, and the seconds of "generation",
    "scoring" and "update". ``after_step`` is called after each with the number of steps taken so far and the policy, to look at and not to change.

    Raises UserError without prompts, with fewer responses than minibatches, and as ``rollout`` does.
    """
    if not prompts:
        raise UserError("there are no requests to respond to", "give at least one conversation")
    if not 1 <= config.minibatches <= config.responses:
        raise UserError(f"{config.responses} responses cannot fill {config.minibatches} minibatches", "choose fewer minibatches")
    policy.eval()  # dropout would make the policy that learns another one than the policy that spoke
    groups = [{"params": policy.model.parameters()}, {"params": policy.value.parameters(), "lr": config.value_learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, eps=1e-5, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / config.steps)
    generator = torch.Generator().manual_seed(config.seed)
    history = []
    for step in tqdm(range(config.steps), desc="PPO", disable=not show_progress()):
        drawn = [prompts[i] for i in torch.randint(len(prompts), (config.responses,), generator=generator)]
        said = rollout(policy, reference, tokenizer, drawn, score, config.tokens, generator)
        began = time.perf_counter()
        if step == 0:  # Let the head expect the mean. From zero, with lambda below 1, late tokens would be praised for the whole score.
            surprise = said.charged(config.missing_end).mean() - masked_mean(said.values, said.mask)
            policy.value.bias.data += surprise
            said.values += surprise * said.mask
        watched = update(policy, said, config, optimizer, generator)
        schedule.step()
        kl, count = float(said.kl.sum(1).mean()), int(said.mask.sum())
        history.append({
            "step": step, "score": float(said.scores.mean()), "kl": kl,
            "reward": float(said.charged(config.missing_end).mean()) - config.kl_weight * kl,
            "entropy": -float(said.log_p.sum()) / count, "length": count / config.responses, "ended": float(said.ended.float().mean()),
            **watched, "tokens": count, **said.seconds, "update": time.perf_counter() - began,
        })
        if after_step:
            after_step(step + 1, policy)
    return history
