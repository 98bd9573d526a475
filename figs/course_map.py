"""Draw the map of the course: python figs/course_map.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from finetunelab.plots import FAINT, INK, PALETTE, save, style

ALT = (
    "Map of the course. The ground: a town with known truth, and a small model that has read of it. On it stand chapters 1, adaptation; 2, repurposing; "
    "3, knowledge and behavior; 4, human feedback, which builds on 3; and 5, prompts and retrieval. Chapter 6, choosing, lies across the top. "
    "A band along the side: evidence, every claim measured."
)
# left, bottom, width, height, color, title, a line below it
BOXES = (
    (0, -3, 100, 25, "green", "The ground", "a town with known truth,\nand a small model that has read of it"),
    (0, 24, 48, 18, "sky", "1 Adaptation", "new kinds of data"),
    (52, 24, 48, 18, "sky", "2 Repurposing", "new heads"),
    (0, 46, 48, 18, "blue", "3 Knowledge and\nbehavior", ""),
    (0, 68, 48, 18, "blue", "4 Human\nfeedback", ""),
    (52, 46, 48, 40, "amber", "5 Prompts and\nretrieval", "no weight\nchanges"),
    (0, 90, 100, 18, "orange", "6 Choosing", "by need, means and cost"),
)


def course_map() -> plt.Figure:
    """Return the figure, drawn narrow and with large letters, so that a phone shows it readably."""
    style()
    fig, ax = plt.subplots(figsize=(6.4, 6.4))
    for left, bottom, width, height, color, title, below in BOXES:
        _box(ax, left, bottom, width, height, PALETTE[color])
        tall = 6 * (title.count("\n") + 1) + (5.5 * (below.count("\n") + 1) if below else 0)
        top = bottom + (height + tall) / 2
        ax.text(left + width / 2, top, title, ha="center", va="top", fontsize=18, fontweight="bold", color=INK)
        ax.text(left + width / 2, top - tall, below, ha="center", va="bottom", fontsize=15, color=INK)
    _box(ax, 104, -3, 12, 111, FAINT)
    ax.text(110, 54, "Evidence: every claim measured", rotation=90, ha="center", va="center", fontsize=17, fontweight="bold", color=INK)
    ax.set(xlim=(-2, 118), ylim=(-5, 110))
    ax.axis("off")
    return fig


def _box(ax: plt.Axes, left: float, bottom: float, width: float, height: float, color: str) -> None:
    ax.add_patch(FancyBboxPatch(
        (left + 1, bottom + 1), width - 2, height - 2, boxstyle="round,pad=0.9,rounding_size=2", facecolor=color + "2E", edgecolor=color, linewidth=2,
    ))


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    print(save(course_map(), folder / "course_map.svg", ALT))
