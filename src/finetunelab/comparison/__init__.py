"""``finetunelab compare``: ways to classify the user's own texts, tuned alike within a budget of time, and a report that says which to take."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from ..files import write_text
from ..models import quiet, resolve
from ..settings import CompareSettings
from . import report
from .curves import learning_curves
from .data_warnings import warnings_of
from .methods import all_methods
from .progress import watching
from .task import read_task
from .tuning import compare
from .verdict import judge

NOTHING = "stopped before any method was finished; no report was written"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no interrupt from the keyboard in: drawing the report takes a second or two, and holds minutes of work."""
    if threading.current_thread() is not threading.main_thread():  # elsewhere signals neither arrive nor can be put off
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_compare(asked: CompareSettings) -> Path:
    """Compare the methods, write the report, print the recommendation, and return the report's path.

    Raises UserError for bad input, before anything is trained, and KeyboardInterrupt after an interrupt, when the report of what was finished
    is written.
    """
    report.check_out(asked.out)
    task = read_task(asked)
    resolve(asked.model)
    counts = f"{len(task.train):,} training texts, {len(task.test):,} test texts, {len(task.classes)} classes"
    print(f"{counts}; {asked.budget_minutes:g} minutes", file=sys.stderr, flush=True)
    out, budget = Path(asked.out).expanduser(), 60 * asked.budget_minutes
    with quiet(), watching(budget) as say:
        try:
            warned = warnings_of(task)  # before all else: after an interrupt nobody wants to wait for it
            methods = all_methods(asked.model, asked.seed)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(NOTHING) from None
        found = compare(task, methods, budget, say)
        curves = learning_curves(task, methods, found, budget - found.seconds, asked.seed, say)
        found.seconds += curves.seconds
    if not found.results:
        if found.stopped:
            raise KeyboardInterrupt(NOTHING)
        raise UserError(f"no method could be finished: {next(iter(found.missing.values()))}", "mend that, and run it again")
    verdict = judge(found, task, asked.model)
    with _undisturbed():
        write_text(out, report.page(asked, task, found, verdict, curves, warned))
    if found.stopped:
        raise KeyboardInterrupt(f"stopped; {out} holds what was finished")
    print(f"{verdict.headline} {verdict.reasons[0]}\n{out}: the report, with its doubts")
    return out
