"""What the figures of results share: tables read from beside the evidence, narrow axes, curves with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from finetunelab.evidence.store import load_rows
from finetunelab.plots import COLORS, FAINT, save, style
from finetunelab.stats import Interval

HERE = Path(__file__).resolve().parent
EVIDENCE = HERE.parent / "book" / "evidence"
MARKERS = "osD^"
# A page on a phone is 390 points wide: figures are drawn narrow, with letters that survive that.
NARROW, LETTERS = (5.6, 4.4), {"font.size": 14, "axes.titlesize": 15, "axes.labelsize": 14, "xtick.labelsize": 13, "ytick.labelsize": 13}


def table(experiment: str, keys: tuple[str, ...], value: str, **where: str) -> dict[tuple, list[float]]:
    """Return the values of a column over the seeds, by the values of other columns."""
    found = defaultdict(list)
    for row in load_rows(EVIDENCE / f"{experiment}.csv"):
        if row.get(value) and all(row[name] == wanted for name, wanted in where.items()):
            found[tuple(row[key] for key in keys)].append(float(row[value]))
    return dict(found)


def axes(title: str, x: str, y: str, size: tuple[float, float] = NARROW) -> tuple[plt.Figure, plt.Axes]:
    style()
    plt.rcParams.update(LETTERS)
    fig, ax = plt.subplots(figsize=size)
    ax.set(title=title, xlabel=x, ylabel=y)
    return fig, ax


def level(ax: plt.Axes, at: float, name: str = "", x: float = 0, offset: tuple[float, float] = (4, 5)) -> None:
    """Draw what the arms are held against as a dashed line, with its name ``offset`` points from a share ``x`` of the width."""
    ax.axhline(at, color=FAINT, linestyle="--", linewidth=1.4)
    if name:
        ax.annotate(name, (x, at), xycoords=("axes fraction", "data"), xytext=offset, textcoords="offset points", color=FAINT)


def save_all(chapter: str, figures: Mapping[str, tuple[Callable[[], plt.Figure], str]]) -> None:
    """Draw figures, each with its alternative text, and print where they are."""
    for name, (draw, alt) in figures.items():
        print(save(draw(), HERE / f"{chapter}_{name}.svg", alt))


def curve(ax: plt.Axes, place: int, amounts: list[float], intervals: list[Interval]) -> None:
    """Draw a curve with its intervals as bars: bands of four arms would cover one another."""
    ax.plot(amounts, [point.estimate for point in intervals], marker=MARKERS[place], color=COLORS[place])
    ax.vlines(amounts, [point.low for point in intervals], [point.high for point in intervals], color=COLORS[place], linewidth=1.6)


def beside(place: int, amounts: list[float]) -> list[float]:
    """Return where on a logarithmic axis an arm stands at some amounts: beside the others, so that no bar hides another."""
    return [amount * (1 + 0.05 * (place - 1.5)) for amount in amounts]


def log_axis(ax: plt.Axes, amounts: list[float]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(amounts, [f"{amount:,.0f}" for amount in amounts])
    ax.minorticks_off()
