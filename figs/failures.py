"""Draw the common failures, from the tables beside the evidence: python figs/failures.py"""

from __future__ import annotations

import math
from statistics import fmean

import matplotlib.pyplot as plt
from results import EVIDENCE, LETTERS, MARKERS, axes, curve, level, save_all, table

from finetunelab.evidence.store import load_rows
from finetunelab.experiments.failures import DROPPED, FACTORS, KEPT, times
from finetunelab.experiments.failures_in_use import LAST_COLUMN, LAST_TOKEN, PENALTIES
from finetunelab.experiments.overoptimization import FREE
from finetunelab.plots import COLORS, PALETTE, label_ends, style
from finetunelab.stats import t_interval

VOCABULARY = 4_096  # tokens of the base
WRONG, RIGHT = PALETTE["orange"], PALETTE["blue"]


def padding() -> plt.Figure:
    """G2: how the score of a response changes with the pad tokens behind it, five responses."""
    fig, ax = axes("Same response, more padding", "pad tokens behind it", "change of its score")
    for arm, color in ((LAST_TOKEN, RIGHT), (LAST_COLUMN, WRONG)):
        found = table("G2", ("seed", "pads"), "score", arm=arm)
        pads = sorted({int(more) for _, more in found})
        for seed in sorted({seed for seed, _ in found}):
            scores = [found[seed, str(more)][0] for more in pads]
            ax.plot(range(len(pads)), [score - scores[0] for score in scores], color=color, marker=MARKERS[int(arm == LAST_COLUMN)], markersize=5, linewidth=1.6)
        ax.plot([], [], color=color, marker=MARKERS[int(arm == LAST_COLUMN)], label=f"read at the {arm}")
    ax.set_xticks(range(len(pads)), pads)
    fig.legend(loc="outside lower center", ncols=1, fontsize=13)
    return fig


def rate() -> plt.Figure:
    """G4: logged losses at the tuned learning rate and at multiples of it, means over the seeds."""
    fig, ax = axes("Learning rate too high", "step", "loss, nats a token (log scale)")
    ends = {}
    ax.set_yscale("log")
    for place, factor in enumerate(FACTORS):
        found = table("G4", ("step",), "loss", arm=times(factor))
        steps = sorted(int(step) for (step,) in found)
        means = [fmean(found[str(step),]) for step in steps]
        ax.plot(steps, means, marker=MARKERS[place], color=COLORS[place])
        ends[times(factor)] = means[-1]
    level(ax, math.log(VOCABULARY), "every token as likely", 0.1)
    ax.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    ax.minorticks_off()
    for place, (name, end) in enumerate(ends.items()):  # label_ends measures its gaps on a linear axis
        ax.annotate(name, (steps[-1], end), xytext=(10, 0), textcoords="offset points", va="center", color=COLORS[place], fontweight="bold",
                    annotation_clip=False)
    return fig


def masked() -> plt.Figure:
    """G5: what seed 0 logged with the rows that have no target kept and dropped."""
    fig, ax = axes("One batch without a target", "step", "loss in the log")
    for arm, color, marker in ((DROPPED, RIGHT, "o"), (KEPT, WRONG, "s")):
        rows = [row for row in load_rows(EVIDENCE / "G5.csv") if row["seed"] == "0" and row["arm"] == arm and row["step"]]
        ax.plot([int(row["step"]) for row in rows], [float(row["loss"]) for row in rows], color=color, marker=marker, label=f"such rows {arm}")
        lost = [row for row in rows if not math.isfinite(float(row["gradient"]))]
        if lost:
            ax.plot([int(row["step"]) for row in lost], [float(row["loss"]) for row in lost], "x", color="black", markersize=9, markeredgewidth=2,
                    label="gradient in the log: nan")
    ax.set_ylim(-0.6, None)
    fig.legend(loc="outside lower center", ncols=1, fontsize=13)
    return fig


def overlap() -> plt.Figure:
    """G6: what a test says of two methods, by the share of it that was trained on."""
    fig, ax = axes("Tests that were trained on", "share of the test, trained on", "accuracy")
    ends = {}
    for place, arm in enumerate(PENALTIES):
        found = table("G6", ("copied",), "accuracy", arm=arm)
        shares = sorted(float(share) for (share,) in found)
        points = [t_interval(found[str(share),]) for share in shares]
        curve(ax, place, [share + 0.004 * (place - 0.5) for share in shares], points)
        ends[arm] = points[-1].estimate
    ax.set_xticks(shares, [f"{share:g}" for share in shares])
    label_ends(ax, shares[-1], ends)
    return fig


def hacking() -> plt.Figure:
    """D6: score and true worth by steps of PPO without a penalty, each chain a thin line, their mean a thick one."""
    style()
    plt.rcParams.update(LETTERS)
    fig, panels = plt.subplots(2, 1, figsize=(5.6, 6.4), sharex=True)
    for ax, (column, name, color) in zip(panels, (("score", "what the log shows: the score", RIGHT), ("worth", "what it is worth", WRONG)), strict=True):
        found = table("D6", ("seed", "step"), column, arm=FREE)  # two halves of the tests each
        seeds, steps = (sorted({key[i] for key in found}, key=int) for i in range(2))
        for seed in seeds:
            ax.plot(list(map(int, steps)), [fmean(found[seed, step]) for step in steps], color=color, linewidth=1, alpha=0.5)
        ax.plot(list(map(int, steps)), [fmean(fmean(found[seed, step]) for seed in seeds) for step in steps], color=color, linewidth=3)
        ax.set_title(name)
    panels[0].set_ylabel("standard deviations")
    panels[1].set(ylabel="share of 1", xlabel="step of PPO, no penalty", ylim=(0, 1))
    return fig


FIGURES = {
    "padding": (
        padding,
        "Change of a response's score against the number of pad tokens behind it, from 0 to 32, five responses. Read at the last "
        "token, all five lines are flat at zero. Read at the last column, they go up and down, by up to three.",
    ),
    "rate": (
        rate,
        "Training loss on a log scale against steps, from 10 to 60, at four learning rates. At the tuned rate it falls from 5 to "
        ".4. At three times that it falls to 1, at ten times from 9 to 3. At thirty times it rises to 28, three times the loss of"
        " finding every token as likely, and ends at 7.",
    ),
    "masked": (
        masked,
        "Loss in the log against steps, from 10 to 100. With rows that have no target dropped, it falls from 12 to 3. With such "
        "rows kept, it falls to 7 at step 20 and is zero from step 30 on; from step 20 on the gradient in the log is nan.",
    ),
    "overlap": (
        overlap,
        "Accuracy against the share of the test that was trained on, from none to .4. The method that is held back starts ahead "
        "at .75 and rises slowly to .79. The one that remembers starts at .71 and rises to .82. They cross a little above .2.",
    ),
    "hacking": (
        hacking,
        "Two panels over 80 steps of PPO without a penalty, five chains and their mean. Above, the score rises by a standard "
        "deviation; in one chain it falls at step 32 and recovers. Below, the true worth rises a little up to step 8, from .7 to "
        ".8, and then falls to .4.",
    ),
}


if __name__ == "__main__":
    save_all("failures", FIGURES)
