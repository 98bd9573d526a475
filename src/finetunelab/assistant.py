"""The recipe of the shipped assistant, ``nano-sft``: the base fine-tuned on instructions, for labs that start from more than the base."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from . import worlds
from .files import write_text
from .models import load_model, load_tokenizer, save_model
from .pretraining import DRAWS, number_format, put
from .sft import fine_tune, following
from .stats import t_interval
from .training import TrainConfig

NAME = "nano-sft"
BASE = "nano"
SEED = 0
STEPS, ROWS, LENGTH = 4_000, 4, 256
INSTRUCTIONS = 24 * STEPS  # about as many as the steps hold: nearly each is seen once
# The loss counts all tokens. Answers alone were found to be better since, see C5-rates.csv: a next edition of the weights will count those.
MASKED = False
RATE = 3e-3


def build(out: Path, scale: float = 1.0, say: Callable[[str], None] = print) -> Path:
    """Train the assistant and return the directory of the finished checkpoint. A build that was killed goes on from its last checkpoint.

    ``scale`` shortens the training and the data alike (tests use it).
    """
    out = Path(out)
    directory = out / NAME
    if (directory / "config.json").exists():
        say(f"{directory} is finished; remove it to build it anew")
        return directory
    model, tokenizer, steps = load_model(BASE), load_tokenizer(BASE), max(2, round(STEPS * scale))
    model.set_attn_implementation("eager")  # the quicker one for rows this short
    rows = worlds.generator("instructions").rows(max(50, round(INSTRUCTIONS * scale)), "train", SEED)
    config = TrainConfig(
        steps=steps, batch_size=ROWS, learning_rate=RATE, warmup=min(100, steps // 2), schedule="cosine", seed=SEED, save_every=250,
        dtype=number_format(),
    )
    tuned = fine_tune(model, tokenizer, [row["messages"] for row in rows], config, longest=LENGTH, masked=MASKED, output=out / "sft")
    recipe = {
        "base": BASE, "data": "world:instructions", "data_seed": SEED, "conversations": len(rows), "masked": MASKED, "longest": LENGTH,
        "world_hash": worlds.frozen_hash(), "config": asdict(config), "cost": asdict(tuned.result.cost),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "recipe.json", json.dumps(recipe, indent=1) + "\n")
    save_model(model, tokenizer, directory)
    say(f"{NAME}: {tuned.result.cost.describe()}")
    return directory


UNSEEN = {"none": "new instances of trained kinds", "combinations": "combinations never trained", "kinds": "kinds never trained"}


def ship(directory: Path, n: int = 300, say: Callable[[str], None] = print) -> Path:
    """Measure a finished assistant on ``DRAWS``, write its card, and put it into the package; return where it lies there."""
    directory = Path(directory)
    model, tokenizer, draws = load_model(str(directory)), load_tokenizer(str(directory)), {}
    for unseen, name in UNSEEN.items():
        exams = [worlds.generator("instructions").rows(n, "test", seed, heldout=unseen) for seed in DRAWS]
        draws[unseen] = [round(fmean(following(model, tokenizer, exam)), 4) for exam in exams]
        say(f"{name}: {fmean(draws[unseen]):.3f} followed")
    write_text(directory / "report.json", json.dumps({"data_seeds": DRAWS, "followed": draws, "instructions": n}, indent=1) + "\n")
    write_text(directory / "README.md", card(directory))
    return put(directory)


def card(directory: Path) -> str:
    """Return the model card of a built assistant from its ``recipe.json`` and ``report.json``."""
    recipe, report = (json.loads((directory / f"{name}.json").read_text()) for name in ("recipe", "report"))
    config, cost = recipe["config"], recipe["cost"]
    rows = [(UNSEEN[unseen], t_interval(draws)) for unseen, draws in report["followed"].items()]
    return "\n".join([
        "---", "license: mit", "language: en", "pipeline_tag: text-generation", "---", "",
        f"# {NAME}", "",
        f"`{recipe['base']}`, fine-tuned to follow the instructions of the course's invented town. Labs and claims that need an assistant, and "
        "not only a base, start from it.", "",
        "## Recipe", "",
        f"Rebuild it with `finetunelab base build --size sft --out runs/models`. World hash `{recipe['world_hash']}`, seed {recipe['data_seed']}. "
        f"{recipe['conversations']:,} instructions with answers, each seen about once, packed into rows of {recipe['longest']} tokens; "
        f"{config['steps']:,} steps of {config['batch_size']} rows, learning rate {config['learning_rate']:g}, {config['schedule']} schedule; "
        f"the loss counts {'the answers' if recipe['masked'] else 'all tokens'}. {cost['flops'] / 1e12:.0f} TFLOP.", "",
        "## Measured", "",
        f"Share of {report['instructions']} test instructions followed, by the rule that comes with each; mean and 95 % interval over the data seeds "
        f"{', '.join(map(str, report['data_seeds']))}.", "",
        "| instructions | followed | interval |", "|---|---|---|",
        *(f"| {name} | {found.estimate:.3f} | {found.low:.3f} to {found.high:.3f} |" for name, found in rows), "",
        "## Limits", "",
        "It knows one invented town and the kinds of instruction it was trained on. Of kinds that it was not trained on it follows none. "
        "Use it to learn from, not to rely on.", "",
    ])
