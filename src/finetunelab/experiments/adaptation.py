"""Chapter 1: what happens to a spam detector and to a chef when the texts change, and what adapting costs.

Two tasks of the offline world. A detector of spam is trained on letters (``mail``) and meets social posts (``posts``). A model that writes
French recipes learns Thai ones. Each arm has a learning rate of its own, the best of a sweep of equal size on validation texts of a data seed
below 1,000, which no reported seed draws: ``sweep_detector`` and ``sweep_chef`` measure what ``book/evidence/A1-rates.csv`` and
``A5-rates.csv`` hold.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import worlds
from ..adaptation import continue_training, novice
from ..heads import Classifier, accuracy, fit
from ..models import load_model, load_tokenizer
from ..skills import generate, perplexity
from ..training import TrainConfig
from ..worlds.recipes import check
from . import Claim, Measurement, measures, seed_of_data

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 16
LETTERS = 2_000  # labelled letters that the detector is trained on
CAUSES = ("slang", "length", "format", "topic")
SWEEP_SEED = 900
DETECTOR_SWEEP = (3e-4, 1e-3, 3e-3)
DETECTOR_RATE = 1e-3


class Labelled(NamedTuple):
    """Texts and their labels, 1 for spam."""

    texts: list[str]
    labels: list[int]


def draw(world: str, n: int, split: str, data_seed: int, **knobs: Any) -> Labelled:
    """Draw ``n`` labelled letters or posts."""
    rows = worlds.generator(world).rows(n, split, data_seed, **knobs)
    return Labelled([row["text"] for row in rows], [row["spam"] for row in rows])


def error(wrong_share: float, n: int) -> float:
    """Return an error rate with one pseudo-count a side (Laplace's rule), so that a detector without mistakes still has a ratio."""
    return (wrong_share * n + 1) / (n + 2)


def train_detector(seed: int, data_seed: int, letters: int = LETTERS, base: str = "nano", rate: float = DETECTOR_RATE) -> Classifier:
    """Train the detector: the base with a new head, on letters, one pass."""
    detector, mail = Classifier(load_model(base), 2, seed=seed), draw("mail", letters, "train", data_seed)
    steps = max(1, letters // BATCH)
    config = TrainConfig(steps=steps, batch_size=BATCH, learning_rate=rate, warmup=max(1, steps // 10), seed=seed)
    fit(detector, load_tokenizer(base), *mail, config)
    return detector


def sweep_detector(rates: Sequence[float] = DETECTOR_SWEEP, letters: int = LETTERS, n: int = 1_000, base: str = "nano") -> list[dict[str, Any]]:
    """Return the accuracy on validation letters for each learning rate. Posts play no part in the choice."""
    valid, tokenizer = draw("mail", n, "validation", SWEEP_SEED), load_tokenizer(base)
    return [
        {"seed": SWEEP_SEED, "arm": "detector", "rate": rate, "accuracy": accuracy(train_detector(0, SWEEP_SEED, letters, base, rate), tokenizer, *valid)}
        for rate in rates
    ]


@measures(
    Claim(
        "A1.ratio", "A detector trained on mail fails on social posts", metric="error rate", unit="ratio", treatment="posts", control="mail",
        effect_kind="log_ratio", op=">=", threshold=3,
    ),
    Claim(
        "A1.gap", "A detector trained on mail fails on social posts", metric="error rate", unit="share", treatment="posts", control="mail",
        effect_kind="difference", op=">=", threshold=0.10,
    ),
    id="A1",
)
def detector_meets_posts(seed: int, data_seed: int, letters: int = LETTERS, n_test: int = 1_000, base: str = "nano") -> Measurement:
    """Train on letters, test on letters and on posts, and on posts that differ from letters in one respect only."""
    drawn = seed_of_data(seed, data_seed)
    detector, tokenizer = train_detector(seed, drawn, letters, base), load_tokenizer(base)
    kinds = {"mail": {cause: 0.0 for cause in CAUSES}, "posts": {cause: 1.0 for cause in CAUSES}}
    kinds |= {cause: kinds["mail"] | {cause: 1.0} for cause in CAUSES}
    rows, arms = [], {}
    for kind, knobs in kinds.items():
        tests = draw("mail", n_test, "test", drawn) if kind == "mail" else draw("posts", n_test, "test", drawn, **knobs)
        arms[kind] = error(1 - accuracy(detector, tokenizer, *tests), n_test)
        rows.append({"texts": kind, "error": arms[kind]})
    return Measurement({"A1.ratio": arms, "A1.gap": arms}, rows)


def recipes(cuisine: str, n: int, split: str, data_seed: int) -> list[dict]:
    """Draw ``n`` recipes of a cuisine."""
    return worlds.generator(f"{cuisine}_recipes").rows(n, split, data_seed)


def texts_of(rows: Sequence[dict]) -> list[str]:
    return [row["text"] for row in rows]


def learn(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], steps: int, rate: float, seed: int
) -> None:
    """Train a language model in place, all arms alike: rows of 128 tokens, 16 a step."""
    settings = TrainConfig(steps=steps, batch_size=BATCH, learning_rate=rate, warmup=max(1, steps // 10), schedule="cosine", seed=seed)
    continue_training(model, tokenizer, texts, settings, length=128)


def valid_share(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], seed: int) -> float:
    """Return the share of sampled recipes (temperature 0.7) that the kitchen's oracle finds valid."""
    written = generate(model, tokenizer, [row["prompt"] for row in rows], tokens=200, temperature=0.7, seed=seed)
    return sum(check(row["prompt"] + text).valid for row, text in zip(rows, written, strict=True)) / len(rows)


THAI = (0, 10, 30, 100, 300, 1000)
FRENCH_STEPS = 1_500  # of 16 rows of 128 tokens: what the chef has read before, about three million tokens
CHEF_SWEEP = (3e-3, 1e-2, 3e-2)
CHEF_RATES = {"pretraining": 1e-2, "French": 1e-2, "novice": 1e-2}


def chef_steps(n: int) -> int:
    """Return the steps on ``n`` Thai recipes: about ten passes, at least 20 steps, at most 400."""
    return min(400, max(20, n))


def read_french(seed: int, data_seed: int, steps: int, base: str, rate: float = CHEF_RATES["pretraining"]) -> PreTrainedModel:
    """Train a novice on French recipes: the chef of A5, who knows nothing else."""
    model = novice(load_model(base), seed)
    # As many recipes as fit into the rows that it reads.
    learn(model, load_tokenizer(base), texts_of(recipes("french", 17 * steps, "train", data_seed)), steps, rate, seed)
    return model


def sweep_chef(
    rates: Sequence[float] = CHEF_SWEEP, steps: int = FRENCH_STEPS, n: int = 100, base: str = "nano-small"
) -> list[dict[str, Any]]:
    """Return perplexities on validation recipes for each learning rate: of the French training, then of each arm after ``n`` Thai recipes."""
    tokenizer, rows, chefs = load_tokenizer(base), [], []
    french, thai = (texts_of(recipes(cuisine, 100, "validation", SWEEP_SEED)) for cuisine in ("french", "thai"))
    for rate in rates:
        chefs.append(read_french(0, SWEEP_SEED, steps, base, rate))
        rows.append({"seed": SWEEP_SEED, "arm": "pretraining", "rate": rate, "perplexity": perplexity(chefs[-1], tokenizer, french)})
    best = min(range(len(rates)), key=lambda i: rows[i]["perplexity"])
    pool = texts_of(recipes("thai", n, "train", SWEEP_SEED))
    for arm, start in (("French", chefs[best]), ("novice", novice(load_model(base), 0))):
        for rate in rates:
            model = copy.deepcopy(start)
            learn(model, tokenizer, pool, chef_steps(n), rate, 0)
            rows.append({"seed": SWEEP_SEED, "arm": arm, "rate": rate, "perplexity": perplexity(model, tokenizer, thai)})
    return rows


@measures(
    Claim(
        "A5", "A model of French recipes learns Thai ones faster than a novice", metric="perplexity after 100 Thai recipes", unit="ratio",
        treatment="French", control="novice", effect_kind="log_ratio", op="<=", threshold=0.5,
    ),
    id="A5", seeds=5,
)
def chef(
    seed: int, data_seed: int, amounts: Sequence[int] = THAI, steps: int = FRENCH_STEPS, n_test: int = 100, base: str = "nano-small",
) -> Measurement:
    """Train a chef of French recipes and a novice of the same size on more and more Thai recipes; perplexity and validity after each."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    tests, pool, rows, at_100 = recipes("thai", n_test, "test", drawn), recipes("thai", max(amounts), "train", drawn), [], {}
    for arm in ("French", "novice"):
        start = read_french(seed, drawn, steps, base) if arm == "French" else novice(load_model(base), seed)
        for n in amounts:
            model = copy.deepcopy(start)
            if n:
                learn(model, tokenizer, texts_of(pool[:n]), chef_steps(n), CHEF_RATES[arm], seed)
            found = perplexity(model, tokenizer, texts_of(tests))
            rows.append({"arm": arm, "recipes": n, "perplexity": found, "valid": valid_share(model, tokenizer, tests[:20], seed)})
            if n == 100:
                at_100[arm] = found
    return Measurement({"A5": at_100}, rows)
