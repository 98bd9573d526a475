"""The report: one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plots
from ..errors import UserError
from ..profiles import device_and_dtype
from ..settings import ClassifierSettings, CompareSettings
from .curves import Curves, sizes
from .data_warnings import seen
from .methods import KEYS
from .task import Task
from .tuning import Comparison, Result, shown
from .verdict import Verdict, duration, percent, small

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARK = '<meta name="generator" content="finetunelab compare">'
KEPT = "classifier"  # the folder that the winner is kept in
LEAST_COST = 0.01  # seconds: what is cheaper is drawn there
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
.verdict { border-left: 6px solid #0072B2; background: #eef5fa; padding: .8rem 1.2rem; } .verdict h2 { margin: 0 0 .4rem; font-size: 1.4rem; }
.warned { border-left: 6px solid #D55E00; background: #fdf3ec; padding: .4rem 1.2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .4rem .5rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid #767676; white-space: normal; } th:first-child, td:first-child { text-align: left; }
tr.chosen td { background: #eef5fa; font-weight: 600; } td.why { text-align: left; white-space: normal; color: #555; }
small, .note { color: #555; font-size: .88rem; } img { max-width: 100%; height: auto; } li { margin: .3rem 0; }
@media (max-width: 40rem) { .wide img { max-width: none; width: 40rem; } }
pre { background: #f4f4f4; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def check_out(out: str) -> None:
    """Raise UserError if the report could not be written, or would replace a file that is no report of this command."""
    path = Path(out).expanduser()
    if path.is_dir():
        raise UserError(f"{path} is a folder", "name a file to write, such as report.html")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent} to write {path.name} in", "make it first, or name another file")
    if path.exists() and MARK.encode() not in path.read_bytes():
        raise UserError(f"{path} exists and is no report of this command", "name another file with --out")


def command(asked: CompareSettings) -> str:
    """Return the command that repeats a comparison, fit for a shell."""
    return _command(["compare"], asked, ("model", "out", "seed", "budget_minutes"))


def winner_command(asked: CompareSettings, winner: Result) -> str:
    """Return the command that trains the classifier of a result again and keeps it, fit for a shell."""
    shared = {name: getattr(asked, name) for name in ("train", "test", "text_column", "label_column", "model", "seed")}
    setting = {name.replace(" ", "_"): value for name, value in winner.setting.items()}
    settings = ClassifierSettings(**shared, method=KEYS[winner.name], **setting, output=KEPT)
    return _command(["classify", "fit"], settings, ("model", "seed"))


def _command(name: Sequence[str], settings: Any, always: Sequence[str]) -> str:
    """Return a command with its settings: those that are not the default, and some always."""
    words = ["finetunelab", *name]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is not None and (value != field.default or field.name in always):
            words += [f"--{field.name.replace('_', '-')}", repr(value).removesuffix(".0") if isinstance(value, float) else str(value)]
    return shlex.join(words)


def page(asked: CompareSettings, task: Task, found: Comparison, verdict: Verdict, curves: Curves, warned: Sequence[str]) -> str:
    """Return the report as HTML; ``warned`` are the warnings about the data."""
    title = f"Ways to classify the texts of {Path(asked.train).name}"
    stopped = '<p class="warned"><strong>Stopped from the keyboard.</strong> The report holds what was finished.</p>' if found.stopped else ""
    parts = [
        f"<h1>{_e(title)}</h1>", f"<p>{_e(_about(asked, task, found))}</p>", stopped,
        f'<section class="verdict"><h2>{_e(verdict.headline)}</h2>{_list(verdict.reasons)}</section>',
        "<h2>Doubts</h2>", _list(verdict.doubts),
        "<h2>Results</h2>", _table(task, found, verdict), _notes(found), _tried(found),
        "<h2>Quality against cost</h2>", _figure(found, verdict),
        "<h2>Learning curves</h2>", _curves(task, found, curves),
        "<h2>Warnings about the data</h2>",
        f'<div class="warned">{_list(warned)}</div>' if warned else "<p>None: no text in both files, no duplicates, no conflicting labels, no labels that look wrong, no rare class.</p>",
        _classes(task), _use(asked, verdict), "<h2>The comparison again</h2>", _pre(command(asked)),
        '<p class="note">The same command draws the same validation part and the same weights. How many steps fit into the budget hangs on the '
        "machine and on what else it does, and so may the results.</p>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{MARK}<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src \'unsafe-inline\'">'
        f"<title>{_e(title)}</title><style>{STYLE}</style></head><body><main>\n" + "\n".join(filter(None, parts)) + "\n</main></body></html>\n"
    )


def _use(asked: CompareSettings, verdict: Verdict) -> str:
    """Return how the recommended classifier is trained and used."""
    if verdict.recommended is None:
        return ""
    return (
        f"<h2>Use it</h2><p>This trains {_e(verdict.recommended.name)} with the setting of the table on all training texts, tests it, and keeps it in "
        f"the folder {KEPT}:</p>{_pre(winner_command(asked, verdict.recommended))}"
        f"<p>This labels new texts with it:</p>{_pre(f'finetunelab classify predict {KEPT} --data new.csv --out labeled.csv')}"
        '<p class="note">On the same machine it is the same classifier. On another, the last digits of its numbers may differ, and an answer here and there.</p>'
    )


def _pre(line: str) -> str:
    return f'<pre tabindex="0">{_e(line)}</pre>'


def _e(text: str) -> str:
    return html.escape(str(text))


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_e(line)}</li>" for line in lines).replace("\n", "<br>") + "</ul>"


def _about(asked: CompareSettings, task: Task, found: Comparison) -> str:
    hardware = device_and_dtype()
    return (
        f"{len(task.train):,} training texts, {len(task.validation):,} of them held out to choose settings, and {len(task.test):,} test texts of "
        f"{len(task.classes)} classes. Model: {asked.model}. {duration(found.seconds)} of a budget of {asked.budget_minutes:.3g} min, on "
        f"{hardware.device} in {hardware.dtype}. Every method that has settings was tried with as many, where the notes say nothing else; the one that did "
        "best on the validation texts learned anew from all training texts, and was then asked about the test texts, once."
    )


def _table(task: Task, found: Comparison, verdict: Verdict) -> str:
    copies = seen(task)
    leak = any(copies) and not all(copies)
    head = ["Method", "Accuracy", "95 % interval", *(["Accuracy without copies"] if leak else []), "Macro F1", "Against the best", "Seconds of training",
            "Seconds for 1,000 predictions", "Peak memory in training"]
    rows = []
    for result in sorted(found.results, key=lambda result: -result.accuracy.estimate):
        chosen = ' class="chosen"' if result is verdict.recommended else ""
        rows.append(f"<tr{chosen}>" + "".join(f"<td>{_e(cell)}</td>" for cell in _cells(result, verdict, copies if leak else None)) + "</tr>")
    rows += [f'<tr><td>{_e(name)}</td><td class="why" colspan="{len(head) - 1}">Left out: {_e(reason)}.</td></tr>' for name, reason in found.missing.items()]
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Results"><table><thead><tr>' + "".join(f'<th scope="col">{_e(name)}</th>' for name in head) + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="note">Intervals: Clopper and Pearson. Against the best: McNemar’s exact test on the same texts; “tie” is no difference '
        "shown. A dash: not measured.</p>"
    )


def _cells(result: Result, verdict: Verdict, copies: list[bool] | None) -> list[str]:
    interval = result.accuracy
    p = verdict.p_values.get(result.name)
    against = "the best" if p is None else ("tie, " if result in verdict.tied else "behind, ") + small(p)
    fresh = [right for right, copy in zip(result.right, copies, strict=True) if not copy] if copies else []
    return [
        result.name, percent(interval.estimate), f"{100 * interval.low:.3g} to {100 * interval.high:.3g}", *([percent(sum(fresh) / len(fresh))] if fresh else []),
        f"{result.macro_f1:.3g}", against, f"{result.learning_seconds:.3g}" if result.learning_seconds >= 0.001 else "0", f"{result.per_thousand:.3g}"
        if result.per_thousand >= 0.001 else "0", f"{result.peak_bytes / 2**20:,.0f} MiB" if result.peak_bytes else "–",
    ]


def _notes(found: Comparison) -> str:
    notes = [f"{result.name}: {note}." for result in found.results for note in result.notes]
    return f'<div class="note">{_list(notes)}</div>' if notes else ""


def _tried(found: Comparison) -> str:
    rows = "".join(
        f"<tr><td>{_e(result.name)}</td><td class=\"why\">{_e('; '.join(f'{shown(setting)}: {percent(score)}' for setting, score in result.tried))}</td></tr>"
        for result in found.results if result.tried
    )
    head = '<tr><th scope="col">Method</th><th scope="col" style="text-align:left">Settings tried, with their accuracy on validation texts</th></tr>'
    return f'<details><summary>What was tried</summary><div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div></details>' if rows else ""


def _classes(task: Task) -> str:
    train, test = Counter(task.train.labels), Counter(task.test.labels)
    rows = "".join(f"<tr><td>{_e(name)}</td><td>{train[i]:,}</td><td>{test[i]:,}</td></tr>" for i, name in enumerate(task.classes))
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Class", "Training texts", "Test texts"))
    return f'<details><summary>Texts of each class</summary><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'


def _figure(found: Comparison, verdict: Verdict) -> str:
    """Return accuracy with its interval against the cost of learning once and answering 10,000 texts."""
    ordered = sorted(found.results, key=lambda result: result.accuracy.estimate)
    costs = [max(result.cost, LEAST_COST) for result in ordered]
    fig, ax = plots.figure("", "seconds to learn once and answer 10,000 texts", "accuracy on the test texts")
    fig.set_size_inches(8.2, 4.4)
    low, high = min(result.accuracy.low for result in ordered) - 0.03, max(result.accuracy.high for result in ordered) + 0.03
    place = low - 1.0
    for result, cost in zip(ordered, costs, strict=True):
        interval, color, taken = result.accuracy, _color(found, result.name), result is verdict.recommended
        ax.plot([cost, cost], [interval.low, interval.high], color=color, solid_capstyle="butt")
        ax.plot([cost], [interval.estimate], "o", color=color, markersize=11 if taken else 7, zorder=3)
        # Names stand in the margin, moved apart: dear methods are often close together.
        place = max(interval.estimate, place + (high - low) * 0.075)
        ax.annotate(result.name, (cost, interval.estimate), xytext=(1.03, place), textcoords=ax.get_yaxis_transform(), va="center", fontsize=11,
                    fontweight="bold" if taken else "normal", annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.9, "alpha": 0.7, "relpos": (0, 0.5)})
    ax.set_xscale("log")
    ax.set_xlim(min(costs) / 2, max(costs) * 3)
    ax.set_ylim(low, max(high, place + 0.02))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if value <= 1 else "")
    alt = "Accuracy against cost. " + "; ".join(
        f"{result.name}: {percent(result.accuracy.estimate)} at {duration(result.cost)}" for result in ordered) + "."
    return (
        f'{_image(fig, alt)}<p class="note">Up is better, left is cheaper; each step of the scale is ten times as dear. Upright lines are 95 % intervals. '
        "The large dot is the recommended method.</p>"
    )


def _curves(task: Task, found: Comparison, curves: Curves) -> str:
    """Return accuracy by the number of training texts, for the methods that there was time for."""
    left = f"<p>No time was left for {_e(', '.join(curves.missing))}.</p>" if curves.missing else ""
    if len(sizes(task)) == 1:
        return f"<p>{len(task.train)} training texts are too few to learn from parts of them.</p>"
    if not curves.points:
        return left or "<p>No finished method has one.</p>"
    fig, ax = plots.figure("", "training texts", "accuracy on the test texts")
    fig.set_size_inches(8.2, 4.4)
    for i, (name, points) in enumerate(curves.points.items()):
        ax.plot(*zip(*points, strict=True), marker="osD^vP"[i % 6], color=_color(found, name))
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes(task), [f"{n:,}" for n in sizes(task)])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if value <= 1 else "")
    colors = [_color(found, name) for name in curves.points]
    plots.label_ends(ax, len(task.train), {name: points[-1][1] for name, points in curves.points.items()}, colors)
    alt = "Learning curves. " + "; ".join(
        f"{name}: " + ", ".join(f"{percent(score)} with {n:,} texts" for n, score in points) for name, points in curves.points.items()) + "."
    return (
        f'{_image(fig, alt)}<p class="note">The fewer texts are among the more; all with the settings that were chosen for all texts. Where a curve still '
        "rises at its end, more labels are likely to help. Each point is one training run on one draw of texts, so small bends mean nothing.</p>" + left
    )


def _color(found: Comparison, name: str) -> str:
    """Return the color of a method, the same in all figures."""
    return plots.COLORS[[result.name for result in found.results].index(name) % len(plots.COLORS)]


def _image(fig: Figure, alt: str) -> str:
    """Return a figure as an image inside the page, and close it."""
    import matplotlib.pyplot as plt

    stream = io.BytesIO()
    fig.savefig(stream, format="png", metadata={"Software": None})
    plt.close(fig)
    source = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    # On a phone the letters of a figure would be too small to read: there it keeps its size, and can be pushed aside.
    return f'<div class="wide" tabindex="0" role="region" aria-label="Figure"><img src="{source}" alt="{_e(alt)}" width="820"></div>'
