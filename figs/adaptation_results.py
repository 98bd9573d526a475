"""Draw what chapter 1 measured, from the tables beside the evidence: python figs/adaptation_results.py"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
from results import MARKERS, axes, beside, curve, log_axis, save_all, table

from finetunelab.plots import COLORS, FAINT, label_ends
from finetunelab.stats import as_ratio, t_interval


def causes() -> plt.Figure:
    """A1: the error on letters that differ in one respect only."""
    found = {kind: t_interval(values) for (kind,), values in table("A1", ("texts",), "error", model="detector").items()}
    names = {"mail": "letters", "posts": "posts (all four)"}
    order = sorted(found, key=lambda kind: found[kind].estimate)
    fig, ax = axes("Where the errors come from", "error rate, with 95 % interval", "", (5.6, 3.8))
    for row, kind in enumerate(order):
        ax.plot([found[kind].low, found[kind].high], [row, row], color=COLORS[0])
        ax.plot([found[kind].estimate], [row], "o", color=COLORS[0])
    ax.axvline(0.5, color=FAINT, linestyle="--", linewidth=1.4)
    ax.annotate("a coin", (0.5, 0), xytext=(-6, 0), textcoords="offset points", ha="right", va="center", color=FAINT)
    ax.set_yticks(range(len(order)), [names.get(kind, f"{kind} alone") for kind in order])
    ax.set_xlim(0, 0.58)
    return fig


def signs() -> plt.Figure:
    """A7: the distance of new texts and the error on them, a mean over the seeds for each rung."""
    fig, ax = axes("Far away is not the same as harmful", "distance from known letters", "error rate", (5.6, 4.8))
    kinds = ("harmful", "harmless", "label shift")
    for place, kind in enumerate(kinds):
        keys = ("rung", "severity")
        far, wrong = (table("A7", keys, value, kind=kind) for value in ("distance", "error"))
        x, y = ([sum(values) / len(values) for values in column.values()] for column in (far, wrong))
        ax.plot(x, y, MARKERS[place], color=COLORS[place], label=kind, markersize=9)
        for (rung, severity), at_x, at_y in zip(far, x, y, strict=True):
            if kind == "harmful" and float(severity) == 1:
                name, above = rung if rung == "all four" else f"{rung} alone", rung == "topic"
                ax.annotate(name, (at_x, at_y), xytext=(8, 5 if above else -4), textcoords="offset points", color=COLORS[place],
                            ha="left" if at_x < 0.22 else "right", va="bottom" if above else "top")
    ax.legend(loc="upper left", bbox_to_anchor=(0.5, 0.74), fontsize=13)
    ax.set_ylim(0, 0.58)
    return fig


def labels() -> plt.Figure:
    """A2: accuracy on posts against the number of labelled posts."""
    fig, ax = axes("Labels and accuracy on posts", "labeled posts", "accuracy")
    ends = {}
    for place, arm in enumerate(("mail detector", "base", "random init", "TF-IDF")):
        found = table("A2", ("labels",), "accuracy", arm=arm, severity="1.0")
        amounts = sorted(float(n) for (n,) in found if float(n))
        points = [t_interval(found[f"{n:.0f}",]) for n in amounts]
        curve(ax, place, beside(place, amounts), points)
        ends[arm] = points[-1].estimate
    log_axis(ax, amounts)
    label_ends(ax, amounts[-1], ends)
    return fig


def chef() -> plt.Figure:
    """A5: perplexity on Thai recipes against the number read; the means are geometric, since perplexities span decades."""
    fig, ax = axes("Learning Thai", "Thai recipes read", "perplexity on others (log scale)")
    for place, arm in enumerate(("French", "novice")):
        found = table("A5", ("recipes",), "perplexity", arm=arm)
        amounts = sorted(float(n) for (n,) in found if float(n))
        points = [as_ratio(t_interval([math.log(value) for value in found[f"{n:.0f}",]])) for n in amounts]
        curve(ax, place, beside(place, amounts), points)
        name = "chef" if arm == "French" else arm
        # At the start of the curves, where they lie apart.
        aside = dict(xytext=(10, 6)) if arm == "novice" else dict(xytext=(-12, -6), ha="right", va="top")
        ax.annotate(name, (amounts[1], points[1].estimate), textcoords="offset points", color=COLORS[place], fontweight="bold", **aside)
    log_axis(ax, amounts)
    ax.set_yscale("log")
    ax.set_yticks([1, 3, 10, 30, 100, 300], ["1", "3", "10", "30", "100", "300"])
    ax.minorticks_off()
    return fig


FIGURES = {
    "causes": (
        causes,
        "Error rate of the mail detector with 95 % intervals, from low to high: letters and letters of another length lie lowest, then "
        "another format, slang, and topic; topic alone lies almost as high as posts, which differ in all four, and that is near a coin's.",
    ),
    "signs": (
        signs,
        "Error against distance for many kinds of text. Length alone and format alone lie far out with few errors; topic alone lies near "
        "with many. Harmless shifts and shifts of the class shares lie near the origin.",
    ),
    "labels": (
        labels,
        "Accuracy on posts against 8 to 2,048 labels. TF-IDF is highest from 32 labels on, the base follows, random weights and the mail "
        "detector end lowest and close together.",
    ),
    "chef": (
        chef,
        "Perplexity on Thai recipes against the number of Thai recipes read. With 10 recipes the two are level. With 30 the chef is far "
        "below the novice; with 100 they are close, and with 300 they nearly meet.",
    ),
}


if __name__ == "__main__":
    save_all("adaptation", FIGURES)
