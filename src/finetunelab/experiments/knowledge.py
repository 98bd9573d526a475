"""Chapter 3: what raw text teaches. The base goes on reading, texts of a clinic whose every drug and disease is invented.

The facts are drawn by the data seed. A cloze question counts as answered when the right answer is likelier than its four distractors,
words of the same type, so that chance is a fifth; what greedy decoding writes is in the rows. No document uses the wording of a question.
Rows of a step, number of steps and learning rate are the best of ``sweep_clinic``, on the facts of a data seed below 1,000, which no
reported seed draws. The fewest steps in C2 are the best of ``sweep_least`` by perplexity: so few documents leave recall at chance, however
often they are read. ``book/evidence/C1-rates.csv`` and ``C2-rates.csv`` hold what was measured.

C4 asks the same models to follow instructions. The new language has a module of its own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .. import worlds
from ..adaptation import continue_training
from ..cost import Cost
from ..models import load_model, load_tokenizer
from ..sft import chat_prompts
from ..skills import generate, perplexity, recall, written
from ..worlds.clinic import DISTRACTORS, Cloze, cloze, correct, facts
from ..worlds.instructions import follows
from . import Claim, Measurement, measures, seed_of_data
from .adaptation import SWEEP_SEED, config
from .behavior import instructions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE = "nano"
DOCUMENTS = 2_048
ROWS, STEPS, RATE = 2, 800, 3e-3
LENGTH = 256  # the longest document has fewer tokens than a row
# Rows of a step, steps, learning rate: rows at equal tokens, then steps, then rates.
SWEEP = ((8, 200, 3e-3), (4, 400, 3e-3), (2, 800, 3e-3), (1, 1600, 3e-3), (2, 400, 3e-3), (2, 1600, 3e-3), (2, 800, 1e-3), (2, 800, 1e-2))
PARTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the documents
LEAST_STEPS = 1 / 8  # of the steps, however few the documents
LEAST_SWEEP = (1 / 16, 1 / 8, 1 / 4)

FORMATS = ("chat", "plain", "few-shot")
SHOTS = 6
ANSWER_TOKENS = 40


def clinic_texts(n: int, split: str, data_seed: int) -> list[str]:
    """Draw ``n`` texts of the clinic."""
    return [row["text"] for row in worlds.generator("clinic").rows(n, split, data_seed)]


def steps_for(part: float, steps: int = STEPS, least: float = LEAST_STEPS) -> int:
    """Return the steps on a part of the documents: as many passes as over all of them, but no fewer steps than ``least`` of all."""
    return round(steps * max(part, least))


@lru_cache(maxsize=64)
def reader(
    seed: int, data_seed: int, documents: int = DOCUMENTS, steps: int = STEPS, base: str = BASE, rate: float = RATE, rows: int = ROWS
) -> tuple[PreTrainedModel, Cost]:
    """Return the base after it has read the clinic's documents, with what that cost.

    C1, C2 and C4 measure the same models, so they are kept: copy one before training it further.
    """
    model = load_model(base)
    texts = clinic_texts(documents, "train", data_seed)
    return model, continue_training(model, load_tokenizer(base), texts, config(steps, rate, seed, rows, "cosine"), length=LENGTH).cost


def as_worded(texts: Sequence[str], data_seed: int) -> list[Cloze]:
    """Return questions in the clinic's own wordings: sentences of its texts that name an entity, cut before what they state of it."""
    known, rng, questions = facts(data_seed), random.Random(data_seed), []
    pools = {fact.relation: sorted({other.answer for other in known if other.relation == fact.relation}) for fact in known}
    for sentence in (sentence for text in texts for sentence in re.split(r"(?<=[.!?]) ", text)):
        for fact in known:
            start = sentence.find(f" {fact.answer}")
            if start > 0 and fact.entity in sentence[:start].lower():
                wrong = [answer for answer in pools[fact.relation] if answer != fact.answer]
                questions.append(Cloze(sentence[:start], fact.answer, tuple(rng.sample(wrong, DISTRACTORS)), fact.relation, fact.entity))
    return questions


def knowledge(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], data_seed: int
) -> dict[str, float]:
    """Return what a model knows of the clinic: perplexity on held-out texts, recall by choice, what greedy decoding writes.

    "as worded" is recall too, of questions in the wordings of the documents: facts that are known there may still not be found elsewhere.
    """
    questions = cloze(data_seed)
    return {
        "perplexity": perplexity(model, tokenizer, texts),
        "recall": recall(model, tokenizer, questions),
        "as worded": recall(model, tokenizer, as_worded(texts, data_seed)),
        "written": written(model, tokenizer, questions, correct),
    }


def sweep_clinic(
    tried: Sequence[tuple[int, int, float]] = SWEEP, documents: int = DOCUMENTS, n: int = 200, base: str = BASE
) -> list[dict[str, Any]]:
    """Return perplexity on validation texts, and recall of the sweep's own facts, for each choice of rows, steps and learning rate."""
    texts, found = clinic_texts(n, "validation", SWEEP_SEED), []
    for rows, steps, rate in tried:
        model, _ = reader(0, SWEEP_SEED, documents, steps, base, rate, rows)
        known = knowledge(model, load_tokenizer(base), texts, SWEEP_SEED)
        found.append({"seed": SWEEP_SEED, "rows": rows, "steps": steps, "rate": rate} | known)
    return found


def sweep_least(
    leasts: Sequence[float] = LEAST_SWEEP, steps: int = STEPS, documents: int = DOCUMENTS, base: str = BASE
) -> list[dict[str, Any]]:
    """Return perplexity and recall after the smallest part of the documents, for several numbers of steps on them."""
    part, tokenizer = PARTS[0], load_tokenizer(base)
    texts, rows = clinic_texts(200, "validation", SWEEP_SEED), []
    for least in leasts:
        model, cost = reader(0, SWEEP_SEED, round(documents * part), steps_for(part, steps, least), base)
        rows.append({"seed": SWEEP_SEED, "least": least, "steps": cost.steps} | knowledge(model, tokenizer, texts, SWEEP_SEED))
    return rows


@measures(
    Claim(
        "C1.perplexity", "Raw text alone teaches a domain", metric="perplexity on held-out clinic texts", unit="ratio", treatment="after",
        control="before", effect_kind="log_ratio", op="<=", threshold=0.5,
    ),
    Claim(
        "C1.recall", "Raw text alone teaches facts", metric="questions answered rightly, of five options", unit="share", treatment="after",
        control=None, effect_kind="value", op=">=", threshold=0.60,
    ),
    Claim(
        "C1.gain", "Raw text alone teaches facts", metric="questions answered rightly, of five options", unit="share", treatment="after",
        control="before", effect_kind="difference", op=">=", threshold=0.40,
    ),
    id="C1", seeds=5,
)
def raw_text(
    seed: int, data_seed: int, documents: int = DOCUMENTS, steps: int = STEPS, n_test: int = 200, base: str = BASE
) -> Measurement:
    """Train the base on the clinic's raw text; perplexity and recall before and after."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    texts, rows = clinic_texts(n_test, "test", drawn), []
    after, cost = reader(seed, drawn, documents, steps, base)
    for arm, model, spent in (("before", load_model(base), Cost()), ("after", after, cost)):
        rows.append({"arm": arm, "steps": spent.steps, "tokens": spent.tokens} | knowledge(model, tokenizer, texts, drawn))
    known = {row["arm"]: row["recall"] for row in rows}
    return Measurement({"C1.perplexity": {row["arm"]: row["perplexity"] for row in rows}, "C1.recall": known, "C1.gain": known}, rows)


def name_of(part: float) -> str:
    """Return a part of the documents as a fraction: 1/32, ..., 1."""
    return "1" if part == 1 else f"1/{round(1 / part)}"


@measures(
    Claim(
        "C2", "More raw text teaches more facts", metric="questions answered rightly, of five options", unit="share", treatment="1",
        control="1/32", effect_kind="difference", op=">=", threshold=0.20, trend=tuple(map(name_of, PARTS)),
    ),
    id="C2", seeds=5,
)
def more_text(
    seed: int, data_seed: int, parts: Sequence[float] = PARTS, documents: int = DOCUMENTS, steps: int = STEPS, n_test: int = 200,
    base: str = BASE,
) -> Measurement:
    """Train the base on more and more of the documents, a smaller part being among a larger; perplexity and recall after each."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    texts, rows = clinic_texts(n_test, "test", drawn), []
    for part in parts:
        n = round(documents * part)
        model, cost = reader(seed, drawn, n, steps_for(part, steps), base)
        rows.append({"part": name_of(part), "documents": n, "steps": cost.steps} | knowledge(model, tokenizer, texts, drawn))
    return Measurement({"C2": {row["part"]: row["recall"] for row in rows}}, rows)


# Behavior ---------------------------------------------------------------------------------------------------------------------


def prompts_for(form: str, rows: Sequence[dict], tokenizer: PreTrainedTokenizerBase, data_seed: int, shots: int = SHOTS) -> list[str]:
    """Return the prompts that put instructions to a model: in the chat template, as a dialogue, or below ``shots`` such dialogues.

    The demonstrations are training instructions with their answers, others for every prompt.
    """
    if form == "chat":
        return chat_prompts(tokenizer, [row["messages"][:1] for row in rows])
    lines = [f"User: {row['prompt']}\nAssistant:" for row in rows]
    if form == "plain":
        return lines
    shown = iter(row["text"] for row in instructions(shots * len(rows), "train", data_seed))
    return ["\n\n".join([*(next(shown) for _ in range(shots)), line]) for line in lines]


def followed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict], form: str, data_seed: int
) -> float:
    """Return the share of instructions that the model follows, greedy, by the oracle. Its response ends with the line."""
    answers = generate(model, tokenizer, prompts_for(form, rows, tokenizer, data_seed), tokens=ANSWER_TOKENS, stop="\n")
    return sum(follows(row, answer) for row, answer in zip(rows, answers, strict=True)) / len(rows)


@measures(
    Claim(
        "C4", "Raw text does not teach to follow instructions", metric="instructions followed, best of three prompt formats", unit="share",
        treatment="after", control="before", effect_kind="difference", op="<", threshold=0.05,
        note="The format is the best on validation instructions, chosen for each model.",
    ),
    id="C4", seeds=5,
)
def no_behavior(
    seed: int, data_seed: int, documents: int = DOCUMENTS, steps: int = STEPS, n_valid: int = 60, n_test: int = 120,
    forms: Sequence[str] = FORMATS, base: str = BASE,
) -> Measurement:
    """Put instructions to the models of C1, before and after the raw text, in each format; the claim takes the one chosen on validation."""
    drawn, tokenizer = seed_of_data(seed, data_seed), load_tokenizer(base)
    valid, test = instructions(n_valid, "validation", drawn), instructions(n_test, "test", drawn)
    rows, arms = [], {}
    for arm, model in (("before", load_model(base)), ("after", reader(seed, drawn, documents, steps, base)[0])):
        tried = {form: followed(model, tokenizer, valid, form, drawn) for form in forms}
        best = max(tried, key=tried.get)
        for form in forms:
            found = followed(model, tokenizer, test, form, drawn)
            rows.append({"arm": arm, "format": form, "chosen": int(form == best), "validation": tried[form], "followed": found})
            if form == best:
                arms[arm] = found
    return Measurement({"C4": arms}, rows)
