"""Draw what fine-tuning is, with a classifier that is really trained: python figs/fine_tuning.py"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from finetunelab.plots import FAINT, INK, PALETTE, save, style

ALT = (
    "Three panels, one below the other. One, pretraining: many texts of two classes, drawn as circles and squares, and a boundary that was "
    "learned from them. Two, the data shift: new texts lie elsewhere, and the old boundary leaves many circles on the wrong side, marked "
    "with crosses. Three, adaptation: a few of the new texts have labels, and some more steps of training from the old boundary have "
    "turned it so that nearly all are right."
)
CLASSES = (("o", PALETTE["blue"]), ("s", PALETTE["orange"]))
SOURCE, TARGET = ((-1.1, 0.5), (1.0, -0.4)), ((0.5, 1.7), (1.3, 0.1))  # the centers of the classes


def draw(rng: np.random.Generator, centers, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n points in the plane, and the class of each."""
    labels = np.arange(n) % 2
    return np.array(centers)[labels] + rng.normal(0, 0.45, (n, 2)), labels


def terms(points: np.ndarray) -> np.ndarray:
    """Return what the classifier sees of each point: 1, x, y, x squared, x times y."""
    x, y = points.T
    return np.stack([np.ones_like(x), x, y, x * x, x * y], axis=1)


def train(weights: np.ndarray, points: np.ndarray, labels: np.ndarray, steps: int, rate: float = 0.3) -> np.ndarray:
    """Return the weights of a logistic regression after some more steps of gradient descent."""
    for _ in range(steps):
        p = 1 / (1 + np.exp(-terms(points) @ weights))
        weights = weights - rate * terms(points).T @ (p - labels) / len(labels)
    return weights


def scatter(ax: plt.Axes, points: np.ndarray, labels: np.ndarray, alpha: float = 1.0, size: float = 42) -> None:
    for label, (marker, color) in enumerate(CLASSES):
        ax.scatter(*points[labels == label].T, marker=marker, color=color, s=size, alpha=alpha, linewidth=0)


def crosses(ax: plt.Axes, points: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> None:
    """Cross out the points that a boundary leaves on the wrong side."""
    wrong = (terms(points) @ weights > 0) != labels
    ax.scatter(*points[wrong].T, marker="x", color=INK, s=80, linewidth=1.8)


def boundary(ax: plt.Axes, weights: np.ndarray, old: bool = False) -> None:
    x, y = np.meshgrid(np.linspace(-3, 3, 200), np.linspace(-2, 3, 200))
    score = (terms(np.stack([x.ravel(), y.ravel()], axis=1)) @ weights).reshape(x.shape)
    ax.contour(x, y, score, [0], colors=[FAINT if old else INK], linestyles=["--" if old else "-"], linewidths=2.6)


def panel(ax: plt.Axes, title: str, below: str) -> None:
    ax.set(xlim=(-2.6, 2.6), ylim=(-1.6, 2.7), xticks=[], yticks=[])
    ax.set_title(title, fontsize=18)
    ax.set_xlabel(below, fontsize=15, loc="left")
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)


def fine_tuning() -> plt.Figure:
    """Return the figure: panels below one another with large letters, so that a phone shows it readably."""
    style()
    rng = np.random.default_rng(1)
    known, known_labels = draw(rng, SOURCE, 120)
    new, new_labels = draw(rng, TARGET, 60)
    old = train(np.zeros(5), known, known_labels, 600)
    few = slice(0, 12)
    adapted = train(old, new[few], new_labels[few], 150)
    fig, (pretraining, shift, adaptation) = plt.subplots(3, figsize=(6.4, 11.4))

    panel(pretraining, "1  Pretraining", "many texts of two classes (round, square),\nand a boundary learned from them")
    scatter(pretraining, known, known_labels)
    boundary(pretraining, old)

    panel(shift, "2  The data shift", "new texts lie elsewhere; the old boundary\ngets the crossed ones wrong")
    scatter(shift, known, known_labels, alpha=0.15)
    scatter(shift, new, new_labels)
    boundary(shift, old)
    crosses(shift, new, new_labels, old)

    panel(adaptation, "3  Adaptation", "twelve labels and some more steps from the\nold boundary (dashed), not from scratch")
    scatter(adaptation, new, new_labels, alpha=0.3)
    scatter(adaptation, new[few], new_labels[few], size=90)
    boundary(adaptation, old, old=True)
    boundary(adaptation, adapted)
    crosses(adaptation, new, new_labels, adapted)
    return fig


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    print(save(fine_tuning(), folder / "fine_tuning.svg", ALT))
