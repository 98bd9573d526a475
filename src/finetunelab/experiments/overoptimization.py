"""Chapter 4, too much of it: what happens to the truth while a policy is trained to please a reward model.

The reward model of D2 is the proxy, the true grades are the truth. A policy is looked at every few steps of PPO, on two halves of held-out
requests that have no request in common. Of a dozen checkpoints one is the best by luck alone: where the truth is highest is found on half A,
and what has been lost since then is measured on half B. A policy that is trained to please the true grades themselves is the control: what falls
there is not the work of a proxy.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..dpo import best_of_curve, best_of_kl, candidate_scores, candidates
from ..models import load_model, load_tokenizer
from ..ppo import PolicyWithValue, PPOConfig, Score, ppo
from ..sft import Conversation
from . import Claim, Measurement, measures, seed_of_data
from .alignment import KL_WEIGHT, POLICY, PROMPTS, RATE, TOKENS, Chain, asked, in_own_units, respond, reward_of, true_rewards, worth
from .reviewers import requests

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STEPS, EVERY = 80, 8  # twice the steps of D4, and how many lie between two looks at the policy
N_TEST = 300
ASKED, EACH = 100, 32  # requests, and candidates for each, of best of n
FREE, TUNED, TRUTH, BEST_OF_N = "no penalty", "tuned penalty", "true grades as reward", "best of n"
PICKED, MEASURED = "A", "B"
ALLOWED = 0.1  # of the gain may be lost again


def halves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Return the places of the rows in each half. Rows of one request stay together: no request is in both halves."""
    same, found = defaultdict(list), {PICKED: [], MEASURED: []}
    for place, row in enumerate(rows):
        same[row["prompt"]].append(place)
    for places in sorted(same.values(), key=len, reverse=True):
        min(found.values(), key=len).extend(places)
    return found


def followed(
    score: Score, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], tests: Sequence[dict], *,
    kl_weight: float, seed: int, steps: int = STEPS, every: int = EVERY, rate: float = RATE,
) -> list[dict[str, Any]]:
    """Train a copy of ``reference`` by PPO to please ``score``; return what it is worth before, after every so many steps, and at the end.

    ``prompts`` are trained on, ``tests`` are rows of the world. A row has the "step", the "half" of the tests, and means over that half: "KL" in
    nats a response to the reference, the "score", and the true "worth", 0 to 1. The luck of the samples is the same at every step.
    """
    parts, rows = halves(tests), []

    def look(step: int, policy: PolicyWithValue) -> None:
        if step % every and step != steps:
            return
        said = respond(policy.model, tokenizer, tests, seed, score, reference)
        values = {"KL": said.kl.sum(1).tolist(), "score": said.scores.tolist(), "worth": worth(tests, said.texts)}
        for half, places in parts.items():
            rows.append({"step": step, "half": half} | {name: fmean(found[i] for i in places) for name, found in values.items()})

    policy = PolicyWithValue(copy.deepcopy(reference))
    look(0, policy)
    ppo(policy, reference, tokenizer, prompts, score, PPOConfig(steps=steps, learning_rate=rate, kl_weight=kl_weight, seed=seed), look)
    return rows


def course(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Return the worth at the start, at the peak, and at the end, all on half B. The peak is the step of the highest worth on half A, the first of equals."""
    curves = {half: {row["step"]: row["worth"] for row in rows if row["half"] == half} for half in (PICKED, MEASURED)}
    peak, ours = max(sorted(curves[PICKED]), key=curves[PICKED].get), curves[MEASURED]
    return ours[min(ours)], ours[peak], ours[max(ours)]


def excess(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the worth lost between the peak of ``course`` and its end, less the loss that the claim lets pass: ``ALLOWED`` of what was gained.

    At least 0 says that a tenth of the gain or more is lost. Unlike the loss as a share of the gain this is defined where nothing was gained.
    """
    start, peak, end = course(rows)
    return (peak - end) - ALLOWED * max(0.0, peak - start)


def best_of_rows(
    score: Score, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tests: Sequence[dict], each: int = EACH, seed: int = 0
) -> list[dict[str, Any]]:
    """Return what the best of n by ``score`` is worth for n = 1, 2, 4, ... up to ``each`` candidates, with score and KL, as ``followed`` does.

    That KL is an upper bound where candidates score alike (``dpo.best_of_kl``).
    """
    prompts = requests(tests)
    found = candidates(model, tokenizer, prompts, each, tokens=TOKENS, seed=seed)
    ns = [2**power for power in range(each.bit_length())]
    proxy, truth = best_of_curve(*(candidate_scores(scorer, prompts, found) for scorer in (score, true_rewards)), ns)
    return [
        {"n": n, "KL": best_of_kl(n), "score": float(ours), "worth": float(real)} for n, ours, real in zip(ns, proxy, truth, strict=True)
    ]


# What is measured ---------------------------------------------------------------------------------------------------------------

EXCESS = dict(metric="true worth lost since the peak, less a tenth of what was gained up to it", unit="share", control=None, effect_kind="value")


@measures(
    Claim(
        "D6", "Optimize a proxy too hard and the truth falls", treatment=FREE, op=">=", threshold=0.0, **EXCESS,
        note="The loss is at least a tenth of the gain. As a share of the gain, which is how it was first asked, it is not defined where nothing is gained.",
    ),
    Claim(
        "D6.control", "... and with the truth as reward it does not", treatment=TRUTH, op="<", threshold=0.0, **EXCESS,
        note="Trained as the treatment is, with the true grades in place of the reward model.",
    ),
    Claim("D6.penalty", "... and how much falls with the tuned KL penalty?", treatment=TUNED, **EXCESS),
    id="D6", seeds=5,
)
def too_hard(
    seed: int, data_seed: int, chain: Chain = Chain(), steps: int = STEPS, every: int = EVERY, n_test: int = N_TEST, n: int = ASKED,
    each: int = EACH, base: str = POLICY,
) -> Measurement:
    """Train against the reward model without a penalty and with the tuned one, and against the true grades; beside them best of n.

    Scores are in standard deviations of the assistant's own samples, for each arm by what it is trained to please.
    """
    drawn, tokenizer, reference = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    train, tests = asked(PROMPTS, "train", drawn), asked(n_test, "test", drawn)
    proxy, truth = (in_own_units(by, reference, tokenizer, train, seed) for by in (reward_of(seed, drawn, chain), true_rewards))
    arms = {FREE: (proxy, 0.0), TUNED: (proxy, KL_WEIGHT), TRUTH: (truth, 0.0)}
    prompts, rows, found = requests(train), [], {}
    for arm, (score, weight) in arms.items():
        seen = followed(score, reference, tokenizer, prompts, tests, kl_weight=weight, seed=seed, steps=steps, every=every)
        found[arm] = excess(seen)
        rows += [{"arm": arm, **row} for row in seen]
    rows += [{"arm": BEST_OF_N, **row} for row in best_of_rows(proxy, reference, tokenizer, tests[:n], each, seed)]
    return Measurement({"D6": found, "D6.control": found, "D6.penalty": found}, rows)
