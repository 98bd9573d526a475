"""Reading a user's CSV, JSONL or Parquet file into a table, or saying in one line what is wrong with it; and writing such a file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError, near
from .files import write_text, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".jsonl", ".parquet")


def read_table(path: Path) -> pa.Table:
    """Return the file as a pyarrow table. UserError if it is missing, empty, binary, in another encoding, or not what its name says."""
    if not path.exists():
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        close = near(path.name, siblings)
        raise UserError(f"there is no file {path}", f"did you mean {close[0]}?" if close else "check the path")
    if path.is_dir():
        raise UserError(f"{path} is a folder", "name a file in it")
    check_suffix(path)
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty", "write a header and rows into it, or name another file")
    table = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix.lower()](path)
    if table.num_rows == 0:
        raise UserError(f"{path} has no rows", "write some below its header, or name another file")
    return table


def check_suffix(path: Path) -> None:
    """Raise UserError unless a file's name ends as those do that are read and written here."""
    if path.suffix.lower() not in SUFFIXES:
        cause = f"{path} is not a CSV, JSONL or Parquet file by its name"
        raise UserError(cause, "save it as .csv, .jsonl (one object a line) or .parquet")


def write_table(path: Path, table: pa.Table) -> Path:
    """Write a table in the format of the file's name, whole or not at all. In CSV, lists and objects are written as JSON.

    UserError for another format, and as ``files.write_whole``.
    """
    check_suffix(path)
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        return write_whole(path, lambda stream: pyarrow.parquet.write_table(table, stream))
    if path.suffix.lower() == ".jsonl":
        return write_text(path, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist()))
    stream = io.StringIO(newline="")
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(table.column_names)
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        rows.writerow(json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else value for value in row)
    return write_text(path, stream.getvalue())


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path} is written in UTF-16", "save it as UTF-8")
    if b"\0" in raw:
        raise UserError(f"{path} is a binary file", "name a text file, or give it the ending it should have, such as .parquet")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        cause = f"{path} is not in UTF-8: byte 0x{raw[problem.start]:02x} on line {line}"
        raise UserError(cause, "save it as UTF-8, in a spreadsheet as 'CSV UTF-8'") from None


def _csv(path: Path) -> pa.Table:
    reader, rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True), []
    try:
        header = next((row for row in reader if row), None)
        for row in reader:
            if row and header is not None:
                if len(row) != len(header):
                    raise UserError(
                        f"line {reader.line_num} of {path} has {len(row)} fields and the header {len(header)}",
                        "put texts that hold commas or line breaks between double quotes",
                    )
                rows.append(row)
    except csv.Error as problem:
        if "field larger" in str(problem):
            limit = csv.field_size_limit()
            cause = f"a field that begins near line {reader.line_num} of {path} has more than {limit:,} characters"
            raise UserError(cause, "shorten it, or close a double quote left open") from problem
        raise UserError(f"{path} is not readable as CSV near line {reader.line_num}: {problem}", "mend its quotes") from problem
    if header is None:
        raise UserError(f"{path} is empty", "write a header and rows into it, or name another file")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has two columns named {twice!r}", "give each its own name")
    return _table(path, {name: [row[i] for row in rows] for i, name in enumerate(header)})


def _jsonl(path: Path) -> pa.Table:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=lambda constant: None)  # NaN and infinities become missing values
        except json.JSONDecodeError as problem:
            raise UserError(f"line {number} of {path} is not JSON ({problem.msg})", "write one JSON object on each line") from None
        except RecursionError:
            raise UserError(f"line {number} of {path} is nested too deeply", "write one flat JSON object on each line") from None
        if not isinstance(row, dict):
            cause = f"line {number} of {path} holds no JSON object"
            raise UserError(cause, 'write one on each line, such as {"text": "...", "label": "..."}')
        rows.append(row)
    columns = dict.fromkeys(name for row in rows for name in row)
    return _table(path, {name: [row.get(name) for row in rows] for name in columns})


def _parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as problem:
        cause = f"{path} is not a readable Parquet file, or only part of one"
        raise UserError(cause, "copy it again or save it as CSV or JSONL") from problem


def _table(path: Path, columns: dict[str, list]) -> pa.Table:
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as problem:
            raise UserError(f"column {name!r} of {path} mixes kinds of values", "make them all texts or all numbers") from problem
    return pa.table(arrays)
