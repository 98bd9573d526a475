"""Chapter 3, behavior: supervised fine-tuning teaches the base to do as told, and what that depends on.

Instructions are drawn from the world, and a rule checks whether a response follows (``worlds.instructions.follows``, in the manner of IFEval).
What the loss counts, and the learning rate of either loss, are the best of ``sweep_behavior`` on validation instructions of a data seed below
1,000, which no reported seed draws; ``book/evidence/C5-rates.csv`` holds what it measured.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .. import worlds
from ..cost import Cost
from ..models import load_model, load_tokenizer
from ..sft import Conversation, fine_tune, following
from ..worlds.instructions import COMBINATIONS, FORMS, HELD_OUT_COMBINATIONS, HELD_OUT_KINDS, KINDS
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROWS, LENGTH = 4, 256  # of a step, some 24 instructions
PER_STEP = 24
STEPS = 3_250
SHORT_STEPS = 600  # of the comparisons that train many models
RATE_SWEEP = (1e-3, 3e-3, 6e-3)
RATES = {True: 1e-3, False: 3e-3}  # by whether the loss counts answers only
MASKED = True
LOSSES = {"answers only": True, "all tokens": False}  # whether the prompt is masked
TRAINED_KINDS = tuple(kind for kind in KINDS if kind not in HELD_OUT_KINDS)
COUNTS = (3, 6, 11, len(TRAINED_KINDS))  # kinds of instruction


def instructions(n: int, split: str, data_seed: int, **knobs: Any) -> list[dict]:
    """Draw ``n`` instructions with reference answers."""
    return worlds.generator("instructions").rows(n, split, data_seed, **knobs)


def teach(
    start: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], steps: int, seed: int, *,
    rate: float | None = None, masked: bool = MASKED, rows: int = ROWS, longest: int = LENGTH,
) -> tuple[PreTrainedModel, Cost]:
    """Return a copy of a model that was fine-tuned on conversations, with what that cost."""
    model = copy.deepcopy(start)
    model.set_attn_implementation("eager")  # the same numbers, and for rows this short the quicker way to them
    settings = config(steps, rate or RATES[masked], seed, rows, "cosine")
    return model, fine_tune(model, tokenizer, conversations, settings, longest=longest, masked=masked).result.cost


def tune(
    rows: Sequence[dict], steps: int, seed: int, base: str = "nano", rate: float | None = None, masked: bool = MASKED
) -> tuple[PreTrainedModel, Cost]:
    """Return the base fine-tuned on rows with messages, with what that cost."""
    return teach(load_model(base), load_tokenizer(base), [row["messages"] for row in rows], steps, seed, rate=rate, masked=masked)


@lru_cache(maxsize=4)
def assistant(seed: int, data_seed: int, steps: int = STEPS, base: str = "nano") -> tuple[PreTrainedModel, Cost]:
    """Return the base fine-tuned on instructions of all trained kinds, nearly each seen once. Kept: copy it before training it further."""
    return tune(instructions(PER_STEP * steps, "train", data_seed), steps, seed, base)


def by_kind(rows: Sequence[dict], right: Sequence[bool]) -> list[dict[str, Any]]:
    """Return the share followed of each task, whatever form it was combined with."""
    tasks: dict[str, list[bool]] = {}
    for row, ok in zip(rows, right, strict=True):
        tasks.setdefault(row["kind"].split("+")[0], []).append(ok)
    return [{"kind": kind, "n": len(found), "followed": fmean(found)} for kind, found in sorted(tasks.items())]


def sweep_behavior(
    rates: Sequence[float] = RATE_SWEEP, steps: int = SHORT_STEPS, n: int = 400, base: str = "nano", **knobs: Any
) -> list[dict[str, Any]]:
    """Return the share of validation instructions followed for each loss and learning rate; ``knobs`` are those of the instructions."""
    tokenizer, valid, rows = load_tokenizer(base), instructions(n, "validation", SWEEP_SEED, **knobs), []
    data = instructions(PER_STEP * steps, "train", SWEEP_SEED, **knobs)
    for loss, masked in LOSSES.items():
        for rate in rates:
            model, _ = tune(data, steps, 0, base, rate, masked)
            followed = fmean(following(model, tokenizer, valid))
            rows.append({"seed": SWEEP_SEED, "loss": loss, "rate": rate, "followed": followed})
    return rows


@measures(
    Claim(
        "C5", "Supervised fine-tuning teaches behavior", metric="instructions followed", unit="share", treatment="after SFT", control=None,
        effect_kind="value", op=">=", threshold=0.80,
    ),
    id="C5", seeds=5,
)
def behavior(seed: int, data_seed: int, steps: int = STEPS, n_test: int = 800, base: str = "nano") -> Measurement:
    """Ask the base and the fine-tuned model for what no training instruction asks for; the rows have each kind of task."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    tests = instructions(n_test, "test", drawn)
    model, cost = assistant(seed, drawn, steps, base)
    right = {"base": following(load_model(base), tokenizer, tests), "after SFT": following(model, tokenizer, tests)}
    rows = [{"arm": arm, **row, "flops": cost.flops, "tokens": cost.tokens} for arm in right for row in by_kind(tests, right[arm])]
    return Measurement({"C5": {arm: fmean(found) for arm, found in right.items()}}, rows)


# More kinds of instruction -------------------------------------------------------------------------------------------------------


def within(kinds: Sequence[str]) -> list[str]:
    """Return the kinds, and the trained combinations of a task and a form that are both among them."""
    pairs = [pair for pair in COMBINATIONS if pair not in HELD_OUT_COMBINATIONS and set(pair.split("+")) <= set(kinds)]
    return [*kinds, *pairs]


def some_kinds(seed: int, counts: Sequence[int] = COUNTS) -> dict[int, list[str]]:
    """Return nested draws of the trained kinds, tasks and forms in turn, so that small draws have something to combine."""
    rng = random.Random(f"kinds/{seed}")
    forms = rng.sample(FORMS, len(FORMS))
    tasks = rng.sample([kind for kind in TRAINED_KINDS if kind not in FORMS], len(TRAINED_KINDS) - len(FORMS))
    share = len(forms) / len(TRAINED_KINDS)
    return {n: [*forms[: round(n * share)], *tasks[: n - round(n * share)]] for n in counts}


@measures(
    Claim(
        "C7.combinations", "More kinds of instruction, better on unseen combinations of them", metric="unseen combinations followed", unit="share",
        treatment=f"{COUNTS[-1]} kinds", control=f"{COUNTS[0]} kinds", effect_kind="difference", op=">=", threshold=0.20,
        trend=tuple(f"{n} kinds" for n in COUNTS),
    ),
    Claim(
        "C7.kinds", "More kinds of instruction, better on unseen kinds", metric="unseen kinds followed", unit="share",
        treatment=f"{COUNTS[-1]} kinds", control=f"{COUNTS[0]} kinds", effect_kind="difference",
    ),
    id="C7", seeds=5,
)
def diversity(
    seed: int, data_seed: int, counts: Sequence[int] = COUNTS, steps: int = SHORT_STEPS, n_test: int = 400, base: str = "nano"
) -> Measurement:
    """Train on equally many instructions of more and more kinds; test on combinations, and on kinds, that no arm has seen."""
    drawn, tokenizer, rows = seed_of_data(seed, data_seed), load_tokenizer(base), []
    tests = {unseen: instructions(n_test, "test", drawn, heldout=unseen) for unseen in ("combinations", "kinds")}
    for n, kinds in some_kinds(seed, counts).items():
        model, cost = tune(instructions(PER_STEP * steps, "train", drawn, kind=within(kinds)), steps, seed, base)
        for unseen, test in tests.items():
            rows.append({"kinds": n, "unseen": unseen, "followed": fmean(following(model, tokenizer, test)), "flops": cost.flops})
    arms = {unseen: {f"{row['kinds']} kinds": row["followed"] for row in rows if row["unseen"] == unseen} for unseen in tests}
    return Measurement({"C7.combinations": arms["combinations"], "C7.kinds": arms["kinds"]}, rows)
