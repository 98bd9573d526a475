"""Answers that rest on passages: the prompt with its sources, and what a model says, taken apart into an answer and a source.

Lewis et al. 2020 (arXiv:2005.11401) put retrieved passages before the question. Here each has a number, and a model that was taught to
(``reading``) ends its answer with the number of the passage that it used. Nothing makes it keep to that: a source can be named and be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError
from ..skills import generate
from ..worlds.answers import ask, plain
from .chunks import SENTENCE_END

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .passages import Hit, Where
    from .store import VectorStore

NOT_SAID = "not said"
CAUTION = f'If no passage says it, answer "{NOT_SAID}".'
TOKENS = 16  # of an answer with its source
SOURCE = re.compile(r"\s*\[(\d+)\]\s*$")
# What a passage has no reason to say: words about being asked and answering, or about what else is in the prompt.
ORDERS = re.compile(r"\b(?:answer|reply|respond|asked|questions?|prompt|instructions?|ignore|disregard)\b", re.IGNORECASE)


def prompt(passages: Sequence[str], question: str, cautious: bool = False) -> str:
    """Return the text that a reader goes on with: the passages, numbered from 1, and then the question.

    ``cautious`` asks it to say ``NOT_SAID`` where no passage has the answer. Without passages the book is closed: the question stands alone.
    """
    lines = [f"[{number}] {text.strip()}" for number, text in enumerate(passages, 1)]
    lines += [CAUTION] if cautious else []
    return "\n".join([*lines, "", ask(question)]) if lines else ask(question)


@dataclass(frozen=True)
class Answer:
    """What a reader said: ``text`` without the source, and the number of the passage that it named, from 1; None if it named none of them."""

    text: str
    source: int | None = None

    @property
    def abstains(self) -> bool:
        """Whether it says that no passage has the answer."""
        return plain(self.text) == NOT_SAID


def taken_apart(said: str, passages: int) -> Answer:
    """Return the first line of what a reader said as answer and source; a number that none of so many passages has is no source."""
    line = said.strip().partition("\n")[0].strip()
    named = SOURCE.search(line)
    if not named:
        return Answer(line)
    number = int(named[1])
    return Answer(line[: named.start()], number if 1 <= number <= passages else None)


def without_orders(text: str) -> str:
    """Return a passage without the sentences that speak to whoever answers from it: a guard against planted instructions.

    It goes by words (``ORDERS``), so it can be got around, and it drops honest sentences with these words, too.
    """
    return " ".join(sentence for sentence in SENTENCE_END.split(text) if not ORDERS.search(sentence))


def grounded(answer: Answer, passages: Sequence[str]) -> Answer:
    """Return an answer that stands word for word in one of the passages; in place of any other, that it is not said.

    A check of the output: what a reader adds out of its own head is held back. It cannot tell whether the passage is about the question.
    """
    said = re.compile(rf"(?<!\w)(?<!\d[.,]){re.escape(plain(answer.text))}(?!\w|[.,]\d)")  # 5 is neither in 1.5 nor in 5,000
    held = plain(answer.text) and any(said.search(" ".join(text.lower().split())) for text in passages)
    return answer if held else Answer(NOT_SAID)


def answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[tuple[Sequence[str], str]], cautious: bool = False
) -> list[Answer]:
    """Let a model answer questions, each from its own passages, by greedy decoding.

    Raises UserError if a prompt and its answer are longer than the model's context.
    """
    prompts = [prompt(passages, question, cautious) for passages, question in asked]
    room = getattr(model.config, "max_position_embeddings", None)
    longest = max((len(tokenizer(text)["input_ids"]) for text in prompts), default=0)
    if room and longest + TOKENS > room:
        raise UserError(f"a prompt has {longest:,} tokens, and the model reads {room:,}", f"give fewer or shorter passages: {TOKENS} are for the answer")
    said = generate(model, tokenizer, prompts, tokens=TOKENS, stop="\n")
    return [taken_apart(text, len(passages)) for text, (passages, _) in zip(said, asked, strict=True)]


@dataclass(frozen=True)
class Answered:
    """An answer with the passages that were found for the question, nearest first."""

    answer: Answer
    hits: list[Hit]

    @property
    def source(self) -> Hit | None:
        """The passage that the answer names."""
        return self.hits[self.answer.source - 1] if self.answer.source else None


def answer_from(
    store: VectorStore, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: str, k: int = 3, where: Where | None = None,
    cautious: bool = False,
) -> Answered:
    """Find the k passages nearest to a question, of those that ``where`` allows, and let a model answer from them.

    Raises UserError as ``VectorStore.search`` and ``answers`` do.
    """
    hits = store.search(question, k, where)
    return Answered(answers(model, tokenizer, [([hit.passage.text for hit in hits], question)], cautious)[0], hits)
