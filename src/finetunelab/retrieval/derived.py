"""The FAISS index of a vector store, kept in step with the SQLite file that holds the truth.

In memory there are two parts: the index that was read from a file, and a flat one over the passages that are younger than the file. Each
search first takes in what has been committed since the last one. The file is built anew when too many of its vectors are deleted, when
too many are younger, or when another kind suits the number of passages; who writes builds, who reads never does. Building on ever larger
shares costs each passage a fixed number of buildings on average, a few milliseconds, which is what embedding it takes.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..database import PATIENCE, Database
from ..errors import UserError
from ..files import write_whole
from .indexes import FLAT, FLAT_MOST, Index, choose

LOCK = "building.sqlite"
TOMBSTONES = 0.2  # the share of deleted vectors at which an index is built anew
YOUNG = 0.1  # and that of vectors which it has not got


class DerivedIndex:
    """The index over the table ``vectors`` of a database, in memory and in files of a folder.

    Args:
        database: with the tables of ``store``.
        folder: where index files are.
        width: numbers of a vector.
        say: is told what is built, and why.
    """

    def __init__(self, database: Database, folder: Path, width: int, say: Callable[[str], None]):
        self._database, self._folder, self._width, self._say = database, folder, width, say
        self._token: str | None = None  # the name of the file that was read
        self._main: Index | None = None  # what was in it
        self._young: Index | None = None  # all younger passages
        self._seen = self._last = -1  # the last deletion taken in, and the greatest number

    def refreshed(self) -> list[Index]:
        """Return the parts to search, once what this and other processes have committed is in them."""
        with self._database.reading():
            self._refresh()
            if self._waiting("SELECT 1 FROM passages WHERE number > ? LIMIT 1"):
                numbers, vectors = self._vectors(self._last)
                self._young.add(numbers, vectors)
                self._last = int(numbers[-1])
        return [part for part in (self._main, self._young) if part is not None]

    def describe(self) -> str:
        """Return in one line what kind of index it is, and why."""
        n = sum(part.count for part in self.refreshed())
        reason = choose(n, self._main.kind if self._main else FLAT)[1]
        return f"{reason}. {self._main.describe()}" if self._main else f"{reason}."

    def purge(self) -> None:
        """Leave no deleted vector in a file of the folder. UserError if another process is building."""
        with self._building(PATIENCE) as mine:
            if not mine:
                raise UserError(f"another process is building the index of {self._folder}", "purge again when it is done")
            n = sum(part.count for part in self.refreshed())
            if self._main and self._main.dead:
                self._build(*choose(n, self._main.kind))
            self._sweep()

    def _refresh(self) -> None:
        """Take into memory which file and which deletions were committed since the last time, but no new passages. Inside a transaction."""
        ask = self._database.ask
        token = self._named()
        oldest, newest = ask("SELECT (SELECT MIN(change) FROM gone), (SELECT MAX(change) FROM gone)")[0]
        littered = self._young is not None and self._young.dead > max(1000, len(self._young.alive) // 2)
        if self._young is None or token != self._token or (oldest or 0) > self._seen + 1 or littered:
            self._young, self._main = None, self._read(token) if token else None
            if self._main:
                self._main.keep(np.array([row[0] for row in ask("SELECT number FROM passages ORDER BY number")], dtype=np.int64))
            self._last = int(self._main.numbers[-1]) if self._main else -1
            self._token = token
            self._young = Index.build(FLAT, np.empty(0, dtype=np.int64), np.empty((0, self._width), dtype=np.float32))
        elif newest and newest > self._seen:
            lately = ask("SELECT number FROM gone WHERE change > ? ORDER BY number", self._seen)
            gone = np.array([row[0] for row in lately], dtype=np.int64)
            for part in (self._main, self._young):
                if part is not None:
                    part.forget(gone)
        self._seen = newest or 0

    def _named(self) -> str | None:
        """Return the name of the index file that SQLite has, None if there is none."""
        return next((row[0] for row in self._database.ask("SELECT value FROM about WHERE name = 'index'")), None)

    def _waiting(self, statement: str) -> int:
        """Return the number that a statement asks of the passages which are not in memory yet, 0 if there is no row."""
        return next((row[0] for row in self._database.ask(statement, self._last)), 0)

    def _read(self, token: str) -> Index | None:
        """Return the index in a file; None if it is missing or damaged: all vectors are then compared, which is slower, not wrong."""
        try:
            with open(self._folder / token, "rb") as stream:
                return Index.read(stream, token.partition("-")[0], self._width)
        except (OSError, UserError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else str(problem).partition(";")[0]
            self._say(f"{self._folder / token} cannot be used: {reason}. All vectors are compared until the next change builds it anew.")
            return None

    def _vectors(self, after: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers above this one, ascending, and their vectors."""
        n, width = self._database.ask("SELECT COUNT(*) FROM passages WHERE number > ?", after)[0][0], self._width
        numbers, vectors, done = np.empty(n, dtype=np.int64), np.empty((n, width), dtype=np.float32), 0
        for rows in self._database.portions("SELECT number, vector FROM vectors WHERE number > ? ORDER BY number", after):
            part = slice(done, done + len(rows))
            numbers[part] = [row[0] for row in rows]
            vectors[part] = np.frombuffer(b"".join(row[1] for row in rows), dtype=np.float32).reshape(-1, width)
            done += len(rows)
        return numbers, vectors

    # The index on the disk ------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Build the index anew if the number of passages asks for another kind, or if too much of it is deleted or missing."""
        if self._due():
            with self._building(0) as mine:  # if not, another process is at it
                if mine and (due := self._due()):
                    self._build(*due)
                    self._sweep()

    def _due(self) -> tuple[str, str] | None:
        """Return the kind of index that is to be built now and the reason for it, or None."""
        with self._database.reading():
            self._refresh()
            # Counted and not loaded: of a store that was just filled the vectors would lie in memory once more than they have to.
            young = self._young.count + self._waiting("SELECT COUNT(*) FROM passages WHERE number > ?")
        now = self._main.kind if self._main else FLAT
        due, stale = choose(young + (self._main.count if self._main else 0), now), False
        if self._main:
            size = len(self._main.alive)
            stale = self._main.dead > TOMBSTONES * size or young > max(FLAT_MOST, YOUNG * size)
        return due if stale or due[0] != now else None

    def _build(self, kind: str, reason: str) -> None:
        """Write the index of all passages into a new file, and then name it in SQLite."""
        token = None
        if kind != FLAT:
            self._main = self._young = None  # gives their memory back first
            with self._database.reading():
                numbers, vectors = self._vectors(-1)
            index = Index.build(kind, numbers, vectors)
            del vectors
            token = f"{kind}-{uuid.uuid4().hex[:12]}.faiss"
            write_whole(self._folder / token, index.write)
            reason += f". {index.describe()}"
        self._say(f"Index: {reason}")
        with self._database.writing():
            self._database.ask("INSERT OR REPLACE INTO about VALUES ('index', ?)", token)

    def _sweep(self) -> None:
        """Remove index files that SQLite does not name: old ones, and what an interrupted process has left."""
        with self._database.explained():
            token = self._named()
        for file in (*self._folder.glob("*.faiss"), *self._folder.glob(".*.faiss.*.part")):
            if file.name != token:
                file.unlink(missing_ok=True)

    @contextmanager
    def _building(self, seconds: float) -> Iterator[bool]:
        """Hold the right to write index files, if no other process has it. SQLite's lock on an empty file is freed when a process dies."""
        lock = sqlite3.connect(self._folder / LOCK, timeout=seconds, isolation_level=None)
        try:
            try:
                lock.execute("BEGIN EXCLUSIVE")
                mine = True
            except sqlite3.OperationalError:
                mine = False
            yield mine
        finally:
            lock.close()
