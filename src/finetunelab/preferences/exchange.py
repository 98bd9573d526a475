"""Ratings to and from the preference format of trl: one JSON object a line, with "prompt", "chosen" and "rejected" as lists of messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..conversations import check
from ..errors import UserError
from ..files import write_text
from ..tables import read_table
from .agreement import majority
from .store import Comparison, Rating, RatingStore, preference

COLUMNS = ("prompt", "chosen", "rejected")


class Exported(NamedTuple):
    """How many comparisons were written, and how many were left out because the raters' votes are tied or because nobody voted."""

    written: int
    tied: int
    unrated: int


def export_preferences(store: RatingStore, path: str | Path, raters: Sequence[str] | None = None) -> Exported:
    """Write what the raters prefer as JSONL, one row for each comparison on which they have decided.

    They have decided for a response that more of them chose than chose the other one or called it a tie. All others are left out and
    counted. ``raters`` are those that are heard (default: all).

    Raises UserError if the file exists, cannot be written, if a rater is unknown, and if no row is left to write.
    """
    if Path(path).exists():
        raise UserError(f"{path} exists already", "name a new file, or move this one away first")
    choices: dict[str, list[str]] = {}
    for rating in store.ratings(raters):
        choices.setdefault(rating.item, []).append(rating.choice)
    rows, tied, unrated = [], 0, 0
    for item, one in store.comparisons().items():
        said = [choice for choice in choices.get(item, []) if choice != "skip"]
        decided = majority(said)
        if decided in ("a", "b"):
            chosen, rejected = (one.response_a, one.response_b) if decided == "a" else (one.response_b, one.response_a)
            rows.append(preference(one.prompt, chosen, rejected))
        else:
            tied, unrated = tied + bool(said), unrated + (not said)
    if not rows:
        raise UserError(f"no comparison in {store.path} has a preferred response: {tied} tied, {unrated} unrated", "rate some first")
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return Exported(len(rows), tied, unrated)


def import_preferences(store: RatingStore, path: str | Path, rater: str) -> int:
    """Take the rows of such a file as the choices of one rater and return how many there are; comparisons that the store lacks are added.

    Of those added, the response that comes first in the alphabet is a, so that the place says nothing about the choice.

    Raises UserError as ``read_table`` does, for a row that is no preference between two responses to one request, for rows that
    contradict one another, and if the rater has rated one of the comparisons already. Nothing is imported then.
    """
    table = read_table(Path(path))
    for name in COLUMNS:
        if name not in table.column_names:
            raise UserError(f"{path} has no column {name!r}", f"give trl's preference format; it has {', '.join(table.column_names)}")
    known, rows = store.comparisons(), table.select(list(COLUMNS)).to_pylist()
    found: dict[str, tuple[int, Comparison, str]] = {}
    for number, row in enumerate(rows, start=1):
        prompt, chosen, rejected = _texts(row, f"row {number} of {path}")
        one = Comparison(prompt, chosen, rejected)
        if one.id not in known:
            turned = Comparison(prompt, rejected, chosen)
            one = turned if turned.id in known else Comparison(prompt, *sorted((chosen, rejected)))
        choice = "a" if one.response_a == chosen else "b"
        if found.setdefault(one.id, (number, one, choice))[2] != choice:
            mend = "leave one of them out, or import the rows of each rater by themselves"
            raise UserError(f"rows {found[one.id][0]} and {number} of {path} prefer opposite responses", mend)
    store.add_ratings([Rating(rater, item, choice) for item, (_, _, choice) in found.items()], [one for _, one, _ in found.values()])
    return len(found)


def _texts(row: Mapping[str, Any], where: str) -> tuple[str, str, str]:
    """Return prompt, chosen and rejected as texts."""
    for name in COLUMNS:
        value = row[name]
        if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
            raise UserError(f"{name} in {where} is not one message", 'write it as [{"role": "...", "content": "..."}]')
    for name in ("chosen", "rejected"):
        check([*row["prompt"], *row[name]], f"{where} ({name})")
    prompt, chosen, rejected = (row[name][0]["content"] for name in COLUMNS)
    if chosen == rejected:
        raise UserError(f"chosen and rejected are the same in {where}", "leave the row out: it prefers nothing")
    return prompt, chosen, rejected
