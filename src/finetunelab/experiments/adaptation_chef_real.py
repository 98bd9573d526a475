"""Chapter 1, the chef on real recipes: a small pretrained model reads French ones, then learns to write Thai ones.

The model from elsewhere is stories260K, a Llama of 260,032 parameters that its author trained on stories for children. Three arms meet the
same Thai recipes: it after French recipes, it as it comes, and a model of its shape with random weights. Learning rates are the best of
``sweep_chef`` for each arm, on validation recipes of a seed below 1,000; ``book/evidence/A5.real-rates.csv`` holds what it measured.
The nano base was swept in the same three ways, and its rows are there too. Its tokens are longer, so the same steps read more text: its
arms compare with one another only. The claim is measured on stories260K; ``real_chef(..., bases=("stories260K", "nano"))`` measures both.

A recipe is its title, ingredients and directions. One longer than a row of ``LENGTH`` tokens is cut there, at a word, for all models alike.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..adaptation import continue_training, novice
from ..cost import Cost
from ..models import load_model, load_tokenizer, shipped
from ..real_data import cut, recipes, weights
from ..skills import bits_per_byte
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STORIES, NANO = "stories260K", "nano"
LENGTH, ROWS = 512, 2  # tokens of a row, the whole context of stories260K; rows of a step
ARMS = ("French first", "as it comes", "random init")
FRENCH_STEPS = 200
THAI = (0, 30, 100)
COMPARED, THAI_STEPS = 100, 100  # Thai recipes, and the steps on so many: each is read about twice
TESTED = 60
RATE_SWEEP = (1e-3, 3e-3, 1e-2, 3e-2)
FRENCH_RATES = {STORIES: 3e-3, NANO: 3e-3}
THAI_RATES = {
    STORIES: {"French first": 1e-3, "as it comes": 3e-3, "random init": 3e-3},
    NANO: {"French first": 1e-3, "as it comes": 1e-2, "random init": 3e-3},
}


def place(base: str) -> str:
    """Return what ``load_model`` should be given: a shipped base by name, other weights by their folder."""
    return base if base in shipped() else str(weights(base))


@lru_cache(maxsize=4)
def cut_recipes(cuisine: str) -> tuple[str, ...]:
    """Return the recipes of a cuisine, cut to a row of the base with the shortest tokens, so that every model reads the same texts."""
    tokenizer = load_tokenizer(place(STORIES))
    return tuple(cut(text, tokenizer, LENGTH - 1) for text in recipes(cuisine))


def drawn_recipes(cuisine: str, sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Draw parts of the recipes of a cuisine that share none."""
    texts, parts, start = random.Random(f"{cuisine}/{seed}").sample(cut_recipes(cuisine), sum(sizes)), [], 0
    for size in sizes:
        parts.append(texts[start : start + size])
        start += size
    return parts


def learn(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], steps: int, rate: float, seed: int
) -> Cost:
    """Train a model in place, all alike but for the learning rate and the number of steps; return what it cost."""
    return continue_training(model, tokenizer, texts, config(steps, rate, seed, ROWS, "cosine"), length=LENGTH).cost


def start(
    base: str, arm: str, tokenizer: PreTrainedTokenizerBase, french: Sequence[str], seed: int, rate: float | None = None,
    steps: int = FRENCH_STEPS,
) -> PreTrainedModel:
    """Return the model of an arm as it meets the first Thai recipe."""
    model = load_model(place(base))
    if arm == "random init":
        return novice(model, seed)
    if arm == "French first":
        learn(model, tokenizer, french, steps, rate or FRENCH_RATES[base], seed)
    return model


def steps_for(amount: int) -> int:
    """Return the steps on ``amount`` Thai recipes: fewer for fewer, but a fifth at least."""
    return round(THAI_STEPS * max(0.2, amount / COMPARED))


def sweep_chef(
    base: str = STORIES, rates: Sequence[float] = RATE_SWEEP, n: int = COMPARED, n_valid: int = TESTED, french_steps: int = FRENCH_STEPS,
) -> list[dict[str, Any]]:
    """Return bits per byte on validation recipes: of French ones for each rate, then of Thai ones for each arm and rate."""
    tokenizer, rows, starts = load_tokenizer(place(base)), [], {}
    pool, thai = drawn_recipes("thai", (n, n_valid), SWEEP_SEED)
    own, *rest = drawn_recipes("french", (n_valid, len(cut_recipes("french")) - n_valid), SWEEP_SEED)
    for rate in rates:
        model = start(base, "French first", tokenizer, rest[0], 0, rate, french_steps)
        found = bits_per_byte(model, tokenizer, own)
        starts[found] = model
        rows.append({"base": base, "phase": "French", "arm": "French first", "rate": rate, "steps": french_steps, "bits per byte": found})
    for arm in ARMS:
        made = starts[min(starts)] if arm == "French first" else start(base, arm, tokenizer, (), 0)
        for rate in rates:
            model = copy.deepcopy(made)
            learn(model, tokenizer, pool, steps_for(n), rate, 0)
            found = bits_per_byte(model, tokenizer, thai)
            rows.append({"base": base, "phase": "Thai", "arm": arm, "rate": rate, "steps": steps_for(n), "bits per byte": found})
    return [{"seed": SWEEP_SEED, **row} for row in rows]


@measures(
    Claim(
        "A5.real", "A model of real French recipes learns Thai ones faster than a novice", metric="bits per byte after 100 Thai recipes",
        unit="ratio", treatment="French first", control="random init", effect_kind="log_ratio", op="<", threshold=1, dataset="recipes",
        beside="A5", test_to_train=TESTED / COMPARED,
        note="Both arms read the same Thai recipes. Those of more than 511 tokens, four in five, are cut there.",
    ),
    id="A5.real", seeds=5,
)
def real_chef(
    seed: int, data_seed: int, amounts: Sequence[int] = THAI, n_test: int = TESTED, bases: Sequence[str] = (STORIES,),
    french_steps: int = FRENCH_STEPS,
) -> Measurement:
    """Train every arm of each base on more and more Thai recipes; bits per byte on held-out Thai recipes after each.

    ``amounts`` holds ``COMPARED`` and ``bases`` holds ``STORIES``, where the claim is judged.
    """
    drawn, rows = seed_of_data(seed, data_seed), []
    pool, test = drawn_recipes("thai", (max(amounts), n_test), drawn)
    french = cut_recipes("french")
    for base in bases:
        tokenizer = load_tokenizer(place(base))
        for arm in ARMS:
            made = start(base, arm, tokenizer, french, seed, steps=french_steps)
            for amount in amounts:
                model, cost = copy.deepcopy(made), Cost()
                if amount:
                    cost = learn(model, tokenizer, pool[:amount], steps_for(amount), THAI_RATES[base][arm], seed)
                rows.append({
                    "base": base, "arm": arm, "recipes": amount, "steps": cost.steps, "flops": cost.flops,
                    "bits per byte": bits_per_byte(model, tokenizer, test),
                })
    return Measurement({
        "A5.real": {row["arm"]: row["bits per byte"] for row in rows if (row["base"], row["recipes"]) == (STORIES, COMPARED)}
    }, rows)
