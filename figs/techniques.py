"""Draw the ways to repurpose a model, what each trains and what that takes: python figs/techniques.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

from finetunelab.heads import Classifier
from finetunelab.models import count_parameters, load_model
from finetunelab.plots import INK, PALETTE, save, style
from finetunelab.repurposing import freeze_but_last, with_lora

ALT = (
    "Four stacks of boxes: embeddings at the bottom, blocks of attention above, a head on top. Frozen features: only the head is trained. "
    "Partial: the head and the last block. LoRA: the head, and a thin strip beside every block. Full: everything. Below each, the share of "
    "the base's parameters that are trained, from far below one percent to all, and what it takes."
)
TRAINED, FROZEN = PALETTE["orange"], "#d5dde3"
BLOCKS = 4


def shares() -> dict[str, float]:
    """Return the share of its parameters that each way trains of the nano base, with a head for six classes."""
    ways = {
        "frozen": lambda classifier: freeze_but_last(classifier, 0), "partial": lambda classifier: freeze_but_last(classifier, 1),
        "LoRA": with_lora, "full": lambda classifier: classifier,
    }
    made = {name: way(Classifier(load_model(), 6)) for name, way in ways.items()}
    whole = count_parameters(made["full"])
    return {name: count_parameters(classifier, trainable=True) / whole for name, classifier in made.items()}


def box(ax: plt.Axes, y: float, text: str, trained: bool, height: float = 0.7) -> None:
    ax.add_patch(FancyBboxPatch((0, y), 3, height, boxstyle="round,pad=0,rounding_size=0.12", color=TRAINED if trained else FROZEN))
    ax.text(1.5, y + height / 2, text, ha="center", va="center", color="white" if trained else INK, fontsize=15)


def stack(ax: plt.Axes, title: str, below: str, blocks: int, strips: bool = False, embeddings: bool = False) -> None:
    """Draw one way: so many blocks from the top are trained, or strips beside all, and the embeddings or not."""
    ax.set(xlim=(-0.2, 3.9), ylim=(-1.5, 5.6))
    ax.axis("off")
    ax.set_title(title, fontsize=18, loc="left")
    box(ax, 0, "embeddings", embeddings)
    for block in range(BLOCKS):
        y = 1 + 0.9 * block
        box(ax, y, "block", block >= BLOCKS - blocks)
        if strips:
            ax.add_patch(Rectangle((3.2, y), 0.28, 0.7, color=TRAINED))
    box(ax, 1 + 0.9 * BLOCKS + 0.1, "head", True)
    ax.text(0, -0.25, below, fontsize=14, va="top", color=INK)


def techniques() -> plt.Figure:
    """Return the figure: two by two, so that a phone shows it readably."""
    style()
    fig, ((frozen, partial), (lora, full)) = plt.subplots(2, 2, figsize=(6.4, 8.8))
    share = {name: f"{value:.2g}".rstrip("0") for name, value in ((name, 100 * value) for name, value in shares().items())}
    stack(frozen, "Frozen", f"{share['frozen']} % trained; features\ncomputed once and kept", 0)
    stack(partial, "Last block", f"{share['partial']} % trained; backward\nthrough one block", 1)
    stack(lora, "LoRA", f"{share['LoRA']} % trained; backward\nthrough all blocks", 0, strips=True)
    stack(full, "Full", "100 % trained; everything\nmoves, everything is kept", BLOCKS, embeddings=True)
    return fig


if __name__ == "__main__":
    print(save(techniques(), Path(__file__).resolve().parent / "techniques.svg", ALT))
