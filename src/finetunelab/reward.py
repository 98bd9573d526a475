"""Reward models: a language model that says in one number how good a response is, learned from which of two responses people chose.

The next-token layer makes room for a linear score on the state of the response's last token, its end-of-turn, the only one that has read
all of it. The model is transformers' own for sequence classification, so that trl's trainers load what ``models.save_model`` writes. With
three outputs in place of one the same model predicts the three grades by regression.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .errors import UserError
from .heads import padded, pool
from .models import loading, resolve
from .profiles import device_and_dtype
from .sft import Conversation, end_of_turn, tokenize
from .training import TrainConfig, TrainResult, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST = 256  # tokens of a request with its response; longer ones are not trained on
BATCH = 64  # responses scored at a time


# The model ----------------------------------------------------------------------------------------------------------------------


def reward_model(base: str, outputs: int = 1, seed: int = 0) -> PreTrainedModel:
    """Load a causal language model with a new linear layer of ``outputs`` numbers in place of its next-token layer, in evaluation mode.

    ``base`` is named as for ``models.load_model``; ``seed`` draws the weights of the new layer. Raises UserError as ``load_model`` does.
    """
    return with_new_layer(_load(base), outputs, seed)


def with_new_layer(model: PreTrainedModel, outputs: int = 1, seed: int = 0) -> PreTrainedModel:
    """Give a reward or grade model a new linear layer of ``outputs`` numbers, in place, and return it; all else it has learned stays.

    So a model that has learned one judgment starts on another. ``seed`` draws the weights, from a normal distribution as wide as the
    model's own initialization.
    """
    old = model.score.weight
    layer = torch.nn.Linear(old.shape[1], outputs, bias=False, device=old.device, dtype=old.dtype)
    drawn = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(seed)) * model.config.initializer_range
    with torch.no_grad():
        layer.weight.copy_(drawn)
    model.score, model.num_labels, model.config.num_labels = layer, outputs, outputs
    return model


def load_reward_model(name: str) -> PreTrainedModel:
    """Load a reward model that ``models.save_model`` has written. Raises UserError for a directory that holds something else."""
    model = _load(name)
    if type(model).__name__ not in (model.config.architectures or ()):
        found = ", ".join(model.config.architectures or ("an unnamed model",))
        raise UserError(f"{name} is no reward model, but {found}", "train one from it first: reward_model(name), then fit")
    return model


def _load(name: str) -> PreTrainedModel:
    from transformers import AutoModelForSequenceClassification

    with loading("reward model", name):
        model = AutoModelForSequenceClassification.from_pretrained(
            resolve(name), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    return model.to(device_and_dtype().device).eval()


def outputs(model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return what the linear layer says at the last real token of each row, of shape (batch, outputs). Padding may stand on either side.

    The library's own forward finds that token by its id, the last that is not the pad token. It agrees, but for tokenizers that pad with
    their end-of-turn token, where it reads one token too early.
    """
    states = model.get_decoder()(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    return model.score(pool(states, attention_mask, "last").to(model.score.weight.dtype))


# The loss -----------------------------------------------------------------------------------------------------------------------


def bradley_terry_loss(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean of -log P(chosen over rejected) in nats, where P = sigmoid(chosen - rejected).

    ``chosen`` and ``rejected`` are the scores of the two responses of each pair, of shape (pairs,). Only differences count: a constant
    added to all scores changes nothing. With a ``margin`` of shape (pairs,) the chosen response must lead by that much more.

    Sources: Bradley and Terry, "Rank analysis of incomplete block designs" (1952); as a loss Ouyang et al. 2022, arXiv:2203.02155, eq. 1;
    with a margin Touvron et al. 2023, arXiv:2307.09288, eq. 2.
    """
    lead = chosen - rejected if margin is None else chosen - rejected - margin
    return -torch.nn.functional.logsigmoid(lead).mean()


# From preference pairs to rows --------------------------------------------------------------------------------------------------


def encode(tokenizer: PreTrainedTokenizerBase, messages: Conversation, end: int) -> list[int]:
    """Return the token ids of a conversation up to the end of its last answer; ``end`` is the tokenizer's end-of-turn token.

    Many templates write a line break or more behind it, and the score is read at the last token.
    """
    ids, mask = tokenize(tokenizer, messages)
    ends = [place for place, (token, mine) in enumerate(zip(ids, mask, strict=True)) if mine and token == end]
    if not ends:
        raise UserError("a conversation without an assistant's turn has nothing to score", "add the response as its last message")
    return ids[: ends[-1] + 1]


def request_length(tokenizer: PreTrainedTokenizerBase, prompt: Conversation, *encoded: Sequence[int]) -> int:
    """Return how many tokens of the encoded conversations are their common prompt, with the mark that opens the assistant's turn.

    Tokens may merge where prompt and response meet: then the response begins where the first conversation leaves the prompt, as in trl.
    """
    asked = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, return_dict=True)["input_ids"]
    return len(os.path.commonprefix([asked, *encoded]))


@dataclass(frozen=True)
class Pairs:
    """Pairs as rows of "chosen_ids", "rejected_ids", and "request_length", the tokens before the responses; how many pairs were dropped as too
    long, and how many because both responses were the same.
    """

    rows: list[dict[str, Any]]
    long: int
    equal: int

    def describe(self) -> str:
        """Return the counts as one line to print."""
        return f"{len(self.rows):,} pairs; dropped: {self.long:,} too long, {self.equal:,} of two equal responses"


def prepare_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Mapping[str, Any]], longest: int = LONGEST) -> Pairs:
    """Tokenize preference pairs in trl's conversational layout: "prompt", "chosen" and "rejected", each a list of messages.

    Nothing is cut: a response without its end cannot be judged, and two that differ behind the cut would become equal. A pair of which
    either is longer than ``longest`` tokens is dropped instead, as trl does, and so is one of two equal responses. A "margin" is kept.

    Raises UserError if nothing is left.
    """
    end, rows, long, equal = end_of_turn(tokenizer), [], 0, 0
    for pair in pairs:
        ids = {f"{name}_ids": encode(tokenizer, [*pair["prompt"], *pair[name]], end) for name in ("chosen", "rejected")}
        if max(map(len, ids.values())) > longest:
            long += 1
        elif ids["chosen_ids"] == ids["rejected_ids"]:
            equal += 1
        else:
            length = request_length(tokenizer, pair["prompt"], *ids.values())
            rows.append(ids | {"request_length": length} | {name: pair[name] for name in ("margin",) if name in pair})
    if not rows:
        found = f"{long:,} are longer than {longest} tokens, in {equal:,} both responses are equal"
        raise UserError(f"none of {len(pairs):,} pairs can be learned from: {found}", "allow longer ones, or give pairs that differ")
    return Pairs(rows, long, equal)


# Training -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A finished training on pairs: what the data became, and what training cost."""

    pairs: Pairs
    result: TrainResult


def fit(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Mapping[str, Any]], config: TrainConfig,
    longest: int = LONGEST, announce: bool = False,
) -> Fitted:
    """Train a reward model in place on preference pairs, laid out as ``prepare_pairs`` says; ``config.batch_size`` counts pairs.

    Raises UserError as ``prepare_pairs`` and ``training.train`` do.
    """
    prepared = prepare_pairs(tokenizer, pairs, longest)
    if announce:
        print(prepared.describe())
    collate = pair_collator(tokenizer.pad_token_id)
    return Fitted(prepared, train(model, prepared.rows, config, collate=collate, loss=pair_loss, announce=announce))


def pair_collator(pad: int):
    """Return a function that makes one batch of pairs: first all chosen, then all rejected, so that one pass scores both."""

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = padded([row[name] for name in ("chosen_ids", "rejected_ids") for row in rows], pad)
        return batch | ({"margin": torch.tensor([float(row["margin"]) for row in rows])} if "margin" in rows[0] else {})

    return collate


def pair_loss(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the loss of one batch of ``pair_collator``."""
    chosen, rejected = outputs(model, batch["input_ids"], batch["attention_mask"]).squeeze(-1).float().chunk(2)
    return bradley_terry_loss(chosen, rejected, batch.get("margin"))


def fit_grades(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], responses: Sequence[str],
    grades: Sequence[Sequence[float]], config: TrainConfig,
) -> TrainResult:
    """Train a model of as many outputs as there are grades in place, by the mean squared error of the grades given to each response.

    Raises UserError when the numbers of prompts, responses and grades differ, or that of outputs and of grades.
    """
    if not len(prompts) == len(responses) == len(grades) or any(len(given) != model.config.num_labels for given in grades):
        given = f"{len(prompts)} prompts, {len(responses)} responses and {len(grades)} lists of grades"
        cause = f"{given} do not fit a model of {model.config.num_labels} outputs"
        raise UserError(cause, "give one response and one grade an output for each prompt")
    rows = [{"input_ids": ids, "grades": list(given)} for ids, given in zip(_encoded(tokenizer, prompts, responses), grades, strict=True)]

    def collate(batch):
        wanted = torch.tensor([row["grades"] for row in batch])
        return padded([row["input_ids"] for row in batch], tokenizer.pad_token_id) | {"grades": wanted}

    def loss(model, batch):
        return torch.nn.functional.mse_loss(outputs(model, batch["input_ids"], batch["attention_mask"]).float(), batch["grades"])

    return train(model, rows, config, collate=collate, loss=loss)


# Scores -------------------------------------------------------------------------------------------------------------------------


def _encoded(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], responses: Sequence[str]) -> list[list[int]]:
    end = end_of_turn(tokenizer)
    said = [{"role": "assistant", "content": text} for text in responses]
    return [encode(tokenizer, [*prompt, message], end) for prompt, message in zip(prompts, said, strict=True)]


@torch.inference_mode()
def predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], responses: Sequence[str]
) -> torch.Tensor:
    """Return the model's outputs for each response to its prompt, a conversation, of shape (responses, outputs), on the CPU.

    Nothing is cut. Raises UserError for a response that with its prompt is longer than the model can read.
    """
    model.eval()
    rows, most = _encoded(tokenizer, prompts, responses), model.config.max_position_embeddings
    longest = max(map(len, rows), default=0)
    if longest > most:
        raise UserError(f"a response with its prompt has {longest:,} tokens, and the model reads {most:,}", "leave it out or shorten it")
    found = torch.empty(len(rows), model.config.num_labels)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # rows of like length share a batch
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        batch = padded([rows[i] for i in places], tokenizer.pad_token_id)
        found[places] = outputs(model, *(batch[name].to(model.device) for name in ("input_ids", "attention_mask"))).float().cpu()
    return found


def score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Conversation], responses: Sequence[str]
) -> torch.Tensor:
    """Return the reward of each response to its prompt, a conversation, of shape (responses,), on the CPU.

    Rewards have no zero of their own: a difference of one makes the better of two responses e times as likely to be chosen as the other.

    Raises UserError as ``predict`` does, and for a model of several outputs.
    """
    if model.config.num_labels != 1:
        raise UserError(f"a model of {model.config.num_labels} outputs gives no single reward", "take one of one output, or call predict")
    return predict(model, tokenizer, prompts, responses).squeeze(-1)


def margins(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """Return by how much the score of each pair's chosen response exceeds that of the rejected one, of shape (pairs,).

    Pairs are laid out as ``prepare_pairs`` says; the chosen response is the last message.
    """
    said = [[*pair["prompt"], *pair[name]] for name in ("chosen", "rejected") for pair in pairs]
    scores = score(model, tokenizer, [messages[:-1] for messages in said], [messages[-1]["content"] for messages in said])
    return scores[: len(pairs)] - scores[len(pairs) :]


def accuracy(leads: torch.Tensor | Sequence[float]) -> float:
    """Return the share of pairs in which the chosen response leads; a tie counts half."""
    leads = torch.as_tensor(leads)
    return float(((leads > 0).double() + 0.5 * (leads == 0).double()).mean())


def choice_probabilities(leads: torch.Tensor | Sequence[float]) -> np.ndarray:
    """Return the probabilities of the two choices by Bradley and Terry, of shape (pairs, 2); first that of the response ahead by ``leads``.

    They are what ``repurposing.calibration`` and ``calibration_error`` take, with label 0 where the first was chosen.
    """
    first = torch.as_tensor(leads, dtype=torch.float64).sigmoid()
    return torch.stack([first, 1 - first], 1).numpy()
