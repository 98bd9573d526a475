"""Tables about the course itself, read from its labs and results, so that they cannot fall behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

from measured import table

ROOT = Path(__file__).resolve().parents[2]
MINUTES = re.compile(r"^\| `nano` \|.*\| (.+?) \|$", re.MULTILINE)


def labs() -> str:
    """Every lab with its minutes, the shipped models that its cells name, and its exercises."""
    from finetunelab.models import shipped

    rows = []
    for path in sorted((ROOT / "labs").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title, *_ = "".join(cells[0]["source"]).splitlines()
        text = "\n".join("".join(cell["source"]) for cell in cells[1:])
        models = [name for name in shipped() if re.search(rf"`{name}`|\"{name}\"", text)]
        found = MINUTES.search("".join(cells[0]["source"]))
        assignment = ROOT / "labs" / "assignments" / path.name
        exercises = f"[{_exercises(assignment)}](../labs/assignments/{path.name})" if assignment.is_file() else ""
        rows.append([f"[{title.removeprefix('# ')}](../labs/{path.name})", found[1] if found else "", ", ".join(models), exercises])
    return table(["Lab", "minutes", "models", "exercises"], rows)


def _exercises(path: Path) -> int:
    from finetunelab.grading.assignments import STUB

    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return sum(cell["cell_type"] == "code" and STUB in "".join(cell["source"]) for cell in cells)


def verdicts() -> str:
    """How many claims have which verdict, on the small world and on real data."""
    from collections import Counter

    from finetunelab.evidence import load
    from finetunelab.evidence.render import tallied

    rows = []
    for name, texts in (("nano", "the small world"), ("real", "real data")):
        found = Counter(map(tallied, load(ROOT / "book" / "evidence" / f"{name}.json")))
        rows.append([texts, *(str(found[verdict]) for verdict in ("holds", "does not hold", "undecided", "estimates"))])
    return table(["", "hold", "do not hold", "undecided", "estimates"], rows)


TABLES = (labs, verdicts)
