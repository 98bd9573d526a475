"""What a vector store keeps, a text with its metadata, and which of it a search may return."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

from ..errors import UserError

Value = str | int | float | date
"""Of metadata. A truth value is kept as 1 or 0; a date or datetime as its ISO text, with a time zone in UTC."""

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def kept(value: Any, name: str) -> str | int | float:
    """Return a value of metadata as it is kept and compared. UserError for one that cannot be."""
    if isinstance(value, datetime):
        return (value.astimezone(timezone.utc) if value.tzinfo else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, str) or isinstance(value, float) and math.isfinite(value):
        return value
    raise UserError(f"{value!r} cannot be the value of {name!r}", "give a text, a number or a date")


@dataclass(frozen=True)
class Passage:
    """A text to be found, with what is known of it.

    Args:
        text: what is embedded and returned.
        metadata: names and values to filter by, such as {"user": "Ann", "date": date(2026, 1, 5)}.
        key: by which it is updated and deleted; by default a hash of text and metadata.

    Raises:
        UserError: no text, or metadata that cannot be kept.
    """

    text: str
    metadata: Mapping[str, Value] = field(default_factory=dict)
    key: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise UserError("a passage has no text", "leave it out")
        known = {str(name): kept(value, name) for name, value in self.metadata.items()}
        object.__setattr__(self, "metadata", known)
        if not self.key:
            object.__setattr__(self, "key", hashlib.sha256(json.dumps([self.text, known], sort_keys=True).encode()).hexdigest()[:32])


@dataclass(frozen=True)
class Hit:
    """A passage that was found; ``similarity`` is the cosine of the angle between its vector and the question's, at most 1."""

    passage: Passage
    similarity: float


@dataclass(frozen=True)
class Between:
    """Values from ``low`` to ``high``, both included; None is open. A ``high`` that is a day includes all times of that day."""

    low: Value | None = None
    high: Value | None = None


Where = Mapping[str, Value | Between]
"""What the passages must have that a search may return: for each name a value that is equal, or ``Between``. All of it must hold."""


def condition(where: Where) -> tuple[str, list[Any]]:
    """Return the SQL that selects the numbers of the passages allowed, from a table ``facts (number, name, value)``, and its parameters.

    UserError for a value that no metadata can have: a filter by None must not become no filter.
    """
    parts, values = [], []
    for name, wanted in where.items():
        part = "SELECT number FROM facts WHERE name = ?"
        values.append(name)
        if not isinstance(wanted, Between):
            parts.append(part + " AND value = ?")
            values.append(kept(wanted, name))
            continue
        bounds = [(sign, kept(bound, name)) for sign, bound in ((">=", wanted.low), ("<=", wanted.high)) if bound is not None]
        kinds = {isinstance(bound, str) for _, bound in bounds}
        if len(kinds) != 1:
            cause = f"the range of {name!r} has {'two kinds of bounds' if kinds else 'no bound'}"
            raise UserError(cause, "give a lower or an upper one, or two alike")
        part += f" AND typeof(value) {'= ' if kinds == {True} else '<> '}'text'"  # SQLite holds any text to be greater than any number
        for sign, bound in bounds:
            part += f" AND value {sign} ?"
            values.append(f"{bound}~" if sign == "<=" and isinstance(bound, str) and DAY.fullmatch(bound) else bound)
        parts.append(part)
    return " INTERSECT ".join(parts), values
