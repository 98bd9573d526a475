"""Which method to take: the cheapest of those that were not shown to be worse than the best, if it is better than always answering one class.

Of methods that cost about the same, the one with the highest accuracy counts as the cheapest.

Two methods are compared on the same test texts by McNemar's exact test. Several pairs are looked at, so each is asked for a p value below 0.05
divided by their number (Bonferroni): to be called better, a difference has to be clear.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..models import shipped
from ..stats import mcnemar
from .methods import MAJORITY
from .task import Task
from .tuning import Comparison, Result, shown

ALPHA = 0.05
MARGIN = 0.05  # of macro F1, above which a rival that ties in accuracy is pointed out
CLOSE = 1.5  # costs that differ by a smaller factor count as equal: timings vary, and more than that between machines
GAP = 0.1  # of accuracy between validation and test, above which the two parts seem to be of different kinds


@dataclass
class Verdict:
    """The recommended method, or None; which other methods tie with the best; p values against the best; and all in sentences."""

    recommended: Result | None
    best: Result
    tied: list[Result]
    p_values: dict[str, float]
    headline: str = ""
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def percent(share: float) -> str:
    """Return a share in percent, to three significant digits."""
    return f"{100 * share:.3g} %"


def small(p: float) -> str:
    """Return a p value as it is written."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def duration(seconds: float) -> str:
    """Return seconds as it suits their size."""
    if seconds < 0.001:
        return "under 1 ms"
    return f"{1_000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def judge(found: Comparison, task: Task, model: str) -> Verdict:
    """Judge finished methods. There must be at least one."""
    best = max(found.results, key=lambda result: (result.accuracy.estimate, -result.cost))
    rivals = [result for result in found.results if result is not best]
    level = ALPHA / max(1, len(rivals))
    p_values = {result.name: mcnemar(best.right, result.right) for result in rivals}
    tied = [result for result in rivals if p_values[result.name] >= level]
    floor = next((result for result in found.results if result.name == MAJORITY), None)
    beats = [
        result for result in (best, *tied)
        if floor is None or result.accuracy.estimate > floor.accuracy.estimate and mcnemar(result.right, floor.right) < level
    ]
    least = min((result.cost for result in beats), default=0.0)
    cheap = [result for result in beats if result.cost <= CLOSE * least]
    chosen = max(cheap, key=lambda result: (result.accuracy.estimate, -result.cost), default=None) if best is not floor else None
    verdict = Verdict(chosen, best, tied, p_values)
    (_for(verdict, level) if chosen else _for_none(verdict, floor, task))
    _doubt(verdict, found, task, model, level)
    return verdict


def _for(verdict: Verdict, level: float) -> None:
    chosen, best = verdict.recommended, verdict.best
    verdict.headline = f"Take {chosen.name}."
    interval = chosen.accuracy
    verdict.reasons.append(
        f"It is right on {percent(interval.estimate)} of the test texts (95 % interval {100 * interval.low:.3g} to {percent(interval.high)}), with "
        f"{shown(chosen.setting)}. It learns in {duration(chosen.learning_seconds)} and answers 1,000 texts in {duration(chosen.per_thousand)} on this machine.")
    if chosen is not best:
        verdict.reasons.append(
            f"{_start(best.name)} has the highest accuracy, {percent(best.accuracy.estimate)}, but the two tie: a difference like this is not rare "
            f"by chance ({small(verdict.p_values[chosen.name])}), and {chosen.name} is cheaper.")
    others = [result.name for result in verdict.tied if result is not chosen]
    if chosen is best and others:
        verdict.reasons.append(f"It ties with {_listed(others)}, and none of them is clearly cheaper.")
    elif others:
        verdict.reasons.append(f"Ties with the best, too: {_listed(others)}.")
    worse = [f"{name} ({small(p)})" for name, p in verdict.p_values.items() if p < level]
    if worse:
        verdict.reasons.append(f"Clearly behind {'it' if chosen is best else best.name}: {_listed(worse)}.")


def _for_none(verdict: Verdict, floor: Result | None, task: Task) -> None:
    verdict.headline = "Take none of them yet."
    most = task.classes[Counter(task.train.labels).most_common(1)[0][0]]
    if verdict.best is floor:
        reason = "No other method does better." if verdict.p_values else "No other method was finished."
    else:
        reason = (
            f"The best, {verdict.best.name}, is right on {percent(verdict.best.accuracy.estimate)}, and such a difference is not rare by chance "
            f"({small(verdict.p_values[floor.name])}).")
    verdict.reasons.append(
        f"To answer “{most}” to every text is right on {percent(floor.accuracy.estimate)} of the test texts. {reason} No method was shown to have "
        "learned anything that this does not give for nothing. Look at the labels and the warnings below, and label more texts.")


def _doubt(verdict: Verdict, found: Comparison, task: Task, model: str, level: float) -> None:
    say, chosen = verdict.doubts.append, verdict.recommended
    interval = (chosen or verdict.best).accuracy
    say(f"There are {len(task.test):,} test texts, so an accuracy is known to within about {100 * (interval.high - interval.low) / 2:.2g} points.")
    if verdict.tied:
        say(f"A tie means that no difference was shown (p at or above {level:.2g}, which is 0.05 divided by the number of comparisons), not that there is none.")
    say("Each method was trained once. Another seed, or other training texts, may move a result by a few points.")
    if found.missing:
        say(f"Not compared, for reasons in the table: {_listed(list(found.missing))}. What is missing might have been better.")
    cut = [result.name for result in found.results if result.notes]
    if cut:
        say(f"Cut short, see the notes under the table: {_listed(cut)}. With more time {'they' if len(cut) > 1 else 'it'} might do better.")
    if chosen is not None:
        _doubt_chosen(verdict, chosen, task)
    if model in shipped():
        say(f"The model {model} is very small and has read about one invented town only. If your texts are not from there, give a model that has "
            "read your language with --model: the methods that use it may then do quite differently.")


def _doubt_chosen(verdict: Verdict, chosen: Result, task: Task) -> None:
    say = verdict.doubts.append
    ahead = [result for result in (verdict.best, *verdict.tied) if result.macro_f1 > chosen.macro_f1 + MARGIN]
    if ahead:
        other = max(ahead, key=lambda result: result.macro_f1)
        say(f"{_start(other.name)} has a macro F1 of {other.macro_f1:.3g}, and {chosen.name} {chosen.macro_f1:.3g}: if rare classes matter to you, prefer it.")
    judged = dict((shown(setting), score) for setting, score in chosen.tried).get(shown(chosen.setting))
    if judged is not None and judged - chosen.accuracy.estimate > GAP:
        say(f"On the validation texts it was right on {percent(judged)}, clearly more than on the test: the two files may hold texts of different kinds.")
    total = Counter(chosen.truth)
    hits = Counter(label for label, right in zip(chosen.truth, chosen.right, strict=True) if right)
    weakest = min(total, key=lambda label: hits[label] / total[label])
    if hits[weakest] / total[weakest] < chosen.accuracy.estimate - GAP:
        say(f"It recognizes “{task.classes[weakest]}” worst: {hits[weakest]} of {total[weakest]} test texts.")


def _start(name: str) -> str:
    return name[0].upper() + name[1:]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
