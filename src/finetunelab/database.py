"""One SQLite file as the place where something is kept: what was committed outlives a killed process, and readers wait for no writer."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError, near

PATIENCE = 30.0  # seconds that a writer waits for the others
PROBLEMS = {
    "not a database": "name another file, or move this one away",
    "malformed": "restore it from a copy",
    "locked": "another program holds it: close that, then try again",
    "full": "make room, then try again: all that was kept before is there",
    "readonly": "make the file and its folder writable, or copy it to a folder that is",
    "unable to open": "make the file and its folder writable, or name another place",
}


class Database:
    """A file with tables of ours, in SQLite's write-ahead mode.

    Args:
        path: of the file; made if it is missing.
        what: is kept in it, for messages: "store of ratings".
        mark: SQLite's application_id, which tells this kind of file from the databases of other programs.
        schema: the version of the tables.
        tables: the statements that make them, and what belongs in a new file; run in one transaction.
        existing: do not make a new file.
        pragmas: further settings of the connection, such as "page_size = 8192".

    Raises:
        UserError: no file though ``existing``; a file of another program or another version; a folder or disk that cannot be written.
            All that is done in ``writing``, ``reading`` and ``explained`` raises it for a full, damaged or vanished file.
    """

    def __init__(
        self, path: str | Path, what: str, mark: int, schema: int, tables: Iterable[str], existing: bool = False,
        pragmas: Sequence[str] = (),
    ):
        self.path, self.what = Path(path), what
        parent = self.path.absolute().parent
        if self.path.is_dir():
            raise UserError(f"{path} is a folder", f"name a file in it for the {what}")
        if not parent.is_dir():
            raise UserError(f"there is no folder {parent} for {self.path.name}", "make it first, or name another file")
        if existing and not self.path.exists():
            close = near(self.path.name, [file.name for file in parent.iterdir()], most=1)
            raise UserError(f"there is no {what} {path}", f"did you mean {close[0]}?" if close else "check the path")
        # JupyterLab may answer a widget's clicks in another thread than the one that runs cells. The lock lets them take turns.
        self._turn = threading.RLock()
        with self.explained():
            self._connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(mark, schema, tables, existing, pragmas)
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self, mark: int, schema: int, tables: Iterable[str], existing: bool, pragmas: Sequence[str]) -> None:
        with self.explained():
            found, version = (self.ask(f"PRAGMA {name}")[0][0] for name in ("application_id", "user_version"))
            made = self.ask("SELECT COUNT(*) FROM sqlite_master")[0][0]
        if made and found != mark:
            raise UserError(f"{self.path} is a database of another program", f"name a new file for the {self.what}")
        if made and version != schema:
            mend = "use the version of finetunelab that wrote it, or name a new file"
            raise UserError(f"{self.path} is a {self.what} of version {version}, and this is version {schema}", mend)
        if existing and not made:
            raise UserError(f"{self.path} is empty", f"name a {self.what}")
        with self.explained():
            for pragma in pragmas:  # before the log: the size of pages is fixed by then
                self.ask(f"PRAGMA {pragma}")
            # A write-ahead log: readers and one writer do not wait for each other, and what was committed outlives a killed process.
            self._patiently("PRAGMA journal_mode = WAL")
            for pragma in ("synchronous = FULL", "foreign_keys = ON"):
                self.ask(f"PRAGMA {pragma}")
        if not made:
            with self.writing():
                if not self.ask("SELECT COUNT(*) FROM sqlite_master")[0][0]:  # nobody else has made them in the meantime
                    for statement in (*tables, f"PRAGMA application_id = {mark}", f"PRAGMA user_version = {schema}"):
                        self.ask(statement)

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        self._connection.close()

    def ask(self, statement: str, *values: Any) -> list[tuple]:
        """Run one statement and return its rows."""
        return self._connection.execute(statement, values).fetchall()

    def insert(self, statement: str, *values: Any) -> int:
        """Run one statement that inserts a row and return the row's number."""
        return self._connection.execute(statement, values).lastrowid

    def portions(self, statement: str, *values: Any, rows: int = 10_000) -> Iterator[list[tuple]]:
        """Run one statement and yield its rows, some thousands at a time."""
        cursor = self._connection.execute(statement, values)
        while found := cursor.fetchmany(rows):
            yield found

    def _patiently(self, statement: str) -> None:
        # Two notebooks that open a new file at the same moment: the switch to the log does not wait for the other as writes do.
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask(statement)
                return
            except sqlite3.OperationalError as problem:
                if "locked" not in str(problem) or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def writing(self) -> AbstractContextManager[None]:
        """Hold the right to write; commit at the end, or undo all of it if something goes wrong. One inside another is part of it."""
        return self._transaction("BEGIN IMMEDIATE")

    def reading(self) -> AbstractContextManager[None]:
        """See the file as it is now until the end, whatever others write meanwhile."""
        return self._transaction("BEGIN")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._turn, self.explained():
            if self._connection.in_transaction:
                yield
                return
            self.ask(begin)
            try:
                yield
                self.ask("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends it by itself
                    self.ask("ROLLBACK")
                raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite complains of into a UserError with its mend."""
        with self._turn:
            try:
                yield
            except sqlite3.Error as problem:
                mend = next((mend for words, mend in PROBLEMS.items() if words in str(problem)), "all that was kept before is there")
                raise UserError(f"{self.path} cannot be used as a {self.what}: {problem}", mend) from problem
