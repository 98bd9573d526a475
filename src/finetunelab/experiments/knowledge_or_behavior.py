"""Chapter 3, each for its own job: the clinic's facts taught by raw text or by questions with answers, and whether raw text saves behavior labels.

Facts are asked for in two ways, as the cloze sentence that a text would go on with, and as a question in a chat. Nobody is asked in a wording
in which it was taught: each fact has three wordings, two for the questions, and the third is what SFT shows. Both ways of teaching get
the tokens, rows and learning rate of C1. The behavior is that of C5, its settings too.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ..adaptation import amount_to_reach
from ..models import load_model, load_tokenizer
from ..sft import Conversation, following, reply
from ..skills import written
from ..worlds.clinic import Cloze, cloze, correct, lessons
from . import Claim, Measurement, knowledge, measures, seed_of_data
from .behavior import PER_STEP, instructions, teach
from .knowledge import BASE, DOCUMENTS, reader

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LABELS = (1_200, 2_400, 4_800, 9_600)  # instructions with answers
REACHED = 0.8  # of what the base follows after the most of them


def as_chat(question: Cloze) -> Conversation:
    """Return a question and its answer as a conversation."""
    return [{"role": "user", "content": question.prompt}, {"role": "assistant", "content": f"{question.answer}."}]


def answered(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Cloze]) -> float:
    """Return the share of questions that the model, asked in a chat, answers rightly."""
    said = reply(model, tokenizer, [as_chat(question)[:1] for question in questions], tokens=12)
    return fmean(correct(question, answer) for question, answer in zip(questions, said, strict=True))


@measures(
    Claim(
        "C10.facts", "Facts are for raw text, or are questions with answers as good?", metric="facts given in a new wording, in the way taught",
        unit="share", treatment="raw text, asked as text", control="SFT, asked in a chat", effect_kind="difference",
    ),
    Claim(
        "C10.labels", "Does raw text first save behavior labels?", metric="instructions until as many are followed", unit="ratio",
        treatment="raw text first", control="base", effect_kind="log_ratio", words=("more", "fewer", "as many"),
    ),
    id="C10", seeds=5,
)
def each_job(
    seed: int, data_seed: int, documents: int = DOCUMENTS, steps: int = knowledge.STEPS, labels: Sequence[int] = LABELS, n_test: int = 400,
    base: str = BASE,
) -> Measurement:
    """Teach facts both ways and ask in both; then behavior, from the base and from the reader of the raw text, with more and more labels.

    One more arm reads the raw text and then has half of the facts' questions by SFT: it is asked for the other half.
    """
    drawn, tokenizer, start = seed_of_data(seed, data_seed), load_tokenizer(base), load_model(base)
    well_read, _ = reader(seed, drawn, documents, steps, base)
    asked, rows = cloze(drawn), []
    taught = {lesson: as_chat(lesson) for lesson in lessons(drawn)}
    by_sft, _ = teach(start, tokenizer, list(taught.values()), steps, seed, rate=knowledge.RATE, rows=knowledge.ROWS)
    half = set(list(dict.fromkeys(lesson.entity for lesson in taught))[::2])
    shown = [chat for lesson, chat in taught.items() if lesson.entity in half]
    both, _ = teach(well_read, tokenizer, shown, max(2, steps // 8), seed, rows=knowledge.ROWS)
    others = [question for question in asked if question.entity not in half]
    for arm, model, questions in (("raw text", well_read, asked), ("SFT", by_sft, asked), ("raw text, then SFT on others", both, others)):
        rows += [
            {"part": "facts", "arm": f"{arm}, asked as text", "right": written(model, tokenizer, questions, correct)},
            {"part": "facts", "arm": f"{arm}, asked in a chat", "right": answered(model, tokenizer, questions)},
        ]
    facts = {row["arm"]: row["right"] for row in rows}

    tests, curves = instructions(n_test, "test", drawn), {}
    for arm, model in (("base", start), ("raw text first", well_read)):
        data, scores = [row["messages"] for row in instructions(max(labels), "train", drawn)], []
        for n in labels:
            tuned, _ = teach(model, tokenizer, data[:n], max(2, n // PER_STEP), seed)
            scores.append(fmean(following(tuned, tokenizer, tests)))
            rows.append({"part": "labels", "arm": arm, "labels": n, "followed": scores[-1]})
        curves[arm] = scores
    needed = {arm: amount_to_reach(labels, scores, REACHED * curves["base"][-1]).amount for arm, scores in curves.items()}
    return Measurement({"C10.facts": facts, "C10.labels": needed}, rows)
