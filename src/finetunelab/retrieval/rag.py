"""Answers that rest on passages: the prompt with its sources, what a model says, and the passage that says the same.

Lewis et al. 2020 (arXiv:2005.11401) put retrieved passages before the question. The source of an answer is looked for by the program: the first
passage in which it stands word for word. Large models are asked to name a number; a small one that was trained to stayed at chance, and a number
that a model names may be wrong. Looking it up cannot name a passage that does not say it. It asks for answers in the passages' own words.
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
TOKENS = 12  # of an answer
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
    """What a reader said, and the number, from 1, of the first passage that says so word for word; None if none does."""

    text: str
    source: int | None = None

    @property
    def abstains(self) -> bool:
        """Whether it says that no passage has the answer."""
        return plain(self.text) == NOT_SAID


def sourced(said: str, passages: Sequence[str]) -> Answer:
    """Return the first line of what a reader said, with its source."""
    line = said.strip().partition("\n")[0].strip()
    wanted = re.compile(rf"(?<!\w)(?<!\d[.,]){re.escape(plain(line))}(?!\w|[.,]\d)")  # 5 is neither in 1.5 nor in 5,000
    stands = (place for place, text in enumerate(passages, 1) if wanted.search(" ".join(text.lower().split())))
    return Answer(line, next(stands, None) if plain(line) else None)


def without_orders(text: str) -> str:
    """Return a passage without the sentences that speak to whoever answers from it: a guard against planted instructions.

    It goes by words (``ORDERS``), so it can be got around, and it drops honest sentences with these words, too.
    """
    return " ".join(sentence for sentence in SENTENCE_END.split(text) if not ORDERS.search(sentence))


def grounded(answer: Answer) -> Answer:
    """Return an answer that has a source; in place of any other, that it is not said.

    A check of the output: what a reader adds out of its own head is held back. It cannot tell whether the passage is about the question.
    """
    return answer if answer.source else Answer(NOT_SAID)


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
    return [sourced(text, passages) for text, (passages, _) in zip(said, asked, strict=True)]


@dataclass(frozen=True)
class Answered:
    """An answer with the passages that were found for the question, nearest first."""

    answer: Answer
    hits: list[Hit]

    @property
    def source(self) -> Hit | None:
        """The passage that the answer stands in."""
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
