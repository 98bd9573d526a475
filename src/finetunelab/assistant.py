"""The recipe of the shipped assistant, ``nano-sft``: the base fine-tuned on the world's instructions, for labs that start from more than the base."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from . import worlds
from .files import write_text
from .models import load_model, load_tokenizer, save_model
from .pretraining import number_format
from .sft import fine_tune
from .training import TrainConfig

NAME = "nano-sft"
BASE = "nano"
SEED = 0
STEPS, ROWS, LENGTH = 4_000, 4, 256
INSTRUCTIONS = 24 * STEPS  # about as many as the steps hold: nearly each is seen once
# The loss counts all tokens: on validation instructions that was a little better than answers alone, see C5-rates.csv.
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
