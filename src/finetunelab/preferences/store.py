"""The store of ratings: one SQLite file, in which every click is on the disk before the next can be made.

Several people may rate the same comparisons at once, each in a notebook of their own, all on one machine and in one file. Clicks are only
ever added: an undo is one more, which takes back the choice before it, so that the file tells all that was done.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..database import Database
from ..errors import UserError, unknown
from ..worlds.responses import Grades

CHOICES = ("a", "b", "tie", "skip")
SCALES = Grades._fields
LEVELS = (0.0, 0.5, 1.0)  # of a grade: low, middle, high
SCHEMA = 1
MARK = 0x46544C31  # SQLite's application_id: tells this store from databases of other programs
TABLES = (
    "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, prompt TEXT NOT NULL, response_a TEXT NOT NULL, response_b TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sides (rater TEXT NOT NULL, item TEXT NOT NULL REFERENCES items, first TEXT NOT NULL, PRIMARY KEY (rater, item))",
    "CREATE TABLE IF NOT EXISTS clicks (number INTEGER PRIMARY KEY AUTOINCREMENT, rater TEXT NOT NULL, item TEXT NOT NULL REFERENCES items,"
    " kind TEXT NOT NULL, response TEXT, scale TEXT, value, seconds REAL, undoes INTEGER UNIQUE REFERENCES clicks, at TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS clicks_of_a_rater ON clicks (rater, item)",
)
# A choice counts until it is taken back.
STANDING = "kind = 'choice' AND NOT EXISTS (SELECT 1 FROM clicks AS later WHERE later.undoes = clicks.number)"
GRADED = "SELECT rater, item, response, scale, value, MAX(number) FROM clicks WHERE kind = 'grade' GROUP BY rater, item, response, scale"


@dataclass(frozen=True)
class Comparison:
    """A prompt with two responses to it. Raises UserError if a text is missing or the responses are the same."""

    prompt: str
    response_a: str
    response_b: str

    def __post_init__(self) -> None:
        for name, text in vars(self).items():
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"a comparison has no text as its {name}", "fill it in, or leave the comparison out")
        if self.response_a == self.response_b:
            raise UserError(f"the two responses to {self.prompt[:40]!r} are the same", "leave this comparison out: there is nothing to choose")

    @property
    def id(self) -> str:
        """16 hex digits that depend on the three texts alone, so that the same comparison has the same id in every store."""
        return hashlib.sha256(json.dumps([self.prompt, self.response_a, self.response_b]).encode()).hexdigest()[:16]

    @classmethod
    def of(cls, row: Comparison | Mapping[str, Any]) -> Comparison:
        """Return a row with "prompt", "response_a" and "response_b", such as those of the world ``comparisons``, as a comparison."""
        return row if isinstance(row, Comparison) else cls(*(row.get(name, "") for name in ("prompt", "response_a", "response_b")))


@dataclass(frozen=True)
class Rating:
    """What one rater said of one comparison.

    Args:
        rater: the rater's name.
        item: the id of the comparison.
        choice: "a", "b", "tie" or "skip".
        grades: of each response, "a" or "b", what it was graded on the three scales: 0, .5 or 1. Scales may be missing.
        seconds: from seeing the comparison to choosing; None if nobody measured it.
        first: which of the two was shown first, on the left; None if nobody saw it.
    """

    rater: str
    item: str
    choice: str
    grades: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float | None = None
    first: str | None = None


def preference(prompt: str, chosen: str, rejected: str) -> dict[str, list[dict[str, str]]]:
    """Return a row of trl's conversational preference format."""
    said = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    return {name: [{"role": role, "content": text}] for name, (role, text) in said.items()}


class RatingStore:
    """Comparisons and what raters clicked. Each method that writes returns once SQLite has committed to the disk.

    Args:
        path: of the file; made if it is missing.
        seed: draws, for each rater and comparison, which response is shown first.
        existing: do not make a new file.

    Raises:
        UserError: no file though ``existing``; a file that is no store, or one of another version; a folder or disk that cannot be written.
            Every method raises it for a disk that is full or was taken away, and for names and values that do not exist.
    """

    def __init__(self, path: str | Path, seed: int = 0, existing: bool = False):
        self.path, self.seed = Path(path), seed
        self._database = Database(path, "store of ratings", MARK, SCHEMA, TABLES, existing)

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        self._database.close()

    # What can be rated ----------------------------------------------------------------------------------------------------------

    def add(self, comparisons: Iterable[Comparison | Mapping[str, Any]]) -> list[str]:
        """Put comparisons into the store and return their ids; those that are there already stay as they are."""
        found = [Comparison.of(row) for row in comparisons]
        with self._database.writing():
            for one in found:
                self._database.ask("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?)", one.id, one.prompt, one.response_a, one.response_b)
        return [one.id for one in found]

    def comparisons(self) -> dict[str, Comparison]:
        """Return all comparisons by their ids, in the order in which they were added."""
        with self._database.explained():
            return {key: Comparison(*texts) for key, *texts in self._database.ask("SELECT * FROM items ORDER BY rowid")}

    def first(self, rater: str, item: str) -> str:
        """Return which response this rater sees first, on the left: "a" or "b". Drawn by a coin the first time, and kept."""
        with self._database.writing():
            self._known(rater, item)
            drawn = random.Random(f"sides/{self.seed}/{rater}/{item}").choice("ab")
            self._database.ask("INSERT OR IGNORE INTO sides VALUES (?, ?, ?)", rater, item, drawn)
            return self._database.ask("SELECT first FROM sides WHERE rater = ? AND item = ?", rater, item)[0][0]

    # What a rater does ----------------------------------------------------------------------------------------------------------

    def choose(self, rater: str, item: str, choice: str, seconds: float | None = None) -> None:
        """Record a choice: "a", "b", "tie" or "skip". UserError if this rater's choice on it stands already."""
        if seconds is not None and not (isinstance(seconds, (int, float)) and math.isfinite(seconds) and seconds >= 0):
            raise UserError(f"{seconds!r} is no number of seconds", "give a number, 0 or more, or None")
        if choice not in CHOICES:
            raise unknown("choice", str(choice), CHOICES)
        with self._database.writing():
            self._known(rater, item)
            if self._database.ask(f"SELECT 1 FROM clicks WHERE rater = ? AND item = ? AND {STANDING}", rater, item):
                raise UserError(f"{rater} has rated comparison {item} already", "undo that rating first")
            self._click(rater, item, "choice", value=choice, seconds=seconds)

    def grade(self, rater: str, item: str, response: str, scale: str, value: float | None) -> None:
        """Record a grade of response "a" or "b" on a scale: 0, .5 or 1, or None for a grade taken back."""
        if response not in ("a", "b"):
            raise unknown("response", str(response), ("a", "b"))
        if scale not in SCALES:
            raise unknown("scale", str(scale), SCALES)
        if value is not None and (isinstance(value, bool) or value not in LEVELS):
            raise UserError(f"{value!r} is no grade", "give 0, .5 or 1")
        with self._database.writing():
            self._known(rater, item)
            self._click(rater, item, "grade", response=response, scale=scale, value=None if value is None else float(value))

    def undo(self, rater: str, among: Collection[str] | None = None) -> str | None:
        """Take back the rater's last choice that stands, of the items ``among`` if given, and return its item; None if there is none.

        Its grades stay, to be changed or kept when it is rated again.
        """
        with self._database.writing():
            standing = f"SELECT number, item FROM clicks WHERE rater = ? AND {STANDING} ORDER BY number DESC"
            for number, item in self._database.ask(standing, rater):
                if among is None or item in among:
                    self._click(rater, item, "undo", undoes=number)
                    return item
        return None

    def add_ratings(self, ratings: Iterable[Rating], comparisons: Iterable[Comparison | Mapping[str, Any]] = ()) -> None:
        """Record finished ratings, of a simulated panel for example, and add comparisons: all of it, or nothing where one cannot be."""
        with self._database.writing():
            self.add(comparisons)
            for rating in ratings:
                self.choose(rating.rater, rating.item, rating.choice, rating.seconds)
                for response, graded in rating.grades.items():
                    for scale, value in graded.items():
                        self.grade(rating.rater, rating.item, response, scale, value)

    # What was said --------------------------------------------------------------------------------------------------------------

    def ratings(self, raters: Sequence[str] | None = None) -> list[Rating]:
        """Return the ratings that stand, of some raters or of all, in the order in which they were made. UserError for an unknown rater."""
        with self._database.explained():
            rows = self._database.ask(
                f"SELECT rater, item, value, seconds, first FROM clicks LEFT JOIN sides USING (rater, item) WHERE {STANDING} ORDER BY number")
            grades = self._grades()
        names = sorted({row[0] for row in rows})
        for name in raters or ():
            if name not in names:
                raise unknown("rater", name, names)
        return [
            Rating(rater, item, choice, grades.get((rater, item), {}), seconds, first)
            for rater, item, choice, seconds, first in rows if raters is None or rater in raters
        ]

    def given(self, rater: str) -> tuple[dict[str, str], dict[str, dict[str, dict[str, float]]]]:
        """Return by item what one rater has chosen, and what they have graded, of comparisons not yet chosen on as well."""
        with self._database.explained():
            chosen = dict(self._database.ask(f"SELECT item, value FROM clicks WHERE rater = ? AND {STANDING}", rater))
            return chosen, {item: grades for (name, item), grades in self._grades().items() if name == rater}

    def clicks(self, rater: str) -> list[dict[str, Any]]:
        """Return all that a rater clicked, in order, what was taken back as well: dicts of the columns that a kind of click has."""
        names = ("number", "item", "kind", "response", "scale", "value", "seconds", "undoes", "at")
        with self._database.explained():
            rows = self._database.ask(f"SELECT {', '.join(names)} FROM clicks WHERE rater = ? ORDER BY number", rater)
        return [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]

    # SQLite ---------------------------------------------------------------------------------------------------------------------

    def _grades(self) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
        """Return by rater and item the grades of each response; of the clicks on one scale the last counts."""
        found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
        for rater, item, response, scale, value, _ in self._database.ask(GRADED):
            if value is not None:
                found.setdefault((rater, item), {}).setdefault(response, {})[scale] = value
        return found

    def _known(self, rater: str, item: str) -> None:
        if not isinstance(rater, str) or not rater.strip():
            raise UserError(f"{rater!r} is no name of a rater", "give a name, such as ann")
        if not isinstance(item, str) or not self._database.ask("SELECT 1 FROM items WHERE id = ?", item):
            raise UserError(f"there is no comparison {item!r} in {self.path}", "add it first")

    def _click(self, rater: str, item: str, kind: str, **more: Any) -> None:
        row = {"rater": rater, "item": item, "kind": kind, "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), **more}
        self._database.ask(f"INSERT INTO clicks ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())
