"""One house style for figures: colors that color-blind readers can tell apart, labels that survive a phone, lines named where they end."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .files import write_whole
from .stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design" (2008), without its yellow, which is too faint on white; black is for text.
PALETTE = {
    "blue": "#0072B2", "orange": "#D55E00", "green": "#009E73", "pink": "#CC79A7", "sky": "#56B4E9", "amber": "#E69F00",
}
COLORS = tuple(PALETTE.values())
INK = "#222222"
FAINT = "#767676"
# A page on a phone shows a 6.4 inch figure at about 60 %: 12 points are then still 7.
STYLE = {
    "figure.figsize": (6.4, 4.0), "figure.dpi": 110, "savefig.dpi": 160, "figure.constrained_layout.use": True,
    "font.size": 12, "axes.titlesize": 13, "axes.labelsize": 12, "xtick.labelsize": 11, "ytick.labelsize": 11, "legend.fontsize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold",
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.grid": False, "lines.linewidth": 2.2, "lines.markersize": 7, "legend.frameon": False, "svg.hashsalt": "finetunelab",
}


def style() -> None:
    """Set the house style for every figure made afterwards."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.rcParams.update(STYLE | {"axes.prop_cycle": cycler(color=COLORS)})


def figure(title: str = "", x: str = "", y: str = "") -> tuple[Figure, Axes]:
    """Return a new figure in house style with its one axes, titled and labeled."""
    import matplotlib.pyplot as plt

    style()
    fig, ax = plt.subplots()
    ax.set(title=title, xlabel=x, ylabel=y)
    return fig, ax


def interval_plot(
    intervals: Mapping[str, Interval], title: str = "", x: str = "", reference: float | None = None, reference_label: str = "",
) -> Figure:
    """Return a figure with a row for each name: its estimate as a dot, its interval as a line, and a dashed line at ``reference``."""
    if not intervals:
        raise ValueError("there is nothing to draw; give at least one interval")
    fig, ax = figure(title, x)
    fig.set_figheight(max(2.0, 1.2 + 0.45 * len(intervals)))
    for row, interval in enumerate(intervals.values()):
        ax.plot([interval.low, interval.high], [row, row], color=COLORS[0], solid_capstyle="butt")
        ax.plot([interval.estimate], [row], "o", color=COLORS[0])
    ax.set_yticks(range(len(intervals)), list(intervals))
    ax.set_ylim(len(intervals) - 0.5, -0.5)
    if reference is not None:
        ax.axvline(reference, color=FAINT, linestyle="--", linewidth=1.4, zorder=0)
        ax.annotate(reference_label, (reference, 1), xycoords=("data", "axes fraction"), xytext=(4, -2), textcoords="offset points",
                    va="top", color=FAINT, fontsize=11)
    return fig


def curve_with_band(
    x: Sequence[float], curves: Mapping[str, Sequence[Interval]], title: str = "", x_label: str = "", y_label: str = "",
    log_x: bool = False,
) -> Figure:
    """Return a figure with one curve per name, its interval as a band around it, and the name at the curve's end."""
    if not curves or any(len(points) != len(x) for points in curves.values()):
        raise ValueError(f"every curve needs one interval for each of the {len(x)} values of x")
    fig, ax = figure(title, x_label, y_label)
    if log_x:
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(x), [f"{value:g}" for value in x])
        ax.minorticks_off()
    for i, (_, points) in enumerate(curves.items()):
        color, marker = COLORS[i % len(COLORS)], "osD^vP"[i % 6]
        ax.fill_between(x, [point.low for point in points], [point.high for point in points], color=color, alpha=0.18, linewidth=0)
        ax.plot(x, [point.estimate for point in points], marker=marker, color=color)
    label_ends(ax, x[-1], {name: points[-1].estimate for name, points in curves.items()})
    return fig


def label_ends(ax: Axes, x: float, ends: Mapping[str, float], colors: Sequence[str] = COLORS) -> None:
    """Write each curve's name to the right of its last point, in its color, moved apart where two would overlap."""
    low, high = ax.get_ylim()
    gap, last = (high - low) * 0.075, float("-inf")
    for i, name in sorted(enumerate(ends), key=lambda item: ends[item[1]]):
        last = max(ends[name], last + gap)
        ax.annotate(name, (x, last), xytext=(10, 0), textcoords="offset points", va="center", color=colors[i % len(colors)],
                    fontweight="bold", annotation_clip=False)
    ax.set_ylim(low, max(high, last + gap / 2))


def save(fig: Figure, path: str | Path, alt: str) -> Path:
    """Write a figure as PNG or SVG, by the path's ending, with ``alt`` as its description inside; the same figure gives the same bytes."""
    import matplotlib.pyplot as plt

    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise UserError(f"figures are kept as PNG or SVG, not as {path.name}", "give a name that ends in .png or .svg")
    if not alt.strip():
        raise UserError(f"{path.name} has no description", "say in alt what the figure shows, for readers who cannot see it")
    metadata = {"Description": alt} | ({"Date": None} if kind == "svg" else {"Software": None})
    write_whole(path, lambda stream: fig.savefig(stream, format=kind, metadata=metadata))
    plt.close(fig)
    return path


class Slider:
    """Figures behind a slider, one for each setting, as one block of HTML that works in JupyterLab, in Colab and in a page.

    Args:
        frames: a figure for each setting, under the words that name the setting; the first is shown. The figures are closed.
        label: what the slider sets.
        alts: a description of each figure, for readers who cannot see it.

    Raises ValueError unless there are figures and as many descriptions.
    """

    def __init__(self, frames: Mapping[str, Figure], label: str, alts: Sequence[str]):
        import matplotlib.pyplot as plt

        if not frames or len(alts) != len(frames):
            raise ValueError(f"there are {len(frames)} figures and {len(alts)} descriptions; give one for each")
        self.label, self.names, self.alts, self.images = label, list(frames), list(alts), []
        for fig in frames.values():
            stream = io.BytesIO()
            fig.savefig(stream, format="png", metadata={"Software": None})
            plt.close(fig)
            self.images.append("data:image/png;base64," + base64.b64encode(stream.getvalue()).decode())

    def __repr__(self) -> str:
        return f"a slider for {self.label}: {', '.join(self.names)}"

    def _repr_html_(self) -> str:
        """Return the block: the figures, all but the first hidden, and a slider that shows another."""
        images = "".join(
            f'<img src="{image}" alt="{html.escape(alt)}" data-name="{html.escape(name)}" style="max-width:100%"{" hidden" if place else ""}>'
            for place, (name, alt, image) in enumerate(zip(self.names, self.alts, self.images, strict=True))
        )
        # A handler in the tag, not a script: it works wherever the block is put, also where scripts are not run when a page is filled in.
        change = (
            "const box = this.closest('figure'), all = [...box.querySelectorAll('img')];"
            "all.forEach((image, place) => { image.hidden = place != this.value; });"
            "const name = all[this.value].dataset.name;"
            "box.querySelector('output').textContent = name; this.setAttribute('aria-valuetext', name);"
        )
        return (
            f'<figure class="slider">{images}'
            f'<label style="display:block">{html.escape(self.label)}: <output>{html.escape(self.names[0])}</output><br>'
            f'<input type="range" min="0" max="{len(self.names) - 1}" value="0" style="width:min(100%,24rem)" oninput="{change}"></label></figure>'
        )


class MarkedTokens:
    """Tokens in a row, those that the loss counts in color: as one block of HTML, and in brackets where only text is shown.

    Args:
        tokens: the tokens as text.
        counted: for each whether the loss counts it.

    Raises ValueError unless there are as many of both.
    """

    def __init__(self, tokens: Sequence[str], counted: Sequence[bool | int]):
        if len(tokens) != len(counted):
            raise ValueError(f"there are {len(tokens)} tokens and {len(counted)} marks; give one for each")
        self.pairs = list(zip(tokens, map(bool, counted), strict=True))

    def __repr__(self) -> str:
        return "".join(f"[{token}]" if counted else token for token, counted in self.pairs)

    def _repr_html_(self) -> str:
        """Return the block: a counted token black on orange and underlined, since color alone is not for every reader."""
        look = {True: f"background:{PALETTE['orange']};color:black;text-decoration:underline", False: "background:#d5dde3;color:#222"}
        spans = "".join(
            f'<span style="{look[counted]};padding:1px 3px;margin:1px;border-radius:3px;display:inline-block">'
            f"{html.escape(token).replace(' ', '&nbsp;')}</span>"
            for token, counted in self.pairs
        )
        return f'<div style="line-height:2;font-family:monospace;white-space:normal">{spans}</div>'
