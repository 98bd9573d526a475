"""Draw what chapter 5 measured, from the tables beside the evidence: python figs/retrieval_results.py"""

from __future__ import annotations

from statistics import fmean

import matplotlib.pyplot as plt
from results import LETTERS, axes, beside, curve, level, log_axis, save_all, table

from finetunelab.experiments.changing_facts import FROZEN, NIGHTLY, PASTED, RETRIEVED
from finetunelab.plots import COLORS, label_ends, style
from finetunelab.stats import t_interval

CHANCE = 0.5  # of two labels
LABELS = {"in context": "in context", "full": "new head", "label words": "label words", "TF-IDF": "TF-IDF"}


def demonstrations() -> plt.Figure:
    """E1: accuracy against demonstrations, on seen and on unseen concepts."""
    fig, ax = axes("Examples in the prompt", "demonstrations", "accuracy")
    ends = {}
    for place, kind in enumerate(("seen", "unseen")):
        found = table("E1", ("k",), "accuracy", task=kind, labels="arbitrary")
        shots = sorted(int(k) for (k,) in found)
        points = [t_interval(found[str(k),]) for k in shots]
        curve(ax, place, list(range(len(shots))), points)
        ends[f"{kind} concepts"] = points[-1].estimate
    level(ax, CHANCE, "chance", 1, (-52, -16))
    ax.set_xticks(range(len(shots)), shots)
    ax.set_ylim(0.4, 1.02)
    label_ends(ax, len(shots) - 1, ends)
    return fig


def labels() -> plt.Figure:
    """E3: accuracy against labels that are shown, trained on, or counted, on a seen and on an unseen concept."""
    style()
    plt.rcParams.update(LETTERS)
    fig, panels = plt.subplots(2, 1, figsize=(5.6, 7.6), sharex=True, constrained_layout=True)
    for ax, kind in zip(panels, ("seen", "unseen"), strict=True):
        ends = {}
        for place, (arm, name) in enumerate(LABELS.items()):
            found = table("E3", ("labels",), "accuracy", concept=kind, arm=arm)
            amounts = sorted(float(n) for (n,) in found)
            points = [t_interval(found[f"{n:.0f}",]) for n in amounts]
            curve(ax, place, beside(place, amounts), points)
            ends[name] = points[-1].estimate
        level(ax, CHANCE)
        ax.set(title=f"{kind.capitalize()} concepts", ylabel="accuracy", ylim=(0.4, 1.06))
        log_axis(ax, amounts[::2] + amounts[-1:])
        label_ends(ax, 1.15 * amounts[-1], ends)
    panels[-1].set_xlabel("labels (log scale)")
    return fig


def days() -> plt.Figure:
    """E4: questions about today answered rightly on each of thirty days, in four ways."""
    fig, ax = axes("Questions about today", "day", "answered rightly")
    ends = {}
    for place, way in enumerate((RETRIEVED, NIGHTLY, PASTED, FROZEN)):
        found = table("E4", ("day",), "right", arm=way)
        numbers = sorted(int(day) for (day,) in found)
        means = [fmean(found[str(day),]) for day in numbers]
        ax.plot(numbers, means, color=COLORS[place])
        ends[way] = means[-1]
    ax.set_ylim(-0.02, 1.03)
    label_ends(ax, numbers[-1], ends)
    return fig


def cost() -> plt.Figure:
    """E4: FLOPs a day against questions a day; where two lines cross, both ways cost the same."""
    fig, ax = axes("What a day costs", "questions a day", "GFLOP a day")
    asked, ends = [0, 200], {}
    for place, way in enumerate((RETRIEVED, NIGHTLY)):
        a_day, a_question = (fmean(*table("E4", (), part, arm=way).values()) / 1e9 for part in ("a_day", "a_question"))
        costs = [a_day + n * a_question for n in asked]
        ax.plot(asked, costs, color=COLORS[place])
        ends[way] = costs[-1]
    ax.set_ylim(0, None)
    label_ends(ax, asked[-1], ends)
    return fig


FIGURES = {
    "demonstrations": (
        demonstrations,
        "Accuracy against demonstrations, from none to sixteen. Both curves begin at one half, which is chance, and stay "
        "there with one demonstration. On seen concepts the curve jumps above .9 with two and stays there. On unseen "
        "concepts it creeps up to .6.",
    ),
    "labels": (
        labels,
        "Two panels: accuracy against labels, from 2 to 256. Above, a concept of a kind seen as examples: in context, "
        "accuracy is above .9 with two labels and dips to .9 from 64 on; fine-tuning to write the label word starts near .9 "
        "and reaches 1; a new head starts near .65 and reaches .99; TF-IDF starts at chance and reaches .99. Below, a "
        "concept never seen as examples: in context it stays near .6 and falls; the three others rise from near chance to "
        "above .98.",
    ),
    "cost": (
        cost,
        "Two straight lines: billions of FLOPs a day against questions a day. Nightly training starts at 80 and is nearly flat. Retrieval starts near "
        "zero and rises. They cross at about one hundred questions a day.",
    ),
    "days": (
        days,
        "Four lines over thirty days. Retrieval and nightly training run side by side near 1, nightly training a little "
        "higher until the last days. With the paper pasted into the prompt it is about one half, and for the frozen reader "
        "below one tenth.",
    ),
}


if __name__ == "__main__":
    save_all("retrieval", FIGURES)
