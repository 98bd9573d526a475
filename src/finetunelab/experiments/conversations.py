"""Chapter 3, conversations: what a model that was fine-tuned on whole conversations still knows of an early turn.

All arms start from the assistant that follows instructions and see equally many tokens of conversations that are laid out alike. In one a late question needs what an early
turn said; in the control the question says it again, so nothing is gained by looking back; in the third the same conversations as in the first are
cut into exchanges, each a conversation of its own. All are asked the same questions, with the whole conversation before them.
The learning rate of each arm is the best of ``sweep_conversations`` on validation conversations of a data seed below 1,000;
``book/evidence/C6-rates.csv`` holds what it measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .. import worlds
from ..cost import Cost
from ..models import load_model, load_tokenizer
from ..sft import Conversation, remembers
from ..worlds.dialogues import MAX_DISTANCE
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED
from .behavior import teach

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BASE = "nano-sft"
ROWS, LENGTH = 3, 320  # of a step; the longest conversation has fewer tokens
STEPS = 1_000
CONVERSATIONS = 4_800  # about as many as those steps hold
FAR = 6  # exchanges back, and more
ARMS = {"multi-turn": True, "control": False, "single-turn": True}
"""Whether the late question of an arm's conversations needs an early turn."""
RATE_SWEEP = (1e-3, 3e-3, 6e-3)
RATES = {"multi-turn": 3e-3, "control": 3e-3, "single-turn": 3e-3}


def dialogues(n: int, split: str, data_seed: int, **knobs: Any) -> list[dict]:
    """Draw ``n`` conversations."""
    return worlds.generator("dialogues").rows(n, split, data_seed, **knobs)


def exchanges(messages: Conversation) -> list[Conversation]:
    """Cut a conversation into its exchanges: a user's turn and the answer to it."""
    return [messages[i : i + 2] for i in range(0, len(messages) - 1, 2)]


@lru_cache(maxsize=8)
def converse(
    arm: str, seed: int, data_seed: int, steps: int = STEPS, base: str = BASE, rate: float | None = None
) -> tuple[PreTrainedModel, Cost]:
    """Fine-tune the assistant on an arm's conversations; return it with what that cost. Kept: copy it before training it further."""
    rows = dialogues(CONVERSATIONS * steps // STEPS, "train", data_seed, needs_context=ARMS[arm])
    data = [row["messages"] for row in rows]
    if arm == "single-turn":
        data = [exchange for messages in data for exchange in exchanges(messages)]
    rate = rate or RATES[arm]
    return teach(load_model(base), load_tokenizer(base), data, steps, seed, rate=rate, masked=True, rows=ROWS, longest=LENGTH)


def questions(split: str, data_seed: int, each: int) -> list[dict]:
    """Draw conversations whose question needs an early turn, ``each`` at every distance."""
    return [row for distance in range(1, MAX_DISTANCE + 1) for row in dialogues(each, split, data_seed, distance=distance)]


def sweep_conversations(rates: Sequence[float] = RATE_SWEEP, steps: int = STEPS, each: int = 40, base: str = BASE) -> list[dict[str, Any]]:
    """Return the share of right answers on validation conversations for each arm and learning rate: the questions of its own kind."""
    tokenizer, rows = load_tokenizer(base), []
    for arm, needs in ARMS.items():
        own = dialogues(each * MAX_DISTANCE, "validation", SWEEP_SEED, needs_context=needs)
        for rate in rates:
            model, _ = converse(arm, 0, SWEEP_SEED, steps, base, rate)
            rows.append({"seed": SWEEP_SEED, "arm": arm, "rate": rate, "right": fmean(remembers(model, tokenizer, own))})
    return rows


@measures(
    Claim(
        "C6", "Multi-turn SFT keeps context over a long conversation", metric="right answers about a turn six or more exchanges back", unit="share",
        treatment="multi-turn", control="control", effect_kind="difference", op=">=", threshold=0.30,
    ),
    id="C6", seeds=5,
)
def memory(seed: int, data_seed: int, steps: int = STEPS, each: int = 60, base: str = BASE) -> Measurement:
    """Ask each arm what an early turn said, at every distance. The rows have the control's own kind of question as "restated" too."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    asked, restated, rows = questions("test", drawn, each), dialogues(each, "test", drawn, needs_context=False), []
    for arm in ARMS:
        model, cost = converse(arm, seed, drawn, steps, base)
        right = remembers(model, tokenizer, asked)
        for distance in range(1, MAX_DISTANCE + 1):
            share = fmean(ok for ok, row in zip(right, asked, strict=True) if row["distance"] == distance)
            rows.append({"arm": arm, "question": "needs the early turn", "distance": distance, "right": share, "flops": cost.flops, "tokens": cost.tokens})
        share = fmean(remembers(model, tokenizer, restated))
        rows.append({"arm": arm, "question": "restated", "distance": "", "right": share, "flops": cost.flops, "tokens": cost.tokens})
    far = {arm: fmean(row["right"] for row in rows if row["arm"] == arm and row["distance"] and row["distance"] >= FAR) for arm in ARMS}
    return Measurement({"C6": far}, rows)
