"""Draw the guide of chapter 6, as the package gives it: python figs/choosing.py"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from textwrap import wrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from finetunelab.choosing import AS_IS, GUIDE, advise
from finetunelab.plots import FAINT, INK, PALETTE, save, style

ALT = "The guide, read from the top. " + " ".join(
    f"{wanted[0].upper()}{wanted[1:]}: " + "; ".join(f"{condition}: {advise(situation).method}" for _, condition, situation in rows) + "."
    for wanted, rows in ((wanted, list(rows)) for wanted, rows in groupby(GUIDE, key=lambda row: row[0]))
)
WIDTH, STEP, LETTERS = 30, 1.0, 13  # letters of a condition's line; height of a row; size of letters


def guide() -> plt.Figure:
    """Return the figure: for each thing wanted the conditions, and an arrow from each to its method."""
    style()
    groups = [(wanted, list(rows)) for wanted, rows in groupby(GUIDE, key=lambda row: row[0])]
    height = sum(0.9 + STEP * len(rows) for _, rows in groups)
    fig, ax = plt.subplots(figsize=(5.8, 0.62 * height))
    ax.set(xlim=(0, 10), ylim=(height, -0.1))
    ax.axis("off")
    y = 0.0
    for wanted, rows in groups:
        ax.text(0, y + 0.35, f"You want {wanted}", fontsize=LETTERS + 2, weight="bold", va="center", color=INK)
        y += 0.8
        for _, condition, situation in rows:
            method = advise(situation).method
            color = FAINT if method == AS_IS else PALETTE["blue"]
            ax.text(0.2, y + 0.4, "\n".join(wrap(condition, WIDTH)), fontsize=LETTERS, va="center", color=INK, linespacing=1.0)
            ax.annotate("", (6.3, y + 0.4), (5.6, y + 0.4), arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.6})
            ax.add_patch(FancyBboxPatch((6.4, y + 0.06), 3.5, 0.68, boxstyle="round,pad=0,rounding_size=0.12", color=color))
            ax.text(8.15, y + 0.4, method, fontsize=LETTERS, ha="center", va="center", color="white")
            y += STEP
        y += 0.1
    return fig


if __name__ == "__main__":
    print(save(guide(), Path(__file__).resolve().parent / "choosing.svg", ALT))
