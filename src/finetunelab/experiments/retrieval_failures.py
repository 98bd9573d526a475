"""Chapter 5, how retrieval fails: five failures over the same handbook, each with its guard off and on, and what the guards cost.

Many passages distract; an old edition of every passage stands beside the new one; a notice board contradicts the book; the book does not have the
answer; every passage has an instruction planted in it. A guard acts on what is found (a filter by metadata, a cut by similarity), on
the passages (sentences that give orders are dropped), on the prompt (caution), or on the answer (it must stand in a passage). Whoever wrote the
guard against planted instructions had read the world's six; elsewhere it will catch fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from ..retrieval.passages import Hit, Where
from ..retrieval.rag import Answer, grounded, without_orders
from ..retrieval.store import VectorStore
from ..worlds import handbook
from ..worlds.answers import same
from . import Claim, Measurement, measures, seed_of_data
from .retrieval import EMBEDDER, FACTS, READER, K, Reader, answered, as_passage, asked_of, reader_of, right, searched, shelved, texts

N_TEST = 100
MANY = 8  # passages of a prompt that distracts
CLOSE = 0.1  # a passage is kept if its similarity is at most so much below the best one's
OFF, ON = "no guard", "guarded"
BOOK, BOARD = {"source": "handbook"}, {"source": "notice board"}
NEW, OLD = {"edition": 2}, {"edition": 1}

Wrong = Callable[[handbook.Question, Answer], bool]


def close(hits: Sequence[Hit], within: float = CLOSE, k: int = K) -> list[Hit]:
    """Return at most k of what was found, and of these what is nearly as similar to the question as the best."""
    return [hit for hit in hits[:k] if hit.similarity >= hits[0].similarity - within]


def says(values: dict[str, str]) -> Wrong:
    """Return a test whether an answer gives the value of another passage, by the question's key, in place of the right one."""
    return lambda question, answer: question.key in values and not handbook.correct(question, answer.text) and same(values[question.key], answer.text)


def mistaken(question: handbook.Question, answer: Answer) -> bool:
    """Tell whether an answer is wrong; to say that it is not said is not."""
    return not answer.abstains and not handbook.correct(question, answer.text)


def outcome(questions: Sequence[handbook.Question], said: Sequence[Answer], wrong: Wrong) -> dict[str, float]:
    """Return the shares of answers with the error in question, of right ones, and of abstentions."""
    return {
        "error": fmean(wrong(question, answer) for question, answer in zip(questions, said, strict=True)), "right": fmean(right(questions, said)),
        "abstains": fmean(answer.abstains for answer in said),
    }


def others(pages: Iterable[handbook.Passage]) -> dict[str, str]:
    """Return what passages say, by key."""
    return {fact.key: fact.value for page in pages for fact in page.facts}


def both(
    reader: Reader, store: VectorStore, questions: Sequence[handbook.Question], where: Where, wrong: Wrong
) -> dict[str, dict[str, float]]:
    """Answer from what the store finds, and from what it finds where a filter allows it."""
    return {
        guard: outcome(questions, answered(reader, questions, [texts(hits) for hits in searched(store, questions, K, allowed)]), wrong)
        for guard, allowed in ((OFF, None), (ON, where))
    }


def fails(seed_of_book: int, n_test: int, reader: Reader, name: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return the outcome of each failure with its guard off and on, and of ordinary questions with all guards off and on."""
    questions, pages, found = asked_of(n_test, seed_of_book), handbook.passages(seed_of_book, FACTS), {}
    unanswerable = handbook.unanswerable_questions(seed_of_book)
    with shelved((as_passage(page) for page in pages), name) as store:
        hits = searched(store, questions, MANY)
        found["distractors"] = {
            OFF: outcome(questions, answered(reader, questions, [texts(each) for each in hits]), mistaken),
            ON: outcome(questions, answered(reader, questions, [texts(close(each)) for each in hits]), mistaken),
        }
        away = [texts(each) for each in searched(store, unanswerable)]
        careful = [grounded(answer) for answer in answered(reader, unanswerable, away, True)]
        found["no_answer"] = {
            OFF: outcome(unanswerable, answered(reader, unanswerable, away), mistaken), ON: outcome(unanswerable, careful, mistaken),
        }
        plain = [texts(each[:K]) for each in hits]
        guarded = [[without_orders(text) for text in texts(close(each))] for each in hits]
        careful = [grounded(answer) for answer in answered(reader, questions, guarded, True)]
        found["ordinary"] = {OFF: outcome(questions, answered(reader, questions, plain), mistaken), ON: outcome(questions, careful, mistaken)}
    old = [handbook.stale(page) for page in pages]
    with shelved([*(as_passage(page, **NEW) for page in pages), *(as_passage(page, **OLD) for page in old)], name) as store:
        found["stale"] = both(reader, store, questions, NEW, says(others(old)))
    board = [handbook.contradiction(page) for page in pages]
    with shelved([*(as_passage(page, **BOOK) for page in pages), *(as_passage(page, **BOARD) for page in board)], name) as store:
        found["contradiction"] = both(reader, store, questions, BOOK, says(others(board)))
    with shelved((as_passage(handbook.planted(page)) for page in pages), name) as store:
        full = [texts(each) for each in searched(store, questions)]
        found["planted"] = {
            guard: outcome(questions, answered(reader, questions, passages), lambda _, answer: handbook.hijacked(answer.text))
            for guard, passages in ((OFF, full), (ON, [[without_orders(text) for text in each] for each in full]))
        }
    return found


# What is measured ---------------------------------------------------------------------------------------------------------------

TITLES = {
    "distractors": "Errors that fewer passages, and nearer ones, avoid", "stale": "Stale answers that a filter by edition avoids",
    "contradiction": "Contradicting answers that a filter by source avoids", "no_answer": "Answers to what the book does not say that caution avoids",
    "planted": "Obedience to planted instructions that a filter of orders avoids",
}


@measures(
    *(
        Claim(
            f"E7.{name}", title, metric="share of answers with this error", unit="share", treatment=f"{name}, {OFF}", control=f"{name}, {ON}",
            effect_kind="difference",
        )
        for name, title in TITLES.items()
    ),
    Claim(
        "E7.price", "Right answers to ordinary questions that all guards together cost", metric="questions answered rightly", unit="share",
        treatment=f"ordinary, {OFF}", control=f"ordinary, {ON}", effect_kind="difference",
    ),
    id="E7",
)
def retrieval_fails(seed: int, data_seed: int, n_test: int = N_TEST, reader: str = READER, name: str = EMBEDDER) -> Measurement:
    """Bring about each failure in an edition of the handbook, with its guard off and on. A row is an ``outcome``."""
    found = fails(seed_of_data(seed, data_seed), n_test, reader_of(reader), name)
    rows = [{"failure": failure, "guard": guard, **measured} for failure, guards in found.items() for guard, measured in guards.items()]
    errors = {f"{row['failure']}, {row['guard']}": row["error"] for row in rows}
    prices = {f"{row['failure']}, {row['guard']}": row["right"] for row in rows}
    return Measurement({**dict.fromkeys((f"E7.{name}" for name in TITLES), errors), "E7.price": prices}, rows)
