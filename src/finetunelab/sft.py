"""Supervised fine-tuning: conversations become tokens and a loss mask, rows without padding, and a model that answers.

The steps of one batch, each a function: ``tokenize`` writes a conversation by the chat template and marks what the assistant says;
``prepare`` does so for all and turns the marks into labels; ``pack`` lays whole conversations side by side in rows; ``sft_loss`` is what
is minimized, written out; ``completion_loss`` is the same and computes no logits that the loss does not ask for. ``fine_tune`` puts
them together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .corpus import counted_losses, stack
from .errors import UserError
from .skills import generate
from .training import TrainConfig, TrainResult, train
from .worlds import dialogues
from .worlds.instructions import follows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Conversation = Sequence[Mapping[str, str]]
"""Messages, each with a "role" (system, user, assistant) and a "content"."""

IGNORED = -100
"""The label of a token that the loss leaves out, as in torch's cross-entropy."""

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role.capitalize() + ':' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ ' ' + message.content + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ ' ' + message.content + '\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For tokenizers without a template: words in place of chat tokens, whose embeddings a base model has never trained."""


# From conversations to rows -----------------------------------------------------------------------------------------------------


def use_training_template(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Give the tokenizer a chat template that marks what the assistant says, and return it.

    A template that has ``{% generation %}`` marks is kept. Well-known ones without them are replaced by trl's copy with marks; a tokenizer
    without a template gets ``PLAIN_TEMPLATE``. Without marks the mask of the assistant's tokens is silently all zeros.

    Raises UserError for a template that has no marks and that trl does not know, for one that leaves the end of a turn unmarked, and where
    there is neither a template nor an end-of-text token.
    """
    from trl.chat_template_utils import get_training_chat_template

    if tokenizer.chat_template is None:
        if tokenizer.eos_token is None:
            raise UserError("the tokenizer has neither a chat template nor an end-of-text token", "set tokenizer.eos_token: it ends a turn")
        tokenizer.chat_template = PLAIN_TEMPLATE
    mend = "put {% generation %} and {% endgeneration %} around its answers and their end-of-turn token"
    try:
        if not re.search(r"\{%[-+]?\s*generation\b", tokenizer.get_chat_template()):
            tokenizer.chat_template = get_training_chat_template(tokenizer)
    except ValueError:
        raise UserError("the chat template does not mark what the assistant says", mend) from None
    if end_of_turn(tokenizer) not in tokenizer.all_special_ids:
        raise UserError("the chat template leaves the end of the assistant's turn out of its marks", mend)
    return tokenizer


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that ends an assistant's turn: the last one, white space aside, that the chat template marks as the assistant's.

    Many templates mark the line break behind it too, and some end the whole conversation with one more token: hence the user's second turn.
    """
    messages = [{"role": role, "content": "Hello"} for role in ("user", "assistant", "user")]
    ids, mask = tokenize(tokenizer, messages)
    return [token for token, mine in zip(ids, mask, strict=True) if mine and tokenizer.decode([token]).strip()][-1]


def tokenize(tokenizer: PreTrainedTokenizerBase, messages: Conversation) -> tuple[list[int], list[int]]:
    """Return the token ids of a conversation and a mask of equal length: 1 where the assistant speaks, its end-of-turn token included.

    A conversation without an assistant's turn has a mask of zeros. Raises UserError if it has such a turn and the template no marks.
    """
    encoded = tokenizer.apply_chat_template(list(messages), return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    if not any(mask) and any(message["role"] == "assistant" for message in messages):
        raise UserError("the chat template marks no token as the assistant's", "call use_training_template(tokenizer) first")
    return ids, mask


@dataclass(frozen=True)
class Prepared:
    """Conversations as rows of "input_ids" and "labels"; how many were cut short, and how many dropped for having nothing to learn."""

    rows: list[dict[str, list[int]]]
    cut: int
    dropped: int

    def describe(self) -> str:
        """Return the counts as one line to print."""
        dropped = f"{self.dropped:,} dropped, because nothing of the assistant's is in them"
        return f"{len(self.rows):,} conversations; {self.cut:,} cut to the row's length, {dropped}"


def prepare(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], longest: int, masked: bool = True
) -> Prepared:
    """Tokenize conversations, at most ``longest`` tokens of each, and label what the loss counts.

    With ``masked`` only the assistant's tokens keep their label, the others get ``IGNORED``; else every token keeps it. A conversation of
    which no assistant's token is left is dropped under either loss: it teaches no answer, and a masked mean over such a batch is 0 / 0.

    Raises UserError if nothing is left.
    """
    rows, cut, dropped = [], 0, 0
    for messages in conversations:
        ids, mask = tokenize(tokenizer, messages)
        if not any(mask[1:longest]):  # the first token of a row is nobody's next
            dropped += 1
            continue
        cut += len(ids) > longest
        ids, mask = ids[:longest], mask[:longest]
        labels = [token if mine or not masked else IGNORED for token, mine in zip(ids, mask, strict=True)]
        rows.append({"input_ids": ids, "labels": labels})
    if not rows:
        cause = f"none of {len(conversations):,} conversations has an assistant's turn within {longest} tokens"
        raise UserError(cause, "give longer rows, or answers")
    return Prepared(rows, cut, dropped)


def completion_row(tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str) -> dict[str, list[int]]:
    """Return a prompt and what is to follow it as "input_ids" and "labels"; only the tokens of the completion keep their label."""
    before, after = tokenizer(prompt)["input_ids"], tokenizer(completion, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [IGNORED] * len(before) + after}


def pack(rows: Sequence[Mapping[str, list[int]]], length: int, pad: int) -> list[dict[str, torch.Tensor]]:
    """Lay whole rows side by side in as few rows of ``length`` tokens as best fit finds, and return them as tensors of shape (length,).

    "position_ids" begin anew with every conversation. The model reads from them which tokens belong together: none attends to its
    neighbors' (given no attention mask and no cache, transformers builds one for such rows: pass ``use_cache=False``), so the loss is that
    of the rows one by one.

    Raises UserError for a row longer than ``length``.
    """
    from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from trl import pack_dataset

    longest = max(len(row["input_ids"]) for row in rows)
    if longest > length:  # the library would cut it without a word, and may leave no label
        raise UserError(f"a conversation of {longest:,} tokens does not fit into {length:,}", f"prepare them with longest={length}")
    # The first token of each must not be predicted from the last of its neighbor.
    cut_off = [{"input_ids": row["input_ids"], "labels": [IGNORED, *row["labels"][1:]]} for row in rows]
    bars = not are_progress_bars_disabled()
    disable_progress_bars()  # they differ from run to run
    try:
        packed = pack_dataset(Dataset.from_list(cut_off), length, "bfd", {"batch_size": len(cut_off)})
    finally:
        if bars:
            enable_progress_bars()
    found = []
    for row in packed:
        spare = length - len(row["input_ids"])
        positions = [place for size in row["seq_lengths"] for place in range(size)]
        # Every pad token stands at position 0, which makes it a conversation of its own.
        fillings = {"input_ids": (row["input_ids"], pad), "labels": (row["labels"], IGNORED), "position_ids": (positions, 0)}
        filled = {name: values + [filling] * spare for name, (values, filling) in fillings.items()}
        found.append({name: torch.tensor(values) for name, values in filled.items()})
    return found


# The loss -----------------------------------------------------------------------------------------------------------------------


def sft_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log p(next token | all before it) in nats, over the tokens that carry a label.

    ``logits`` has shape (batch, length, vocabulary), ``labels`` (batch, length) with ``IGNORED`` where the loss does not look. The logits at
    one position are about the token at the next: hence the shift. The mean is over the tokens of the whole batch, not over
    conversations, so that long answers weigh more (as in trl, and in Ouyang et al. 2022, arXiv:2203.02155).
    """
    predictions, targets = logits[:, :-1], labels[:, 1:]
    counted = targets != IGNORED
    log_probabilities = predictions.float().log_softmax(dim=-1)
    said = log_probabilities.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(said * counted).sum() / counted.sum()


def completion_loss(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Return what ``sft_loss`` returns, with logits computed only where there is a label.

    ``count`` is the number of labels to divide by where several batches make one step, so that each token of the step weighs the same.
    """
    losses = counted_losses(model, batch, batch["labels"][:, 1:] != IGNORED)
    return losses.sum() / (losses.numel() if count is None else count)


# Training and talking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuned:
    """A finished fine-tuning: what the data became, in how many rows, and what training cost."""

    prepared: Prepared
    rows: int
    result: TrainResult


def fine_tune(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], config: TrainConfig, *,
    longest: int = 256, masked: bool = True, output: str | Path | None = None, announce: bool = False,
) -> Tuned:
    """Fine-tune a model in place on conversations, packed into rows of ``longest`` tokens; ``config.batch_size`` counts rows.

    Raises UserError as ``prepare`` and ``training.train`` do.
    """
    prepared = prepare(tokenizer, conversations, longest, masked)
    rows = pack(prepared.rows, longest, tokenizer.pad_token_id)
    if announce:
        print(f"{prepared.describe()}. Packed into {len(rows):,} rows of {longest} tokens.")
    return Tuned(prepared, len(rows), train(model, rows, config, collate=stack, loss=completion_loss, output=output, announce=announce))


def chat_prompts(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[str]:
    """Return what a model is to go on with in each conversation, as text without the begin token, which the tokenizer sets itself."""
    texts = [tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False) for messages in conversations]
    return [text.removeprefix(tokenizer.bos_token or "") for text in texts]


def reply(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], *, tokens: int = 64,
    temperature: float = 0.0, seed: int = 0,
) -> list[str]:
    """Return the assistant's next turn in each conversation, of at most ``tokens`` tokens. Temperature zero means greedy decoding.

    Templates of reasoning models put an empty block of thoughts before what is learned; it is left out of the answer.
    """
    asked = [tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True) for messages in conversations]
    prompts = [encoded["input_ids"] for encoded in asked]
    said = generate(model, tokenizer, prompts, tokens=tokens, temperature=temperature, seed=seed, end=end_of_turn(tokenizer))
    return [text.split("</think>")[-1].strip() for text in said]


def following(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Return of each of the world's instructions whether the model's greedy response follows it, by the rule that comes with it."""
    responses = reply(model, tokenizer, [row["messages"][:1] for row in rows], tokens=48)
    return [follows(row, response) for row, response in zip(rows, responses, strict=True)]


def remembers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Return of each of the world's conversations whether the model's greedy answer to its late question is right."""
    answers = reply(model, tokenizer, [row["messages"][: row["question_turn"] + 1] for row in rows], tokens=24)
    return [dialogues.correct(row, answer) for row, answer in zip(rows, answers, strict=True)]
