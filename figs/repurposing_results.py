"""Draw what chapter 2 measured, from the tables beside the evidence: python figs/repurposing_results.py"""

from __future__ import annotations

from statistics import fmean

import matplotlib.pyplot as plt
from results import MARKERS, axes, beside, curve, level, log_axis, save_all, table

from finetunelab.plots import COLORS, FAINT, label_ends
from finetunelab.stats import t_interval

TASKS = {"topic": "topic", "sentiment": "verdict"}


def layers() -> plt.Figure:
    """The sweep of B1: the best head on each layer, on validation reviews."""
    fig, ax = axes("What each layer knows", "layer (0: input embeddings)", "accuracy")
    ends = {}
    for place, (task, name) in enumerate(TASKS.items()):
        found = {int(layer): max(scores) for (layer,), scores in table("B1-rates", ("layer",), "accuracy", task=task, arm="head").items()}
        ax.plot(list(found), list(found.values()), marker=MARKERS[place], color=COLORS[place])
        guess = 1 / 6 if task == "topic" else 1 / 2
        ax.axhline(guess, color=COLORS[place], linestyle=":", linewidth=1.4)
        ends[name] = found[max(found)]
    label_ends(ax, max(found), ends)
    ax.annotate("guessing", (0, 1 / 6), xytext=(0, 4), textcoords="offset points", color=FAINT)
    ax.set_ylim(0, 1.03)
    return fig


def labels() -> plt.Figure:
    """B4: accuracy against the number of labels, for a head on the frozen base and for TF-IDF."""
    fig, ax = axes("How many labels", "labels", "accuracy on other reviews")
    ends = {}
    for place, (column, name) in enumerate((("accuracy", "frozen"), ("TF-IDF", "TF-IDF"))):
        found = table("B4", ("labels",), column, kind="B4.labels")
        amounts = sorted(float(n) for (n,) in found)
        points = [t_interval(found[f"{n:.0f}",]) for n in amounts]
        curve(ax, place, beside(place, amounts), points)
        ends[name] = points[-1].estimate
    log_axis(ax, amounts[::2])
    label_ends(ax, amounts[-1], ends)
    return fig


def noise() -> plt.Figure:
    """B4: accuracy against the share of wrong labels, for a head on the frozen base and for TF-IDF."""
    fig, ax = axes("How clean", "share of labels that are wrong", "accuracy on other reviews")
    ends = {}
    for place, (column, name) in enumerate((("accuracy", "frozen"), ("TF-IDF", "TF-IDF"))):
        found = table("B4", ("noise",), column, kind="B4.noise")
        shares = sorted(float(share) for (share,) in found)
        points = [t_interval(found[f"{share:g}" if share else "0.0",]) for share in shares]
        curve(ax, place, shares, points)
        ends[name] = points[-1].estimate
    ax.set_xticks(shares, [f"{share:.0%}" for share in shares])
    label_ends(ax, shares[-1], ends)
    return fig


def cost_and_quality() -> plt.Figure:
    """B7: accuracy on hard reviews against the parameters that are trained."""
    fig, ax = axes("What a share of the parameters buys", "parameters trained (log scale)", "accuracy on hard reviews", (5.6, 4.8))
    scores, trained = table("B7", ("arm",), "accuracy"), table("B7", ("arm",), "trained")
    kinds = {"frozen": 3, "last": 1, "LoRA": 0, "full": 2}
    for (arm,), values in scores.items():
        if (arm,) not in trained:
            continue
        place = next(place for kind, place in kinds.items() if arm.startswith(kind))
        at, point = fmean(trained[arm,]), t_interval(values)
        ax.plot([at], [point.estimate], MARKERS[place], color=COLORS[place], markersize=9)
        ax.vlines([at], point.low, point.high, color=COLORS[place], linewidth=1.6)
        aside = dict(xytext=(7, 5)) if place > 1 else dict(xytext=(-7, -14 if place else 5), ha="right")
        name = {"last block": "1 block", "last 3 blocks": "3 blocks"}.get(arm, arm.replace("LoRA, rank ", "r = "))
        ax.annotate(name, (at, point.estimate), textcoords="offset points", color=COLORS[place], **aside)
    plain = fmean(scores["TF-IDF",])
    level(ax, plain, "TF-IDF", offset=(4, 4))
    ax.set_xscale("log")
    ax.margins(x=0.18)
    return fig


def size() -> plt.Figure:
    """B8: memory at its peak against the size of the model."""
    fig, ax = axes("What size costs", "parameters (log scale)", "peak memory in MB (log scale)", (5.6, 4.8))
    for place, arm in enumerate(("full", "full, checkpointing", "LoRA", "frozen")):
        found = table("B8", ("parameters",), "peak bytes", arm=arm)
        sizes = sorted(float(n) for (n,) in found)
        peaks = [fmean(found[f"{n:.0f}",]) / 1e6 for n in sizes]
        ax.plot(sizes, peaks, marker=MARKERS[place], color=COLORS[place], label=arm)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.legend(loc="upper left", fontsize=13)
    return fig


FIGURES = {
    "layers": (
        layers,
        "Accuracy of heads on each layer of the frozen base. For the topic it falls at first and is highest at layer 4; for the verdict it is "
        "highest at the input embeddings and falls with each layer.",
    ),
    "labels": (
        labels,
        "Accuracy for the topic against 16 to 2,048 labels. The frozen base is far ahead with few labels; TF-IDF passes it with some hundreds.",
    ),
    "noise": (
        noise,
        "Accuracy for the topic against the share of wrong labels, from none to four in ten. It falls for both, and for TF-IDF more steeply.",
    ),
    "cost": (
        cost_and_quality,
        "Accuracy on hard reviews against the number of parameters trained: the frozen head is lowest, at the left. LoRA rises with its rank, "
        "to just above word counts at ranks 4 and 8. Last blocks and full fine-tuning, at the right, lie a little below, with wide intervals.",
    ),
    "size": (
        size,
        "Peak memory against the number of parameters on logarithmic axes, for full fine-tuning, the same with checkpointing, LoRA, and a "
        "frozen model. All rise; full is highest and frozen lowest.",
    ),
}


if __name__ == "__main__":
    save_all("repurposing", FIGURES)
