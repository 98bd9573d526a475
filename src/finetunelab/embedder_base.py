"""The recipe of ``nano-embedder``, which finds passages of the offline world: the lower layers of the base, trained to match questions with passages.

It learns in two stages. "other texts" are pairs from the worlds that the base has read: notes, entries, letters. "other editions" are handbooks,
newspapers and memories: the kinds of documents that the labs search, of data seeds that no reported result draws. Their facts are others, their
sentence frames and their questions are the same. What the first stage gives alone is measured and kept, so that the card can show both.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

from . import worlds
from .assistant import SEED
from .embedding import TEMPERATURE, Pair, fit, recall_at
from .encoders import NANO, Encoder, load_encoder
from .files import write_text
from .models import count_parameters, load_tokenizer, loading, resolve, save_model
from .pretraining import DRAWS, measured, number_format
from .profiles import device_and_dtype
from .reading import asked_in
from .stats import t_interval
from .training import TrainConfig
from .worlds import encyclopedia, handbook, memories, news

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = NANO
BASE, LAYERS = "nano", 4  # of the base's six: what is above them serves the next token
BATCH = 32  # pairs, at most
EDITIONS = 900  # data seeds below this one are trained on; those up to 999 are for choosing
DAYS_OR_USERS = 10  # of the news and the memories of a data seed that are measured

Batch = list[Pair]
Maker = Callable[[random.Random, int], Batch]
Seek = Callable[[Sequence[str], Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Turns questions and passages into vectors of unit length, one a row."""


# Pairs of other texts -----------------------------------------------------------------------------------------------------------


def _same(question: str, passage: str, about: str) -> Pair:
    return Pair(question, passage, about, frozenset([about]))


def _notes(rng: random.Random, data_seed: int) -> Batch:
    """Notes, and the question that stands below them."""
    parts = [re.split(r"\n+(?:Question|Q): ", row["prompt"]) for row in worlds.generator("notes").rows(BATCH, "train", data_seed, questions=1)]
    return [_same(question, passage, question) for passage, asked in parts for question in re.split(r"\s(?:Answer|A):", asked)[:1]]


def _entries(rng: random.Random, data_seed: int) -> Batch:
    """Entries of the encyclopedia, and a sentence that lacks one of their facts."""
    prompts = defaultdict(list)
    for cloze in encyclopedia.cloze():
        prompts[f"{cloze.entity}: {cloze.relation}"].append(cloze.prompt)
    found = []
    for row in worlds.generator("encyclopedia").rows(BATCH, "train", data_seed):
        states = [f"{fact['entity']}: {fact['relation']}" for fact in row["facts"]]
        asks = rng.choice(states)
        found.append(Pair(rng.choice(prompts[asks]), row["text"], asks, frozenset(states)))
    return found


def _advice(rng: random.Random, data_seed: int) -> Batch:
    """Responses to requests for advice; any response on its subject would do."""
    rows = worlds.generator("responses").rows(BATCH, "train", data_seed, quality="good")
    return [_same(row["prompt"], row["response"], row["topic"]) for row in rows]


def _taken_out(world: str) -> Maker:
    """Return what takes a sentence out of each text: it is the question, and the rest the passage (Lee et al. 2019, arXiv:1906.00300, section 4)."""

    def draw(rng: random.Random, data_seed: int) -> Batch:
        found = []
        for row in worlds.generator(world).rows(BATCH, "train", data_seed):
            said = re.split(r"(?<=[.!?])\s+", row["text"])
            taken = said.pop(rng.randrange(len(said)))
            if said:
                found.append(_same(taken, " ".join(said), taken))
        return found

    return draw


# Pairs of other editions --------------------------------------------------------------------------------------------------------


def _handbook(rng: random.Random, data_seed: int) -> Batch:
    """Passages of one book, each with a question on one of its facts."""
    asked = defaultdict(list)
    for question in handbook.questions(data_seed):
        asked[question.passage_id].append(question)
    found = []
    for passage in rng.sample(handbook.passages(data_seed), BATCH):
        question = rng.choice(asked[passage.id])
        found.append(Pair(question.question, passage.text, question.key, frozenset(fact.key for fact in passage.facts)))
    return found


def _news(rng: random.Random, data_seed: int) -> Batch:
    """The paper of a day: an article of each slot, and a question about it."""
    day = rng.randrange(news.DAYS)
    asked = {question.slot: asked_in(question.prompt) for question in news.questions(day, data_seed)}
    return [Pair(asked[row["slots"][0]], row["text"], row["slots"][0], frozenset(row["slots"])) for row in news.articles(day, data_seed)]


def _memories(rng: random.Random, data_seed: int) -> Batch:
    """Memories of a few users, asked for by their owners. Whose they are is not said, so a memory of another user answers as well."""
    told = [memory for user in rng.sample(memories.users(data_seed), 3) for memory in user.memories]
    asked = {(question.user, question.key): question.question for question in memories.questions(data_seed)}
    return [_same(asked[memory.user, memory.key], memory.text, memory.key) for memory in rng.sample(told, BATCH)]


def _signed(rng: random.Random, data_seed: int) -> Batch:
    """Memories of all users on a few subjects, each signed with its owner's name, which the question gives too."""
    subjects = rng.sample(memories.subjects(), 6)
    told = [memory for user in memories.users(data_seed) for memory in user.memories if memory.key in subjects]
    own = {(question.user, question.key): signed(question) for question in memories.questions(data_seed)}
    others = {(asked.owner, asked.key): asked.question for asked in memories.adversarial_questions(data_seed) if asked.kind == "direct"}
    chosen = rng.sample(told, min(BATCH, len(told)))
    return [_same(rng.choice((own, others))[memory.user, memory.key], memory.signed, f"{memory.user}: {memory.key}") for memory in chosen]


def signed(question: memories.Question) -> str:
    """Return a question with its user's name before it, as ``Memory.signed`` writes a memory."""
    return f"{question.user}: {question.question}"


# The stages ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One stage: how many batches, one a step, and which share of them each kind of pairs has."""

    steps: int
    rate: float
    shares: Mapping[str, float]


MAKERS: dict[str, Maker] = {
    "notes": _notes, "encyclopedia": _entries, "responses": _advice,
    **{world: _taken_out(world) for world in ("mail", "reviews", "vignettes", "french_recipes")},
    "handbook": _handbook, "news": _news, "memories": _memories, "signed memories": _signed,
}
STAGES = {
    "other texts": Stage(
        500, 1e-3,
        {"notes": 0.35, "encyclopedia": 0.2, "responses": 0.1, "mail": 0.1, "reviews": 0.1, "vignettes": 0.1, "french_recipes": 0.05},
    ),
    "other editions": Stage(300, 1e-3, {"handbook": 0.5, "news": 0.2, "memories": 0.15, "signed memories": 0.15}),
}


def drawn(shares: Mapping[str, float], n: int, seed: int) -> list[Batch]:
    """Draw ``n`` batches of pairs, each of one kind and of one data seed below ``EDITIONS``."""
    rng = random.Random(f"batches/{seed}")
    kinds = rng.choices(list(shares), list(shares.values()), k=n)
    return [MAKERS[kind](rng, rng.randrange(EDITIONS)) for kind in kinds]


def trunk() -> PreTrainedModel:
    """Return the lower layers of the base, as they are, in evaluation mode."""
    from transformers import AutoModel

    with loading("base", BASE):
        model = AutoModel.from_pretrained(resolve(BASE), dtype=torch.float32, num_hidden_layers=LAYERS, use_safetensors=True)
    return model.to(device_and_dtype().device).eval()


def build(out: Path, scale: float = 1.0, say: Callable[[str], None] = print) -> Path:
    """Train it and return the directory of the finished checkpoint. ``scale`` shortens the training (tests use it)."""
    directory = Path(out) / NAME
    if (directory / "config.json").exists():
        say(f"{directory} is finished; remove it to build it anew")
        return directory
    tokenizer, model = load_tokenizer(BASE), trunk()
    model.set_attn_implementation("eager")  # the quicker one for rows this short
    made = {
        "base": BASE, "layers": LAYERS, "parameters": count_parameters(model), "data_seeds": [0, EDITIONS - 1], "seed": SEED,
        "world_hash": worlds.frozen_hash(), "batch": BATCH, "temperature": TEMPERATURE, "stages": {},
    }
    for name, stage in STAGES.items():
        steps = max(2, round(stage.steps * scale))
        config = TrainConfig(
            steps=steps, batch_size=1, learning_rate=stage.rate, warmup=steps // 10, schedule="cosine", seed=SEED, dtype=number_format(),
        )
        result = fit(model, tokenizer, drawn(stage.shares, steps, SEED), config)
        made["stages"][name] = asdict(stage) | {"config": asdict(config), "cost": asdict(result.cost)}
        say(f"{name}: {result.cost.describe()}")
        if name == "other texts":
            draws = [found(seek(Encoder(model, tokenizer)), seed, max(1, round(DAYS_OR_USERS * scale))) for seed in DRAWS]
            made["other texts alone"] = {key: round(fmean(draw[key] for draw in draws), 4) for key in draws[0]}
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "recipe.json", json.dumps(made, indent=1) + "\n")
    save_model(model.to(torch.bfloat16), load_tokenizer(BASE), directory)  # loaded anew: the one in use remembers where it cut texts
    return directory


# Measuring ----------------------------------------------------------------------------------------------------------------------


def seek(encoder: Encoder) -> Seek:
    """Return what looks for passages with an encoder."""
    return lambda questions, passages: (encoder.embed(questions), encoder.embed(passages))


def seek_words(questions: Sequence[str], passages: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of the words that texts have in common with the passages, the rare ones weighing more (TF-IDF)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(sublinear_tf=True).fit(passages)
    return counted.transform(questions).toarray(), counted.transform(passages).toarray()


def searches(data_seed: int, n: int) -> dict[str, list[tuple[list[str], list[str], np.ndarray]]]:
    """Return what is looked for, by name: questions, passages, and a table of which passage answers which question.

    The whole handbook by both kinds of questions, the news of ``n`` days, the memories of ``n`` users, and their signed ones among all users'.
    """
    asked, book, of_all = handbook.questions(data_seed), handbook.passages(data_seed), memories.users(data_seed)
    plain, other_words = ([question for question in asked if question.paraphrased is way] for way in (False, True))
    made = {
        f"handbook, {name}": [(
            [question.question for question in chosen], [passage.text for passage in book],
            np.array([[question.passage_id == passage.id for passage in book] for question in chosen]),
        )]
        for name, chosen in (("in its words", plain), ("in other words", other_words))
    }
    made["news of a day"] = []
    for day in range(0, news.DAYS, -(-news.DAYS // n)):
        articles, today = news.articles(day, data_seed), news.questions(day, data_seed)
        right = np.array([[question.slot in article["slots"] for article in articles] for question in today])
        made["news of a day"].append(([asked_in(question.prompt) for question in today], [article["text"] for article in articles], right))
    theirs = {user.name: [q for q in memories.questions(data_seed) if q.user == user.name] for user in of_all[:n]}
    made["memories of a user"] = [
        (
            [question.question for question in theirs[user.name]], [memory.text for memory in user.memories],
            np.array([[question.key == memory.key for memory in user.memories] for question in theirs[user.name]]),
        )
        for user in of_all[:n]
    ]
    told, all_asked = [memory for user in of_all for memory in user.memories], [question for some in theirs.values() for question in some]
    right = np.array([[(question.user, question.key) == (memory.user, memory.key) for memory in told] for question in all_asked])
    made["signed memories of all"] = [([signed(question) for question in all_asked], [memory.signed for memory in told], right)]
    return made


def found(embed: Seek, data_seed: int, n: int) -> dict[str, float]:
    """Return recall@1 and @5 on each of ``searches``; of several days or users the mean."""
    scores = {}
    for name, every in searches(data_seed, n).items():
        sought = [(*embed(questions, passages), right) for questions, passages, right in every]
        scores |= {f"{name} @{k}": fmean(recall_at(*vectors, k) for vectors in sought) for k in (1, 5)}
    return scores


def measure(directory: Path | str, data_seed: int, n: int) -> dict[str, float]:
    """Return what ``found`` says of it, of the trunk that it was trained from, and of words in common."""
    arms = {"embedder": seek(load_encoder(str(directory))), "trunk": seek(Encoder(trunk(), load_tokenizer(BASE))), "words": seek_words}
    return {f"{arm}: {key}": value for arm, embed in arms.items() for key, value in found(embed, data_seed, n).items()}


def ship(directory: Path, n: int = DAYS_OR_USERS, say: Callable[[str], None] = print) -> Path:
    """Measure a finished one on ``DRAWS``, write its card, and put it into the package; return where it lies there."""
    return measured(directory, measure, card, n, say)


def card(directory: Path) -> str:
    """Return the model card from ``recipe.json`` and ``report.json``."""
    made, report = (json.loads((directory / f"{name}.json").read_text()) for name in ("recipe", "report"))
    means = {key: fmean(values) for key, values in report["measured"].items()}
    lines = []
    for key, alone in made["other texts alone"].items():
        mine = t_interval(report["measured"][f"embedder: {key}"])
        others = f"{alone:.3f} | {means[f'trunk: {key}']:.3f} | {means[f'words: {key}']:.3f}"
        lines.append(f"| {key} | {mine.estimate:.3f} | {mine.low:.3f} to {mine.high:.3f} | {others} |")
    learned = [
        f"{stage['config']['steps']:,} steps on {name} at a learning rate of {stage['rate']:g} "
        f"({', '.join(f'{kind} {share:g}' for kind, share in stage['shares'].items())})"
        for name, stage in made["stages"].items()
    ]
    flops = sum(stage["cost"]["flops"] for stage in made["stages"].values())
    return "\n".join([
        "---", "license: mit", "language: en", "pipeline_tag: sentence-similarity", "---", "",
        f"# {NAME}", "",
        f"The first {made['layers']} layers of `{made['base']}`, trained to give a question a vector near that of the passage that answers it. "
        "The labs of chapter 5 look things up with it where there is no network.", "",
        "## Recipe", "",
        f"Rebuild it with `finetunelab base build --size embedder --out runs/models`. World hash `{made['world_hash']}`, seed {made['seed']}. "
        f"{made['parameters']:,} parameters, stored in bfloat16; a text's vector is the mean of its states, scaled to length one. Contrastive loss at a "
        f"temperature of {made['temperature']:g}, up to {made['batch']} pairs in a step; {'; then '.join(learned)}. {flops / 1e12:.0f} TFLOP.", "",
        f"What it has seen: \"other editions\" are handbooks, newspapers and memories of the data seeds {made['data_seeds'][0]} to "
        f"{made['data_seeds'][1]}. Those that it is measured on are of other data seeds and state other facts, in the same sentence frames, and the "
        "questions are worded alike in all of them. The column \"other texts alone\" shows how much that is worth: it is the same model before it saw "
        "any of the three kinds.", "",
        "## Measured", "",
        "Recall@k, the share of questions for which a passage that answers is among the k nearest: mean and 95 % interval over the data seeds "
        f"{', '.join(map(str, report['data_seeds']))}, and the means of three others: of the model before it saw other editions, of the mean states of "
        "the same layers untrained, and of the words that question and passage have in common (TF-IDF). Searched are the whole book of 60 passages, the "
        f"articles of each of {report['asked']} days, the twelve memories of each of {report['asked']} users, and, for the same users, the signed memories of "
        "all forty at once.", "",
        f"| looked for | {NAME} | interval | other texts alone | untrained | words in common |",
        "|---|---|---|---|---|---|",
        *lines, "",
        "## Limits", "",
        "It knows one invented town, and the documents and questions of its generators. For your own documents take a real sentence encoder.", "",
    ])
