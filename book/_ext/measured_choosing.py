"""Tables of chapter 6, from the tables beside the evidence and from the guide itself: each function returns one, in Markdown."""

from __future__ import annotations

from itertools import groupby
from statistics import fmean

from measured import BOOK, NOT_YET, _mean, _over_seeds, table

MONTHLY, NIGHTLY, ASKED = 1 / 30, 1.0, 1_000  # changes, and questions, a day


def needs() -> str:
    """F1 as a table: the quality of every method on every case, means over the draws."""
    from finetunelab.choosing import METHODS

    found = _over_seeds("F1", ("case", "method"))
    cases = list(dict.fromkeys(case for case, _ in found))
    return table(["", *cases], [
        [method, *(f"{_mean(found[case, method], 'quality'):.2f}" if (case, method) in found else "" for case in cases)] for method in METHODS
    ]) if found else NOT_YET


def winners() -> str:
    """F1 as a table: for each case and condition the winner named beforehand, and its lead over the best other method, over the draws."""
    from finetunelab.evidence.render import number
    from finetunelab.evidence.store import load_rows
    from finetunelab.experiments.choosing import CASES, CONDITIONS, NAMED, lead, recorded_outcomes, scenarios
    from finetunelab.stats import t_interval

    draws, rows = recorded_outcomes(load_rows(BOOK / "evidence" / "F1.csv")), []
    if not draws:
        return NOT_YET
    for case in CASES:
        for condition in list(CONDITIONS)[:-1]:  # under all of them at once hardly anything is left
            method = NAMED[case, condition]
            pairs = [lead(scenarios(CASES[case])[condition], method, outcomes[case]) for outcomes in draws.values()]
            gap = t_interval([ours - theirs for ours, theirs in pairs])
            verdict = "ahead" if gap.low > 0 else "behind" if gap.high < 0 else "level"
            rows.append([case, condition, method, f"{number(gap.estimate)} [{number(gap.low)}, {number(gap.high)}]", verdict])
    return table(["Case", "Condition", "Named winner", "Lead", ""], rows)


def costs() -> str:
    """F1 as a table: what learning the handbook and an answer from it cost, and a day, by how often the book changes; means over the draws."""
    from finetunelab.choosing import METHODS

    found = {method: rows for (case, method), rows in _over_seeds("F1", ("case", "method")).items() if case == "handbook"}

    def row(method: str) -> list[str]:
        once, asking = _mean(found[method], "once") / 1e9, _mean(found[method], "a_question") / 1e9
        cells = (once, asking, once * MONTHLY + ASKED * asking, once * NIGHTLY + ASKED * asking)
        return [method, f"{_mean(found[method], 'quality'):.2f}", *(f"{cell:,.3g}" if cell < 100 else f"{cell:,.0f}" for cell in cells)]

    return table(["", "quality", "learning", "an answer", "a day, monthly", "a day, nightly"], [row(method) for method in METHODS if method in found])


def guide() -> str:
    """The guide as a table, read out of the function that gives the advice."""
    from finetunelab.choosing import GUIDE, advise

    rows = []
    for wanted, group in groupby(GUIDE, key=lambda row: row[0]):
        for place, (_, condition, situation) in enumerate(group):
            advice = advise(situation)
            rows.append([wanted if not place else "", condition, f"**{advice.method}**", advice.reason])
    return table(["You want", "If", "Take", "Because"], rows)


def regrets() -> str:
    """F2 as a table: mean regret of the guide and of every constant, by need and in all; means over scenarios and draws."""
    from finetunelab.choosing import METHODS, NEEDS

    found = {need: [row for row in rows if row["condition"]] for (need,), rows in _over_seeds("F2", ("need",)).items()}
    every = [row for rows in found.values() for row in rows]
    who = sorted(("guide", *METHODS), key=lambda name: fmean(float(row[name]) for row in every)) if every else []
    return table(["Regret", "all", *NEEDS], [
        [f"**the {name}**" if name == "guide" else f"always {name}", f"{_mean(every, name):.3f}", *(f"{_mean(found[need], name):.2f}" for need in NEEDS)]
        for name in who
    ])


TABLES = (needs, winners, costs, guide, regrets)
