"""The results file: a JSON list, one object a claim, written whole or not at all; grids and curves as CSV beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..experiments import Claim
from ..files import write_text
from ..profiles import PROFILES

KEYS = (
    "id", "kind", "claim", "metric", "unit", "treatment", "control", "effect_kind", "op", "threshold", "effect", "ci95", "per_seed",
    "n_seeds", "holds", "verdict", "seconds", "device", "versions", "data_seed", "world_hash", "command", "commit", "note",
)
# What a claim promises. These may not differ between the code and a results file; wording may.
DEFINITION = ("kind", "unit", "treatment", "control", "effect_kind", "op", "threshold")
REAL = "real"


def world_hash() -> str:
    """Return the hash of the frozen worlds, as the package keeps it. UserError while they are not frozen."""
    frozen = resources.files("finetunelab.worlds") / "frozen.json"
    if not frozen.is_file():
        raise UserError("the worlds are not frozen yet", "write src/finetunelab/worlds/frozen.json before the first claim is run")
    return json.loads(frozen.read_text(encoding="utf-8"))["world_hash"]


def describe(claim: Claim) -> dict[str, Any]:
    """Return what the registry says about a claim, under the names that the results file uses."""
    words = {name: getattr(claim, name) for name in KEYS[:10]}
    return words if claim.kind == "threshold" else {name: value for name, value in words.items() if name not in ("op", "threshold")}


def load(path: str | Path) -> list[dict[str, Any]]:
    """Read a results file. UserError if it is missing or is not a list of objects that have ids."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no results file {path}", "check the path, or make it with finetunelab evidence run")
    try:
        objects = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} is not JSON ({problem})", "restore it from version control, or name another file") from None
    if not isinstance(objects, list) or not all(isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in objects):
        raise UserError(f"{path} is not a results file", "it must be a JSON list of objects with ids")
    return objects


def save(path: str | Path, objects: Sequence[dict[str, Any]]) -> None:
    """Write the results, ordered by id, whole or not at all."""
    ordered = sorted(objects, key=lambda entry: entry["id"])
    write_text(path, json.dumps(ordered, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def is_real(path: str | Path, objects: Sequence[dict[str, Any]] = ()) -> bool:
    """Return True if the file holds results on real data: by its name (real.json, or a profile's), else by its contents."""
    stem = Path(path).stem
    if stem == REAL or stem in PROFILES:
        return stem == REAL
    return bool(objects) and all(entry.get("dataset") for entry in objects)


def table_path(path: str | Path, experiment: str) -> Path:
    """Return where an experiment's grid or curve is kept: <id>.csv, and <id>.<profile>.csv for results that are not nano's."""
    path = Path(path)
    return path.with_name(f"{experiment}.{path.stem}.csv" if path.stem in PROFILES and path.stem != "nano" else f"{experiment}.csv")


def load_rows(path: Path) -> list[dict[str, str]]:
    """Read a grid or curve; no rows if there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def save_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a grid or curve; its columns are all that any row has, the seed first."""
    columns = dict.fromkeys(["seed", *(name for row in rows for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
