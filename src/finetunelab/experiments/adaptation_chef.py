"""Chapter 1, the chef: a model that has read French recipes and nothing else learns to write Thai ones.

All models have the shape of the small base and start from random weights. What they read first is their *source*: French recipes, letters
(unrelated), French recipes with their words shuffled (no order to learn), or nothing (the novice). Then all learn the same Thai recipes.
Learning rates, and the number of steps on a hundred Thai recipes, are the best of ``sweep_chef`` for each source, on validation recipes of
a data seed below 1,000, which no reported seed draws; ``book/evidence/A5-rates.csv`` holds what it measured.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .. import worlds
from ..adaptation import continue_training, novice
from ..cost import Cost
from ..models import load_model, load_tokenizer
from ..skills import generate, perplexity
from ..worlds.recipes import check
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE = "nano-small"  # the shape; its weights are not used
ROWS, LENGTH = 4, 256  # of a step; the longest recipe has fewer tokens
SOURCES = ("French", "mail", "shuffled French")
SOURCE_STEPS = 1_000
THAI = (0, 10, 30, 100, 300)
COMPARED = 100  # Thai recipes
RATE_SWEEP, STEP_SWEEP = (3e-3, 1e-2, 3e-2), (100, 300)
SOURCE_RATES = {"French": 1e-2, "mail": 3e-3, "shuffled French": 1e-2}
THAI_RATES = {"French": 3e-2, "mail": 1e-2, "shuffled French": 3e-2, "novice": 1e-2}
THAI_STEPS = {"French": 300, "mail": 300, "shuffled French": 300, "novice": 300}


def recipes(cuisine: str, n: int, split: str, data_seed: int) -> list[dict]:
    """Draw ``n`` recipes of a cuisine."""
    return worlds.generator(f"{cuisine}_recipes").rows(n, split, data_seed)


def texts_of(rows: Sequence[dict]) -> list[str]:
    """Return the texts of rows."""
    return [row["text"] for row in rows]


def shuffled_words(text: str, rng: random.Random) -> str:
    """Return the words of a text in random order: the same words, and nothing of their order."""
    words = text.split(" ")
    rng.shuffle(words)
    return " ".join(words)


def source_texts(source: str, n: int, split: str, data_seed: int) -> list[str]:
    """Draw ``n`` texts of a source."""
    if source == "mail":
        return texts_of(worlds.generator("mail").rows(n, split, data_seed))
    texts, rng = texts_of(recipes("french", n, split, data_seed)), random.Random(data_seed)
    return [shuffled_words(text, rng) for text in texts] if source == "shuffled French" else texts


def learn(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], steps: int, rate: float, seed: int
) -> Cost:
    """Train a language model in place, all alike but for the learning rate and the number of steps; return what it cost."""
    return continue_training(model, tokenizer, texts, config(steps, rate, seed, ROWS, "cosine"), length=LENGTH).cost


@lru_cache(maxsize=32)
def read_first(
    source: str, seed: int, data_seed: int, steps: int = SOURCE_STEPS, base: str = BASE, rate: float | None = None
) -> PreTrainedModel:
    """Return a model that has read ``steps`` steps of a source, or nothing if that is "novice".

    A5 and A6 start from the same models, so they are kept: copy one before training it.
    """
    model = novice(load_model(base), seed)
    if source != "novice":
        # Enough texts that few are read twice: a row holds a recipe and a half, or three letters.
        texts = source_texts(source, 20 * steps, "train", data_seed)
        learn(model, load_tokenizer(base), texts, steps, rate or SOURCE_RATES[source], seed)
    return model


def learn_thai(start: PreTrainedModel, source: str, texts: Sequence[str], seed: int, base: str = BASE) -> tuple[PreTrainedModel, Cost]:
    """Return a copy of ``start`` that has learned Thai recipes, with what it cost.

    The steps grow with the recipes: those chosen for a hundred, a fifth of them for the least, twice as many for the most.
    """
    model, steps = copy.deepcopy(start), round(THAI_STEPS[source] * min(2, max(0.2, len(texts) / COMPARED)))
    return model, learn(model, load_tokenizer(base), texts, steps, THAI_RATES[source], seed)


def valid_share(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], seed: int) -> float:
    """Return the share of sampled recipes (temperature 0.7) that the kitchen's oracle finds valid."""
    written = generate(model, tokenizer, [row["prompt"] for row in rows], tokens=200, temperature=0.7, seed=seed)
    return sum(check(row["prompt"] + text).valid for row, text in zip(rows, written, strict=True)) / len(rows)


def sweep_chef(
    rates: Sequence[float] = RATE_SWEEP, counts: Sequence[int] = STEP_SWEEP, steps: int = SOURCE_STEPS, n: int = COMPARED, base: str = BASE,
) -> list[dict[str, Any]]:
    """Return perplexities on validation texts: of each source for each rate, then of Thai recipes for each source, rate and step count."""
    tokenizer, rows = load_tokenizer(base), []
    pool, thai = (texts_of(recipes("thai", n, split, SWEEP_SEED)) for split in ("train", "validation"))
    for source in (*SOURCES, "novice"):
        chosen = None
        if source != "novice":
            own, surprise = source_texts(source, n, "validation", SWEEP_SEED), {}
            for rate in rates:
                surprise[rate] = perplexity(read_first(source, 0, SWEEP_SEED, steps, base, rate), tokenizer, own)
                rows.append({
                    "seed": SWEEP_SEED, "phase": "source", "source": source, "rate": rate, "steps": steps, "perplexity": surprise[rate],
                })
            chosen = min(rates, key=surprise.get)
        start = read_first(source, 0, SWEEP_SEED, steps, base, chosen)
        for rate in rates:
            for count in counts:
                model = copy.deepcopy(start)
                learn(model, tokenizer, pool, count, rate, 0)
                found = perplexity(model, tokenizer, thai)
                rows.append({"seed": SWEEP_SEED, "phase": "Thai", "source": source, "rate": rate, "steps": count, "perplexity": found})
    return rows


@measures(
    Claim(
        "A5", "A model of French recipes learns Thai ones faster than a novice", metric="perplexity after 100 Thai recipes", unit="ratio",
        treatment="French", control="novice", effect_kind="log_ratio", op="<=", threshold=0.5,
    ),
    id="A5", seeds=5,
)
def chef(
    seed: int, data_seed: int, amounts: Sequence[int] = THAI, steps: int = SOURCE_STEPS, n_test: int = 100, n_written: int = 20,
    base: str = BASE,
) -> Measurement:
    """Train a chef of French recipes and a novice of the same shape on more and more Thai recipes; perplexity and validity after each.

    ``amounts`` holds ``COMPARED``, where the claim is judged. The rows have the perplexity on French recipes too: what was kept.
    """
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    tests, french = (recipes(cuisine, n_test, "test", drawn) for cuisine in ("thai", "french"))
    pool = recipes("thai", max(amounts), "train", drawn)
    rows = []
    for arm in ("French", "novice"):
        start = read_first(arm, seed, drawn, steps, base)
        for n in amounts:
            model, cost = (start, Cost()) if n == 0 else learn_thai(start, arm, texts_of(pool[:n]), seed, base)
            rows.append({
                "arm": arm, "recipes": n, "steps": cost.steps, "flops": cost.flops,
                "perplexity": perplexity(model, tokenizer, texts_of(tests)),
                "French perplexity": perplexity(model, tokenizer, texts_of(french)),
                "valid": valid_share(model, tokenizer, tests[:n_written], seed),
            })
    return Measurement({"A5": {row["arm"]: row["perplexity"] for row in rows if row["recipes"] == COMPARED}}, rows)


@measures(
    Claim(
        "A6.related", "A related source helps more than an unrelated one", metric="perplexity after 100 Thai recipes", unit="ratio",
        treatment="French", control="mail", effect_kind="log_ratio", op="<", threshold=1,
    ),
    Claim(
        "A6.order", "An unrelated source helps more than one without order", metric="perplexity after 100 Thai recipes", unit="ratio",
        treatment="mail", control="shuffled French", effect_kind="log_ratio", op="<", threshold=1,
    ),
    id="A6", seeds=5,
)
def relatedness(
    seed: int, data_seed: int, steps: int = SOURCE_STEPS, n: int = COMPARED, n_test: int = 100, base: str = BASE
) -> Measurement:
    """Read each source first, from scratch and for equal tokens, then the same Thai recipes; the novice reads Thai recipes alone."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    pool, tests, rows = texts_of(recipes("thai", n, "train", drawn)), texts_of(recipes("thai", n_test, "test", drawn)), []
    for source in (*SOURCES, "novice"):
        model, cost = learn_thai(read_first(source, seed, drawn, steps, base), source, pool, seed, base)
        rows.append({"source": source, "steps": cost.steps, "flops": cost.flops, "perplexity": perplexity(model, tokenizer, tests)})
    found = {row["source"]: row["perplexity"] for row in rows}
    return Measurement({"A6.related": found, "A6.order": found}, rows)
