"""Draw the four stages from raw text to a model that people prefer, with the data of each: python figs/rlhf.py

The amounts are those of GPT-3 (Brown et al. 2020) and InstructGPT (Ouyang et al. 2022, table 6: prompts of the training splits).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from finetunelab.plots import FAINT, INK, PALETTE, save, style

ALT = (
    "Four stages, one below the other, joined by arrows. One, pretraining: raw text, 300 billion tokens, gives a base model. Two, supervised "
    "fine-tuning: 13 thousand prompts with written responses give the SFT model. Three, reward model: reviewers rank the responses to 33 "
    "thousand prompts, which gives a model that scores a response. Four, reinforcement learning: 31 thousand prompts without labels. "
    "The policy writes a response, the reward model scores it, the score changes the policy, round and round, while a frozen copy of the SFT "
    "model keeps it from straying."
)
STAGES = (
    ("1  Pretraining", "raw text of all kinds", "300 billion tokens", "next token", "base model", "blue"),
    ("2  Supervised fine-tuning", "prompts with responses,\nwritten by people", "13 thousand prompts", "next token of the response", "SFT model", "orange"),
    ("3  Reward model", "responses to one prompt,\nranked by reviewers", "33 thousand prompts, 4 to 9 responses each", "which of two is better", "reward model", "green"),
    ("4  Reinforcement learning", "prompts alone", "31 thousand prompts", "to score high, and stay\nclose to the SFT model", "aligned model", "pink"),
)
TALL, GAP = 2.35, 0.5


def stage(ax: plt.Axes, top: float, title: str, data: str, amount: str, target: str, result: str, color: str) -> None:
    """Draw one stage: what it is trained on, how much of that there was, what is learned, and the model that comes out."""
    tint = PALETTE[color]
    ax.add_patch(FancyBboxPatch((0, top - TALL), 10, TALL, boxstyle="round,pad=0,rounding_size=0.18", facecolor=tint, alpha=0.12, edgecolor="none"))
    ax.add_patch(FancyBboxPatch((0, top - TALL), 0.16, TALL, boxstyle="square,pad=0", facecolor=tint, edgecolor="none"))
    ax.text(0.42, top - 0.38, title, fontsize=15, weight="bold", color=INK, va="center")
    ax.text(0.42, top - 0.85, data, fontsize=12.5, va="top", color=INK, linespacing=1.3)
    ax.text(5.0, top - 0.85, f"learns: {target}", fontsize=12.5, va="top", color=INK, linespacing=1.3)
    ax.text(0.42, top - TALL + 0.14, amount, fontsize=12, va="bottom", color=FAINT, linespacing=1.2)
    ax.add_patch(FancyBboxPatch((6.75, top - TALL + 0.14), 3.0, 0.56, boxstyle="round,pad=0,rounding_size=0.14", facecolor=tint, edgecolor="none"))
    ax.text(8.25, top - TALL + 0.42, result, fontsize=12.5, color="white", weight="bold", ha="center", va="center")


def arrow(ax: plt.Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=16, color=FAINT, linewidth=1.8, connectionstyle=f"arc3,rad={bend}"))


def loop(ax: plt.Axes, top: float) -> None:
    """Draw the loop of the last stage."""
    places = {"policy": (1.6, top - 0.75), "response": (5.0, top - 0.75), "reward model": (8.4, top - 0.75), "score": (5.0, top - 2.1), "frozen SFT model": (1.6, top - 2.1)}
    colors = {"policy": PALETTE["pink"], "reward model": PALETTE["green"], "frozen SFT model": PALETTE["orange"]}
    for name, (x, y) in places.items():
        filled = name in colors
        width = 2.9 if filled else 1.9
        ax.add_patch(FancyBboxPatch(
            (x - width / 2, y - 0.3), width, 0.6, boxstyle="round,pad=0,rounding_size=0.14", facecolor=colors.get(name, "white"), edgecolor=colors.get(name, FAINT),
        ))
        ax.text(x, y, name, fontsize=12, ha="center", va="center", color="white" if filled else INK, weight="bold" if filled else "normal")
    arrow(ax, (3.1, top - 0.75), (4.0, top - 0.75))
    arrow(ax, (6.0, top - 0.75), (6.9, top - 0.75))
    arrow(ax, (8.4, top - 1.1), (6.0, top - 2.1), -0.3)
    arrow(ax, (4.4, top - 1.75), (2.6, top - 1.1), 0.05)
    ax.text(4.05, top - 1.28, "update", fontsize=11.5, color=FAINT, ha="left", va="center")
    arrow(ax, (1.3, top - 1.8), (1.3, top - 1.1))
    ax.text(1.15, top - 1.43, "stay close", fontsize=11.5, color=FAINT, ha="right", va="center")


def rlhf() -> plt.Figure:
    """Return the figure: stages from top to bottom, so that a phone shows them readably."""
    style()
    height = len(STAGES) * (TALL + GAP) + 2.6
    fig, ax = plt.subplots(figsize=(6.6, 0.66 * height))
    ax.set(xlim=(-0.1, 10.1), ylim=(-height, 0.05))
    ax.axis("off")
    for place, parts in enumerate(STAGES):
        top = -place * (TALL + GAP)
        stage(ax, top, *parts)
        if place + 1 < len(STAGES):
            arrow(ax, (8.25, top - TALL + 0.1), (8.25, top - TALL - GAP))
    loop(ax, -len(STAGES) * (TALL + GAP) + GAP - 0.05)
    return fig


if __name__ == "__main__":
    print(save(rlhf(), Path(__file__).resolve().parent / "rlhf.svg", ALT))
