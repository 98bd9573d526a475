"""The recipe of ``nano-reward``, which reward models start from: the assistant, taught to tell whether a response belongs to its request.

Nobody has to click for that: a response to another request is the worse one. Askell et al. 2021 (arXiv:2112.00861, section 4) call it preference
model pretraining, and take votes on public forums for it. Without it a model of this size learns from clicks how a response is put, and never what
it is about: that is the one grade for which request and response must be compared.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import worlds
from .assistant import SEED, as_conversation, drawn
from .cards import measured_table
from .files import write_text
from .models import load_tokenizer, save_model
from .preferences.store import preference
from .pretraining import measured
from .reward import fit, load_reward_model, margins, reward_model, score
from .stats import spearman, t_interval
from .training import TrainConfig
from .worlds.responses import WEIGHTS

NAME = "nano-reward"
BASE = "nano-chat"
PAIRS, BATCH = 9_600, 16
RATE = 1e-3


def matching_pairs(rows: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, list[dict[str, str]]]]:
    """Return a preference pair for each request: its own response is chosen, one to a request on another subject is rejected."""
    rng, found = random.Random(f"matching/{seed}"), []
    for row in rows:
        other = rng.choice(rows)
        while other["topic"] == row["topic"]:
            other = rng.choice(rows)
        found.append(preference(row["prompt"], row["response"], other["response"]))
    return found


def build(out: Path, scale: float = 1.0, say: Callable[[str], None] = print) -> Path:
    """Train it and return the directory of the finished checkpoint. ``scale`` shortens the training and the data alike (tests use it)."""
    directory = Path(out) / NAME
    if (directory / "config.json").exists():
        say(f"{directory} is finished; remove it to build it anew")
        return directory
    model, tokenizer, n = reward_model(BASE, seed=SEED), load_tokenizer(BASE), max(2 * BATCH, round(PAIRS * scale))
    model.set_attn_implementation("eager")  # the quicker one for rows this short
    steps = n // BATCH
    config = TrainConfig(steps=steps, batch_size=BATCH, learning_rate=RATE, warmup=steps // 10, schedule="cosine", seed=SEED)
    fitted = fit(model, tokenizer, matching_pairs(drawn("responses", n, "train", SEED), SEED), config)
    made = {
        "base": BASE, "data": "world:responses", "data_seed": SEED, "pairs": n, "world_hash": worlds.frozen_hash(), "config": asdict(config),
        "cost": asdict(fitted.result.cost),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "recipe.json", json.dumps(made, indent=1) + "\n")
    save_model(model, tokenizer, directory)
    say(f"{NAME}: {fitted.result.cost.describe()}")
    return directory


def measure(directory: Path | str, data_seed: int, n: int) -> dict[str, float]:
    """Return how often it tells a response from one to another request, and how its score goes with each true grade of any response."""
    model, tokenizer = load_reward_model(str(directory)), load_tokenizer(str(directory))
    pairs = matching_pairs(drawn("responses", n, "test", data_seed), data_seed)
    asked = worlds.generator("responses").rows(n, "test", data_seed)
    scores = score(model, tokenizer, [as_conversation(row)[:1] for row in asked], [row["response"] for row in asked]).tolist()
    grades = {name: spearman(scores, [row[name] for row in asked]) for name in WEIGHTS}
    return {"told apart": float((margins(model, tokenizer, pairs) > 0).float().mean())} | grades


def ship(directory: Path, n: int = 300, say: Callable[[str], None] = print) -> Path:
    """Measure a finished one on ``DRAWS``, write its card, and put it into the package; return where it lies there."""
    return measured(directory, measure, card, n, say)


def card(directory: Path) -> str:
    """Return the model card from ``recipe.json`` and ``report.json``."""
    made, report = (json.loads((directory / f"{name}.json").read_text()) for name in ("recipe", "report"))
    config, found = made["config"], {key: t_interval(values) for key, values in report["measured"].items()}
    names = {"told apart": "told from a response to a request on another subject"} | {name: f"rank correlation of score and {name}" for name in WEIGHTS}
    return "\n".join([
        "---", "license: mit", "language: en", "pipeline_tag: text-classification", "---", "",
        f"# {NAME}", "",
        f"`{made['base']}` with a score in place of its next-token layer, trained to tell whether a response belongs to its request. Reward models of "
        "chapter 4 start from it. It has seen no click and knows nothing of manners.", "",
        "## Recipe", "",
        f"Rebuild it with `finetunelab base build --size reward --out runs/models`. World hash `{made['world_hash']}`, seed {made['data_seed']}. "
        f"{made['pairs']:,} requests, each with its response as the chosen one and a response to another subject as the rejected one; "
        f"{config['steps']:,} steps of {config['batch_size']} pairs, learning rate {config['learning_rate']:g}, {config['schedule']} schedule. "
        f"{made['cost']['flops'] / 1e12:.0f} TFLOP.", "",
        "## Measured", "",
        f"On {report['asked']} test responses; mean and 95 % interval over the data seeds {', '.join(map(str, report['data_seeds']))}.", "",
        *measured_table("measure", "value", [(names[key], value) for key, value in found.items()]),
        "## Limits", "",
        "It knows the sixteen subjects of one invented town. How a response is put it does not judge.", "",
    ])
