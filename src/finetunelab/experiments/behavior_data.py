"""Chapter 3, the data of behavior: who writes the answers, whether the prompt counts, and what raw text and prompts each teach.

The answers in C8 are written by a model of its own training, stopped when about half of them were right, as were those of Self-Instruct
(Wang et al. 2023, arXiv:2212.10560, table 2: 54 %), and filtered by how sure it was: the filter knows nothing of the oracle that scores the
students. Learning rates are those of ``behavior``; each arm of C9 has its own, the best of ``sweep_masking`` on validation instructions of a data
seed below 1,000, see ``book/evidence/C9-rates.csv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..models import load_tokenizer
from ..sft import chat_prompts, following, reply
from ..skills import log_likelihoods
from ..worlds.instructions import follows
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED
from .behavior import LOSSES, PER_STEP, RATE_SWEEP, instructions, sweep_behavior, tune

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEACHER_STEPS = 1_000
WARMTH = 1.0  # the teacher's temperature: its own distribution, as it is
STEPS, PASSES = 600, 3  # over the answers: those that a model has written are few, as they are in life
KEPT = 0.5  # the share that the filter keeps
MASK_STEPS = 250
# The five kinds whose prompts are shortest and longest, counted in answers: 1 to 2 times as long, and 7 to 13 times.
PROMPTS = {
    "short": ("count", "capitals", "repeat", "ends_with", "starts_with"),
    "long": ("first_word", "nth_item", "odd_one", "classify", "yes_no"),
}
MASK_RATES = {
    "short": {"answers only": 3e-3, "all tokens": 3e-3},
    "long": {"answers only": 1e-3, "all tokens": 3e-3},
}


def written_by(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], seed: int) -> list[dict]:
    """Return the instructions with answers that the model samples in place of the reference ones. Empty answers are left out."""
    answers = reply(model, tokenizer, [row["messages"][:1] for row in rows], tokens=40, temperature=WARMTH, seed=seed)
    made = [
        row | {"answer": answer, "messages": [row["messages"][0], {"role": "assistant", "content": answer}]}
        for row, answer in zip(rows, answers, strict=True)
    ]
    return [row for row in made if row["answer"]]


def sure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], share: float = KEPT) -> list[dict]:
    """Return the given share of the rows, in their order: those whose answer the model finds likeliest by its mean log-probability a token."""
    prompts, answers = chat_prompts(tokenizer, [row["messages"][:1] for row in rows]), [row["answer"] for row in rows]
    scores = log_likelihoods(model, tokenizer, prompts, answers)
    tokens = [max(1, len(ids)) for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]]
    ranked = sorted(range(len(rows)), key=lambda i: scores[i] / tokens[i], reverse=True)
    return [rows[i] for i in sorted(ranked[: round(share * len(rows))])]


@lru_cache(maxsize=1)
def teacher(steps: int = TEACHER_STEPS, base: str = "nano") -> PreTrainedModel:
    """Return the model that writes answers, the same for every seed."""
    return tune(instructions(PER_STEP * steps, "train", SWEEP_SEED), steps, 0, base)[0]


def _sets(writer: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], n: int, seed: int) -> dict[str, list[dict]]:
    """Return the three sets of ``n`` that C8 compares, made from ``rows``, which are n / KEPT."""
    generated = written_by(writer, tokenizer, rows, seed)
    return {"curated": list(rows[:n]), "generated": generated[:n], "filtered": sure(writer, tokenizer, generated)[:n]}


@measures(
    Claim(
        "C8.filtered", "Answers may be written by a model, if they are filtered", metric="instructions followed", unit="share",
        treatment="filtered", control="curated", effect_kind="difference", op=">=", threshold=-0.05,
    ),
    Claim(
        "C8.unfiltered", "... and the filter is needed", metric="instructions followed", unit="share", treatment="generated",
        control="filtered", effect_kind="difference", op="<", threshold=0,
    ),
    id="C8", seeds=5,
)
def who_writes(
    seed: int, data_seed: int, steps: int = STEPS, passes: int = PASSES, n_test: int = 800, teacher_steps: int = TEACHER_STEPS, base: str = "nano"
) -> Measurement:
    """Fine-tune the base on as many curated, generated and filtered answers; the rows have the share of right ones among them."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    n, writer = PER_STEP * steps // passes, teacher(teacher_steps, base)
    tests, rows = instructions(n_test, "test", drawn), []
    for arm, data in _sets(writer, tokenizer, instructions(round(n / KEPT), "train", drawn), n, seed).items():
        model, cost = tune(data, steps, seed, base)
        rows.append({
            "arm": arm, "answers": len(data), "right": fmean(follows(row, row["answer"]) for row in data),
            "kinds": len({row["kind"] for row in data}), "followed": fmean(following(model, tokenizer, tests)), "flops": cost.flops,
        })
    found = {row["arm"]: row["followed"] for row in rows}
    return Measurement({"C8.filtered": found, "C8.unfiltered": found}, rows)


# Does the prompt count? --------------------------------------------------------------------------------------------------------


def sweep_masking(
    rates: Sequence[float] = RATE_SWEEP, steps: int = MASK_STEPS, n: int = 400, base: str = "nano"
) -> list[dict[str, Any]]:
    """Return the share of validation instructions followed for both groups of kinds, both losses, and each learning rate."""
    return [
        {"prompts": name} | row for name, kinds in PROMPTS.items() for row in sweep_behavior(rates, steps, n, base, kind=kinds)
    ]


@measures(
    *(
        Claim(
            f"C9.{name}", f"Masking the prompt in the loss, where prompts are {words}", metric="instructions followed", unit="share",
            treatment="answers only", control="all tokens", effect_kind="difference", margin=0.02, words=("helps", "hurts", "equal"),
        )
        for name, words in (("short", "about as long as answers"), ("long", "some ten times as long as answers"))
    ),
    id="C9", seeds=10,
)
def masking(seed: int, data_seed: int, steps: int = MASK_STEPS, n_test: int = 600, base: str = "nano") -> Measurement:
    """Fine-tune with and without a masked prompt on two groups of kinds: prompts about as long as answers, and far longer.

    All is alike but the loss and the learning rate that suits it.
    """
    drawn, tokenizer, rows = seed_of_data(seed, data_seed), load_tokenizer(base), []
    for name, kinds in PROMPTS.items():
        data, tests = (
            instructions(n, split, drawn, kind=kinds) for n, split in ((PER_STEP * steps, "train"), (n_test, "test"))
        )
        for arm, masked in LOSSES.items():
            model, cost = tune(data, steps, seed, base, MASK_RATES[name][arm], masked)
            followed = fmean(following(model, tokenizer, tests))
            rows.append({"prompts": name, "loss": arm, "followed": followed, "flops": cost.flops, "tokens": cost.tokens})
    return Measurement(
        {f"C9.{name}": {row["loss"]: row["followed"] for row in rows if row["prompts"] == name} for name in PROMPTS}, rows
    )
