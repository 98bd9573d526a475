"""What stands beside PPO: DPO written out, GRPO and RLOO through trl, best of n, and curves of over-optimization.

DPO learns from preference pairs alone, without a reward model and without sampling: ``dpo_loss``, ``fit``. GRPO and RLOO sample like PPO
and need no value head, because they compare responses to the same request: ``through_trl``. Best of n trains nothing: ``best_of`` samples
several responses and keeps the one that scores best. How far a score can then be trusted is what ``best_of_curve``, ``fit_best_of`` and
``fit_rl`` are for.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import xlogy
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from . import reward
from .corpus import counted_losses
from .errors import UserError
from .heads import padded
from .models import quiet
from .ppo import PolicyWithValue, PPOConfig, Score, laid_out, respond, scored
from .profiles import device_and_dtype
from .sft import Conversation, end_of_turn
from .training import TrainConfig, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64  # responses whose log-probabilities are computed at a time
SAMPLED = 256  # responses sampled at a time


# Direct preference optimization -------------------------------------------------------------------------------------------------


def dpo_loss(
    policy_chosen: torch.Tensor, policy_rejected: torch.Tensor, reference_chosen: torch.Tensor, reference_rejected: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """Return the mean of -log P(chosen over rejected) in nats, by Bradley and Terry's model of implicit rewards.

    The four tensors are the log-probabilities of whole responses in nats, of shape (pairs,). The implicit reward of a response is
    ``beta`` times log p - log q, policy p and reference q: of a policy that is best for a reward less ``beta`` times its KL to q it is that
    reward, but for a constant of the request, which cancels (Rafailov et al. 2023, arXiv:2305.18290, eq. 5 and 7). So it is the loss of a
    reward model, with the policy as that model.
    """
    return reward.bradley_terry_loss(beta * (policy_chosen - reference_chosen), beta * (policy_rejected - reference_rejected))


def response_batch(rows: Sequence[tuple[Sequence[int], int]], pad: int) -> dict[str, torch.Tensor]:
    """Stack conversations, each its token ids and the length of its request, and mark the responses behind those in "response_mask"."""
    batch = padded([ids for ids, _ in rows], pad)
    begins = torch.tensor([begin for _, begin in rows])
    behind = torch.arange(batch["input_ids"].shape[1]) >= begins[:, None]
    return batch | {"response_mask": behind & batch["attention_mask"].bool()}


def response_log_probabilities(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the log-probability in nats of each row's response given its request, of shape (rows,): a sum over tokens, not a mean."""
    counted = batch["response_mask"][:, 1:]
    return -laid_out(counted_losses(model, batch, counted), counted).sum(1)


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, rows: Sequence[tuple[Sequence[int], int]], pad: int) -> torch.Tensor:
    """Return the same for any number of rows, as ``response_batch`` takes them, on the CPU."""
    model.eval()
    found, order = torch.empty(len(rows)), sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        batch = {name: value.to(model.device) for name, value in response_batch([rows[i] for i in places], pad).items()}
        found[places] = response_log_probabilities(model, batch).float().cpu()
    return found


@dataclass(frozen=True)
class Fitted(reward.Fitted):
    """A finished training by DPO: also the share of pairs of the last pass whose chosen response led by implicit reward when its turn came.

    That was before the policy learned from the pair: in a run of one pass no pair of it had been seen.
    """

    accuracy: float


def fit(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Mapping[str, Any]], config: TrainConfig, beta: float = 0.1,
    longest: int = reward.LONGEST, announce: bool = False,
) -> Fitted:
    """Train a policy in place on preference pairs, laid out as ``reward.prepare_pairs`` says; ``config.batch_size`` counts pairs.

    The reference is the policy as it is given. What it says of the pairs is computed once, before training. The larger ``beta``, in units
    of reward per nat, the smaller the change of probabilities that says what the pairs say.

    Raises UserError as ``reward.prepare_pairs`` and ``training.train`` do, and for a ``beta`` that is not positive.
    """
    if not beta > 0:
        raise UserError(f"beta is {beta}, and pairs say nothing at zero or below", "choose one above 0, such as 0.1")
    prepared, pad = reward.prepare_pairs(tokenizer, pairs, longest), tokenizer.pad_token_id
    if announce:
        print(prepared.describe())
    responses = [(row[name], row["request_length"]) for name in ("chosen_ids", "rejected_ids") for row in prepared.rows]
    reference, n = log_probabilities(policy, responses, pad), len(prepared.rows)
    leads = torch.full((n,), math.nan)

    def collate(places: Sequence[int]) -> dict[str, torch.Tensor]:
        both = [*places, *(n + place for place in places)]  # first all chosen, then all rejected, so that one pass sees both
        return response_batch([responses[i] for i in both], pad) | {"reference": reference[both], "places": torch.tensor(places)}

    def loss(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        log_p = response_log_probabilities(model, batch)
        chosen, rejected = (log_p - batch["reference"]).detach().chunk(2)
        leads[batch["places"].cpu()] = (chosen - rejected).float().cpu()
        return dpo_loss(*log_p.chunk(2), *batch["reference"].chunk(2), beta)

    result = train(policy, range(n), config, collate=collate, loss=loss, announce=announce)
    return Fitted(prepared, result, reward.accuracy(leads[~leads.isnan()]))


def implicit_rewards(
    policy: PreTrainedModel, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation],
    responses: Sequence[str], beta: float = 0.1,
) -> torch.Tensor:
    """Return ``beta`` (log p - log q) of each response to its prompt, a conversation, of shape (responses,), on the CPU.

    Only differences between responses to one prompt say anything (Rafailov et al. 2023, eq. 5).
    """
    end, rows = end_of_turn(tokenizer), []
    for prompt, text in zip(prompts, responses, strict=True):
        ids = reward.encode(tokenizer, [*prompt, {"role": "assistant", "content": text}], end)
        rows.append((ids, reward.request_length(tokenizer, prompt, ids)))
    log_p, log_q = (log_probabilities(model, rows, tokenizer.pad_token_id) for model in (policy, reference))
    return beta * (log_p - log_q)


# GRPO and RLOO ------------------------------------------------------------------------------------------------------------------


class _Clock(TrainerCallback):
    """Note how long each step took that is neither generation nor scoring."""

    def __init__(self, steps: list[dict[str, float]]):
        self.steps = steps

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        step = self.steps[-1]
        step["update"] = time.perf_counter() - self.began - step["generation"] - step["scoring"]


def through_trl(
    method: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], score: Score, *,
    steps: int, responses: int, group: int, learning_rate: float, kl_weight: float, tokens: int = 72, seed: int = 0,
    missing_end: float = PPOConfig.missing_end,
) -> list[dict[str, float]]:
    """Train a model in place by trl's "grpo" (Shao et al. 2024, arXiv:2402.03300) or "rloo" (Ahmadian et al. 2024, arXiv:2402.14740).

    A step samples ``responses``, of at most ``tokens`` tokens, ``group`` of them to each request drawn from ``prompts``, and passes once
    over them. The number format is the model's own, as in ``ppo.ppo``; ``missing_end`` and the falling learning rate are as in
    ``PPOConfig``; all else is trl's default. RLOO takes ``kl_weight`` off the score for each nat of a response, as PPO does. GRPO measures
    scores in standard deviations of their group and adds ``kl_weight`` times the KL of a token to the loss: the two weights cannot be
    compared.

    Returns what each step measured, in the names of ``ppo.ppo``: "step", "score", "kl" in nats a response (GRPO's by the estimate q / p - 1
    - log q / p, of the same mean), "reward", "entropy", "length", "ended", "tokens", and the seconds of "generation", "scoring" (the score
    function alone) and "update" (all else, the pass of the reference included).

    Raises UserError for another method, for groups of fewer than two, for responses that do not make whole groups, for too few prompts, and
    as ``ppo.scored`` does.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    methods = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}
    if method not in methods:
        raise UserError(f"unknown method {method!r}", f"choose one of {', '.join(methods)}")
    if group < 2 or responses % group or not responses:
        raise UserError(f"{responses} responses do not make groups of {group}", "choose groups of two or more, and a multiple of them")
    if len(prompts) < responses // group:
        raise UserError(f"a step asks {responses // group} requests, and there are {len(prompts)}", "give more prompts, or larger groups")
    # A copy is trained and its weights are taken back: trl leaves the model that it trains with another forward and other settings.
    policy, ends = copy.deepcopy(model), sorted({tokenizer.eos_token_id, end_of_turn(tokenizer)})
    policy.generation_config.eos_token_id = ends  # it would talk on past its turn
    generate, measured, waited = policy.generate, [], []

    def timed(*args: Any, **options: Any) -> torch.Tensor:
        began = time.perf_counter()
        out = generate(*args, **options)
        waited.append(time.perf_counter() - began)
        return out

    policy.generate = timed

    def rewarded(prompts: list, completions: list, completion_ids: list[list[int]], **_: Any) -> list[float]:
        began = time.perf_counter()
        scores = scored(score, prompts, [turns[0]["content"].strip() for turns in completions]).cpu()
        ended = torch.tensor([ids[-1] in ends for ids in completion_ids])
        charged, count = scores - missing_end * ~ended, sum(map(len, completion_ids))
        measured.append({
            "step": len(measured), "score": float(scores.mean()), "reward": float(charged.mean()), "ended": float(ended.float().mean()),
            "length": count / responses, "tokens": count, "generation": waited[-1], "scoring": time.perf_counter() - began,
        })
        return charged.tolist()

    trainer_class, config_class = methods[method]
    with tempfile.TemporaryDirectory(prefix="finetunelab-") as directory, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy.save_pretrained(directory)
        policy.config._name_or_path = directory  # where trl loads the reference from: the model may have been trained since it was loaded
        config = config_class(
            output_dir=directory, max_steps=steps, per_device_train_batch_size=responses, num_generations=group,
            max_completion_length=tokens, beta=kl_weight or 1e-12,  # at zero trl would not measure the KL
            learning_rate=learning_rate, seed=seed, gradient_checkpointing=False, bf16=False, report_to=[], save_strategy="no",
            logging_steps=1, disable_tqdm=True, use_cpu=device_and_dtype().device == "cpu",
        )
        rows = Dataset.from_list([{"prompt": list(turns)} for turns in prompts])
        trainer = trainer_class(
            model=policy, reward_funcs=rewarded, args=config, train_dataset=rows, processing_class=tokenizer, callbacks=[_Clock(measured)]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.load_state_dict(policy.state_dict())
    for entry, log in zip(measured, trainer.state.log_history, strict=False):  # the last of the log is about the whole run
        entry |= {"kl": log["kl"] * entry["length"], "entropy": log["entropy"]}
        entry["reward"] -= kl_weight * entry["kl"]
    return measured


# Best of n ----------------------------------------------------------------------------------------------------------------------


def candidates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], n: int, *, tokens: int = 72, seed: int = 0
) -> list[list[str]]:
    """Sample ``n`` responses to each request at temperature 1, of at most ``tokens`` tokens."""
    policy, generator = PolicyWithValue(model), torch.Generator().manual_seed(seed)
    found: list[list[str]] = [[] for _ in prompts]
    # Requests of like length share a batch, so that little is spent on padding.
    order = [i for i in sorted(range(len(prompts)), key=lambda i: len(str(prompts[i]))) for _ in range(n)]
    for start in range(0, len(order), SAMPLED):
        places = order[start : start + SAMPLED]
        for i, text in zip(places, respond(policy, tokenizer, [prompts[i] for i in places], tokens, generator)[0], strict=True):
            found[i].append(text)
    return found


def candidate_scores(score: Score, prompts: Sequence[Conversation], found: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the scores of candidates, of shape (requests, n). Raises UserError as ``ppo.scored`` does."""
    asked = [prompt for prompt, texts in zip(prompts, found, strict=True) for _ in texts]
    return scored(score, asked, [text for texts in found for text in texts]).cpu().numpy().reshape(len(found), -1)


def best_of(
    n: int, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], score: Score, *, tokens: int = 72,
    seed: int = 0,
) -> list[str]:
    """Return of ``n`` sampled responses to each request the one with the best score, the first of equals.

    Raises UserError as ``ppo.scored`` does.
    """
    found = candidates(model, tokenizer, prompts, n, tokens=tokens, seed=seed)
    return [texts[best] for texts, best in zip(found, candidate_scores(score, prompts, found).argmax(1), strict=True)]


def best_of_kl(n: int) -> float:
    """Return log n - (n - 1) / n, the KL in nats of the best of ``n`` to the policy that they were sampled from.

    Exact where no two responses score alike (Stiennon et al. 2020, arXiv:2009.01325). Where they can, as with grades, it is an upper bound
    (Beirami et al. 2024, arXiv:2401.01879).
    """
    return math.log(n) - (n - 1) / n


def best_of_curve(proxy: Any, truth: Any, ns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return what the response best by ``proxy`` among n scores on average by ``proxy`` and by ``truth``, two arrays of shape (len(ns),).

    ``proxy`` and ``truth`` have shape (requests, N): scores of the same N candidates. All choices of n among them count, not one that was
    drawn: the candidate of rank j is the best of comb(j - 1, n - 1) / comb(N, n) of them (the estimator of Nakano et al. 2021,
    arXiv:2112.09332, which Gao et al. 2023, arXiv:2210.10760, use). Candidates with equal ``proxy`` share what is theirs.

    Raises UserError for arrays that do not fit, and for an n that is not from 1 to N.
    """
    proxy, truth = np.asarray(proxy, dtype=float), np.asarray(truth, dtype=float)
    if proxy.ndim != 2 or proxy.shape != truth.shape or not proxy.size:
        raise UserError(f"scores of shapes {proxy.shape} and {truth.shape} do not fit", "give both as (requests, candidates)")
    total = proxy.shape[1]
    if not all(1 <= n <= total for n in ns):
        raise UserError(f"the best of {list(ns)} cannot be told from {total} candidates", f"choose from 1 to {total}")
    weights = np.array([[math.comb(rank, n - 1) / math.comb(total, n) for rank in range(total)] for n in ns])
    best = np.zeros((2, len(ns)))
    for ours, real in zip(proxy, truth, strict=True):
        values, group, sizes = np.unique(ours, return_inverse=True, return_counts=True)
        means = np.bincount(group, weights=real) / sizes
        best += np.stack([weights @ np.repeat(value, sizes) for value in (values, means)])
    return tuple(best / len(proxy))


# Curves of over-optimization ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BestOfCurve:
    """R(d) = d (a - b d): what best of n gains in the score that counts, at d, the square root of the KL in nats.

    Gao et al. 2023, arXiv:2210.10760, section 1.
    """

    a: float
    b: float

    def __call__(self, d: Any) -> np.ndarray:
        d = np.asarray(d, dtype=float)
        return d * (self.a - self.b * d)

    @property
    def peak(self) -> tuple[float, float]:
        """Where the gain is largest, and how large: both infinite if the curve never falls, both 0 if it never rises."""
        if self.b <= 0:
            return (math.inf, math.inf) if self.a > 0 or self.b < 0 else (0.0, 0.0)
        d = max(self.a / (2 * self.b), 0.0)
        return d, float(self(d))


@dataclass(frozen=True)
class RLCurve:
    """R(d) = d (a - b log d): what reinforcement learning gains, in the same terms and from the same source."""

    a: float
    b: float

    def __call__(self, d: Any) -> np.ndarray:
        d = np.asarray(d, dtype=float)
        return self.a * d - self.b * xlogy(d, d)  # 0 at 0

    @property
    def peak(self) -> tuple[float, float]:
        """Where the gain is largest, and how large: both infinite if the curve ends by rising, both 0 if it never rises."""
        if self.b <= 0:
            return (math.inf, math.inf) if self.a > 0 or self.b < 0 else (0.0, 0.0)
        with np.errstate(over="ignore"):
            d = float(np.exp(self.a / self.b - 1))
        return d, self.b * d


def fit_best_of(d: Any, gain: Any) -> BestOfCurve:
    """Fit ``BestOfCurve`` by least squares to gains at square roots of KL, both of shape (points,).

    Raises UserError for points that do not fit together, a ``d`` below 0, a value that is not finite, and fewer than two different ``d``
    above 0.
    """
    return BestOfCurve(*_least_squares(d, gain, lambda d: -d * d))


def fit_rl(d: Any, gain: Any) -> RLCurve:
    """Fit ``RLCurve`` by least squares. Raises UserError as ``fit_best_of`` does."""
    return RLCurve(*_least_squares(d, gain, lambda d: -xlogy(d, d)))


def _least_squares(d: Any, gain: Any, bend: Any) -> list[float]:
    d, gain = np.asarray(d, dtype=float), np.asarray(gain, dtype=float)
    if d.shape != gain.shape or d.ndim != 1 or not (np.isfinite(d).all() and np.isfinite(gain).all() and (d >= 0).all()):
        cause = "the points of the curve are not pairs of finite numbers with d from 0 up"
        raise UserError(cause, "give square roots of KL, and as many gains")
    if len(np.unique(d[d > 0])) < 2:
        raise UserError("a curve of two coefficients needs two different d above 0", "measure at more of them")
    return np.linalg.lstsq(np.stack([d, bend(d)], axis=1), gain, rcond=None)[0].tolist()
