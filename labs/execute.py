"""Run notebooks and refresh their outputs in place: python labs/execute.py labs/*.ipynb

What would differ from one run to the next (times, the kernel's version) is not kept, so a second run changes nothing.
A notebook that fails is left as it was.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

SECONDS_PER_CELL = 600


def execute(path: Path) -> float:
    """Run one notebook, write it back with its outputs, and return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    metadata = dict(notebook.metadata)
    began = time.perf_counter()
    NotebookClient(notebook, timeout=SECONDS_PER_CELL, record_timing=False, resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata = nbformat.from_dict(metadata)
    nbformat.write(notebook, path)
    return time.perf_counter() - began


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            print(f"{name}: {execute(Path(name)):.0f} s", flush=True)
        except CellExecutionError as problem:
            sys.exit(f"{name}: {problem}")
