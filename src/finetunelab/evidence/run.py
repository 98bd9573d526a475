"""Running claims: seed after seed, each kept as soon as it is measured, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..experiments import Experiment, Measurement, experiments, find
from ..profiles import PROFILES, device_and_dtype
from . import store
from .judge import judge

PACKAGES = ("finetunelab", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "scikit-learn", "scipy")


def say_on_stderr(line: str) -> None:
    """Print a line of progress at once."""
    print(line, file=sys.stderr, flush=True)


def run(
    claims: Sequence[str] | None,
    out: str | Path,
    seeds: int | None = None,
    data_seed: int = 0,
    replace: bool = False,
    say: Callable[[str], None] = say_on_stderr,
) -> float:
    """Measure claims (None: all that belong in the file) with seeds 0, 1, ... and keep them in ``out``; return the CPU seconds spent now.

    Seeds that ``out`` already holds are not measured again; ``replace`` drops them first. ``seeds`` defaults to what each
    experiment asks for. UserError if a claim is unknown, or if ``out`` holds it measured otherwise (data seed, worlds or definition).
    """
    out = Path(out)
    if seeds is not None and seeds < 1:
        raise UserError(f"{seeds} seeds were asked for", "ask for at least one")
    if data_seed < 0:
        raise UserError(f"data seed {data_seed} is below zero", "give 0 or more")
    real = store.is_real(out, _objects(out))
    chosen = [e for e in experiments().values() if bool(e.dataset) == real] if claims is None else find(claims)
    for experiment in chosen:
        if (out.stem == store.REAL or out.stem in PROFILES) and bool(experiment.dataset) != real:
            raise UserError(
                f"{experiment.id} is measured on {experiment.dataset or 'the offline world'} and does not belong in {out.name}",
                f"use --out {'nano' if real else store.REAL}.json",
            )
    spent = [_measure(experiment, out, seeds or experiment.seeds, data_seed, replace, say) for experiment in chosen]
    say(f"CPU time now: {duration(sum(spent))}; of everything in {out.name}: {duration(total_seconds(_objects(out)))}")
    return sum(spent)


def _measure(experiment: Experiment, out: Path, seeds: int, data_seed: int, replace: bool, say: Callable[[str], None]) -> float:
    ids = {claim.id for claim in experiment.claims}
    frozen = None if experiment.dataset else store.world_hash()
    before = {} if replace else {entry["id"]: entry for entry in _objects(out) if entry["id"] in ids}
    done = _done_seeds(experiment, before, out, data_seed, frozen)
    per_seed = {id: [entry for entry in before[id]["per_seed"]] if before else [] for id in ids}
    table = store.table_path(out, experiment.id)
    rows: list[dict[str, Any]] = [row for row in store.load_rows(table) if row.get("seed") in {str(seed) for seed in done}]
    seconds = max((entry["seconds"] for entry in before.values()), default=0.0)
    spent, todo = 0.0, [seed for seed in range(seeds) if seed not in done]
    if before and not todo:
        say(f"{experiment.id}: all {len(done)} seeds are there")
        _keep(experiment, out, per_seed, seconds, data_seed, frozen, before)
    for count, seed in enumerate(todo, start=1):
        start = cpu_seconds()
        measured = _measured(experiment, seed, data_seed)
        spent += (took := cpu_seconds() - start)
        for id in ids:
            per_seed[id].append({"seed": seed, "arms": {name: _plain(value) for name, value in measured.arms[id].items()}})
            per_seed[id].sort(key=lambda entry: entry["seed"])
        if measured.rows:
            rows += [{"seed": seed, **row} for row in measured.rows]
            # The table first: rows whose seed the results do not know are dropped when the run goes on.
            store.save_rows(table, rows)
        _keep(experiment, out, per_seed, seconds + spent, data_seed, frozen, before if not todo else {})
        left = f", about {duration(spent / count * (len(todo) - count))} left" if count < len(todo) else ""
        say(f"{experiment.id}: seed {seed} took {duration(took)}, {len(done) + count} of {max(seeds, len(done) + count)} seeds{left}")
    return spent


def _done_seeds(experiment: Experiment, before: dict[str, dict], out: Path, data_seed: int, frozen: str | None) -> set[int]:
    """Return the seeds that ``out`` holds for every claim of the experiment; UserError if it holds them measured otherwise."""
    if not before:
        return set()
    mend = "name another --out, or measure it anew with --replace"
    for claim in experiment.claims:
        entry = before.get(claim.id)
        if entry is None:
            raise UserError(f"{out} holds {experiment.id} without {claim.id}", mend)
        wanted = store.describe(claim) | {"data_seed": data_seed, "world_hash": frozen}
        for name in ("data_seed", "world_hash", *store.DEFINITION):
            if entry.get(name) != wanted.get(name):
                raise UserError(f"{out} holds {claim.id} with {name} {entry.get(name)!r} and now it is {wanted.get(name)!r}", mend)
    seeds = [[row["seed"] for row in before[claim.id]["per_seed"]] for claim in experiment.claims]
    if any(other != seeds[0] for other in seeds):
        raise UserError(f"{out} holds the claims of {experiment.id} with different seeds", mend)
    return set(seeds[0])


def _measured(experiment: Experiment, seed: int, data_seed: int) -> Measurement:
    try:
        measured = experiment.run_seed(seed=seed, data_seed=data_seed)
    except UserError:
        raise
    except ValueError as problem:
        # Not bad input but a fault in the experiment: it must show where it is, not end as one line.
        raise RuntimeError(f"{experiment.id} failed at seed {seed}") from problem
    for claim in experiment.claims:
        needed = {name for name in (claim.treatment, claim.control, claim.trials) if name}
        missing = needed - set(measured.arms.get(claim.id, {}))
        if missing:
            raise RuntimeError(f"{experiment.id} returned no arm {sorted(missing)[0]!r} for {claim.id}")
    return measured


def _keep(
    experiment: Experiment, out: Path, per_seed: dict[str, list], seconds: float, data_seed: int, frozen: str | None,
    before: dict[str, dict],
) -> None:
    """Write the experiment's claims into ``out``; where nothing new was measured, what ``before`` says about the run stays."""
    entries = []
    for claim in experiment.claims:
        judgment = judge(claim, per_seed[claim.id])
        entry = store.describe(claim) | {
            "effect": judgment.effect, "ci95": list(judgment.ci95), "per_seed": per_seed[claim.id], "n_seeds": len(per_seed[claim.id]),
        }
        if claim.kind == "threshold":
            entry["holds"] = judgment.holds
        entry |= {"verdict": judgment.verdict, "seconds": round(seconds, 1)}
        if before:
            entry |= {name: before[claim.id][name] for name in ("device", "versions", "data_seed", "world_hash", "command", "commit")}
        else:
            entry |= _circumstances(experiment, out, len(per_seed[claim.id]), data_seed, frozen)
        entry["note"] = " ".join(part for part in (claim.note, judgment.caution) if part)
        if claim.dataset:
            entry["dataset"] = claim.dataset
        entries.append(entry)
    # Read again just before writing, so that runs of other claims into the same file are kept.
    ids = {entry["id"] for entry in entries}
    store.save(out, [entry for entry in _objects(out) if entry["id"] not in ids] + entries)


def _circumstances(experiment: Experiment, out: Path, n_seeds: int, data_seed: int, frozen: str | None) -> dict[str, Any]:
    where = os.path.relpath(out)
    command = f"finetunelab evidence run --claim {experiment.id} --seeds {n_seeds} --data-seed {data_seed}"
    return {
        "device": device_and_dtype().describe(), "versions": versions(), "data_seed": data_seed, "world_hash": frozen,
        "command": f"{command} --out {out.name if where.startswith('..') else Path(where).as_posix()}", "commit": commit(),
    }


def _objects(out: Path) -> list[dict[str, Any]]:
    return store.load(out) if out.exists() else []


def _plain(value: Any) -> float | int | None:
    """Return a number that JSON can hold; None for NaN and infinities."""
    number = float(value)
    return None if not math.isfinite(number) else int(value) if isinstance(value, int) else number


def total_seconds(objects: Sequence[dict[str, Any]]) -> float:
    """Return the CPU seconds of everything in a results file; claims measured together are counted once."""
    by_experiment: dict[str, float] = {}
    owner = {claim.id: experiment.id for experiment in experiments().values() for claim in experiment.claims}
    for entry in objects:
        name = owner.get(entry["id"], entry["id"])
        by_experiment[name] = max(by_experiment.get(name, 0.0), entry.get("seconds") or 0.0)
    return sum(by_experiment.values())


def cpu_seconds() -> float:
    """Return the CPU seconds, user and system, that this process and its children have used so far."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def duration(seconds: float) -> str:
    """Return seconds as people say them: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit the package's sources stand at, with "+changes" if they were edited; None outside a repository."""
    here = Path(__file__).resolve().parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
        changed = subprocess.run(["git", "status", "--porcelain", "--", "."], cwd=here, capture_output=True, text=True)
    except OSError:
        return None
    return None if head.returncode else head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
