"""Chapter 6: no method wins everywhere, and whether the book's guide gives good advice.

F1 measures every method on one case of each need, and two of classification, and looks who wins under which condition. The winners that it
asks about were named by the sweep, on a data seed below 1,000. F2 tests the guide, ``choosing.advise``, on scenarios that it was not made from:
other cases, other amounts of examples, other draws; ``regret`` is what its advice loses against the best method that the scenario allows. A
scenario is a case under a condition. Those of one case share its measurements, so the interval is one over draws and not over scenarios.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from statistics import fmean
from typing import Any

from ..choosing import (
    AS_IS,
    BEHAVIOR,
    BEST_OF_N,
    CLASSIFY,
    DPO,
    FROZEN,
    FULL,
    KNOWLEDGE,
    LORA,
    METHODS,
    PROMPT,
    RAW,
    RETRIEVAL,
    STYLE,
    VOLATILE,
    WORDS,
    Outcome,
    Situation,
    advise,
    allowed,
    best,
    regret,
)
from . import Claim, Measurement, measures, needs, needs_facts, seed_of_data
from .adaptation import SWEEP_SEED
from .needs import Arm, Case

PERSONAL = "what users told"
CASES = {
    "posts, 16 labels": Case(CLASSIFY, "posts", 16), "reviews, 256 labels": Case(CLASSIFY, "sentiment", 256),
    "instructions": Case(BEHAVIOR, "last_word", 256), "responses": Case(STYLE, "responses", 1_200),
    "handbook": Case(KNOWLEDGE, "handbook", 120), PERSONAL: Case(KNOWLEDGE, PERSONAL, 480), "newspaper": Case(VOLATILE, "newspaper", 24),
}
NEW_CASES = {
    "seen concept, 8 labels": Case(CLASSIFY, "seen concept", 8), "unseen concept, 64 labels": Case(CLASSIFY, "unseen concept", 64),
    "reviews, 32 labels": Case(CLASSIFY, "sentiment", 32), "posts, 256 labels": Case(CLASSIFY, "posts", 256),
    "instructions, 64": Case(BEHAVIOR, "drop", 64), "instructions, 512": Case(BEHAVIOR, "how_many", 512),
    "responses, 300 clicks": Case(STYLE, "responses", 300), "responses, 600 clicks": Case(STYLE, "responses", 600),
    "handbook, nothing written": Case(KNOWLEDGE, "handbook", 0), "handbook, half written": Case(KNOWLEDGE, "handbook", 60),
    f"{PERSONAL}, nothing written": Case(KNOWLEDGE, PERSONAL, 0), f"{PERSONAL}, half written": Case(KNOWLEDGE, PERSONAL, 240),
    "newspaper, nothing written": Case(VOLATILE, "newspaper", 0), "newspaper, half written": Case(VOLATILE, "newspaper", 12),
    "newspaper, all written": Case(VOLATILE, "newspaper", 24),
}
ARMS = {CLASSIFY: needs.classify, BEHAVIOR: needs.behave, STYLE: needs.please, KNOWLEDGE: needs_facts.know, VOLATILE: needs_facts.keep_up}
CONDITIONS = {
    "none": {}, "text only": {"weights": False}, "fast": {"fast": True}, "text only and fast": {"weights": False, "fast": True},
}
RATES, LORA_RATES = (1e-3, 3e-3, 1e-2), (3e-3, 1e-2, 3e-2)
TRIED: dict[tuple[str, str], tuple[float, ...]] = {  # what the sweep tries for each method that has anything to set
    (CLASSIFY, PROMPT): (2, 4, 8), (CLASSIFY, WORDS): (10, 100, 1_000), (CLASSIFY, FROZEN): (1e-3, 1e-2, 1e-1),
    (CLASSIFY, LORA): LORA_RATES, (CLASSIFY, FULL): RATES,
    (BEHAVIOR, PROMPT): (2, 4, 8), (BEHAVIOR, LORA): LORA_RATES, (BEHAVIOR, FULL): RATES,
    (STYLE, PROMPT): (1, 2, 3), (STYLE, LORA): (3e-4, 1e-3, 3e-3), (STYLE, FULL): (1e-4, 3e-4, 1e-3), (STYLE, DPO): (2e-4, 5e-4, 1e-3),
    (STYLE, BEST_OF_N): (1e-4, 3e-4, 1e-3),
    (KNOWLEDGE, RETRIEVAL): (2, 3, 5), (KNOWLEDGE, RAW): (3e-4, 1e-3, 3e-3), (KNOWLEDGE, FULL): RATES, (KNOWLEDGE, LORA): LORA_RATES,
    (VOLATILE, RETRIEVAL): (2, 3, 5), (VOLATILE, RAW): (3e-4, 1e-3, 3e-3), (VOLATILE, FULL): RATES, (VOLATILE, LORA): LORA_RATES,
}
SETTINGS: dict[tuple[str, str], float] = {
    (CLASSIFY, PROMPT): 2, (CLASSIFY, WORDS): 100, (CLASSIFY, FROZEN): 1e-2, (CLASSIFY, LORA): 1e-2, (CLASSIFY, FULL): 3e-3,
    (BEHAVIOR, PROMPT): 2, (BEHAVIOR, LORA): 1e-2, (BEHAVIOR, FULL): 3e-3,
    (STYLE, PROMPT): 3, (STYLE, LORA): 3e-4, (STYLE, FULL): 1e-4, (STYLE, DPO): 5e-4, (STYLE, BEST_OF_N): 3e-4,
    (KNOWLEDGE, RETRIEVAL): 3, (KNOWLEDGE, RAW): 1e-3, (KNOWLEDGE, FULL): 3e-3, (KNOWLEDGE, LORA): 1e-2,
    (VOLATILE, RETRIEVAL): 3, (VOLATILE, RAW): 3e-3, (VOLATILE, FULL): 3e-3, (VOLATILE, LORA): 1e-2,
}
NAMED: dict[tuple[str, str], str] = {  # who is best on the sweep's draw, by case and condition
    (case, condition): method
    for case, methods in {
        "posts, 16 labels": (WORDS, WORDS, WORDS, WORDS), "reviews, 256 labels": (LORA, WORDS, LORA, WORDS),
        "instructions": (LORA, PROMPT, LORA, AS_IS), "responses": (DPO, BEST_OF_N, DPO, AS_IS), "handbook": (RETRIEVAL, RETRIEVAL, FULL, AS_IS),
        PERSONAL: (RETRIEVAL, RETRIEVAL, AS_IS, AS_IS), "newspaper": (LORA, RETRIEVAL, LORA, AS_IS),
    }.items()
    for condition, method in zip(CONDITIONS, methods, strict=True)
}
WINNERS: dict[str, tuple[str, str, str]] = {  # of each that is best somewhere, where its lead was largest
    "retrieval": ("handbook", "text only", RETRIEVAL), "full": ("handbook", "fast", FULL), "words": ("reviews, 256 labels", "text only", WORDS),
    "dpo": ("responses", "fast", DPO), "best_of_n": ("responses", "text only", BEST_OF_N), "lora": ("instructions", "none", LORA),
    "prompt": ("instructions", "text only", PROMPT),
}
PROVEN = ("retrieval", "full", "words")  # the three of the largest leads
APART = 500  # how far the data seeds of F2 are from those of F1


def arms_of(case: Case, seed: int, data_seed: int, split: str = "test") -> dict[str, Arm]:
    """Return the methods that apply to a case. Facts have no splits: their data seed alone says which they are."""
    if case.name == PERSONAL:
        return needs_facts.personalize(case, seed, data_seed)
    return ARMS[case.need](case, seed, data_seed, **({} if case.need in (KNOWLEDGE, VOLATILE) else {"split": split}))


def row_of(name: str, case: Case, method: str, setting: float | None, outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a row of a table."""
    return {"case": name, "need": case.need, "examples": case.examples, "method": method, "setting": setting, **asdict(outcome)}


def sweep_needs(cases: Mapping[str, Case] = CASES, methods: Sequence[str] = METHODS) -> list[dict[str, Any]]:
    """Return what every setting of the methods makes of each case, on validation data."""
    rows = []
    for name, case in cases.items():
        for method, arm in arms_of(case, 0, SWEEP_SEED, "validation").items():
            if method not in methods:
                continue
            for setting in TRIED.get((case.need, method), (None,)):
                rows.append({"seed": SWEEP_SEED, **row_of(name, case, method, setting, arm(setting or 0))})
    return rows


def measured(case: Case, seed: int, data_seed: int, kept: Mapping[str, Outcome] | None = None) -> dict[str, Outcome]:
    """Return what every method makes of a case, each at its setting; those in ``kept`` are not measured again."""
    kept = kept or {}
    return {
        method: kept[method] if method in kept else arm(SETTINGS.get((case.need, method), 0))
        for method, arm in arms_of(case, seed, data_seed).items()
    }


def scenarios(case: Case, tried: float | None = None) -> dict[str, Situation]:
    """Return a case under each condition. What users told is private in all of them."""
    return {
        name: Situation(case.need, case.examples, private=case.name == PERSONAL, tried=tried, **condition) for name, condition in CONDITIONS.items()
    }


def recorded_outcomes(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, dict[str, Outcome]]]:
    """Read outcomes back from the rows of a recorded table: by draw, case, and method."""
    kinds, draws = {field.name: int if field.type == "int" else float for field in fields(Outcome)}, {}
    for row in rows:
        if row.get("method"):
            outcome = Outcome(**{name: kind(row[name]) for name, kind in kinds.items()})
            draws.setdefault(row["seed"], {}).setdefault(row["case"], {})[row["method"]] = outcome
    return draws


def recorded_scenarios(rows: Sequence[Mapping[str, str]], cases: Mapping[str, Case] = NEW_CASES) -> list[tuple[Situation, dict[str, Outcome]]]:
    """Read the scenarios of F2 back: each situation, with the outcomes of all methods in the draw that it was met in."""
    draws = recorded_outcomes(rows)
    return [
        (scenarios(cases[row["case"]], float(row["tried"]) if row["tried"] else None)[row["condition"]], draws[row["seed"]][row["case"]])
        for row in rows if row.get("condition")
    ]


# No method wins everywhere ------------------------------------------------------------------------------------------------------


def lead(situation: Situation, method: str, outcomes: Mapping[str, Outcome]) -> tuple[float, float]:
    """Return the quality of a method, and that of the best other method that the situation allows; its own if there is no other."""
    found = allowed(situation, outcomes)
    ours = found[method if method in found else AS_IS].quality
    return ours, max((outcome.quality for name, outcome in found.items() if name != method), default=ours)


SHARE = dict(unit="share", metric="quality")


@measures(
    Claim(
        "F1", "No method wins everywhere: three different ones, each under its own need and condition, are ahead of all others",
        metric="lead over the runner-up, the smallest of three", unit="share", treatment="smallest lead", control=None, effect_kind="value", op=">",
        threshold=0, note="Needs, conditions, and winners were named on a data seed that is not reported.",
    ),
    *(
        Claim(
            f"F1.{name}", f"How far {method} is ahead: {case}, condition: {condition}", treatment="winner", control="runner-up",
            effect_kind="difference", words=("ahead", "behind", "level"), **SHARE,
        )
        for name, (case, condition, method) in WINNERS.items()
    ),
    id="F1", seeds=5,
)
def every_need(seed: int, data_seed: int, cases: Mapping[str, Case] = CASES) -> Measurement:
    """Let all methods meet all needs. A row is a method's outcome on a case; the winners follow from the rows and the conditions."""
    drawn, rows, outcomes = seed_of_data(seed, data_seed), [], {}
    for name, case in cases.items():
        outcomes[name] = measured(case, seed, drawn)
        rows += [row_of(name, case, method, SETTINGS.get((case.need, method)), outcome) for method, outcome in outcomes[name].items()]
    leads = {}
    for name, (case, condition, method) in WINNERS.items():
        if case in outcomes:
            leads[name] = lead(scenarios(cases[case])[condition], method, outcomes[case])
    arms = {f"F1.{name}": {"winner": ours, "runner-up": theirs} for name, (ours, theirs) in leads.items()}
    smallest = min((ours - theirs for name, (ours, theirs) in leads.items() if name in PROVEN), default=float("nan"))
    return Measurement({"F1": {"smallest lead": smallest}, **arms}, rows)


# Whether the guide gives good advice --------------------------------------------------------------------------------------------


@measures(
    Claim(
        "F2.regret", "The book's guide gives good advice on scenarios that it was not made from", metric="quality lost against the best allowed method",
        unit="share", treatment="guide", control=None, effect_kind="value", op="<=", threshold=0.02,
    ),
    Claim(
        "F2.constant", "... better than always taking the same method", metric="quality lost against the best allowed method", unit="share",
        treatment="guide", control="best constant", effect_kind="difference", op="<", threshold=0,
        note="The constant is the best of each draw, chosen with hindsight.",
    ),
    id="F2", seeds=5,
)
def guided(seed: int, data_seed: int, cases: Mapping[str, Case] = NEW_CASES) -> Measurement:
    """Follow the guide in every scenario of every case, and take each method everywhere beside it; where one cannot be taken, the model stays as
    it is.

    A row is a scenario with the advice, the best method, and the regret of each; the outcomes they come from are rows, too.
    """
    drawn, rows, regrets, facts = seed_of_data(seed, data_seed) + APART, [], {}, {}
    for name, case in cases.items():
        # Cases on the same facts differ in what has been written out, which only those who train on it see.
        kept = {method: outcome for method, outcome in facts.get(case.name, {}).items() if method not in (FULL, LORA)}
        outcomes = measured(case, seed, drawn, kept)
        if case.need in (KNOWLEDGE, VOLATILE):
            facts[case.name] = outcomes
        rows += [row_of(name, case, method, SETTINGS.get((case.need, method)), outcome) for method, outcome in outcomes.items()]
        tried = needs.tried(case, drawn, SETTINGS[CLASSIFY, PROMPT]) if case.need == CLASSIFY else None
        for condition, situation in scenarios(case, tried).items():
            advised = advise(situation).method
            lost = {"guide": regret(situation, advised, outcomes)} | {method: regret(situation, method, outcomes) for method in METHODS}
            rows.append({"case": name, "need": case.need, "condition": condition, "tried": tried, "advised": advised, "best": best(situation, outcomes), **lost})
            for who, value in lost.items():
                regrets.setdefault(who, []).append(value)
    mean = {who: fmean(values) for who, values in regrets.items()}
    mean["best constant"] = min(mean[method] for method in METHODS)
    return Measurement({"F2.regret": mean, "F2.constant": mean}, rows)
