"""Chapter 5, facts that change daily: thirty days of a newspaper, and four ways to know what is true today.

Frozen, the reader answers from its weights. Nightly, it is trained on the day's facts and answers with the closed book; it goes on from last night's
weights. Pasted, the day's articles stand in the prompt, as many as its context holds. Retrieved, the articles go into a vector store, and a
search is made among today's.

What a night is trained on (the articles, questions on them in every wording of the world, or both), for how many passes and at which learning
rate, is the best of ``sweep_nights``, and of equally good ones the cheapest, on a data seed below 1,000; ``book/evidence/E4-nights.csv`` holds
what it measured. Costs are FLOPs that the tokens need (``methods.Flops``); the embedder's are counted as the base's, which has more layers.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from ..corpus import stack
from ..cost import Cost
from ..reading import asked_in
from ..retrieval.passages import Passage
from ..retrieval.rag import TOKENS, Answer, answers, prompt
from ..retrieval.store import VectorStore
from ..sft import completion_loss, completion_row, pack
from ..training import train
from ..worlds import news
from ..worlds.answers import ask
from ..worlds.grammar import load_grammar
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config
from .methods import Flops
from .retrieval import EMBEDDER, READER, K, Reader, reader_of, shelved, texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DAYS, SWEEP_DAYS = 30, 4
LENGTH, ROWS = 256, 2  # tokens of a packed row, rows of a step
FROZEN, NIGHTLY, PASTED, RETRIEVED = "frozen", "nightly", "pasted", "retrieved"
ARTICLES, QUESTIONS, BOTH = "articles", "questions", "both"


class Night(NamedTuple):
    """What a night is trained on, for how many passes, and at which learning rate."""

    data: str
    passes: int
    rate: float


SWEEP = tuple(Night(*choice) for choice in product((ARTICLES, QUESTIONS, BOTH), (2, 5, 15), (1e-3, 3e-3, 1e-2)))
CHOSEN = Night(QUESTIONS, 5, 3e-3)


# The four ways ------------------------------------------------------------------------------------------------------------------


def lessons(tokenizer: PreTrainedTokenizerBase, day: int, data_seed: int, data: str) -> list[dict[str, list[int]]]:
    """Return what a night has to learn as rows of "input_ids" and "labels": whole articles, and the answers to questions."""
    rows = []
    if data != QUESTIONS:
        for article in news.articles(day, data_seed):
            ids = tokenizer(article["text"])["input_ids"]
            rows.append({"input_ids": ids, "labels": ids})
    if data != ARTICLES:
        for slot, value in news.facts(day, data_seed).items():
            rows += [completion_row(tokenizer, ask(question), f" {value}\n") for question in load_grammar("news").frames(f"{slot} ask")]
    return rows


def learn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, day: int, data_seed: int, night: Night, seed: int) -> float:
    """Train a model in place on a day and return the FLOPs."""
    return drill(model, tokenizer, lessons(tokenizer, day, data_seed, night.data), night.passes, night.rate, seed).flops


def drill(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]], passes: int, rate: float, seed: int
) -> Cost:
    """Train a model in place on rows of "input_ids" and "labels", packed, for so many passes, and return what that cost."""
    packed = pack(rows, LENGTH, tokenizer.pad_token_id)
    steps = max(1, round(passes * len(packed) / ROWS))
    return train(model, packed, config(steps, rate, seed, ROWS, "cosine"), collate=stack, loss=completion_loss).cost


def fitting(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, articles: Sequence[str], question: str) -> list[str]:
    """Return as many articles, from the first, as fit into the model's context with the question and its answer."""
    room = model.config.max_position_embeddings - TOKENS
    # Halving what is in question: to tokenize a whole book again for each article that is too much takes longer than to answer from it.
    count = bisect_right(range(1, len(articles) + 1), room, key=lambda n: len(tokenizer(prompt(articles[:n], question))["input_ids"]))
    return list(articles[:count])


@dataclass(frozen=True)
class Paper:
    """A day's articles and the questions about it."""

    articles: list[str]
    questions: list[news.Question]

    @classmethod
    def of(cls, day: int, data_seed: int) -> Paper:
        """Print it."""
        return cls([row["text"] for row in news.articles(day, data_seed)], news.questions(day, data_seed))

    @property
    def asked(self) -> list[str]:
        """The questions as they are put."""
        return [asked_in(question.prompt) for question in self.questions]

    def right(self, said: Sequence[Answer]) -> float:
        """Return the share of answers that are true today."""
        return fmean(news.correct(question, answer.text) for question, answer in zip(self.questions, said, strict=True))

    def stale(self, said: Sequence[Answer]) -> float:
        """Return the share of answers that were true on an earlier day."""
        return fmean(news.outdated(question, answer.text) for question, answer in zip(self.questions, said, strict=True))


class Outcome(NamedTuple):
    """Shares of right and of outdated answers, and FLOPs: of the day, whether or not anybody asks, and of a question."""

    right: float
    stale: float
    a_day: float
    a_question: float


def say(reader: Reader, asked: Sequence[tuple[Sequence[str], str]]) -> tuple[list[Answer], float]:
    """Return the answers to questions, each from its passages, and the mean FLOPs of one."""
    model, tokenizer = reader
    found, ours = answers(model, tokenizer, asked), Flops.of(model)

    def tokens(text: str) -> int:
        return len(tokenizer(text)["input_ids"])

    return found, fmean(ours.sampling(tokens(prompt(*each)), tokens(answer.text)) for each, answer in zip(asked, found, strict=True))


def put(reader: Reader, paper: Paper, passages: Sequence[Sequence[str]], a_day: float = 0.0, a_question: float = 0.0) -> Outcome:
    """Ask a paper's questions from these passages; ``a_day`` and ``a_question`` are FLOPs that were spent besides."""
    said, spent = say(reader, list(zip(passages, paper.asked, strict=True)))
    return Outcome(paper.right(said), paper.stale(said), a_day, a_question + spent)


def embedding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, passages: Sequence[str]) -> float:
    """Return the FLOPs of making vectors of texts."""
    return sum(Flops.of(model).reading(len(tokenizer(text)["input_ids"])) for text in passages)


def days(reader: Reader, store: VectorStore, n: int, data_seed: int, night: Night, seed: int, k: int = K) -> list[tuple[int, str, Outcome]]:
    """Live through n days in each of the four ways; return day, way and outcome."""
    model, tokenizer = reader
    nightly = copy.deepcopy(model)
    found = []
    for day in range(n):
        paper = Paper.of(day, data_seed)
        closed = [[] for _ in paper.questions]
        store.add(Passage(text, {"day": day}, f"{day}/{number}") for number, text in enumerate(paper.articles))
        hits = [texts(store.search(question, k, {"day": day})) for question in paper.asked]
        learned = learn(nightly, tokenizer, day, data_seed, night, seed)
        a_question = embedding(model, tokenizer, paper.asked) / len(paper.asked)
        found += [
            (day, FROZEN, put(reader, paper, closed)), (day, NIGHTLY, put((nightly, tokenizer), paper, closed, learned)),
            (day, PASTED, put(reader, paper, [fitting(model, tokenizer, paper.articles, question) for question in paper.asked])),
            (day, RETRIEVED, put(reader, paper, hits, embedding(model, tokenizer, paper.articles), a_question)),
        ]
    return found


def sweep_nights(
    tried: Sequence[Night] = SWEEP, n: int = SWEEP_DAYS, reader: str = READER, data_seed: int = SWEEP_SEED
) -> list[dict[str, Any]]:
    """Return the share of right answers on the day after each night, and a night's FLOPs, for each way to train it."""
    rows = []
    for night in tried:
        model, tokenizer = reader_of(reader)
        found = []
        for day in range(n):
            spent, paper = learn(model, tokenizer, day, data_seed, night, 0), Paper.of(day, data_seed)
            found.append(put((model, tokenizer), paper, [[] for _ in paper.questions], spent))
        rows.append({"seed": data_seed, **night._asdict(), "right": fmean(each.right for each in found), "flops": fmean(each.a_day for each in found)})
    return rows


# What is measured ---------------------------------------------------------------------------------------------------------------


@measures(
    Claim(
        "E4.accuracy", "Where facts change daily, retrieval keeps up", metric="questions about today answered rightly, mean of 30 days", unit="share",
        treatment=RETRIEVED, control=None, effect_kind="value", op=">=", threshold=0.90,
    ),
    Claim(
        "E4.nightly", "... by how much more than training every night", metric="questions about today answered rightly, mean of 30 days",
        unit="share", treatment=RETRIEVED, control=NIGHTLY, effect_kind="difference",
    ),
    Claim(
        "E4.cost", "... and at which part of its cost", metric="FLOPs a day, with a question about each of the day's 24 facts", unit="ratio",
        treatment=RETRIEVED, control=NIGHTLY, effect_kind="log_ratio", op="<=", threshold=1 / 50,
    ),
    Claim(
        "E4.break_even", "From how many questions a day training would be cheaper", metric="questions a day at equal FLOPs", unit="questions",
        treatment="break-even", control=None, effect_kind="value",
        note="Training pays by the night, retrieval by the question, for its prompts are longer.",
    ),
    id="E4", seeds=5,
)
def thirty_days(seed: int, data_seed: int, n: int = DAYS, night: Night = CHOSEN, reader: str = READER, name: str = EMBEDDER) -> Measurement:
    """Ask every day about that day. A row has day, arm, shares of right and of outdated answers, and FLOPs of the day and of a question."""
    drawn = seed_of_data(seed, data_seed)
    with shelved((), name) as store:
        found = days(reader_of(reader), store, n, drawn, night, seed)
    rows = [{"day": day, "arm": arm, **outcome._asdict()} for day, arm, outcome in found]
    mean = {arm: Outcome(*map(fmean, zip(*(outcome for _, way, outcome in found if way == arm), strict=True))) for arm in (FROZEN, NIGHTLY, PASTED, RETRIEVED)}
    costs = {arm: outcome.a_day + len(news.SLOTS) * outcome.a_question for arm, outcome in mean.items()}
    saved, dearer = mean[NIGHTLY].a_day - mean[RETRIEVED].a_day, mean[RETRIEVED].a_question - mean[NIGHTLY].a_question
    right = {arm: outcome.right for arm, outcome in mean.items()}
    return Measurement({
        "E4.accuracy": right, "E4.nightly": right, "E4.cost": costs, "E4.break_even": {"break-even": saved / dearer},
    }, rows)
