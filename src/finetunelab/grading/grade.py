"""Grade a class: ask every hand-in all hidden checks, and write the marks and one page of feedback for each."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_text
from .assignments import Assignment, HandInError, assignment, code_cells
from .checks import Check, load
from .examiner import OUTPUT, Failed, Session, Worker, closed_to_others, thinking

COLUMNS = ("hand-in", "points", "of", "percent", "seconds", "remark")


@dataclass(frozen=True)
class Outcome:
    """How a check ended: ``failure`` is empty if it passed, and says what went wrong if not."""

    check: Check
    failure: str


@dataclass(frozen=True)
class Mark:
    """The mark of one hand-in, check by check, with a remark for the teacher and the errors of its cells."""

    name: str
    outcomes: tuple[Outcome, ...]
    seconds: float
    remark: str
    errors: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        """The points of the checks that passed."""
        return sum(outcome.check.points for outcome in self.outcomes if not outcome.failure)

    @property
    def of(self) -> int:
        """The points of all checks."""
        return sum(outcome.check.points for outcome in self.outcomes)

    def lost(self) -> set[str]:
        """The exercises that lost points."""
        return {outcome.check.exercise for outcome in self.outcomes if outcome.failure}


def grade(
    name: str, handins: Sequence[str | Path], out: str | Path, instructor: str | Path = "labs/instructor",
    say: Callable[[str], object] = print,
) -> list[Mark]:
    """Grade hand-ins of the assignment ``name``: notebooks, or folders that hold a class. Write ``grades.csv`` and the feedback to ``out``.

    Raises UserError, before anything is run or written, for an unknown assignment, a hand-in that is missing or no notebook, a class
    without hand-ins, and a folder that cannot be written. In a class of several, one that cannot be read gets its own zero.
    """
    given = assignment(name, instructor)
    checks = load(given.folder)
    found = find(handins)
    cells: dict[str, list[str] | HandInError] = {}
    for key, path in found.items():
        try:
            cells[key] = code_cells(path)
        except HandInError as problem:
            cells[key] = problem
    broken = [key for key, value in cells.items() if isinstance(value, HandInError)]
    if len(broken) == len(cells):
        raise UserError(f"{found[broken[0]]}: {cells[broken[0]]}", "hand in a notebook as JupyterLab or Colab saves it (.ipynb)")
    out = _writable(Path(out))
    with closed_to_others(), Worker([given.folder, out, *found.values()]) as worker:
        marks = examine(worker, checks, cells, say)
    for mark in marks:
        write_text(out / f"{mark.name}.md", feedback(given, mark))
    write_text(out / "grades.csv", table(marks))
    return marks


def find(handins: Sequence[str | Path]) -> dict[str, Path]:
    """Return the notebooks among files and folders, by a name that is theirs alone: the file's, with the folder's where two are alike."""
    paths: list[tuple[Path, str]] = []
    for path in map(Path, handins):
        if path.is_dir():
            inside = [(file, file.relative_to(path).with_suffix("").parts) for file in sorted(path.rglob("*.ipynb"))]
            paths += [(file, "-".join(parts)) for file, parts in inside if not any(part.startswith(".") for part in parts)]
        elif not path.exists():
            raise UserError(f"there is no hand-in {path}", "check the path")
        elif path.suffix != ".ipynb":
            raise UserError(f"{path} is not a notebook by its name", "hand in a file that ends in .ipynb")
        else:
            paths.append((path, path.stem))
    if not paths:
        raise UserError("there are no hand-ins", "name notebooks (.ipynb), or a folder that holds some")
    named: dict[str, Path] = {}
    for path, name in paths:
        key, copies = name, 1
        while key in named:
            copies += 1
            key = f"{name}-{copies}"
        named[key] = path
    return named


def _writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            return out
    except OSError as problem:
        raise UserError(f"cannot write in {out}: {problem.strerror or problem}", "name another folder with --out") from problem


def examine(
    worker: Worker, checks: Sequence[Check], cells: dict[str, list[str] | HandInError], say: Callable[[str], object] = print
) -> list[Mark]:
    """Return the mark of each hand-in, in their order; as many at once as there are processors."""

    def one(item: tuple[str, list[str] | HandInError]) -> Mark:
        mark = _mark(worker, checks, *item)
        say(f"{mark.name}: {mark.points} of {mark.of}" + (f" ({mark.remark})" if mark.remark else ""))
        return mark

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, cells.items()))


def _mark(worker: Worker, checks: Sequence[Check], name: str, cells: list[str] | HandInError) -> Mark:
    start = time.monotonic()
    if isinstance(cells, HandInError):
        return Mark(name, tuple(Outcome(check, str(cells)) for check in checks), 0.0, str(cells))
    session = Session(worker, cells)
    outcomes: list[Outcome] = []
    remarks: list[str] = []
    try:
        session.start()
        ended: dict[str, str] = {}  # exercises whose function ended the process or overran its time: no second chance to take as long
        for check in checks:
            failure = ended.get(check.exercise, "")
            if not failure:
                failure, final = _ask(session, check)
                if final:
                    ended[check.exercise] = failure
                    remarks.append(f"{check.exercise}: {failure}")
            outcomes.append(Outcome(check, failure))
    except Failed as problem:
        remarks.append(f"the notebook cannot be run: {problem}")
        outcomes = [Outcome(check, remarks[-1]) for check in checks]
    finally:
        if session.process is not None:
            session.stop()
    errors = tuple(_error(error) for error in session.errors[:20]) if isinstance(session.errors, list) else ()
    if errors:
        remarks.append(f"{len(errors)} cell{'s' * (len(errors) > 1)} stopped with an error")
    if session.printed > OUTPUT:
        remarks.append("it prints a lot; what it prints was dropped")
    return Mark(name, tuple(outcomes), time.monotonic() - start, "; ".join(remarks), errors, tuple(session.layers))


def _ask(session: Session, check: Check) -> tuple[str, bool]:
    """Return what is wrong with a hand-in by one check, "" if nothing, and whether its process ended over it."""
    try:
        # Truth values only: an array of one number would count as true as well.
        with thinking:
            verdict = check.run(session)
        return ("" if isinstance(verdict, (bool, np.bool_)) and verdict else "its answer is not right"), False
    except Failed as problem:
        return str(problem), problem.final
    except Exception:  # an answer of another shape or kind than was asked for makes the comparison stumble
        return "its answer has another form than was asked for", False


def _error(error: object) -> str:
    # It comes from the hand-in's process, so it may be anything.
    if not isinstance(error, dict):
        return "an error"
    return f"cell {error.get('cell')}: {str(error.get('error'))[:200]}".replace("`", "'")


def table(marks: Sequence[Mark]) -> str:
    """Return the marks as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for mark in marks:
        # A spreadsheet would run a name that begins so as a formula.
        name = f"'{mark.name}" if mark.name[0] in "=+-@" else mark.name
        rows.writerow([name, mark.points, mark.of, round(100 * mark.points / mark.of), round(mark.seconds, 1), mark.remark])
    return text.getvalue()


def feedback(given: Assignment, mark: Mark) -> str:
    """Return the page for the author of a hand-in: what each check tests and a hint, never what it asked or the right answer."""
    lines = [f"# {given.name}: {mark.points} of {mark.of} points", ""]
    if mark.remark:
        lines += [f"Remark: {mark.remark}.", ""]
    if mark.errors:
        lines += ["These cells stopped with an error; the others were run all the same:", ""]
        lines += [*(f"- `{error}`" for error in mark.errors), ""]
    for exercise in given.exercises:
        own = [outcome for outcome in mark.outcomes if outcome.check.exercise == exercise]
        points = sum(outcome.check.points for outcome in own if not outcome.failure)
        lines += [f"## `{exercise}`: {points} of {sum(outcome.check.points for outcome in own)}", ""]
        for check, failure in ((outcome.check, outcome.failure) for outcome in own):
            if failure:
                lines.append(f"- **not yet** ({check.points}) {check.tests} Here {failure}. Hint: {check.hint}")
            else:
                lines.append(f"- passed ({check.points}) {check.tests}")
        lines.append("")
    return "\n".join(lines)
