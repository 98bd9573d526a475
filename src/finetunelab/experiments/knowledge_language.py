"""Chapter 3, a new language: the base goes on reading, little stories in an invented language, and what it knew before is measured too.

Four readers get the same stories: the base, the base with some texts of the town among them (replay), a model of its shape with random
weights, and an n-gram model of bytes. They are compared in bits per byte on stories that none of them has read. "Old" is the text of the
town that the base was trained on, every domain as often.

Learning rates are the best of ``sweep_language`` for each of the two starts; with replay it is the greatest of ``sweep_replay`` that keeps
the old within ``KEPT`` on validation texts. The order of the n-gram model is the least of ``sweep_ngram`` within a thousandth of a bit of
the best. All are chosen on texts of a data seed below 1,000; ``book/evidence/C3-rates.csv`` holds what was measured.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import worlds
from ..adaptation import continue_training, novice, with_replay
from ..cost import Cost
from ..models import load_model, load_tokenizer
from ..ngram import NGram
from ..skills import IN_DOMAIN, bits_per_byte
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE = "nano"
STORIES = 256
STEPS, ROWS, LENGTH = 300, 2, 320  # the longest story, and the longest text of the town, have fewer tokens than a row
RATE_SWEEP = (1e-3, 3e-3, 1e-2)
RATES = {"continued": 3e-3, "scratch": 3e-3}
SHARE = 0.5  # of all texts that are read with replay, the town's
# Steps on two rows blur what the base knows well, whatever is replayed: with replay a step has more rows, and there are as many fewer.
REPLAY_ROWS, REPLAY_RATE = 8, 1e-4
REPLAY_SWEEP = (1e-4, 3e-4, 1e-3)
PASSES = 4  # over the stories; what is replayed is read once
KEPT = 1.05  # what the old may become worse by
ORDER_SWEEP = (6, 12, 24, 48, 96)
ORDER = 48


def stories(n: int, split: str, data_seed: int) -> list[str]:
    """Draw ``n`` stories in the new language."""
    return [row["text"] for row in worlds.generator("language").rows(n, split, data_seed)]


def town_texts(n: int, split: str, data_seed: int) -> dict[str, list[str]]:
    """Draw ``n`` texts of every domain that the base was trained on."""
    return {domain: [row["text"] for row in worlds.generator(domain).rows(n, split, data_seed)] for domain in IN_DOMAIN}


def together(texts: dict[str, list[str]]) -> list[str]:
    """Return the texts of all domains, one of each in turn, so that the first few are of every domain too."""
    return [text for turn in zip(*texts.values(), strict=True) for text in turn]


def replayed(n: int, data_seed: int) -> list[str]:
    """Draw training texts of the town to replay beside ``n`` stories: more than any share in use asks for."""
    return together(town_texts(PASSES * n, "train", data_seed))


def read(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], steps: int, rate: float, seed: int, rows: int = ROWS
) -> tuple[PreTrainedModel, Cost]:
    """Return a copy of a model that has read texts, ``steps`` of ``ROWS`` rows or as much in steps of another size, and what that cost."""
    model, steps = copy.deepcopy(model), round(steps * ROWS / rows)
    return model, continue_training(model, tokenizer, texts, config(steps, rate, seed, rows, "cosine"), length=LENGTH).cost


def read_with_replay(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new: Sequence[str], old: Sequence[str], steps: int, seed: int,
    rate: float = REPLAY_RATE,
) -> tuple[PreTrainedModel, Cost]:
    """Return a copy that has read new texts with old ones among them, for so many more steps that it read as much of the new as without.

    There are as many different old texts as fit ``PASSES`` over the new ones: the base has read each of its own about once or twice.
    """
    texts = with_replay([*new] * PASSES, old, SHARE, seed)
    return read(model, tokenizer, texts, round(steps / (1 - SHARE)), rate, seed, REPLAY_ROWS)


def sweep_language(
    rates: Sequence[float] = RATE_SWEEP, n: int = STORIES, steps: int = STEPS, n_valid: int = 100, base: str = BASE
) -> list[dict[str, Any]]:
    """Return bits per byte on validation stories for each start and learning rate."""
    tokenizer, model, rows = load_tokenizer(base), load_model(base), []
    texts, valid = stories(n, "train", SWEEP_SEED), stories(n_valid, "validation", SWEEP_SEED)
    for arm, start in (("continued", model), ("scratch", novice(model, 0))):
        for rate in rates:
            found = bits_per_byte(read(start, tokenizer, texts, steps, rate, 0)[0], tokenizer, valid)
            rows.append({"seed": SWEEP_SEED, "phase": "rate", "arm": arm, "value": rate, "language": found})
    return rows


def sweep_ngram(orders: Sequence[int] = ORDER_SWEEP, n: int = STORIES, n_valid: int = 100) -> list[dict[str, Any]]:
    """Return bits per byte on validation stories of n-gram models of several orders."""
    texts, valid = stories(n, "train", SWEEP_SEED), stories(n_valid, "validation", SWEEP_SEED)
    return [
        {"seed": SWEEP_SEED, "phase": "order", "arm": "n-gram", "value": order, "language": NGram(texts, order).bits_per_byte(valid)}
        for order in orders
    ]


def sweep_replay(
    rates: Sequence[float] = REPLAY_SWEEP, n: int = STORIES, steps: int = STEPS, n_valid: int = 40, base: str = BASE
) -> list[dict[str, Any]]:
    """Return, for each learning rate with replay, bits per byte on validation stories, and by what factor those on the town's grew."""
    tokenizer, model, rows = load_tokenizer(base), load_model(base), []
    texts, valid = stories(n, "train", SWEEP_SEED), stories(n_valid, "validation", SWEEP_SEED)
    pool, old = replayed(n, SWEEP_SEED), together(town_texts(n_valid, "validation", SWEEP_SEED))
    before = bits_per_byte(model, tokenizer, old)
    for rate in rates:
        reader, _ = read_with_replay(model, tokenizer, texts, pool, steps, 0, rate)
        rows.append({
            "seed": SWEEP_SEED, "phase": "replay", "arm": "with replay", "value": rate,
            "language": bits_per_byte(reader, tokenizer, valid), "town ratio": bits_per_byte(reader, tokenizer, old) / before,
        })
    return rows


@measures(
    Claim(
        "C3.new", "A model of one language learns another faster than one that knows none", metric="bits per byte on held-out stories",
        unit="ratio", treatment="continued", control="scratch", effect_kind="log_ratio", op="<", threshold=1,
    ),
    Claim(
        "C3.ngram", "... and how far it is from counting n-grams", metric="bits per byte on held-out stories", unit="ratio",
        treatment="continued", control="n-gram", effect_kind="log_ratio", words=("behind", "ahead", "equal"),
    ),
    Claim(
        "C3.old", "Learning a new language costs some of the old", metric="bits per byte on held-out texts of the town", unit="ratio",
        treatment="continued", control="before", effect_kind="log_ratio", op=">", threshold=KEPT,
    ),
    Claim(
        "C3.replay", "Replay keeps the old", metric="bits per byte on held-out texts of the town", unit="ratio",
        treatment="with replay", control="before", effect_kind="log_ratio", op="<=", threshold=KEPT,
        note="With replay, learning rate and size of a step are its own; the reader called slowly has both and no replay.",
    ),
    id="C3", seeds=5,
)
def new_language(
    seed: int, data_seed: int, n: int = STORIES, steps: int = STEPS, n_test: int = 100, n_old: int = 40, order: int = ORDER,
    base: str = BASE,
) -> Measurement:
    """Let all readers read the same stories; bits per byte on other stories, and on the town's texts by domain, before and after.

    "slowly" reads without replay in steps of the size and rate that replay has, so that the two causes are told apart.
    """
    drawn, tokenizer, before = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    texts, test, old = stories(n, "train", drawn), stories(n_test, "test", drawn), town_texts(n_old, "test", drawn)
    readers = {
        "before": (before, Cost()),
        "continued": read(before, tokenizer, texts, steps, RATES["continued"], seed),
        "slowly": read(before, tokenizer, texts, steps, REPLAY_RATE, seed, REPLAY_ROWS),
        "with replay": read_with_replay(before, tokenizer, texts, replayed(n, drawn), steps, seed),
        "scratch": read(novice(before, seed), tokenizer, texts, steps, RATES["scratch"], seed),
    }
    rows = [{"arm": "n-gram", "language": NGram(texts, order).bits_per_byte(test)}]
    for arm, (model, cost) in readers.items():
        rows.append({
            "arm": arm, "language": bits_per_byte(model, tokenizer, test), "steps": cost.steps, "tokens": cost.tokens,
            "town": bits_per_byte(model, tokenizer, together(old)),
        } | {domain: bits_per_byte(model, tokenizer, own) for domain, own in old.items()})
    new, kept = ({row["arm"]: row[column] for row in rows if column in row} for column in ("language", "town"))
    return Measurement({"C3.new": new, "C3.ngram": new, "C3.old": kept, "C3.replay": kept}, rows)
