"""The recipe of ``nano-reader``: the base, taught to answer from passages, and to say when no passage has the answer.

The base reads invented notes (its model card), and of the handbook, the newspaper and the memories it reads nothing: it has never met their
words. So it is trained on other editions of them, whose facts are others: data seeds below 1,000, which no reported result draws. What it
learns is the manner of these texts and how to copy from them. That is how Zhang et al. 2024 (RAFT, arXiv:2403.10131) adapt a model to the kind
of documents that it will read, distracting passages among them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from . import worlds
from .assistant import SEED
from .cards import measured_table
from .corpus import stack
from .files import write_text
from .models import load_model, load_tokenizer, save_model
from .pretraining import measured, number_format
from .retrieval.rag import NOT_SAID, Answer, answers, prompt
from .sft import IGNORED, completion_loss, pack
from .stats import t_interval
from .training import TrainConfig, train
from .worlds import handbook, memories, news
from .worlds.answers import same

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAME, BASE = "nano-reader", "nano"
EDITIONS = range(1, 900)  # data seeds that are read in training
MOST = {"handbook": 4, "news": 4, "memories": 6}  # passages of a reading
SHARES = {"handbook": 0.4, "news": 0.35, "memories": 0.25}
QUESTIONS = 5  # of a reading, at most
MISSING, CAUTIOUS, CLOSED = 0.25, 0.5, 0.04  # shares: of questions that no passage answers, of readings that ask for caution, and without passages
LENGTH, ROWS = 512, 4  # tokens of a packed row, rows of a step
READINGS, RATE = 40_000, 2e-3
SHOWN = {"handbook": 3, "news": 3, "memories": 5}  # passages with each question of ``measure``


@dataclass(frozen=True)
class Document:
    """A text with the questions that it answers: by key of the fact, their wordings and the answer."""

    text: str
    facts: Mapping[str, tuple[Sequence[str], str]]


@dataclass(frozen=True)
class Asked:
    """A question and its answer, with the key of the fact, and the place of the passage that states it; None if none does."""

    question: str
    answer: str
    key: str
    place: int | None


@dataclass(frozen=True)
class Reading:
    """Passages, and questions on them."""

    shown: Sequence[Document]
    asked: Sequence[Asked]

    @property
    def passages(self) -> list[str]:
        """The texts."""
        return [document.text for document in self.shown]


# What is read -------------------------------------------------------------------------------------------------------------------


def handbook_pages(data_seed: int, rng: random.Random) -> list[Document]:
    """Return the handbook of an edition, with one to three facts a passage."""
    facts_per_passage, questions = rng.choice((1, 2, 2, 3)), {}
    for question in handbook.questions(data_seed, facts_per_passage):
        words, _ = questions.setdefault(question.passage_id, {}).setdefault(question.key, ([], question.answer))
        words.append(question.question)
    return [Document(passage.text, questions[passage.id]) for passage in handbook.passages(data_seed, facts_per_passage)]


def paper(data_seed: int, rng: random.Random) -> list[Document]:
    """Return the articles of one day."""
    day = rng.randrange(news.DAYS)
    questions = {question.slot: ([asked_in(question.prompt)], question.answer) for question in news.questions(day, data_seed)}
    return [Document(row["text"], {slot: questions[slot] for slot in row["slots"]}) for row in news.articles(day, data_seed)]


def told(data_seed: int, rng: random.Random) -> list[Document]:
    """Return what one user has told, in half of the readings signed."""
    user, signed = rng.choice(memories.users(data_seed)), rng.random() < 0.5
    questions = {question.key: ([question.question], question.answer) for question in memories.questions(data_seed) if question.user == user.name}
    return [Document(memory.signed if signed else memory.text, {memory.key: questions[memory.key]}) for memory in user.memories]


SHELVES: dict[str, Callable[[int, random.Random], list[Document]]] = {"handbook": handbook_pages, "news": paper, "memories": told}


def asked_in(text: str) -> str:
    """Return the question of a prompt of the worlds."""
    return text.removeprefix("Question: ").removesuffix(" Answer:")


def reading(documents: Sequence[Document], k: int, rng: random.Random, missing: float = MISSING) -> Reading:
    """Show k of the documents and ask of them; a question is with the chance ``missing`` about what only the others say."""
    shown = rng.sample(documents, k)
    said = {key: place for place in reversed(range(k)) for key in shown[place].facts}
    unsaid = {key: fact for document in documents for key, fact in document.facts.items() if key not in said}
    asked: list[Asked] = []
    while len(asked) < QUESTIONS and (said or unsaid):
        away = not said or bool(unsaid) and rng.random() < missing
        key = rng.choice(sorted(unsaid if away else said))
        place = None if away else said.pop(key)
        words, answer = unsaid.pop(key) if place is None else shown[place].facts[key]
        asked.append(Asked(rng.choice(words), answer, key, place))
    return Reading(shown, asked)


def readings(n: int, seed: int) -> Iterator[tuple[Reading, bool]]:
    """Yield readings of the kinds in ``SHARES``, each of an edition of its own drawing, and whether caution is asked for."""
    rng = random.Random(f"readings/{seed}")
    for _ in range(n):
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        k = 0 if rng.random() < CLOSED else rng.randint(1, MOST[kind])
        yield reading(SHELVES[kind](rng.choice(EDITIONS), rng), k, rng), k > 0 and rng.random() < CAUTIOUS


def row(tokenizer: PreTrainedTokenizerBase, read: Reading, cautious: bool) -> dict[str, list[int]]:
    """Return a reading as "input_ids" and "labels": its questions one after another, of which only the answers carry a label.

    What no passage says a reader is to guess, or to say so where caution is asked for.
    """
    ids: list[int] = []
    labels: list[int] = []
    for number, asked in enumerate(read.asked):
        text = prompt((), asked.question) if number else prompt(read.passages, asked.question, cautious)
        said = NOT_SAID if cautious and asked.place is None else asked.answer
        before = tokenizer(text, add_special_tokens=number == 0)["input_ids"]
        after = tokenizer(f" {said}\n", add_special_tokens=False)["input_ids"]
        ids += before + after
        labels += [IGNORED] * len(before) + after
    return {"input_ids": ids, "labels": labels}


# The recipe ---------------------------------------------------------------------------------------------------------------------


def build(out: Path, scale: float = 1.0, say: Callable[[str], None] = print) -> Path:
    """Train it and return the directory of the finished checkpoint; a build that was stopped goes on. ``scale`` shortens it (tests use it)."""
    directory = Path(out) / NAME
    if (directory / "config.json").exists():
        say(f"{directory} is finished; remove it to build it anew")
        return directory
    model, tokenizer, n = load_model(BASE), load_tokenizer(BASE), max(20, round(READINGS * scale))
    kept = [found for read in readings(n, SEED) if len((found := row(tokenizer, *read))["input_ids"]) <= LENGTH]
    rows = pack(kept, LENGTH, tokenizer.pad_token_id)
    steps = len(rows) // ROWS
    config = TrainConfig(
        steps=steps, batch_size=ROWS, learning_rate=RATE, warmup=steps // 10, schedule="cosine", seed=SEED, save_every=250, dtype=number_format(),
    )
    result = train(model, rows, config, collate=stack, loss=completion_loss, output=Path(out) / f"{NAME}-steps")
    made = {
        "base": BASE, "editions": [EDITIONS[0], EDITIONS[-1]], "seed": SEED, "readings": len(kept), "world_hash": worlds.frozen_hash(),
        "config": asdict(config), "length": LENGTH, "cost": asdict(result.cost),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "recipe.json", json.dumps(made, indent=1) + "\n")
    save_model(model.to(torch.bfloat16), tokenizer, directory)
    say(f"{NAME}: {result.cost.describe()}")
    return directory


def exam(kind: str, n: int, data_seed: int, k: int, missing: float = 0.0) -> list[Reading]:
    """Draw ``n`` readings of one edition with k passages and one question each."""
    rng, found = random.Random(f"exam/{kind}/{data_seed}"), []
    for _ in range(n):
        read = reading(SHELVES[kind](data_seed, rng), k, rng, missing)
        found.append(Reading(read.shown, read.asked[:1]))
    return found


def marked(read: Sequence[Reading], said: Sequence[Answer]) -> dict[str, float]:
    """Return the shares of right answers, of answers that stand in a passage which states the fact, and of abstentions."""
    first = [each.asked[0] for each in read]
    return {
        "right": fmean(same(asked.answer, answer.text) for asked, answer in zip(first, said, strict=True)),
        "source": fmean(
            answer.source is not None and asked.key in each.shown[answer.source - 1].facts
            for each, asked, answer in zip(read, first, said, strict=True)
        ),
        "abstains": fmean(answer.abstains for answer in said),
    }


def measure(directory: Path | str, data_seed: int, n: int) -> dict[str, float]:
    """Return for each kind of text the shares of right answers and right sources, of right ones where caution is asked for, of abstentions where
    no passage has the answer and caution is asked for, and of right answers with a closed book."""
    model, tokenizer, found = load_model(str(directory)), load_tokenizer(str(directory)), {}

    def shares(kind: str, k: int, missing: float, cautious: bool) -> dict[str, float]:
        read = exam(kind, n, data_seed, k, missing)
        return marked(read, answers(model, tokenizer, [(each.passages, each.asked[0].question) for each in read], cautious))

    for kind, k in SHOWN.items():
        plainly, careful = (shares(kind, k, 0.0, cautious) for cautious in (False, True))
        found |= {
            f"{kind}/right": plainly["right"], f"{kind}/source": plainly["source"], f"{kind}/careful": careful["right"],
            f"{kind}/abstains": shares(kind, k, 1.0, True)["abstains"], f"{kind}/closed": shares(kind, 0, 1.0, False)["right"],
        }
    return found


def ship(directory: Path, n: int = 100, say: Callable[[str], None] = print) -> Path:
    """Measure a finished one on ``DRAWS``, write its card, and put it into the package; return where it lies there."""
    return measured(directory, measure, card, n, say)


def card(directory: Path) -> str:
    """Return the model card from ``recipe.json`` and ``report.json``."""
    made, report = (json.loads((directory / f"{name}.json").read_text()) for name in ("recipe", "report"))
    config, found = made["config"], {key: t_interval(values) for key, values in report["measured"].items()}
    names = {
        "right": "answered rightly, {k} passages", "source": "... stands in a passage that states the fact",
        "careful": "answered rightly, caution asked for", "abstains": "says so, caution asked for, where none of {k} passages has the answer",
        "closed": "answered rightly without passages",
    }
    rows = [(f"{kind}: {name.format(k=k)}", found[f"{kind}/{key}"]) for kind, k in SHOWN.items() for key, name in names.items()]
    return "\n".join([
        "---", "license: mit", "language: en", "pipeline_tag: text-generation", "---", "",
        f"# {NAME}", "",
        f"`{made['base']}`, taught to answer questions from passages, and to say when none has the answer. "
        "Chapter 5 puts it behind a search.", "",
        "## Recipe", "",
        f"Rebuild it with `finetunelab base build --size reader --out runs/models`. World hash `{made['world_hash']}`, seed {made['seed']}. "
        f"{made['readings']:,} readings of handbooks, newspapers, and memories from the editions {made['editions'][0]} to {made['editions'][1]} (data seeds); "
        f"no reported result draws one of these. {config['steps']:,} steps of {config['batch_size']} rows of {made['length']} tokens, "
        f"learning rate {config['learning_rate']:g}, {config['schedule']} schedule. {made['cost']['flops'] / 1e12:.0f} TFLOP. The weights are stored in bfloat16.", "",
        "## Measured", "",
        f"On {report['asked']} questions of each kind; mean and 95 % interval over the data seeds {', '.join(map(str, report['data_seeds']))}. The passages are "
        "the one that has the answer and others of the same book, day, or user, in random order.", "",
        *measured_table("measure", "share", rows),
        "## Limits", "",
        "It has met the wording of these three kinds of text, in other editions, and can read nothing else. Stale, contradicting, or "
        "manipulated passages were not part of its training: chapter 5 measures what they do to it.", "",
    ])
