"""What nbval does not see: it compares outputs that are there, and passes a notebook that has none."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from finetunelab.experiments import experiments

LABS = sorted((Path(__file__).resolve().parents[1] / "labs").glob("*.ipynb"))
LONGEST_CELL = 25


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code" and cell.source.strip()]


def wants_output(source: str) -> bool:
    """A cell that prints at its own level, or draws, has something to show."""
    return bool(re.search(r"^(?:print|for .*:\n(?: .*\n)* +print)\b", source, re.MULTILINE)) or "figure(" in source


def printed(cell) -> str:
    return "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")


def test_there_are_labs():
    assert LABS


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
class TestLab:
    def test_is_valid_and_its_cells_have_names_of_their_own(self, path):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        names = [cell.id for cell in notebook.cells]
        assert len(set(names)) == len(names)

    def test_was_run_from_top_to_bottom(self, path):
        counts = [cell.execution_count for cell in code_cells(path)]
        assert counts == list(range(1, len(counts) + 1)), "run it again: make labs"

    def test_has_its_outputs_and_no_error(self, path):
        for cell in code_cells(path):
            kinds = [output.output_type for output in cell.outputs]
            assert "error" not in kinds, cell.id
            assert not any(output.get("name") == "stderr" for output in cell.outputs), f"{cell.id} writes to stderr"
            assert kinds or not wants_output(cell.source), f"{cell.id} shows nothing; run it again: make labs"

    def test_cells_are_short(self, path):
        long = {cell.id: len(cell.source.splitlines()) for cell in code_cells(path) if len(cell.source.splitlines()) > LONGEST_CELL}
        assert not long

    def test_keeps_to_the_contract_of_a_lab(self, path):
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        assert cells[0].source.startswith("# ") and "| Profile | Hardware | Minutes |" in cells[0].source
        first, *rest = code_cells(path)
        assert "PROFILE, SEED =" in first.source and "begin(PROFILE, SEED)" in first.source
        assert not any("FINETUNELAB_PROFILE" in cell.source for cell in rest), "the profile is named in the first code cell and nowhere else"
        assert "**Predict.**" in prose
        for heading in ("## What we measured", "## At real scale", "## Limits"):
            assert heading in prose
        assert any("assert" in cell.source for cell in rest)
        trainers = {"train", "fit", "continue_training", "reader", "teach", "converse", "ppo", "trained_score", "days", "arms_of"}
        trainers |= {experiment.run_seed.__name__ for experiment in experiments().values()}
        calls = {name for cell in rest for name in re.findall(r"\b(\w+)\(", cell.source)}
        assert trainers & calls, "a lab trains live; it never only displays"

    def test_prints_no_more_digits_than_machines_agree_on(self, path):
        for cell in code_cells(path):
            if "nbval-ignore-output" not in cell.metadata.get("tags", []):
                many = re.findall(r"(?<![\w.,])\d+\.\d+(?![\w.])", printed(cell))
                assert all(len(number.replace(".", "").lstrip("0")) <= 3 for number in many), (cell.id, many)

    def test_figures_are_described(self, path):
        for cell in code_cells(path):
            if any("image/png" in output.get("data", {}) for output in cell.outputs):
                assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt"), f"{cell.id} draws without mystnb.image.alt"
                assert printed(cell) or "printed above" in cell.metadata["mystnb"]["image"]["alt"], f"{cell.id}: print the numbers of the figure"
