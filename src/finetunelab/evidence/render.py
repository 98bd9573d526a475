"""What the book shows of the results: the Evidence page, and the numbers that prose takes by substitution."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from typing import Any

from ..experiments import Claim, experiments
from . import store
from .run import duration, total_seconds

CHAPTERS = {
    "A": "Adaptation", "B": "Repurposing", "C": "Self-supervised learning and supervised fine-tuning",
    "D": "Reinforcement learning from human feedback", "E": "In-context learning and retrieval", "F": "Choosing",
}
OTHERS = {"G": "Common failures"}  # claims of pages that are no chapter
NOT_YET = "not measured yet"
NOT_HERE = "not measured here"
OPS = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}


def render(folder: str | Path) -> tuple[str, dict[str, str]]:
    """Return the Evidence page in MyST Markdown and the substitutions, from nano.json and real.json in ``folder``.

    Substitutions of claim ``A1.gap``: A1_gap_effect (with its interval), A1_gap_again (the same, for a page that has said what the
    interval is), A1_gap_value (without), A1_gap_verdict, A1_gap_seeds, A1_gap_threshold, and A1_gap_arm_NAME, the mean of each arm.
    A claim not measured yet has them too, and they say so.
    """
    folder = Path(folder)
    files = [path for path in (folder / "nano.json", folder / f"{store.REAL}.json") if path.is_file()]
    objects = [entry for path in files for entry in store.load(path)]
    results = {entry["id"]: entry for entry in objects}
    claims = [claim for experiment in experiments().values() for claim in experiment.claims]
    numbers: dict[str, str] = {}
    for claim in claims:
        numbers |= substitutions(claim, results.get(claim.id))
    return _page(claims, results, objects), numbers


def substitutions(claim: Claim, entry: dict[str, Any] | None) -> dict[str, str]:
    """Return the substitutions of one claim, measured (``entry``) or not (None)."""
    found = {
        "effect": NOT_YET, "again": NOT_YET, "value": NOT_YET, "verdict": NOT_YET, "seeds": "0", "threshold": threshold(claim),
        **{f"arm_{name}": NOT_YET for name in (claim.treatment, claim.control) if name},
    }
    if entry is not None:
        found |= {"effect": effect(entry), "again": effect(entry, named=False), "value": value(entry)}
        found |= {"verdict": entry["verdict"], "seeds": str(entry["n_seeds"])}
        found |= {f"arm_{name}": mean for name, mean in arm_means(entry).items()}
    return {re.sub(r"\W", "_", f"{claim.id}_{name}"): text for name, text in found.items()}


def number(x: float | None) -> str:
    """Return three significant digits, thousands separated: 0.953, 12.4, 1,230; an en dash for no number."""
    if x is None:
        return "–"
    if x and abs(x) < 0.001:
        text = f"{x:.2g}" if abs(x) < 1e-5 else f"{Decimal(f'{x:.2g}'):f}"
    elif abs(x) >= 100:
        text = f"{float(f'{x:.3g}'):,.0f}"
    else:
        places = 2 if abs(x) >= 1 else 3
        text = f"{x:.{1 if abs(x) >= 10 else places}f}"
    return text.replace("-", "−")


def _with_unit(text: str, entry: dict[str, Any]) -> str:
    if entry["effect_kind"] == "log_ratio":
        return f"{text}×"
    return text if entry["unit"] in ("", "fraction", "share", "ratio", "correlation") else f"{text} {entry['unit']}"


def value(entry: dict[str, Any]) -> str:
    """Return the effect alone, with its unit; a ratio as 3.42×."""
    return NOT_YET if entry["effect"] is None else _with_unit(number(entry["effect"]), entry)


def effect(entry: dict[str, Any], named: bool = True) -> str:
    """Return the effect with its interval: "0.271 (95% interval 0.250 to 0.292)", or without the interval's name.

    An interval without width says that all seeds agree, and nothing else: "0.000 (the same with every seed)".
    """
    low, high = entry["ci95"]
    if entry["effect"] is None:
        return "no finite effect"
    if low is None or high is None:
        return f"{value(entry)} (no interval)"
    if low == high:
        return f"{value(entry)} (the same with every seed)"
    return f"{value(entry)} ({'95% interval ' if named else ''}{number(low)} to {number(high)})"


def arm_means(entry: dict[str, Any]) -> dict[str, str]:
    """Return the mean of every arm over the seeds."""
    names = dict.fromkeys(name for row in entry["per_seed"] for name in row["arms"])
    values = {name: [row["arms"].get(name) for row in entry["per_seed"]] for name in names}
    return {name: number(None if None in found else fmean(found)) for name, found in values.items()}


def threshold(claim: Claim) -> str:
    """Return when a claim holds, such as "at least 3×"; an estimate has no threshold."""
    if claim.op is None or claim.threshold is None:
        return f"estimate, equal within {claim.margin:g}" if claim.margin is not None else "estimate"
    return f"{OPS[claim.op]} {claim.threshold:g}{'×' if claim.effect_kind == 'log_ratio' else ''}"


def sign(entry: dict[str, Any] | None) -> str:
    """Return + or − where the whole interval lies on one side of no effect, 0 where it does not, nothing where there is no such thing."""
    if entry is None or entry["effect_kind"] == "value":
        return ""
    low, high = entry["ci95"]
    if low is None or high is None:
        return "0"
    neutral = 1 if entry["effect_kind"] == "log_ratio" else 0
    return "+" if low > neutral else "−" if high < neutral else "0"


def tallied(entry: dict[str, Any] | None) -> str:
    """Return what a claim is counted as: its verdict, or that it is an estimate, whose verdicts have too many words to count."""
    if entry is None:
        return NOT_YET
    return entry["verdict"] if entry["kind"] == "threshold" else "estimates"


def _page(claims: Sequence[Claim], results: dict[str, dict], objects: Sequence[dict]) -> str:
    verdicts = [tallied(results.get(claim.id)) for claim in claims]
    tally = ", ".join(f"{verdict}: {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))
    lines = [
        "# Evidence", "",
        "Every claim the book makes about how methods behave, with the experiment that tests it, held or not. A claim holds only if the",
        "whole 95% interval lies on the right side of its threshold, which was set before anything was measured. The sign says on which",
        "side of no effect the whole interval lies: + above, − below, 0 neither. Intervals stand in parentheses.", "",
    ]
    if not claims:
        return "\n".join([*lines, "No claim has been measured yet.", ""])
    lines += [f"{len(claims)} claims; {tally}. CPU time of all of them: {duration(total_seconds(objects))}.", ""]
    beside = {claim.id: [real for real in claims if real.beside == claim.id] for claim in claims}
    known = {claim.id for claim in claims}
    for letter in sorted({claim.id[0] for claim in claims}):
        group = [claim for claim in claims if claim.id[0] == letter]
        chapter = f"{CHAPTERS[letter]} (chapter {'ABCDEF'.index(letter) + 1})" if letter in CHAPTERS else None
        title = chapter or OTHERS.get(letter, f"Claims {letter}")
        lines += [
            f"## {title}", "",
            "| Claim | Holds when | Nano | Verdict | Sign, nano | Sign, real data | Real data |", "|---|---|---|---|---|---|---|",
        ]
        lines += [_overview(claim, beside.get(claim.id, []), results) for claim in group if claim.beside not in known]
        lines += [""] + [line for claim in group for line in _details(claim, results.get(claim.id))]
    return "\n".join(lines)


def _overview(claim: Claim, reals: Sequence[Claim], results: dict[str, dict]) -> str:
    """Return a row of the overview: a nano claim with the real ones that stand next to it, or a real claim that stands alone."""
    nano = None if claim.dataset else results.get(claim.id)
    told, signs = [], []
    for real in [claim] if claim.dataset else reals:
        on_real = results.get(real.id)
        signs.append(sign(on_real))
        told.append(f"{effect(on_real, named=False)}, {on_real['verdict']} ({real.dataset})" if on_real else NOT_YET)
    cells = [
        f"[{claim.id}](#{label(claim)}): {claim.claim}", threshold(claim), "–" if claim.dataset else effect(nano, named=False) if nano else NOT_YET,
        "–" if claim.dataset else nano["verdict"] if nano else NOT_YET, sign(nano), " ".join(signs), "; ".join(told) or NOT_HERE,
    ]
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def label(claim: Claim) -> str:
    """Return the page's label of a claim, such as claim-a1-gap."""
    return "claim-" + re.sub(r"\W", "-", claim.id.lower())


def _details(claim: Claim, entry: dict[str, Any] | None) -> list[str]:
    stop = "" if claim.claim[-1] in ".?!" else "."
    lines = [f"({label(claim)})=", f"### {claim.id}", "", f"{claim.claim}{stop} Measured: {claim.metric}, {_compared(claim)}.", ""]
    if entry is None:
        return [*lines, f"{NOT_YET.capitalize()}.", ""]
    verdict = f"**{entry['verdict'].capitalize()}.** Effect {effect(entry)}, {entry['n_seeds']} seeds; holds when {threshold(claim)}."
    if claim.kind == "estimate":
        verdict = f"**{entry['verdict'].capitalize()}.** Effect {effect(entry)}, {entry['n_seeds']} seeds; an {threshold(claim)}."
    lines += [verdict, "", "| Arm | Mean over seeds |", "|---|---|"]
    lines += [f"| {_cell(name)} | {mean} |" for name, mean in arm_means(entry).items()]
    facts = [f"CPU time {duration(entry['seconds'])}", entry["device"], f"commit {entry['commit'] or 'none'}"]
    lines += ["", f"{', '.join(facts)}. Again: `{entry['command']}`", ""]
    return [*lines, entry["note"], ""] if entry["note"] else lines


def _compared(claim: Claim) -> str:
    if claim.control is None:
        return claim.treatment
    return f"{claim.treatment} {'over' if claim.effect_kind == 'log_ratio' else 'against'} {claim.control}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
