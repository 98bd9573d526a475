"""In-context learning: a task is taught by examples in the prompt, and no weight changes.

``FewShot`` is a question with its demonstrations; ``predict`` answers by comparing the likelihood of the label words, ``write_labels`` by
letting the model write. ``unchanged`` proves that the weights stayed as they were. The module ``endpoint`` asks the same of a model which
only a text goes into and comes out of. Source of the method: Brown et al., "Language models are few-shot learners" (2020),
arXiv:2005.14165.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from .errors import UserError
from .heads import padded
from .models import weights_checksum
from .sft import IGNORED, completion_loss, completion_row
from .skills import generate, log_likelihoods
from .training import TrainConfig, TrainResult, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONTENT_FREE = ("", "N/A", "...")
"""Queries that say nothing; what a model answers to them it would answer to anything."""


@dataclass(frozen=True)
class Layout:
    """How a prompt is written: what is before each text, what between it and its label, and an instruction, or none, as the first line."""

    before: str = "Text: "
    between: str = " Label:"
    instruction: str = ""


@dataclass(frozen=True)
class FewShot:
    """A question that is put by example.

    ``demonstrations`` are texts with their labels, in the order in which they stand in the prompt; without any the question is put
    zero-shot. ``labels`` are the words to choose from, ``answer`` is the right one of them.
    """

    query: str
    demonstrations: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    answer: str
    layout: Layout = Layout()

    @property
    def prompt(self) -> str:
        """The text that the model continues. It ends where the label is due; the space before a label goes with the label."""
        lines = [self.layout.instruction] if self.layout.instruction else []
        lines += [f"{self.layout.before}{text}{self.layout.between} {label}" for text, label in self.demonstrations]
        return "\n".join([*lines, f"{self.layout.before}{self.query}{self.layout.between}"])

    def reordered(self, seed: int) -> FewShot:
        """Return the question with the same demonstrations in another order, drawn by ``seed``."""
        order = random.Random(seed).sample(self.demonstrations, len(self.demonstrations))
        return replace(self, demonstrations=tuple(order))


def demonstrate(pool: Sequence[tuple[str, Hashable]], k: int, rng: random.Random) -> list[tuple[str, Hashable]]:
    """Draw ``k`` texts with their classes from a pool, every class of the pool among them where there is room.

    Raises UserError for a pool of fewer than ``k``.
    """
    if k > len(pool):
        raise UserError(f"{k} demonstrations cannot be drawn from {len(pool)}", "give more labelled texts or ask for fewer")
    drawn, order = rng.sample(list(pool), len(pool)), list(dict.fromkeys(label for _, label in pool))
    # One of each class is certain; the rest, and the places of all, are up to chance.
    certain = [next(i for i, (_, label) in enumerate(drawn) if label == wanted) for wanted in order] if k >= len(order) else []
    rest = [i for i in range(len(drawn)) if i not in set(certain)]
    taken = [*certain, *rest][:k]
    return [drawn[i] for i in rng.sample(taken, k)]


# Answers ------------------------------------------------------------------------------------------------------------------------


def label_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[FewShot], batch_size: int = 32
) -> list[list[float]]:
    """Return log p(label | prompt) in nats of every label word of every question, the space before it included.

    Raises UserError for a prompt that does not fit into the model's context with its label.
    """
    prompts = [question.prompt for question in questions for _ in question.labels]
    words = [f" {label}" for question in questions for label in question.labels]
    _check_room(model, tokenizer, prompts, words)
    scores = iter(log_likelihoods(model, tokenizer, prompts, words, batch_size))
    return [[next(scores) for _ in question.labels] for question in questions]


def _check_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], words: Sequence[str]) -> None:
    """Raise UserError if a prompt and what follows it are longer than the model's context: what is read beyond it is noise."""
    room = model.config.max_position_embeddings
    longest = max((f"{prompt}{word}" for prompt, word in zip(prompts, words, strict=True)), key=len, default="")
    tokens = len(tokenizer(longest)["input_ids"])
    if tokens > room:
        raise UserError(f"a prompt of {tokens:,} tokens does not fit into a context of {room:,}", "give fewer or shorter demonstrations")


def label_priors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[FewShot], batch_size: int = 32
) -> list[list[float]]:
    """Return log p(label | the demonstrations and a query that says nothing) of every label word of every question.

    The labels of a question share a probability of one; the mean is over the queries of ``CONTENT_FREE``. It is what contextual calibration
    divides by: Zhao et al., "Calibrate before use" (2021), arXiv:2102.09690, section 5.
    """
    empty = [replace(question, query=query) for question in questions for query in CONTENT_FREE]
    scores = iter(label_scores(model, tokenizer, empty, batch_size))
    shares = [torch.tensor([next(scores) for _ in CONTENT_FREE]).softmax(-1).mean(0) for _ in questions]
    return [share.log().tolist() for share in shares]


def predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[FewShot], *, calibrated: bool = False,
    batch_size: int = 32,
) -> list[str]:
    """Return the likeliest label word of each question; ``calibrated`` weighs each by how likely it is for a query that says nothing.

    Raises UserError as ``label_scores`` does.
    """
    scores = [torch.tensor(row) for row in label_scores(model, tokenizer, questions, batch_size)]
    if calibrated:
        priors = label_priors(model, tokenizer, questions, batch_size)
        scores = [score - torch.tensor(prior) for score, prior in zip(scores, priors, strict=True)]
    return [question.labels[int(score.argmax())] for question, score in zip(questions, scores, strict=True)]


def write_labels(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[FewShot], tokens: int = 8
) -> list[str]:
    """Return what greedy decoding writes behind each prompt in at most ``tokens`` tokens, to the end of the line, without spaces around."""
    _check_room(model, tokenizer, [question.prompt for question in questions], [""] * len(questions))
    return [text.strip() for text in generate(model, tokenizer, [question.prompt for question in questions], tokens=tokens, stop="\n")]


def accuracy(questions: Sequence[FewShot], answers: Sequence[str]) -> float:
    """Return the share of questions whose answer is the right label word."""
    return sum(question.answer == answer for question, answer in zip(questions, answers, strict=True)) / len(questions)


# What stays as it is, and what does not -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def unchanged(model: torch.nn.Module) -> Iterator[str]:
    """Give the checksum of a model's weights, and raise RuntimeError if it is another one at the end."""
    before = weights_checksum(model)
    yield before
    after = weights_checksum(model)
    if after != before:
        raise RuntimeError(f"the weights have changed: their checksum was {before[:12]} and is {after[:12]}")


def teach(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[FewShot], config: TrainConfig
) -> TrainResult:
    """Fine-tune a model in place to write each question's answer behind its prompt: the rival of demonstrations, in the same form.

    The loss is the cross-entropy of the answer's tokens alone. Raises UserError as ``training.train`` does.
    """
    rows = [completion_row(tokenizer, question.prompt, f" {question.answer}") for question in questions]

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        fillings = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED}
        return {name: padded([row[name] for row in batch], filling)["input_ids"] for name, filling in fillings.items()}

    return train(model, rows, config, collate=collate, loss=completion_loss)
