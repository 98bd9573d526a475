"""The recipe of ``nano-panel``: the reward model of a panel of simulated reviewers, which the loop of chapter 4's labs pleases.

It is trained as claim D2 measures it (``experiments.reviewers.rewarder``), on grades and clicks of a data seed that no reported result draws.
Its weights are stored in bfloat16, at half the size; ``reward.load_reward_model`` gives them back in float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from . import worlds
from .assistant import SEED
from .cards import measured_table
from .experiments import reviewers
from .files import write_text
from .models import load_tokenizer, save_model
from .pretraining import measured
from .reward import load_reward_model
from .stats import t_interval

NAME = "nano-panel"


def build(out: Path, scale: float = 1.0, say: Callable[[str], None] = print) -> Path:
    """Train it and return the directory of the finished checkpoint. ``scale`` shortens the training and the data alike (tests use it)."""
    directory = Path(out) / NAME
    if (directory / "config.json").exists():
        say(f"{directory} is finished; remove it to build it anew")
        return directory
    n_graded, n, steps = (max(2, round(size * scale)) for size in (reviewers.GRADED, reviewers.PAIRS, reviewers.STEPS))
    model, cost = reviewers.rewarder(SEED, SEED, n, steps, n_graded=n_graded)
    _, cost_of_grades = reviewers.grader(SEED, SEED, n_graded, steps, reviewers.BASE, reviewers.RATES[reviewers.GRADES])
    made = {
        "base": reviewers.BASE, "data": "world:responses, world:comparisons", "data_seed": SEED, "graded": n_graded, "comparisons": n,
        "reviewers": reviewers.REVIEWERS, "world_hash": worlds.frozen_hash(), "batch_size": reviewers.BATCH,
        "rates": {name: reviewers.RATES[name] for name in (reviewers.GRADES, reviewers.BOTH)}, "cost_of_grades": asdict(cost_of_grades), "cost": asdict(cost),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "recipe.json", json.dumps(made, indent=1) + "\n")
    save_model(model.to(torch.bfloat16), load_tokenizer(reviewers.BASE), directory)
    say(f"{NAME}: {cost_of_grades.describe()}; then {cost.describe()}")
    return directory


def measure(directory: Path | str, data_seed: int, n: int) -> dict[str, float]:
    """Return how often it guesses a click of the panel of that seed, how often the best guess does, and how often it sides with the oracle."""
    test = reviewers.exam(n, "test", data_seed)
    found = test.accuracy(reviewers.reward_leads(load_reward_model(str(directory)), load_tokenizer(str(directory)), test.rows))
    return found | {"best guess": test.accuracy(test.chances - 0.5)["clicks"]}


def ship(directory: Path, n: int = 1_000, say: Callable[[str], None] = print) -> Path:
    """Measure a finished one on ``DRAWS``, write its card, and put it into the package; return where it lies there."""
    return measured(directory, measure, card, n, say)


def card(directory: Path) -> str:
    """Return the model card from ``recipe.json`` and ``report.json``."""
    made, report = (json.loads((directory / f"{name}.json").read_text()) for name in ("recipe", "report"))
    found = {key: t_interval(values) for key, values in report["measured"].items()}
    names = {
        "clicks": "clicks of a panel guessed, expected over its reviewers", "best guess": "the best possible guess of the same clicks",
        "oracle": "sides with the response that is worth more by its true grades",
    }
    flops = sum(made[name]["flops"] for name in ("cost_of_grades", "cost"))
    rates = " and ".join(f"{rate:g}" for rate in made["rates"].values())
    return "\n".join([
        "---", "license: mit", "language: en", "pipeline_tag: text-classification", "---", "",
        f"# {NAME}", "",
        f"`{made['base']}`, trained first on the three grades and then on the clicks of a panel of {made['reviewers']} simulated reviewers. "
        "The labs of chapter 4 train a policy to please it.", "",
        "## Recipe", "",
        f"Rebuild it with `finetunelab base build --size panel --out runs/models`. World hash `{made['world_hash']}`, seed {made['data_seed']}. "
        f"{made['graded']:,} responses with three grades each, then {made['comparisons']:,} comparisons with one click each, every one seen once in steps of "
        f"{made['batch_size']}, learning rates {rates}, cosine schedule. {flops / 1e12:.0f} TFLOP. The weights are stored in bfloat16.", "",
        "## Measured", "",
        f"On {report['asked']:,} test comparisons; mean and 95 % interval over the data seeds {', '.join(map(str, report['data_seeds']))}, "
        "each with a panel of its own.", "",
        *measured_table("measure", "value", [(name, found[key]) for key, name in names.items()]),
        "## Limits", "",
        "It is a guess at what one invented panel likes, from noisy clicks. A policy that is trained hard to please it finds out where the guess is wrong: "
        "that is what chapter 4 shows.", "",
    ])
