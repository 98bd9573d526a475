"""Draw what chapter 3 measured, from the tables beside the evidence: python figs/knowledge_results.py"""

from __future__ import annotations

import matplotlib.pyplot as plt
from results import axes, beside, curve, level, log_axis, save_all, table

from finetunelab.experiments import find
from finetunelab.plots import COLORS, FAINT, label_ends
from finetunelab.stats import t_interval

CHANCE = 1 / 5  # one of five endings


def text() -> plt.Figure:
    """C2: recall against the number of documents, in new wordings and in those of the documents."""
    fig, ax = axes("How much text", "documents read (log scale)", "questions answered rightly")
    ends = {}
    for place, (column, name) in enumerate((("recall", "new wordings"), ("as worded", "as worded"))):
        found = table("C2", ("documents",), column)
        amounts = sorted(float(n) for (n,) in found)
        points = [t_interval(found[f"{n:.0f}",]) for n in amounts]
        curve(ax, place, beside(place, amounts), points)
        ends[name] = points[-1].estimate
    level(ax, CHANCE, "chance", offset=(4, -16))
    log_axis(ax, amounts[::2] + amounts[-1:])
    ax.set_ylim(0, 1)
    label_ends(ax, amounts[-1], ends)
    return fig


def kinds() -> plt.Figure:
    """C7: what is followed of unseen combinations and kinds, against the kinds that were trained on."""
    fig, ax = axes("How many kinds", "kinds of instruction trained on", "new instructions followed")
    ends = {}
    for place, unseen in enumerate(("combinations", "kinds")):
        found = table("C7", ("kinds",), "followed", unseen=unseen)
        amounts = sorted(int(n) for (n,) in found)
        points = [t_interval(found[str(n),]) for n in amounts]
        curve(ax, place, amounts, points)
        ends[f"unseen {unseen}"] = points[-1].estimate
    ax.set_xticks(amounts)
    label_ends(ax, amounts[-1], ends)
    return fig


def masking() -> plt.Figure:
    """C9: what masking the prompt changed with each seed, and the interval of the mean."""
    fig, ax = axes("Ten pairs of runs", "masked less unmasked", "", (5.6, 3.4))
    names = {"short": "prompts about as\nlong as answers", "long": "prompts ten times\nas long"}
    for row, name in enumerate(names):
        masked, unmasked = (table("C9", ("prompts",), "followed", loss=loss)[name,] for loss in ("answers only", "all tokens"))
        differences = [one - other for one, other in zip(masked, unmasked, strict=True)]
        point = t_interval(differences)
        ax.plot(differences, [row] * len(differences), "o", color=COLORS[row], alpha=0.45)
        ax.plot([point.low, point.high], [row + 0.22] * 2, color=COLORS[row], linewidth=4, solid_capstyle="butt")
        ax.plot([point.estimate], [row + 0.22], "|", color=COLORS[row], markersize=16, markeredgewidth=3)
    margin = find(["C9"])[0].claims[0].margin
    ax.axvspan(-margin, margin, color=FAINT, alpha=0.2, linewidth=0)
    ax.set_yticks(range(len(names)), list(names.values()))
    ax.set_ylim(len(names) - 0.4, -0.5)
    return fig


def memory() -> plt.Figure:
    """C6: right answers by how many exchanges back the early turn stands, for the three ways to use conversations."""
    fig, ax = axes("What is remembered", "exchanges back", "right answers")
    ends = {}
    for place, arm in enumerate(("multi-turn", "control", "single-turn")):
        found = table("C6", ("distance",), "right", arm=arm, question="needs the early turn")
        distances = sorted(int(distance) for (distance,) in found)
        points = [t_interval(found[str(distance),]) for distance in distances]
        curve(ax, place, distances, points)
        ends[arm] = points[-1].estimate
    ax.set_xticks(distances)
    ax.set_ylim(-0.02, 1)
    label_ends(ax, distances[-1], ends)
    return fig


FIGURES = {
    "text": (
        text,
        "Share of questions answered rightly against the number of clinic documents read, from 64 to 2,048. In new wordings it rises from "
        "chance, a fifth, to above two fifths. In the documents' own wordings it stays near chance up to some 500 documents and then rises "
        "steeply to above four fifths.",
    ),
    "kinds": (
        kinds,
        "Share of instructions followed against the kinds trained on, 3, 6, 11, and 17. Unseen combinations rise from none to about a quarter. "
        "Unseen kinds stay at zero.",
    ),
    "masking": (
        masking,
        "For prompts about as long as answers and for prompts ten times as long: ten dots each, what masking changed with each seed, and "
        "below them the interval of the mean. A gray band shows the margin within which a difference counts as none.",
    ),
    "memory": (
        memory,
        "Share of right answers against the distance of the early turn, one to eight exchanges back. The model trained on whole conversations "
        "stays near two thirds at every distance. The control begins a little above a third and falls to a tenth and less. The one trained "
        "on single exchanges is near zero throughout.",
    ),
}


if __name__ == "__main__":
    save_all("knowledge", FIGURES)
