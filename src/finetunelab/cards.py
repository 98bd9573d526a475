"""Model cards: what a shipped checkpoint is, how it was made, and what was measured on it, written from the recorded files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .stats import Interval, t_interval

# The least each skill must reach, so that the chapters have something to build on; None where a value is only reported.
GOALS: dict[str, tuple[str, float | None]] = {
    "recipe_valid": ("valid continuations of French recipes (200 sampled, temperature 0.7)", 0.95),
    "fact_cloze": ("facts of the town completed rightly, greedy", 0.90),
    "notes_4": ("questions about 4 notes answered exactly, greedy", 0.90),
    "notes_8": ("questions about 8 notes answered exactly, greedy", 0.75),
    "notes_16": ("questions about 16 notes answered exactly, greedy", None),
    "fewshot_k0": ("patterns, two random label words, no demonstration", None),
    "fewshot_k8": ("patterns, two random label words, 8 demonstrations", 0.95),
    "fewshot_unseen_k8": ("the same, on concepts and a domain never shown as patterns", 0.80),
}


def measured_table(head: str, measure: str, rows: Sequence[tuple[str, Interval]]) -> list[str]:
    """Return a table of what was measured, with its intervals, as lines of Markdown."""
    lines = [f"| {name} | {found.estimate:.3f} | {found.low:.3f} to {found.high:.3f} |" for name, found in rows]
    return [f"| {head} | {measure} | interval |", "|---|---|---|", *lines, ""]


def training_flops(recipe: dict) -> float:
    """Return what all stages of a recipe cost together."""
    return sum(stage["cost"]["flops"] for stage in recipe["stages"])


def model_card(directory: Path) -> str:
    """Return the model card of a built base from its ``config.json``, ``recipe.json`` and ``report.json``.

    Raises FileNotFoundError when one of the three is missing: a card states nothing that was not recorded.
    """
    config, recipe, report = (json.loads((directory / f"{name}.json").read_text()) for name in ("config", "recipe", "report"))
    base = directory.name == "nano"
    tokens = sum(stage["cost"]["tokens"] for stage in recipe["stages"])
    minutes = sum(stage["cost"]["seconds"] for stage in recipe["stages"]) / 60
    lines = [
        "---",
        "license: mit",
        "language: en",
        "pipeline_tag: text-generation",
        "---",
        "",
        f"# {directory.name}",
        "",
        f"A Llama-architecture causal language model with {recipe['parameters']:,} parameters, pretrained on the invented town of this course. "
        + ("It is the base that the labs start from." if base else "It is the smaller sister of `nano`, made by the same recipe."),
        "",
        f"Width {config['hidden_size']}, {config['num_hidden_layers']} layers, {config['num_attention_heads']} heads, "
        f"context {config['max_position_embeddings']:,} tokens, byte-level BPE with {config['vocab_size']:,} tokens, float32 safetensors.",
        "",
        "## Recipe",
        "",
        f"Rebuild it with `finetunelab base build --size {'base' if base else 'small'} --out runs/models`. "
        f"Seed {recipe['seed']}; data hash `{recipe['data_hash']}`; world hash `{recipe['world_hash']}`. "
        f"{tokens / 1e6:.1f} million tokens and {training_flops(recipe) / 1e15:.2f} PFLOP in all, {minutes:.0f} minutes of training, on one or two cores shared with other work.",
        "",
        "| stage | steps | rows x tokens | learning rate | weight decay | mixture (share of documents) |",
        "|---|---|---|---|---|---|",
    ]
    for stage in recipe["stages"]:
        mixture = ", ".join(f"{name} {share:g}" for name, share in stage["mixture"].items())
        lines.append(
            f"| {stage['name']} | {stage['cost']['steps']:,} | {stage['batch']} x {stage['length']} | {stage['learning_rate']:g} "
            f"| {stage['weight_decay']:g} | {mixture} |"
        )
    lines.append("")
    for pool, (world, knobs) in recipe["drawn_with"].items():
        told = "; ".join(f"{name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in knobs.items())
        lines.append(f"- `{pool}` is `{world}` with {told}")
    lines += [
        "",
        "## Measured",
        "",
        f"On texts that it was not trained on, drawn {len(report['data_seeds'])} times (data seeds {', '.join(map(str, report['data_seeds']))}): the mean with "
        "the 95 % interval of Student's t over the draws. `finetunelab base report --data-seed N` measures one draw. The facts are the town's and have no draw.",
        "",
        "| skill | measured | interval | goal | reached |" if base else "| skill | measured | interval |",
        "|---|---|---|---|---|" if base else "|---|---|---|",
    ]
    for skill, draws in report["draws"].items():
        name, goal = GOALS[skill]
        found = t_interval(draws)
        line = f"| {name} | {found.estimate:.3f} | {found.low:.3f} to {found.high:.3f} |"
        if base and skill == "fewshot_k0":
            line += f" .45 to .55 | {'yes' if max(abs(found.low - 0.5), abs(found.high - 0.5)) <= 0.05 else 'no'} |"
        elif base and goal is None:
            line += " reported | |"
        elif base:
            line += f" at least {goal:.2f} | {'yes' if found.low >= goal else 'on average' if report['skills'][skill] >= goal else 'no'} |"
        lines.append(line)
    lines += ["", "| texts | perplexity |", "|---|---|"]
    lines += [f"| {domain} | {value:.2f} |" for domain, value in report["perplexity"].items()]
    lines += [
        "",
        f"One training step on 16 x 128 tokens took {report['step_seconds']:.2f} s on two cores.",
        "",
        "## Limits",
        "",
        "It knows one invented town and the sentence frames of its generators, nothing of the real world, and no language but this English. "
        "It follows no instructions: the labs teach that. Its chat tokens are in the vocabulary and untrained. Use it to learn from, not to rely on.",
        "",
    ]
    return "\n".join(lines)
