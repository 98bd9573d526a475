"""Chapter 3 on real text: a small model of children's stories reads abstracts of medical papers.

The model is stories260K, a Llama of 260,032 parameters that its author trained on stories for children. A text is what PubMedQA
gives as context, the abstract of a paper without its conclusions; one longer than a row of ``LENGTH`` tokens is cut there, at a word. The
learning rate is the best of ``sweep_abstracts``, on validation texts from a fifth of the corpus that no reported number is measured on;
``book/evidence/C1.real-rates.csv`` holds what it measured.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..adaptation import continue_training
from ..cost import Cost
from ..models import load_model, load_tokenizer
from ..real_data import REPORT, SWEEP, abstracts, cut, weights
from ..skills import bits_per_byte
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STORIES = "stories260K"
LENGTH, ROWS = 512, 2  # tokens of a row, the whole context of the model; rows of a step
TRAINED, TESTED = 500, 100
STEPS = 400
RATE = 3e-3
RATE_SWEEP = (1e-3, 3e-3, 1e-2, 3e-2)


@lru_cache(maxsize=2)
def cut_abstracts(side: str) -> tuple[str, ...]:
    """Return the abstracts of a side of the corpus, cut to a row."""
    tokenizer = load_tokenizer(str(weights(STORIES)))
    return tuple(cut(text, tokenizer, LENGTH - 1) for text in abstracts(side))


def drawn_abstracts(sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Draw parts of the abstracts on the side of reported numbers that share none."""
    texts = iter(random.Random(f"abstracts/{seed}").sample(cut_abstracts(REPORT), sum(sizes)))
    return [[next(texts) for _ in range(size)] for size in sizes]


def read_abstracts(
    texts: Sequence[str], seed: int, rate: float = RATE, steps: int = STEPS
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Cost]:
    """Return the model after it has read texts, its tokenizer, and what the reading cost."""
    place = str(weights(STORIES))
    model, tokenizer = load_model(place), load_tokenizer(place)
    cost = continue_training(model, tokenizer, texts, config(steps, rate, seed, ROWS, "cosine"), length=LENGTH).cost if steps else Cost()
    return model, tokenizer, cost


def sweep_abstracts(
    rates: Sequence[float] = RATE_SWEEP, steps: int = STEPS, n: int = TRAINED, n_valid: int = TESTED
) -> list[dict[str, Any]]:
    """Return bits per byte on validation texts, which stand on the other side of the corpus, for each learning rate."""
    (texts,), valid, rows = drawn_abstracts((n,), SWEEP_SEED), cut_abstracts(SWEEP)[:n_valid], []
    for rate in rates:
        model, tokenizer, _ = read_abstracts(texts, 0, rate, steps)
        rows.append({"seed": SWEEP_SEED, "rate": rate, "steps": steps, "bits per byte": bits_per_byte(model, tokenizer, valid)})
    return rows


@measures(
    Claim(
        "C1.real", "Raw text alone teaches a domain: real abstracts", metric="bits per byte on held-out abstracts", unit="ratio",
        treatment="after", control="before", effect_kind="log_ratio", op="<=", threshold=0.9, dataset="pubmed_qa", beside="C1.perplexity",
        test_to_train=TESTED / TRAINED, note="Texts of more than 511 tokens are cut there.",
    ),
    id="C1.real", seeds=5,
)
def real_text(seed: int, data_seed: int, n: int = TRAINED, n_test: int = TESTED, steps: int = STEPS) -> Measurement:
    """Let stories260K read real abstracts; bits per byte on others before and after."""
    train, test = drawn_abstracts((n, n_test), seed_of_data(seed, data_seed))
    rows = []
    for arm, spent in (("before", 0), ("after", steps)):
        model, tokenizer, cost = read_abstracts(train, seed, steps=spent)
        rows.append({"arm": arm, "steps": cost.steps, "tokens": cost.tokens, "bits per byte": bits_per_byte(model, tokenizer, test)})
    return Measurement({"C1.real": {row["arm"]: row["bits per byte"] for row in rows}}, rows)
