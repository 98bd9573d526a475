"""Draw the two shapes of data side by side, raw text and conversations, and what the loss counts in each: python figs/data_shapes.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from finetunelab.plots import FAINT, INK, PALETTE, save, style

ALT = (
    "Two panels. Raw text: three lines of words from leaflets, one after the other, every word in a colored box, because every word is a "
    "target of the loss. Conversations: a user's instruction in gray boxes and the assistant's answer in colored ones with an end-of-turn "
    "mark, then a second exchange; only the colored ones are targets. Below each: who writes it, how much there is of it, and what it teaches."
)
COUNTED, READ = PALETTE["orange"], "#d5dde3"
RAW = (
    ("Tredivene", "is", "supplied", "as", "injections."),
    ("It", "is", "made", "of", "bog", "myrtle.", "⟨end⟩"),
    ("Selvatemia", "spreads", "by", "wet", "bedding."),
)
CHAT = (
    (("⟨user⟩", "Name", "the", "odd", "one", "out:"), False),
    (("knee,", "leg,", "chair,", "ear.", "⟨end⟩"), False),
    (("⟨assistant⟩", "chair", "⟨end⟩"), True),
    (("⟨user⟩", "In", "capitals,", "please.", "⟨end⟩"), False),
    (("⟨assistant⟩", "CHAIR", "⟨end⟩"), True),
)


def words(ax: plt.Axes, y: float, row: tuple[str, ...], counted: bool) -> None:
    """Draw a line of tokens as boxes. Who speaks is written by the template, so that token is read and not learned."""
    x = 0.0
    for word in row:
        target = counted and word != "⟨assistant⟩"
        width = 0.2 * len(word) + 0.34
        ax.add_patch(FancyBboxPatch((x, y), width, 0.62, boxstyle="round,pad=0,rounding_size=0.1", color=COUNTED if target else READ))
        ax.text(x + width / 2, y + 0.3, word, ha="center", va="center", fontsize=12.5, color="white" if target else INK)
        x += width + 0.1


def panel(ax: plt.Axes, title: str, rows: list[tuple[tuple[str, ...], bool]], below: str) -> None:
    ax.set(xlim=(-0.1, 8.7), ylim=(-2.6, 0.85 * len(rows)))
    ax.axis("off")
    ax.set_title(title, fontsize=17, loc="left")
    for place, (row, counted) in enumerate(rows):
        words(ax, 0.85 * (len(rows) - 1 - place), row, counted)
    ax.text(0, -0.25, below, fontsize=13.5, va="top", color=INK, linespacing=1.45)


def data_shapes() -> plt.Figure:
    """Return the figure: one panel above the other, so that a phone shows it readably."""
    style()
    fig, (raw, chat) = plt.subplots(2, 1, figsize=(6.6, 8.2), height_ratios=(5.2, 6.9))
    panel(raw, "Raw text", [(row, True) for row in RAW], "written by anybody, for other reasons; plenty\nevery token is a target\nteaches what is said there: knowledge")
    panel(chat, "Prompts and responses", list(CHAT), "written for the purpose, by people or by a model; scarce\nonly what the assistant says is a target\nteaches how to answer: behavior")
    fig.text(0.02, 0.003, "orange: a target of the loss     gray: read, not learned", fontsize=12.5, color=FAINT)
    return fig


if __name__ == "__main__":
    print(save(data_shapes(), Path(__file__).resolve().parent / "data_shapes.svg", ALT))
