"""Checking a results file against itself, against the claims in the code, and against the frozen worlds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..experiments import MIN_SEEDS, Claim, Experiment, experiments
from . import store
from .judge import judge


def check(path: str | Path) -> list[str]:
    """Return what is wrong with a results file, one line a problem; an empty list if every verdict follows from its numbers.

    Problems are: an effect, interval or verdict that the seeds do not give; a claim that is missing, unknown, twice there or defined
    otherwise than in the code; too few seeds; a stale world hash. A claim that honestly falls short is none.
    """
    objects = store.load(path)
    real = store.is_real(path, objects)
    wanted = [experiment for experiment in experiments().values() if bool(experiment.dataset) == real]
    claims = {claim.id: claim for experiment in wanted for claim in experiment.claims}
    counts = {id: [entry["id"] for entry in objects].count(id) for id in {entry["id"] for entry in objects}}
    problems = [f"{id}: is there {count} times" for id, count in sorted(counts.items()) if count > 1]
    problems += [f"{id}: missing; measure it with finetunelab evidence run --claim {id}" for id in sorted(set(claims) - set(counts))]
    frozen = None if real or not objects else store.world_hash()
    for entry in objects:
        claim = claims.get(entry["id"])
        found = ["no such claim in the code"] if claim is None else list(_entry_problems(claim, entry, frozen))
        problems += [f"{entry['id']}: {problem}" for problem in found]
    return problems + [problem for experiment in wanted for problem in _pairing(experiment, objects)]


def _entry_problems(claim: Claim, entry: dict[str, Any], frozen: str | None) -> Iterator[str]:
    described = store.describe(claim)
    optional = {"op", "threshold", "holds"} if claim.kind == "estimate" else set()
    missing = [name for name in store.KEYS if name not in entry and name not in optional]
    if missing:
        yield f"has no {', '.join(missing)}"
        return
    for name in store.DEFINITION:
        if entry.get(name) != described.get(name):
            yield f"{name} is {entry.get(name)!r}, and {described.get(name)!r} in the code"
    if entry["world_hash"] != frozen:
        yield f"measured on worlds {entry['world_hash']}, which are now {frozen}; measure it again with --replace"
    if entry.get("dataset") != claim.dataset:
        yield f"dataset is {entry.get('dataset')!r}, and {claim.dataset!r} in the code"
    if not _well_formed(entry["per_seed"]):
        yield "per_seed is not a list of seeds with their arms"
        return
    seeds = [row["seed"] for row in entry["per_seed"]]
    if len(set(seeds)) < len(seeds):
        yield "a seed is there twice"
    if entry["n_seeds"] != len(seeds):
        yield f"n_seeds is {entry['n_seeds']} with {len(seeds)} seeds in per_seed"
    if len(seeds) < MIN_SEEDS and not claim.trials:
        yield f"{len(seeds)} seeds of at least {MIN_SEEDS}; go on with finetunelab evidence run"
    judgment = judge(claim, entry["per_seed"])
    ci95 = entry["ci95"] if isinstance(entry["ci95"], list) and len(entry["ci95"]) == 2 else [entry["ci95"], None]
    for name, stated, computed in (
        ("effect", entry["effect"], judgment.effect), ("ci95 low", ci95[0], judgment.ci95[0]), ("ci95 high", ci95[1], judgment.ci95[1]),
    ):
        if not _same(stated, computed):
            yield f"{name} is {stated}, and {computed} by its seeds"
    if entry.get("holds") is not judgment.holds:
        yield f"holds is {entry.get('holds')}, and {judgment.holds} by its seeds"
    if entry["verdict"] != judgment.verdict:
        yield f"verdict is {entry['verdict']!r}, and {judgment.verdict!r} by its seeds"


def _well_formed(per_seed: Any) -> bool:
    return isinstance(per_seed, list) and all(
        isinstance(row, dict) and isinstance(row.get("seed"), int) and isinstance(row.get("arms"), dict)
        and all(value is None or (_is_number(value) and math.isfinite(value)) for value in row["arms"].values())
        for row in per_seed
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(stated: Any, computed: float | None) -> bool:
    if stated is None or computed is None:
        return stated is computed
    return _is_number(stated) and math.isclose(stated, computed, rel_tol=1e-6, abs_tol=1e-9)


def _pairing(experiment: Experiment, objects: list[dict[str, Any]]) -> Iterator[str]:
    """Claims of one experiment are measured together: a seed that one has and another lacks was taken out."""
    seeds = {
        entry["id"]: sorted(row["seed"] for row in entry["per_seed"])
        for entry in objects
        if entry["id"] in {claim.id for claim in experiment.claims} and _well_formed(entry.get("per_seed"))
    }
    if len({tuple(found) for found in seeds.values()}) > 1:
        yield f"{experiment.id}: its claims {', '.join(seeds)} have different seeds"
