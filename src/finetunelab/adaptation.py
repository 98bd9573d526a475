"""Adaptation: see that a distribution has shifted, go on training on the new one, and keep what was known.

A model is trained on texts from a *source* distribution and used on a *target*. Three questions have a section each: how far apart are
the two (no label needed)? how is a trained model trained further? and what does it take to reach a score, or to keep one?
"""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .corpus import PackedRows, encode, stack, weighted_next_token_loss
from .errors import UserError
from .heads import LONGEST, batches, pool
from .profiles import processes
from .skills import perplexity
from .training import TrainConfig, TrainResult, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PERMUTATIONS = 199


# How far apart are source and target? -----------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())


def new_words(source: Sequence[str], target: Sequence[str]) -> float:
    """Return the share of the target's running words that occur nowhere in the source."""
    known = {word for text in source for word in words(text)}
    running = [word for text in target for word in words(text)]
    return sum(word not in known for word in running) / max(1, len(running))


def features(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int = LONGEST, pooling: str = "mean"
) -> np.ndarray:
    """Return one vector for each text, of shape (texts, width): the pooled states of the last layer, what a frozen model makes of it.

    ``longest`` tokens of a text are read; an encoder works as well as a language model. UserError for an unknown pooling.
    """
    return features_of_layers(model, tokenizer, texts, [-1], longest, pooling)[0]


@torch.inference_mode()
def features_of_layers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], layers: Sequence[int], longest: int = LONGEST,
    pooling: str = "mean",
) -> np.ndarray:
    """Return one vector for each text from each of some layers, of shape (layers, texts, width), see ``features``.

    Layer 0 are the input embeddings, -1 the last layer. UserError for a layer that the model has not.
    """
    most = model.config.num_hidden_layers
    for layer in layers:
        if layer not in range(-most - 1, most + 1):
            raise UserError(f"there is no layer {layer}", f"this model has 0, its input embeddings, to {most}")
    found = np.empty((len(layers), len(texts), model.config.hidden_size), dtype=np.float32)
    for places, batch in batches(tokenizer, texts, model.device, longest):
        states = model.get_decoder()(**batch, use_cache=False, output_hidden_states=True).hidden_states
        for row, layer in enumerate(layers):
            found[row, places] = pool(states[layer].float(), batch["attention_mask"], pooling).cpu().numpy()
    return found


@dataclass(frozen=True)
class TwoSample:
    """A two-sample test: ``distance`` between the samples (squared, may be slightly negative) and the p value of "no difference"."""

    distance: float
    p: float


def two_sample_test(source: np.ndarray, target: np.ndarray, seed: int = 0, permutations: int = PERMUTATIONS) -> TwoSample:
    """Test whether two samples of vectors, each of shape (n, width), come from one distribution.

    The distance is the unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) under a Gaussian kernel
    whose width is the median distance between vectors (their section 8). Features are scaled to one standard deviation over both
    samples. The p value counts how many random divisions of the pooled vectors give as great a distance, itself included: it is never
    below 1 / (permutations + 1).

    Raises UserError when a sample has fewer than two vectors, or one that is not finite.
    """
    if min(len(source), len(target)) < 2:
        raise UserError("a two-sample test got fewer than two texts", "give at least two of each kind, better two hundred")
    both = np.concatenate([source, target]).astype(np.float64)
    if not np.isfinite(both).all():
        raise UserError("a feature is not a number", "compute the features in float32: 16-bit formats overflow")
    both = (both - both.mean(0)) / np.maximum(both.std(0), 1e-9)
    squares = (both**2).sum(1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * both @ both.T, 0)
    median = np.median(distances[np.triu_indices(len(both), 1)])
    kernel = np.exp(-distances / max(median, 1e-12))
    np.fill_diagonal(kernel, 0.0)
    n, m = len(source), len(target)

    def discrepancy(order: np.ndarray) -> float:
        side = np.where(order < n, 1.0, 0.0)
        within_source, within_target = side @ kernel @ side, (1 - side) @ kernel @ (1 - side)
        across = side @ kernel @ (1 - side)
        return within_source / (n * (n - 1)) + within_target / (m * (m - 1)) - 2 * across / (n * m)

    found = discrepancy(np.arange(n + m))
    rng = np.random.default_rng(seed)
    # A division and its mirror image are equally far apart, but for rounding.
    as_great = sum(discrepancy(rng.permutation(n + m)) >= found - 1e-12 for _ in range(permutations))
    return TwoSample(float(found), (1 + as_great) / (1 + permutations))


def perplexity_gap(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Sequence[str], target: Sequence[str]) -> float:
    """Return by which factor the target surprises the model more than the source: the ratio of the two perplexities."""
    return perplexity(model, tokenizer, target) / perplexity(model, tokenizer, source)


# Going on with training --------------------------------------------------------------------------------------------------------


def novice(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Return a model of the same architecture that has learned nothing, its weights drawn as its library draws them."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(copy.deepcopy(model.config)).to(model.device).eval()


def continue_training(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], config: TrainConfig, length: int = 256, *,
    output: str | Path | None = None, announce: bool = False,
) -> TrainResult:
    """Train a causal language model in place on more texts, by the loss that it was pretrained with, and return what it cost.

    Rows of ``length`` tokens are packed from whole texts, drawn anew for every row and cut at its end, so ``config.steps`` must be given: a pass
    over the data has no end here. ``output`` and ``announce`` are those of ``training.train``. Gururangan et al. (2020, arXiv:2004.10964) call this domain-adaptive pretraining.

    Raises UserError without texts or steps, and for a text that no row can hold: its end would never be learned.
    """
    if not texts:
        raise UserError("there are no texts to train on", "give at least one")
    if config.steps is None:
        raise UserError("continue_training was not told how long", "give TrainConfig a number of steps")
    pools = {"texts": encode([{"text": text} for text in texts], tokenizer)}
    longest = int(np.diff(pools["texts"].starts).max())
    if longest > length:
        raise UserError(f"a text has {longest} tokens and a row {length}", f"give length={longest} or more, or cut the texts first")
    batch = config.batch_size * config.accumulate * processes()[1]
    rows = PackedRows(pools, {"texts": 1.0}, rows=config.steps * batch, length=length, vocab=len(tokenizer), seed=config.seed)
    return train(model, rows, config, collate=stack, loss=weighted_next_token_loss, output=output, announce=announce)


def with_replay(new: Sequence, old: Sequence, share: float, seed: int = 0) -> list:
    """Return the new examples with old ones among them, so that about ``share`` of all examples are old (experience replay).

    The number of old examples is rounded; they are drawn without repetition, and the order is shuffled.

    Raises UserError for a share outside [0, 1), one that rounds to no old example, or too few old examples.
    """
    if not 0 <= share < 1:
        raise UserError(f"a replay share of {share} is out of range", "choose a share from 0 to below 1, such as 0.1")
    wanted = round(len(new) * share / (1 - share))
    if share and not wanted:
        raise UserError(f"a share of {share} of {len(new)} new examples is no old example at all", "choose a larger share")
    if wanted > len(old):
        raise UserError(f"replay needs {wanted} old examples and got {len(old)}", "give more of them or a smaller share")
    rng = random.Random(seed)
    mixed = [*new, *rng.sample(list(old), wanted)]
    rng.shuffle(mixed)
    return mixed


# What does it take? ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Needed:
    """The amount at which a learning curve reaches a score. ``bound`` tells what is known of it: "=", "<=" the least, or ">" the most tried."""

    amount: float
    bound: str

    def __str__(self) -> str:
        return f"{'' if self.bound == '=' else self.bound + ' '}{self.amount:,.0f}"


def amount_to_reach(amounts: Sequence[float], scores: Sequence[float], target: float) -> Needed:
    """Return where a curve first reaches ``target`` and stays, interpolated in the logarithm of the amount.

    Curves from few labels wobble, so scores are first made non-decreasing by pooling neighbors that fall (isotonic regression,
    Barlow et al. 1972). A target below the first score or above the last leaves only a bound.

    Raises UserError unless the amounts are above zero and rise, with a finite score each.
    """
    from sklearn.isotonic import IsotonicRegression

    rising = all(low < high for low, high in zip(amounts, amounts[1:], strict=False))
    if not amounts or amounts[0] <= 0 or not rising or len(scores) != len(amounts) or not all(map(math.isfinite, scores)):
        raise UserError("a learning curve needs rising amounts above zero and a score for each", "sort the points and leave out zero")
    logs = [math.log(amount) for amount in amounts]
    smooth = IsotonicRegression().fit_transform(logs, scores)
    if smooth[0] >= target:
        return Needed(float(amounts[0]), "<=")
    for i in range(1, len(smooth)):
        if smooth[i] >= target:
            part = (target - smooth[i - 1]) / (smooth[i] - smooth[i - 1])
            return Needed(math.exp(logs[i - 1] + part * (logs[i] - logs[i - 1])), "=")
    return Needed(float(amounts[-1]), ">")
