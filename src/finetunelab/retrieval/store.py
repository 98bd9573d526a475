"""The vector store: texts, metadata and vectors in one SQLite file, and beside it, where they are many, a FAISS index over the vectors.

SQLite holds the truth. A passage gets a number, which is never given again; an update gives it a new one. So an index file says the same
for ever, "this number has this vector": it may lag behind and cannot be wrong (``derived``), and after a crash there is nothing to
repair. What SQLite has committed is there, and the index file, renamed into its place when whole, is the old one or the new one.

What is deleted is never returned again, by any process, from the moment ``delete`` returns. Its text, metadata and vector are then
overwritten with zeros in the SQLite file. Until ``purge``, three things may outlast it: its vector in an index file (small stores have
none; in large ones until a fifth of the index is deleted and it is built anew), what SQLite's log still holds if another process was just
then reading, and copies that SQLite has left in the unused part of a page. ``purge`` leaves none of them. No program can promise what a
disk keeps of blocks that it was told to overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..database import PATIENCE, Database
from ..errors import UserError
from .derived import DerivedIndex
from .embedders import Embedder, checked
from .passages import Hit, Passage, Where, condition

FILE = "passages.sqlite"
MARK, SCHEMA = 0x46544C32, 1
TABLES = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE passages (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, text TEXT NOT NULL)",
    "CREATE TABLE vectors (number INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
    "CREATE TABLE facts (number INTEGER, name TEXT, value, PRIMARY KEY (number, name)) WITHOUT ROWID",
    "CREATE INDEX facts_by_value ON facts (name, value, number)",
    # Which numbers were deleted lately, so that other processes need not look through all.
    "CREATE TABLE gone (change INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL)",
)
PRAGMAS = ("page_size = 8192", "secure_delete = ON")  # five vectors of 384 numbers fill such a page
BATCH, GIVEN = 128, 10_000  # passages in a transaction, where they have to be embedded and where their vectors are given
REMEMBERED = 10_000  # deletions


@dataclass
class Changes:
    """What became of passages: ``new`` keys, ``changed`` ones, and those that were there with the ``same`` text and metadata."""

    new: int = 0
    changed: int = 0
    same: int = 0


def embedder_of(path: str | Path) -> str:
    """Return the id of the embedder that a store was made with. UserError if there is no store."""
    _check(Path(path), existing=True)
    database = Database(Path(path) / FILE, "vector store", MARK, SCHEMA, TABLES, existing=True)
    try:
        with database.explained():
            return database.ask("SELECT value FROM about WHERE name = 'embedder'")[0][0]
    finally:
        database.close()


def _check(path: Path, existing: bool) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file", "a vector store is a folder: name another")
    if not (path / FILE).exists():
        if existing:
            raise UserError(f"there is no vector store {path}", "make one first, with finetunelab index DIR, or check the path")
        if path.exists() and any(path.iterdir()):
            raise UserError(f"{path} holds other things", "name a new folder for the vector store")


class VectorStore:
    """Passages that are found by their vectors. Several processes may read one store while another writes; writers take turns.

    Args:
        path: of its folder; made if it is missing.
        embedder: turns texts into vectors. Its id, checksum and dimension are kept, and no other may open the store.
        existing: do not make a new one.
        say: is told when an index is built, and why that kind.

    Raises:
        UserError: no store though ``existing``; a folder with other things in it; a file that is truncated or of another program; another
            embedder. Every method raises it for a disk that is full or damaged, and for an embedder whose vectors are not what it promised.
    """

    def __init__(self, path: str | Path, embedder: Embedder, existing: bool = False, say: Callable[[str], None] = lambda line: None):
        self.path, self.embedder = Path(path), embedder
        _check(self.path, existing)
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as problem:
            mend = "make its parent first, or name another place"
            raise UserError(f"cannot make the folder {path}: {problem.strerror}", mend) from problem
        identity = {"embedder": embedder.id, "checksum": embedder.checksum, "dimension": int(embedder.dimension)}
        values = ", ".join(f"({_quoted(name)}, {_quoted(value)})" for name, value in identity.items())
        tables = (*TABLES, f"INSERT INTO about VALUES {values}")
        self._database = Database(self.path / FILE, "vector store", MARK, SCHEMA, tables, existing, PRAGMAS)
        try:
            with self._database.explained():
                known = dict(self._database.ask("SELECT * FROM about"))
            theirs = {name: known.get(name) for name in identity}
            if theirs != identity:
                raise UserError(f"{path} was made with the embedder {_named(theirs)}, and this is {_named(identity)}",
                                "open it with that one, or make a new store")
        except BaseException:
            self.close()
            raise
        self._index = DerivedIndex(self._database, self.path, int(embedder.dimension), say)

    def close(self) -> None:
        """Close the files. Nothing is lost without it."""
        self._database.close()

    def __len__(self) -> int:
        with self._database.explained():
            return self._database.ask("SELECT COUNT(*) FROM passages")[0][0]

    # Writing --------------------------------------------------------------------------------------------------------------------

    def add(self, passages: Iterable[Passage], vectors: np.ndarray | None = None) -> Changes:
        """Add passages, and update those whose key is there already. Texts that are new are embedded, others are not.

        A hundred or so are committed together: after an interruption the same call goes on. ``vectors``, of shape (passages, dimension)
        and unit length, are taken in place of the embedder's.
        """
        changes, rest, done = Changes(), iter(passages), 0
        while batch := list(islice(rest, BATCH if vectors is None else GIVEN)):
            given = None if vectors is None else checked(vectors[done : done + len(batch)], len(batch), self.embedder)
            with self._database.writing():
                self._add(batch, given, changes)
            done += len(batch)
        self._index.settle()
        return changes

    def _add(self, passages: Sequence[Passage], given: np.ndarray | None, changes: Changes) -> None:
        ask = self._database.ask
        last = {passage.key: at for at, passage in enumerate(passages)}  # of two with one key the later stays
        before = {key: found[0] for key in last if (found := ask("SELECT number, text FROM passages WHERE key = ?", key))}
        fresh = [at for key, at in last.items() if key not in before or before[key][1] != passages[at].text]
        if given is None:
            texts = list(dict.fromkeys(passages[at].text for at in fresh))
            made = dict(zip(texts, checked(self.embedder.embed(texts), len(texts), self.embedder), strict=True)) if texts else {}
        for key, at in last.items():
            passage, (number, text) = passages[at], before.get(key, (None, None))
            if text == passage.text and self._metadata(number) == passage.metadata:
                changes.same += 1
                continue
            if given is not None:
                vector = given[at].tobytes()
            else:
                known = passage.text not in made  # under this number: only its metadata is new
                vector = ask("SELECT vector FROM vectors WHERE number = ?", number)[0][0] if known else made[passage.text].tobytes()
            if number is None:
                changes.new += 1
            else:
                changes.changed += 1
                self._drop(number)
            new = self._database.insert("INSERT INTO passages (key, text) VALUES (?, ?)", key, passage.text)
            ask("INSERT INTO vectors VALUES (?, ?)", new, vector)
            for name, value in passage.metadata.items():
                ask("INSERT INTO facts VALUES (?, ?, ?)", new, name, value)

    def delete(self, keys: Iterable[str] = (), where: Where | None = None) -> int:
        """Delete the passages with these keys, and all that ``where`` allows, together; return how many there were."""
        with self._database.writing():
            numbers = {row[0] for key in keys for row in self._database.ask("SELECT number FROM passages WHERE key = ?", key)}
            if where:
                numbers |= set(self._allowed(where).tolist())
            for number in sorted(numbers):
                self._drop(number)
        if numbers:
            self._emptied_log(1)  # else at the next deletion, or when the last process closes the store
            self._index.settle()
        return len(numbers)

    def _drop(self, number: int) -> None:
        for table in ("passages", "vectors", "facts"):
            self._database.ask(f"DELETE FROM {table} WHERE number = ?", number)
        change = self._database.insert("INSERT INTO gone (number) VALUES (?)", number)
        self._database.ask("DELETE FROM gone WHERE change <= ?", change - REMEMBERED)

    def purge(self) -> None:
        """Leave nothing of what was deleted in any file of the store, and give its room back.

        Builds the index anew if it holds a deleted vector, and writes the SQLite file anew. UserError if another process is in the way.
        """
        self._index.purge()
        with self._database.explained():
            self._database.ask("VACUUM")
        if not self._emptied_log(PATIENCE):
            raise UserError(f"another process is reading {self.path}", "purge again when it is done")

    def _emptied_log(self, seconds: float) -> bool:
        """Move SQLite's log, which may hold pages from before a deletion, into the file, and empty it. False if a reader is in the way."""
        with self._database.explained():
            self._database.ask(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
            try:
                return self._database.ask("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0
            finally:
                self._database.ask(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")

    # Searching ------------------------------------------------------------------------------------------------------------------

    def search(self, query: str | np.ndarray, k: int = 5, where: Where | None = None) -> list[Hit]:
        """Return the k passages nearest to a question, or to its vector of shape (dimension,), best first; fewer if there are fewer.

        With ``where``, the k best of those that it allows: all of these are compared. Without, a large store finds most of the k best,
        see ``indexes``.
        """
        if k < 1:
            raise UserError(f"{k} passages were asked for", "ask for at least one")
        if isinstance(query, str):
            if not query.strip():
                raise UserError("the question is empty", "ask something")
            query = self.embedder.embed([query])[0]
        with self._database.reading():
            similarities, numbers = self.nearest(np.asarray(query)[None], k, where)
            found = zip(numbers[0].tolist(), similarities[0].tolist(), strict=True)
            return [Hit(self._passage(number), similarity) for number, similarity in found if number >= 0]

    def nearest(
        self, queries: np.ndarray, k: int, where: Where | None = None, exact: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return similarities and numbers of the k passages nearest to each query, both of shape (queries, k).

        Queries have shape (queries, dimension) and unit length. The number is -1 where there are fewer. ``exact`` compares all passages,
        whatever the index.
        """
        queries = checked(queries, len(queries), self.embedder)
        with self._database.reading():
            allowed = self._allowed(where) if where else None
            found = [part.search(queries, k, allowed, exact) for part in self._index.refreshed()]
        similarities, numbers = (np.concatenate(arrays, axis=1) for arrays in zip(*found, strict=True))
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(similarities, order, axis=1), np.take_along_axis(numbers, order, axis=1)

    def passages(self, where: Where | None = None) -> Iterator[Passage]:
        """Yield all passages, or those that ``where`` allows, in the order in which they were added or last changed."""
        with self._database.reading():
            all_of_them = "SELECT number FROM passages ORDER BY number"
            numbers = self._allowed(where).tolist() if where else [row[0] for row in self._database.ask(all_of_them)]
            found = [self._passage(number) for number in numbers]
        yield from found

    @property
    def kind(self) -> str:
        """The kind of index that finds the passages: "flat", "ivf" or "hnsw"."""
        with self._database.reading():
            return self._index.refreshed()[0].kind

    def describe(self) -> str:
        """Return in one line how many passages there are, what kind of index finds them, and why."""
        return f"{len(self):,} passages. Index: {self._index.describe()}"

    def _passage(self, number: int) -> Passage:
        key, text = self._database.ask("SELECT key, text FROM passages WHERE number = ?", number)[0]
        return Passage(text, self._metadata(number), key)

    def _metadata(self, number: int) -> dict[str, Any]:
        return dict(self._database.ask("SELECT name, value FROM facts WHERE number = ?", number))

    def _allowed(self, where: Where) -> np.ndarray:
        statement, values = condition(where)
        return np.array([row[0] for row in self._database.ask(f"{statement} ORDER BY number", *values)], dtype=np.int64)


def _named(identity: Mapping[str, Any]) -> str:
    return f"{identity['embedder']} (checksum {str(identity['checksum'])[:12]}, {identity['dimension']} numbers)"


def _quoted(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
