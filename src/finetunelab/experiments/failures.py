"""Common failures of training, each beside its mend: no end of turn in the loss, a learning rate too high, batches without a target.

The smaller base, few steps and short rows, so that a failure is seen in seconds. Arms get the same weights and seeds and differ in the
fault alone. The learning rate is that of C9 for short prompts, from ``book/evidence/C9-rates.csv``. What goes wrong when a finished model
is used or tested has a module of its own, ``failures_in_use``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from ..corpus import stack
from ..heads import padded
from ..models import load_model, load_tokenizer
from ..sft import IGNORED, Conversation, completion_loss, end_of_turn, pack, prepare, reply, sft_loss, tokenize
from ..training import train
from ..worlds.instructions import follows
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import config
from .behavior import LENGTH, PER_STEP, ROWS, instructions
from .behavior_data import MASK_RATES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE = "nano-small"
KINDS = ("count", "repeat")  # whose answers show by themselves where they should end
RATE = MASK_RATES["short"]["answers only"]
STEPS, N_TEST = 100, 60
TOKENS = 48  # of a response at most
WITH_END, WITHOUT_END = "end counted", "end masked"

FACTORS, RATE_STEPS = (1, 3, 10, 30), 60

LONG_KINDS = ("classify", "odd_one", "yes_no", "nth_item")  # their prompts are far longer than their answers
CUT, CUTS = 40, (24, 32, 40, 48, 56)  # tokens of a row
BATCH, CUT_STEPS = 2, 100
KEPT, DROPPED, LIBRARY = "kept", "dropped", "kept, the library's loss"


def sets(n: int, n_test: int, data_seed: int, kinds: Sequence[str]) -> tuple[list[dict], list[dict]]:
    """Draw instructions to train on and to test."""
    return instructions(n, "train", data_seed, kind=kinds), instructions(n_test, "test", data_seed, kind=kinds)


def conversations(rows: Sequence[Mapping[str, Any]]) -> list[Conversation]:
    """Return the conversation of each row."""
    return [row["messages"] for row in rows]


def learn(
    rows: Sequence[Mapping[str, list[int]]], steps: int, rate: float, seed: int, base: str
) -> tuple[PreTrainedModel, list[dict[str, float]]]:
    """Fine-tune the base on prepared rows, packed; return it with the losses that were logged, each a mean over ten steps."""
    model = started(base)
    packed = pack(rows, LENGTH, load_tokenizer(base).pad_token_id)
    return model, train(model, packed, config(steps, rate, seed, ROWS, "cosine"), collate=stack, loss=completion_loss).history


def started(base: str) -> PreTrainedModel:
    """Load the base to be trained on short rows."""
    model = load_model(base)
    model.set_attn_implementation("eager")  # the same numbers, and for rows this short the quicker way to them
    return model


# No end of turn -----------------------------------------------------------------------------------------------------------------


def without_end(rows: Sequence[Mapping[str, list[int]]], end: int) -> list[dict[str, list[int]]]:
    """Return prepared rows in which the end of a turn is no target.

    So it is with a template that leaves it out, and with a collator that masks what it pads with where one token serves for both.
    """
    return [{**row, "labels": [IGNORED if label == end else label for label in row["labels"]]} for row in rows]


@measures(
    Claim(
        "G3.words", "How much longer responses become where the loss leaves out the end of turn", metric="words of a response",
        unit="ratio", treatment=WITHOUT_END, control=WITH_END, effect_kind="log_ratio",
    ),
    Claim(
        "G3.loss", "... while the loss does not tell", metric="training loss at the end, over what is counted", unit="nats a token",
        treatment=WITHOUT_END, control=WITH_END, effect_kind="difference",
    ),
    id="G3", seeds=5,
)
def no_end_of_turn(seed: int, data_seed: int, steps: int = STEPS, n_test: int = N_TEST, base: str = BASE) -> Measurement:
    """Fine-tune with and without the end of turn among the targets. A row is an arm, with its response to a request to repeat."""
    tokenizer = load_tokenizer(base)
    data, tests = sets(PER_STEP * steps, n_test, seed_of_data(seed, data_seed), KINDS)
    prepared = prepare(tokenizer, conversations(data), LENGTH).rows
    shown = next(place for place, row in enumerate(tests) if row["kind"] == "repeat")
    rows = []
    for arm, learned_from in ((WITH_END, prepared), (WITHOUT_END, without_end(prepared, end_of_turn(tokenizer)))):
        model, history = learn(learned_from, steps, RATE, seed, base)
        said = reply(model, tokenizer, [row["messages"][:1] for row in tests], tokens=TOKENS)
        rows.append({
            "arm": arm, "words": fmean(len(text.split()) for text in said), "loss": history[-1]["loss"],
            "followed": fmean(follows(row, text) for row, text in zip(tests, said, strict=True)),
            "request": tests[shown]["prompt"], "response": said[shown],
        })
    return Measurement({f"G3.{name}": {row["arm"]: row[name] for row in rows} for name in ("words", "loss")}, rows)


# A learning rate too high -------------------------------------------------------------------------------------------------------


def times(factor: int) -> str:
    """Name the arm of a multiple of the tuned learning rate."""
    return "tuned rate" if factor == 1 else f"{factor} times"


@measures(
    *(
        Claim(
            f"G4.{name}", f"The loss at the end with {factor} times the tuned learning rate", metric="training loss at the end",
            unit="ratio", treatment=times(factor), control=times(1), effect_kind="log_ratio",
        )
        for name, factor in (("three", 3), ("ten", 10), ("thirty", 30))
    ),
    id="G4", seeds=5,
)
def rate_too_high(seed: int, data_seed: int, steps: int = RATE_STEPS, factors: Sequence[int] = FACTORS, base: str = BASE) -> Measurement:
    """Fine-tune at the tuned learning rate and at multiples of it, with clipped gradients and warm-up. A row is a logged loss."""
    data, _ = sets(PER_STEP * steps, 0, seed_of_data(seed, data_seed), KINDS)
    prepared = prepare(load_tokenizer(base), conversations(data), LENGTH).rows
    rows = [
        {"arm": times(factor), "step": entry["step"], "loss": entry["loss"]}
        for factor in factors for entry in learn(prepared, steps, factor * RATE, seed, base)[1]
    ]
    last = {row["arm"]: row["loss"] for row in rows}
    return Measurement(dict.fromkeys(("G4.three", "G4.ten", "G4.thirty"), last), rows)


# Batches without a label --------------------------------------------------------------------------------------------------------


def cut(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Conversation], longest: int) -> list[dict[str, list[int]]]:
    """Return conversations as ids and labels, cut to ``longest`` tokens, those that have lost their whole answer among them."""
    found = []
    for messages in rows:
        ids, mask = (part[:longest] for part in tokenize(tokenizer, messages))
        found.append({"input_ids": ids, "labels": [token if mine else IGNORED for token, mine in zip(ids, mask, strict=True)]})
    return found


def empty(row: Mapping[str, list[int]]) -> bool:
    """Tell whether a row has no target."""
    return all(label == IGNORED for label in row["labels"])


def written_out(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the masked mean as one writes it: the losses of the targets, over their number. Without any, loss and gradient are 0 / 0."""
    return sft_loss(model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits, batch["labels"])


def of_the_library(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the loss that transformers computes from labels. Without targets it is not a number, and its gradient is zero."""
    return model(**batch).loss


def learn_padded(
    rows: Sequence[Mapping[str, list[int]]], loss: Callable[..., torch.Tensor], steps: int, seed: int, base: str
) -> tuple[PreTrainedModel, list[dict[str, float]]]:
    """Fine-tune the base on rows in padded batches; return it with what was logged every ten steps."""
    model, pad = started(base), load_tokenizer(base).pad_token_id

    def collate(batch: Sequence[Mapping[str, list[int]]]) -> dict[str, torch.Tensor]:
        found = padded([row["input_ids"] for row in batch], pad)
        width = found["input_ids"].shape[1]
        return found | {"labels": torch.tensor([row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in batch])}

    return model, train(model, rows, config(steps, RATE, seed, BATCH, "cosine"), collate=collate, loss=loss).history


@measures(
    Claim(
        "G5.lost", f"Conversations that have no target left when cut to {CUT} tokens", metric="conversations without a target",
        unit="share", treatment="lost", control=None, effect_kind="value",
    ),
    Claim(
        "G5.learned", "How much of a training one batch without a target takes away", metric="logged steps with a finite gradient",
        unit="share", treatment=KEPT, control=DROPPED, effect_kind="difference",
    ),
    id="G5", seeds=5,
)
def no_labels(seed: int, data_seed: int, steps: int = CUT_STEPS, base: str = BASE) -> Measurement:
    """Train on conversations that were cut, with those that lost their answer kept and dropped.

    A row has what was lost at a length of rows ("longest"), or what was logged at a step, or whether the weights are numbers at the end.
    """
    tokenizer = load_tokenizer(base)
    data, _ = sets(BATCH * steps, 0, seed_of_data(seed, data_seed), LONG_KINDS)
    rows: list[dict[str, Any]] = [
        {"longest": longest, "lost": fmean(map(empty, cut(tokenizer, conversations(data), longest)))} for longest in CUTS
    ]
    kept, learned = cut(tokenizer, conversations(data), CUT), {}
    dropped = [row for row in kept if not empty(row)]
    for arm, given, loss in ((KEPT, kept, written_out), (DROPPED, dropped, written_out), (LIBRARY, kept, of_the_library)):
        model, history = learn_padded(given, loss, steps, seed, base)
        learned[arm] = fmean(math.isfinite(entry["grad_norm"]) for entry in history)
        rows += [{"arm": arm, "step": entry["step"], "loss": entry["loss"], "gradient": entry["grad_norm"]} for entry in history]
        rows.append({"arm": arm, "finite weights": all(bool(weight.isfinite().all()) for weight in model.parameters())})
    return Measurement({"G5.lost": {"lost": next(row["lost"] for row in rows if row["longest"] == CUT)}, "G5.learned": learned}, rows)
