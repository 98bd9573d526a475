"""How an embedder is trained: a question is pulled toward the passage that answers it, and away from all the others of its batch.

Other people's passages cost nothing: in a batch of n pairs each question has one passage that is right and n - 1 that are wrong. But some of those
may be right too, such as two articles that state the same fact. They are no wrong answers, and ``contrastive_loss`` leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .errors import UserError
from .heads import LONGEST, padded, pool, tokenized
from .training import TrainConfig, TrainResult, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEMPERATURE = 0.05


# The loss -----------------------------------------------------------------------------------------------------------------------


def contrastive_loss(
    questions: torch.Tensor, passages: torch.Tensor, also_right: torch.Tensor | None = None, temperature: float = TEMPERATURE
) -> torch.Tensor:
    """Return the contrastive loss of a batch of pairs, in nats: how surprising it is which passage belongs to which question.

    ``questions`` and ``passages`` are vectors of unit length, of shape (pairs, width); row i of one belongs to row i of the other. A question
    prefers passages by their cosines over the ``temperature``, and the loss is -log of the share that its own passage gets (InfoNCE,
    van den Oord et al. 2018, arXiv:1807.03748, eq. 4; with the passages of the batch as wrong answers Karpukhin et al. 2020, arXiv:2004.04906,
    eq. 2). The same is asked of each passage about the questions, and the mean of both is returned (Radford et al. 2021, arXiv:2103.00020, figure 3).

    ``also_right`` of shape (pairs, pairs) is True where passage j answers question i as well: it is then no wrong answer, and is left out.
    """
    likeness = questions @ passages.T / temperature
    if also_right is not None:
        own = torch.eye(len(likeness), dtype=torch.bool, device=likeness.device)
        likeness = likeness.masked_fill(also_right & ~own, -torch.inf)
    right = likeness.diagonal()
    of_questions = likeness.logsumexp(dim=1) - right
    of_passages = likeness.logsumexp(dim=0) - right
    return (of_questions + of_passages).mean() / 2


# From pairs to batches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A question and a passage that answers it. ``asks`` names the fact asked for, ``states`` all facts of the passage, by the same names."""

    question: str
    passage: str
    asks: str
    states: frozenset[str]


def also_right(pairs: Sequence[Pair]) -> torch.Tensor:
    """Return a table of truth values, of shape (pairs, pairs): whether passage j states what question i asks for."""
    return torch.tensor([[pair.asks in other.states for other in pairs] for pair in pairs])


def collator(tokenizer: PreTrainedTokenizerBase, longest: int = LONGEST):
    """Return a function that makes one batch of pairs: passages and questions padded apart, for questions are much the shorter."""

    def collate(rows: Sequence[Sequence[Pair]]) -> dict[str, torch.Tensor]:
        pairs = [pair for row in rows for pair in row]
        passages, questions = (
            padded(tokenized(tokenizer, texts, longest), tokenizer.pad_token_id)
            for texts in ([pair.passage for pair in pairs], [pair.question for pair in pairs])
        )
        return passages | {f"question_{name}": value for name, value in questions.items()} | {"also_right": also_right(pairs)}

    return collate


def vectors(model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of each text's states, scaled to length one, of shape (texts, width): what ``encoders.Encoder.embed`` returns too."""
    states = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    return torch.nn.functional.normalize(pool(states.float(), attention_mask, "mean"), dim=1)


# Training -----------------------------------------------------------------------------------------------------------------------


def fit(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batches: Sequence[Sequence[Pair]], config: TrainConfig,
    temperature: float = TEMPERATURE, longest: int = LONGEST,
) -> TrainResult:
    """Train an encoder in place on batches of pairs, one a step, and return what it cost.

    A batch is given whole because its passages are one another's wrong answers: the more alike they are, the more is learned from telling
    them apart. ``config.batch_size`` counts batches and must be 1.

    Raises UserError for a batch of fewer than two pairs, or one whose passage does not state what its question asks for.
    """
    if config.batch_size != 1:
        raise UserError(f"{config.batch_size} batches were asked for in one step", "set TrainConfig.batch_size to 1: a batch comes whole")
    for batch in batches:
        if len(batch) < 2:
            raise UserError("a batch of fewer than two pairs has no wrong answer", "give at least two")
        for pair in batch:
            if pair.asks not in pair.states:
                raise UserError(f"the passage of {pair.question!r} does not state {pair.asks!r}", "name it among what the passage states")

    def loss(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        questions = vectors(model, batch["question_input_ids"], batch["question_attention_mask"])
        passages = vectors(model, batch["input_ids"], batch["attention_mask"])
        return contrastive_loss(questions, passages, batch["also_right"], temperature)

    return train(model, batches, config, collate=collator(tokenizer, longest), loss=loss)


# What it finds ------------------------------------------------------------------------------------------------------------------


def recall_at(questions: np.ndarray, passages: np.ndarray, right: np.ndarray, k: int) -> float:
    """Return the share of questions for which a right passage is among the ``k`` nearest (recall@k, as retrieval with one answer counts it).

    ``questions`` and ``passages`` are vectors of unit length, one a row; ``right`` of shape (questions, passages) is True where a passage answers.
    """
    nearest = np.argsort(-(questions @ passages.T), axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(right, nearest, axis=1).any(axis=1).mean())
