"""Draw how a question is answered from documents, what is done once and what every time: python figs/retrieval.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from finetunelab.plots import FAINT, INK, PALETTE, save, style

ALT = (
    "Two parts. Above, done once for a document: it is cut into chunks, the embedder turns each chunk into a vector, the vectors go into an index, and "
    "texts, sources, owners and dates into a table beside it. Below, done for every question: the same embedder turns it into a vector, the index gives the "
    "nearest chunks among those that the asker may see, they are written into the prompt before the question, each with a number, and the "
    "model writes an answer, whose source is the chunk that says the same."
)
DOCUMENT, QUESTION = PALETTE["blue"], PALETTE["orange"]


def box(ax: plt.Axes, x: float, y: float, width: float, text: str, color: str, filled: bool = False, height: float = 0.9) -> None:
    """Draw a box around its middle, with its text."""
    face, ink = (color, "white") if filled else ("white", INK)
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.14", facecolor=face, edgecolor=color, linewidth=1.5))
    ax.text(x, y, text, fontsize=12, ha="center", va="center", color=ink, weight="bold" if filled else "normal", linespacing=1.25)


def arrow(ax: plt.Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=16, color=FAINT, linewidth=1.8, shrinkA=0, shrinkB=0))


def band(ax: plt.Axes, top: float, bottom: float, title: str, color: str) -> None:
    """Draw the ground of a part, with its title."""
    ax.add_patch(FancyBboxPatch((0, bottom), 10, top - bottom, boxstyle="round,pad=0,rounding_size=0.18", facecolor=color, alpha=0.12, edgecolor="none"))
    ax.add_patch(FancyBboxPatch((0, bottom), 0.16, top - bottom, boxstyle="square,pad=0", facecolor=color, edgecolor="none"))
    ax.text(0.42, top - 0.45, title, fontsize=15, weight="bold", color=INK, va="center")


def retrieval() -> plt.Figure:
    """Return the figure: the document's way from left to right, the question's from top to bottom."""
    style()
    fig, ax = plt.subplots(figsize=(6.6, 7.4))
    ax.set(xlim=(-0.1, 10.1), ylim=(-11.5, 0.05))
    ax.axis("off")
    band(ax, 0, -4.1, "Once for each document", DOCUMENT)
    box(ax, 1.55, -1.5, 2.1, "document", DOCUMENT)
    box(ax, 4.35, -1.5, 2.1, "chunks", DOCUMENT)
    box(ax, 7.9, -1.5, 2.6, "embedder", DOCUMENT, filled=True)
    arrow(ax, (2.6, -1.5), (3.3, -1.5))
    arrow(ax, (5.4, -1.5), (6.6, -1.5))
    box(ax, 3.2, -3.25, 4.6, "table: texts, sources,\nowners, dates", DOCUMENT, height=1.15)
    box(ax, 7.9, -3.25, 3.1, "index of vectors", DOCUMENT, filled=True, height=1.15)
    arrow(ax, (4.35, -1.95), (4.35, -2.68))
    arrow(ax, (7.9, -1.95), (7.9, -2.68))
    ax.plot([5.5, 6.35], [-3.25, -3.25], color=FAINT, linewidth=1.8, linestyle=(0, (2, 2)))

    band(ax, -4.6, -11.4, "Every time somebody asks", QUESTION)
    box(ax, 2.0, -6.1, 2.6, "question", QUESTION)
    box(ax, 5.6, -6.1, 2.6, "embedder", QUESTION, filled=True)
    arrow(ax, (3.3, -6.1), (4.3, -6.1))
    box(ax, 7.15, -7.75, 5.0, "nearest chunks, of those\nthat the asker may see", QUESTION, height=1.15)
    arrow(ax, (5.6, -6.55), (5.6, -7.18))
    arrow(ax, (8.6, -3.83), (8.6, -7.18))
    box(ax, 4.75, -9.35, 8.6, "[1] Oars hang in the boat shed. …  [2] … \nQuestion: Where do I find a paddle?  Answer:", QUESTION, height=1.2)
    arrow(ax, (2.0, -6.55), (2.0, -8.75))
    arrow(ax, (7.15, -8.33), (7.15, -8.75))
    box(ax, 2.6, -10.75, 3.4, "language model", QUESTION, filled=True)
    arrow(ax, (2.6, -9.95), (2.6, -10.3))
    box(ax, 7.5, -10.75, 3.2, "boat shed [1]", QUESTION)
    arrow(ax, (4.3, -10.75), (5.9, -10.75))
    return fig


if __name__ == "__main__":
    print(save(retrieval(), Path(__file__).resolve().parent / "retrieval.svg", ALT))
