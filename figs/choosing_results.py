"""Draw what the methods made of the needs of chapter 6: python figs/choosing_results.py"""

from __future__ import annotations

import results
from results import LETTERS, plt

from finetunelab.choosing import METHODS
from finetunelab.experiments.choosing import CASES
from finetunelab.plots import COLORS, FAINT, style
from finetunelab.stats import t_interval

ALTS = {
    "needs": "Seven panels, one for each case. Each has a row for every method that applies, with the mean quality over five draws and its "
    "interval. The table of the page has the same numbers.",
}


def needs() -> plt.Figure:
    """Return the figure: for each case the quality of every method."""
    style()
    plt.rcParams.update(LETTERS)
    found = {name: results.table("F1", ("method",), "quality", case=name) for name in CASES}
    heights = [len(methods) + 1.2 for methods in found.values()]
    fig, axes = plt.subplots(len(found), 1, figsize=(5.6, 0.36 * sum(heights)), sharex=True, height_ratios=heights)
    for number, (ax, (name, methods)) in enumerate(zip(axes, found.items(), strict=True)):
        rows = [method for method in METHODS if (method,) in methods]
        best = max(rows, key=lambda method: sum(methods[method,]))
        for place, method in enumerate(rows):
            point = t_interval(methods[method,])
            color = COLORS[1] if method == best else COLORS[0]
            ax.plot([max(0, point.low), min(1, point.high)], [place, place], color=color)
            ax.plot([point.estimate], [place], "o", color=color)
        ax.set_yticks(range(len(rows)), rows)
        ax.set(ylim=(len(rows) - 0.4, -0.6), xlim=(-0.03, 1.03), title=name)
        ax.set_axisbelow(True)
        ax.grid(axis="x", color=FAINT, alpha=0.3)
        if number == len(found) - 1:
            ax.set_xlabel("quality; orange: the highest")
    return fig


if __name__ == "__main__":
    results.save_all("choosing", {"needs": (needs, ALTS["needs"])})
