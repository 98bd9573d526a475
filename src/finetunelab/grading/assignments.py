"""Assignments: one authored solution each, the notebook that students get from it, and the notebook that they hand in.

A solution is Python in percent format. ``# %% mmd2`` begins a cell of code and ``# %% mmd2-text [markdown]`` one of text; the word is the
cell's name in the notebook. A cell with ``### BEGIN SOLUTION`` ... ``### END SOLUTION`` is an exercise, and one whose name ends in "-check"
holds visible checks. nbgrader does this too, but brings JupyterLab along, which is kept out of the environment that tests (see the README).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown
from ..files import write_text

LONGEST = 10 * 2**20  # bytes of a hand-in
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = 'raise NotImplementedError("your code goes here")'
SETUP = """import importlib.util

if importlib.util.find_spec("finetunelab") is None:  # on Colab: install from the folder of the course
    %pip install -q ../.."""


class HandInError(ValueError):
    """A hand-in that cannot be read. The message is one line for its author."""


@dataclass(frozen=True)
class Cell:
    """A cell of a solution: ``kind`` is "markdown", "exercise", "check" or "code"."""

    name: str
    kind: str
    source: str


@dataclass(frozen=True)
class Assignment:
    """An assignment: its name, such as "01a", the folder with solution and hidden checks, and the solution's cells."""

    name: str
    folder: Path
    cells: tuple[Cell, ...]

    @property
    def file(self) -> str:
        """The name of its notebook, after the title: "# 01a Distribution shift: exercises" gives ``01a_distribution_shift``."""
        return re.sub(r"\W+", "_", self.cells[0].source.splitlines()[0].removeprefix("# ").split(":")[0]).lower()

    @property
    def exercises(self) -> dict[str, str]:
        """The source of each exercise, by the name of the function that it asks for."""
        return {_function(cell): cell.source for cell in self.cells if cell.kind == "exercise"}

    def notebook(self, solutions: bool = False, replaced: Mapping[str, str] | None = None) -> str:
        """Return the notebook as JSON: with stubs, or as one who has the solutions hands it in, some of them ``replaced`` by others."""
        cells = []
        for cell in self.cells:
            source = cell.source
            if cell.kind == "exercise":
                replacement = (replaced or {}).get(_function(cell))
                source = replacement or (_solved(source) if solutions else _stubbed(source))
            cells.append(_cell(cell.name, cell.kind, source))
        cells.insert(1, _cell("setup", "code", SETUP))  # behind the title
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


def assignment(name: str, folder: str | Path = "labs/instructor") -> Assignment:
    """Read the assignment ``name`` from the teacher's ``folder``. UserError if it is not there or its solution breaks the format."""
    folder = Path(folder)
    known = sorted(path.parent.name for path in folder.glob("*/solution.py"))
    if not known:
        mend = "run this in the course's folder, or name the teacher's folder with --instructor"
        raise UserError(f"there are no assignments in {folder}", mend)
    if name not in known:
        raise unknown("assignment", name, known)
    path = folder / name / "solution.py"
    cells = []
    for block in re.split(r"^(?=# %%)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, source = block.partition("\n")
        found = re.fullmatch(r"# %% ([\w-]+)( \[markdown\])?", head)
        if not found:
            raise UserError(f"{path} has a cell that begins {head!r}", "write # %% name, or # %% name [markdown]")
        cells.append(Cell(found[1], *_content(source.strip("\n"), bool(found[2]), found[1])))
    return Assignment(name, folder / name, tuple(cells))


def _content(source: str, markdown: bool, name: str) -> tuple[str, str]:
    if markdown:
        return "markdown", re.sub(r"^# ?", "", source, flags=re.MULTILINE)
    return "exercise" if BEGIN in source else "check" if name.endswith("-check") else "code", source


def _function(cell: Cell) -> str:
    """Return the name of the function that an exercise asks for: the last one that it defines."""
    return [node.name for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)][-1]


def _stubbed(source: str) -> str:
    return re.sub(rf"^( *){BEGIN}\n.*?^ *{END}$", rf"\1{STUB}", source, flags=re.MULTILINE | re.DOTALL)


def _solved(source: str) -> str:
    return re.sub(rf"^ *(?:{BEGIN}|{END})\n?", "", source, flags=re.MULTILINE).rstrip("\n")


def _cell(name: str, kind: str, source: str) -> dict[str, Any]:
    metadata = {"tags": [kind]} if kind in ("exercise", "check") else {}
    lines = source.splitlines(keepends=True)
    if kind == "markdown":
        return {"cell_type": "markdown", "id": name, "metadata": metadata, "source": lines}
    return {"cell_type": "code", "execution_count": None, "id": name, "metadata": metadata, "outputs": [], "source": lines}


def make(name: str, instructor: str | Path = "labs/instructor", out: str | Path = "labs/assignments") -> Path:
    """Write the notebook that students get, named after its title (``01a_distribution_shift.ipynb``), and return its path."""
    given = assignment(name, instructor)
    return write_text(Path(out) / f"{given.file}.ipynb", given.notebook())


def code_cells(path: Path) -> list[str]:
    """Return the code cells of a hand-in that are run: all but the visible checks. HandInError if it is no notebook."""
    try:
        if path.stat().st_size > LONGEST:
            raise HandInError(f"the file is larger than {LONGEST // 2**20} MB; clear its outputs")
        cells = json.loads(path.read_bytes())["cells"]
        found = []
        for cell in cells:
            if cell["cell_type"] == "code" and "check" not in cell.get("metadata", {}).get("tags", []):
                source = cell["source"]
                found.append(source if isinstance(source, str) else "".join(source))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as problem:
        raise problem if isinstance(problem, HandInError) else HandInError("the file is not a notebook that can be read") from problem
