"""Chapter 4, the methods side by side: PPO, GRPO, RLOO, DPO, and best of n from the same clicks.

All start from the assistant and learn from the same comparisons: DPO from the pairs themselves, the others from a reward model of these pairs
alone, without grades. Each method that trains gets the same training FLOPs, those of the reward model counted for whom it serves. Best of n
trains no policy, and pays when it is used: the rows say what a response costs. So three budgets are apart, and the rows have all of them:
labels, training FLOPs, and inference FLOPs.

FLOPs are those that the tokens need (``Flops``), without padding: no library's way to make batches counts for or against a method. A response
of PPO, GRPO, or RLOO is sampled, read by the reference and by the reward model, which is of the same size, and learned from once. So a step
costs the same in all three, and they take as many; they differ as far as their responses differ in length. DPO's reference reads each pair
once, and what is left of the budget is its steps.

A learning rate and the weight of the KL penalty, for DPO its beta, are the best of ``sweep_methods`` on validation requests of a data seed below
1,000: as many settings for each method. ``book/evidence/D7-rates.csv`` holds what it measured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from ..dpo import best_of_kl, candidate_scores, candidates, fit, through_trl
from ..models import load_model, load_tokenizer
from ..ppo import PolicyWithValue, PPOConfig, Score, ppo
from ..preferences.panel import preferences
from ..reward import prepare_pairs
from ..sft import Conversation
from . import Claim, Measurement, measures, reviewers, seed_of_data
from .adaptation import SWEEP_SEED, config
from .alignment import KL_WEIGHT, POLICY, PROMPTS, RATE, TOKENS, asked, in_own_units, respond, rewards_by, wins, words, worth
from .knowledge import steps_for
from .reviewers import BATCH, requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LABELS = 4_800  # comparisons
STEPS = PPOConfig.steps  # of PPO, GRPO, and RLOO
RESPONSES, GROUP = PPOConfig.responses, 4  # of a step, and to one request where a method compares them
N_TEST = 200
NS = (4, 16)  # best of so many; of one is SFT
SFT, PPO, GRPO, RLOO, DPO = "SFT", "PPO", "GRPO", "RLOO", "DPO"
LOOPS = (PPO, GRPO, RLOO)


class Setting(NamedTuple):
    """A learning rate, and what a nat of KL costs: PPO and RLOO as a reward, GRPO in its loss, DPO as its beta."""

    rate: float
    weight: float


SWEEP = {
    PPO: (Setting(2e-4, KL_WEIGHT), Setting(5e-4, KL_WEIGHT), Setting(RATE, KL_WEIGHT), Setting(RATE, 0.1)),
    GRPO: tuple(Setting(rate, KL_WEIGHT) for rate in (1e-4, 3e-4, 1e-3, 2e-3)),
    RLOO: tuple(Setting(rate, KL_WEIGHT) for rate in (3e-4, 1e-3, 2e-3, 5e-3)),
    DPO: tuple(Setting(rate, 0.1) for rate in (1e-4, 2e-4, 5e-4, 1e-3)),
}
SETTINGS = {PPO: Setting(2e-4, KL_WEIGHT), GRPO: Setting(3e-4, KL_WEIGHT), RLOO: Setting(2e-3, KL_WEIGHT), DPO: Setting(2e-4, 0.1)}


# FLOPs --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flops:
    """What a decoder costs in FLOPs: its ``layers`` for a token, ``attention`` for a pair of tokens, and ``logits`` for a token.

    A product of matrices of a x b and b x c is 2abc FLOPs; nothing else counts, as in ``cost``. Forward and backward are three times forward.
    """

    layers: float
    attention: float
    logits: float

    @classmethod
    def of(cls, model: PreTrainedModel) -> Flops:
        """Read them off a model of the Llama family."""
        layers, config = model.get_decoder().layers, model.config
        matrices = sum(weight.numel() for weight in layers.parameters() if weight.ndim == 2)
        width = config.num_attention_heads * config.head_dim
        return cls(2 * matrices, 4 * len(layers) * width, 2 * config.hidden_size * config.vocab_size)

    def reading(self, tokens: float, said: float = 0) -> float:
        """Return what one pass over a text of so many tokens costs, with the log-probabilities of those ``said``."""
        return self.layers * tokens + self.attention * tokens**2 + self.logits * said

    def sampling(self, request: float, said: float) -> float:
        """Return what it costs to read a request at once and to write a response token by token, with keys and values kept."""
        tokens = request + said
        return self.reading(tokens, said) - self.attention * (tokens**2 - request**2) / 2


# What every method is given -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shared:
    """The assistant, the clicks as pairs, the requests to train on, and the reward model as a score function with what it has cost in FLOPs.

    ``request`` is the mean length of a request in tokens, ``pair`` what it costs in FLOPs to read both responses of a pair with their
    log-probabilities, on average.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pairs: list[dict[str, Any]]
    prompts: list[Conversation]
    score: Score
    reward_flops: float
    request: float
    pair: float

    def step_flops(self, said: float) -> float:
        """Return what a step of PPO, GRPO, or RLOO costs whose responses have so many tokens on average."""
        ours, tokens = Flops.of(self.model), self.request + said
        # Sampled; read by the reward model, which has no logits; read by the reference, and forward and backward by the policy.
        return RESPONSES * (ours.sampling(self.request, said) + ours.reading(tokens) + (1 + 3) * ours.reading(tokens, said))


def prepare(seed: int, data_seed: int, labels: int = LABELS, reward_steps: int = reviewers.STEPS, base: str = POLICY) -> Shared:
    """Draw the comparisons and the panel's clicks, and train the reward model of these alone; ``reward_steps`` as in ``reviewers.rewarder``."""
    model, tokenizer, rows = load_model(base), load_tokenizer(base), asked(PROMPTS, "train", data_seed)
    judge, _ = reviewers.rewarder(seed, data_seed, labels, reward_steps, reviewers.BASE)
    score = in_own_units(rewards_by(judge, load_tokenizer(reviewers.BASE)), model, tokenizer, rows, seed)
    pairs = preferences(*reviewers.clicked(labels, data_seed))
    texts = [(row[name], row["request_length"]) for row in prepare_pairs(tokenizer, pairs).rows for name in ("chosen_ids", "rejected_ids")]
    read, ours = Flops.of(judge), Flops.of(model)
    learned = steps_for(labels / reviewers.PAIRS, reward_steps, reviewers.LEAST_STEPS) * BATCH
    reward_flops = 3 * 2 * learned * fmean(read.reading(len(ids)) for ids, _ in texts)
    pair = 2 * fmean(ours.reading(len(ids), len(ids) - request) for ids, request in texts)
    prompts = requests(rows)
    return Shared(model, tokenizer, pairs, prompts, score, reward_flops, request_tokens(tokenizer, prompts), pair)


def request_tokens(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation]) -> float:
    """Return the mean length of requests in tokens, the mark that opens the answer included."""
    return fmean(len(tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]) for turns in prompts)


# The methods --------------------------------------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """A policy, the FLOPs of its training, those of the reward model included, and its steps."""

    model: PreTrainedModel
    flops: float
    steps: int


def by_loop(method: str, shared: Shared, setting: Setting, steps: int, seed: int) -> Trained:
    """Train a copy of the assistant by PPO, GRPO, or RLOO."""
    model, asked_for = copy.deepcopy(shared.model), (shared.tokenizer, shared.prompts, shared.score)
    how = {
        "steps": steps, "responses": RESPONSES, "tokens": TOKENS, "learning_rate": setting.rate, "kl_weight": setting.weight, "seed": seed,
    }
    if method == PPO:
        history = ppo(PolicyWithValue(model), shared.model, *asked_for, PPOConfig(**how))
    else:
        history = through_trl(method.lower(), model, *asked_for, group=GROUP, **how)
    return Trained(model, shared.reward_flops + sum(shared.step_flops(entry["length"]) for entry in history), steps)


def by_pairs(shared: Shared, setting: Setting, budget: float, seed: int) -> Trained:
    """Train a copy of the assistant by DPO, for as many steps as the budget of FLOPs allows after the reference has read the pairs."""
    model, reference = copy.deepcopy(shared.model), shared.pair * len(shared.pairs)
    step = 3 * BATCH * shared.pair
    steps = max(1, round((budget - reference) / step))
    fit(model, shared.tokenizer, shared.pairs, config(steps, setting.rate, seed, BATCH, "cosine"), setting.weight)
    return Trained(model, reference + steps * step, steps)


def answered(shared: Shared, model: PreTrainedModel, rows: Sequence[dict], seed: int) -> tuple[dict[str, float], list[float]]:
    """Let a policy respond to held-out requests; return what there is to know of the responses on average, and what each is worth."""
    said, ours = respond(model, shared.tokenizer, rows, seed, shared.score, shared.model), Flops.of(model)
    values, written = worth(rows, said.texts), float(said.mask.sum(1).float().mean())
    return {
        "inference FLOPs": ours.sampling(request_tokens(shared.tokenizer, said.prompts), written), "worth": fmean(values),
        "score": float(said.scores.mean()), "KL": float(said.kl.sum(1).mean()), "words": words(said.texts), "tokens": written,
    }, values


def best_of_arms(
    shared: Shared, rows: Sequence[dict], alone: Mapping[str, float], ns: Sequence[int], seed: int
) -> list[tuple[int, dict[str, float], list[float]]]:
    """Return for each n what ``answered`` returns, of the response that the reward model likes best among the first n candidates.

    ``alone`` is what it returned of the assistant: a candidate costs what its response does, and is read by the reward model.
    """
    prompts, ours = requests(rows), Flops.of(shared.model)
    found = candidates(shared.model, shared.tokenizer, prompts, max(ns), tokens=TOKENS, seed=seed)
    scores, arms = candidate_scores(shared.score, prompts, found), []
    each = alone["inference FLOPs"] + ours.reading(request_tokens(shared.tokenizer, prompts) + alone["tokens"])
    for n in ns:
        best = scores[:, :n].argmax(1)
        texts = [texts[place] for texts, place in zip(found, best, strict=True)]
        values = worth(rows, texts)
        measured = {"worth": fmean(values), "score": float(scores[:, :n].max(1).mean()), "KL": best_of_kl(n), "words": words(texts)}
        arms.append((n, {"inference FLOPs": n * each, **measured}, values))
    return arms


def best_of(n: int) -> str:
    """Return the name of an arm."""
    return f"best of {n}"


def sweep_methods(
    sweep: Mapping[str, Sequence[Setting]] = SWEEP, n: int = 150, labels: int = LABELS, steps: int = STEPS,
    reward_steps: int = reviewers.STEPS, base: str = POLICY,
) -> list[dict[str, Any]]:
    """Return what validation responses are worth, their score, and their KL in nats a response, for each setting of each method.

    DPO's budget is what PPO takes on average.
    """
    shared, rows, found = prepare(0, SWEEP_SEED, labels, reward_steps, base), asked(n, "validation", SWEEP_SEED), []
    for method in (*LOOPS, DPO):
        for setting in sweep[method]:
            if method == DPO:
                trained = by_pairs(shared, setting, fmean(row["flops"] for row in found if row["arm"] == PPO), 0)
            else:
                trained = by_loop(method, shared, setting, steps, 0)
            measured, _ = answered(shared, trained.model, rows, SWEEP_SEED)
            kept = {name: measured[name] for name in ("worth", "score", "KL", "words")}
            found.append({"seed": SWEEP_SEED, "arm": method, **setting._asdict(), "steps": trained.steps, "flops": trained.flops, **kept})
    return found


# What is measured ---------------------------------------------------------------------------------------------------------------

GAIN = dict(metric="true worth of a response", unit="share", control=SFT, effect_kind="difference")


@measures(
    *(
        Claim(f"D7.{method.lower()}", f"What {method} gains from the same clicks, at equal training FLOPs", treatment=method, **GAIN)
        for method in (*LOOPS, DPO)
    ),
    Claim(
        "D7.best_of_n", "... and the best of 16 samples, without training a policy", treatment=best_of(NS[-1]), **GAIN,
        note="It costs no training beyond the reward model, and more than 16 times as much for each response.",
    ),
    Claim("D7.first", "... and DPO less the best of 16, chain by chain", treatment=DPO, **GAIN | {"control": best_of(NS[-1])}),
    id="D7", seeds=5,
)
def side_by_side(
    seed: int, data_seed: int, labels: int = LABELS, steps: int = STEPS, reward_steps: int = reviewers.STEPS, n_test: int = N_TEST,
    ns: Sequence[int] = NS, settings: Mapping[str, Setting] = SETTINGS, base: str = POLICY,
) -> Measurement:
    """Train the assistant by each method, and let all answer the same held-out requests.

    A row has an arm's "labels", "training FLOPs" and "steps", "inference FLOPs" a response and "samples" for it, and means over the responses:
    true "worth", "score" by the reward model in standard deviations of the assistant's, "KL" in nats to the assistant, "wins" against its
    response, ties half, and length in "words".
    """
    drawn = seed_of_data(seed, data_seed)
    shared, rows = prepare(seed, drawn, labels, reward_steps, base), asked(n_test, "test", drawn)
    alone, theirs = answered(shared, shared.model, rows, drawn)
    table = [{"arm": SFT, "labels": 0, "training FLOPs": 0.0, "steps": 0, "samples": 1, **alone, "wins": 0.5}]
    trained = {method: by_loop(method, shared, settings[method], steps, seed) for method in LOOPS}
    trained[DPO] = by_pairs(shared, settings[DPO], trained[PPO].flops, seed)
    for method, (model, flops, taken) in trained.items():
        measured, values = answered(shared, model, rows, drawn)
        spent = {"labels": labels, "training FLOPs": flops, "steps": taken, "samples": 1}
        table.append({"arm": method, **spent, **measured, "wins": wins(values, theirs)})
    for n, measured, values in best_of_arms(shared, rows, alone, ns, seed):
        spent = {"labels": labels, "training FLOPs": shared.reward_flops, "steps": 0, "samples": n}
        table.append({"arm": best_of(n), **spent, **measured, "wins": wins(values, theirs)})
    gains = {row["arm"]: row["worth"] for row in table}
    return Measurement({name: gains for name in (*(f"D7.{method.lower()}" for method in trained), "D7.best_of_n", "D7.first")}, table)
