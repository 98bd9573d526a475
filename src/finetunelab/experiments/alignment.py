"""Chapter 4, the loop: what PPO against a reward model gains in true worth, and what it costs in skills.

One chain a seed: a panel grades and clicks, a reward model learns from that (``reviewers.rewarder``, the one of D2), and the assistant is
trained by PPO to please it.
What a response is worth is then judged by its true grades, which neither model has seen. Scores are given to PPO in standard deviations of
the assistant's own samples, around their mean, so that a KL weight means the same for every reward model.
The learning rate, and the weight of the KL penalty, are the best of ``sweep_alignment`` on validation requests of a data seed below 1,000;
``book/evidence/D4-rates.csv`` holds what it measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import torch

from .. import worlds
from ..assistant import drawn as conversations
from ..models import load_model, load_tokenizer
from ..ppo import PolicyWithValue, PPOConfig, Rollout, Score, ppo, rollout
from ..ppo import respond as respond_alone
from ..reward import score as scores_of
from ..sft import Conversation, following, remembers
from ..worlds.responses import grade, reward
from . import Claim, Measurement, measures, reviewers, seed_of_data
from .adaptation import SWEEP_SEED
from .reviewers import requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

POLICY = "nano-chat"
PROMPTS = 4_000  # requests to train on
N_TEST = 400
TOKENS = PPOConfig.tokens
RATE_SWEEP = (3e-4, 5e-4, 1e-3, 2e-3)
KL_SWEEP = (0.01, 0.03, 0.1)  # standard deviations of the score a nat
RATE, KL_WEIGHT = 1e-3, 0.03


@dataclass(frozen=True)
class Chain:
    """How much of everything a chain has: clicks, responses with grades, steps of the reward model on all its clicks, and steps of PPO."""

    pairs: int = reviewers.PAIRS
    graded: int = reviewers.GRADED
    reward_steps: int = reviewers.STEPS
    steps: int = 40


def asked(n: int, split: str, data_seed: int) -> list[dict]:
    """Draw ``n`` requests."""
    return worlds.generator("responses").rows(n, split, data_seed)


def respond(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], seed: int, score: Score, reference: PreTrainedModel
) -> Rollout:
    """Sample a response to each request, at temperature 1 and in batches as in training; with its score, and the KL to the reference."""
    return rollout(PolicyWithValue(model), reference, tokenizer, requests(rows), score, TOKENS, torch.Generator().manual_seed(seed))


def spoken(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], seed: int) -> list[str]:
    """Return the texts alone of what ``respond`` samples, without asking a reference."""
    return respond_alone(PolicyWithValue(model), tokenizer, requests(rows), TOKENS, torch.Generator().manual_seed(seed))[0]


def worth(rows: Sequence[dict], texts: Sequence[str]) -> list[float]:
    """Return what each response is worth by its true grades, 0 to 1."""
    return [reward(grade(row, text)) for row, text in zip(rows, texts, strict=True)]


def words(texts: Sequence[str]) -> float:
    """Return the mean number of words."""
    return fmean(len(text.split()) for text in texts)


def wins(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how often the first is worth more than the second; a tie counts half."""
    return fmean((a > b) + 0.5 * (a == b) for a, b in zip(ours, theirs, strict=True))


# The loop -----------------------------------------------------------------------------------------------------------------------


def standardized(scorer: Score, prompts: Sequence[Conversation], texts: Sequence[str]) -> Score:
    """Return a score function shifted and scaled to mean 0 and deviation 1 on these responses, as Ouyang et al. 2022 shift theirs."""
    found = [float(value) for value in scorer(prompts, texts)]
    middle, spread = fmean(found), pstdev(found)
    return lambda prompts, texts: [(float(value) - middle) / spread for value in scorer(prompts, texts)]


def in_own_units(
    scorer: Score, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], seed: int, n: int = 256
) -> Score:
    """Return a score function standardized on the model's own responses to the first ``n`` of the requests."""
    return standardized(scorer, requests(rows[:n]), spoken(model, tokenizer, rows[:n], seed))


def rewards_by(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Score:
    """Return a reward model as a score function."""
    return lambda prompts, texts: scores_of(model, tokenizer, prompts, texts).tolist()


def true_rewards(prompts: Sequence[Conversation], texts: Sequence[str]) -> list[float]:
    """Score responses by their true grades, which no model in the chain can see."""
    return [reward(grade(prompt[-1]["content"], text)) for prompt, text in zip(prompts, texts, strict=True)]


@dataclass(frozen=True)
class Aligned:
    """A policy after PPO, the score function that it was trained to please, and what each step measured."""

    model: PreTrainedModel
    score: Score
    history: list[dict[str, float]]


def reward_of(seed: int, data_seed: int, chain: Chain = Chain()) -> Score:
    """Return the reward model of this seed as a score function: the one that claim D2 measures."""
    model, _ = reviewers.rewarder(seed, data_seed, chain.pairs, chain.reward_steps, n_graded=chain.graded)
    return rewards_by(model, load_tokenizer(reviewers.BASE))


@lru_cache(maxsize=8)
def aligned(
    seed: int, data_seed: int, chain: Chain = Chain(), base: str = POLICY, kl_weight: float = KL_WEIGHT, rate: float = RATE
) -> Aligned:
    """Train the assistant by PPO to please the reward model of this seed. Kept: D4 and D8 look at the same."""
    tokenizer, reference, rows = load_tokenizer(base), load_model(base), asked(PROMPTS, "train", data_seed)
    score = in_own_units(reward_of(seed, data_seed, chain), reference, tokenizer, rows, seed)
    policy = PolicyWithValue(load_model(base))
    settings = PPOConfig(steps=chain.steps, learning_rate=rate, kl_weight=kl_weight, seed=seed)
    return Aligned(policy.model, score, ppo(policy, reference, tokenizer, requests(rows), score, settings))


def sweep_alignment(
    rates: Sequence[float] = RATE_SWEEP, weights: Sequence[float] = KL_SWEEP, n: int = 300, chain: Chain = Chain(), base: str = POLICY
) -> list[dict[str, Any]]:
    """Return what validation responses are worth, and the KL in nats a response, for each learning rate and weight of the penalty."""
    tokenizer, reference, rows, found = load_tokenizer(base), load_model(base), asked(n, "validation", SWEEP_SEED), []
    for rate in rates:
        for weight in weights:
            trained = aligned(0, SWEEP_SEED, chain, base, weight, rate)
            said = respond(trained.model, tokenizer, rows, SWEEP_SEED, trained.score, reference)
            found.append({
                "seed": SWEEP_SEED, "rate": rate, "KL weight": weight, "worth": fmean(worth(rows, said.texts)),
                "score": float(said.scores.mean()), "KL": float(said.kl.sum(1).mean()),
            })
    return found


# What is measured ---------------------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "D4", "The RL loop raises what reviewers value", metric="responses worth more than the assistant's, ties half", unit="share",
        treatment="PPO", control=None, effect_kind="value", op=">=", threshold=0.70,
    ),
    Claim(
        "D4.worth", "... by this much", metric="true worth of a response", unit="share", treatment="PPO", control="SFT",
        effect_kind="difference",
    ),
    Claim(
        "D4.kl", "... at this distance from where it began", metric="KL", unit="nats a token", treatment="PPO", control=None,
        effect_kind="value",
    ),
    id="D4", seeds=5,
)
def loop(seed: int, data_seed: int, chain: Chain = Chain(), n_test: int = N_TEST, base: str = POLICY) -> Measurement:
    """Let the assistant and the policy after PPO answer held-out requests; the rows have their grades, and every step of the loop."""
    drawn, tokenizer, reference = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    trained, rows = aligned(seed, drawn, chain, base), asked(n_test, "test", drawn)
    table, values, said = [], {}, {}
    for arm, model in (("SFT", reference), ("PPO", trained.model)):
        said[arm] = respond(model, tokenizer, rows, drawn, trained.score, reference)
        grades = [grade(row, text) for row, text in zip(rows, said[arm].texts, strict=True)]
        values[arm] = [reward(given) for given in grades]
        table.append({
            "arm": arm, "worth": fmean(values[arm]), "score": float(said[arm].scores.mean()),
            **{name: fmean(getattr(given, name) for given in grades) for name in grades[0]._fields},
            "words": words(said[arm].texts), "ended": float(said[arm].ended.float().mean()),
            "KL": float(said[arm].kl.sum(1).mean()),
        })
    watched = ("step", "score", "kl", "entropy", "clip_fraction", "length")
    table += [{"arm": "PPO", **{name: entry[name] for name in watched}} for entry in trained.history]
    distance = float(said["PPO"].kl.sum() / said["PPO"].mask.sum())
    return Measurement({
        "D4": {"PPO": wins(values["PPO"], values["SFT"])}, "D4.worth": {arm: fmean(found) for arm, found in values.items()},
        "D4.kl": {"PPO": distance},
    }, table)


@measures(
    Claim(
        "D8.followed", "Is there an alignment tax? Instructions followed after PPO", metric="instructions followed", unit="share",
        treatment="PPO", control="SFT", effect_kind="difference",
    ),
    Claim(
        "D8.remembered", "... and early turns remembered", metric="questions that need an early turn", unit="share", treatment="PPO",
        control="SFT", effect_kind="difference",
    ),
    Claim(
        "D8.penalty", "Does the KL penalty lower it?", metric="instructions followed", unit="share", treatment="PPO",
        control="PPO without penalty", effect_kind="difference",
    ),
    id="D8", seeds=5,
)
def tax(seed: int, data_seed: int, chain: Chain = Chain(), n_test: int = N_TEST, base: str = POLICY) -> Measurement:
    """Ask the assistant, the policy after PPO, and one trained without a penalty, what chapter 3 taught: to follow and to remember."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    arms = {
        "SFT": load_model(base), "PPO": aligned(seed, drawn, chain, base).model,
        "PPO without penalty": aligned(seed, drawn, chain, base, 0.0).model,
    }
    tests, talks, rows = conversations("instructions", n_test, "test", drawn), conversations("dialogues", n_test, "test", drawn), []
    for arm, model in arms.items():
        right = {"followed": following(model, tokenizer, tests), "remembered": remembers(model, tokenizer, talks)}
        rows.append({"arm": arm} | {name: fmean(found) for name, found in right.items()})
    followed, remembered = ({row["arm"]: row[name] for row in rows} for name in ("followed", "remembered"))
    return Measurement({"D8.followed": followed, "D8.remembered": remembered, "D8.penalty": followed}, rows)
