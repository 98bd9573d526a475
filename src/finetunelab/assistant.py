"""The recipes of the shipped assistants, for labs that start from more than the base.

``nano-sft`` is the base fine-tuned on instructions. ``nano-chat`` is ``nano-sft`` fine-tuned further, so that it also remembers what was said
some turns ago and answers requests for advice: what chapter 3 talks with and chapter 4 aligns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from . import worlds
from .cards import measured_table
from .files import write_text
from .models import load_model, load_tokenizer, save_model
from .pretraining import DRAWS, number_format, put
from .sft import Conversation, fine_tune, following, remembers, reply
from .stats import t_interval
from .training import TrainConfig
from .worlds.responses import grade, reward

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SEED = 0


@dataclass(frozen=True)
class Recipe:
    """What an assistant starts from and learns: conversations of each world, about as many as its steps hold, so that each is seen about once."""

    base: str
    data: Mapping[str, int]
    steps: int
    rows: int  # of a step
    length: int  # tokens of a row
    masked: bool
    rate: float
    summary: str


RECIPES = {
    # Answers alone were found to be better since, see C5-rates.csv: a next edition of these weights will count those.
    "nano-sft": Recipe(
        "nano", {"instructions": 96_000}, steps=4_000, rows=4, length=256, masked=False, rate=3e-3,
        summary="fine-tuned to follow the instructions of the course's invented town. Labs and claims that need an assistant, and not only a base, "
        "start from it.",
    ),
    # The rate is the best of C6-rates.csv. Without instructions among the data it would forget how to follow them.
    "nano-chat": Recipe(
        "nano-sft", {"dialogues": 12_000, "responses": 16_000, "instructions": 27_000}, steps=4_000, rows=3, length=320, masked=True, rate=3e-3,
        summary="fine-tuned further on conversations whose late questions need early turns, on requests with good responses, and on instructions. "
        "Lab 03c talks with it, and chapter 4 starts from it.",
    ),
}
KNOBS = {"responses": {"quality": "good"}}


def drawn(world: str, n: int, split: str, data_seed: int) -> list[dict[str, Any]]:
    """Draw ``n`` rows of a world's conversations; requests come with responses that have no grade below .5."""
    return worlds.generator(world).rows(n, split, data_seed, **KNOBS.get(world, {}))


def as_conversation(row: Mapping[str, Any]) -> Conversation:
    """Return a row's messages; those of a request are the request and its response."""
    if "messages" in row:
        return row["messages"]
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]


def build(name: str, out: Path, scale: float = 1.0, say: Callable[[str], None] = print) -> Path:
    """Train an assistant and return the directory of the finished checkpoint. A build that was killed goes on from its last checkpoint.

    ``scale`` shortens the training and the data alike (tests use it).
    """
    recipe, out = RECIPES[name], Path(out)
    directory = out / name
    if (directory / "config.json").exists():
        say(f"{directory} is finished; remove it to build it anew")
        return directory
    model, tokenizer, steps = load_model(recipe.base), load_tokenizer(recipe.base), max(2, round(recipe.steps * scale))
    model.set_attn_implementation("eager")  # the quicker one for rows this short
    data = [as_conversation(row) for world, n in recipe.data.items() for row in drawn(world, max(50, round(n * scale)), "train", SEED)]
    config = TrainConfig(
        steps=steps, batch_size=recipe.rows, learning_rate=recipe.rate, warmup=min(100, steps // 2), schedule="cosine", seed=SEED, save_every=250,
        dtype=number_format(),
    )
    tuned = fine_tune(model, tokenizer, data, config, longest=recipe.length, masked=recipe.masked, output=out / f"{name}-steps")
    made = {
        "base": recipe.base, "data": ", ".join(f"world:{world}" for world in recipe.data), "data_seed": SEED, "conversations": len(data),
        "masked": recipe.masked, "longest": recipe.length, "world_hash": worlds.frozen_hash(), "config": asdict(config),
        "cost": asdict(tuned.result.cost),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "recipe.json", json.dumps(made, indent=1) + "\n")
    save_model(model, tokenizer, directory)
    say(f"{name}: {tuned.result.cost.describe()}")
    return directory


# Measuring ----------------------------------------------------------------------------------------------------------------------

Exam = Callable[["PreTrainedModel", "PreTrainedTokenizerBase", int, int], float]


def _followed(unseen: str) -> Exam:
    def exam(model, tokenizer, n: int, seed: int) -> float:
        return fmean(following(model, tokenizer, worlds.generator("instructions").rows(n, "test", seed, heldout=unseen)))

    return exam


def _remembered(model, tokenizer, n: int, seed: int) -> float:
    return fmean(remembers(model, tokenizer, drawn("dialogues", n, "test", seed)))


def _valued(model, tokenizer, n: int, seed: int) -> float:
    rows = drawn("responses", n, "test", seed)
    said = reply(model, tokenizer, [as_conversation(row)[:1] for row in rows], temperature=1.0, seed=seed)
    return fmean(reward(grade(row, text)) for row, text in zip(rows, said, strict=True))


FOLLOWED = {
    "none": ("new instances of trained kinds", _followed("none")),
    "combinations": ("combinations never trained", _followed("combinations")),
    "kinds": ("kinds never trained", _followed("kinds")),
}
TALK = {
    "remembered": ("questions that need an early turn, one to eight exchanges back: answered rightly", _remembered),
    "valued": ("requests: what the response is worth, by its true grades, sampled at temperature 1", _valued),
}
EXAMS = {"nano-sft": FOLLOWED, "nano-chat": FOLLOWED | TALK}


def ship(directory: Path, n: int = 300, say: Callable[[str], None] = print) -> Path:
    """Measure a finished assistant on ``DRAWS``, write its card, and put it into the package; return where it lies there."""
    directory = Path(directory)
    model, tokenizer, draws = load_model(str(directory)), load_tokenizer(str(directory)), {}
    for key, (name, exam) in EXAMS[directory.name].items():
        draws[key] = [round(exam(model, tokenizer, n, seed), 4) for seed in DRAWS]
        say(f"{name}: {fmean(draws[key]):.3f}")
    write_text(directory / "report.json", json.dumps({"data_seeds": DRAWS, "measured": draws, "asked": n}, indent=1) + "\n")
    write_text(directory / "README.md", card(directory))
    return put(directory)


def card(directory: Path) -> str:
    """Return the model card of a built assistant from its ``recipe.json`` and ``report.json``."""
    made, report = (json.loads((directory / f"{name}.json").read_text()) for name in ("recipe", "report"))
    recipe, config, cost = RECIPES[directory.name], made["config"], made["cost"]
    draws = report["measured"]
    followed, other = ([(EXAMS[directory.name][key][0], t_interval(draws[key])) for key in draws if (key in FOLLOWED) == mine] for mine in (True, False))
    size = directory.name.removeprefix("nano-")
    return "\n".join([
        "---", "license: mit", "language: en", "pipeline_tag: text-generation", "---", "",
        f"# {directory.name}", "",
        f"`{made['base']}`, {recipe.summary}", "",
        "## Recipe", "",
        f"Rebuild it with `finetunelab base build --size {size} --out runs/models`. World hash `{made['world_hash']}`, seed {made['data_seed']}. "
        f"{_amounts(recipe.data)}, each seen about once, packed into rows of {made['longest']} tokens; "
        f"{config['steps']:,} steps of {config['batch_size']} rows, learning rate {config['learning_rate']:g}, {config['schedule']} schedule; "
        f"the loss counts {'the answers' if made['masked'] else 'all tokens'}. {cost['flops'] / 1e12:.0f} TFLOP.", "",
        "## Measured", "",
        f"Share of {report['asked']} test instructions followed, by the rule that comes with each; mean and 95 % interval over the data seeds "
        f"{', '.join(map(str, report['data_seeds']))}.", "",
        *measured_table("instructions", "followed", followed),
        *([f"On {report['asked']} others of each sort:", "", *measured_table("", "measured", other)] if other else []),
        "## Limits", "",
        "It knows one invented town and the kinds of instruction it was trained on. Of kinds that it was not trained on it follows "
        f"{'none' if fmean(draws['kinds']) < 0.005 else 'hardly any'}. Use it to learn from, not to rely on.",
        "",
    ])


def _amounts(data: Mapping[str, int]) -> str:
    names = {"instructions": "instructions with answers", "dialogues": "conversations", "responses": "requests with good responses"}
    return ", ".join(f"{n:,} {names[world]}" for world, n in data.items())
