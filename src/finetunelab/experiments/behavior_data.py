"""Chapter 3, the data of behavior: who writes the answers, whether the prompt counts, and what raw text and prompts each teach.

The answers in C8 are written by the shipped assistant, a checkpoint of its own training, and filtered by how sure it was: the filter knows nothing
of the oracle that scores the students. Learning rates are those of ``behavior``, whose sweep has both kinds of loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..sft import reply
from ..skills import log_likelihoods

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEACHER = "nano-sft"
WARMTH = 0.7  # the teacher's temperature: at zero it would say one thing only of all that are right
STEPS = 400
PASSES = 2  # over the answers: those that a model has written are few, as they are in life
KEPT = 0.5  # the share that the filter keeps


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
    prompts = [tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True, tokenize=False) for row in rows]
    prompts = [prompt.removeprefix(tokenizer.bos_token or "") for prompt in prompts]  # log_likelihoods begins the text itself
    scores = log_likelihoods(model, tokenizer, prompts, [row["answer"] for row in rows])
    tokens = [max(1, len(ids)) for ids in tokenizer([row["answer"] for row in rows], add_special_tokens=False)["input_ids"]]
    ranked = sorted(range(len(rows)), key=lambda i: scores[i] / tokens[i], reverse=True)
    return [rows[i] for i in sorted(ranked[: round(share * len(rows))])]
