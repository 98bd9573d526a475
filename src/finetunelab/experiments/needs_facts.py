"""Chapter 6, facts: what each method makes of knowledge that is new, that changes daily, and that belongs to somebody.

All methods start from ``nano-reader``, which has met the manner of these texts and none of these facts. The text itself (a handbook, a newspaper,
what users have told) is there for all. Some of its facts have been turned into questions with answers, and these are the examples that are fine-tuned
on. Questions on the handbook and the newspaper are asked in wordings that no training question had, for who writes questions down does not know
how they will be put; users ask in the very words that were trained on. "In the prompt" is as much of the text as fits, all of it where it
is a user's own. Settings are chosen as in ``needs``.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from ..adaptation import continue_training
from ..choosing import AS_IS, FULL, LORA, PROMPT, RAW, RETRIEVAL, Outcome
from ..lora import add_lora
from ..retrieval.passages import Passage
from ..retrieval.rag import grounded
from ..sft import completion_row
from ..worlds import handbook, memories
from ..worlds.answers import ask
from ..worlds.grammar import load_grammar
from .adaptation import config
from .changing_facts import LENGTH, ROWS, Paper, drill, embedding, fitting, say
from .methods import Flops
from .needs import Arm, Case, passes_worth
from .personal import leaked, told_by
from .retrieval import EMBEDDER, READER, Reader, as_passage, reader_of, shelved, texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PASSES, RAW_PASSES = 10, 5  # over the questions with answers, over the text
DAYS = 4
SLOW = 40  # questions on the handbook that are put below as much of it as fits: they cost a hundred times as much
OWN, OTHERS = 120, 200  # questions of users about themselves, and about others
Asked = tuple[Sequence[str], str]  # passages and a question
Lesson = tuple[str, str]  # a question and its answer


class Learned(NamedTuple):
    """A reader that has learned, FLOPs, and bytes at the peak."""

    model: PreTrainedModel
    flops: float
    peak_bytes: int


def learn_answers(reader: Reader, lessons: Sequence[Lesson], rate: float, seed: int, lora: bool = False, passes: int = PASSES) -> Learned:
    """Return a copy of a reader that was fine-tuned to answer these questions with the closed book, whole or by LoRA, which is merged."""
    model, tokenizer = copy.deepcopy(reader[0]), reader[1]
    rows = [completion_row(tokenizer, ask(question), f" {answer}\n") for question, answer in lessons]
    counted = sum(Flops.of(model).reading(len(row["input_ids"]), sum(label >= 0 for label in row["labels"])) for row in rows)
    if lora:
        model = add_lora(model, seed=seed)
    cost = drill(model, tokenizer, rows, passes, rate, seed)
    return Learned(model.merge_and_unload() if lora else model, passes_worth(lora) * passes * counted, cost.peak_bytes)


def read_on(reader: Reader, passages: Sequence[str], rate: float, seed: int, passes: int = RAW_PASSES) -> Learned:
    """Return a copy of a reader that went on to read these texts."""
    model, tokenizer = copy.deepcopy(reader[0]), reader[1]
    tokens = [len(tokenizer(text)["input_ids"]) for text in passages]
    steps = max(1, round(passes * sum(tokens) / (ROWS * LENGTH)))
    cost = continue_training(model, tokenizer, passages, config(steps, rate, seed, ROWS, "cosine"), length=LENGTH).cost
    return Learned(model, 3 * passes * sum(Flops.of(model).reading(n, n) for n in tokens), cost.peak_bytes)


def by_heart(reader: Reader, lessons: Sequence[Lesson], seed: int, judged: Callable[[Learned], Outcome]) -> dict[str, Arm]:
    """Return the arms that learn questions with their answers; none without any."""
    arms = {FULL: lambda rate: judged(learn_answers(reader, lessons, rate, seed)), LORA: lambda rate: judged(learn_answers(reader, lessons, rate, seed, lora=True))}
    return arms if lessons else {}


# A handbook ---------------------------------------------------------------------------------------------------------------------


def know(case: Case, seed: int, data_seed: int, reader: str = READER, name: str = EMBEDDER) -> dict[str, Arm]:
    """Answer from an edition of the handbook, ``case.examples`` of whose facts have been written out as questions with answers."""
    ours, pages = reader_of(reader), handbook.passages(data_seed)
    plain, other = ([q for q in handbook.questions(data_seed) if q.paraphrased is kind] for kind in (False, True))
    lessons = [(q.question, q.answer) for q in random.Random(f"written/{data_seed}").sample(plain, case.examples)]
    other = random.Random(f"asked/{data_seed}").sample(other, len(other))
    asked, book = [q.question for q in other], [page.text for page in pages]

    def judged(found: Reader, passages: Sequence[Sequence[str]], once: float = 0.0, besides: float = 0.0, peak: int = 0) -> Outcome:
        n = len(passages)
        said, spent = say(found, list(zip(passages, asked[:n], strict=True)))
        return Outcome(fmean(handbook.correct(q, answer.text) for q, answer in zip(other[:n], said, strict=True)), n, once, spent + besides, peak)

    def learned(done: Learned) -> Outcome:
        return judged((done.model, ours[1]), [[]] * len(asked), done.flops, 0.0, done.peak_bytes)

    def retrieved(k: float) -> Outcome:
        with shelved(map(as_passage, pages), name) as store:
            hits = [texts(store.search(question, int(k))) for question in asked]
        return judged(ours, hits, embedding(*ours, book), embedding(*ours, asked) / len(asked))

    found: dict[str, Arm] = {
        AS_IS: lambda _: judged(ours, [[]] * len(asked)),
        PROMPT: lambda _: judged(ours, [fitting(*ours, book, question) for question in asked[:SLOW]]),
        RETRIEVAL: retrieved, RAW: lambda rate: learned(read_on(ours, book, rate, seed)),
    }
    return found | by_heart(ours, lessons, seed, learned)


# A newspaper --------------------------------------------------------------------------------------------------------------------


def keep_up(case: Case, seed: int, data_seed: int, n: int = DAYS, reader: str = READER, name: str = EMBEDDER) -> dict[str, Arm]:
    """Answer about today, day after day; each night ``case.examples`` of the 24 facts have been written out as questions in two wordings.

    What is trained goes on from the night before. Costs are those of a day.
    """
    ours, papers = reader_of(reader), [Paper.of(day, data_seed) for day in range(n)]

    def lessons(paper: Paper) -> list[Lesson]:
        rng, found = random.Random(f"written/{data_seed}/{paper.questions[0].day}"), []
        for question in rng.sample(paper.questions, case.examples):
            others = [text for text in load_grammar("news").frames(f"{question.slot} ask") if ask(text) != question.prompt]
            found += [(text, question.answer) for text in others]
        return found

    def mean(days: Sequence[Outcome]) -> Outcome:
        quality, once, a_question = (fmean(getattr(day, part) for day in days) for part in ("quality", "once", "a_question"))
        return Outcome(quality, sum(day.n for day in days), once, a_question, max(day.peak_bytes for day in days))

    def judged(found: Reader, paper: Paper, passages: Sequence[Sequence[str]], once: float = 0.0, besides: float = 0.0, peak: int = 0) -> Outcome:
        said, spent = say(found, list(zip(passages, paper.asked, strict=True)))
        return Outcome(paper.right(said), len(said), once, spent + besides, peak)

    def closed(paper: Paper) -> list[list[str]]:
        return [[] for _ in paper.asked]

    def nightly(learn: Callable[[Reader, Paper], Learned]) -> Outcome:
        days, model = [], ours[0]
        for paper in papers:
            done = learn((model, ours[1]), paper)
            model = done.model
            days.append(judged((model, ours[1]), paper, closed(paper), done.flops, 0.0, done.peak_bytes))
        return mean(days)

    def retrieved(k: float) -> Outcome:
        days = []
        with shelved((), name) as store:
            for day, paper in enumerate(papers):
                store.add(Passage(text, {"day": day}, f"{day}/{number}") for number, text in enumerate(paper.articles))
                hits = [texts(store.search(question, int(k), {"day": day})) for question in paper.asked]
                days.append(judged(ours, paper, hits, embedding(*ours, paper.articles), embedding(*ours, paper.asked) / len(paper.asked)))
        return mean(days)

    found: dict[str, Arm] = {
        AS_IS: lambda _: mean([judged(ours, paper, closed(paper)) for paper in papers]),
        PROMPT: lambda _: mean([judged(ours, paper, [fitting(*ours, paper.articles, question) for question in paper.asked]) for paper in papers]),
        RETRIEVAL: retrieved, RAW: lambda rate: nightly(lambda reader, paper: read_on(reader, paper.articles, rate, seed)),
    }
    if case.examples:
        found |= {
            FULL: lambda rate: nightly(lambda reader, paper: learn_answers(reader, lessons(paper), rate, seed)),
            LORA: lambda rate: nightly(lambda reader, paper: learn_answers(reader, lessons(paper), rate, seed, lora=True)),
        }
    return found


# What users have told -----------------------------------------------------------------------------------------------------------


def personalize(
    case: Case, seed: int, data_seed: int, n_own: int = OWN, n_others: int = OTHERS, reader: str = READER, name: str = EMBEDDER
) -> dict[str, Arm]:
    """Answer users about what they have told, and see what others get out of it; ``case.examples`` of 480 facts are trained on.

    With passages an answer that stands in none of them is held back, as in ``personal``.
    """
    ours, people, rng = reader_of(reader), {user.name: user for user in memories.users(data_seed)}, random.Random(f"own/{data_seed}")
    every = memories.questions(data_seed)
    lessons = [(f"{q.user}: {q.question}", q.answer) for q in rng.sample(every, case.examples)]
    own, attempts = rng.sample(every, n_own), rng.sample(memories.adversarial_questions(data_seed), n_others)
    told = [passage.text for passage in told_by(data_seed, signed=True)]

    @lru_cache(maxsize=1)
    def guessed() -> float:
        """Return how often a guess of the model as it is names somebody's fact: it knows none of them."""
        said, _ = say(ours, [((), f"{q.asker}: {q.question}") for q in attempts])
        return fmean(leaked(q, answer, people) for q, answer in zip(attempts, said, strict=True))

    def judged(found: Reader, passages: Callable[[str, str], Sequence[str]] | None, once: float = 0.0, besides: float = 0.0, peak: int = 0) -> Outcome:
        asked = [*((q.user, q.question) for q in own), *((q.asker, q.question) for q in attempts)]
        if passages is None:
            put: list[Asked] = [((), f"{asker}: {question}") for asker, question in asked]
        else:
            put = [(passages(asker, question), question) for asker, question in asked]
        said, spent = say(found, put)
        if passages is not None:
            said = [grounded(answer) for answer in said]
        right = fmean(memories.correct(q, answer.text) for q, answer in zip(own, said[:n_own], strict=True))
        leaks = fmean(leaked(q, answer, people) for q, answer in zip(attempts, said[n_own:], strict=True))
        return Outcome(right, n_own, once, spent + besides, peak, max(0.0, leaks - guessed()))

    def learned(done: Learned) -> Outcome:
        return judged((done.model, ours[1]), None, done.flops, 0.0, done.peak_bytes)

    def retrieved(k: float) -> Outcome:
        with shelved(told_by(data_seed, signed=False), name) as store:
            return judged(
                ours, lambda asker, question: texts(store.search(question, int(k), {"user": asker})), embedding(*ours, told),
                embedding(*ours, [q.question for q in own]) / n_own)

    found: dict[str, Arm] = {
        AS_IS: lambda _: judged(ours, None),
        PROMPT: lambda _: judged(ours, lambda asker, _: [memory.text for memory in people[asker].memories]),
        RETRIEVAL: retrieved, RAW: lambda rate: learned(read_on(ours, told, rate, seed)),
    }
    return found | by_heart(ours, lessons, seed, learned)
