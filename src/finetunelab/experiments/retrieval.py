"""Chapter 5, retrieval over a company's handbook: whether the passage is found, and whether it is read.

The shipped embedder finds passages of the book, and the shipped reader answers from them. Both have met other editions of it and not this one: its
facts are drawn by the data seed. The closed book is the same reader without passages.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..models import load_model, load_tokenizer
from ..retrieval.embedders import Embedder, load_embedder
from ..retrieval.passages import Hit, Passage, Where
from ..retrieval.rag import Answer, answers
from ..retrieval.store import VectorStore
from ..worlds import handbook
from . import Claim, Measurement, measures, seed_of_data

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

READER, EMBEDDER, BASE = "nano-reader", "nano-embedder", "nano"
K = 3  # passages in a prompt: as many as the reader's card has
FACTS = 2  # of a passage
KS = (1, 3, 5, 10)
N_TEST = 200
Reader = tuple["PreTrainedModel", "PreTrainedTokenizerBase"]
CLOSED, RETRIEVED, ORACLE = "closed book", "retrieved", "oracle passage"


@lru_cache(maxsize=2)
def embedder(name: str = EMBEDDER) -> Embedder:
    """Return an embedder; it remembers its vectors."""
    return load_embedder(name)


@contextmanager
def shelved(passages: Iterable[Passage], name: str = EMBEDDER) -> Iterator[VectorStore]:
    """Give a vector store with these passages, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="finetunelab-store-") as folder:
        store = VectorStore(Path(folder) / "store", embedder(name))
        try:
            store.add(passages)
            yield store
        finally:
            store.close()


def as_passage(page: handbook.Passage, **metadata: Any) -> Passage:
    """Return a passage of the handbook as the store keeps it; its id is its key."""
    return Passage(page.text, metadata, page.id)


def searched(store: VectorStore, questions: Sequence[handbook.Question], k: int = K, where: Where | None = None) -> list[list[Hit]]:
    """Return what the store finds for each question."""
    return [store.search(question.question, k, where) for question in questions]


def texts(hits: Sequence[Hit]) -> list[str]:
    """Return the texts of what was found."""
    return [hit.passage.text for hit in hits]


def answered(
    reader: Reader, questions: Sequence[handbook.Question], passages: Sequence[Sequence[str]], cautious: bool = False
) -> list[Answer]:
    """Let a reader answer each question from its passages."""
    return answers(*reader, [(found, question.question) for question, found in zip(questions, passages, strict=True)], cautious)


def reader_of(name: str) -> Reader:
    """Load a reader."""
    return load_model(name), load_tokenizer(name)


def right(questions: Sequence[handbook.Question], said: Sequence[Answer]) -> list[bool]:
    """Return of each answer whether it is right by the handbook's rule."""
    return [handbook.correct(question, answer.text) for question, answer in zip(questions, said, strict=True)]


def asked_of(n: int, data_seed: int) -> list[handbook.Question]:
    """Draw n of an edition's questions, plain and paraphrased ones."""
    return random.Random(f"handbook/asked/{data_seed}").sample(handbook.questions(data_seed, FACTS), n)


def of_base(arm: str) -> str:
    """Name an arm whose prompts the base reads, in place of the reader."""
    return f"{arm}, the base"


# What is measured ---------------------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "E5.rag", "Retrieved passages make answers right", metric="questions answered rightly", unit="share", treatment=RETRIEVED, control=CLOSED,
        effect_kind="difference", op=">=", threshold=0.40,
    ),
    Claim(
        "E5.recall_at_5", "... for the search finds the passage", metric="recall@5 over the whole handbook", unit="share", treatment="recall@5",
        control=None, effect_kind="value", op=">=", threshold=0.95,
    ),
    Claim(
        "E5.oracle", "What a perfect search would add", metric="questions answered rightly", unit="share", treatment=ORACLE, control=RETRIEVED,
        effect_kind="difference",
    ),
    Claim(
        "E5.source", "How often the passage that a right answer stands in states the fact", metric="right answers whose source states the fact",
        unit="share", treatment="source", control=None, effect_kind="value",
    ),
    Claim(
        "E5.base", "What a model gains from passages that it was never taught to read", metric="questions answered rightly", unit="share",
        treatment=of_base(RETRIEVED), control=of_base(CLOSED), effect_kind="difference", note="The base, given the same prompts as the reader.",
    ),
    id="E5",
)
def handbook_answers(
    seed: int, data_seed: int, n_test: int = N_TEST, k: int = K, reader: str = READER, base: str = BASE, name: str = EMBEDDER
) -> Measurement:
    """Ask an edition's questions with the closed book, with what the search finds, and with the passage that has the answer.

    A row has an arm's share of right answers, to plain and to paraphrased questions; the search has recalls instead, from ``KS``.
    """
    drawn = seed_of_data(seed, data_seed)
    questions, pages = asked_of(n_test, drawn), {page.id: page for page in handbook.passages(drawn, FACTS)}
    with shelved(map(as_passage, pages.values()), name) as store:
        hits = searched(store, questions, max(KS))
    place = [next((at for at, hit in enumerate(found) if hit.passage.key == question.passage_id), len(pages)) for question, found in zip(questions, hits, strict=True)]
    given = {
        CLOSED: [[] for _ in questions], RETRIEVED: [texts(found[:k]) for found in hits],
        ORACLE: [[pages[question.passage_id].text] for question in questions],
    }
    model, rows, shares = reader_of(reader), [], {}
    said = {arm: answered(model, questions, passages) for arm, passages in given.items()}
    untaught = reader_of(base)
    said |= {of_base(arm): answered(untaught, questions, passages) for arm, passages in given.items()}
    for arm, found in said.items():
        marks = right(questions, found)
        shares[arm] = fmean(marks)
        rows.append({"arm": arm, "right": shares[arm], **by_wording(questions, marks)})
    for at in KS:
        marks = [found < at for found in place]
        rows.append({"arm": f"recall@{at}", "right": fmean(marks), **by_wording(questions, marks)})
    return Measurement({
        **dict.fromkeys(("E5.rag", "E5.oracle", "E5.base"), shares),
        "E5.recall_at_5": {"recall@5": fmean(found < 5 for found in place)},
        "E5.source": {"source": sourced(questions, said[RETRIEVED], hits, pages)},
    }, rows)


def by_wording(questions: Sequence[handbook.Question], marks: Sequence[bool]) -> dict[str, float]:
    """Return the share of right ones among the questions in the book's words, and among those in others."""
    return {
        name: fmean(mark for question, mark in zip(questions, marks, strict=True) if question.paraphrased is paraphrased)
        for name, paraphrased in (("plain", False), ("paraphrased", True))
    }


def sourced(
    questions: Sequence[handbook.Question], said: Sequence[Answer], hits: Sequence[Sequence[Hit]], pages: Mapping[str, handbook.Passage]
) -> float:
    """Return among right answers the share whose source states the fact; nan if none is right."""
    marks = [
        answer.source is not None and question.key in {fact.key for fact in pages[found[answer.source - 1].passage.key].facts}
        for question, answer, found, good in zip(questions, said, hits, right(questions, said), strict=True) if good
    ]
    return fmean(marks) if marks else float("nan")
