"""Chapter 5 on real texts: a real sentence encoder beside BM25, on paragraphs of an encyclopedia and on the pages of an organization's handbook.

XQuAD's English part has 240 paragraphs with five questions each, about; all paragraphs are searched. There is no generator here that could
answer such questions offline, so an answer is a sentence: the one of the first paragraph found that is nearest to the question. It is right
if it holds an answer that people marked. The handbook has no questions. Its pages are asked for by their titles, which are not in the texts that
are searched.

Nothing is trained. The two numbers of BM25 (Robertson and Zaragoza 2009) are the best of ``sweep`` on the questions of a fixed fifth of the
paragraphs; ``book/evidence/E5.real-choices.csv`` holds what it measured. A seed asks about a tenth of the other paragraphs, or of the pages, that
no other seed asks about.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np

from ..encoders import MINILM
from ..real_data import REPORT, SWEEP, Asked, normalized, pages, paragraphs, side_of
from ..retrieval.chunks import SENTENCE_END
from ..retrieval.embedders import Embedder, load_embedder
from . import Claim, Measurement, measures

DATA, PAGES = "xquad_en", "handbook_18f"
ENCODER, BM25 = "encoder", "BM25"
KS = (1, 5, 10)
SEEDS = 10  # so many parts have the questions
TRIED = ((0.9, 0.4), (1.2, 0.75), (1.5, 0.75), (2.0, 0.75))  # k1 and b
CHOSEN = (1.5, 0.75)

Rank = Callable[[Sequence[str]], np.ndarray]
"""Questions to scores of all texts, of shape (questions, texts)."""


@lru_cache(maxsize=4)
def embedder(name: str) -> Embedder:
    """Return an embedder; it remembers its vectors."""
    return load_embedder(name)


def by_vectors(texts: Sequence[str], name: str = MINILM) -> Rank:
    """Return the cosine of the angle between the vectors of question and text."""
    vectors = embedder(name).embed(texts)
    return lambda questions: embedder(name).embed(questions) @ vectors.T


def by_words(texts: Sequence[str], choice: tuple[float, float] = CHOSEN) -> Rank:
    """Return BM25 over stemmed words, the commonest English ones left out."""
    import bm25s
    from Stemmer import Stemmer

    stemmer = Stemmer("english")

    def words(of: Sequence[str]) -> list[list[str]]:
        return bm25s.tokenize(list(of), stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)

    index = bm25s.BM25(k1=choice[0], b=choice[1])
    index.index(words(texts), show_progress=False)
    return lambda questions: np.stack([index.get_scores(asked) if asked else np.zeros(len(texts)) for asked in words(questions)])


def found_at(scores: np.ndarray, places: Sequence[Sequence[int]]) -> np.ndarray:
    """Return for each question at which place, from 1, the first right text stands; of texts with equal scores the right one comes last."""
    best = np.array([row[list(right)].max() for row, right in zip(scores, places, strict=True)])
    wrong = scores.copy()
    for row, right in zip(wrong, places, strict=True):
        row[list(right)] = -np.inf
    return 1 + (wrong >= best[:, None]).sum(axis=1)


def recalls(ranks: np.ndarray) -> dict[str, float]:
    """Return for each of ``KS`` the share of questions whose text is among so many."""
    return {f"recall@{k}": float((ranks <= k).mean()) for k in KS}


def part(places: Sequence[int], seed: int, name: str) -> set[int]:
    """Return a seed's tenth of the places."""
    return set(random.Random(name).sample(sorted(places), len(places))[seed % SEEDS :: SEEDS])


def questions_of(side: str) -> list[Asked]:
    """Return the questions whose paragraph is on one side."""
    texts, asked = paragraphs()
    return [question for question in asked if side_of(texts[question.place]) == side]


def sweep(tried: Sequence[tuple[float, float]] = TRIED) -> list[dict[str, Any]]:
    """Return the mean of BM25's recalls on the sweep's side for each choice of its two numbers."""
    texts, asked, found = paragraphs()[0], questions_of(SWEEP), []
    for choice in tried:
        scores = by_words(texts, choice)([question.question for question in asked])
        reached = recalls(found_at(scores, [[question.place] for question in asked]))
        found.append({"k1": choice[0], "b": choice[1], "questions": len(asked), **reached, "mean": fmean(reached.values())})
    return found


def sentences(text: str) -> list[str]:
    """Return a text cut into sentences."""
    return [sentence for sentence in SENTENCE_END.split(text) if sentence.strip()]


def right_sentences(asked: Sequence[Asked], first: Sequence[int], rank: Callable[[Sequence[str]], Rank]) -> float:
    """Return how often the sentence nearest to the question, of the paragraph that was found for it, holds an answer."""
    texts, right = paragraphs()[0], []
    for question, place in zip(asked, first, strict=True):
        choices = sentences(texts[place])
        said = normalized(choices[int(rank(choices)([question.question])[0].argmax())])
        right.append(any(f" {normalized(answer)} " in f" {said} " for answer in question.answers))
    return fmean(right)


ESTIMATE = dict(unit="share", treatment=ENCODER, control=BM25, effect_kind="difference", words=("encoder ahead", "BM25 ahead", "equal"), beside="E5")


@measures(
    *(
        Claim(
            "E5.real" if k == 5 else f"E5.real.at_{k}", f"A real encoder beside BM25, on paragraphs: is the one asked about among the first {k}?",
            metric=f"recall@{k}", dataset=DATA, **ESTIMATE,
        )
        for k in KS
    ),
    Claim(
        "E5.real.answer", "... and does the sentence nearest to the question hold the answer?", metric="share of sentences that hold the answer",
        dataset=DATA, **ESTIMATE, note="A sentence stands in for an answer: no generator that works offline here reads such texts.",
    ),
    id="E5.real", seeds=SEEDS,
)
def real_paragraphs(seed: int, data_seed: int, name: str = MINILM) -> Measurement:
    """Search all paragraphs for the questions about a part of them; the data seed draws the parts.

    The rows have the recalls, the share of right sentences, and that share where the right paragraph is handed over.
    """
    texts, held = paragraphs()[0], questions_of(REPORT)
    mine = part(list({question.place for question in held}), seed, f"{DATA}/{data_seed}")
    asked, rows = [question for question in held if question.place in mine], []
    for arm, rank in {ENCODER: lambda texts: by_vectors(texts, name), BM25: by_words}.items():
        scores = rank(texts)([question.question for question in asked])
        rows.append({
            "arm": arm, "questions": len(asked), **recalls(found_at(scores, [[question.place] for question in asked])),
            "answer": right_sentences(asked, scores.argmax(axis=1).tolist(), rank),
            "answer, paragraph given": right_sentences(asked, [question.place for question in asked], rank),
        })
    columns = {"E5.real": "recall@5", "E5.real.at_1": "recall@1", "E5.real.at_10": "recall@10", "E5.real.answer": "answer"}
    return Measurement({claim: {row["arm"]: row[column] for row in rows} for claim, column in columns.items()}, rows)


@measures(
    *(
        Claim(
            "E5.pages" if k == 5 else f"E5.pages.at_{k}", f"A real encoder beside BM25, on a handbook: is the page with this title among the first {k} chunks?",
            metric=f"recall@{k}", dataset=PAGES, **ESTIMATE,
        )
        for k in KS
    ),
    id="E5.pages", seeds=SEEDS,
)
def real_pages(seed: int, data_seed: int, name: str = MINILM) -> Measurement:
    """Search the chunks of all pages for the titles of a part of them."""
    held = pages()
    titles = list(held)
    owners = [place for place, title in enumerate(titles) for _ in held[title]]
    texts = [text for title in titles for text in held[title]]
    mine, rows = sorted(part(range(len(titles)), seed, f"{PAGES}/{data_seed}")), []
    right = [[place for place, owner in enumerate(owners) if owner == page] for page in mine]
    for arm, rank in {ENCODER: by_vectors(texts, name), BM25: by_words(texts)}.items():
        rows.append({"arm": arm, "titles": len(mine), **recalls(found_at(rank([titles[page] for page in mine]), right))})
    columns = {"E5.pages": "recall@5", "E5.pages.at_1": "recall@1", "E5.pages.at_10": "recall@10"}
    return Measurement({claim: {row["arm"]: row[column] for row in rows} for claim, column in columns.items()}, rows)
