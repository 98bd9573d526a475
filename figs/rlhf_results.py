"""Draw what chapter 4 measured of reviewers, from the tables beside the evidence: python figs/rlhf_results.py"""

from __future__ import annotations

import matplotlib.pyplot as plt
from results import axes, beside, curve, level, log_axis, save_all, table

from finetunelab.experiments.comparisons import NAMES
from finetunelab.experiments.reviewers import BEST, WORDS
from finetunelab.plots import label_ends
from finetunelab.stats import t_interval


def comparisons() -> plt.Figure:
    """D3: clicks guessed against the number of comparisons, from two starts, and by a bag of words."""
    fig, ax = axes("How many comparisons", "comparisons (log scale)", "clicks guessed")
    ends = {}
    for place, arm in enumerate((*NAMES.values(), WORDS)):
        found = table("D3", ("comparisons",), "clicks", arm=arm)
        amounts = sorted(float(n) for (n,) in found)
        points = [t_interval(found[f"{n:.0f}",]) for n in amounts]
        curve(ax, place, beside(place, amounts), points)
        ends[arm.replace("after preference model pretraining", "pretrained")] = points[-1].estimate
    (best,) = table("D3", (), "clicks", arm=BEST).values()
    possible = t_interval(best).estimate
    level(ax, possible, "the best possible guess")
    log_axis(ax, [amounts[0], amounts[2], amounts[-1]])
    ax.set_ylim(0.5, possible + 0.04)
    label_ends(ax, amounts[-1], ends)
    return fig


FIGURES = {
    "comparisons": (
        comparisons,
        "Share of clicks guessed against the number of comparisons, from 300 to 9,600. From the assistant it rises slowly, from .62 to .67. After preference "
        "model pretraining it starts at .66, dips at 1,200, and ends at .73. A bag of words rises from .55 to .64. All stay below a dashed line at .81, the "
        "best possible guess.",
    ),
}


if __name__ == "__main__":
    save_all("rlhf", FIGURES)
